package journal_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/journal"
)

type heard struct {
	entries  []journal.Entry
	replayed int
}

func (h *heard) listen(e journal.Entry, replayed bool) {
	h.entries = append(h.entries, e)
	if replayed {
		h.replayed++
	}
}

func open(t *testing.T, dir string) (*journal.Log, *heard) {
	t.Helper()
	h := &heard{}
	l, err := journal.Open(dir, time.Now, h.listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
	})
	return l, h
}

func entry(i int) journal.Entry {
	return journal.Entry{Kind: journal.Authorized, Connector: "cielo", Reference: fmt.Sprint("o", i), AmountMinor: int64(i)}
}

func TestReplay(t *testing.T) {
	dir := t.TempDir()
	l, live := open(t, dir)
	for i := range 10 {
		if err := l.Append(entry(2*i), entry(2*i+1)); err != nil {
			t.Fatal(err)
		}
	}
	// No Close: a killed process does not.
	l2, again := open(t, dir)
	if len(again.entries) != 20 || again.replayed != 20 || live.replayed != 0 {
		t.Fatalf("%d entries, %d replayed, %d replayed live", len(again.entries), again.replayed, live.replayed)
	}
	for i, e := range again.entries {
		if e.Seq != int64(i+1) || e.AmountMinor != int64(i) || !e.At.Equal(live.entries[i].At) {
			t.Errorf("entry %d is %+v, was %+v", i, e, live.entries[i])
		}
	}
	if err := l2.Append(entry(20)); err != nil {
		t.Fatal(err)
	}
	if last := again.entries[20]; last.Seq != 21 {
		t.Errorf("goes on with %d", last.Seq)
	}
}

// A line without an end was never answered: it is cut off, at whatever byte the kill came, and the log goes on.
func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir)
	long := entry(2) // longer than what is written over it
	long.Reference = strings.Repeat("x", 60)
	if err := l.Append(entry(1), long); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "journal.ndjson")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := strings.IndexByte(string(whole), '\n') + 1
	for size := range whole {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "journal.ndjson"), whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		l, h := open(t, dir)
		want := 0
		if size >= first {
			want = 1
		}
		if len(h.entries) != want {
			t.Fatalf("%d bytes of %d: %d entries, want %d", size, len(whole), len(h.entries), want)
		}
		if err := l.Append(entry(9)); err != nil {
			t.Fatal(err)
		}
		if _, again := open(t, dir); len(again.entries) != want+1 || again.entries[want].AmountMinor != 9 {
			t.Fatalf("%d bytes of %d: after going on %+v", size, len(whole), again.entries)
		}
	}
}

// What is wrong in the middle is told, and nothing is served on it.
func TestWrongInTheMiddle(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":      "{}x\n",
		"a gap":        `{"seq":1}` + "\n" + `{"seq":3}` + "\n",
		"starts later": `{"seq":2}` + "\n",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "journal.ndjson"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := journal.Open(dir, time.Now); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// What cannot be written has not happened: nobody hears of it.
func TestUnwritten(t *testing.T) {
	l, h := open(t, t.TempDir())
	if err := l.Append(entry(1)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(entry(2)); err == nil {
		t.Error("written to a closed file")
	}
	if len(h.entries) != 1 {
		t.Errorf("heard %d", len(h.entries))
	}
}

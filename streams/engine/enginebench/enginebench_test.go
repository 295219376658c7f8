package enginebench_test

import (
	"bufio"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/engine/enginebench"
	"github.com/caudalpay/caudal/streams/streamtest"
)

const (
	inputTopic = "in"
	records    = 3_000
	keys       = 50
	partitions = 4
)

// served is a contestant that is told what to do through pipes, as its process would be.
type served struct {
	t     *testing.T
	in    *io.PipeWriter
	words chan string
	ended chan error
}

func serve(t *testing.T, name string) *served {
	t.Helper()
	in, orders := io.Pipe()
	answers, out := io.Pipe()
	s := &served{t: t, in: orders, words: make(chan string, 16), ended: make(chan error, 1)}
	go func() {
		s.ended <- enginebench.Serve(t.Context(), name, in, out)
		_ = out.Close()
	}()
	go func() {
		defer close(s.words)
		for lines := bufio.NewScanner(answers); lines.Scan(); {
			s.words <- lines.Text()
		}
	}()
	return s
}

func (s *served) order(text string) {
	s.t.Helper()
	if _, err := fmt.Fprintln(s.in, text); err != nil {
		s.t.Fatal(err)
	}
}

// await is the notes of the next word of that name.
func (s *served) await(what string) url.Values {
	s.t.Helper()
	for limit := time.After(time.Minute); ; {
		select {
		case line := <-s.words:
			word, rest, _ := strings.Cut(line, " ")
			notes, err := url.ParseQuery(rest)
			if err != nil {
				s.t.Fatal(err)
			}
			if word == what {
				return notes
			}
			if word == "failed" {
				s.t.Fatalf("it failed: %s", notes.Get("error"))
			}
		case <-limit:
			s.t.Fatalf("it does not say %s", what)
		}
	}
}

func (s *served) close() {
	s.t.Helper()
	_ = s.in.Close()
	if err := <-s.ended; err != nil {
		s.t.Fatal(err)
	}
}

func prepare(t *testing.T) (*streamtest.Cluster, enginebench.Work) {
	t.Helper()
	c := streamtest.Start(t)
	w := enginebench.Work{
		Brokers: c.Addrs, Group: "g", Input: inputTopic, Partitions: partitions, CommitInterval: 20 * time.Millisecond, Dir: t.TempDir(), SideRecords: 2,
	}
	c.Topics(partitions, append(w.Topics(), inputTopic)...)
	var input []*kgo.Record
	for i := range records {
		input = append(input, &kgo.Record{Topic: inputTopic, Key: fmt.Appendf(nil, "key-%d", i%keys), Value: fmt.Appendf(nil, "%0200d", i), Partition: -1})
	}
	c.Produce(input...)
	return c, w
}

func caughtUp(t *testing.T, c *streamtest.Cluster, w enginebench.Work) {
	t.Helper()
	for until := time.Now().Add(time.Minute); c.Lag(w.Group, w.Input) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d records are not committed", c.Lag(w.Group, w.Input))
		}
	}
}

// Every contestant leaves the same behind: otherwise their rates could not be compared.
func TestContestantsDoTheSame(t *testing.T) {
	for _, name := range enginebench.Names() {
		if name == enginebench.Hold || name == enginebench.HoldDisk || name == enginebench.Consume {
			continue // other work
		}
		t.Run(name, func(t *testing.T) {
			c, w := prepare(t)
			s := serve(t, name)
			s.order("run " + w.String())
			caughtUp(t, c, w)
			s.order("stop")
			s.await("stopped")
			s.close()
			seen := map[string]int{}
			for _, r := range c.ReadCommitted(w.Output()) {
				seen[string(r.Value)]++
			}
			if len(seen) != records {
				t.Errorf("%d different outputs of %d", len(seen), records)
			}
			counters := map[string]uint64{}
			for _, r := range c.ReadCommitted(w.Table()) {
				if engine.IsFence(r.Key) {
					continue
				}
				n, err := enginebench.Count(r.Value)
				if err != nil {
					t.Fatal(err)
				}
				counters[string(r.Key)] = n
			}
			if name == enginebench.Pass {
				return // stateless
			}
			for i := range keys {
				if n := counters[fmt.Sprintf("key-%d", i)]; n != records/keys {
					t.Errorf("counter of key-%d is %d, not %d", i, n, records/keys)
				}
			}
		})
	}
}

func TestHoldKeepsSideRecordsAndConsumeCountsThem(t *testing.T) {
	c, w := prepare(t)
	s := serve(t, enginebench.Hold)
	s.order("run " + w.String())
	caughtUp(t, c, w)
	s.order("memory")
	if notes := s.await("memory"); notes.Get("resident") == "" || notes.Get("heap") == "" {
		t.Errorf("memory is told as %v", notes)
	}
	s.order("metrics")
	if n := s.await("metrics").Get("caudal_streams_records_total"); n != fmt.Sprint(records) {
		t.Errorf("metrics tell of %s records of %d", n, records)
	}
	s.order("stop")
	s.await("stopped")
	s.close()
	side := 0
	for _, r := range c.ReadCommitted(w.Side()) {
		if len(r.Value) == enginebench.SideBytes {
			side++
		}
	}
	if side < keys*w.SideRecords {
		t.Errorf("%d side records of %d keys", side, keys)
	}
	all := len(c.ReadCommitted(w.Side())) + len(c.ReadCommitted(w.Table()))
	reader := serve(t, enginebench.Consume)
	reader.order("run " + w.String())
	if n := reader.await("ready").Get("records"); n != fmt.Sprint(all) {
		t.Errorf("a consumer of the changelogs counts %s records of %d", n, all)
	}
	reader.order("stop")
	reader.await("stopped")
	reader.close()
}

func TestServeTellsWhatIsWrong(t *testing.T) {
	if err := enginebench.Serve(t.Context(), "nobody", strings.NewReader(""), io.Discard); err == nil || !strings.Contains(err.Error(), enginebench.Engine) {
		t.Errorf("an unknown contestant: %v", err)
	}
	var out strings.Builder
	if err := enginebench.Serve(t.Context(), enginebench.Loop, strings.NewReader("run partitions=x\ndance\n"), &out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "failed error="); n != 2 {
		t.Errorf("two wrong orders are answered with\n%s", out.String())
	}
}

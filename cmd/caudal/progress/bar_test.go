package progress_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/caudalpay/caudal/cmd/caudal/progress"
)

// terminal is a pseudo terminal: what is drawn on the second end is read from the first.
func terminal(t *testing.T) (read, drawn *os.File) {
	t.Helper()
	read, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = read.Close() })
	var number, unlock int32
	for request, value := range map[uintptr]*int32{syscall.TIOCGPTN: &number, syscall.TIOCSPTLCK: &unlock} {
		if _, _, code := syscall.Syscall(syscall.SYS_IOCTL, read.Fd(), request, uintptr(unsafe.Pointer(value))); code != 0 {
			t.Fatal(code)
		}
	}
	if drawn, err = os.OpenFile("/dev/pts/"+strconv.Itoa(int(number)), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = drawn.Close() })
	return read, drawn
}

func TestDrawnOnATerminal(t *testing.T) {
	for name, work := range map[string]func(*os.File){
		"added":          func(f *os.File) { b := progress.New(f, "work", "rows", 3); b.Add(1); b.Add(2); b.Finish() },
		"nothing to do":  func(f *os.File) { progress.New(f, "work", "rows", 0).Finish() },
		"counted lately": func(f *os.File) { b := progress.New(f, "work", "rows", progress.Unknown); b.Set(1, 2); b.Set(2, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			read, drawn := terminal(t)
			work(drawn)
			var text strings.Builder
			for buffer := make([]byte, 4096); !strings.Contains(text.String(), "\n"); { // the line ends with the work
				n, err := read.Read(buffer)
				if err != nil {
					t.Fatalf("%q, then %v", text.String(), err)
				}
				text.Write(buffer[:n])
			}
			if !strings.Contains(text.String(), "work") || !strings.Contains(text.String(), "100%") {
				t.Errorf("drawn: %q", text.String())
			}
		})
	}
}

func TestSilentElsewhere(t *testing.T) {
	var buffer bytes.Buffer
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for _, b := range []*progress.Bar{progress.New(&buffer, "work", "rows", 2), progress.New(file, "work", "rows", 2)} {
		b.Add(1)
		b.Set(2, 3)
		b.Finish()
	}
	if info, err := file.Stat(); err != nil || info.Size() != 0 || buffer.Len() != 0 {
		t.Errorf("drawn into a file or a pipe: %v, %q", err, buffer.String())
	}
}

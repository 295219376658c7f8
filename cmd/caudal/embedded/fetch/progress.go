package fetch

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/term"
)

// watch shows how far a fetch has come, by the bytes that lie in dir. The clients' own progress differs
// between versions; the folder does not. stop ends it with a line of the outcome.
func watch(w io.Writer, what, dir string, total int64) (stop func(error)) {
	if w == nil {
		return func(error) {}
	}
	began := time.Now()
	file, ok := w.(*os.File)
	moving := ok && term.IsTerminal(int(file.Fd()))
	if !moving {
		say(w, "caudal: %s (%d MB unpacked, once)\n", what, total/1e6)
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for moving {
			have := min(treeBytes(dir), total)
			say(w, "\rcaudal: %s: %3d%% of %d MB, %d s ", what, have*100/total, total/1e6, int(time.Since(began).Seconds()))
			select {
			case <-quit:
				say(w, "\r\x1b[K")
				return
			case <-tick.C:
			}
		}
	}()
	return func(err error) {
		close(quit)
		<-ended
		if err != nil {
			say(w, "caudal: %s: failed after %d s\n", what, int(time.Since(began).Seconds()))
			return
		}
		say(w, "caudal: %s: done in %d s\n", what, int(time.Since(began).Seconds()))
	}
}

func treeBytes(dir string) (sum int64) {
	// Files come and go under the walk: what cannot be read counts as nothing.
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

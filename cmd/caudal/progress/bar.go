// Package progress draws how far a piece of work is, where a person looks on: on a terminal only.
// It never fails the work: what cannot be drawn is not.
package progress

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Unknown is the total of work that is not counted yet.
const Unknown = -1

// Bar is one piece of work. Its methods may be called at once.
type Bar struct {
	bar *progressbar.ProgressBar // nil where nobody looks on
}

// New draws on w if that is a terminal.
func New(w io.Writer, what, unit string, total int64) *Bar {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &Bar{}
	}
	if total == 0 {
		total = 1 // a bar of nothing cannot be finished
	}
	return &Bar{bar: progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what), progressbar.OptionSetItsString(unit),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetWidth(30),
		progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine that nobody joins
		progressbar.OptionOnCompletion(func() { _, _ = fmt.Fprintln(f) }))}
}

// Add says that n more are done.
func (b *Bar) Add(n int) {
	if b.bar != nil {
		_ = b.bar.Add(n)
	}
}

// Set says how many are done, and of how many.
func (b *Bar) Set(done, total int64) {
	if b.bar == nil {
		return
	}
	if total > 0 && b.bar.GetMax64() != total {
		b.bar.ChangeMax64(total)
	}
	_ = b.bar.Set64(done)
}

// Finish fills the bar and ends its line.
func (b *Bar) Finish() {
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}

package child

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Announce is called in the child when it serves; the parent's Announced returns the words.
func Announce(words ...string) {
	fmt.Println(strings.TrimSpace(readyPrefix + " " + strings.Join(words, " ")))
}

// Refuse ends the child with ExitRefused and tells the parent why, as a RefusedError. kind is one word that the parent
// knows: what is to be done follows from it.
func Refuse(kind string, why error) {
	fmt.Println(refusedPrefix + " " + kind + " " + strings.ReplaceAll(why.Error(), "\n", "; "))
	os.Exit(ExitRefused)
}

// RefusedError is what a child gave to Refuse, as its supervisor's Err shows it.
type RefusedError struct{ Kind, Why string }

func (e *RefusedError) Error() string { return e.Why }

// Lifeline is called once in the child. Its context ends on SIGTERM or SIGINT, or when the parent is gone
// in whatever way (end of standard input, where that is a pipe: what a service manager starts reads nothing). The child then has grace to end in order: after it, the
// process exits by force, because a part that hangs must not outlive its parent.
func Lifeline(grace time.Duration) context.Context {
	signal.Ignore(syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	told := make(chan os.Signal, 2)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	// Both goroutines live as long as the process.
	if in, err := os.Stdin.Stat(); err != nil || in.Mode()&os.ModeNamedPipe != 0 {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			told <- syscall.SIGTERM
		}()
	}
	go func() {
		<-told
		cancel()
		time.Sleep(grace)
		fmt.Fprintln(os.Stderr, "not ended within", grace, "of being told to: exiting by force")
		os.Exit(3)
	}()
	return ctx
}

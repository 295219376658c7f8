// Package child runs one part of caudal as a supervised child process.
//
// The parent holds a pipe to the child's standard input for its whole life. The kernel closes that pipe
// and delivers the death signal whatever way the parent ends, kill -9 included, so no part outlives it.
// A child that ends by itself is started again with a growing pause. The package knows nothing of what
// its children do, and it never gives up on one, except where the child itself says that a restart is
// pointless (ExitRefused).
package child

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// ExitRefused is the exit status of a child that must not be started again: what stopped it (a folder of
// another version, a state that contradicts the log) would stop it each time.
const ExitRefused = 78

// A line on standard output that opens with one of these is the child's word to its parent: that it serves, or
// why it must not be started again.
const (
	readyPrefix   = "READY"
	refusedPrefix = "REFUSED"
)

// On a machine that has too few processors for all, the door and the log go first, then the decisions, then the stores: a
// caller waits for them in this order, and a store that lags catches up.
const (
	NiceWorker = 2
	NiceStore  = 5
)

// Spec describes a child. Name is required; zero durations and signals take the defaults.
type Spec struct {
	Name string   // for logs and errors
	Path string   // program; empty: this same executable, even if its file has been replaced since
	Args []string // without argv[0]
	Env  []string // added to this process's environment, or all of it if CleanEnv
	Dir  string

	CleanEnv   bool
	ExtraFiles []*os.File // descriptors 3, 4, ... of every incarnation; they stay the caller's to close
	LogFile    string     // standard error, and standard output after the ready line, are appended here
	Credential *syscall.Credential
	Nice       int // how much the child stands back for others when processors are short: 0 to 19

	// Probe, if set, is called until it returns nil to learn that the child serves. Without it the child
	// has to call Announce.
	Probe func(ctx context.Context) error
	// Prepare, if set, runs before every start, also before a restart.
	Prepare func(ctx context.Context) error

	StopSignal   syscall.Signal // asks the child to end in order; default SIGTERM
	KillSignal   syscall.Signal // after StopTimeout; default SIGKILL
	StartTimeout time.Duration  // from start to ready; default 60 s
	StopTimeout  time.Duration  // default 20 s
	PauseMin     time.Duration  // before the first restart; default 100 ms
	PauseMax     time.Duration  // default 10 s

	Logger *slog.Logger
}

func (s *Spec) setDefaults() error {
	if s.Name == "" {
		return errors.New("child without a name")
	}
	if s.Path == "" {
		path, err := executable()
		if err != nil {
			return fmt.Errorf("finding own executable: %w", err)
		}
		s.Path = path
	}
	orSignal(&s.StopSignal, syscall.SIGTERM)
	orSignal(&s.KillSignal, syscall.SIGKILL)
	orDuration(&s.StartTimeout, time.Minute)
	orDuration(&s.StopTimeout, 20*time.Second)
	orDuration(&s.PauseMin, 100*time.Millisecond)
	orDuration(&s.PauseMax, 10*time.Second)
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	s.Logger = s.Logger.With("child", s.Name)
	return nil
}

func orSignal(s *syscall.Signal, def syscall.Signal) {
	if *s == 0 {
		*s = def
	}
}

func orDuration(d *time.Duration, def time.Duration) {
	if *d <= 0 {
		*d = def
	}
}

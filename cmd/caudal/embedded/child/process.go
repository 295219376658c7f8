package child

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Process is a supervised child: one incarnation at a time, restarted until Stop.
type Process struct {
	spec Spec

	stop     chan struct{} // closed by Stop
	stopOnce sync.Once
	done     chan struct{} // closed when no incarnation runs and none will

	mu       sync.Mutex
	current  *incarnation
	restarts int
	serving  bool
	err      error
}

// Supervise starts the child and returns when it serves. ctx bounds the start only: the child then lives
// until Stop, or until this process ends.
func Supervise(ctx context.Context, spec Spec) (*Process, error) {
	if err := spec.setDefaults(); err != nil {
		return nil, err
	}
	p := &Process{spec: spec, stop: make(chan struct{}), done: make(chan struct{})}
	first, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	go p.keep(context.WithoutCancel(ctx), first)
	return p, nil
}

// PID is the process id of the present incarnation, or of the last one while a restart is under way.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current.cmd.Process.Pid
}

// Ready returns nil while an incarnation serves.
func (p *Process) Ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.serving {
		return fmt.Errorf("%s is not running", p.spec.Name)
	}
	return nil
}

// Announced is the text the present incarnation gave to Announce.
func (p *Process) Announced() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current.announced
}

// Restarts counts the incarnations after the first.
func (p *Process) Restarts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.restarts
}

// Done is closed when the child has ended and will not be started again.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells, after Done, why the child ended without being asked to; nil after Stop.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Stop asks the child to end, insists after the stop timeout or when ctx ends, and waits for it. A caller
// that stops because ctx has ended still means an orderly end: then only the stop timeout counts.
func (p *Process) Stop(ctx context.Context) error {
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	p.stopOnce.Do(func() { close(p.stop) })
	patience := time.NewTimer(p.spec.StopTimeout)
	defer patience.Stop()
	select {
	case <-p.done:
		return nil
	case <-patience.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	current := p.current
	p.mu.Unlock()
	current.end(p.spec.KillSignal)
	<-p.done
	return fmt.Errorf("%s did not stop in time and was killed", p.spec.Name)
}

// keep owns the child after the first start: it waits for the end of each incarnation and starts the next.
func (p *Process) keep(ctx context.Context, current *incarnation) {
	defer close(p.done)
	pause := p.spec.PauseMin
	for {
		began := time.Now()
		select {
		case <-p.stop:
			current.end(p.spec.StopSignal)
			return
		case <-current.exited:
		}
		p.setServing(false)
		if refused(current.waitErr) {
			p.fail(fmt.Errorf("%s refused to run: %w (see %s)", p.spec.Name, current.waitErr, p.spec.LogFile))
			return
		}
		p.spec.Logger.Warn("child ended by itself, starting it again", "error", current.waitErr, "pause", pause)
		if time.Since(began) > time.Minute {
			pause = p.spec.PauseMin
		}
		next := p.restart(ctx, &pause)
		if next == nil {
			return
		}
		current = next
	}
}

// restart tries until an incarnation serves; nil when stopped, or when the child refuses to run.
func (p *Process) restart(ctx context.Context, pause *time.Duration) *incarnation {
	for {
		select {
		case <-p.stop:
			return nil
		case <-time.After(*pause):
		}
		*pause = min(2**pause, p.spec.PauseMax)
		next, err := p.start(ctx)
		switch {
		case err == nil:
			p.mu.Lock()
			p.restarts++
			p.mu.Unlock()
			p.spec.Logger.Info("child is back", "pid", next.cmd.Process.Pid)
			return next
		case errors.Is(err, errStopped):
			return nil
		case refused(err):
			p.fail(err)
			return nil
		}
		p.spec.Logger.Error("child did not start", "error", err, "pause", *pause)
	}
}

func (p *Process) setServing(on bool) {
	p.mu.Lock()
	p.serving = on
	p.mu.Unlock()
}

func (p *Process) fail(err error) {
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	p.spec.Logger.Error("child will not be started again", "error", err)
}

func refused(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == ExitRefused
}

// end signals the incarnation and waits for it.
func (i *incarnation) end(sig syscall.Signal) {
	_ = i.cmd.Process.Signal(sig) // fails only when it has ended already
	<-i.exited
}

package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

var errStopped = errors.New("stopped while starting")

// incarnation is one run of the child.
type incarnation struct {
	cmd       *exec.Cmd
	lifeline  io.Closer
	log       *os.File
	announced string

	ready   chan string   // the ready line, once
	exited  chan struct{} // closed when the process has been waited for
	waitErr error         // valid after exited
	refusal *RefusedError // what the child gave to Refuse; valid after exited
}

// start runs one incarnation up to the point where it serves.
func (p *Process) start(ctx context.Context) (*incarnation, error) {
	ctx, cancel := context.WithTimeout(ctx, p.spec.StartTimeout)
	defer cancel()
	if p.spec.Prepare != nil {
		if err := p.spec.Prepare(ctx); err != nil {
			return nil, fmt.Errorf("preparing %s: %w", p.spec.Name, err)
		}
	}
	began := time.Now()
	i, err := spawn(&p.spec)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.spec.Name, err)
	}
	// Seen by Stop, which may have to kill an incarnation that never comes to serve.
	p.mu.Lock()
	p.current = i
	p.mu.Unlock()
	if err := p.await(ctx, i); err != nil {
		if errors.Is(err, errStopped) {
			i.end(p.spec.StopSignal)
			return nil, err
		}
		i.end(syscall.SIGKILL)
		return nil, fmt.Errorf("starting %s: %w%s", p.spec.Name, err, logTail(p.spec.LogFile))
	}
	p.setServing(true)
	p.spec.Logger.Info("child serves", "pid", i.cmd.Process.Pid, "took", time.Since(began).Round(time.Millisecond))
	return i, nil
}

// await returns nil when the incarnation serves.
func (p *Process) await(ctx context.Context, i *incarnation) error {
	ready := i.ready
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	if p.spec.Probe == nil {
		tick.Stop()
	} else {
		ready = nil
	}
	lastProbe := error(nil)
	for {
		select {
		case line := <-ready:
			p.mu.Lock()
			i.announced = line
			p.mu.Unlock()
			return nil
		case <-tick.C:
			if lastProbe = p.spec.Probe(ctx); lastProbe == nil {
				return nil
			}
		case <-i.exited:
			return fmt.Errorf("ended before it served: %w", i.waitErr)
		case <-p.stop:
			return errStopped
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("not serving in time: %w", ctx.Err()), lastProbe)
		}
	}
}

func spawn(spec *Spec) (*incarnation, error) {
	cmd := exec.Command(spec.Path, spec.Args...) //nolint:gosec // running programs is what this package is for
	if spec.Path == selfPath {
		cmd.Args[0] = os.Args[0] // a process list shows the program's name, not the path by which it was found
	}
	cmd.Dir, cmd.ExtraFiles, cmd.Env = spec.Dir, spec.ExtraFiles, spec.Env
	if !spec.CleanEnv {
		cmd.Env = append(os.Environ(), spec.Env...)
	}
	// A group of its own: Ctrl-C at the terminal is the parent's to handle, in its order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: spec.Credential}

	i := &incarnation{cmd: cmd, ready: make(chan string, 1), exited: make(chan struct{})}
	var err error
	if i.log, err = openLog(spec.LogFile); err != nil {
		return nil, err
	}
	cmd.Stderr = i.log
	if i.lifeline, err = cmd.StdinPipe(); err != nil {
		_ = i.log.Close()
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		_ = i.log.Close()
		return nil, err
	}
	if err := Start(cmd, spec.StopSignal); err != nil {
		_ = i.log.Close()
		return nil, err
	}
	if err := standBack(cmd.Process.Pid, spec.Nice); err != nil {
		spec.Logger.Warn("child keeps the usual priority", "error", err)
	}
	go i.run(out)
	return i, nil
}

// run drains the output of the process and waits for its end.
func (i *incarnation) run(out io.Reader) {
	defer func() { _ = i.log.Close() }()
	i.drain(out)
	i.waitErr = i.cmd.Wait()
	if i.waitErr == nil {
		i.waitErr = errors.New("exit status 0")
	}
	if i.refusal != nil {
		i.waitErr = fmt.Errorf("%w (%w)", i.refusal, i.waitErr)
	}
	_ = i.lifeline.Close()
	close(i.exited)
}

// drain passes standard output to the log and picks the ready line out of it.
func (i *incarnation) drain(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if rest, ok := strings.CutPrefix(line, readyPrefix); ok && err == nil {
			select {
			case i.ready <- strings.TrimSpace(rest):
			default:
			}
		} else if rest, ok := strings.CutPrefix(line, refusedPrefix); ok && err == nil {
			kind, why, _ := strings.Cut(strings.TrimSpace(rest), " ")
			i.refusal = &RefusedError{Kind: kind, Why: why}
		} else if line != "" {
			_, _ = i.log.WriteString(line) // a full disk must not stop the child
		}
		if err != nil {
			return
		}
	}
}

func openLog(path string) (*os.File, error) {
	if path == "" {
		path = os.DevNull
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making log folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the path is configuration
	if err != nil {
		return nil, fmt.Errorf("opening log: %w", err)
	}
	return f, nil
}

// logTail is what a person needs to see when a start has failed: the last lines the child wrote.
func logTail(path string) string {
	if path == "" {
		return ""
	}
	f, err := os.Open(path) //nolint:gosec // the path is configuration
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	const most = 2000
	if st, err := f.Stat(); err == nil && st.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	if len(b) == 0 {
		return ""
	}
	return fmt.Sprintf("\nlast lines of %s:\n%s", path, strings.TrimSpace(string(b)))
}

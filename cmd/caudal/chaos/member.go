package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/cmd/caudal/up"
	"github.com/caudalpay/caudal/schemas/topics"
)

// member is one worker process and its supervisor: what ends is started again under the same name, as in a house.
type member struct {
	number int
	args   []string
	log    string
	proxy  *proxy

	mu        sync.Mutex
	wanted    bool
	notBefore time.Time // of the next start
	cmd       *exec.Cmd // nil while none runs
	lifeline  io.Closer
	asleep    bool
	refused   bool // it has said that another start would find the same
	ended     int  // how often it ended by itself
}

const (
	restartPause = 50 * time.Millisecond
	lookAgain    = 5 * time.Millisecond
	stopLimit    = 25 * time.Second
)

func newMember(ctx context.Context, number int, o *Options, brokers []string) (*member, error) {
	p, err := newProxy(ctx)
	if err != nil {
		return nil, err
	}
	m := &member{number: number, proxy: p, log: filepath.Join(o.Work, fmt.Sprintf("worker-%d.log", number))}
	m.args = []string{
		"worker", "--brokers", strings.Join(brokers, ","), "--partitions", fmt.Sprint(o.Partitions), "--instance", fmt.Sprint(number),
		"--session-timeout", o.SessionTimeout.String(), "--transaction-timeout", o.transactionTimeout().String(), "--through", p.address(),
	}
	if o.Sessions > 1 {
		m.args = append(m.args, "--sessions", fmt.Sprint(o.Sessions))
	}
	if o.Standby {
		m.args = append(m.args, "--standby")
	}
	if o.Engine == EngineStock {
		m.args = append(m.args, "--stock-goka")
	} else if o.State == up.StateDisk {
		m.args = append(m.args, "--state-dir", filepath.Join(o.Work, "state", fmt.Sprint(number)))
	}
	return m, nil
}

// instance is the member's name in the group.
func (m *member) instance() string { return fmt.Sprintf("%s-%d", topics.AccountsGroup, m.number) }

// keep starts the process whenever it is wanted and does not run, until ctx ends; then it kills what runs.
func (m *member) keep(ctx context.Context) error {
	defer m.proxy.close()
	for ctx.Err() == nil {
		if !m.due() {
			select {
			case <-time.After(lookAgain):
			case <-ctx.Done():
			}
			continue
		}
		if err := m.live(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (m *member) due() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wanted && !m.refused && !time.Now().Before(m.notBefore)
}

// live is one life of the process.
func (m *member) live(ctx context.Context) error {
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening a worker's log: %w", err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the binary: %w", err)
	}
	cmd := exec.Command(self, m.args...) //nolint:gosec,noctx // this same binary; killed below
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("starting worker %d: %w", m.number, err)
	}
	if err := child.Start(cmd, syscall.SIGKILL); err != nil {
		return fmt.Errorf("starting worker %d: %w", m.number, err)
	}
	m.set(cmd, lifeline)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = cmd.Process.Kill() // it may have ended just now
		err = <-ended
	}
	m.gone(err)
	return nil
}

func (m *member) set(cmd *exec.Cmd, lifeline io.Closer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cmd, m.lifeline, m.asleep = cmd, lifeline, false
}

func (m *member) gone(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cmd, m.asleep = nil, false
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Exited() { // in order, or by a signal
		return
	}
	m.refused = exit.ExitCode() == child.ExitRefused
	m.ended++
	if again := time.Now().Add(restartPause); again.After(m.notBefore) {
		m.notBefore = again
	}
}

// start wants the process from now on.
func (m *member) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wanted, m.notBefore = true, time.Now()
}

// kill is kill -9; the next start comes after a pause. It reports whether there was a process.
func (m *member) kill(pause time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notBefore = time.Now().Add(pause)
	return m.cmd != nil && m.cmd.Process.Kill() == nil
}

// sleep stops the process where it is, or lets it go on.
func (m *member) sleep(on bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd == nil {
		return false
	}
	s := syscall.SIGCONT
	if on {
		s = syscall.SIGSTOP
	}
	m.asleep = on
	return m.cmd.Process.Signal(s) == nil
}

// stop ends the process in order and does not want it any more; what does not end is killed, which is an error.
func (m *member) stop() error {
	m.mu.Lock()
	m.wanted = false
	cmd := m.cmd
	if cmd != nil {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
	}
	m.mu.Unlock()
	for until := time.Now().Add(stopLimit); m.running(); time.Sleep(lookAgain) {
		if time.Now().After(until) {
			_ = cmd.Process.Signal(syscall.SIGQUIT) // its log then says where it hangs
			return fmt.Errorf("worker %d did not end within %v of being told to", m.number, stopLimit)
		}
	}
	return nil
}

func (m *member) running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cmd != nil
}

// dump ends the process with the stacks of its goroutines in its log.
func (m *member) dump() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wanted = false
	if m.cmd != nil {
		_ = m.cmd.Process.Signal(syscall.SIGCONT) // it may have ended just now
		_ = m.cmd.Process.Signal(syscall.SIGQUIT)
	}
}

// able tells whether the member can be hit.
func (m *member) able() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cmd != nil && !m.asleep && m.wanted
}

func (m *member) fate() (ended int, refused bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ended, m.refused
}

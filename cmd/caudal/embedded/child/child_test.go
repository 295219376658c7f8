package child_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// TestMain makes the test binary its own child: the first argument says how it behaves.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "__") {
		behave(os.Args[1], os.Args[2:])
		return
	}
	os.Exit(m.Run())
}

func behave(how string, args []string) {
	switch how {
	case "__serve":
		ctx := child.Lifeline(5 * time.Second)
		fmt.Println("a line before")
		child.Announce("here", strings.Join(args, ","))
		fmt.Fprintln(os.Stderr, "a line after")
		<-ctx.Done()
	case "__refuse":
		fmt.Fprintln(os.Stderr, "this folder is of another version")
		os.Exit(child.ExitRefused)
	case "__refuse-second": // serves once; the file says that it has
		ctx := child.Lifeline(time.Second)
		if _, err := os.Stat(args[0]); err == nil {
			child.Refuse("torn", errors.New("partition 3 is torn"))
		}
		_ = os.WriteFile(args[0], nil, 0o600)
		child.Announce()
		<-ctx.Done()
	case "__deaf":
		signal.Ignore(syscall.SIGTERM)
		child.Announce()
		time.Sleep(time.Hour)
	case "__stuck": // told to end, but its work never does
		child.Lifeline(200 * time.Millisecond)
		child.Announce()
		time.Sleep(time.Hour)
	case "__mute":
		time.Sleep(time.Hour)
	case "__parent": // starts a child and waits to be killed
		p, err := child.Supervise(context.Background(), child.Spec{Name: "kept", Args: args})
		if err != nil {
			panic(err)
		}
		fmt.Println(p.PID())
		time.Sleep(time.Hour)
	}
}

func supervise(t *testing.T, spec child.Spec) *child.Process {
	t.Helper()
	if spec.LogFile == "" {
		spec.LogFile = filepath.Join(t.TempDir(), "log")
	}
	spec.Name = "tested"
	p, err := child.Supervise(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.Stop(ctx)
	})
	return p
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never happened: " + what)
		}
	}
}

func TestServesAndStops(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p := supervise(t, child.Spec{Args: []string{"__serve", "x"}, LogFile: log})
	if p.Announced() != "here x" || p.Ready() != nil || !child.Alive(p.PID()) {
		t.Fatalf("announced %q, ready %v", p.Announced(), p.Ready())
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if child.Alive(p.PID()) || p.Err() != nil {
		t.Errorf("alive after Stop, or %v", p.Err())
	}
	text, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(text), "a line before\n") || !strings.Contains(string(text), "a line after\n") {
		t.Errorf("log %q, %v", text, err)
	}
}

func TestChildStandsBack(t *testing.T) {
	p := supervise(t, child.Spec{Args: []string{"__serve"}, Nice: child.NiceStore})
	got, err := syscall.Getpriority(syscall.PRIO_PROCESS, p.PID())
	if nice := 20 - got; err != nil || nice != child.NiceStore { // Linux answers 20 - nice
		t.Errorf("nice %d: %v", nice, err)
	}
}

func TestStopAfterCancelIsOrderly(t *testing.T) {
	p := supervise(t, child.Spec{Args: []string{"__serve"}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(ctx); err != nil {
		t.Errorf("the child was killed: %v", err)
	}
}

func TestRun(t *testing.T) {
	if err := child.Run(exec.Command("sh", "-c", "echo told why; exit 4")); err == nil || !strings.Contains(err.Error(), "told why") {
		t.Errorf("Run = %v", err)
	}
	if err := child.Run(exec.Command("true")); err != nil {
		t.Error(err)
	}
}

// Invariant: only the end of this process ends what it started, whatever becomes of its threads. Started by cmd.Start,
// the child here receives its death signal: the runtime ends the threads of goroutines that return locked to them.
func TestStartOutlivesThreads(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := child.Start(cmd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for range 20 {
		var threads sync.WaitGroup
		for range 10 {
			threads.Go(func() {
				runtime.LockOSThread()
				time.Sleep(time.Millisecond)
			})
		}
		threads.Wait()
	}
	select {
	case err := <-exited:
		t.Fatalf("the child ended with a thread: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	_ = cmd.Process.Kill()
	if err := <-exited; err == nil {
		t.Error("sleep slept its minute")
	}
}

// TestLifelineOfAService: who is started with nothing on its standard input, as by a service manager, is not told to end by
// that; a signal is what ends it.
func TestLifelineOfAService(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "__serve")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = child.Start(cmd, syscall.SIGKILL) // its standard input is the null device
	}
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.HasPrefix(lines.Text(), "READY"); {
	}
	time.Sleep(200 * time.Millisecond)
	if !child.Alive(cmd.Process.Pid) {
		t.Error("it took the null device for the end of its parent")
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("told to end, it ended with %v", err)
	}
}

func TestDeadChildIsReplaced(t *testing.T) {
	p := supervise(t, child.Spec{Args: []string{"__serve"}, PauseMin: 10 * time.Millisecond})
	for round := 1; round <= 3; round++ {
		before := p.PID()
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another incarnation", func() bool { return p.Restarts() == round && p.Ready() == nil })
		if p.PID() == before || !child.Alive(p.PID()) {
			t.Fatal("the dead one is still the present one")
		}
	}
}

func TestRefusalIsFinal(t *testing.T) {
	_, err := child.Supervise(t.Context(), child.Spec{Name: "tested", Args: []string{"__refuse"}, LogFile: filepath.Join(t.TempDir(), "log")})
	if err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("the reason is not in the error: %v", err)
	}
	p := supervise(t, child.Spec{Args: []string{"__refuse-second", filepath.Join(t.TempDir(), "served")}, PauseMin: time.Millisecond})
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("a child that refuses is started for ever")
	}
	refused, ok := errors.AsType[*child.RefusedError](p.Err())
	if !ok || refused.Kind != "torn" || refused.Why != "partition 3 is torn" || !strings.Contains(p.Err().Error(), refused.Why) || p.Ready() == nil {
		t.Errorf("err %v, ready %v", p.Err(), p.Ready())
	}
}

func TestDeafChildIsKilled(t *testing.T) {
	p := supervise(t, child.Spec{Args: []string{"__deaf"}, StopTimeout: 100 * time.Millisecond})
	if err := p.Stop(t.Context()); err == nil || child.Alive(p.PID()) {
		t.Errorf("Stop: %v, alive: %v", err, child.Alive(p.PID()))
	}
}

func TestStuckChildExitsByItself(t *testing.T) {
	p := supervise(t, child.Spec{Args: []string{"__stuck"}})
	if err := p.Stop(t.Context()); err != nil || child.Alive(p.PID()) {
		t.Errorf("Stop: %v, alive: %v", err, child.Alive(p.PID()))
	}
}

func TestStartIsBounded(t *testing.T) {
	var mu sync.Mutex
	var pids []string
	_, err := child.Supervise(t.Context(), child.Spec{
		Name: "tested", Args: []string{"__mute"}, StartTimeout: 150 * time.Millisecond,
		Prepare: func(context.Context) error { mu.Lock(); defer mu.Unlock(); pids = append(pids, "once"); return nil },
	})
	if err == nil || !strings.Contains(err.Error(), "in time") || len(pids) != 1 {
		t.Errorf("error %v after %d preparations", err, len(pids))
	}
}

// TestNothingOutlivesItsParent: the parent is killed with SIGKILL and can clean up nothing.
func TestNothingOutlivesItsParent(t *testing.T) {
	for _, how := range []string{"__serve", "__stuck"} {
		t.Run(how, func(t *testing.T) {
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = reader.Close() }()
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			parent, err := os.StartProcess(self, []string{self, "__parent", how}, &os.ProcAttr{Files: []*os.File{nil, writer, os.Stderr}})
			if err != nil {
				t.Fatal(err)
			}
			_ = writer.Close()
			var line [32]byte
			n, err := reader.Read(line[:])
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
			if err != nil || !child.Alive(pid) {
				t.Fatalf("pid %q: %v", line[:n], err)
			}
			if err := parent.Kill(); err != nil {
				t.Fatal(err)
			}
			if _, err := parent.Wait(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the child's end", func() bool { return !child.Alive(pid) })
		})
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := child.Lock(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := child.Lock(t.Context(), path, 60*time.Millisecond); err == nil || !strings.Contains(err.Error(), child.ErrInUse.Error()) {
		t.Fatalf("taken twice: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = first.Close() })
	second, err := child.Lock(t.Context(), path, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_ = second.Close()
}

func TestEventsAreLogged(t *testing.T) {
	var out lockedBuffer
	p := supervise(t, child.Spec{Args: []string{"__serve"}, PauseMin: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the restart in the log", func() bool {
		return strings.Contains(out.String(), "ended by itself") && strings.Contains(out.String(), "is back") && strings.Contains(out.String(), "child=tested")
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

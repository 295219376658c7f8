package kafkad

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a broker has to end in order: it hands over what it leads.
const stopTimeout = 30 * time.Second

// broker is one running process.
type broker struct {
	node  node
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has been waited for
}

func (c *Cluster) launch(n node) (*broker, error) {
	log, err := os.OpenFile(c.path(n, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of broker %d: %w", n.ID, err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	heap := fmt.Sprintf("%dm", c.cfg.HeapMiB)
	cmd := c.java(slices.Concat(c.cfg.jvm, []string{
		"-Xms" + heap, "-Xmx" + heap, "-Dlog4j2.configurationFile=" + filepath.Join(c.lib, logConfigFile), "kafka.Kafka", c.path(n, "properties"),
	})...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C at the terminal is not for it
	if !c.cfg.Stay {
		endWithParent(cmd.SysProcAttr)
	}
	started := make(chan error)
	forks() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting broker %d: %w", n.ID, err)
	}
	b := &broker{node: n, cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // however it ends
		close(b.ended)
	}()
	return b, nil
}

// java prepares a run of one of Kafka's programs. Classes come from the archive where there is one.
func (c *Cluster) java(args ...string) *exec.Cmd {
	flags := []string{"-XX:-UsePerfData", "-Djava.awt.headless=true", "-cp", filepath.Join(c.lib, "*")}
	if archive := filepath.Join(c.lib, classesFile); exists(archive) {
		flags = append(flags, "-XX:SharedArchiveFile="+archive)
	}
	return exec.Command("java", append(flags, args...)...) //nolint:gosec // arguments are ours
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// forks hands work to the one thread that starts processes: the kernel's signal to a child comes when the thread that
// forked it ends, and a goroutine that returns locked to its thread ends it.
//
//nolint:gochecknoglobals // threads belong to the process
var forks = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for fork := range work {
			fork()
		}
	}()
	return work
})

// Kill ends all brokers by SIGKILL and waits for them.
func (c *Cluster) Kill() {
	for i := range c.brokers {
		c.KillBroker(i)
	}
}

// KillBroker is kill -9 of one broker.
func (c *Cluster) KillBroker(i int) {
	_ = c.brokers[i].cmd.Process.Kill() // fails only when it has ended already
	<-c.brokers[i].ended
}

// RestartBroker starts a killed broker on its folder and port, and returns when it answers and knows all others that live.
func (c *Cluster) RestartBroker(ctx context.Context, i int) error {
	b, err := c.launch(c.plan.Nodes[i])
	if err != nil {
		return err
	}
	c.brokers[i] = b
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return c.awaitOne(ctx, b, c.Addrs()[i])
}

// Down ends the brokers that a Start with Stay left running in a folder, and returns how many there were.
func Down(ctx context.Context, dir string, progress io.Writer) (int, error) {
	c, err := existing(dir)
	if err != nil {
		return 0, err
	}
	running, err := c.running()
	if err != nil {
		return 0, err
	}
	for id, pid := range running {
		_, _ = fmt.Fprintf(progress, "ending broker %d, process %d\n", id, pid)
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return 0, fmt.Errorf("ending broker %d, process %d: %w", id, pid, err)
		}
	}
	for until := time.Now().Add(stopTimeout); time.Now().Before(until) && ctx.Err() == nil; time.Sleep(pollEvery) {
		if left, err := c.running(); err != nil || len(left) == 0 {
			return len(running), err
		}
	}
	left, err := c.running()
	for id, pid := range left {
		_, _ = fmt.Fprintf(progress, "broker %d does not end in order: killing process %d\n", id, pid)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return 0, fmt.Errorf("killing broker %d: %w", id, err)
		}
	}
	return len(running), err
}

// Running tells the bootstrap addresses of a folder whose brokers all run, nil if none does.
func Running(dir string) ([]string, error) {
	c, err := existing(dir)
	if err != nil {
		return nil, err
	}
	running, err := c.running()
	switch {
	case err != nil || len(running) == 0:
		return nil, err
	case len(running) < len(c.plan.Nodes):
		return nil, fmt.Errorf("only %d of %s in %s run: end them (make kafka-down) and start again", len(running), count(len(c.plan.Nodes), "broker"), dir)
	}
	return c.Addrs(), nil
}

// existing is the cluster of a folder, without brokers where the folder holds none.
func existing(dir string) (*Cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{cfg: Config{Dir: dir}}
	text, err := os.ReadFile(filepath.Join(dir, planFile)) //nolint:gosec // the folder is the caller's
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c.plan)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's plan: %w", err)
	}
	return c, nil
}

// running finds the process of each broker by the lock it holds on its folder: a number in a file could have become
// another process's meanwhile.
func (c *Cluster) running() (map[int]int, error) {
	found := map[int]int{}
	for _, n := range c.plan.Nodes {
		pid, err := lockOwner(filepath.Join(c.path(n, "data"), ".lock"))
		if err != nil {
			return nil, fmt.Errorf("looking for broker %d: %w", n.ID, err)
		}
		if pid > 0 {
			found[n.ID] = pid
		}
	}
	return found, nil
}

// lockOwner is the process that holds a POSIX lock on a file, 0 if there is none.
func lockOwner(path string) (int, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // the folder is the caller's
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
		return 0, err
	}
	if lock.Type == syscall.F_UNLCK {
		return 0, nil
	}
	return int(lock.Pid), nil
}

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

// inVirtualTime tells whether a test can run here. franz-go holds mutexes while it waits for the broker (a commit for the end
// of a join), and a wait for a mutex is none in which synctest lets time go on; its build tag synctests puts channels in
// their place. Built without the tag, the test has itself built with it, and run.
func inVirtualTime(t *testing.T) bool {
	t.Helper()
	if clientInBubbles {
		return true
	}
	binary, err := forBubbles()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), binary, "-test.v", "-test.timeout=10m", "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), "GOGC=400") // a fifth of the time otherwise
	said, err := child.CombinedOutput()
	t.Logf("built with the tag synctests:\n%s", said)
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// forBubbles builds the tests of this package once; the file goes with leaveNoBinary.
var forBubbles = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "bubbles")
	if err != nil {
		return "", err
	}
	bubblesDir = dir
	binary := filepath.Join(dir, "engine.test")
	said, err := exec.Command("go", "test", "-tags", "synctests", "-c", "-o", binary, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building for bubbles: %w: %s", err, said)
	}
	return binary, nil
})

var bubblesDir string

func leaveNoBinary() {
	if bubblesDir != "" {
		_ = os.RemoveAll(bubblesDir)
	}
}

// inBubble runs f in a bubble of its own and tells whether goroutines stay behind there for ever. An engine may leave some: its
// process is to end, and the client does not give up everything it waits for.
func inBubble(t *testing.T, f func(*testing.T)) (leftovers bool) {
	t.Helper()
	defer func() {
		switch r := recover(); {
		case r == nil:
		case strings.Contains(fmt.Sprint(r), "main bubble goroutine has exited"):
			leftovers = true
		default:
			panic(r)
		}
	}()
	synctest.Test(t, f)
	return false
}

// lab is a broker in memory and the members of a group on it, for testing/synctest's bubble: there time runs only while
// everybody waits, so that a session's end or a commit's timeout costs nothing, and a history takes what its work takes.
type lab struct {
	t       *testing.T
	c       *streamtest.Cluster
	change  func(*engine.Config)
	spoil   func(*engine.Engine)
	members map[int]*member

	mu     sync.Mutex
	next   func(*member, kmsg.Key) doom // what becomes of a request
	sent   map[kmsg.Key]int
	starts int
	ends   []error // of lives that were not told to end
	wrong  []string
	lives  sync.WaitGroup
}

func newLab(t *testing.T, options ...kfake.Opt) *lab {
	t.Helper()
	return &lab{
		t: t, c: withTopics(streamtest.InMemory(t, options...)), members: map[int]*member{}, sent: map[kmsg.Key]int{},
		change: func(*engine.Config) {}, spoil: func(*engine.Engine) {},
		next: func(*member, kmsg.Key) doom { return doom{} },
	}
}

func (l *lab) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}

// judge decides on requests in the order in which they are sent.
func (l *lab) judge(m *member, key kmsg.Key) doom {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[key]++
	return l.next(m, key)
}

func (l *lab) fates(next func(*member, kmsg.Key) doom) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = next
}

// member is a process under a supervisor: what ends by itself or dies starts again under the same ids.
type member struct {
	lab     *lab
	id      int
	leaving context.CancelFunc
	done    chan struct{}
	pause   time.Duration // from an end to the next start

	mu     sync.Mutex
	wire   *wire
	starts int
}

func (l *lab) start(i int) {
	ctx, cancel := context.WithCancel(l.c.Context())
	m := &member{lab: l, id: i, leaving: cancel, done: make(chan struct{}), pause: 20 * time.Millisecond}
	l.members[i] = m
	l.lives.Go(func() {
		defer close(m.done)
		m.supervise(ctx)
	})
}

// startsMax bounds the starts of one member: more is a member that cannot start any more.
const startsMax = 40

func (m *member) supervise(ctx context.Context) {
	for {
		err := m.live(ctx)
		if err == nil && ctx.Err() != nil {
			return
		}
		m.lab.mu.Lock()
		m.lab.ends = append(m.lab.ends, err)
		m.lab.mu.Unlock()
		if m.judged(err) {
			return
		}
		time.Sleep(m.pause)
	}
}

// judged tells whether the member cannot go on: what its end says must never be, or it has tried often enough.
func (m *member) judged(err error) bool {
	_, torn := errors.AsType[*engine.TornError](err)
	_, version := errors.AsType[*engine.StateVersionError](err)
	if torn || version || err == nil {
		m.lab.complain("member %d ended with %v", m.id, err)
		return true
	}
	if m.starts > startsMax {
		m.lab.complain("member %d does not come to life: %v", m.id, err)
		return true
	}
	return false
}

var errDied = errors.New("killed")

// live is one life of the process. One that is killed goes on unwinding without a network; nobody waits for it.
func (m *member) live(ctx context.Context) error {
	cfg := memberConfig(m.lab.c.Addrs, m.id)
	died := make(chan struct{})
	w := newWire(m.lab.c.Dial, func(key kmsg.Key) doom { return m.lab.judge(m, key) }, func() { close(died) })
	m.mu.Lock()
	m.wire = w
	m.starts++
	m.mu.Unlock()
	m.lab.mu.Lock()
	m.lab.starts++
	m.lab.mu.Unlock()
	cfg.Options = []kgo.Opt{kgo.Dialer(w.dial)}
	m.lab.change(&cfg)
	e, err := engine.New(cfg, countBy(cfg.InstanceID))
	if err != nil {
		m.lab.complain("configuring member %d: %v", m.id, err)
		return err
	}
	m.lab.spoil(e)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	m.lab.lives.Go(func() {
		defer cancel()
		ended <- e.Run(ctx)
		w.die()
	})
	hangs := time.NewTimer(10 * time.Minute)
	defer hangs.Stop()
	select {
	case err = <-ended:
		return err
	case <-died:
		select {
		case err = <-ended: // it ended by itself
			return err
		default:
		}
		cancel()
		return errDied
	case <-hangs.C:
		m.lab.complain("member %d hangs", m.id)
		w.die()
		return nil
	}
}

// crash kills the process.
func (m *member) crash() {
	m.mu.Lock()
	w := m.wire
	m.mu.Unlock()
	if w != nil {
		w.die()
	}
}

func (m *member) unplug(plugged bool) {
	m.mu.Lock()
	w := m.wire
	m.mu.Unlock()
	switch {
	case w == nil:
	case plugged:
		w.plug()
	default:
		w.unplug()
	}
}

// leave ends a member in order. One whose end goes wrong stays away: its partitions wait for the end of its session.
func (l *lab) leave(i int) {
	m := l.members[i]
	delete(l.members, i)
	m.leaving()
	<-m.done
}

// drain waits until all input is committed.
func (l *lab) drain() {
	l.t.Helper()
	for until := time.Now().Add(2 * time.Minute); lag(l.c) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) || len(l.wrong) > 0 {
			l.complain("%d inputs are not done", lag(l.c))
			return
		}
	}
}

// ended waits until a life has ended that was not told to.
func (l *lab) ended(most time.Duration) {
	for until := time.Now().Add(most); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		l.mu.Lock()
		n := len(l.ends)
		l.mu.Unlock()
		if n > 0 {
			return
		}
	}
}

// finish drains, ends everybody and returns what is wrong with what is on the log, or with how the members came there.
func (l *lab) finish() []string {
	l.fates(func(*member, kmsg.Key) doom { return doom{} })
	l.drain()
	for i := range l.members {
		l.leave(i)
	}
	l.lives.Wait()
	if len(l.wrong) > 0 {
		return l.wrong
	}
	return oracle(l.c)
}

package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caudalpay/caudal/streams/streamtest"
)

// house keeps member processes, as their supervisor does: what ends by itself starts again.
type house struct {
	t       *testing.T
	c       *streamtest.Cluster
	env     []string
	members map[int]*worker
	stopped map[int]bool // by SIGSTOP
	faults  map[string]int
}

func newHouse(t *testing.T, c *streamtest.Cluster, env ...string) *house {
	return &house{t: t, c: c, env: env, members: map[int]*worker{}, stopped: map[int]bool{}, faults: map[string]int{}}
}

func (h *house) start(i int) {
	h.members[i] = spawn(h.t, h.c.Addrs, append([]string{fmt.Sprintf("%s=%d", childMember, i)}, h.env...)...)
}

// supervise starts what has ended again.
func (h *house) supervise() {
	for i, w := range h.members {
		select {
		case err := <-w.ended:
			h.t.Logf("member %d ended: %v", i, err)
			h.faults["ended by itself"]++
			h.start(i)
		default:
		}
	}
}

func (h *house) kill(i int) {
	h.t.Helper()
	w := h.members[i]
	if err := w.cmd.Process.Kill(); errors.Is(err, os.ErrProcessDone) {
		return // it has ended by itself just now
	} else if err != nil {
		h.t.Fatal(err)
	}
	if err := <-w.ended; err == nil {
		h.t.Fatalf("member %d was killed and ended in order", i)
	}
	delete(h.members, i)
	delete(h.stopped, i)
	h.faults["kill"]++
}

func (h *house) signal(i int, s syscall.Signal) {
	h.t.Helper()
	if err := h.members[i].cmd.Process.Signal(s); err != nil {
		h.t.Logf("signalling member %d: %v", i, err)
	}
	h.stopped[i] = s == syscall.SIGSTOP
	h.faults[s.String()]++
}

// leave ends a member in order. One that ends in doubt instead starts again first, as it would in a house: until then its
// place in the group is kept for it.
func (h *house) leave(i int) {
	h.t.Helper()
	for h.end(i) != nil {
		h.start(i)
		time.Sleep(500 * time.Millisecond)
	}
	delete(h.members, i)
	h.faults["leave"]++
}

func (h *house) end(i int) error {
	h.t.Helper()
	w := h.members[i]
	if err := w.stdin.Close(); err != nil {
		h.t.Logf("ending member %d: %v", i, err)
	}
	select {
	case err := <-w.ended:
		if err != nil {
			h.t.Logf("member %d ended in leaving: %v", i, err)
		}
		return err
	case <-time.After(20 * time.Second):
		_ = w.cmd.Process.Signal(syscall.SIGQUIT) // it says where it hangs
		h.t.Fatalf("member %d does not end: %v", i, <-w.ended)
		return nil
	}
}

// drain waits until all input is committed.
func (h *house) drain() {
	h.t.Helper()
	for deadline := time.Now().Add(40 * time.Second); h.c.Lag(group, input) > 0; time.Sleep(20 * time.Millisecond) {
		h.supervise()
		if time.Now().After(deadline) {
			h.t.Fatalf("%d inputs are not done; faults %v", h.c.Lag(group, input), h.faults)
		}
	}
}

// TestMembersUnderAttack: processes join, leave, are killed, and sleep past their session while others take over.
func TestMembersUnderAttack(t *testing.T) {
	for name, env := range map[string][]string{"cooperative": nil, "broker assigns": {childBrokerAssigns + "=1"}} {
		t.Run(name, func(t *testing.T) {
			seed := testSeed(t)
			random := rand.New(rand.NewPCG(seed, 4))
			c := newCluster(t)
			f := feed(c, 5*time.Millisecond, 10, 500)
			defer f.cancel()
			h := newHouse(t, c, env...)
			h.start(0)
			for until := time.Now().Add(8 * time.Second); time.Now().Before(until); {
				h.attack(random)
				h.supervise()
				time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
			}
			for i := range 4 { // the place of one that ended in doubt is kept until it comes back
				if h.stopped[i] {
					h.signal(i, syscall.SIGCONT)
				}
				if h.members[i] == nil {
					h.start(i)
				}
			}
			f.stop(t)
			h.drain()
			for i := range 4 {
				h.leave(i)
			}
			t.Logf("%d inputs, faults %v", f.sent, h.faults)
			if wrong := oracle(c); len(wrong) > 0 {
				t.Fatalf("%d things wrong, first %s", len(wrong), wrong[0])
			}
		})
	}
}

func (h *house) attack(random *rand.Rand) {
	i := random.IntN(4)
	switch {
	case h.members[i] == nil:
		h.start(i)
	case h.stopped[i]:
		h.signal(i, syscall.SIGCONT)
	case random.IntN(3) == 0:
		h.signal(i, syscall.SIGSTOP)
	case random.IntN(2) == 0:
		h.kill(i)
	case len(h.members) > 1:
		h.leave(i)
	}
}

// TestZombie stops a member past its session in the middle of its work and lets it go on when another has taken over.
func TestZombie(t *testing.T) {
	c := newCluster(t)
	o := observe(c)
	f := feed(c, 5*time.Millisecond, 10, 500)
	h := newHouse(t, c)
	h.start(0)
	o.await(t, "start", even("worker-0"))
	for round := range 3 {
		zombie, heir := round%2, (round+1)%2
		h.start(heir)
		o.await(t, "join", even("worker-0", "worker-1"))
		o.forget()
		h.signal(zombie, syscall.SIGSTOP)
		o.await(t, "takeover", even(fmt.Sprintf("worker-%d", heir)))
		_, pause := o.pauses(map[int32]string{})
		t.Logf("round %d, takeover from a sleeping member: longest pause %v", round, pause)
		h.signal(zombie, syscall.SIGCONT)
		select {
		case err := <-h.members[zombie].ended:
			if err == nil || !strings.Contains(err.Error(), "exit status 3") {
				t.Fatalf("zombie ended with %v", err)
			}
			delete(h.members, zombie)
		case <-time.After(20 * time.Second):
			t.Fatal("the zombie goes on")
		}
	}
	f.stop(t)
	h.drain()
	for i := range h.members {
		h.leave(i)
	}
	if wrong := oracle(c); len(wrong) > 0 {
		t.Fatalf("%d things wrong, first %s", len(wrong), wrong[0])
	}
}

// TestTakeoverAfterKill measures how long a killed member's partitions stand still when it is started again at once, and
// when it is not. The bounds are three times what the configured timeouts come to.
func TestTakeoverAfterKill(t *testing.T) {
	for name, env := range map[string][]string{"cooperative": nil, "broker assigns": {childBrokerAssigns + "=1"}} {
		t.Run(name, func(t *testing.T) { takeoverAfterKill(t, env) })
	}
}

func takeoverAfterKill(t *testing.T, env []string) {
	c := newCluster(t)
	o := observe(c)
	f := feed(c, 5*time.Millisecond, 10, 500)
	h := newHouse(t, c, env...)
	h.start(0)
	h.start(1)
	o.await(t, "start", even("worker-0", "worker-1"))
	for round := range 3 {
		before := o.owners()
		o.forget()
		h.kill(1)
		h.start(1)
		time.Sleep(1500 * time.Millisecond)
		o.await(t, "restart", even("worker-0", "worker-1"))
		t.Logf("round %d, killed and started again: longest pause %v", round, o.of(before, "worker-1"))
		if d := o.of(before, "worker-1"); d > 4500*time.Millisecond {
			t.Errorf("a restart took %v", d)
		}
		if d := o.of(before, "worker-0"); d > 900*time.Millisecond {
			t.Errorf("the other member paused %v", d)
		}
	}
	before := o.owners()
	o.forget()
	h.kill(1)
	o.await(t, "takeover", even("worker-0"))
	t.Logf("killed and not started again: longest pause %v, of the other member's partitions %v", o.of(before, "worker-1"), o.of(before, "worker-0"))
	cfg := memberConfig(nil, 0)
	if d := o.of(before, "worker-1"); d > 3*(cfg.SessionTimeout+cfg.TransactionTimeout) {
		t.Errorf("a takeover took %v", d)
	}
	f.stop(t)
	h.drain()
	h.leave(0)
	if wrong := oracle(c); len(wrong) > 0 {
		t.Fatalf("%d things wrong, first %s", len(wrong), wrong[0])
	}
}

// of is the longest pause of a member's partitions since forget.
func (o *observer) of(owners map[int32]string, member string) (longest time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for p, w := range owners {
		if w == member {
			longest = max(longest, o.worst[p], time.Since(o.last[p]))
		}
	}
	return longest
}

package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caudalpay/caudal/streams/engine"
)

// TestIdleMembersKnowWhatTheyHold: the client's session reports no second revocation before a transaction has ended, and
// idle members end none. Two rebalances later they still agree on who holds what, and records find their owner.
func TestIdleMembersKnowWhatTheyHold(t *testing.T) {
	c := newCluster(t)
	var members []*running
	for i, want := range [][]int{{4}, {2, 2}, {1, 1, 2}} {
		members = append(members, startMember(t, c, i))
		holdEventually(t, members, want)
	}
	o := observe(c)
	c.Produce(inputs(400, 40)...)
	o.await(t, "records", even("worker-0", "worker-1", "worker-2"))
	members[2].stop()
	holdEventually(t, members[:2], []int{2, 2})
	members[1].stop()
	holdEventually(t, members[:1], []int{4})
	c.Produce(inputs(400, 40)...)
	finish(t, c, members[0])
}

// holdEventually compares how many partitions the members say they handle, in any order.
func holdEventually(t *testing.T, members []*running, want []int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		have := map[int]int{}
		var list []int
		for _, m := range members {
			have[m.engine.Partitions()]++
			list = append(list, m.engine.Partitions())
		}
		for _, w := range want {
			have[w]--
		}
		equal := true
		for _, n := range have {
			equal = equal && n == 0
		}
		if equal {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("members hold %v partitions, want %v", list, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// logged counts lines of the log.
type logged struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.String(), text)
}

// TestKeptPartitionsAreNotRestoredAgain: a member that stays reads its changelogs once, whoever comes and goes beside it.
func TestKeptPartitionsAreNotRestoredAgain(t *testing.T) {
	c := newCluster(t)
	o := observe(c)
	f := feed(c, 5*time.Millisecond, 10, 500)
	var log logged
	first := startMember(t, c, 0, func(cfg *engine.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	o.await(t, "start", even("worker-0"))
	for range 3 {
		second := startMember(t, c, 1)
		o.await(t, "join", even("worker-0", "worker-1"))
		before := log.count("msg=restored")
		third := startMember(t, c, 2)
		o.await(t, "join", func(holds map[string]int) bool { return holds["worker-2"] == 1 })
		third.stop()
		o.await(t, "leave", even("worker-0", "worker-1"))
		if n := log.count("msg=restored") - before; n > 1 { // what the third one gave back
			t.Errorf("the first member restored %d times while another came and went", n)
		}
		second.stop()
		o.await(t, "leave", even("worker-0"))
	}
	f.stop(t)
	finish(t, c, first)
	if n := log.count("partitions=4"); n != 1 {
		t.Errorf("all partitions were restored %d times", n)
	}
}

// attackMutant lets partitions go forth and back between members, under load with refused commits, and returns what the
// oracle says.
func attackMutant(t *testing.T, spoil func(*engine.Engine)) []string {
	t.Helper()
	c := newFake(t)
	o := observe(c)
	f := feed(c, 5*time.Millisecond, 10, 100)
	member := func(i int) *running {
		cfg := memberConfig(c.Addrs, i)
		e, err := engine.New(cfg, countBy(cfg.InstanceID))
		if err != nil {
			t.Fatal(err)
		}
		spoil(e)
		return startEngine(t, e)
	}
	first := member(0)
	o.await(t, "start", even("worker-0"))
	for range 2 {
		second := member(1)
		o.await(t, "join", even("worker-0", "worker-1"))
		refuse(c.Cluster, 0)
		time.Sleep(200 * time.Millisecond)
		second.stop()
		o.await(t, "leave", even("worker-0"))
	}
	f.stop(t)
	first.caughtUp(c)
	first.stop()
	return oracle(c)
}

func TestOracleCatchesMutants(t *testing.T) {
	t.Run("none", func(t *testing.T) {
		if wrong := attackMutant(t, func(*engine.Engine) {}); len(wrong) > 0 {
			t.Fatalf("%d things wrong, first %s", len(wrong), wrong[0])
		}
	})
	for name, spoil := range map[string]func(*engine.Engine){
		"no overlay rollback":        (*engine.Engine).KeepOverlayOnAbort,
		"ownership by callback only": (*engine.Engine).TrustCallbacks,
	} {
		t.Run(name, func(t *testing.T) {
			wrong := attackMutant(t, spoil)
			if len(wrong) == 0 {
				t.Fatal("nobody noticed")
			}
			t.Logf("%d things wrong, first %s", len(wrong), wrong[0])
		})
	}
}

// TestRestoreThatStopsEarlyIsCaught: what it takes for the state has not applied what the group has committed.
func TestRestoreThatStopsEarlyIsCaught(t *testing.T) {
	c := newCluster(t)
	c.Produce(inputs(400, 40)...)
	r := startMember(t, c, 0)
	r.caughtUp(c)
	r.stop()
	cfg := memberConfig(c.Addrs, 0)
	e, err := engine.New(cfg, countBy(cfg.InstanceID))
	if err != nil {
		t.Fatal(err)
	}
	e.StopAtAnyFence()
	err = startEngine(t, e).wait()
	if _, torn := errors.AsType[*engine.TornError](err); !torn {
		t.Fatalf("an engine whose restore stops early ended with %v", err)
	}
}

// TestTrapsNameTheirTests: the list of traps names tests that are there.
func TestTrapsNameTheirTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/engine-traps.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var source []byte
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, b...)
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllSubmatch(page, -1)
	for _, m := range named {
		if !bytes.Contains(source, fmt.Appendf(nil, "\nfunc %s(", m[1])) {
			t.Errorf("docs/engine-traps.md names %s, which is not there", m[1])
		}
	}
	if len(named) < 40 {
		t.Errorf("docs/engine-traps.md names %d tests", len(named))
	}
}

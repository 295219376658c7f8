package engine_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/streams/engine"
)

// historiesEnv is how many histories TestSimulation plays; CAUDAL_TEST_SEED is the seed of the first, the next one has the
// next. A seed settles what is done to whom and when, on the clock of the bubble. It does not settle in which order the
// scheduler lets run what may run at the same moment: a history that fails once may need some repetitions.
const (
	historiesEnv = "CAUDAL_TEST_HISTORIES"
	seedEnv      = "CAUDAL_TEST_SEED"
)

// history is a short life of a group in which much goes wrong.
type history struct {
	*lab
	random *rand.Rand
	dooms  []pending
	struck map[string]int // faults that came to pass, by name
	told   []string
	// refusals are faults of the broker's own.
	refusals []*kfake.FaultHandle
	fed      int
	two      bool // inputs
}

// pending is a fate that waits for a request of its kind.
type pending struct {
	key  kmsg.Key
	any  bool // of any kind
	left int  // requests that it lets pass
	doom doom
	name string
}

const (
	membersMax    = 3
	leftoversName = "goroutines left behind" // no fault, but counted like one
)

// play plays the history of a seed.
func play(t *testing.T, seed uint64, spoil func(*engine.Engine)) (h *history) {
	slow := time.AfterFunc(20*time.Second, func() { // what runs and runs would not tell its seed
		fmt.Fprintf(os.Stderr, "the history of %s=%d has run for 20 s of real time\n", seedEnv, seed)
	})
	defer slow.Stop()
	leftovers := inBubble(t, func(t *testing.T) {
		h = &history{lab: newLab(t), random: rand.New(rand.NewPCG(seed, 7)), struck: map[string]int{}}
		recordsMax, brokerAssigns, sessions := 1+h.random.IntN(40), h.random.IntN(5) == 0, 1+h.random.IntN(3)/2
		h.two = h.random.IntN(3) == 0
		standby := h.random.IntN(3) == 0
		h.change = func(cfg *engine.Config) {
			if h.two {
				cfg.MoreInputs = []string{second}
			}
			cfg.RecordsMax, cfg.BrokerAssigns, cfg.Sessions, cfg.Standby = recordsMax, brokerAssigns, sessions, standby
		}
		h.spoil = spoil
		h.fates(h.strike)
		h.start(0)
		for range 8 + h.random.IntN(16) {
			h.step()
			h.pass(400 * time.Millisecond)
		}
		// Everybody comes back for the end: where the broker assigns, kfake keeps the partitions of one whose leave went wrong for
		// it for ever (Apache Kafka does until its session is over).
		for i := range membersMax {
			if h.members[i] == nil {
				h.start(i)
			}
			h.members[i].unplug(true)
		}
		for _, r := range h.refusals {
			h.struck["refused"] += r.Hits()
			r.Remove()
		}
		h.wrong = h.finish()
	})
	if leftovers {
		h.struck[leftoversName]++
	}
	return h
}

func (h *history) feed(n int) {
	records := inputs(n, 12)
	for _, r := range records {
		if h.two && h.random.IntN(2) == 0 {
			r.Topic = second
		}
	}
	h.c.Produce(records...)
	h.fed += n
}

func (h *history) pass(most time.Duration) { time.Sleep(time.Duration(h.random.Int64N(int64(most)))) }

// tell counts a fault and notes when it was.
func (h *history) tell(name, format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.struck[name]++
	h.told = append(h.told, name+": "+fmt.Sprintf(format, args...))
}

// strike is asked about each request, with the lab locked.
func (h *history) strike(m *member, key kmsg.Key) doom {
	for i, d := range h.dooms {
		if !d.any && d.key != key {
			continue
		}
		if d.left > 0 {
			h.dooms[i].left--
			continue
		}
		h.dooms = slices.Delete(h.dooms, i, i+1)
		h.struck[d.name]++
		h.told = append(h.told, fmt.Sprintf("%s: %s of member %d", d.name, key.Name(), m.id))
		return d.doom
	}
	return doom{}
}

func (h *history) expect(p pending) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dooms = append(h.dooms, p)
}

// step feeds, or does something to a member.
func (h *history) step() {
	i := h.random.IntN(membersMax)
	m := h.members[i]
	switch {
	case h.random.IntN(3) == 0:
		h.feed(1 + h.random.IntN(60))
	case m == nil:
		h.start(i)
		h.members[i].pause = time.Duration(h.random.Int64N(int64(2500 * time.Millisecond)))
		h.tell("start", "member %d", i)
	default:
		h.harm(i, m)
	}
}

func fateNames() map[fate]string {
	return map[fate]string{
		cutBefore: "cut before a request", cutAfter: "cut after a request", misanswered: "done and refused",
		deadBefore: "death before a request", deadAfter: "death after a request",
	}
}

func faultNames() []string {
	return append(slices.Collect(maps.Values(fateNames())), "refused", "start", "leave", "death", "unplugged")
}

func (h *history) harm(i int, m *member) {
	switch n := h.random.IntN(12); {
	case n == 0:
		h.tell("leave", "member %d", i)
		h.leave(i)
	case n == 1:
		h.tell("death", "member %d", i)
		m.crash()
	case n == 2:
		h.tell("unplugged", "member %d", i)
		m.unplug(false)
		h.pass(4 * time.Second)
		m.unplug(true)
	case n < 7: // the steps of a commit, or any
		kind := []fate{cutBefore, cutAfter, deadBefore, deadAfter}[h.random.IntN(4)]
		p := pending{doom: doom{fate: kind}, name: fateNames()[kind], left: h.random.IntN(4)}
		if keys := []kmsg.Key{kmsg.EndTxn, kmsg.TxnOffsetCommit, kmsg.Produce, kmsg.OffsetFetch, kmsg.InitProducerID}; n < 5 {
			p.key = keys[h.random.IntN(len(keys))]
		} else {
			p.any, p.left = true, h.random.IntN(60)
		}
		h.expect(p)
	default:
		rows := sweepTable()
		row := rows[h.random.IntN(len(rows))]
		err := row.errs[h.random.IntN(len(row.errs))]
		refusable := []kmsg.Key{ // others would hit the test's own clients
			kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.OffsetFetch, kmsg.Produce, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.ConsumerGroupHeartbeat,
		}
		if h.random.IntN(2) == 0 && slices.Contains(refusable, row.key) && !row.doneOnly {
			h.refuse(row, err)
			break
		}
		h.expect(pending{
			key: row.key, left: h.random.IntN(3), name: fateNames()[misanswered],
			doom: doom{fate: misanswered, err: err, entities: row.entities},
		})
	}
	if h.random.IntN(2) == 0 {
		h.feed(1 + h.random.IntN(40))
	}
}

// refuse makes the broker itself answer with an error, without doing what it was asked for.
func (h *history) refuse(row swept, err *kerr.Error) {
	fault := row.where
	fault.Keys, fault.Count, fault.Err = []kmsg.Key{row.key}, 1, err
	h.refusals = append(h.refusals, h.c.Fault(fault))
}

// What make test has time for: as many histories as it plays on an idle machine, fewer where others are at work.
const (
	historiesUsual = 300
	historiesLeast = 60
	historiesTime  = 25 * time.Second
)

// TestSimulation plays hundreds of histories; historiesEnv and seedEnv choose how many, and from which one on.
func TestSimulation(t *testing.T) {
	if !inVirtualTime(t) {
		return
	}
	seed, began := testSeed(t), time.Now()
	most, chosen := historiesChosen(t)
	more := func(played uint64) bool {
		return played < most && (chosen || played < historiesLeast || time.Since(began) < historiesTime)
	}
	var (
		mu             sync.Mutex
		struck         = map[string]int{}
		inputs, starts int
		next, played   atomic.Uint64
	)
	t.Run("histories", func(t *testing.T) {
		for w := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(w), func(t *testing.T) {
				t.Parallel()
				for i := next.Add(1) - 1; more(i) && !t.Failed(); i = next.Add(1) - 1 {
					h := play(t, seed+i, func(*engine.Engine) {})
					played.Add(1)
					mu.Lock()
					for name, n := range h.struck {
						struck[name] += n
					}
					inputs += h.fed
					starts += h.starts
					mu.Unlock()
					if len(h.wrong) > 0 {
						t.Errorf("history of %s=%d %s=1:\n%s\n%d things wrong, first %s",
							seedEnv, seed+i, historiesEnv, strings.Join(h.told, "\n"), len(h.wrong), h.wrong[0])
					}
				}
			})
		}
	})
	t.Logf("%d histories in %v: %d inputs, %d starts of engines, faults %v", played.Load(), time.Since(began), inputs, starts, struck)
	for _, name := range faultNames() {
		if struck[name] == 0 && !chosen {
			t.Errorf("no history had the fault %q", name)
		}
	}
}

// historiesChosen is how many to play at most, and whether somebody said so.
func historiesChosen(t *testing.T) (most uint64, chosen bool) {
	t.Helper()
	s := os.Getenv(historiesEnv)
	if s == "" {
		return historiesUsual, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n, true
}

// TestSimulationHasTeeth: engines that are wrong on purpose are caught by one history or another.
func TestSimulationHasTeeth(t *testing.T) {
	if !inVirtualTime(t) {
		return
	}
	seed := testSeed(t)
	for name, spoil := range map[string]func(*engine.Engine){
		"no overlay rollback":        (*engine.Engine).KeepOverlayOnAbort,
		"ownership by callback only": (*engine.Engine).TrustCallbacks,
		"restore that stops early":   (*engine.Engine).StopAtAnyFence,
		"restore that is not checked": func(e *engine.Engine) {
			e.StopAtAnyFence()
			e.TrustAnything()
		},
		"doubt counts as done":     (*engine.Engine).TrustDoubt,
		"standby that passes over": (*engine.Engine).LoseOnStandby,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const most = 200
			for i := range uint64(most) {
				if h := play(t, seed+i, spoil); len(h.wrong) > 0 {
					if sound := play(t, seed+i, func(*engine.Engine) {}); len(sound.wrong) > 0 {
						t.Fatalf("history of seed %d: a sound engine is wrong there too: %s", seed+i, sound.wrong[0])
					}
					t.Logf("history %d of seed %d: %d things wrong, first %s", i, seed+i, len(h.wrong), h.wrong[0])
					return
				}
			}
			t.Errorf("%d histories, and nobody noticed", most)
		})
	}
}

// TestStopWithAFenceInDoubt: the client waits for a record that may have reached a broker which is gone, whatever its context
// says; a member that is told to stop ends all the same, and leaves nothing behind.
func TestStopWithAFenceInDoubt(t *testing.T) {
	if !inVirtualTime(t) {
		return
	}
	died := 0
	leftovers := inBubble(t, func(t *testing.T) {
		l := newLab(t)
		l.fates(func(_ *member, key kmsg.Key) doom {
			if key != kmsg.Produce || died > 0 {
				return doom{}
			}
			died++
			return doom{fate: deadAfter}
		})
		l.start(0)
		time.Sleep(time.Second)
		if wrong := l.finish(); len(wrong) > 0 {
			t.Error(wrong)
		}
	})
	if died != 1 || leftovers {
		t.Errorf("%d fences were in doubt, goroutines left behind: %v", died, leftovers)
	}
}

// TestSimulationOfSpoiltMemory: memory that an abort leaves in another state than was ever committed does no harm, since the
// state is compared with the group's offsets before the work goes on.
func TestSimulationOfSpoiltMemory(t *testing.T) {
	if !inVirtualTime(t) {
		return
	}
	seed := testSeed(t)
	for i := range uint64(20) {
		if h := play(t, seed+i, (*engine.Engine).SpoilOnAbort); len(h.wrong) > 0 {
			t.Fatalf("history of seed %d: %d things wrong, first %s", seed+i, len(h.wrong), h.wrong[0])
		}
	}
}

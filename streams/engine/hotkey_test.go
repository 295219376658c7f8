package engine_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
)

const (
	hotKey        = "acc-hot"
	hotSeconds    = 4
	hotRecordsMax = 200
	hotCallback   = time.Millisecond // so a partition does 1,000 records a second
)

// TestHotKey gives one key seven of ten records. As long as its partition can do what comes, nobody waits for it. When it
// cannot, its partition falls behind, and those of the same member with it, since they share their transactions; the partitions of
// another member do not notice, and no transaction grows with the backlog. The clock is the bubble's, and only callbacks take
// time.
func TestHotKey(t *testing.T) {
	if !inVirtualTime(t) {
		return
	}
	t.Run("below what a partition can do", func(t *testing.T) {
		m := measureHotKey(t, 1, 1_000)
		for p, wait := range m.waits {
			if wait > 500*time.Millisecond {
				t.Errorf("a record of partition %d waited %v", p, wait)
			}
		}
	})
	t.Run("above it", func(t *testing.T) {
		m := measureHotKey(t, 2, 2_500)
		hot := topics.Partition([]byte(hotKey), partitions)
		elsewhere := 0
		for p, wait := range m.waits {
			if m.owners[p] == m.owners[hot] {
				continue
			}
			if elsewhere++; wait > 500*time.Millisecond {
				t.Errorf("a record of partition %d waited %v, though it is not with the hot one", p, wait)
			}
		}
		if elsewhere != partitions/2 || m.waits[hot] < time.Second {
			t.Errorf("%d partitions are elsewhere, the hot one was %v behind: nothing was tested", elsewhere, m.waits[hot])
		}
	})
}

// measured is what came of a run with a hot key.
type measured struct {
	mu      sync.Mutex
	waits   map[int32]time.Duration // the longest, from a record's time to when its output can be read
	owners  map[int32]int
	handled [2]int            // in the open transaction of each member
	largest int               // transaction, in records
	longest time.Duration     // time from one commit to the next, under load
	last    map[int]time.Time // commit
}

func measureHotKey(t *testing.T, members, perSecond int) *measured {
	t.Helper()
	m := &measured{waits: map[int32]time.Duration{}, owners: map[int32]int{}, last: map[int]time.Time{}}
	inBubble(t, func(t *testing.T) {
		l := newLab(t)
		var running []*running
		for i := range members {
			running = append(running, m.member(t, l, i))
		}
		spread := map[int][]int{1: {4}, 2: {2, 2}}
		holdEventually(t, running, spread[members])
		stop := m.watch(l)
		began, n := time.Now(), 0
		for range hotSeconds * 100 {
			rs := inputs(perSecond/100, 40)
			for i, r := range rs {
				r.Timestamp = time.Now()
				if r.Key = []byte(hotKey); i%10 >= 7 {
					r.Key = fmt.Appendf(nil, "acc-%d", (n+i)%41)
				}
			}
			l.c.Produce(rs...)
			n += len(rs)
			time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(perSecond))))
		}
		behind := l.c.Lag(group, input)
		running[0].caughtUp(l.c)
		t.Logf("%d records in %v, %d of them left when the last came; longest waits %v; largest transaction %d records, longest %v",
			n, time.Since(began), behind, m.waits, m.largest, m.longest)
		for _, r := range running {
			r.stop()
		}
		stop()
		if wrong := oracle(l.c); len(wrong) > 0 {
			t.Error(wrong[0])
		}
		if m.largest > hotRecordsMax || m.longest > 2*hotRecordsMax*hotCallback {
			t.Errorf("a transaction had %d records, one took %v", m.largest, m.longest)
		}
	})
	return m
}

func (m *measured) member(t *testing.T, l *lab, i int) *running {
	t.Helper()
	cfg := memberConfig(l.c.Addrs, i)
	cfg.RecordsMax, cfg.Options = hotRecordsMax, []kgo.Opt{kgo.Dialer(l.c.Dial)}
	e, err := engine.New(cfg, func(ctx *engine.Context, value []byte) error {
		time.Sleep(hotCallback)
		m.mu.Lock()
		m.owners[ctx.Partition()] = i
		m.handled[i]++
		m.mu.Unlock()
		return count(ctx, value)
	})
	if err != nil {
		t.Fatal(err)
	}
	e.OnCommit(func(time.Duration) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.largest = max(m.largest, m.handled[i])
		if m.handled[i] == hotRecordsMax { // it did not wait for input
			m.longest = max(m.longest, time.Since(m.last[i]))
		}
		m.handled[i], m.last[i] = 0, time.Now()
	})
	return startEngine(t, e)
}

// watch follows input and output until the function that it returns is called.
func (m *measured) watch(l *lab) func() {
	ctx, cancel := context.WithCancel(l.c.Context())
	client := l.c.Client(kgo.ConsumeTopics(input, output), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	var watching sync.WaitGroup
	watching.Go(func() {
		came := map[string]time.Time{}
		for ctx.Err() == nil {
			fetches := client.PollFetches(ctx)
			fetches.EachRecord(func(r *kgo.Record) {
				if r.Topic == input {
					came[string(place(r.Topic, r.Partition, r.Offset))] = r.Timestamp
				}
			})
			m.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) {
				if at, ok := came[string(r.Value)]; ok && r.Topic == output {
					m.waits[int32(r.Value[3])] = max(m.waits[int32(r.Value[3])], time.Since(at))
				}
			})
			m.mu.Unlock()
		}
	})
	return func() {
		cancel()
		watching.Wait()
	}
}

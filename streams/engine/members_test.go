package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

// memberConfig is that of the i-th member of the group.
func memberConfig(addrs []string, i int) engine.Config {
	cfg := testConfig(addrs)
	cfg.TransactionalID, cfg.InstanceID = fmt.Sprintf("tx-%d", i), fmt.Sprintf("worker-%d", i)
	cfg.Dir = stateDir(addrs, cfg.InstanceID)
	cfg.TransactionTimeout, cfg.SessionTimeout, cfg.CallbackTimeout = 800*time.Millisecond, 1500*time.Millisecond, 1500*time.Millisecond
	return cfg
}

func startMember(tb testing.TB, c *streamtest.Cluster, i int, change ...func(*engine.Config)) *running {
	tb.Helper()
	cfg := memberConfig(c.Addrs, i)
	for _, f := range change {
		f(&cfg)
	}
	return start(tb, cfg, countBy(cfg.InstanceID))
}

// feeder writes at a steady rate, as many to each partition, until stopped.
type feeder struct {
	cancel context.CancelFunc
	ended  chan error
	sent   int
}

func feed(c *streamtest.Cluster, tick time.Duration, perTick, keys int) *feeder {
	outlive := c.Context()
	ctx, cancel := context.WithCancel(outlive)
	f := &feeder{cancel: cancel, ended: make(chan error, 1)}
	client := c.Client(kgo.ProducerLinger(0))
	go func() {
		t := time.NewTicker(tick)
		defer t.Stop()
		for ctx.Err() == nil {
			<-t.C
			for range perTick {
				client.Produce(outlive, record(fmt.Sprintf("acc-%d", f.sent%keys), "v"+strconv.Itoa(f.sent)), nil)
				f.sent++
			}
		}
		f.ended <- client.Flush(outlive)
	}()
	return f
}

func (f *feeder) stop(tb testing.TB) {
	tb.Helper()
	f.cancel()
	if err := <-f.ended; err != nil {
		tb.Fatal(err)
	}
}

// observer watches the committed outputs: who works on which partition, and for how long none of its outputs came.
type observer struct {
	mu    sync.Mutex
	owner map[int32]string
	last  map[int32]time.Time
	worst map[int32]time.Duration
}

func observe(c *streamtest.Cluster) *observer {
	o := &observer{owner: map[int32]string{}, last: map[int32]time.Time{}, worst: map[int32]time.Duration{}}
	client := c.Client(kgo.ConsumeTopics(output), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(20*time.Millisecond))
	go func() {
		for {
			fetches := client.PollFetches(c.Context())
			if fetches.IsClientClosed() {
				return
			}
			fetches.EachRecord(o.see)
		}
	}()
	return o
}

func (o *observer) see(r *kgo.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, now := int32(r.Value[3]), time.Now()
	if l, ok := o.last[p]; ok {
		o.worst[p] = max(o.worst[p], now.Sub(l))
	}
	o.last[p] = now
	for _, h := range r.Headers {
		o.owner[p] = string(h.Value)
	}
}

func (o *observer) owners() map[int32]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.owner)
}

// holds counts the partitions that each member was last seen to work on.
func (o *observer) holds() map[string]int {
	n := map[string]int{}
	for _, w := range o.owners() {
		n[w]++
	}
	return n
}

func (o *observer) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.worst)
}

// pause is the longest since forget of one partition.
func (o *observer) pause(p int32) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.worst[p]
}

// pauses since forget, of the partitions whose owner changed and of the others.
func (o *observer) pauses(before map[int32]string) (kept, moved time.Duration) {
	after := o.owners()
	o.mu.Lock()
	defer o.mu.Unlock()
	for p, d := range o.worst {
		d = max(d, time.Since(o.last[p]))
		if before[p] == after[p] {
			kept = max(kept, d)
		} else {
			moved = max(moved, d)
		}
	}
	return kept, moved
}

// await waits until the partitions are spread as told.
func (o *observer) await(tb testing.TB, what string, spread func(map[string]int) bool) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); !spread(o.holds()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: spread is %v", what, o.holds())
		}
	}
}

func even(members ...string) func(map[string]int) bool {
	return func(holds map[string]int) bool {
		n := 0
		for _, m := range members {
			if holds[m] < partitions/len(members) {
				return false
			}
			n += holds[m]
		}
		return n == partitions
	}
}

func finish(t *testing.T, c *streamtest.Cluster, members ...*running) {
	t.Helper()
	members[0].caughtUp(c)
	for _, m := range members {
		m.stop()
	}
	if wrong := oracle(c); len(wrong) > 0 {
		t.Fatalf("%d things wrong, first %s", len(wrong), wrong[0])
	}
}

// protocols runs a test with both ways to assign partitions.
func protocols(t *testing.T, test func(t *testing.T, change func(*engine.Config))) {
	t.Run("cooperative", func(t *testing.T) { test(t, func(*engine.Config) {}) })
	t.Run("broker assigns", func(t *testing.T) { test(t, func(cfg *engine.Config) { cfg.BrokerAssigns = true }) })
}

// TestPauses measures how long partitions stand still when a member joins and leaves. The bounds are three times the targets.
func TestPauses(t *testing.T) {
	protocols(t, func(t *testing.T, change func(*engine.Config)) {
		c := newCluster(t)
		o := observe(c)
		f := feed(c, 5*time.Millisecond, 8, 2000)
		first := startMember(t, c, 0, change)
		o.await(t, "start", even("worker-0"))
		time.Sleep(time.Second)
		for round := range 3 {
			before := o.owners()
			o.forget()
			second := startMember(t, c, 1, change)
			o.await(t, "join", even("worker-0", "worker-1"))
			time.Sleep(300 * time.Millisecond)
			kept, moved := o.pauses(before)
			t.Logf("round %d, join: kept partitions paused %v, moved ones %v", round, kept, moved)
			limitPauses(t, kept, moved)
			before = o.owners()
			o.forget()
			second.stop()
			o.await(t, "leave", even("worker-0"))
			time.Sleep(300 * time.Millisecond)
			kept, moved = o.pauses(before)
			t.Logf("round %d, leave: kept partitions paused %v, moved ones %v", round, kept, moved)
			limitPauses(t, kept, moved)
		}
		f.stop(t)
		finish(t, c, first)
	})
}

func limitPauses(t *testing.T, kept, moved time.Duration) {
	t.Helper()
	if kept > 2*time.Second || moved > 5*time.Second { // a busy machine; what a quiet one takes is logged
		t.Errorf("kept partitions paused %v, moved ones %v", kept, moved)
	}
}

// tended is a member that is started again whenever it ends in doubt, as it would be in a house.
type tended struct {
	cancel context.CancelFunc
	ended  chan error
}

func tend(t *testing.T, c *streamtest.Cluster, i int, change func(*engine.Config)) *tended {
	t.Helper()
	cfg := memberConfig(c.Addrs, i)
	change(&cfg)
	ctx, cancel := context.WithCancel(c.Context())
	m := &tended{cancel: cancel, ended: make(chan error, 1)}
	t.Cleanup(cancel)
	go func() {
		for {
			e, err := engine.New(cfg, countBy(cfg.InstanceID))
			if err == nil {
				err = e.Run(ctx)
			}
			_, torn := errors.AsType[*engine.TornError](err)
			if err == nil || torn {
				m.ended <- err
				return
			}
			t.Logf("member %d ended: %v", i, err)
			if ctx.Err() != nil { // its place is kept until it comes back and leaves in order
				back, done := context.WithTimeout(c.Context(), 2*time.Second)
				ctx, cancel = back, done
			}
		}
	}()
	return m
}

func (m *tended) stop(t *testing.T) {
	t.Helper()
	m.cancel()
	select {
	case err := <-m.ended:
		if err != nil {
			t.Fatalf("member ended with %v", err)
		}
	case <-time.After(60 * time.Second):
		t.Fatal("member does not end")
	}
}

// TestMembersComeAndGo: 1 to 4 to 2 members at random under load, in one process.
func TestMembersComeAndGo(t *testing.T) {
	protocols(t, func(t *testing.T, change func(*engine.Config)) {
		seed := testSeed(t)
		random := rand.New(rand.NewPCG(seed, 3))
		c := newCluster(t)
		f := feed(c, 5*time.Millisecond, 10, 500)
		members := map[int]*tended{0: tend(t, c, 0, change)}
		for until := time.Now().Add(4 * time.Second); time.Now().Before(until); {
			i := random.IntN(4)
			if m := members[i]; m == nil {
				members[i] = tend(t, c, i, change)
			} else if len(members) > 1 {
				m.stop(t)
				delete(members, i)
			}
			time.Sleep(time.Duration(random.IntN(600)) * time.Millisecond)
		}
		for i := range 2 {
			if members[i] == nil {
				members[i] = tend(t, c, i, change)
			}
		}
		for i := 2; i < 4; i++ {
			if members[i] != nil {
				members[i].stop(t)
			}
		}
		f.stop(t)
		for deadline := time.Now().Add(60 * time.Second); lag(c) > 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d inputs are not done", lag(c))
			}
		}
		members[0].stop(t)
		members[1].stop(t)
		if wrong := oracle(c); len(wrong) > 0 {
			t.Fatalf("%d things wrong, first %s", len(wrong), wrong[0])
		}
	})
}

// TestStoppedWhileItGoesOnAfterAnAbort: it leaves the group all the same, so that its partitions wait for nobody.
func TestStoppedWhileItGoesOnAfterAnAbort(t *testing.T) {
	protocols(t, func(t *testing.T, change func(*engine.Config)) {
		c := newFake(t)
		m := startMember(t, c, 0, change)
		c.Produce(inputs(40, 4)...)
		m.caughtUp(c)
		resuming := c.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: input, Err: kerr.UnstableOffsetCommit, Count: -1,
			When: func(r kmsg.Request) bool { return r.(*kmsg.OffsetFetchRequest).Groups[0].MemberID == nil },
		})
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: output, Err: kerr.InvalidRecord, Count: 1})
		c.Produce(inputs(40, 4)...)
		m.eventually("question for the last commit", func() bool { return resuming.Hits() > 0 })
		m.stop()
		resuming.Remove()
		if left := len(assignments(t, c)); left > 0 {
			t.Errorf("%d members are left in the group", left)
		}
	})
}

// TestStoppedAtAnyMoment of its start and its work, it leaves nobody in the group.
func TestStoppedAtAnyMoment(t *testing.T) {
	protocols(t, func(t *testing.T, change func(*engine.Config)) {
		random := rand.New(rand.NewPCG(testSeed(t), 4))
		c := newCluster(t)
		f := feed(c, time.Millisecond, 2, 20)
		for range 100 {
			life := time.Duration(random.IntN(20_000)) * time.Microsecond
			m := startMember(t, c, 0, change)
			time.Sleep(life)
			m.stop()
			if left := len(assignments(t, c)); left > 0 {
				t.Fatalf("stopped after %v, %d members are left in the group", life, left)
			}
		}
		f.stop(t)
		m := startMember(t, c, 0, change)
		finish(t, c, m)
	})
}

// assignments is what the group says its members have, by instance and topic, whoever assigns. A broker that has just started
// has no groups yet.
func assignments(t *testing.T, c *streamtest.Cluster) map[string]map[string][]int32 {
	t.Helper()
	adm := kadm.NewClient(c.Client())
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		classic, err := adm.DescribeGroups(t.Context(), group)
		var assigned kadm.DescribedConsumerGroups
		if err == nil {
			assigned, err = adm.DescribeConsumerGroups(t.Context(), group)
		}
		if err != nil && time.Now().Before(deadline) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]map[string][]int32{}
		for _, m := range classic[group].Members {
			all[*m.InstanceID] = map[string][]int32{}
			if has, ok := m.Assigned.AsConsumer(); ok {
				for _, of := range has.Topics {
					all[*m.InstanceID][of.Topic] = slices.Sorted(slices.Values(of.Partitions))
				}
			}
		}
		for _, m := range assigned[group].Members {
			all[*m.InstanceID] = map[string][]int32{}
			for _, of := range m.Assignment.Sorted() {
				all[*m.InstanceID][of.Topic] = slices.Sorted(slices.Values(of.Partitions))
			}
		}
		return all
	}
}

// TestRestoreRunsBesideTheOthers: partitions come back to a member whose restore of them stalls; those it has go on.
func TestRestoreRunsBesideTheOthers(t *testing.T) {
	c := newFake(t)
	o := observe(c)
	f := feed(c, 5*time.Millisecond, 8, 2000)
	first, second := startMember(t, c, 0), startMember(t, c, 1)
	o.await(t, "start", even("worker-0", "worker-1"))
	before := o.owners()
	o.forget()
	var since time.Time // of the first refusal
	stall := c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Fetch}, Topic: table, Err: kerr.NotLeaderForPartition, Count: -1,
		When: func(kmsg.Request) bool {
			if since.IsZero() {
				since = time.Now()
			}
			return time.Since(since) < 2*time.Second
		},
	})
	second.stop()
	o.await(t, "leave", even("worker-0"))
	kept, moved := o.pauses(before)
	t.Logf("restore stalled by %d refusals: kept partitions paused %v, moved ones %v", stall.Hits(), kept, moved)
	if stall.Hits() == 0 || kept > 900*time.Millisecond || moved < 2*time.Second {
		t.Errorf("kept partitions paused %v, moved ones %v, %d refusals", kept, moved, stall.Hits())
	}
	f.stop(t)
	finish(t, c, first)
}

// TestOffsetsInAnOpenTransactionCostNoSecond: the coordinator answers that the offsets of what was just assigned are about to
// change, after which the client would wait for a second.
func TestOffsetsInAnOpenTransactionCostNoSecond(t *testing.T) {
	c := newFake(t)
	o := observe(c)
	f := feed(c, 5*time.Millisecond, 8, 500)
	first := startMember(t, c, 0)
	o.await(t, "start", even("worker-0"))
	before := o.owners()
	o.forget()
	unstable := c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: input, Err: kerr.UnstableOffsetCommit,
		When: func(r kmsg.Request) bool { return r.(*kmsg.OffsetFetchRequest).Groups[0].MemberID != nil },
	})
	second := startMember(t, c, 1)
	o.await(t, "join", even("worker-0", "worker-1"))
	kept, moved := o.pauses(before)
	t.Logf("kept partitions paused %v, moved ones %v", kept, moved)
	if unstable.Hits() == 0 || moved > 900*time.Millisecond {
		t.Errorf("moved partitions paused %v, %d refusals", moved, unstable.Hits())
	}
	f.stop(t)
	finish(t, c, first, second)
}

// TestSixtyFourPartitions: three members share them evenly, and one is left with all.
func TestSixtyFourPartitions(t *testing.T) {
	c := streamtest.Start(t)
	c.Topics(64, input, second, output, table, side, dead)
	c.Topics(1, rates)
	many := func(cfg *engine.Config) { cfg.Partitions = 64 }
	f := feed(c, 5*time.Millisecond, 10, 500)
	var members []*running
	for i, want := range [][]int{{64}, {32, 32}, {21, 21, 22}} {
		members = append(members, startMember(t, c, i, many))
		holdEventually(t, members, want)
	}
	members[1].stop()
	holdEventually(t, []*running{members[0], members[2]}, []int{32, 32})
	members[2].stop()
	holdEventually(t, members[:1], []int{64})
	f.stop(t)
	finish(t, c, members[0])
}

func TestMetricsTellOfRebalancesAndRestores(t *testing.T) {
	c := newCluster(t)
	c.Produce(inputs(400, 40)...)
	reg := prometheus.NewRegistry()
	first := startMember(t, c, 0, func(cfg *engine.Config) { cfg.Registerer = reg })
	first.caughtUp(c)
	second := startMember(t, c, 1)
	holdEventually(t, []*running{first, second}, []int{2, 2})
	c.Produce(inputs(400, 40)...)
	first.caughtUp(c)
	second.stop()
	holdEventually(t, []*running{first}, []int{4})
	values := gathered(t, reg)
	for name, least := range map[string]float64{
		"caudal_streams_rebalances_total": 3, "caudal_streams_fences_total": 2, "caudal_streams_partitions": 4,
		"caudal_streams_restored_records_total": 40, "caudal_streams_restore_seconds": 0.0001,
	} {
		if values[name] < least {
			t.Errorf("%s is %v, want at least %v", name, values[name], least)
		}
	}
	if left := values["caudal_streams_restore_remaining_records"]; left != 0 {
		t.Errorf("%v records are left to restore", left)
	}
	finish(t, c, first)
}

func gathered(tb testing.TB, reg *prometheus.Registry) map[string]float64 {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

// testSeed prints the seed; CAUDAL_TEST_SEED repeats one.
func testSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("CAUDAL_TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("seed %d", seed)
	return seed
}

package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

const (
	partitions = 4
	input      = "in"
	second     = "in2" // read by tests that say so
	output     = "out"
	group      = "g"
	table      = "g-table"
	side       = "g-side"
	dead       = "in.dead"
	rates      = "rates"
)

func testConfig(addrs []string) engine.Config {
	return engine.Config{
		Brokers: addrs, Group: group, Input: input, Outputs: []string{output, input},
		Table: table, Side: side, DeadLetters: dead, Lookups: []string{rates},
		Partitions: partitions, TransactionalID: "tx-0", InstanceID: "worker-0", Hasher: topics.Hasher,
		Attributable: func(key []byte) bool { return bytes.HasPrefix(key, []byte("acc")) },
		Logger:       slog.New(slog.DiscardHandler), Dir: stateDir(addrs, "worker-0"), CacheBytes: 16 << 20,
	}
}

func newCluster(tb testing.TB) *streamtest.Cluster {
	tb.Helper()
	return withTopics(streamtest.Start(tb))
}

// newFake is for what a broker cannot be made to do from outside.
func newFake(tb testing.TB, options ...kfake.Opt) *streamtest.Cluster {
	tb.Helper()
	return withTopics(streamtest.Fake(tb, "its hooks are what is tested with", options...))
}

func withTopics(c *streamtest.Cluster) *streamtest.Cluster {
	c.Topics(partitions, input, second, output, table, side, dead)
	c.Topics(1, rates)
	return c
}

// running is an engine in this process.
type running struct {
	tb     testing.TB
	engine *engine.Engine
	cancel context.CancelFunc
	ended  chan error
	// patience is how long eventually waits.
	patience time.Duration
}

func start(tb testing.TB, cfg engine.Config, cb engine.Callback) *running {
	tb.Helper()
	e, err := engine.New(cfg, cb)
	if err != nil {
		tb.Fatal(err)
	}
	return startEngine(tb, e)
}

func startEngine(tb testing.TB, e *engine.Engine) *running {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	r := &running{tb: tb, engine: e, cancel: cancel, ended: make(chan error, 1), patience: 30 * time.Second}
	go func() { r.ended <- e.Run(ctx) }()
	tb.Cleanup(cancel)
	return r
}

// stop ends the engine in an orderly way.
func (r *running) stop() {
	r.tb.Helper()
	r.cancel()
	if err := r.wait(); err != nil {
		r.tb.Fatalf("engine ended with %v", err)
	}
}

// wait returns what Run returned.
func (r *running) wait() error {
	r.tb.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(30 * time.Second):
		r.tb.Fatal("engine does not end")
		return nil
	}
}

// eventually waits for a condition, and fails early when the engine ends.
func (r *running) eventually(what string, ok func() bool) {
	r.tb.Helper()
	for deadline := time.Now().Add(r.patience); !ok(); {
		select {
		case err := <-r.ended:
			r.tb.Fatalf("engine ended while waiting for %s: %v", what, err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			r.tb.Fatalf("no %s within %v; ready: %v", what, r.patience, r.engine.Ready())
		}
	}
}

func (r *running) ready() {
	r.tb.Helper()
	r.eventually("readiness", func() bool { return r.engine.Ready() == nil })
}

// caughtUp waits until the group committed everything that is in the input now.
func (r *running) caughtUp(c *streamtest.Cluster) {
	r.tb.Helper()
	r.eventually("end of input", func() bool { return lag(c) == 0 })
}

// count is the audited callback: it counts in the cell, remembers each offset in a side record, and emits one record.
func count(ctx *engine.Context, value []byte) error {
	if string(value) == "fail" {
		ctx.SetValue([]byte("never"))
		ctx.Side(engine.ScopeKey).Put("never", "x", []byte("never"))
		ctx.Emit(output, ctx.Key(), []byte("never"))
		return errors.New("asked to fail")
	}
	if string(value) == "panic" {
		ctx.SetValue([]byte("never"))
		panic("asked to panic")
	}
	n := uint64(0)
	if v := ctx.Value(); v != nil {
		n = binary.BigEndian.Uint64(v)
	}
	ctx.SetValue(binary.BigEndian.AppendUint64(nil, n+1))
	ctx.Side(engine.ScopeKey).Put("seen", seenID(ctx), value)
	ctx.Emit(output, ctx.Key(), place(ctx.Topic(), ctx.Partition(), ctx.Offset()))
	return nil
}

// countBy is count, each output signed.
func countBy(name string) engine.Callback {
	return func(ctx *engine.Context, value []byte) error {
		n := uint64(0)
		if v := ctx.Value(); v != nil {
			n = binary.BigEndian.Uint64(v)
		}
		ctx.SetValue(binary.BigEndian.AppendUint64(nil, n+1))
		ctx.Side(engine.ScopeKey).Put("seen", seenID(ctx), value)
		ctx.Emit(output, ctx.Key(), place(ctx.Topic(), ctx.Partition(), ctx.Offset()), kgo.RecordHeader{Key: "by", Value: []byte(name)})
		return nil
	}
}

// seenID tells the records of a key apart.
func seenID(ctx *engine.Context) string {
	id := fmt.Sprintf("%012d", ctx.Offset())
	if ctx.Topic() == second {
		id += second
	}
	return id
}

// place is where an input record is: topic and partition, then 8 bytes of offset.
func place(topic string, partition int32, offset int64) []byte {
	of := uint32(partition)
	if topic == second {
		of |= 1 << 16
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, of), uint64(offset))
}

// allInputs are the records of both inputs; of each key, those of one topic are in their order.
func allInputs(c *streamtest.Cluster) []*kgo.Record {
	return append(c.ReadCommitted(input), c.ReadCommitted(second)...)
}

// lag is what is not done of both inputs.
func lag(c *streamtest.Cluster) int64 { return c.Lag(group, input) + c.Lag(group, second) }

func record(key, value string) *kgo.Record {
	return &kgo.Record{Topic: input, Key: []byte(key), Value: []byte(value), Partition: -1}
}

func inputs(n, keys int) []*kgo.Record {
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = record(fmt.Sprintf("acc-%d", i%keys), fmt.Sprintf("v%d", i))
	}
	return rs
}

// audit recomputes everything from the input and compares; it returns what is wrong. What always fails must have been
// discarded, and words about parked keys lead to no output of their own.
func audit(c *streamtest.Cluster) (wrong []string) {
	truth, places := map[string]uint64{}, map[string]int{}
	for _, r := range allInputs(c) {
		if engine.IsControl(r) || string(r.Value) == "fail" {
			continue
		}
		truth[string(r.Key)]++
		places[string(place(r.Topic, r.Partition, r.Offset))] = 0
	}
	last := map[string]uint64{}
	for _, r := range c.ReadCommitted(output) {
		of := string(r.Key) + string(r.Value[:4])
		if at := binary.BigEndian.Uint64(r.Value[4:]) + 1; at < last[of] {
			wrong = append(wrong, fmt.Sprintf("%s: offset %d after %d", r.Key, at-1, last[of]-1))
		} else {
			last[of] = at
		}
		if _, ok := places[string(r.Value)]; !ok {
			wrong = append(wrong, "output without input")
		}
		places[string(r.Value)]++
	}
	missing, doubled := 0, 0
	for _, n := range places {
		if n == 0 {
			missing++
		} else {
			doubled += n - 1
		}
	}
	if missing+doubled > 0 {
		wrong = append(wrong, fmt.Sprintf("%d outputs missing, %d doubled", missing, doubled))
	}
	counted := map[string]uint64{}
	for _, r := range c.ReadCommitted(table) {
		if !engine.IsFence(r.Key) {
			counted[string(r.Key)] = binary.BigEndian.Uint64(r.Value)
		}
	}
	seen := map[string]uint64{}
	for k := range sideRecords(c) {
		if k.Kind == "seen" {
			seen[k.Key]++
		}
	}
	for key, n := range truth {
		if counted[key] != n || seen[key] != n {
			wrong = append(wrong, fmt.Sprintf("%s: %d inputs, counter %d, side records %d", key, n, counted[key], seen[key]))
		}
	}
	return wrong
}

// sideRecords is the state of the side changelog.
func sideRecords(c *streamtest.Cluster) map[engine.SideKey][]byte {
	found := map[engine.SideKey][]byte{}
	for _, r := range c.ReadCommitted(side) {
		k, err := engine.DecodeSideKey(r.Key)
		if errors.Is(err, engine.ErrFence) {
			continue
		}
		if err != nil {
			panic(err)
		}
		if k.Scope == engine.ScopePartition {
			k.ID = fmt.Sprintf("%d/%s", r.Partition, k.ID)
		}
		if r.Value == nil {
			delete(found, k)
		} else {
			found[k] = r.Value
		}
	}
	return found
}

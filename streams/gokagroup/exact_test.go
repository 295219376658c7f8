package gokagroup_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/storage"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/gokagroup"
	"github.com/caudalpay/caudal/streams/streamtest"
)

func inputs(n, keys int) []*kgo.Record {
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = record(input, fmt.Sprintf("key-%d", i%keys), "count")
	}
	return rs
}

// audit recomputes from the input what the table and the output must be, and says what is wrong. visits is how often
// everything was visited at the end.
func audit(c *streamtest.Cluster, visits int) (wrong []string) {
	counted, out := map[string]int{}, map[string][]string{}
	for _, r := range c.ReadCommitted(input) {
		if string(r.Value) != "count" {
			continue
		}
		key := string(r.Key)
		counted[key]++
		out[key] = append(out[key], fmt.Sprintf("%d at %d/%d", counted[key], r.Partition, r.Offset))
	}
	for range visits {
		for key := range counted {
			counted[key] *= 2
			out[key] = append(out[key], fmt.Sprintf("interest may %d", counted[key]))
		}
	}
	table, emitted := rows(c, table), lines(c, output)
	for key, n := range counted {
		if table[key] != fmt.Sprint(n) {
			wrong = append(wrong, fmt.Sprintf("%s: %d inputs, the table says %s", key, n, table[key]))
		}
		if !slices.Equal(emitted[key], out[key]) {
			wrong = append(wrong, fmt.Sprintf("%s: the output has %d records, want %d", key, len(emitted[key]), len(out[key])))
		}
	}
	return wrong
}

func everyOther() func(kmsg.Request) bool {
	n := 0
	return func(kmsg.Request) bool { n++; return n%2 == 0 }
}

// TestExactUnderFaults: commits that the broker refuses, outputs that it refuses, restarts, and a visit in the middle of it.
func TestExactUnderFaults(t *testing.T) {
	c := newFake(t)
	cfg := testConfig(c.Addrs)
	cfg.RecordsMax = 200
	refused := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, Count: 3, When: everyOther()}) // one more and the engine would take itself for broken
	lost := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: output, Err: kerr.InvalidRecord, Count: 2, When: everyOther()})
	for range 3 {
		c.Produce(inputs(2000, 61)...)
		_, r := start(t, graph(), cfg)
		r.caughtUp(c)
		r.stop()
		if wrong := audit(c, 0); len(wrong) > 0 {
			t.Fatal(wrong)
		}
	}
	if refused.Hits() != 3 || lost.Hits() != 2 {
		t.Errorf("%d commits and %d outputs were refused", refused.Hits(), lost.Hits())
	}
}

// TestVisitsAreExact: commits are refused all through the visit, and no key is doubled twice or left out.
func TestVisitsAreExact(t *testing.T) {
	const keys = 2000
	c := newFake(t)
	c.Produce(inputs(2*keys, keys)...)
	e, r := start(t, graph(), testConfig(c.Addrs))
	r.caughtUp(c)
	refused := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, Count: 4, When: everyOther()})
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		v, err := e.Visit(ctx, "interest", []byte("may"))
		cancel()
		if err != nil || v != (engine.Visited{Visited: keys}) {
			t.Fatalf("visit: %+v, %v", v, err)
		}
	}
	r.stop()
	if refused.Hits() == 0 {
		t.Error("no commit was refused")
	}
	if wrong := audit(c, 2); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

// stock runs a graph on Goka itself.
func stock(t *testing.T, c *streamtest.Cluster, g *gokagroup.Graph) (*goka.Processor, *running) {
	t.Helper()
	config := goka.DefaultConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	p, err := goka.NewProcessor(c.Addrs, g.GroupGraph,
		goka.WithConsumerGroupBuilder(goka.ConsumerGroupBuilderWithConfig(config)),
		goka.WithHasher(gokagroup.Hasher), goka.WithStorageBuilder(storage.MemoryBuilder()), goka.WithLogger(silent{}))
	if err != nil {
		t.Fatal(err)
	}
	return p, run(t, p.Run)
}

type silent struct{}

func (silent) Print(...any)          {}
func (silent) Println(...any)        {}
func (silent) Printf(string, ...any) {}

// TestStockGokaAgrees: where nothing goes wrong the same graph has the same outcome on Goka itself.
func TestStockGokaAgrees(t *testing.T) {
	ours, theirs := newFake(t), newFake(t)
	for _, c := range []*streamtest.Cluster{ours, theirs} {
		plainTables(c)
		script(c)
	}
	e, r := start(t, graph(), testConfig(ours.Addrs))
	r.caughtUp(ours)
	if _, err := e.Visit(t.Context(), "interest", []byte("may")); err != nil {
		t.Fatal(err)
	}
	r.stop()
	p, s := stock(t, theirs, graph())
	want := lines(ours, output)
	s.eventually("what ours has before the visit", func() bool {
		out := lines(theirs, output)
		return !slices.ContainsFunc([]string{"low", "mid", "free", "far", "gone"}, func(key string) bool {
			return len(out[key]) < len(slices.DeleteFunc(slices.Clone(want[key]), func(l string) bool { return strings.HasPrefix(l, "interest") }))
		})
	})
	if err := p.VisitAll(t.Context(), "interest", []byte("may")); err != nil {
		t.Fatal(err)
	}
	s.stop()
	if a, b := outcomeOf(ours), outcomeOf(theirs); !a.equal(b) {
		t.Errorf("ours\n%v\nstock\n%v", a, b)
	}
}

// TestStockGokaFailsWhatOursPasses: the broker refuses an output for a while. Stock Goka commits its input all the same, since
// later records had none; ours does not, and catches up.
func TestStockGokaFailsWhatOursPasses(t *testing.T) {
	quiet := gokagroup.DefineGroup(group, goka.Output(output, new(codec.String)), gokagroup.Input(input, new(codec.String), func(ctx goka.Context, m any) {
		if m != "quiet" {
			ctx.Emit(output, ctx.Key(), m)
		}
	}))
	begin := func() (*streamtest.Cluster, *kfake.FaultHandle) {
		c := newFake(t)
		c.Produce(record(input, "a", "loud"))
		for range 9 {
			c.Produce(record(input, "a", "quiet"))
		}
		return c, c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: output, Err: kerr.NotEnoughReplicas, Count: -1})
	}

	c, fault := begin()
	_, s := stock(t, c, quiet)
	if err := s.wait(); err == nil {
		t.Fatal("stock Goka did not notice")
	}
	fault.Remove()
	if committed, emitted := c.Applied(string(group), input), len(c.ReadCommitted(output)); committed == 0 || emitted != 0 {
		t.Errorf("stock Goka has committed %d records and emitted %d: the loss is not what it was", committed, emitted)
	}

	c, fault = begin()
	cfg := testConfig(c.Addrs)
	_, r := start(t, quiet, cfg)
	r.eventually("refusals", func() bool { return fault.Hits() >= 3 })
	fault.Remove()
	r.caughtUp(c)
	r.stop()
	if got := lines(c, output)["a"]; !slices.Equal(got, []string{"loud"}) {
		t.Errorf("ours has emitted %q", got)
	}
}

// TestNoConnectionButOurs: every connection the broker accepts of a group, its visits, a view and an emitter was dialled by franz-go.
func TestNoConnectionButOurs(t *testing.T) {
	var accepted, dialled atomic.Int64
	c := newFake(t, streamtest.CountAccepted(&accepted))
	inTransaction(c)
	script(c)
	dialer := kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
		dialled.Add(1)
		return new(net.Dialer).DialContext(ctx, network, host)
	})
	accepted.Store(0)
	cfg := testConfig(c.Addrs)
	cfg.Options = []kgo.Opt{dialer}
	e, r := start(t, graph(), cfg)
	emitter, err := gokagroup.NewEmitter(c.Addrs, input, new(codec.String), goka.WithEmitterProducerBuilder(gokagroup.ProducerBuilder(dialer)))
	if err != nil {
		t.Fatal(err)
	}
	if err := emitter.EmitSync("emitted", "count"); err != nil {
		t.Fatal(err)
	}
	if err := emitter.Finish(); err != nil {
		t.Fatal(err)
	}
	view, err := gokagroup.NewView(c.Addrs, goka.GroupTable(group), new(codec.Int64), dialer)
	if err != nil {
		t.Fatal(err)
	}
	v := run(t, view.Run)
	v.eventually("the emitted key", func() bool {
		n, err := view.Get("emitted")
		return err == nil && n == int64(1)
	})
	if _, err := e.Visit(t.Context(), "interest", nil); err != nil {
		t.Fatal(err)
	}
	v.stop()
	r.stop()
	if a, d := accepted.Load(), dialled.Load(); a != d || d == 0 {
		t.Fatalf("the broker accepted %d connections, franz-go dialled %d", a, d)
	}
}

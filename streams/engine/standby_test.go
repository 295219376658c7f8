package engine_test

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/streams/engine"
)

// onStandby waits until the changelogs of n partitions have been followed to their ends.
func onStandby(tb testing.TB, r *running, reg *prometheus.Registry, n int) {
	tb.Helper()
	r.eventually(fmt.Sprintf("%d partitions on standby", n), func() bool {
		return gathered(tb, reg)["caudal_streams_standby_partitions"] == float64(n) && gathered(tb, reg)["caudal_streams_standby_lag_records"] == 0
	})
}

// TestStandby: what arrives where it was on standby has next to nothing left to read, whether its member leaves or is killed,
// and comes with the state that it should have.
func TestStandby(t *testing.T) {
	const records = 4_000
	c := newCluster(t)
	c.Produce(inputs(records, 40)...)
	reg := prometheus.NewRegistry()
	restored := func() float64 { return gathered(t, reg)["caudal_streams_restored_records_total"] }
	first := startMember(t, c, 0)
	first.caughtUp(c)
	second := startMember(t, c, 1, func(cfg *engine.Config) { cfg.Standby, cfg.Registerer = true, reg })
	second.eventually("half of the partitions", func() bool { return second.engine.Partitions() == partitions/2 })
	takesOver := func(end func()) {
		t.Helper()
		onStandby(t, second, reg, partitions/2)
		c.Produce(inputs(40, 40)...)
		second.caughtUp(c)
		before := restored()
		end()
		second.eventually("all partitions", func() bool { return second.engine.Partitions() == partitions })
		if read := restored() - before; read > records/20 {
			t.Errorf("%v records were read of what was on standby", read)
		}
		onStandby(t, second, reg, 0)
		c.Produce(inputs(400, 40)...)
		second.caughtUp(c)
	}
	takesOver(first.stop)
	third := spawn(t, c.Addrs, childMember+"=2")
	second.eventually("half of the partitions", func() bool { return second.engine.Partitions() == partitions/2 })
	takesOver(func() {
		if err := third.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := <-third.ended; err == nil {
			t.Error("killed, and ended in order")
		}
	})
	if read := gathered(t, reg)["caudal_streams_standby_records_total"]; read < records/2 {
		t.Errorf("the standby has read %v records", read)
	}
	finish(t, c, second)
}

// TestStandbyBeginsAnew: a changelog that cannot be followed any further costs the standby what it has, and nobody anything else.
func TestStandbyBeginsAnew(t *testing.T) {
	c := newFake(t)
	c.Produce(inputs(400, 40)...)
	log, reg := newJournal(), prometheus.NewRegistry()
	first := startMember(t, c, 0)
	second := startMember(t, c, 1, func(cfg *engine.Config) {
		cfg.Standby, cfg.Registerer, cfg.Logger = true, reg, slog.New(log)
	})
	holdEventually(t, []*running{first, second}, []int{2, 2})
	onStandby(t, second, reg, 2)
	refused := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: side, Err: kerr.OffsetOutOfRange, Count: 1})
	c.Produce(inputs(400, 40)...)
	second.eventually("a new beginning", func() bool { return refused.Hits() == 1 && len(log.with("standby begins anew")) == 1 })
	onStandby(t, second, reg, 2)
	first.stop()
	finish(t, c, second)
}

// TestStandbyThatKnowsTooLittle: what is not known to have been at the ends of its changelogs for as long as they keep
// deletions may have missed some, and begins anew.
func TestStandbyThatKnowsTooLittle(t *testing.T) {
	if !inVirtualTime(t) {
		return
	}
	inBubble(t, func(t *testing.T) {
		const kept = 20 * time.Second
		l := newLab(t)
		log := newJournal()
		value := fmt.Sprint(kept.Milliseconds())
		if _, err := kadm.NewClient(l.c.Client()).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{
			{Op: kadm.SetConfig, Name: "delete.retention.ms", Value: &value},
		}, side); err != nil {
			t.Fatal(err)
		}
		l.change = func(cfg *engine.Config) { cfg.Standby, cfg.Logger = true, slog.New(log) }
		l.start(0)
		l.start(1)
		time.Sleep(10 * time.Second)
		if said := log.with("state removed"); len(said) > 0 {
			t.Errorf("nothing was missed: %s", said[0])
		}
		l.fates(func(m *member, key kmsg.Key) doom {
			if m.id == 1 && key == kmsg.ListOffsets {
				return doom{fate: cutBefore}
			}
			return doom{}
		})
		time.Sleep(kept)
		l.fates(func(*member, kmsg.Key) doom { return doom{} })
		time.Sleep(10 * time.Second)
		if len(log.with("state removed", "has not been at the ends")) == 0 {
			t.Errorf("what may have been missed is not read anew: %q", log.with())
		}
		if wrong := l.finish(); len(wrong) > 0 {
			t.Error(wrong)
		}
	})
}

// TestStandbyStopsAtTheFence: what others commit behind the fence of a restore, before that has come to it, must not be read
// ahead of it: the restore would wait for its fence for ever.
func TestStandbyStopsAtTheFence(t *testing.T) {
	c := newFake(t)
	c.Produce(inputs(400, 40)...)
	reg := prometheus.NewRegistry()
	fences := func() float64 { return gathered(t, reg)["caudal_streams_fences_total"] }
	first := startMember(t, c, 0)
	first.caughtUp(c)
	var slow atomic.Bool
	second := startMember(t, c, 1, func(cfg *engine.Config) {
		cfg.Standby, cfg.Registerer = true, reg
		cfg.Options = []kgo.Opt{slowly(func(key kmsg.Key, _ []byte) time.Duration {
			if key == kmsg.ListOffsets && slow.Load() {
				return 400 * time.Millisecond
			}
			return 0
		})}
	})
	second.eventually("half of the partitions", func() bool { return second.engine.Partitions() == partitions/2 })
	onStandby(t, second, reg, partitions/2)
	before := fences()
	slow.Store(true) // what is asked between the fence and the reading
	first.stop()
	second.eventually("the fence", func() bool { return fences() > before })
	other := c.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for p := range int32(partitions) {
		for _, topic := range []string{table, side} {
			r := &kgo.Record{Topic: topic, Partition: p, Key: []byte(engine.FenceKey), Value: []byte("another member's")}
			if err := other.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	second.eventually("all partitions", func() bool { return second.engine.Partitions() == partitions })
	slow.Store(false)
	finish(t, c, second)
}

// TestStandbyGivesUpOnePartition: a record that cannot be read costs the standby of its partition alone.
func TestStandbyGivesUpOnePartition(t *testing.T) {
	c := newFake(t)
	c.Produce(inputs(400, 40)...)
	log, reg := newJournal(), prometheus.NewRegistry()
	first := startMember(t, c, 0)
	first.caughtUp(c)
	second := startMember(t, c, 1, func(cfg *engine.Config) { cfg.Standby, cfg.Registerer, cfg.Logger = true, reg, slog.New(log) })
	second.eventually("half of the partitions", func() bool { return second.engine.Partitions() == partitions/2 })
	onStandby(t, second, reg, partitions/2)
	bad := &kgo.Record{Topic: side, Partition: assignments(t, c)["worker-0"][input][0], Key: []byte{'k', 200}, Value: []byte("x")}
	if err := c.Client(kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(t.Context(), bad).FirstErr(); err != nil {
		t.Fatal(err)
	}
	onStandby(t, second, reg, partitions/2-1)
	if said := log.with("standby"); len(said) != 1 || len(log.with("standby given up")) != 1 {
		t.Errorf("it said %q", said)
	}
	if n := gathered(t, reg)["caudal_streams_standby_failures_total"]; n != 1 {
		t.Errorf("%v failures", n)
	}
	first.stop()
	if err := second.wait(); err == nil {
		t.Error("a state that cannot be read was restored")
	}
}

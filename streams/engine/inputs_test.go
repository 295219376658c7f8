package engine_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

func withSecond(cfg *engine.Config) { cfg.MoreInputs = []string{second} }

// toSecond sends every other record to the second input.
func toSecond(records []*kgo.Record) []*kgo.Record {
	for i, r := range records {
		if i/10%2 == 1 {
			r.Topic = second
		}
	}
	return records
}

// TestInputsMoveTogether: while members come and go, whoever has a partition has it of both inputs, and no record of either
// is lost or handled twice.
func TestInputsMoveTogether(t *testing.T) {
	protocols(t, func(t *testing.T, change func(*engine.Config)) {
		c := newCluster(t)
		both := func(cfg *engine.Config) { change(cfg); withSecond(cfg) }
		members := []*running{startMember(t, c, 0, both)}
		for i := range 3 {
			c.Produce(toSecond(inputs(400, 40))...)
			members = append(members, startMember(t, c, i+1, both))
			split(t, c, members)
		}
		for len(members) > 1 {
			c.Produce(toSecond(inputs(400, 40))...)
			members[len(members)-1].stop()
			members = members[:len(members)-1]
			split(t, c, members)
		}
		c.Produce(toSecond(inputs(400, 40))...)
		finish(t, c, members[0])
	})
}

// split waits until the members have all partitions, and each the same of both inputs.
func split(t *testing.T, c *streamtest.Cluster, members []*running) {
	t.Helper()
	held := func() (n int) {
		for _, m := range members {
			n += m.engine.Partitions()
		}
		return n
	}
	var assigned map[string]map[string][]int32
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		assigned = assignments(t, c)
		apart := 0
		for _, of := range assigned {
			if !slices.Equal(of[input], of[second]) {
				apart++
			}
		}
		if apart == 0 && len(assigned) == len(members) && held() == partitions {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d members have %d partitions: %v", len(members), held(), assigned)
		}
	}
}

// TestParkedKeyQueuesAllInputs: what fails in one topic holds back the key's records of the other, and an operator names the
// topic of what he discards.
func TestParkedKeyQueuesAllInputs(t *testing.T) {
	c := newCluster(t)
	cfg := testConfig(c.Addrs)
	withSecond(&cfg)
	r := start(t, cfg, count)
	c.Produce(record("acc-1", "fine"))
	r.caughtUp(c)
	poison := record("acc-1", "fail")
	poison.Topic = second
	c.Produce(poison)
	r.caughtUp(c)
	c.Produce(record("acc-1", "queued"), record("acc-2", "fine"))
	r.caughtUp(c)
	if _, _, parked := acts(t, c); parked != 2 {
		t.Fatalf("%d records are parked, want 2", parked)
	}
	wrongTopic := word(t, "acc-1", engine.Control{Verb: engine.Discard, Offset: 99})
	right := word(t, "acc-1", engine.Control{Verb: engine.Discard, Offset: poison.Offset, Topic: second})
	astray := word(t, "acc-1", engine.Control{Verb: engine.Redrive})
	astray.Topic = second
	c.Produce(astray, wrongTopic, right)
	done := r.handled(t, c, 2)
	r.stop()
	if done[0].Problem+done[1].Problem != "no record of offset 99 of in is parked under this key" || done[0].Discarded+done[1].Discarded != 1 {
		t.Errorf("acts: %+v", done)
	}
	if wrong := audit(c); len(wrong) > 0 {
		t.Error(wrong)
	}
	letters := map[string]string{}
	for _, l := range c.ReadCommitted(dead) {
		letters[string(header(l, engine.DeadTopic))] += string(header(l, engine.DeadReason)) + ";"
	}
	if letters[second] != "control records belong into in;asked to fail;" && letters[second] != "asked to fail;control records belong into in;" {
		t.Errorf("dead letters: %v", letters)
	}
}

func header(r *kgo.Record, name string) []byte {
	for _, h := range r.Headers {
		if h.Key == name {
			return h.Value
		}
	}
	return nil
}

// TestTornCommitNamesTheInput that differs.
func TestTornCommitNamesTheInput(t *testing.T) {
	home := topics.Partition([]byte("acc-1"), partitions)
	c := newCluster(t)
	other := record("acc-1", "b")
	other.Topic = second
	c.Produce(record("acc-1", "a"), other)
	cfg := testConfig(c.Addrs)
	withSecond(&cfg)
	r := start(t, cfg, count)
	r.caughtUp(c)
	r.stop()
	k := engine.SideKey{Scope: engine.ScopePartition, Kind: engine.AppliedKind, ID: second}
	c.Produce(&kgo.Record{Topic: side, Partition: home, Key: k.Encode(), Value: binary.BigEndian.AppendUint64(nil, 7)})
	err := start(t, cfg, count).wait()
	torn, ok := errors.AsType[*engine.TornError](err)
	if !ok || torn.Topic != second || torn.Applied != 7 || torn.Committed != 1 {
		t.Fatalf("the start ended with %v", err)
	}
}

// TestInputIsAdded to a group that has state, and taken away again; each time as the graph is accepted.
func TestInputIsAdded(t *testing.T) {
	c := newCluster(t)
	c.Produce(inputs(100, 10)...)
	r := start(t, testConfig(c.Addrs), count)
	r.caughtUp(c)
	r.stop()
	cfg := testConfig(c.Addrs)
	withSecond(&cfg)
	err := start(t, cfg, count).wait()
	if changed, ok := errors.AsType[*engine.GraphChangedError](err); !ok || !slices.Equal(changed.Come, []string{"input in2"}) {
		t.Fatalf("a start with another input ended with %v", err)
	}
	for _, with := range [][]string{{second}, nil, {second}} {
		cfg.MoreInputs, cfg.AcceptGraph = with, true
		c.Produce(inputs(100, 10)...)
		if with != nil {
			c.Produce(toSecond(inputs(100, 10))...)
		}
		r := start(t, cfg, count)
		r.eventually("end of input", func() bool { return c.Lag(group, input) == 0 && (with == nil || c.Lag(group, second) == 0) })
		r.stop()
	}
	if wrong := oracle(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

func TestInputsAreDifferentTopics(t *testing.T) {
	for _, more := range [][]string{{input}, {second, second}, {""}, {table}} {
		cfg := testConfig([]string{"127.0.0.1:1"})
		cfg.MoreInputs = more
		if _, err := engine.New(cfg, count); err == nil {
			t.Errorf("inputs %q and %q were taken", input, fmt.Sprint(more))
		}
	}
}

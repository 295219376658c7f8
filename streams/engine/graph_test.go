package engine_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
)

func TestChangedGraphIsRefused(t *testing.T) {
	c := newCluster(t)
	c.Topics(partitions, "out-2", "in-2")
	c.Produce(inputs(100, 10)...)
	r := start(t, testConfig(c.Addrs), count)
	r.caughtUp(c)
	r.stop()
	for name, change := range map[string]func(*engine.Config){
		"output out-2": func(cfg *engine.Config) { cfg.Outputs = append(slices.Clone(cfg.Outputs), "out-2") },
		"lookup rates": func(cfg *engine.Config) { cfg.Lookups = nil },
	} {
		cfg := testConfig(c.Addrs)
		change(&cfg)
		err := start(t, cfg, count).wait()
		changed, ok := errors.AsType[*engine.GraphChangedError](err)
		if !ok || !slices.Contains(append(changed.Gone, changed.Come...), name) || !strings.Contains(err.Error(), "AcceptGraph") {
			t.Errorf("start with another %s ended with %v", name, err)
		}
	}
	// Taken over once, the new graph is the recorded one.
	cfg := testConfig(c.Addrs)
	cfg.Outputs = append(cfg.Outputs, "out-2")
	cfg.AcceptGraph = true
	for range 2 {
		r := start(t, cfg, count)
		c.Produce(inputs(100, 10)...)
		r.caughtUp(c)
		r.stop()
		cfg.AcceptGraph = false
	}
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

func TestChangedInputIsRefused(t *testing.T) {
	c := newCluster(t)
	c.Topics(partitions, "in-2")
	c.Produce(inputs(100, 10)...)
	r := start(t, testConfig(c.Addrs), count)
	r.caughtUp(c)
	r.stop()
	cfg := testConfig(c.Addrs)
	cfg.Input = "in-2"
	err := start(t, cfg, count).wait()
	if changed, ok := errors.AsType[*engine.GraphChangedError](err); !ok || !slices.Contains(changed.Gone, "input in") {
		t.Fatalf("start with another input ended with %v", err)
	}
}

func TestUnknownStateVersionIsRefused(t *testing.T) {
	c := newCluster(t)
	home := topics.Partition([]byte("acc-1"), partitions)
	c.Produce(record("acc-1", "a"))
	r := start(t, testConfig(c.Addrs), count)
	r.caughtUp(c)
	r.stop()
	k := engine.SideKey{Scope: engine.ScopePartition, Kind: engine.GraphKind}
	c.Produce(&kgo.Record{Topic: side, Partition: home, Key: k.Encode(), Value: []byte("\x07from the future")})
	err := start(t, testConfig(c.Addrs), count).wait()
	version, ok := errors.AsType[*engine.StateVersionError](err)
	if !ok || version.Version != 7 || version.Partition != home {
		t.Fatalf("start ended with %v", err)
	}
}

// TestStateWithoutAGraphIsTaken: the first form of the state did not record its graph.
func TestStateWithoutAGraphIsTaken(t *testing.T) {
	c := newCluster(t)
	c.Produce(inputs(100, 10)...)
	r := start(t, testConfig(c.Addrs), count)
	r.caughtUp(c)
	r.stop()
	k := engine.SideKey{Scope: engine.ScopePartition, Kind: engine.GraphKind}
	for p := range int32(partitions) {
		c.Produce(&kgo.Record{Topic: side, Partition: p, Key: k.Encode()})
	}
	r = start(t, testConfig(c.Addrs), count)
	c.Produce(inputs(100, 10)...)
	r.caughtUp(c)
	r.stop()
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	graphs := 0
	for key := range sideRecords(c) {
		if key.Kind == engine.GraphKind {
			graphs++
		}
	}
	if graphs != partitions {
		t.Fatalf("%d of %d partitions have their graph recorded", graphs, partitions)
	}
}

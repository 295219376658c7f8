package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

// calls remembers what the callback was called with.
type calls struct {
	mu   sync.Mutex
	seen []string
}

func (c *calls) count(ctx *engine.Context, value []byte) error {
	c.mu.Lock()
	c.seen = append(c.seen, ctx.Key()+"="+string(value))
	c.mu.Unlock()
	return count(ctx, value)
}

func (c *calls) of(key string) (values []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.seen {
		if v, ok := strings.CutPrefix(s, key+"="); ok {
			values = append(values, v)
		}
	}
	return values
}

func TestFailedKeyIsParkedAndItsLaterRecordsQueueInOrder(t *testing.T) {
	for _, how := range []string{"fail", "panic"} {
		t.Run(how, func(t *testing.T) {
			c := newCluster(t)
			reg := prometheus.NewRegistry()
			cfg := testConfig(c.Addrs)
			cfg.Registerer = reg
			var seen calls
			r := start(t, cfg, seen.count)
			bad := record("acc-1", how)
			bad.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte("t1")}}
			null := record("acc-1", "")
			null.Value = nil
			c.Produce(record("acc-1", "v1"), bad, record("acc-1", "v2"), null, record("acc-2", "w1"))
			r.caughtUp(c)
			if got := metric(t, reg, "caudal_streams_parked_keys"); got != 1 {
				t.Errorf("parked keys metric is %v", got)
			}
			r.stop()
			r = start(t, testConfig(c.Addrs), seen.count) // what is parked stays parked
			c.Produce(record("acc-1", "v3"), record("acc-2", "w2"))
			r.caughtUp(c)
			r.stop()
			if got := seen.of("acc-1"); !slices.Equal(got, []string{"v1", how}) {
				t.Errorf("the parked key's callback saw %v", got)
			}
			if got := seen.of("acc-2"); !slices.Equal(got, []string{"w1", "w2"}) {
				t.Errorf("the other key's callback saw %v", got)
			}
			checkParked(t, c, how)
		})
	}
}

func checkParked(t *testing.T, c *streamtest.Cluster, how string) {
	t.Helper()
	var parked []engine.Parked
	for k, v := range sideRecords(c) {
		switch k.Kind {
		case engine.ParkedKind:
			p, err := engine.DecodeParked(v)
			if err != nil {
				t.Fatal(err)
			}
			if k.Key != "acc-1" || k.ID != engine.ParkedID(p.Offset) {
				t.Errorf("parked under %v: %+v", k, p)
			}
			parked = append(parked, p)
		case "never":
			t.Error("a failed callback's side record took effect")
		}
	}
	slices.SortFunc(parked, func(a, b engine.Parked) int { return int(a.Offset - b.Offset) })
	if len(parked) != 4 {
		t.Fatalf("%d records parked, want 4", len(parked))
	}
	first := parked[0]
	if string(first.Value) != how || !strings.Contains(first.Reason, "asked to "+how) || len(first.Headers) != 1 || first.Topic != input {
		t.Errorf("first parked record: %+v", first)
	}
	if string(parked[1].Value) != "v2" || parked[2].Value != nil || string(parked[3].Value) != "v3" || parked[1].Reason != "" {
		t.Errorf("queued records: %+v", parked[1:])
	}
	for _, topic := range []string{table, output} {
		for _, rec := range c.ReadCommitted(topic) {
			if string(rec.Value) == "never" {
				t.Errorf("a failed callback's write to %s took effect", topic)
			}
		}
	}
}

func TestUnattributableRecordsAreDeadLetters(t *testing.T) {
	c := newCluster(t)
	nokey := record("", "x")
	nokey.Key, nokey.Partition = nil, 2
	foreign := record("acc-1", "x")
	foreign.Partition = (topics.Partition([]byte("acc-1"), partitions) + 1) % partitions
	foreignCell := record("tick", "cell")
	foreignCell.Partition = (topics.Partition([]byte("tick"), partitions) + 1) % partitions
	foreignCell.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte("t1")}}
	c.Produce(nokey, foreign, foreignCell, record("other", "fail"), record("acc-2", "fine"))
	var seen calls
	r := start(t, testConfig(c.Addrs), seen.count)
	r.caughtUp(c)
	r.stop()
	if got := seen.of("acc-1"); len(got) != 0 {
		t.Errorf("a record on a foreign partition reached the callback: %v", got)
	}
	reasons := map[string]string{}
	for _, rec := range c.ReadCommitted(dead) {
		headers := map[string]string{}
		for _, h := range rec.Headers {
			headers[h.Key] = string(h.Value)
		}
		reasons[string(rec.Key)] = headers[engine.DeadReason]
		if headers[engine.DeadTopic] != input || headers[engine.DeadPartition] != fmt.Sprint(rec.Partition) || headers[engine.DeadOffset] == "" {
			t.Errorf("dead letter %q has headers %v", rec.Key, headers)
		}
		if string(rec.Key) == "tick" && headers["trace"] != "t1" {
			t.Errorf("dead letter lost the record's own headers: %v", headers)
		}
	}
	for key, want := range map[string]string{
		"": "no key", "acc-1": "belongs to partition", "tick": "SetValue under key", "other": "asked to fail",
	} {
		if !strings.Contains(reasons[key], want) {
			t.Errorf("dead letter of %q has reason %q, want %q in it", key, reasons[key], want)
		}
	}
	if len(reasons) != 4 {
		t.Errorf("dead letters: %v", reasons)
	}
}

func metric(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			if m.GetGauge() != nil {
				return m.GetGauge().GetValue()
			}
			return m.GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

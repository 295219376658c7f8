package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

// visiting has a visitor that notes the visit beside the key and emits a record; it fails at one key.
func visiting(cfg engine.Config) engine.Config {
	cfg.Visitors = map[string]engine.Callback{"interest": func(ctx *engine.Context, meta []byte) error {
		times := string(ctx.Side(engine.ScopeKey).Get("visits", "")) + string(meta)
		ctx.Side(engine.ScopeKey).Put("visits", "", []byte(times))
		ctx.Emit(output, ctx.Key(), fmt.Appendf(nil, "visited %s", meta))
		if ctx.Key() == "acc-13" {
			return errors.New("asked to fail")
		}
		return nil
	}}
	return cfg
}

// visits are the emitted ones and the noted ones, by key.
func visits(c *streamtest.Cluster) (emitted, noted map[string]string) {
	emitted, noted = map[string]string{}, map[string]string{}
	for _, r := range c.ReadCommitted(output) {
		if meta, ok := strings.CutPrefix(string(r.Value), "visited "); ok {
			emitted[string(r.Key)] += meta
		}
	}
	for k, v := range sideRecords(c) {
		if k.Kind == "visits" {
			noted[k.Key] = string(v)
		}
	}
	return emitted, noted
}

// TestVisit: every key with a cell once, while records flow, commits are refused, and a member comes and goes; what failed
// left nothing but a dead letter, and what is parked was left out.
func TestVisit(t *testing.T) {
	const keys = 3000
	c := newFake(t)
	c.Produce(inputs(keys, keys)...)
	c.Produce(record("acc-7", "fail"))
	cfg := visiting(memberConfig(c.Addrs, 0))
	e, err := engine.New(cfg, count)
	if err != nil {
		t.Fatal(err)
	}
	r := startEngine(t, e)
	r.caughtUp(c)
	// Not more: a member that saw them all would take itself for broken and end.
	faults := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, Count: 4, When: everyOther()})
	other := start(t, visiting(memberConfig(c.Addrs, 1)), count)
	f := feed(c, 5*time.Millisecond, 10, 500)
	want := ""
	for _, meta := range []string{"1", "2", "3"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		v, err := e.Visit(ctx, "interest", []byte(meta))
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if v != (engine.Visited{Visited: keys - 2, Skipped: 1, Failed: 1}) {
			t.Errorf("visit %s: %+v", meta, v)
		}
		if meta == "1" {
			other.stop()
		}
		want += meta
	}
	f.stop(t)
	c.Produce(inputs(400, 40)...) // behind the markers of the visits, which no offset is committed past
	r.caughtUp(c)
	r.stop()
	if faults.Hits() == 0 {
		t.Error("no commit was refused")
	}
	emitted, noted := visits(c)
	if len(emitted) != keys-2 || len(noted) != keys-2 {
		t.Errorf("%d keys were emitted, %d noted, want %d", len(emitted), len(noted), keys-2)
	}
	for key, metas := range emitted {
		if metas != want || noted[key] != want {
			t.Fatalf("%s: emitted %q, noted %q, want %q", key, metas, noted[key], want)
		}
	}
	if letters := c.ReadCommitted(dead); len(letters) != 3 || string(letters[0].Key) != "acc-13" {
		t.Errorf("%d dead letters, first %v", len(letters), letters)
	}
}

func everyOther() func(kmsg.Request) bool {
	n := 0
	return func(kmsg.Request) bool { n++; return n%2 == 0 }
}

// TestVisitsAreChecked: of a name that nobody knows, and in a record that somebody made up.
func TestVisitsAreChecked(t *testing.T) {
	c := newCluster(t)
	e, err := engine.New(visiting(testConfig(c.Addrs)), count)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Visit(t.Context(), "nobody", nil); err == nil || !strings.Contains(err.Error(), `visitor "nobody" is not in its config`) {
		t.Errorf("visit by nobody: %v", err)
	}
	r := startEngine(t, e)
	for _, headers := range [][]kgo.RecordHeader{
		{{Key: engine.EnginePrefix + "visitor", Value: []byte("nobody")}},
		{{Key: engine.EnginePrefix + "visitor", Value: []byte("interest")}, {Key: engine.EnginePrefix + "failed", Value: []byte("many")}},
	} {
		odd := record("acc-1", "")
		odd.Headers = append(headers, kgo.RecordHeader{Key: engine.ControlHeader, Value: []byte("visit")})
		c.Produce(odd)
	}
	c.Produce(inputs(40, 40)...)
	r.caughtUp(c)
	r.stop()
	if n := len(c.ReadCommitted(dead)); n != 2 {
		t.Errorf("%d dead letters, want 2", n)
	}
}

// TestVisitorOverItsDeadlineEndsTheRun, while one that is only long as a whole does not.
func TestVisitorOverItsDeadlineEndsTheRun(t *testing.T) {
	c := newCluster(t)
	c.Produce(inputs(40, 40)...)
	release := make(chan struct{})
	defer close(release)
	cfg := testConfig(c.Addrs)
	cfg.CallbackTimeout = 300 * time.Millisecond
	cfg.Visitors = map[string]engine.Callback{"slow": func(_ *engine.Context, meta []byte) error {
		if string(meta) == "hang" {
			<-release
		}
		time.Sleep(40 * time.Millisecond)
		return nil
	}}
	e, err := engine.New(cfg, count)
	if err != nil {
		t.Fatal(err)
	}
	r := startEngine(t, e)
	r.caughtUp(c)
	if v, err := e.Visit(t.Context(), "slow", nil); err != nil || v.Visited != 40 {
		t.Fatalf("slow visit: %+v, %v", v, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = e.Visit(ctx, "slow", []byte("hang")) }() // ends with ctx
	if err := r.wait(); !errors.Is(err, engine.ErrCallbackDeadline) || !strings.Contains(err.Error(), "of a visit") {
		t.Fatalf("run ended with %v", err)
	}
}

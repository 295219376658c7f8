package engine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

// word is an operator's record.
func word(t *testing.T, key string, c engine.Control) *kgo.Record {
	t.Helper()
	c.By, c.Reason = "ops", "a test"
	r, err := c.Record(input, topics.Partition([]byte(key), partitions), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// acts are what is done, and how many wait or are parked.
func acts(t *testing.T, c *streamtest.Cluster) (handled []engine.Act, waiting, parked int) {
	t.Helper()
	for k, v := range sideRecords(c) {
		switch k.Kind {
		case engine.ParkedKind:
			parked++
		case engine.WaitingKind:
			waiting++
		case engine.HandledKind:
			a, err := engine.DecodeAct(v)
			if err != nil {
				t.Fatal(err)
			}
			handled = append(handled, a)
		}
	}
	return handled, waiting, parked
}

// handled waits until so many words are done.
func (r *running) handled(t *testing.T, c *streamtest.Cluster, n int) (found []engine.Act) {
	t.Helper()
	r.eventually(fmt.Sprintf("%d acts done", n), func() bool {
		found, _, _ = acts(t, c)
		return len(found) >= n
	})
	return found
}

func TestRedriveOfWhatCanBeDecodedNow(t *testing.T) {
	c := newCluster(t)
	reg := prometheus.NewRegistry()
	cfg := testConfig(c.Addrs)
	cfg.Registerer = reg
	var fixed atomic.Bool
	callback := func(ctx *engine.Context, value []byte) error {
		if string(value) == "new" && !fixed.Load() {
			return fmt.Errorf("version 2 is unknown")
		}
		return count(ctx, value)
	}
	r := start(t, cfg, callback)
	c.Produce(record("acc-1", "v1"), record("acc-1", "new"), record("acc-1", "v2"), record("acc-2", "w1"), record("acc-1", "v3"))
	r.caughtUp(c)

	// What still fails stays, with everything behind it.
	c.Produce(word(t, "acc-1", engine.Control{Verb: engine.Redrive}), word(t, "acc-2", engine.Control{Verb: engine.Redrive}))
	for _, a := range r.handled(t, c, 2) {
		want := map[string]engine.Act{
			"acc-1": {Left: 3, Problem: "version 2 is unknown"}, "acc-2": {Problem: "nothing is parked under this key"},
		}[string(a.Key)]
		if a.Left != want.Left || a.Problem != want.Problem || a.Redriven != 0 || a.By != "ops" || a.Reason != "a test" {
			t.Errorf("came to %+v", a)
		}
	}
	if got := metric(t, reg, "caudal_streams_parked_keys"); got != 1 {
		t.Errorf("parked keys metric is %v", got)
	}
	fixed.Store(true)
	c.Produce(word(t, "acc-1", engine.Control{Verb: engine.Redrive}))
	r.handled(t, c, 3)
	c.Produce(record("acc-1", "v4"))
	r.eventually("the key to go on", func() bool { return len(c.ReadCommitted(output)) == 6 })
	for name, want := range map[string]float64{"caudal_streams_parked_keys": 0, "caudal_streams_redriven_records_total": 3, "caudal_streams_dead_letters_total": 0} {
		if got := metric(t, reg, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	r.stop()
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	r = start(t, testConfig(c.Addrs), callback) // what is not parked any more is not after a restore
	c.Produce(record("acc-1", "v5"))
	r.eventually("the key to go on", func() bool { return len(c.ReadCommitted(output)) == 7 })
	r.stop()
}

func TestDiscard(t *testing.T) {
	c := newCluster(t)
	reg := prometheus.NewRegistry()
	cfg := testConfig(c.Addrs)
	cfg.Registerer = reg
	poison := record("acc-1", "fail")
	poison.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte("t1")}}
	second := record("acc-1", "fail")
	c.Produce(poison, record("acc-1", "v1"), second, record("acc-1", "v2"))
	r := start(t, cfg, count)
	r.caughtUp(c)
	c.Produce(word(t, "acc-1", engine.Control{Verb: engine.Discard, Offset: 99}))
	if a := r.handled(t, c, 1)[0]; a.Discarded != 0 || a.Redriven != 0 || a.Left != 4 || !strings.Contains(a.Problem, "no record of offset 99") {
		t.Errorf("came to %+v", a)
	}
	c.Produce(word(t, "acc-1", engine.Control{Verb: engine.Discard, Offset: poison.Offset}))
	r.handled(t, c, 2)
	if _, _, parked := acts(t, c); parked != 2 {
		t.Errorf("%d parked, want the second poison and what is behind it", parked)
	}
	c.Produce(word(t, "acc-1", engine.Control{Verb: engine.Discard, Offset: second.Offset}))
	r.handled(t, c, 3)
	for name, want := range map[string]float64{
		"caudal_streams_parked_keys": 0, "caudal_streams_redriven_records_total": 2, "caudal_streams_discarded_records_total": 2, "caudal_streams_dead_letters_total": 0,
	} {
		if got := metric(t, reg, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	r.stop()
	letters := c.ReadCommitted(dead)
	if len(letters) != 2 {
		t.Fatalf("%d dead letters", len(letters))
	}
	headers := map[string]string{}
	for _, h := range letters[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	if string(letters[0].Value) != "fail" || headers[engine.DeadBy] != "ops" || headers[engine.DeadWhy] != "a test" || headers[engine.DeadReason] != "asked to fail" ||
		headers[engine.DeadOffset] != fmt.Sprint(poison.Offset) || headers[engine.DeadControl] == "" || headers["trace"] != "t1" {
		t.Errorf("dead letter %q with %v", letters[0].Value, headers)
	}
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

// TestMalformedWordsAreDeadLetters: and none of them reaches the callback, nor does anything to the key.
func TestMalformedWordsAreDeadLetters(t *testing.T) {
	c := newCluster(t)
	header := func(key, value string) kgo.RecordHeader { return kgo.RecordHeader{Key: key, Value: []byte(value)} }
	by, why := header(engine.ControlByHeader, "ops"), header(engine.ControlReasonHeader, "a test")
	with := func(key string, headers ...kgo.RecordHeader) *kgo.Record {
		r := record(key, "v1")
		r.Headers = headers
		return r
	}
	redrive, discard := header(engine.ControlHeader, "redrive"), header(engine.ControlHeader, "discard")
	foreign := with("acc-1", redrive, by, why)
	foreign.Partition = (topics.Partition([]byte("acc-1"), partitions) + 1) % partitions
	malformed := []*kgo.Record{
		with("acc-1", header(engine.ControlHeader, "forget"), by, why), with("acc-1", header(engine.ControlHeader, ""), by, why),
		with("acc-1", redrive), with("acc-1", redrive, by), with("acc-1", redrive, by, header(engine.ControlReasonHeader, strings.Repeat("x", 1025))),
		with("acc-1", redrive, header(engine.ControlByHeader, "\xff"), why), with("acc-1", discard, by, why),
		with("acc-1", discard, by, why, header(engine.ControlOffsetHeader, "-1")), with("acc-1", discard, by, why, header(engine.ControlOffsetHeader, "one")),
		with("acc-1", header(engine.ControlHeader, "step")), with("tick", redrive, by, why), foreign,
	}
	c.Produce(record("acc-1", "fail"))
	c.Produce(malformed...)
	r := start(t, testConfig(c.Addrs), count)
	r.caughtUp(c)
	r.stop()
	if n := len(c.ReadCommitted(dead)); n != len(malformed) {
		t.Errorf("%d dead letters of %d malformed words", n, len(malformed))
	}
	if handled, waiting, parked := acts(t, c); len(handled) != 0 || waiting != 0 || parked != 1 {
		t.Errorf("%v, %d waiting, %d parked", handled, waiting, parked)
	}
}

// TestCallbacksCannotSpeakForOperators: what a callback emits to its own input is never a control record.
func TestCallbacksCannotSpeakForOperators(t *testing.T) {
	c := newCluster(t)
	r := start(t, testConfig(c.Addrs), func(ctx *engine.Context, value []byte) error {
		ctx.Emit(input, ctx.Key(), value, kgo.RecordHeader{Key: engine.ControlHeader, Value: []byte(engine.Redrive)})
		return nil
	})
	c.Produce(record("acc-1", "x"))
	r.caughtUp(c)
	r.stop()
	if _, _, parked := acts(t, c); parked != 1 || len(c.ReadCommitted(input)) != 1 {
		t.Errorf("%d parked, %d inputs", parked, len(c.ReadCommitted(input)))
	}
}

// TestValueThatWasLeftInTheInputIsRedriven: a value too large to be copied is read where it lies.
func TestValueThatWasLeftInTheInputIsRedriven(t *testing.T) {
	c := newCluster(t)
	large := record("acc-1", "")
	large.Value = bytes.Repeat([]byte("large"), 190<<10)
	c.Produce(record("acc-1", "fail"), record("acc-1", "v1"), large, record("acc-1", "v2"))
	var seen atomic.Int64
	r := start(t, testConfig(c.Addrs), func(ctx *engine.Context, value []byte) error {
		if len(value) > 1000 {
			if !bytes.Equal(value, large.Value) {
				t.Errorf("%d bytes", len(value))
			}
			seen.Add(1)
			value = []byte("large")
		}
		return count(ctx, value)
	})
	r.caughtUp(c)
	if seen.Load() > 0 {
		t.Fatal("not parked")
	}
	c.Produce(word(t, "acc-1", engine.Control{Verb: engine.Discard, Offset: 0}))
	if a := r.handled(t, c, 1)[0]; a.Redriven != 3 || a.Left != 0 {
		t.Errorf("came to %+v", a)
	}
	r.stop()
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

// TestKill9WhileRedriving: words arrive under load for keys with thousands of parked records, and the worker is killed
// again and again in the middle. Every input of every key leads to its one output, in order.
func TestKill9WhileRedriving(t *testing.T) {
	const (
		keys   = 24
		behind = 1500
		kills  = 6
	)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 3))
	c := newCluster(t)
	var records []*kgo.Record
	for i := range keys {
		records = append(records, record(fmt.Sprintf("acc-%d", i), "fail"))
	}
	c.Produce(records...)
	poison := records
	c.Produce(inputs(keys*behind, keys)...)
	w := spawn(t, c.Addrs)
	for deadline := time.Now().Add(30 * time.Second); c.Lag(group, input) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not parked in time")
		}
	}
	if _, _, parked := acts(t, c); parked != keys*(behind+1) {
		t.Fatalf("%d parked", parked)
	}
	fed := make(chan error, 1)
	var words []*kgo.Record
	for _, p := range poison {
		words = append(words, word(t, string(p.Key), engine.Control{Verb: engine.Discard, Offset: p.Offset}))
	}
	go func() {
		client := c.Client(kgo.ProducerLinger(time.Millisecond))
		for i, r := range inputs(keys*200, keys*2) { // half of them behind what is parked
			client.Produce(t.Context(), r, nil)
			if i%200 == 0 {
				client.Produce(t.Context(), words[i/200], nil)
				time.Sleep(100 * time.Millisecond)
			}
		}
		fed <- client.Flush(t.Context())
	}()
	within := 0
	for range kills {
		progress := c.Applied(group, input)
		for deadline := time.Now().Add(20 * time.Second); c.Applied(group, input) == progress && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
		if err := w.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := <-w.ended; err == nil {
			t.Fatal("a killed worker ended in order")
		}
		if _, waiting, _ := acts(t, c); waiting > 0 {
			within++
		}
		w = spawn(t, c.Addrs)
	}
	if err := <-fed; err != nil {
		t.Fatal(err)
	}
	const outputs = keys*behind + keys*200
	for deadline := time.Now().Add(60 * time.Second); len(c.ReadCommitted(output)) < outputs; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d outputs", len(c.ReadCommitted(output)), outputs)
		}
	}
	if err := w.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-w.ended; err != nil {
		t.Fatalf("worker's orderly end: %v", err)
	}
	t.Logf("%d of %d kills while an act was under way", within, kills)
	if within == 0 {
		t.Error("no kill fell into a redrive")
	}
	handled, waiting, parked := acts(t, c)
	if len(handled) != keys || waiting != 0 || parked != 0 {
		t.Fatalf("%d acts done, %d waiting, %d parked", len(handled), waiting, parked)
	}
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatalf("%d things wrong, first %s", len(wrong), wrong[0])
	}
	if n := len(c.ReadCommitted(dead)); n != keys {
		t.Fatalf("%d dead letters of %d discarded", n, keys)
	}
}

// TestCutConnectionsWhileRedriving: nobody knows which commits took effect, and still each parked record is handled once.
func TestCutConnectionsWhileRedriving(t *testing.T) {
	const keys, behind = 12, 1200
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	cut := &cutter{
		random: rand.New(rand.NewPCG(seed, 4)),
		odds:   map[kmsg.Key]float64{kmsg.EndTxn: 0.2, kmsg.TxnOffsetCommit: 0.1, kmsg.Produce: 0.02},
		cuts:   map[kmsg.Key]int{},
	}
	c := newCluster(t)
	var poison, words []*kgo.Record
	for i := range keys {
		poison = append(poison, record(fmt.Sprintf("acc-%d", i), "fail"))
	}
	c.Produce(poison...)
	c.Produce(inputs(keys*behind, keys)...)
	r := start(t, testConfig(c.Addrs), count)
	r.caughtUp(c)
	r.stop()
	for _, p := range poison {
		words = append(words, word(t, string(p.Key), engine.Control{Verb: engine.Discard, Offset: p.Offset}))
	}
	c.Produce(words...)
	cfg := testConfig(c.Addrs)
	cfg.Options = []kgo.Opt{kgo.Dialer(cut.dial)}
	done := func() bool {
		handled, _, parked := acts(t, c)
		return len(handled) == keys && parked == 0
	}
	starts := 0
	for deadline := time.Now().Add(60 * time.Second); !done(); starts++ {
		if time.Now().After(deadline) {
			t.Fatalf("not done after %d starts", starts)
		}
		runUntilDone(t, cfg, done)
	}
	t.Logf("%d starts, cuts %v", starts, cut.cuts)
	if cut.cuts[kmsg.EndTxn] == 0 {
		t.Fatal("nothing was cut")
	}
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatalf("%d things wrong, first %s", len(wrong), wrong[0])
	}
	if n := len(c.ReadCommitted(dead)); n != keys {
		t.Fatalf("%d dead letters of %d discarded", n, keys)
	}
}

package gokagroup_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/gokagroup"
	"github.com/caudalpay/caudal/streams/streamtest"
)

const (
	partitions = 4
	group      = goka.Group("g")
	input      = "in"
	output     = "out"
	limits     = "limits" // joined
	rates      = "rates"  // looked up
	table      = "g-table"
	side       = "g-side"
	dead       = "in.dead"
)

// graph has every kind of edge.
func graph() *gokagroup.Graph {
	return gokagroup.DefineGroup(group,
		gokagroup.Input(input, new(codec.String), handle),
		goka.Output(output, new(codec.String)),
		goka.Output(input, new(codec.String)),
		goka.Persist(new(codec.Int64)),
		goka.Join(limits, new(codec.Int64)),
		goka.Lookup(rates, new(codec.String)),
		gokagroup.Visitor("interest", interest),
	)
}

// handle does what its message says; it is written for Goka, and knows nothing of the engine.
func handle(ctx goka.Context, message any) {
	word, rest, _ := strings.Cut(message.(string), " ")
	switch word {
	case "count": // up to the key's limit
		n := count(ctx) + 1
		if limit, ok := ctx.Join(limits).(int64); ok && n > limit {
			ctx.Emit(output, ctx.Key(), "over the limit")
			return
		}
		ctx.SetValue(n)
		ctx.Emit(output, ctx.Key(), fmt.Sprintf("%d at %d/%d", n, ctx.Partition(), ctx.Offset()))
	case "rate":
		rate, _ := ctx.Lookup(rates, rest).(string)
		ctx.Emit(output, ctx.Key(), "rate "+rate)
	case "hop": // to another key, by way of the input
		ctx.Emit(input, rest, "count", goka.WithCtxEmitHeaders(goka.Headers{"from": []byte(ctx.Key())}))
	case "echo":
		h := ctx.Headers()
		ctx.Emit(output, ctx.Key(), fmt.Sprintf("%s of %s on %s, %d headers", rest, ctx.Group(), ctx.Topic(), len(h)),
			goka.WithCtxEmitHeaders(goka.Headers{"b": h["x"]}), goka.WithCtxEmitHeaders(goka.Headers{"a": []byte("1")}))
	case "delete":
		ctx.Delete()
	case "panic":
		ctx.SetValue(int64(-1))
		ctx.Emit(output, ctx.Key(), "never")
		panic("asked to panic")
	case "fail":
		ctx.SetValue(int64(-1))
		ctx.Emit(output, ctx.Key(), "never")
		ctx.Fail(errAsked)
	}
}

var errAsked = errors.New("asked to fail")

func count(ctx goka.Context) int64 {
	n, _ := ctx.Value().(int64)
	return n
}

// interest doubles what a key counted.
func interest(ctx goka.Context, meta any) {
	n := count(ctx) * 2
	ctx.SetValue(n)
	m, _ := meta.([]byte)
	ctx.Emit(output, ctx.Key(), fmt.Sprintf("%s %s %d", ctx.Topic(), m, n))
}

func testConfig(addrs []string) engine.Config {
	return engine.Config{
		Brokers: addrs, Partitions: partitions, TransactionalID: "tx-0", InstanceID: "worker-0",
		Logger: slog.New(slog.DiscardHandler),
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
	c.Topics(partitions, input, output, limits, table, side, dead)
	c.Topics(1, rates)
	return c
}

func record(topic, key, value string) *kgo.Record {
	return &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value), Partition: -1}
}

// running is something with a Run.
type running struct {
	tb     testing.TB
	cancel context.CancelFunc
	ended  chan error
}

func run(tb testing.TB, f func(context.Context) error) *running {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	r := &running{tb: tb, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- f(ctx) }()
	tb.Cleanup(cancel)
	return r
}

func start(tb testing.TB, g *gokagroup.Graph, cfg engine.Config, options ...gokagroup.Option) (*engine.Engine, *running) {
	tb.Helper()
	e, err := gokagroup.New(g, cfg, options...)
	if err != nil {
		tb.Fatal(err)
	}
	return e, run(tb, e.Run)
}

func (r *running) wait() error {
	r.tb.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(30 * time.Second):
		r.tb.Fatal("it does not end")
		return nil
	}
}

func (r *running) stop() {
	r.tb.Helper()
	r.cancel()
	if err := r.wait(); err != nil {
		r.tb.Fatalf("it ended with %v", err)
	}
}

// eventually waits for a condition, and fails early when what runs ends.
func (r *running) eventually(what string, ok func() bool) {
	r.tb.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		select {
		case err := <-r.ended:
			r.tb.Fatalf("it ended while waiting for %s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			r.tb.Fatalf("no %s within 30 s", what)
		}
	}
}

// caughtUp waits until the group committed the last record of the input, what it emits there among them.
func (r *running) caughtUp(c *streamtest.Cluster) {
	r.tb.Helper()
	r.eventually("end of input", func() bool {
		if c.Applied(string(group), input) == 0 {
			return false // the group may not be there yet
		}
		committed := c.Committed(string(group), input)
		return !slices.ContainsFunc(c.ReadCommitted(input), func(r *kgo.Record) bool { return committed[r.Partition] <= r.Offset })
	})
}

// rows is what a compacted topic says at its end.
func rows(c *streamtest.Cluster, topic string) map[string]string {
	found := map[string]string{}
	for _, r := range c.ReadCommitted(topic) {
		switch {
		case engine.IsFence(r.Key):
		case r.Value == nil:
			delete(found, string(r.Key))
		default:
			found[string(r.Key)] = string(r.Value)
		}
	}
	return found
}

// lines are the records of a topic by key, in their order, headers included.
func lines(c *streamtest.Cluster, topic string) map[string][]string {
	found := map[string][]string{}
	for _, r := range c.ReadCommitted(topic) {
		line := string(r.Value)
		headers := slices.Clone(r.Headers)
		slices.SortFunc(headers, func(a, b kgo.RecordHeader) int { return strings.Compare(a.Key, b.Key) }) // stock Goka has no order
		for _, h := range headers {
			line += fmt.Sprintf(" {%s=%s}", h.Key, h.Value)
		}
		found[string(r.Key)] = append(found[string(r.Key)], line)
	}
	return found
}

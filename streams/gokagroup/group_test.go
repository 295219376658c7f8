package gokagroup_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/tester"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/gokagroup"
	"github.com/caudalpay/caudal/streams/streamtest"
)

// plainTables are the joined and the looked up one; inTransaction are the same, with the marker of a transaction at the end of
// every partition that has a row, which stock Goka cannot read.
func plainTables(c *streamtest.Cluster) { c.Produce(tableRows()...) }

func inTransaction(c *streamtest.Cluster) {
	tx := c.Client(kgo.TransactionalID("tables"))
	err := tx.BeginTransaction()
	if err == nil {
		err = tx.ProduceSync(c.Context(), tableRows()...).FirstErr()
	}
	if err == nil {
		err = tx.EndTransaction(c.Context(), kgo.TryCommit)
	}
	if err != nil {
		panic(err)
	}
}

func tableRows() []*kgo.Record {
	return []*kgo.Record{record(limits, "low", "2"), record(limits, "mid", "3"), record(rates, "usd", "5.1")}
}

// script uses every edge but the visitor.
func script(c *streamtest.Cluster) {
	for _, key := range []string{"low", "mid", "free"} {
		for range 5 {
			c.Produce(record(input, key, "count"))
		}
	}
	echo := record(input, "free", "echo hello")
	echo.Headers = []kgo.RecordHeader{{Key: "x", Value: []byte("1")}, {Key: "y", Value: []byte("2")}}
	c.Produce(record(input, "low", "rate usd"), record(input, "low", "rate none"), record(input, "low", "hop far"), echo,
		record(input, "gone", "count"), record(input, "gone", "delete"), &kgo.Record{Topic: input, Key: []byte("low"), Partition: -1})
}

// outcome of the script.
type outcome struct {
	table map[string]string
	out   map[string][]string
}

func outcomeOf(c *streamtest.Cluster) outcome { return outcome{rows(c, table), lines(c, output)} }

func (o outcome) equal(other outcome) bool {
	return maps.Equal(o.table, other.table) && maps.EqualFunc(o.out, other.out, slices.Equal)
}

func TestEveryEdge(t *testing.T) {
	c := newCluster(t)
	inTransaction(c)
	script(c)
	_, r := start(t, graph(), testConfig(c.Addrs))
	r.caughtUp(c)
	r.stop()
	checkScript(t, outcomeOf(c))
	hop := lines(c, input)["far"]
	if !slices.Equal(hop, []string{"count {from=low}"}) {
		t.Errorf("the hop went through the input as %q", hop)
	}
	if letters := c.ReadCommitted(dead); len(letters) != 0 {
		t.Errorf("%d dead letters", len(letters))
	}
}

func checkScript(t *testing.T, o outcome) {
	t.Helper()
	if want := map[string]string{"low": "2", "mid": "3", "free": "5", "far": "1"}; !maps.Equal(o.table, want) {
		t.Errorf("the table is %v, want %v", o.table, want)
	}
	over := slices.DeleteFunc(slices.Clone(o.out["low"]), func(l string) bool { return strings.Contains(l, " at ") })
	if want := []string{"over the limit", "over the limit", "over the limit", "rate 5.1", "rate "}; !slices.Equal(over, want) {
		t.Errorf("low has %q, want %q", over, want)
	}
	if last := o.out["free"][len(o.out["free"])-1]; last != "hello of g on in, 2 headers {a=1} {b=1}" {
		t.Errorf("the echo is %q", last)
	}
}

// TestPoison: a panic, and what a codec refuses, parks the key and keeps its order; nothing of it takes effect.
func TestPoison(t *testing.T) {
	c := newCluster(t)
	g := gokagroup.DefineGroup(group,
		gokagroup.Input(input, new(codec.Int64), func(ctx goka.Context, message any) {
			n := count(ctx) + message.(int64)
			ctx.SetValue(n)
			ctx.Emit(output, ctx.Key(), n)
			if n == 13 {
				panic("unlucky")
			}
			if n == 17 {
				gokagroup.Reject(ctx, errAsked)
			}
			if n == 19 {
				ctx.Emit("nowhere", ctx.Key(), n)
			}
		}),
		goka.Output(output, new(codec.Int64)), goka.Persist(new(codec.Int64)))
	for key, words := range map[string][]string{
		"a": {"1", "12", "1"}, "b": {"2", "two", "2"}, "c": {"3", "14", "3"}, "d": {"18", "1", "1"}, "e": {"5", "5"},
	} {
		for _, w := range words {
			c.Produce(record(input, key, w))
		}
	}
	_, r := start(t, g, testConfig(c.Addrs))
	r.caughtUp(c)
	r.stop()
	if got, want := rows(c, table), map[string]string{"a": "1", "b": "2", "c": "3", "d": "18", "e": "10"}; !maps.Equal(got, want) {
		t.Errorf("the table is %v, want %v", got, want)
	}
	if got, want := lines(c, output), map[string][]string{"a": {"1"}, "b": {"2"}, "c": {"3"}, "d": {"18"}, "e": {"5", "10"}}; !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("the output is %v, want %v", got, want)
	}
	reasons := map[string]string{"a": "unlucky", "b": "decoding record of in", "c": errAsked.Error(), "d": "topic nowhere is not among the outputs"}
	parked := parkedRecords(t, c)
	for key, reason := range reasons {
		if p := parked[key]; len(p) != 2 || !strings.Contains(p[0].Reason, reason) || p[1].Reason != "" {
			t.Errorf("%s has parked %+v, want one for %q and one that queues", key, p, reason)
		}
	}
	if len(parked) != len(reasons) {
		t.Errorf("%d keys are parked", len(parked))
	}
}

func parkedRecords(t *testing.T, c *streamtest.Cluster) map[string][]engine.Parked {
	t.Helper()
	found := map[string][]engine.Parked{}
	for _, r := range c.ReadCommitted(side) {
		k, err := engine.DecodeSideKey(r.Key)
		if err != nil || k.Kind != engine.ParkedKind {
			continue
		}
		p, err := engine.DecodeParked(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		found[k.Key] = append(found[k.Key], p)
	}
	for _, list := range found { // a transaction writes its keys in no order
		slices.SortFunc(list, func(a, b engine.Parked) int { return int(a.Offset - b.Offset) })
	}
	return found
}

// TestFailStopsTheEngine and nothing is lost or done twice by it.
func TestFailStopsTheEngine(t *testing.T) {
	c := newCluster(t)
	c.Produce(record(input, "a", "count"), record(input, "a", "fail"), record(input, "a", "count"))
	_, r := start(t, graph(), testConfig(c.Addrs))
	if err := r.wait(); !errors.Is(err, errAsked) {
		t.Fatalf("it ended with %v", err)
	}
	mended := gokagroup.DefineGroup(group,
		gokagroup.Input(input, new(codec.String), func(ctx goka.Context, message any) {
			if message != "fail" {
				handle(ctx, message)
			}
		}),
		goka.Output(output, new(codec.String)), goka.Output(input, new(codec.String)), goka.Persist(new(codec.Int64)),
		goka.Join(limits, new(codec.Int64)), goka.Lookup(rates, new(codec.String)))
	_, r = start(t, mended, testConfig(c.Addrs))
	r.caughtUp(c)
	r.stop()
	if got := rows(c, table)["a"]; got != "2" {
		t.Errorf("a counted %s, want 2", got)
	}
	if got := lines(c, output)["a"]; len(got) != 2 {
		t.Errorf("the output is %q", got)
	}
}

// TestOptions: default headers and the context wrapper.
func TestOptions(t *testing.T) {
	c := newCluster(t)
	c.Produce(record(input, "a", "v"))
	g := gokagroup.DefineGroup(group, goka.Output(output, new(codec.String)), gokagroup.Input(input, new(codec.String), func(ctx goka.Context, m any) {
		ctx.Emit(output, ctx.Key(), m)
		ctx.Emit(output, ctx.Key(), m, goka.WithCtxEmitHeaders(goka.Headers{"b": []byte("own")}))
		ctx.Emit(output, ctx.Key(), nil)
	}))
	_, r := start(t, g, testConfig(c.Addrs),
		gokagroup.WithProducerDefaultHeaders(goka.Headers{"a": []byte("1"), "b": []byte("2")}),
		gokagroup.WithContextWrapper(func(ctx goka.Context) goka.Context { return loud{ctx} }))
	r.caughtUp(c)
	r.stop()
	want := []string{"v {a=1} {b=2}", "v {a=1} {b=own}", " {a=1} {b=2}"}
	if got := lines(c, output)["A"]; !slices.Equal(got, want) {
		t.Errorf("the output is %q, want %q", got, want)
	}
}

type gokaContext = goka.Context

// loud shows keys in capitals.
type loud struct{ gokaContext }

func (l loud) Key() string { return strings.ToUpper(l.gokaContext.Key()) }

// TestUnderGokasTester runs the very same graph without a broker.
func TestUnderGokasTester(t *testing.T) {
	g := graph()
	tt := tester.New(t)
	p, err := goka.NewProcessor(nil, g.GroupGraph, goka.WithTester(tt))
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, p.Run)
	tt.SetTableValue(limits, "low", int64(2))
	out := tt.NewQueueTracker(output)
	for range 3 {
		tt.Consume(input, "low", "count")
	}
	tt.Consume(input, "low", "hop far")
	if got := tt.TableValue(table, "low"); got != int64(2) {
		t.Errorf("low counted %v", got)
	}
	if got := tt.TableValue(table, "far"); got != int64(1) {
		t.Errorf("far counted %v", got)
	}
	var said []string
	for key, value, ok := out.Next(); ok; key, value, ok = out.Next() {
		said = append(said, fmt.Sprintf("%s: %s", key, value))
	}
	if len(said) != 4 || said[2] != "low: over the limit" {
		t.Errorf("the output is %q", said)
	}
	if err := p.VisitAll(t.Context(), "interest", []byte("may")); err != nil {
		t.Fatal(err)
	}
	if got := tt.TableValue(table, "low"); got != int64(4) {
		t.Errorf("after the visit low has %v", got)
	}
	r.stop()
}

// TestWithoutAnEngine: what only the engine has says so under goka/tester.
func TestWithoutAnEngine(t *testing.T) {
	var said string
	g := gokagroup.DefineGroup(group, gokagroup.Input(input, new(codec.String), func(ctx goka.Context, _ any) {
		defer func() { said = fmt.Sprint(recover()) }()
		gokagroup.Side(ctx, engine.ScopeKey)
	}))
	tt := tester.New(t)
	p, err := goka.NewProcessor(nil, g.GroupGraph, goka.WithTester(tt))
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, p.Run)
	tt.Consume(input, "a", "x")
	r.stop()
	if !strings.Contains(said, "only groups made by gokagroup.New") {
		t.Errorf("Side said %q", said)
	}
}

// TestSeveralInputsAndLoop: each input has a callback of its own, and what a group sends itself comes back once, by way of
// the key's own partition.
func TestSeveralInputsAndLoop(t *testing.T) {
	c := newCluster(t)
	c.Topics(partitions, "orders", "g-loop")
	str := new(codec.String)
	add := func(ctx goka.Context, _ any) {
		n := count(ctx) + 1
		ctx.SetValue(n)
		ctx.Emit(output, ctx.Key(), fmt.Sprintf("%s %d", ctx.Topic(), n))
	}
	both := func() *gokagroup.Graph {
		return gokagroup.DefineGroup(group,
			gokagroup.Input(input, str, func(ctx goka.Context, m any) { ctx.Loopback(m.(string), "on") }),
			gokagroup.Input("orders", str, add),
			gokagroup.Loop(str, add),
			goka.Output(output, str), goka.Persist(new(codec.Int64)))
	}
	want, all := map[string]int{}, 0
	for range 2 { // the second life goes on where the first ended
		for i := range 200 {
			key := fmt.Sprintf("to-%d", i%7)
			c.Produce(record(input, fmt.Sprintf("from-%d", i%5), key), record("orders", key, "x"))
			want[key] += 2
			all += 2
		}
		_, r := start(t, both(), testConfig(c.Addrs))
		r.eventually("all outputs", func() bool { return len(c.ReadCommitted(output)) >= all })
		r.stop()
	}
	for key, n := range want {
		if got := rows(c, table)[key]; got != fmt.Sprint(n) {
			t.Errorf("%s counted %s, want %d", key, got, n)
		}
		if got := len(lines(c, output)[key]); got != n {
			t.Errorf("%s has %d outputs, want %d", key, got, n)
		}
	}
}

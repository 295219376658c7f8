package gokagroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine"
)

// fakeRecord is a record without an engine.
type fakeRecord struct {
	value   []byte
	rows    map[string][]byte
	emitted int
	headers []kgo.RecordHeader
}

func (r *fakeRecord) Key() string                 { return "key" }
func (r *fakeRecord) Topic() string               { return "in" }
func (r *fakeRecord) Partition() int32            { return 3 }
func (r *fakeRecord) Offset() int64               { return 7 }
func (r *fakeRecord) Timestamp() time.Time        { return time.Unix(9, 0) }
func (r *fakeRecord) Headers() []kgo.RecordHeader { return r.headers }
func (r *fakeRecord) Context() context.Context    { return context.Background() }
func (r *fakeRecord) Value() []byte               { return r.value }
func (r *fakeRecord) SetValue(value []byte)       { r.value = value }
func (r *fakeRecord) DeleteValue()                { r.value = nil }
func (r *fakeRecord) Join(table string) []byte    { return r.rows[table] }
func (r *fakeRecord) Lookup(table, key string) ([]byte, bool) {
	v, ok := r.rows[table+"/"+key]
	return v, ok
}

func (r *fakeRecord) Emit(_, _ string, _ []byte, headers ...kgo.RecordHeader) {
	r.emitted++
	r.headers = headers
}

// fixed is a codec that costs nothing.
type fixed struct {
	value any
	data  []byte
}

func (f *fixed) Encode(any) ([]byte, error) { return f.data, nil }
func (f *fixed) Decode([]byte) (any, error) { return f.value, nil }

func contextOf(t *testing.T, c goka.Codec, callback goka.ProcessCallback) *groupContext {
	t.Helper()
	g := DefineGroup("g", Input("in", c, callback), goka.Output("out", c), goka.Persist(c), goka.Join("joined", c), goka.Lookup("looked", c))
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	return newGroup(g, 1, nil).contexts[0]
}

// TestNoAllocationPerRecord: a record that is decoded, read, written, joined, looked up and emitted costs what its codecs cost.
func TestNoAllocationPerRecord(t *testing.T) {
	var message any = &struct{ n int }{1}
	c := contextOf(t, &fixed{value: message, data: []byte("data")}, func(ctx goka.Context, m any) {
		if ctx.Value() != m || ctx.Join("joined") != m || ctx.Lookup("looked", ctx.Key()) != m {
			panic("wrong value")
		}
		ctx.SetValue(m)
		ctx.Emit("out", ctx.Key(), m)
	})
	r := &fakeRecord{value: []byte("x"), rows: map[string][]byte{"joined": {1}, "looked/key": {1}}}
	value := []byte("x")
	if n := testing.AllocsPerRun(1000, func() {
		if err := c.handle(r, value); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
	if r.emitted == 0 {
		t.Error("nothing was emitted")
	}
}

func BenchmarkContext(b *testing.B) {
	var message any = &struct{ n int }{1}
	cd := &fixed{value: message, data: []byte("data")}
	g := DefineGroup("g", Input("in", cd, func(ctx goka.Context, m any) {
		ctx.SetValue(ctx.Value())
		ctx.Emit("out", ctx.Key(), m)
	}), goka.Output("out", cd), goka.Persist(cd))
	c := newGroup(g, 1, nil).contexts[0]
	r, value := &fakeRecord{value: []byte("x")}, []byte("x")
	b.ReportAllocs()
	for b.Loop() {
		if err := c.handle(r, value); err != nil {
			b.Fatal(err)
		}
	}
}

// TestContextOfARecord shows what Goka's would.
func TestContextOfARecord(t *testing.T) {
	shows := contextOf(t, new(codec.String), func(ctx goka.Context, m any) {
		got := fmt.Sprintln(ctx.Topic(), ctx.Key(), ctx.Partition(), ctx.Offset(), ctx.Group(), ctx.Timestamp().Unix(), m, ctx.Headers(), ctx.Context() != nil)
		if got != "in key 3 7 g 9 m map[a:[50]] true\n" {
			t.Errorf("the context shows %q", got)
		}
	})
	headers := 0
	c := contextOf(t, new(codec.String), func(ctx goka.Context, _ any) { headers = len(ctx.Headers()) })
	for _, n := range []int{2, 0} { // the context of one record shows nothing of another
		r := &fakeRecord{headers: []kgo.RecordHeader{{Key: "a"}, {Key: "b"}}[:n]}
		if err := c.handle(r, []byte("m")); err != nil {
			t.Fatal(err)
		}
		if headers != n {
			t.Errorf("%d headers, want %d", headers, n)
		}
	}
	double := []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}} // the last one counts
	if err := shows.handle(&fakeRecord{headers: double}, []byte("m")); err != nil {
		t.Fatal(err)
	}
}

// TestNilHandling is Goka's.
func TestNilHandling(t *testing.T) {
	for handling, want := range map[goka.NilHandling][]any{goka.NilIgnore: {"v"}, goka.NilProcess: {"v", nil}, goka.NilDecode: {"v", ""}} {
		var got []any
		g := DefineGroup("g", Input("in", new(codec.String), func(_ goka.Context, m any) { got = append(got, m) }))
		c := newGroup(g, 1, []Option{WithNilHandling(handling)}).contexts[0]
		for _, value := range [][]byte{[]byte("v"), nil} {
			if err := c.handle(&fakeRecord{}, value); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("handling %d shows %q, want %q", handling, got, want)
		}
	}
}

// TestMisuseIsRejected: nothing stops the engine but Fail, and what is said helps.
func TestMisuseIsRejected(t *testing.T) {
	option := goka.WithCtxEmitHeaders(goka.Headers{"a": nil})
	for says, misuse := range map[string]func(goka.Context){
		"add gokagroup.Loop":               func(ctx goka.Context) { ctx.Loopback("k", "v") },
		"put it into a side table":         func(ctx goka.Context) { ctx.DeferCommit() },
		"not among the outputs":            func(ctx goka.Context) { ctx.Emit("g-table", "k", "v") },
		"encoding value for out":           func(ctx goka.Context) { ctx.Emit("out", "k", 5) },
		"encoding value for g-table":       func(ctx goka.Context) { ctx.SetValue(5) },
		"cannot set nil":                   func(ctx goka.Context) { ctx.SetValue(nil) },
		"has no headers":                   func(ctx goka.Context) { ctx.SetValue("v", option) },
		"call SetValue and Delete without": func(ctx goka.Context) { ctx.Delete(option) },
		"add goka.Join":                    func(ctx goka.Context) { ctx.Join("looked") },
		"add goka.Lookup":                  func(ctx goka.Context) { ctx.Lookup("joined", "k") },
		"on purpose":                       func(ctx goka.Context) { Reject(ctx, errors.New("on purpose")) },
		"swallowed": func(ctx goka.Context) {
			defer func() { _ = recover() }()
			Reject(ctx, errors.New("swallowed"))
		},
		"first": func(ctx goka.Context) {
			defer func() { ctx.Fail(errors.New("second")) }()
			Reject(ctx, errors.New("first"))
		},
	} {
		after := false
		c := contextOf(t, new(codec.String), func(ctx goka.Context, _ any) { misuse(ctx); after = true })
		err := c.handle(&fakeRecord{}, []byte("m"))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the callback ended with %v, want %q in it", err, says)
		}
		if _, retry := errors.AsType[*engine.RetryError](err); retry {
			t.Errorf("%v stops the engine", err)
		}
		if after && says != "swallowed" {
			t.Errorf("the callback went on after %v", err)
		}
	}
}

// TestFailIsRetry, and a panic of the callback's own goes on to the engine, which logs where it was.
func TestFailIsRetry(t *testing.T) {
	c := contextOf(t, new(codec.String), func(ctx goka.Context, m any) {
		if m == "panic" {
			panic(m)
		}
		ctx.Fail(errors.New("no answer"))
	})
	_, retry := errors.AsType[*engine.RetryError](c.handle(&fakeRecord{}, []byte("m")))
	if !retry {
		t.Error("Fail does not stop the engine")
	}
	defer func() {
		if v := recover(); v != "panic" {
			t.Errorf("the panic arrived as %v", v)
		}
		if err := c.handle(&fakeRecord{}, nil); err != nil {
			t.Errorf("after a panic the context is left with %v", err)
		}
	}()
	_ = c.handle(&fakeRecord{}, []byte("panic"))
}

// TestNoTable: without Persist there is no state, as in Goka.
func TestNoTable(t *testing.T) {
	for _, use := range []func(goka.Context){
		func(ctx goka.Context) { ctx.Value() }, func(ctx goka.Context) { ctx.SetValue("v") }, func(ctx goka.Context) { ctx.Delete() },
	} {
		g := DefineGroup("g", Input("in", new(codec.String), func(ctx goka.Context, _ any) { use(ctx) }))
		err := newGroup(g, 1, nil).contexts[0].handle(&fakeRecord{value: []byte("x")}, []byte("m"))
		if !errors.Is(err, errNoTable) {
			t.Errorf("it ended with %v", err)
		}
	}
}

// TestStateIsNotTheCallbacks: changing what a codec of bytes returned does not change the state.
func TestStateIsNotTheCallbacks(t *testing.T) {
	c := contextOf(t, new(codec.Bytes), func(ctx goka.Context, _ any) {
		for _, v := range []any{ctx.Value(), ctx.Join("joined"), ctx.Lookup("looked", "k")} {
			v.([]byte)[0] = 'X'
		}
	})
	r := &fakeRecord{value: []byte("own"), rows: map[string][]byte{"joined": []byte("joined"), "looked/k": []byte("looked")}}
	if err := c.handle(r, []byte("m")); err != nil {
		t.Fatal(err)
	}
	if string(r.value) != "own" || string(r.rows["joined"]) != "joined" || string(r.rows["looked/k"]) != "looked" {
		t.Errorf("the state is %q and %q", r.value, r.rows)
	}
}

// TestEmitHeaders: Goka still keeps headers where they are read.
func TestEmitHeaders(t *testing.T) {
	got := emitHeaders([]goka.ContextOption{
		goka.WithCtxEmitHeaders(goka.Headers{"b": []byte("2"), "a": []byte("1")}), goka.WithCtxEmitHeaders(goka.Headers{"c": nil, "a": []byte("3")}),
	})
	var list []string
	for _, h := range recordHeaders(got) {
		list = append(list, fmt.Sprintf("%s=%s", h.Key, h.Value))
	}
	if !slices.Equal(list, []string{"a=3", "b=2", "c="}) {
		t.Errorf("the headers are %v", list)
	}
	if emitHeaders([]goka.ContextOption{goka.WithCtxEmitHeaders(nil)}) == nil {
		t.Error("an option without headers")
	}
	if emitHeaders([]goka.ContextOption(nil)) != nil {
		t.Error("headers from nowhere")
	}
}

func TestPrefixEnd(t *testing.T) {
	for prefix, want := range map[string]string{"": "", "a": "b", "ab": "ac", "a\xff": "b", "\xff\xff": "", "a\x00": "a\x01"} {
		if got := prefixEnd(prefix); got != want {
			t.Errorf("%q ends at %q, want %q", prefix, got, want)
		}
	}
}

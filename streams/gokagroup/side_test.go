package gokagroup_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/gokagroup"
)

// orders keeps an order per id beside its key, and lets it fall due a minute later in the time of the records.
func orders(ctx goka.Context, message any) {
	open := gokagroup.Table[int64]{Side: gokagroup.Side(ctx, engine.ScopeKey), Kind: "order", Codec: new(codec.Int64)}
	due := gokagroup.Due{Side: gokagroup.Side(ctx, engine.ScopePartition), Kind: "due"}
	word, id, _ := strings.Cut(message.(string), " ")
	now := ctx.Timestamp()
	if word == "expire" { // the group's own, stamped by the clock
		now = time.Time{}
	}
	for _, e := range due.Expired(now, 2) {
		due.Delete(e.At, e.ID)
		key, id, _ := strings.Cut(e.ID, "/")
		ctx.Emit(input, key, "expire "+id)
		ctx.Emit(output, key, fmt.Sprintf("%s due at %d", id, e.At.Unix()))
	}
	switch word {
	case "open":
		open.Put(id, ctx.Timestamp().Unix())
		due.Put(ctx.Timestamp().Add(time.Minute), ctx.Key()+"/"+id)
	case "expire":
		if _, ok := open.Get(id); !ok {
			gokagroup.Reject(ctx, errors.New("no such order"))
		}
		open.Delete(id)
	case "list":
		var all []string
		for _, row := range open.ScanPrefix(id, 3) {
			all = append(all, fmt.Sprintf("%s=%d", row.ID, row.Value))
		}
		ctx.Emit(output, ctx.Key(), strings.Join(all, ","))
	case "spoil":
		gokagroup.Side(ctx, engine.ScopeKey).Put("order", id, []byte("no number"))
	}
}

func ordersGraph() *gokagroup.Graph {
	return gokagroup.DefineGroup(group, gokagroup.Input(input, new(codec.String), orders),
		goka.Output(output, new(codec.String)), goka.Output(input, new(codec.String)))
}

func TestSideTablesAndDueIndex(t *testing.T) {
	c := newFake(t)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, Count: 3, When: everyOther()})
	send := func(second int64, key, value string) {
		r := record(input, key, value)
		r.Timestamp = time.Unix(second, 0)
		c.Produce(r)
	}
	cfg := testConfig(c.Addrs)
	cfg.RecordsMax = 2
	_, r := start(t, ordersGraph(), cfg)
	for i := range int64(5) {
		send(100+i, "a", fmt.Sprintf("open x%d", i))
	}
	send(105, "a", "open y0")
	send(106, "a", "list x")
	send(163, "a", "list ") // x0 to x3 are due; two are taken, the rest at the next record
	r.caughtUp(c)
	send(163, "a", "list ")
	send(100, "a", "list ") // late records make nothing due, nor undue
	r.caughtUp(c)
	r.stop()
	_, r = start(t, ordersGraph(), cfg)
	send(163, "a", "list ")
	r.caughtUp(c)
	r.stop()
	got := lines(c, output)["a"]
	want := []string{"x0=100,x1=101,x2=102", "x0 due at 160", "x1 due at 161", "x0=100,x1=101,x2=102"}
	if !slices.Equal(got[:min(4, len(got))], want) || got[len(got)-1] != "x4=104,y0=105" {
		t.Errorf("the output is %q", got)
	}
	dues := slices.DeleteFunc(slices.Clone(got), func(l string) bool { return !strings.Contains(l, "due") })
	if !slices.Equal(dues, []string{"x0 due at 160", "x1 due at 161", "x2 due at 162", "x3 due at 163"}) {
		t.Errorf("due were %q", dues)
	}
	if parked := parkedRecords(t, c); len(parked) != 0 {
		t.Errorf("parked: %v", parked)
	}
}

// TestRowThatDoesNotDecodeParks.
func TestRowThatDoesNotDecodeParks(t *testing.T) {
	c := newCluster(t)
	c.Produce(record(input, "a", "open x"), record(input, "a", "spoil x"), record(input, "a", "list x"), record(input, "b", "expire x"))
	_, r := start(t, ordersGraph(), testConfig(c.Addrs))
	r.caughtUp(c)
	r.stop()
	parked := parkedRecords(t, c)
	reasons := map[string]string{}
	for key, list := range parked {
		reasons[key] = list[0].Reason
	}
	if !strings.Contains(reasons["a"], `decoding order "x"`) || reasons["b"] != "no such order" || len(reasons) != 2 {
		t.Errorf("parked: %v", maps.Collect(maps.All(reasons)))
	}
}

// TestDueSortsByTime, on both sides of 1970, and then by id.
func TestDueSortsByTime(t *testing.T) {
	c := newCluster(t)
	c.Produce(record(input, "a", "x"))
	at := func(us int64) time.Time { return time.UnixMicro(us) }
	var found []gokagroup.DueEntry
	var none, limited int
	g := gokagroup.DefineGroup(group, gokagroup.Input(input, new(codec.String), func(ctx goka.Context, _ any) {
		due := gokagroup.Due{Side: gokagroup.Side(ctx, engine.ScopeKey), Kind: "due"}
		for _, us := range []int64{5, -5, 1 << 40, 0, -1 << 40, 256, 255} {
			due.Put(at(us), "b")
			due.Put(at(us), "")
		}
		due.Delete(at(0), "b")
		due.Delete(at(77), "never there")
		none = len(due.Expired(at(-1<<40).Add(-time.Microsecond), 0))
		limited = len(due.Expired(at(1<<41), 3))
		found = due.Expired(at(255), 0)
	}))
	_, r := start(t, g, testConfig(c.Addrs))
	r.caughtUp(c)
	r.stop()
	var got []string
	for _, e := range found {
		got = append(got, fmt.Sprintf("%d%s", e.At.UnixMicro(), e.ID))
	}
	if want := []string{fmt.Sprint(-1 << 40), fmt.Sprintf("%db", -1<<40), "-5", "-5b", "0", "5", "5b", "255", "255b"}; !slices.Equal(got, want) {
		t.Errorf("due are %v, want %v", got, want)
	}
	if none != 0 || limited != 3 {
		t.Errorf("%d before all, %d of at most 3", none, limited)
	}
}

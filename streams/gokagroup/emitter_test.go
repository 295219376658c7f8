package gokagroup_test

import (
	"fmt"
	"hash"
	"hash/fnv"
	"slices"
	"testing"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/gokagroup"
)

func TestEmitter(t *testing.T) {
	c := newCluster(t)
	e, err := gokagroup.NewEmitter(c.Addrs, input, new(codec.String), goka.WithEmitterDefaultHeaders(goka.Headers{"a": []byte("1")}))
	if err != nil {
		t.Fatal(err)
	}
	kept := make(chan error, 100)
	for i := range 100 {
		promise, err := e.Emit(fmt.Sprintf("key-%d", i), "count")
		if err != nil {
			t.Fatal(err)
		}
		promise.Then(func(err error) { kept <- err })
	}
	if err := e.EmitSyncWithHeaders("last", nil, goka.Headers{"b": []byte("2")}); err != nil {
		t.Fatal(err)
	}
	if err := e.Finish(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := <-kept; err != nil {
			t.Fatal(err)
		}
	}
	records := c.ReadCommitted(input)
	for _, r := range records {
		if want := topics.Partition(r.Key, partitions); r.Partition != want {
			t.Errorf("%s is on partition %d, want %d", r.Key, r.Partition, want)
		}
		if (r.Value == nil) != (string(r.Key) == "last") {
			t.Errorf("%s has %q", r.Key, r.Value)
		}
	}
	if got := lines(c, input); len(records) != 101 || !slices.Equal(got["last"], []string{" {a=1} {b=2}"}) || !slices.Equal(got["key-7"], []string{"count {a=1}"}) {
		t.Errorf("%d records, %q, %q", len(records), got["last"], got["key-7"])
	}
}

// TestEmitterIsIdempotent: the broker answers with an error what it has written, and the record is there once.
func TestEmitterIsIdempotent(t *testing.T) {
	c := newFake(t)
	e, err := gokagroup.NewEmitter(c.Addrs, input, new(codec.String))
	if err != nil {
		t.Fatal(err)
	}
	stumbles := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: input, Err: kerr.RequestTimedOut, Count: 3})
	for range 5 {
		if err := e.EmitSync("a", "count"); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Finish(); err != nil {
		t.Fatal(err)
	}
	if n := len(c.ReadCommitted(input)); n != 5 || stumbles.Hits() != 3 {
		t.Errorf("%d records after %d stumbles, want 5 after 3", n, stumbles.Hits())
	}
	if err := e.EmitSync("a", "count"); err == nil {
		t.Error("a finished emitter emits")
	}
}

// TestEmitterTellsWhatWasRefused.
func TestEmitterTellsWhatWasRefused(t *testing.T) {
	c := newFake(t)
	e, err := gokagroup.NewEmitter(c.Addrs, input, new(codec.String))
	if err != nil {
		t.Fatal(err)
	}
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: input, Err: kerr.InvalidRecord, Count: 1})
	if err := e.EmitSync("a", "count"); err == nil {
		t.Error("a refused record was emitted")
	}
	if err := e.EmitSync("a", 5); err == nil {
		t.Error("the codec's error is lost")
	}
	if err := e.Finish(); err != nil {
		t.Fatal(err)
	}
}

// TestEmitterWithGokasHash puts keys where stock Goka does.
func TestEmitterWithGokasHash(t *testing.T) {
	c := newCluster(t)
	e, err := gokagroup.NewEmitter(c.Addrs, input, new(codec.String), goka.WithEmitterHasher(func() hash.Hash32 { return fnv.New32a() }))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if _, err := e.Emit(fmt.Sprintf("key-%d", i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Finish(); err != nil {
		t.Fatal(err)
	}
	stock, err := goka.DefaultProducerBuilder(c.Addrs, "stock", func() hash.Hash32 { return fnv.New32a() })
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		stock.Emit(output, fmt.Sprintf("key-%d", i), []byte("x"))
	}
	if err := stock.Close(); err != nil {
		t.Fatal(err)
	}
	theirs := map[string]int32{}
	for _, r := range c.ReadCommitted(output) {
		theirs[string(r.Key)] = r.Partition
	}
	for _, r := range c.ReadCommitted(input) {
		if at, ok := theirs[string(r.Key)]; !ok || at != r.Partition {
			t.Errorf("%s is on partition %d, stock Goka has it on %d", r.Key, r.Partition, at)
		}
	}
}

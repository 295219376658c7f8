package gokagroup_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/gokagroup"
)

// TestView reads a group's table, written in transactions whose markers stand at its end, with the engine's own records in it.
func TestView(t *testing.T) {
	c := newCluster(t)
	c.Produce(inputs(50, 10)...)
	_, r := start(t, graph(), testConfig(c.Addrs))
	r.caughtUp(c)
	view, err := gokagroup.NewView(c.Addrs, goka.GroupTable(group), new(codec.Int64))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := view.Get("key-1"); !errors.Is(err, engine.ErrViewNotReady) || view.Recovered() {
		t.Errorf("before its start the view says %v", err)
	}
	v := run(t, view.Run)
	v.eventually("recovery", view.Recovered)
	if n, err := view.Get("key-1"); err != nil || n != int64(5) {
		t.Errorf("key-1: %v, %v", n, err)
	}
	if n, err := view.Get("nobody"); err != nil || n != nil {
		t.Errorf("nobody: %v, %v", n, err)
	}
	if has, err := view.Has("key-1"); err != nil || !has {
		t.Errorf("has key-1: %v, %v", has, err)
	}
	if has, err := view.Has("nobody"); err != nil || has {
		t.Errorf("has nobody: %v, %v", has, err)
	}
	c.Produce(record(input, "key-1", "count"), record(input, "key-2", "delete"))
	r.caughtUp(c)
	if err := view.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := view.Get("key-1"); err != nil || n != int64(6) {
		t.Errorf("key-1: %v, %v", n, err)
	}
	it, err := view.Iterator()
	if err != nil {
		t.Fatal(err)
	}
	if got := walk(t, it); !slices.Equal(got, []string{"key-0", "key-1", "key-3", "key-4", "key-5", "key-6", "key-7", "key-8", "key-9"}) {
		t.Errorf("the view has %v", got)
	}
	if it, err = view.IteratorWithRange("key-4", "key-7"); err != nil {
		t.Fatal(err)
	}
	if !it.Seek("key-45") || it.Key() != "key-5" {
		t.Error("Seek does not find key-5")
	}
	if got := walk(t, it); !slices.Equal(got, []string{"key-6"}) {
		t.Errorf("behind key-5 the range has %v", got)
	}
	if it.Seek("key-7") {
		t.Error("Seek leaves the range")
	}
	it.Release()
	if it.Next() {
		t.Error("Next after Release")
	}
	v.stop()
	r.stop()
	if _, err := view.Get("key-1"); !errors.Is(err, engine.ErrViewNotReady) {
		t.Errorf("after its end the view says %v", err)
	}
	again := run(t, view.Run)
	again.eventually("recovery", view.Recovered)
	again.stop()
}

func walk(t *testing.T, it goka.Iterator) (keys []string) {
	t.Helper()
	for it.Next() {
		if _, err := it.Value(); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, it.Key())
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestViewSeesNoOpenTransaction, nor one that is aborted.
func TestViewSeesNoOpenTransaction(t *testing.T) {
	c := newCluster(t)
	c.Produce(record(limits, "a", "1"))
	view, err := gokagroup.NewView(c.Addrs, limits, new(codec.Int64))
	if err != nil {
		t.Fatal(err)
	}
	tx := c.Client(kgo.TransactionalID("writer"))
	for _, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := tx.ProduceSync(t.Context(), record(limits, "a", "2")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		v := run(t, view.Run)
		v.eventually("recovery beside an open transaction", view.Recovered)
		if n, err := view.Get("a"); err != nil || n != int64(1) {
			t.Errorf("beside an open transaction a is %v, %v", n, err)
		}
		if err := tx.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
		want := map[kgo.TransactionEndTry]int64{kgo.TryAbort: 1, kgo.TryCommit: 2}[end]
		v.eventually("the end of the transaction", func() bool {
			if err := view.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			n, err := view.Get("a")
			return err == nil && n == want
		})
		v.stop()
	}
}

func TestViewOfNothing(t *testing.T) {
	c := newCluster(t)
	view, err := gokagroup.NewView(c.Addrs, limits, new(codec.Int64))
	if err != nil {
		t.Fatal(err)
	}
	v := run(t, view.Run)
	v.eventually("recovery of an empty table", view.Recovered)
	c.Produce(record(limits, "a", "no number"))
	v.eventually("an undecodable row", func() bool {
		_, err := view.Get("a")
		return err != nil && strings.Contains(err.Error(), "decoding row")
	})
	v.stop()
	if _, err := gokagroup.NewView(c.Addrs, limits, nil); err == nil {
		t.Error("a view without a codec")
	}
	if _, err := gokagroup.NewView(nil, limits, new(codec.Int64)); err == nil {
		t.Error("a view without brokers")
	}
}

// TestViewWaitsForItsTopic, which is in the making.
func TestViewWaitsForItsTopic(t *testing.T) {
	c := newCluster(t)
	view, err := gokagroup.NewView(c.Addrs, "later", new(codec.Int64))
	if err != nil {
		t.Fatal(err)
	}
	v := run(t, view.Run)
	select {
	case err := <-v.ended:
		t.Fatalf("the view ended with %v", err)
	case <-time.After(200 * time.Millisecond): // it does not end by itself
	}
	if view.Recovered() {
		t.Error("recovered without a topic")
	}
	v.stop() // waiting is no error
	v = run(t, view.Run)
	c.Topics(2, "later")
	c.Produce(record("later", "a", "7"))
	v.eventually("the topic", func() bool {
		n, err := view.Get("a")
		return err == nil && n == int64(7)
	})
	v.stop()
}

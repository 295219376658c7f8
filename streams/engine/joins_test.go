package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

const limits = "limits"

// joining is a configuration with a joined table, and a callback that emits the row its key had.
func joining(cfg engine.Config) (engine.Config, engine.Callback) {
	cfg.Joins = []string{limits}
	return cfg, func(ctx *engine.Context, value []byte) error {
		ctx.Emit(output, ctx.Key(), slices.Concat(value, []byte(" with "), ctx.Join(limits)))
		return nil
	}
}

func rows(version string, keys int) []*kgo.Record {
	found := make([]*kgo.Record, keys)
	for i := range found {
		found[i] = &kgo.Record{Topic: limits, Key: fmt.Appendf(nil, "acc-%d", i), Value: []byte(version), Partition: -1}
	}
	return found
}

// TestJoins: the rows of a table are there before the first record of a partition, whoever committed or aborted them, and
// on whichever member the partition is; a row that comes later is seen soon.
func TestJoins(t *testing.T) {
	const keys = 40
	c := newCluster(t)
	c.Topics(partitions, limits)
	c.Produce(rows("old", keys)...)
	commitRows(t, c, kgo.TryCommit, rows("new", keys))
	commitRows(t, c, kgo.TryAbort, rows("never", keys))
	c.Produce(inputs(keys, keys)...)
	cfg, cb := joining(memberConfig(c.Addrs, 0))
	first := start(t, cfg, cb)
	first.caughtUp(c)
	ended(t, c, keys, " with new")
	cfg, cb = joining(memberConfig(c.Addrs, 1))
	other := start(t, cfg, cb)
	holdEventually(t, []*running{first, other}, []int{2, 2})
	deleted := rows("", keys)
	for _, r := range deleted {
		r.Value = nil
	}
	c.Produce(rows("newer", keys)...)
	c.Produce(deleted...)
	for deadline := time.Now().Add(30 * time.Second); ; { // until both members have followed the table
		c.Produce(inputs(keys, keys)...)
		first.caughtUp(c)
		if odd := odd(c, " with "); odd == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("rows that are deleted are still seen: %q", odd)
		}
	}
	other.stop()
	holdEventually(t, []*running{first}, []int{partitions})
	c.Produce(rows("last", keys)...)
	first.stop()
	again := start(t, cfg, cb) // under the second's name
	c.Produce(inputs(keys, keys)...)
	again.caughtUp(c)
	again.stop()
	ended(t, c, keys, " with last")
}

func commitRows(t *testing.T, c *streamtest.Cluster, how kgo.TransactionEndTry, records []*kgo.Record) {
	t.Helper()
	tx := c.Client(kgo.TransactionalID("limits"))
	defer tx.Close()
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := tx.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := tx.EndTransaction(t.Context(), how); err != nil {
		t.Fatal(err)
	}
}

func ended(t *testing.T, c *streamtest.Cluster, keys int, with string) {
	t.Helper()
	if n := len(newest(c)); n != keys {
		t.Fatalf("%d keys have outputs, want %d", n, keys)
	}
	if odd := odd(c, with); odd != nil {
		t.Fatalf("outputs that do not end on %q: %q", with, odd)
	}
}

// odd are the newest outputs that do not end as they should.
func odd(c *streamtest.Cluster, with string) (found []string) {
	for _, v := range newest(c) {
		if !strings.HasSuffix(v, with) {
			found = append(found, v)
		}
	}
	return found
}

// newest output of each key.
func newest(c *streamtest.Cluster) map[string]string {
	last := map[string]string{}
	for _, r := range c.ReadCommitted(output) {
		last[string(r.Key)] = string(r.Value)
	}
	return last
}

package engine_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

// recordedEnv names a file to which TestFormatIsTheRecordedOne writes what it recorded.
const recordedEnv = "CAUDAL_RECORD_STATE"

// The logs of one small life of a group, as each release left them. testdata/state-1.log is today's. State of before the graph
// was recorded (it has no version: 0) is still taken. A format is raised by adding a file and keeping the others.
const (
	stateNow    = "state-1.log"
	stateBefore = "state-0.log"
)

// recorded is one line of a recorded log: a record, or with nothing but an offset the end of a partition, or with Committed what
// the group has committed there. Offsets that are missing belong to aborted transactions and to the marks that end one.
type recorded struct {
	Topic     string             `json:"topic"`
	Partition int32              `json:"partition"`
	Offset    int64              `json:"offset"`
	End       bool               `json:"end,omitempty"`
	Committed bool               `json:"committed,omitempty"`
	MS        int64              `json:"ms,omitempty"`
	Key       []byte             `json:"key,omitempty"`
	Value     []byte             `json:"value"`
	Headers   []kgo.RecordHeader `json:"headers,omitempty"`
}

// stamped gives records times of their own, so that two recordings are alike.
func stamped(rs ...*kgo.Record) []*kgo.Record {
	for i, r := range rs {
		r.Timestamp = time.UnixMilli(1_795_000_000_000 + int64(i))
	}
	return rs
}

// unready is count, but that it cannot read "late" before it is fixed, and that held it waits.
type unready struct{ fixed, held atomic.Bool }

func (u *unready) callback(ctx *engine.Context, value []byte) error {
	if string(value) == "late" && u.held.Load() {
		return engine.Retry(errors.New("held"))
	}
	if string(value) == "late" && !u.fixed.Load() {
		return errors.New("version 2 is unknown")
	}
	return count(ctx, value)
}

// recordState lives the life that is recorded: records, a refused commit, parked keys, words that are handled, one that waits
// with its step under way, dead letters, fences.
func recordState(t *testing.T) *streamtest.Cluster {
	t.Helper()
	c := newFake(t)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Group: group, Err: kerr.IllegalGeneration, Count: 1})
	var u unready
	r := start(t, testConfig(c.Addrs), u.callback)
	c.Produce(stamped(inputs(24, 12)...)...)
	c.Produce(stamped(record("acc-1", "late"), record("acc-1", "v1"), record("acc-2", "late"), record("acc-5", "late"), record("acc-5", "fail"),
		record("acc-5", "v2"), record("tick", "fail"))...)
	r.caughtUp(c)
	c.Produce(stamped(word(t, "acc-2", engine.Control{Verb: engine.Redrive}))...)
	r.handled(t, c, 1)
	c.Produce(stamped(word(t, "acc-5", engine.Control{Verb: engine.Discard, Offset: offsetOf(c, "acc-5", "fail")}))...)
	r.handled(t, c, 2)
	c.Produce(stamped(inputs(12, 12)...)...)
	r.caughtUp(c)
	u.held.Store(true)
	c.Produce(stamped(word(t, "acc-1", engine.Control{Verb: engine.Redrive}))...)
	if err := r.wait(); err == nil || !strings.Contains(err.Error(), "held") {
		t.Fatalf("engine ended with %v", err)
	}
	if done, waiting, parked := acts(t, c); len(done) != 2 || waiting != 1 || parked < 6 {
		t.Fatalf("%d acts done, %d waiting, %d records parked", len(done), waiting, parked)
	}
	return c
}

func offsetOf(c *streamtest.Cluster, key, value string) int64 {
	for _, r := range c.ReadCommitted(input) {
		if string(r.Key) == key && string(r.Value) == value {
			return r.Offset
		}
	}
	return -1
}

// save writes all that is on the brokers.
func save(t *testing.T, c *streamtest.Cluster, w io.Writer) {
	t.Helper()
	lines := json.NewEncoder(w)
	write := func(r recorded) {
		if err := lines.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range []string{input, table, side, output, dead} {
		rs := c.ReadCommitted(topic)
		slices.SortFunc(rs, func(a, b *kgo.Record) int { return cmp.Compare(a.Offset, b.Offset) })
		ends, err := kadm.NewClient(c.Client()).ListEndOffsets(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		for p := range int32(partitions) {
			for _, r := range rs {
				if r.Partition == p {
					write(recorded{Topic: topic, Partition: p, Offset: r.Offset, MS: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value, Headers: r.Headers})
				}
			}
			end, _ := ends.Lookup(topic, p)
			write(recorded{Topic: topic, Partition: p, Offset: end.Offset, End: true})
		}
	}
	committed := c.Committed(group, input)
	for _, p := range slices.Sorted(maps.Keys(committed)) {
		write(recorded{Topic: input, Partition: p, Offset: committed[p], Committed: true})
	}
}

func recording(t *testing.T, name string) (lines []recorded) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		var r recorded
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, r)
	}
	return lines
}

// replayed puts a recorded log on brokers, each record at the offset it had.
func replayed(t *testing.T, lines []recorded) *streamtest.Cluster {
	t.Helper()
	c := newCluster(t)
	tx := c.Client(kgo.TransactionalID("replay"))
	offsets := kadm.Offsets{}
	var open []*kgo.Record // since the last missing offset
	next := int64(0)
	for _, l := range lines {
		if l.Committed {
			offsets.AddOffset(l.Topic, l.Partition, l.Offset, -1)
			continue
		}
		switch missing := l.Offset - next; {
		case missing == 1 && len(open) > 0:
			transact(t, c, tx, kgo.TryCommit, open)
			open = nil
		case missing > 0:
			c.Produce(open...)
			open = nil
			filler := make([]*kgo.Record, max(1, missing-1))
			for i := range filler {
				filler[i] = &kgo.Record{Topic: l.Topic, Partition: l.Partition, Value: []byte("aborted")}
			}
			transact(t, c, tx, kgo.TryAbort, filler)
		}
		if next = l.Offset + 1; l.End {
			c.Produce(open...)
			open, next = nil, 0
			continue
		}
		open = append(open, &kgo.Record{
			Topic: l.Topic, Partition: l.Partition, Key: l.Key, Value: l.Value, Headers: l.Headers, Timestamp: time.UnixMilli(l.MS),
		})
	}
	if err := kadm.NewClient(c.Client()).CommitAllOffsets(t.Context(), group, offsets); err != nil {
		t.Fatal(err)
	}
	var want, have bytes.Buffer
	encoder := json.NewEncoder(&want)
	for _, l := range lines {
		if err := encoder.Encode(l); err != nil {
			t.Fatal(err)
		}
	}
	if save(t, c, &have); !bytes.Equal(have.Bytes(), want.Bytes()) {
		t.Fatal("what was put on the brokers is not what was recorded")
	}
	return c
}

// transact returns when the marker is there: a broker answers before, and what comes next must come behind it.
func transact(t *testing.T, c *streamtest.Cluster, tx *kgo.Client, try kgo.TransactionEndTry, rs []*kgo.Record) {
	t.Helper()
	err := tx.BeginTransaction()
	if err == nil {
		err = tx.ProduceSync(t.Context(), rs...).FirstErr()
	}
	if err == nil {
		err = tx.EndTransaction(t.Context(), try)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Settle(rs[0].Topic)
}

// TestStateOfFormerFormats: an engine of today starts on what each format left, does what was under way, and goes on.
func TestStateOfFormerFormats(t *testing.T) {
	for _, name := range []string{stateBefore, stateNow} {
		t.Run(name, func(t *testing.T) {
			c := replayed(t, recording(t, name))
			var u unready
			u.fixed.Store(true)
			r := start(t, testConfig(c.Addrs), u.callback)
			done := r.handled(t, c, 3) // what waited is done first
			c.Produce(inputs(24, 12)...)
			c.Produce(word(t, "acc-2", engine.Control{Verb: engine.Redrive}), word(t, "acc-5", engine.Control{Verb: engine.Redrive}))
			r.handled(t, c, 5)
			c.Produce(inputs(24, 12)...)
			r.caughtUp(c)
			r.stop()
			if wrong := append(audit(c), offsetViolations(c)...); len(wrong) > 0 {
				t.Fatal(wrong)
			}
			if _, waiting, parked := acts(t, c); waiting+parked > 0 {
				t.Errorf("%d words wait and %d records are parked", waiting, parked)
			}
			for _, a := range done {
				if string(a.Key) == "acc-1" && (a.Redriven < 2 || a.By != "ops") {
					t.Errorf("what waited came to %+v", a)
				}
			}
			graphs := 0
			for k := range sideRecords(c) {
				if k.Kind == engine.GraphKind {
					graphs++
				}
			}
			if graphs != partitions {
				t.Errorf("%d of %d partitions say now what wrote them", graphs, partitions)
			}
		})
	}
}

// TestStateOfALaterFormatIsRefused, whichever partition has it.
func TestStateOfALaterFormatIsRefused(t *testing.T) {
	graph := engine.SideKey{Scope: engine.ScopePartition, Kind: engine.GraphKind}
	for p := range int32(partitions) {
		lines, raised := recording(t, stateNow), 0
		for i, l := range lines {
			if l.Topic == side && l.Partition == p && bytes.Equal(l.Key, graph.Encode()) {
				lines[i].Value[0]++
				raised++
			}
		}
		c := replayed(t, lines)
		before := sideRecords(c)
		err := start(t, testConfig(c.Addrs), count).wait()
		version, ok := errors.AsType[*engine.StateVersionError](err)
		if raised == 0 || !ok || version.Partition != p || version.Version != 2 || !strings.Contains(err.Error(), "newer") {
			t.Errorf("partition %d, %d records raised: start ended with %v", p, raised, err)
		}
		if !maps.EqualFunc(before, sideRecords(c), bytes.Equal) {
			t.Errorf("partition %d: a refused start changed the state", p)
		}
	}
}

// TestFormatIsTheRecordedOne: the same life leads to the same state as when testdata/state-1.log was recorded. If it does not,
// programs of before and of now cannot read each other's state: see "The form of the state" in doc.go.
func TestFormatIsTheRecordedOne(t *testing.T) {
	c := recordState(t)
	if name := os.Getenv(recordedEnv); name != "" {
		var lines bytes.Buffer
		save(t, c, &lines)
		if err := os.WriteFile(name, lines.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now, before := map[string]string{}, map[string]string{}
	for _, topic := range []string{table, side} {
		for _, r := range c.ReadCommitted(topic) {
			compact(now, r.Topic, r.Partition, r.Key, r.Value)
		}
	}
	for _, l := range recording(t, stateNow) {
		if (l.Topic == table || l.Topic == side) && !l.End && !l.Committed {
			compact(before, l.Topic, l.Partition, l.Key, l.Value)
		}
	}
	for k := range maps.All(now) {
		if _, ok := before[k]; !ok {
			t.Errorf("%q was not there", k)
		}
	}
	for k, v := range before {
		if now[k] != v {
			t.Errorf("%q was %q and is %q", k, v, now[k])
		}
	}
}

// compact keeps the last value of each key.
func compact(state map[string]string, topic string, partition int32, key, value []byte) {
	k := fmt.Sprintf("%s/%d/%s", topic, partition, key)
	switch {
	case engine.IsFence(key):
	case value == nil:
		delete(state, k)
	default:
		state[k] = string(value)
	}
}

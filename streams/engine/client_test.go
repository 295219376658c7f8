package engine_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

// Traps of the client and the protocol that no other test is about; docs/engine-traps.md lists all of them.

// TestIdleEngineEndsNoTransaction: to end a transaction without records takes the client half a second.
func TestIdleEngineEndsNoTransaction(t *testing.T) {
	if !inVirtualTime(t) {
		return
	}
	inBubble(t, func(t *testing.T) {
		l := newLab(t)
		l.c.Produce(inputs(100, 10)...)
		l.start(0)
		l.drain()
		time.Sleep(time.Second)
		l.mu.Lock()
		before := maps.Clone(l.sent)
		l.mu.Unlock()
		time.Sleep(time.Minute)
		l.mu.Lock()
		for _, key := range []kmsg.Key{kmsg.EndTxn, kmsg.TxnOffsetCommit, kmsg.InitProducerID, kmsg.Produce} {
			if n := l.sent[key] - before[key]; n > 0 {
				t.Errorf("an idle engine sent %s %d times", key.Name(), n)
			}
		}
		if before[kmsg.EndTxn] < 2 || l.sent[kmsg.Heartbeat] == before[kmsg.Heartbeat] {
			t.Error("nothing was tested")
		}
		l.mu.Unlock()
		began := time.Now()
		l.c.Produce(inputs(10, 10)...)
		l.drain()
		if took := time.Since(began); took > 450*time.Millisecond {
			t.Errorf("the first records after a pause took %v", took)
		}
		if wrong := l.finish(); len(wrong) > 0 {
			t.Error(wrong)
		}
	})
}

// TestBrokerThatNeverAnswers: the client waits for some answers whatever its context says. From the request on that is named,
// nothing comes back: the process ends all the same, and the next one goes on.
func TestBrokerThatNeverAnswers(t *testing.T) {
	if !inVirtualTime(t) {
		return
	}
	for _, key := range []kmsg.Key{kmsg.InitProducerID, kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
		inBubble(t, func(t *testing.T) {
			l, times := newLab(t), 0
			l.c.Produce(inputs(100, 10)...)
			l.start(0)
			l.drain()
			began := time.Now()
			l.fates(func(m *member, k kmsg.Key) doom {
				if k == key && times == 0 {
					times++
					m.unplug(false)
				}
				return doom{}
			})
			if key == kmsg.InitProducerID { // the next life asks for one
				l.members[0].crash()
			}
			l.c.Produce(inputs(100, 10)...)
			l.ended(2 * time.Minute)
			l.drain()
			t.Logf("silence from %s on: over after %v, %v", key.Name(), time.Since(began), l.ends)
			if took := time.Since(began); times == 0 || len(l.ends) == 0 || took > time.Minute {
				t.Errorf("%s: %d times silent, %d ends, over after %v", key.Name(), times, len(l.ends), took)
			}
			if wrong := l.finish(); len(wrong) > 0 {
				t.Errorf("%s: %s", key.Name(), wrong)
			}
		})
	}
}

// TestRestoreWaitsForOpenTransactions: what somebody wrote into a changelog and has not committed yet is neither taken nor passed
// by. Nor is what was aborted.
func TestRestoreWaitsForOpenTransactions(t *testing.T) {
	if !inVirtualTime(t) {
		return
	}
	inBubble(t, func(t *testing.T) {
		l := newLab(t)
		l.c.Produce(inputs(100, 10)...)
		l.start(0)
		l.drain()
		l.leave(0)
		const open = 5 * time.Second
		tx := l.c.Client(kgo.TransactionalID("other"), kgo.TransactionTimeout(open))
		for _, end := range []func(){func() { _ = tx.EndTransaction(t.Context(), kgo.TryAbort) }, func() {}} {
			if err := tx.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			for p := range int32(partitions) {
				never := &kgo.Record{Topic: table, Partition: p, Key: fmt.Appendf(nil, "acc-%d", p), Value: make([]byte, 8)}
				if err := tx.ProduceSync(t.Context(), never).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			end()
		}
		began := time.Now()
		l.c.Produce(inputs(100, 10)...)
		l.start(0)
		l.drain()
		if took := time.Since(began); took < open-time.Second {
			t.Errorf("an open transaction was passed by within %v", took)
		}
		if wrong := l.finish(); len(wrong) > 0 {
			t.Error(wrong)
		}
	})
}

// TestTopicsThatComeLate: brokers answer that a topic is created before it is.
func TestTopicsThatComeLate(t *testing.T) {
	if !inVirtualTime(t) {
		return
	}
	inBubble(t, func(t *testing.T) {
		c := streamtest.InMemory(t)
		c.Topics(1, rates)
		cfg := testConfig(c.Addrs)
		withSecond(&cfg)
		cfg.Options = []kgo.Opt{kgo.Dialer(c.Dial)}
		r := start(t, cfg, count)
		for _, topic := range []string{input, second, output, table, side, dead} {
			time.Sleep(2 * time.Second)
			if r.engine.Ready() == nil {
				t.Errorf("ready without %s", topic)
			}
			c.Topics(partitions, topic)
		}
		c.Produce(inputs(100, 10)...)
		r.caughtUp(c)
		r.stop()
		if wrong := oracle(c); len(wrong) > 0 {
			t.Error(wrong)
		}
	})
}

// TestNullAndEmptyValues are two things, in the input, in a cell and in what is restored.
func TestNullAndEmptyValues(t *testing.T) {
	c := newCluster(t)
	null, empty := record("acc-1", ""), record("acc-1", "")
	null.Value, empty.Value = nil, []byte{}
	said := make(chan string, 3)
	callback := func(ctx *engine.Context, value []byte) error {
		said <- fmt.Sprintf("value %t, cell %t", value == nil, ctx.Value() == nil)
		ctx.SetValue([]byte{})
		return nil
	}
	for _, next := range []struct {
		r    *kgo.Record
		want string
	}{{null, "value true, cell true"}, {empty, "value false, cell false"}} {
		r := start(t, testConfig(c.Addrs), callback)
		c.Produce(next.r)
		r.caughtUp(c)
		r.stop()
		if got := <-said; got != next.want {
			t.Errorf("is null: %s; want %s", got, next.want)
		}
	}
}

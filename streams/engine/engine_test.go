package engine_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/streams/engine"
)

func TestEveryInputHasOneOutputAcrossStarts(t *testing.T) {
	c := newCluster(t)
	for round := range 3 {
		c.Produce(inputs(1000, 37)...)
		r := start(t, testConfig(c.Addrs), count)
		r.caughtUp(c)
		r.stop()
		if wrong := audit(c); len(wrong) > 0 {
			t.Fatalf("round %d: %v", round, wrong)
		}
	}
}

// refuse makes the broker refuse the n-th offset commit of a transaction, after which the transaction can only abort.
func refuse(c *kfake.Cluster, skip int) *kfake.FaultHandle {
	n := 0
	return c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, Count: 1,
		When: func(kmsg.Request) bool { n++; return n > skip },
	})
}

func TestAbortDropsTheOverlayAndTheInputIsReadAgain(t *testing.T) {
	c := newFake(t)
	c.Produce(inputs(500, 10)...)
	fault := refuse(c.Cluster, 0)
	r := start(t, testConfig(c.Addrs), count)
	r.caughtUp(c)
	c.Produce(inputs(500, 10)...) // the retained state goes on
	r.caughtUp(c)
	r.stop()
	if fault.Hits() != 1 {
		t.Fatalf("%d offset commits were refused, want 1", fault.Hits())
	}
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

func TestAuditNoticesAKeptOverlay(t *testing.T) {
	c := newFake(t)
	c.Produce(inputs(500, 10)...)
	refuse(c.Cluster, 0)
	e, err := engine.New(testConfig(c.Addrs), count)
	if err != nil {
		t.Fatal(err)
	}
	e.KeepOverlayOnAbort()
	r := startEngine(t, e)
	r.caughtUp(c)
	r.stop()
	if wrong := audit(c); len(wrong) == 0 {
		t.Fatal("an engine that keeps the overlay of an aborted transaction passed the audit")
	}
}

func TestRetainedStateThatDoesNotMatchTheOffsetsIsRestored(t *testing.T) {
	c := newFake(t)
	c.Produce(inputs(500, 10)...)
	fault := refuse(c.Cluster, 1)
	cfg := testConfig(c.Addrs)
	cfg.RecordsMax = 100
	e, err := engine.New(cfg, count)
	if err != nil {
		t.Fatal(err)
	}
	e.SpoilOnAbort()
	r := startEngine(t, e)
	r.caughtUp(c)
	r.stop()
	if fault.Hits() != 1 {
		t.Fatalf("%d offset commits were refused, want 1", fault.Hits())
	}
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

func TestProduceFailureAborts(t *testing.T) {
	c := newFake(t)
	c.Produce(inputs(500, 10)...)
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: output, Err: kerr.InvalidRecord, Count: 1})
	r := start(t, testConfig(c.Addrs), count)
	r.caughtUp(c)
	r.stop()
	if fault.Hits() != 1 {
		t.Fatalf("%d produce requests were refused, want 1", fault.Hits())
	}
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

func TestRetryEndsTheRunAndLosesNothing(t *testing.T) {
	c := newCluster(t)
	c.Produce(inputs(100, 10)...)
	cause := errors.New("rates are not there yet")
	r := start(t, testConfig(c.Addrs), func(ctx *engine.Context, value []byte) error {
		if string(value) == "v50" {
			return engine.Retry(cause)
		}
		return count(ctx, value)
	})
	if err := r.wait(); !errors.Is(err, cause) {
		t.Fatalf("run ended with %v", err)
	}
	r = start(t, testConfig(c.Addrs), count)
	r.caughtUp(c)
	r.stop()
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

func TestCallbackOverItsDeadlineEndsTheRun(t *testing.T) {
	c := newCluster(t)
	c.Produce(record("acc-1", "x"))
	release := make(chan struct{})
	defer close(release)
	cfg := testConfig(c.Addrs)
	cfg.CallbackTimeout = 200 * time.Millisecond
	r := start(t, cfg, func(*engine.Context, []byte) error {
		<-release
		return nil
	})
	if err := r.wait(); !errors.Is(err, engine.ErrCallbackDeadline) {
		t.Fatalf("run ended with %v", err)
	}
	if r.engine.Ready() == nil {
		t.Fatal("ready after its end")
	}
}

func TestOwnTopicEmissionAndTicks(t *testing.T) {
	c := newCluster(t)
	c.Produce(record("acc-1", "first"))
	for p := range int32(partitions) {
		tick := record("tick", "t")
		tick.Partition = p
		c.Produce(tick)
	}
	r := start(t, testConfig(c.Addrs), func(ctx *engine.Context, value []byte) error {
		switch string(value) {
		case "first": // the counter-leg goes through the same input
			ctx.Emit(input, "acc-2", []byte("leg"))
			ctx.Side(engine.ScopePartition).Put("due", "0001", []byte("a"))
			ctx.Side(engine.ScopePartition).Put("due", "0003", []byte("c"))
			ctx.Side(engine.ScopePartition).Put("due", "0002", []byte("b"))
		case "t":
			ctx.Side(engine.ScopePartition).Put("ticked", "", fmt.Append(nil, ctx.Partition()))
			ctx.EmitTo(output, (ctx.Partition()+1)%partitions, "reply", fmt.Append(nil, ctx.Partition()))
		case "leg":
			ctx.SetValue(value)
		}
		return nil
	})
	r.eventually("counter-leg", func() bool {
		for _, rec := range c.ReadCommitted(table) {
			if string(rec.Key) == "acc-2" && string(rec.Value) == "leg" {
				return true
			}
		}
		return false
	})
	r.stop()
	records := sideRecords(c)
	for p := range int32(partitions) {
		k := engine.SideKey{Scope: engine.ScopePartition, Kind: "ticked", ID: fmt.Sprintf("%d/", p)}
		if got := string(records[k]); got != fmt.Sprint(p) {
			t.Errorf("partition %d: its tick wrote %q", p, got)
		}
	}
	for _, rec := range c.ReadCommitted(output) {
		if want := fmt.Sprint((rec.Partition + partitions - 1) % partitions); string(rec.Value) != want {
			t.Errorf("reply %q lies on partition %d", rec.Value, rec.Partition)
		}
	}
	scanAfterRestart(t, c.Addrs, func() { c.Produce(record("acc-1", "scan")) })
}

// scanAfterRestart reads restored side records in order, and cells under a tick's key are refused.
func scanAfterRestart(t *testing.T, addrs []string, trigger func()) {
	t.Helper()
	found := make(chan []engine.Entry, 1)
	r := start(t, testConfig(addrs), func(ctx *engine.Context, _ []byte) error {
		found <- ctx.Side(engine.ScopePartition).Scan("due", "0001", "0003", 0)
		return nil
	})
	trigger()
	select {
	case got := <-found:
		if len(got) != 2 || got[0].ID != "0001" || string(got[1].Value) != "b" {
			t.Errorf("scan found %v", got)
		}
	case err := <-r.ended:
		t.Fatalf("engine ended: %v", err)
	}
	r.stop()
}

// TestEndOfTransactionFails: whatever the broker answers to EndTxn, and whether it did it or not, nothing is lost or doubled.
func TestEndOfTransactionFails(t *testing.T) {
	for _, answer := range []*kerr.Error{
		kerr.UnknownServerError, kerr.RequestTimedOut, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidTxnState, kerr.TransactionAbortable,
	} {
		t.Run(answer.Message, func(t *testing.T) {
			c := newFake(t)
			c.Produce(inputs(2000, 50)...)
			ends := 0
			fault := c.Fault(kfake.Fault{
				Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: "tx-0", TopLevel: true, Err: answer, Count: 2,
				When: func(kmsg.Request) bool { ends++; return ends%3 == 0 },
			})
			cfg := testConfig(c.Addrs)
			cfg.RecordsMax = 100
			for lives := 0; c.Lag(group, input) > 0; lives++ {
				if lives > 5 {
					t.Fatal("does not come to an end")
				}
				runUntilDone(t, cfg, func() bool { return c.Lag(group, input) == 0 })
			}
			if fault.Hits() == 0 {
				t.Fatal("nothing was refused")
			}
			if wrong := audit(c); len(wrong) > 0 {
				t.Fatalf("%d things wrong, first %s", len(wrong), wrong[0])
			}
		})
	}
}

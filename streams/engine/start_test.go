package engine_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

func TestTornCommitStopsTheStart(t *testing.T) {
	home := topics.Partition([]byte("acc-1"), partitions)
	for name, tear := range map[string]func(c *streamtest.Cluster){
		"offset without state": func(c *streamtest.Cluster) {
			admin := kadm.NewClient(c.Client())
			// A static member stays after its end, and nobody else can commit while it does.
			if _, err := admin.LeaveGroup(t.Context(), kadm.LeaveGroup(group).InstanceIDs("worker-0")); err != nil {
				t.Fatal(err)
			}
			offsets := kadm.Offsets{}
			offsets.AddOffset(input, home, 3, -1)
			if err := admin.CommitAllOffsets(t.Context(), group, offsets); err != nil {
				t.Fatal(err)
			}
		},
		"state without offset": func(c *streamtest.Cluster) {
			k := engine.SideKey{Scope: engine.ScopePartition, Kind: engine.AppliedKind, ID: input}
			c.Produce(&kgo.Record{Topic: side, Partition: home, Key: k.Encode(), Value: binary.BigEndian.AppendUint64(nil, 1)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.Produce(record("acc-1", "a"), record("acc-1", "b"))
			r := start(t, testConfig(c.Addrs), count)
			r.caughtUp(c)
			r.stop()
			tear(c)
			err := start(t, testConfig(c.Addrs), count).wait()
			var torn *engine.TornError
			if !errors.As(err, &torn) || torn.Partition != home || torn.Applied == torn.Committed {
				t.Fatalf("start ended with %v", err)
			}
		})
	}
}

func TestOldBrokerIsRefused(t *testing.T) {
	c := newFake(t, kfake.MaxVersions(kversion.V3_6_0()))
	err := start(t, testConfig(c.Addrs), count).wait()
	if err == nil || !strings.Contains(err.Error(), "transaction.version") {
		t.Fatalf("start against an old broker ended with %v", err)
	}
}

func TestOtherPartitionCountIsRefused(t *testing.T) {
	c := streamtest.Start(t)
	c.Topics(partitions, input, output, table, dead)
	c.Topics(partitions+1, side)
	c.Topics(1, rates)
	err := start(t, testConfig(c.Addrs), count).wait()
	if err == nil || !strings.Contains(err.Error(), "topic g-side has 5 partitions") {
		t.Fatalf("start ended with %v", err)
	}
}

func TestContradictoryConfigIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*engine.Config){
		"table of the group is named": func(c *engine.Config) { c.Table = "other" },
		"is not below":                func(c *engine.Config) { c.TransactionTimeout = c.SessionTimeout + time.Hour },
		"belongs to the engine":       func(c *engine.Config) { c.Outputs = append(c.Outputs, c.Side) },
		"Hasher":                      func(c *engine.Config) { c.Hasher = nil },
		"TransactionalID is empty":    func(c *engine.Config) { c.TransactionalID = "" },
		"must be three topics":        func(c *engine.Config) { c.DeadLetters = c.Side },
		"Partitions is 0":             func(c *engine.Config) { c.Partitions = 0 },
		"CommitInterval is -1s":       func(c *engine.Config) { c.CommitInterval = -time.Second },
		"no Brokers":                  func(c *engine.Config) { c.Brokers = nil },
		"more than a third":           func(c *engine.Config) { c.HeartbeatInterval = c.SessionTimeout + time.Hour },
		"RecordsMax is -1":            func(c *engine.Config) { c.RecordsMax = -1 },
	} {
		cfg := testConfig([]string{"127.0.0.1:1"})
		spoil(&cfg)
		if _, err := engine.New(cfg, count); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New says %v, want %q in it", err, name)
		}
	}
}

// TestBrokerThatDoesNotAssign: the members assign where the broker has no KIP-848.
func TestBrokerThatDoesNotAssign(t *testing.T) {
	versions := kversion.V4_0_0()
	versions.SetMaxKeyVersion(int16(kmsg.ConsumerGroupHeartbeat), -1)
	c := newFake(t, kfake.MaxVersions(versions))
	c.Produce(inputs(100, 10)...)
	cfg := testConfig(c.Addrs)
	cfg.BrokerAssigns = true
	r := start(t, cfg, count)
	r.caughtUp(c)
	r.stop()
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

func TestSuccessorFencesALivingPredecessor(t *testing.T) {
	c := newCluster(t)
	c.Produce(inputs(300, 10)...)
	entered, release := make(chan struct{}), make(chan struct{})
	zombie := start(t, testConfig(c.Addrs), func(ctx *engine.Context, value []byte) error {
		if string(value) == "v150" {
			close(entered)
			<-release
		}
		return count(ctx, value)
	})
	<-entered
	successor := start(t, testConfig(c.Addrs), count)
	successor.caughtUp(c)
	close(release)
	if err := zombie.wait(); err == nil {
		t.Error("the fenced predecessor ended without an error")
	}
	successor.stop()
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

func TestLookups(t *testing.T) {
	c := newCluster(t)
	row := func(key, value string) *kgo.Record {
		return &kgo.Record{Topic: rates, Key: []byte(key), Value: []byte(value)}
	}
	// A transaction leaves a control record at the end of the table, which carries no row but takes an offset.
	tx := c.Client(kgo.TransactionalID("rates"))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := tx.ProduceSync(t.Context(), row("usd@1", "5.1")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	r := start(t, testConfig(c.Addrs), func(ctx *engine.Context, value []byte) error {
		v, ok := ctx.Lookup(rates, string(value))
		if !ok {
			var err error
			if v, ok, err = ctx.LookupWait(rates, string(value), time.Second); err != nil {
				return engine.Retry(err)
			}
		}
		if !ok {
			v = []byte("none")
		}
		ctx.SetValue(v)
		return nil
	})
	r.ready()
	c.Produce(record("acc-1", "usd@1"), record("acc-2", "usd@9"))
	for range 20 { // written just before the command that names it: the follower may not have it yet
		c.Produce(row("eur@1", "6.2"), record("acc-3", "eur@1"))
		c.Produce(&kgo.Record{Topic: rates, Key: []byte("eur@1")}) // and gone again
	}
	r.caughtUp(c)
	r.stop()
	cells := map[string]string{}
	for _, rec := range c.ReadCommitted(table) {
		cells[string(rec.Key)] = string(rec.Value)
	}
	if cells["acc-1"] != "5.1" || cells["acc-2"] != "none" {
		t.Errorf("cells are %q", cells)
	}
	if got := cells["acc-3"]; got != "6.2" && got != "none" {
		t.Errorf("cell of a row that came and went is %q", got)
	}
}

func TestLookupWaitSeesWhatWasThereBeforeTheCall(t *testing.T) {
	c := newFake(t)
	got := make(chan string, 1)
	r := start(t, testConfig(c.Addrs), func(ctx *engine.Context, value []byte) error {
		v, ok, err := ctx.LookupWait(rates, string(value), 5*time.Second)
		if err != nil || !ok {
			v = []byte("none")
		}
		got <- string(v)
		return err
	})
	r.ready()
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: rates, Err: kerr.NotLeaderForPartition, Count: 3}) // the follower stumbles behind
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		c.Produce(&kgo.Record{Topic: rates, Key: []byte(key), Value: []byte("row-" + key)}, record("acc-1", key))
		select {
		case v := <-got:
			if v != "row-"+key {
				t.Errorf("row %s was answered %q", key, v)
			}
		case err := <-r.ended:
			t.Fatalf("engine ended: %v", err)
		}
	}
	fault.Remove()
	r.stop()
}

// TestNoConnectionButOurs: every connection the broker accepts while an engine runs was dialled by franz-go.
func TestNoConnectionButOurs(t *testing.T) {
	var accepted, dialled atomic.Int64
	c := newFake(t, streamtest.CountAccepted(&accepted))
	c.Produce(inputs(100, 10)...)
	accepted.Store(0)
	cfg := testConfig(c.Addrs)
	cfg.Options = []kgo.Opt{kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
		dialled.Add(1)
		return new(net.Dialer).DialContext(ctx, network, host)
	})}
	done := make(chan struct{}, 100)
	r := start(t, cfg, func(ctx *engine.Context, value []byte) error {
		done <- struct{}{}
		return count(ctx, value)
	})
	for range 100 {
		select {
		case <-done:
		case err := <-r.ended:
			t.Fatalf("engine ended: %v", err)
		}
	}
	r.stop()
	if a, d := accepted.Load(), dialled.Load(); a != d || d == 0 {
		t.Fatalf("the broker accepted %d connections, franz-go dialled %d", a, d)
	}
	if wrong := audit(c); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

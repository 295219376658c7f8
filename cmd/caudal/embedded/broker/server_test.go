package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
)

func TestMain(m *testing.M) { embedtest.Main(m) }

func client(t *testing.T, server *broker.Server, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(options, kgo.SeedBrokers(server.Addrs()...), kgo.MetadataMinAge(50*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func createTopic(t *testing.T, server *broker.Server, topic string) {
	t.Helper()
	if _, err := kadm.NewClient(client(t, server)).CreateTopic(t.Context(), 4, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
}

func record(topic string, n int) *kgo.Record {
	return &kgo.Record{Topic: topic, Key: fmt.Append(nil, n), Value: fmt.Append(nil, "value ", n)}
}

// commit produces records [from, to) in one transaction.
func commit(t *testing.T, c *kgo.Client, topic string, from, to int) {
	t.Helper()
	if err := c.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for n := from; n < to; n++ {
		c.Produce(t.Context(), record(topic, n), nil)
	}
	if err := errors.Join(c.Flush(t.Context()), c.EndTransaction(t.Context(), kgo.TryCommit)); err != nil {
		t.Fatal(err)
	}
}

// committed reads n records and checks that each is there once and that no other follows.
func committed(t *testing.T, server *broker.Server, topic string, n int) {
	t.Helper()
	c := client(t, server, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen := map[string]int{}
	for len(seen) < n {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		fetches := c.PollFetches(ctx)
		cancel()
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", len(seen), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Key)]++ })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	c.PollFetches(ctx).EachRecord(func(r *kgo.Record) { seen[string(r.Key)]++ })
	for key, times := range seen {
		if times != 1 {
			t.Errorf("record %s came %d times", key, times)
		}
	}
	if len(seen) != n {
		t.Errorf("%d records, want %d", len(seen), n)
	}
}

func TestAnnouncesTransactions2(t *testing.T) {
	server := embedtest.StartBroker(t, t.TempDir())
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "caudal", "test"
	resp, err := req.RequestWith(t.Context(), client(t, server))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" && f.MaxVersionLevel >= 2 {
			return
		}
	}
	t.Errorf("finalized features: %+v", resp.FinalizedFeatures)
}

// TestSecondStartContinues: records, group offsets and the port survive; a transaction that was open at
// the stop does not appear.
func TestSecondStartContinues(t *testing.T) {
	data := t.TempDir()
	server, err := broker.Start(t.Context(), broker.Config{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	createTopic(t, server, "t")
	tx := client(t, server, kgo.TransactionalID("x"))
	commit(t, tx, "t", 0, 500)
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: "t", Partition: 1, At: 42, LeaderEpoch: -1})
	if err := kadm.NewClient(client(t, server)).CommitAllOffsets(t.Context(), "g", offsets); err != nil {
		t.Fatal(err)
	}
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := tx.ProduceSync(t.Context(), record("t", 9999)).FirstErr(); err != nil {
		t.Fatal(err)
	}
	addr := server.Addrs()[0]
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	again := embedtest.StartBroker(t, data)
	if again.Addrs()[0] != addr {
		t.Errorf("address %s became %s", addr, again.Addrs()[0])
	}
	commit(t, client(t, again, kgo.TransactionalID("x")), "t", 500, 1000)
	committed(t, again, "t", 1000)
	got, err := kadm.NewClient(client(t, again)).FetchOffsets(t.Context(), "g")
	if o, ok := got.Lookup("t", 1); err != nil || !ok || o.At != 42 {
		t.Errorf("group offset %v %v, %v", o, ok, err)
	}
}

func killBroker(t *testing.T, server *broker.Server) (pid int) {
	t.Helper()
	pid = server.PID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestKilledBrokerIsBack: what was committed before a kill -9 between transactions is there, on the same
// address, for the same clients.
func TestKilledBrokerIsBack(t *testing.T) {
	server := embedtest.StartBroker(t, t.TempDir())
	createTopic(t, server, "t")
	for round := range 3 {
		commit(t, client(t, server, kgo.TransactionalID("x")), "t", round*300, (round+1)*300)
		first := killBroker(t, server)
		began := time.Now()
		committed(t, server, "t", (round+1)*300)
		if server.PID() == first {
			t.Fatal("the broker was not killed")
		}
		t.Logf("read everything %v after the kill", time.Since(began).Round(time.Millisecond))
	}
}

func TestFolderHasOneOwner(t *testing.T) {
	data := t.TempDir()
	embedtest.StartBroker(t, data)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := broker.Start(ctx, broker.Config{Data: data}); err == nil {
		t.Fatal("two brokers started on one folder")
	}
}

func TestTakenAddressIsNamed(t *testing.T) {
	server := embedtest.StartBroker(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := broker.Start(ctx, broker.Config{Data: t.TempDir(), Addr: server.Addrs()[0]})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Fatalf("taken address: %v", err)
	}
}

package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
	directoryv1 "github.com/caudalpay/caudal/schemas/directory/v1"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

func account(n int) (payment.AccountID, *directoryv1.AccountEntry) {
	external := fmt.Sprintf("ext-%d", n)
	return payment.AccountIDFrom("sample", "shop", external), &directoryv1.AccountEntry{
		Version: 1, Tenant: "sample", Merchant: "shop", Customer: fmt.Sprintf("cust-%d", n), AccountSeq: 1,
		State: &paymentsv1.AccountState{
			ExternalId: external, Kind: paymentsv1.AccountKind_ACCOUNT_KIND_PERSON, Status: paymentsv1.AccountStatus_ACCOUNT_STATUS_OPEN,
			Currencies: []string{"BRL", "USD"}, KycLevel: 2, OverdraftLimitMinor: 5, Policy: "standard", OpenedAtUs: int64(n),
		},
	}
}

func record(t testing.TB, id payment.AccountID, m *directoryv1.AccountEntry) *kgo.Record {
	t.Helper()
	r := &kgo.Record{Topic: topics.Directory, Key: []byte(id)}
	if m != nil {
		value, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		r.Value = value
	}
	return r
}

func start(t *testing.T, brokers []string) *Directory {
	t.Helper()
	d, err := New(Config{Brokers: brokers, Log: slog.New(slog.DiscardHandler)}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return d
}

func cluster(t *testing.T) (*kfake.Cluster, *kgo.Client) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, topics.Directory))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID("engine"), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return c, client
}

func transact(t *testing.T, client *kgo.Client, end kgo.TransactionEndTry, records ...*kgo.Record) {
	t.Helper()
	err := client.BeginTransaction()
	if err == nil {
		err = client.ProduceSync(t.Context(), records...).FirstErr()
	}
	if err == nil {
		err = client.EndTransaction(t.Context(), end)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readied(t *testing.T, d *Directory) *Directory {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); d.Ready() != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(d.Ready())
		}
	}
	return d
}

// known is what the directory tells of a record.
func known(m *directoryv1.AccountEntry) door.Account {
	return door.Account{
		Tenant: m.GetTenant(), Merchant: m.GetMerchant(), Customer: m.GetCustomer(),
		Policy: m.GetState().GetPolicy(), Currencies: strings.Join(m.GetState().GetCurrencies(), ","),
	}
}

func TestReadyMeansEveryCommittedAccountIsKnown(t *testing.T) {
	c, client := cluster(t)
	var records []*kgo.Record
	for n := range 500 {
		id, m := account(n)
		records = append(records, record(t, id, m))
	}
	transact(t, client, kgo.TryCommit, records...)
	ghost, m := account(1000)
	transact(t, client, kgo.TryAbort, record(t, ghost, m)) // ends the topic with a marker that no reader sees
	d := readied(t, start(t, c.ListenAddrs()))
	for n := range 500 {
		id, want := account(n)
		got, ok := d.Account(id)
		if !ok || got != known(want) {
			t.Fatalf("account %d: %v, want %v", n, got, known(want))
		}
		if by, ok := d.CustomerAccount("sample", "shop", want.GetCustomer()); !ok || by != id {
			t.Fatalf("customer %d: %s, want %s", n, by, id)
		}
	}
	if _, ok := d.Account(ghost); ok {
		t.Fatal("an aborted account is known")
	}
	if _, ok := d.Account("acc_x"); ok {
		t.Fatal("a malformed id is known")
	}
	if _, ok := d.CustomerAccount("sample", "other", "cust-1"); ok {
		t.Fatal("another merchant's customer is known")
	}
	if len(d.profiles) != 1 {
		t.Fatalf("%d profiles", len(d.profiles))
	}
}

func TestEmptyTopicIsReady(t *testing.T) {
	c, _ := cluster(t)
	readied(t, start(t, c.ListenAddrs()))
}

func TestReadyWaitsForTheTopic(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	d := start(t, c.ListenAddrs())
	time.Sleep(200 * time.Millisecond)
	if err := d.Ready(); err == nil || !strings.Contains(err.Error(), topics.Directory) {
		t.Fatalf("ready without a topic: %v", err)
	}
	if err := c.CreateTopic(topics.Directory, 4, nil); err != nil {
		t.Fatal(err)
	}
	readied(t, d)
}

func TestWaitAccount(t *testing.T) {
	c, client := cluster(t)
	d := readied(t, start(t, c.ListenAddrs()))
	id, m := account(1)
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := d.WaitAccount(short, id); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("unknown account: %v", err)
	}
	if len(d.waiting) != 0 {
		t.Fatal("a waiter that left is kept")
	}
	if err := d.WaitAccount(t.Context(), "acc_1"); !errors.Is(err, payment.ErrID) {
		t.Fatalf("malformed: %v", err)
	}
	waits := make(chan error, 2)
	for range 2 {
		go func() { waits <- d.WaitAccount(t.Context(), id) }()
	}
	time.Sleep(20 * time.Millisecond)
	transact(t, client, kgo.TryCommit, record(t, id, m))
	for range 2 {
		if err := <-waits; err != nil {
			t.Fatal(err)
		}
	}
	if err := d.WaitAccount(t.Context(), id); err != nil {
		t.Fatalf("known account: %v", err)
	}
}

func TestUpdatesTombstonesAndPoison(t *testing.T) {
	d, err := New(Config{Brokers: []string{"127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler)}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer d.follower.Run(canceled(t)) //nolint:errcheck // closes the client
	id, m := account(1)
	d.apply(record(t, id, m))
	next := proto.Clone(m).(*directoryv1.AccountEntry)
	next.State.Currencies, next.AccountSeq = append(next.State.Currencies, "CHF"), 2
	d.apply(record(t, id, next))
	for _, bad := range []*kgo.Record{
		{Key: []byte(id), Value: []byte{0xff}},
		{Key: []byte("nobody"), Value: []byte{}},
		record(t, id, &directoryv1.AccountEntry{Version: 2, State: m.GetState()}),
		record(t, id, &directoryv1.AccountEntry{Version: 1}),
		record(t, id, &directoryv1.AccountEntry{Version: 1, Customer: strings.Repeat("x", 256), State: m.GetState()}),
	} {
		d.apply(bad)
	}
	if got, _ := d.Account(id); got != known(next) {
		t.Fatalf("got %v, want %v", got, known(next))
	}
	d.apply(record(t, id, nil))
	if _, ok := d.Account(id); ok {
		t.Fatal("known behind its tombstone")
	}
	if _, ok := d.CustomerAccount("sample", "shop", m.GetCustomer()); ok {
		t.Fatal("customer known behind the tombstone")
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestDigestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := payment.AccountIDFrom(rapid.String().Draw(t, "tenant"), rapid.String().Draw(t, "merchant"), rapid.String().Draw(t, "external"))
		if got, ok := accountDigest(id); !ok || got.account() != id {
			t.Fatalf("got %s, %v, want %s", got.account(), ok, id)
		}
	})
}

// Invariant: the directory takes for an id what payment takes for one.
func FuzzAccountDigest(f *testing.F) {
	for _, s := range []string{"", "acc_", "acc_aaaaaaaaaaaaaaaaaaaa", "cus_aaaaaaaaaaaaaaaaaaaa", "acc_aaaaaaaaaaaaaaaaaaa1", "acc_aaaaaaaaaaaaaaaaaaaaa", "acc_zzzzzzzzzzzz77777777"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := payment.ParseAccountID(s)
		d, ok := accountDigest(payment.AccountID(s))
		if ok != (err == nil) || ok && string(d.account()) != s {
			t.Fatalf("%q: %v as %s, payment says %v", s, ok, d.account(), err)
		}
	})
}

// A hundred thousand accounts: the figure that becomes gigabytes at ten million.
func TestMemoryPerAccount(t *testing.T) {
	d, err := New(Config{Brokers: []string{"127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler)}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer d.follower.Run(canceled(t)) //nolint:errcheck // closes the client
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // what earlier tests left in pools goes with the second
	runtime.ReadMemStats(&before)
	const n = 100_000
	for i := range n {
		id, m := account(i)
		d.apply(record(t, id, m))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := (after.HeapAlloc - before.HeapAlloc) / n
	t.Logf("%d bytes per account", per)
	if per > 400 {
		t.Fatalf("%d bytes per account", per)
	}
	if len(d.entries) != n || len(d.customers) != n {
		t.Fatal("lost accounts")
	}
}

func BenchmarkAccount(b *testing.B) {
	d, err := New(Config{Brokers: []string{"127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler)}, prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	id, m := account(1)
	d.apply(record(b, id, m))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := d.Account(id); !ok {
			b.Fatal("unknown")
		}
	}
}

package chaos

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
	"github.com/caudalpay/caudal/streams/topology"
)

// decided is a small log that the engine has worked off undisturbed.
func decided(t *testing.T) (*cluster, *load, *observer) {
	t.Helper()
	o := Defaults().withDefaults()
	o.Payments, o.Partitions, o.Brokers, o.Stall = 4000, 3, streamtest.Start(t).Addrs, time.Minute
	log := slog.New(slog.DiscardHandler)
	c, err := openCluster(t.Context(), &o, log, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.close(context.Background()) })
	e, err := topology.NewAccounts(engine.Config{
		Brokers: c.addrs, Partitions: o.Partitions, TransactionalID: "only", InstanceID: "only", Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLoad(&o, c.addrs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.client.Close)
	seen, err := newObserver(c.addrs, o.Partitions)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 2)
	go func() { ended <- e.Run(ctx) }()
	go func() { ended <- seen.run(ctx) }()
	l.pace.open()
	a := &attacker{options: &o, cluster: c, load: l, observer: seen, members: []*member{{}}}
	for _, step := range []func(context.Context) error{l.open, a.drained, l.run, a.drained} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	for range 2 {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	return c, l, seen
}

// verdict judges the log as it is now.
func verdict(t *testing.T, c *cluster, l *load) Wrong {
	t.Helper()
	j := &judge{cluster: c, partitions: l.partitions, acknowledged: l.commands.Load(), step: func(int64, int64) {}}
	w, err := j.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if w.OpenTransactions, err = c.openTransactions(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestJudgeNoticesEachWrong spoils one thing after the other, and looks whether it is counted under its own heading.
func TestJudgeNoticesEachWrong(t *testing.T) {
	c, l, seen := decided(t)
	now := seen.now()
	if now.broken.count > 0 || now.underWay > 0 {
		t.Fatalf("%d transfers under way; %s", now.underWay, now.broken.first)
	}
	before := verdict(t, c, l)
	if !before.None() || before.Commands != before.Decisions || before.Commands < 600 {
		t.Fatalf("an undisturbed run: %+v", before)
	}
	var last, cell *kgo.Record
	j := &judge{cluster: c}
	for topic, into := range map[string]**kgo.Record{topics.Decisions: &last, topics.AccountsTable: &cell} {
		err := j.read(t.Context(), topic, 1, func(r *kgo.Record) error {
			if !engine.IsFence(r.Key) {
				*into = r
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	order, err := codec.EncodeOrder(&accounts.Order{
		OrderID: "o", Kind: accounts.OrderKindSend, Method: "book", Tenant: "t", Merchant: "m", Account: l.accounts[0],
		PaymentID:   payment.IDFrom(payment.KindPayOut, l.accounts[0], "m", "k"),
		AmountMinor: 1, Currency: "BRL",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	leg := payment.Command{
		Kind: payment.KindLegResult, Tenant: loadTenant, Merchant: loadMerchant, Account: l.accounts[0], AcceptedAtUS: 1,
		CommandID: "c", PaymentID: payment.IDFrom(payment.KindTransfer, l.accounts[0], loadMerchant, "never"),
	}
	leg.LegResult = &payment.LegResult{TransferID: leg.PaymentID, PayeeAccount: l.accounts[1], Accepted: true}
	answer, err := codec.EncodeCommand(&leg, codec.Envelope{})
	if err != nil {
		t.Fatal(err)
	}
	side := engine.SideKey{Scope: engine.ScopePartition, Kind: "due", ID: "never"}
	for _, spoil := range []struct {
		name    string
		record  *kgo.Record
		heading func(*Wrong) *int64
	}{
		{
			"a cell of another content", &kgo.Record{Topic: topics.AccountsTable, Key: cell.Key, Value: append(bytes.Clone(cell.Value), 0)},
			func(w *Wrong) *int64 { return &w.WrongBalance },
		},
		{
			"a card of nobody", &kgo.Record{Topic: topics.Cards, Key: []byte("crd"), Value: []byte{1}},
			func(w *Wrong) *int64 { return &w.WrongSide },
		},
		{
			"a side record that nobody wrote", &kgo.Record{Topic: topics.AccountsSide, Key: side.Encode(), Value: []byte{1}},
			func(w *Wrong) *int64 { return &w.WrongSide },
		},
		{
			"a decision again", &kgo.Record{Topic: topics.Decisions, Key: last.Key, Value: last.Value},
			func(w *Wrong) *int64 { return &w.DuplicateDecisions },
		},
		{
			"the first of an order", &kgo.Record{Topic: topics.RailsOrders, Key: []byte(l.accounts[0]), Value: order},
			func(w *Wrong) *int64 { return &w.DuplicateEmissions },
		},
		{
			"the second of an order", &kgo.Record{Topic: topics.RailsOrders, Key: []byte(l.accounts[0]), Value: order},
			func(w *Wrong) *int64 { return &w.DuplicateOrders },
		},
		{
			"a dead letter", &kgo.Record{Topic: topics.DeadLetters, Key: []byte("k"), Value: []byte("v")},
			func(w *Wrong) *int64 { return &w.DeadLetters },
		},
		{
			"a command without decision", &kgo.Record{Topic: topics.Commands, Key: []byte(l.accounts[0]), Value: answer},
			func(w *Wrong) *int64 { return &w.Missing },
		},
	} {
		was := verdict(t, c, l)
		spoil.record.Partition = 1
		if err := l.client.ProduceSync(t.Context(), spoil.record).FirstErr(); err != nil {
			t.Fatal(err)
		}
		is := verdict(t, c, l)
		if got, had := *spoil.heading(&is), *spoil.heading(&was); got <= had {
			t.Errorf("%s: %d, as before; first finding %q", spoil.name, got, is.FirstFinding)
		}
	}
	if w := verdict(t, c, l); w.OrderViolations == 0 { // the chain goes on from another decision
		t.Error("the chain holds with a decision too many")
	}
	open, err := kgo.NewClient(kgo.SeedBrokers(c.addrs...), kgo.TransactionalID("left open"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := open.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := open.ProduceSync(t.Context(), &kgo.Record{Topic: topics.Decisions, Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if w := verdict(t, c, l); w.OpenTransactions != 1 {
		t.Errorf("%d open transactions, want 1", w.OpenTransactions)
	}
}

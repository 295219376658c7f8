package directory

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
	directoryv1 "github.com/caudalpay/caudal/schemas/directory/v1"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

func cardEntryOf(status paymentsv1.CardStatus, seq uint64) *directoryv1.CardEntry {
	return &directoryv1.CardEntry{
		Version: 1, Tenant: "sample", Merchant: "shop", AccountSeq: seq, State: &paymentsv1.CardState{
			Account: string(payment.AccountIDFrom("sample", "shop", "ext-1")), Status: status, First6: "001234", Last4: "0009", Expiry: 3112, IssuedAtUs: 7,
		},
	}
}

func cardRecord(t *testing.T, id payment.CardKey, m *directoryv1.CardEntry) *kgo.Record {
	t.Helper()
	r := &kgo.Record{Topic: topics.Cards, Key: []byte(id)}
	if m == nil {
		return r
	}
	var err error
	if r.Value, err = proto.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCards(t *testing.T) {
	c, err := NewCards(Config{Brokers: []string{"127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler)}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	id := payment.CardKeyFrom([]byte("digest"))
	if _, ok := c.Card(id); ok {
		t.Fatal("known before it is told")
	}
	waits := make(chan error, 1)
	go func() { waits <- c.WaitCard(t.Context(), id, 2) }()
	c.apply(cardRecord(t, id, cardEntryOf(paymentsv1.CardStatus_CARD_STATUS_ACTIVE, 1)))
	got, ok := c.Card(id)
	want := door.Card{
		Tenant: "sample", Merchant: "shop", Account: payment.AccountIDFrom("sample", "shop", "ext-1"), Status: paymentsv1.CardStatus_CARD_STATUS_ACTIVE,
		First6: "001234", Last4: "0009", Expiry: 3112, IssuedAtUs: 7, Seq: 1,
	}
	if !ok || got != want {
		t.Fatalf("%+v, want %+v", got, want)
	}
	select {
	case err := <-waits:
		t.Fatalf("waited for the second state, was woken by the first: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	c.apply(cardRecord(t, id, cardEntryOf(paymentsv1.CardStatus_CARD_STATUS_BLOCKED, 2)))
	if err := <-waits; err != nil {
		t.Fatal(err)
	}
	if got, _ := c.Card(id); got.Status != paymentsv1.CardStatus_CARD_STATUS_BLOCKED || len(c.owners) != 1 {
		t.Fatalf("%+v of %d owners", got, len(c.owners))
	}
	c.apply(cardRecord(t, id, nil))
	if _, ok := c.Card(id); ok {
		t.Fatal("known after a tombstone")
	}
}

// Invariant: a record that cannot be read leaves the card as it was known, and what stood in it is not shown.
func TestUnreadableCards(t *testing.T) {
	var log strings.Builder
	c, err := NewCards(Config{Brokers: []string{"127.0.0.1:1"}, Log: slog.New(slog.NewTextHandler(&log, nil))}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	id := payment.CardKeyFrom([]byte("digest"))
	c.apply(cardRecord(t, id, cardEntryOf(paymentsv1.CardStatus_CARD_STATUS_ACTIVE, 1)))
	for _, spoil := range []func(*directoryv1.CardEntry){
		func(m *directoryv1.CardEntry) { m.Version = 2 },
		func(m *directoryv1.CardEntry) { m.State.First6 = "4000127391860007" },
		func(m *directoryv1.CardEntry) { m.State.Last4 = "40001" },
		func(m *directoryv1.CardEntry) { m.State.Account = "acc_1" },
		func(m *directoryv1.CardEntry) { m.State = nil },
	} {
		m := cardEntryOf(paymentsv1.CardStatus_CARD_STATUS_CLOSED, 2)
		spoil(m)
		c.apply(cardRecord(t, id, m))
	}
	c.apply(&kgo.Record{Topic: topics.Cards, Key: []byte(id), Value: []byte{0xff}})
	c.apply(&kgo.Record{Topic: topics.Cards, Key: []byte("4000127391860007")})
	if got, ok := c.Card(id); !ok || got.Status != paymentsv1.CardStatus_CARD_STATUS_ACTIVE {
		t.Fatalf("%+v", got)
	}
	if err := c.WaitCard(t.Context(), "crd_1", 1); !errors.Is(err, payment.ErrID) {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 7 {
		t.Errorf("%d lines: %s", n, log.String())
	}
}

package disputes_test

import (
	"bytes"
	"testing"

	"github.com/caudalpay/caudal/ingest/disputes"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

func notified() *railsv1.Notification {
	return &railsv1.Notification{
		Version: 1, Kind: railsv1.NotificationKind_NOTIFICATION_KIND_DISPUTE, Processor: "rede", EventId: "evt_1", ReceivedAtUs: 5, Reference: "tid-1",
		BodySha256: bytes.Repeat([]byte{7}, 32),
		Dispute: &railsv1.NotifiedDispute{
			Id: "cb-1", Stage: railsv1.DisputeStage_DISPUTE_STAGE_PRE_ARBITRATION, AmountMinor: 700, Currency: "BRL", DeadlineUs: 11, ReasonCode: "10.4", OccurredAtUs: 9,
		},
	}
}

func TestNotified(t *testing.T) {
	account := payment.AccountIDFrom("t", "m", "c")
	id := payment.IDFrom(payment.KindPayIn, account, "m", "k")
	got := disputes.Notified(notified(), id)
	want := disputes.Told{
		Payment: id, Stage: paymentsv1.DisputeStage_DISPUTE_STAGE_PRE_ARBITRATION, AmountMinor: 700, ReasonCode: "10.4", Connector: "rede", Reference: "cb-1",
		DeadlineUS: 11, OccurredAtUS: 9, MessageID: got.MessageID,
	}
	if got != want || !payment.IsCommandID(got.MessageID) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if own := payment.DisputeIDFrom(account, "rede", "cb-1"); got.ID() != own {
		t.Errorf("the dispute is %s, an operator's word of it %s", got.ID(), own)
	}
}

// Every stage that a processor may tell is one that an account knows.
func TestStages(t *testing.T) {
	id := payment.IDFrom(payment.KindPayIn, payment.AccountIDFrom("t", "m", "c"), "m", "k")
	for number, name := range railsv1.DisputeStage_name {
		n := notified()
		n.Dispute.Stage = railsv1.DisputeStage(number)
		if got := disputes.Notified(n, id).Stage; got.String() != name {
			t.Errorf("%s becomes %s", name, got)
		}
	}
}

// Invariant: the same event is the same message, whenever and however often it comes; another event, stage, dispute or processor
// is another.
func TestMessageID(t *testing.T) {
	id := payment.IDFrom(payment.KindPayIn, payment.AccountIDFrom("t", "m", "c"), "m", "k")
	of := func(change func(*railsv1.Notification)) string {
		n := notified()
		change(n)
		return disputes.Notified(n, id).MessageID
	}
	first := of(func(*railsv1.Notification) {})
	for name, change := range map[string]func(*railsv1.Notification){
		"again":                         func(n *railsv1.Notification) { n.ReceivedAtUs = 6 },
		"the same event in other bytes": func(n *railsv1.Notification) { n.BodySha256 = []byte{1} },
		"another amount":                func(n *railsv1.Notification) { n.Dispute.AmountMinor = 1 },
	} {
		if of(change) != first {
			t.Errorf("%s: another message", name)
		}
	}
	bodied := func(n *railsv1.Notification) { n.EventId = "" }
	seen := map[string]string{first: "the first"}
	for name, change := range map[string]func(*railsv1.Notification){
		"another event":     func(n *railsv1.Notification) { n.EventId = "evt_2" },
		"another stage":     func(n *railsv1.Notification) { n.Dispute.Stage = railsv1.DisputeStage_DISPUTE_STAGE_LOST },
		"another dispute":   func(n *railsv1.Notification) { n.Dispute.Id = "cb-2" },
		"another processor": func(n *railsv1.Notification) { n.Processor = "cielo" },
		"no event":          bodied,
		"no event, another amount": func(n *railsv1.Notification) {
			bodied(n)
			n.Dispute.AmountMinor = 1
		},
		"no event, another deadline": func(n *railsv1.Notification) {
			bodied(n)
			n.Dispute.DeadlineUs = 12
		},
	} {
		got := of(change)
		if seen[got] != "" {
			t.Errorf("%s is the message of %s", name, seen[got])
		}
		seen[got] = name
	}
	if of(bodied) != of(func(n *railsv1.Notification) {
		bodied(n)
		n.ReceivedAtUs = 6
		n.BodySha256 = []byte{1} // what it says of the case beside the dispute may be another
	}) {
		t.Error("the same word is two messages")
	}
}

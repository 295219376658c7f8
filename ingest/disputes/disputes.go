// Package disputes turns what is told of a dispute into the one command that all who tell of disputes make: an operator at the
// API, and a card network's file by way of it.
//
// It decides nothing: whether what is told moves money is the account's to say. It refuses what names no pay-in.
package disputes

import (
	"time"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// Told is what is told of a dispute, of which it may be the first word.
type Told struct {
	Payment      payment.ID // the pay-in
	Stage        paymentsv1.DisputeStage
	AmountMinor  int64 // > 0, in the pay-in's currency
	ReasonCode   string
	Connector    string // who tells
	Reference    string // his own id of the dispute
	DeadlineUS   int64  // until when evidence is taken; 0: not told
	OccurredAtUS int64  // when it came about, by his word; 0: not told
	MessageID    string // of what is told this once: however often it comes, it is taken once
}

// ID of the dispute: whoever tells of it means the same.
func (t *Told) ID() payment.ID {
	return payment.DisputeIDFrom(t.Payment.Account(), t.Connector, t.Reference)
}

// Command is the command that tells the account of the pay-in. It is about a fact: the account's owner has no say. Hash is the
// keyed hash of bodies.
func (t *Told) Command(account *door.Account, pins *paymentsv1.Pins, at time.Time, hash func(b, canonical []byte) []byte) *paymentsv1.Command {
	return &paymentsv1.Command{
		Version: door.CommandVersion, Kind: paymentsv1.CommandKind_COMMAND_KIND_DISPUTE, Tenant: account.Tenant, Merchant: account.Merchant,
		Customer: account.Customer, Account: string(t.Payment.Account()), AcceptedAtUs: at.UnixMicro(),
		CommandId: string(t.ID()), PaymentId: string(t.Payment), BodyHash: hash(nil, t.canonical()), Pins: pins,
		Body: &paymentsv1.Command_Dispute{Dispute: &paymentsv1.Dispute{
			Stage: t.Stage, AmountMinor: t.AmountMinor, ReasonCode: t.ReasonCode, Connector: t.Connector, Reference: t.Reference,
			DeadlineUs: t.DeadlineUS, OccurredAtUs: t.OccurredAtUS, MessageId: t.MessageID,
		}},
	}
}

// canonical is what tells one message from another. What came later stands behind, where it is told.
func (t *Told) canonical() []byte {
	c := door.Canonical(nil).Text("dispute").Text(string(t.Payment)).Number(int64(t.Stage)).Number(t.AmountMinor).
		Text(t.ReasonCode).Text(t.Connector).Text(t.Reference).Number(t.DeadlineUS)
	if t.OccurredAtUS != 0 {
		c = c.Number(t.OccurredAtUS)
	}
	return c
}

package issuing

import (
	"time"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// Clearing is what a card network collects from a card, or gives it back, by whatever way it is told. Who tells the same item
// twice, by one way or two, makes one command id and one body hash, so it is decided once.
type Clearing struct {
	Request
	Authorization Message // what is collected; the zero value: none is named
	Partial       bool    // what is left of the authorization stays held
}

// ID of the clearing of an account's card.
func (c *Clearing) ID(account payment.AccountID) payment.ID {
	return payment.CardIDFrom(payment.KindClearing, account, c.Identity("clearing"))
}

// Collects is the id of the authorization that is named; empty: none is.
func (c *Clearing) Collects(account payment.AccountID) payment.ID {
	if c.Authorization == (Message{}) {
		return ""
	}
	return c.Authorization.Authorization(account)
}

// Credit says that the cardholder gets money.
func (c *Clearing) Credit() bool { return Credits(c.ProcessingCode) }

// Command is the command that tells the account of the card. It is about a fact: the account's owner has no say. Hash is the keyed
// hash of bodies.
func (c *Clearing) Command(h *Holder, now time.Time, hash func(b, canonical []byte) []byte) *paymentsv1.Command {
	cmd := h.Command(payment.KindClearing, now)
	cmd.CommandId, cmd.PaymentId = string(c.ID(h.Card.Account)), string(c.Collects(h.Card.Account))
	cmd.BodyHash = c.Hash(nil, h.Key, hash)
	cmd.Body = &paymentsv1.Command_Clearing{Clearing: &paymentsv1.Clearing{
		AmountMinor: c.AmountMinor, Currency: c.Currency, Credit: c.Credit(), Final: !c.Credit() && !c.Partial, Card: string(h.Key), Rrn: c.RRN,
		Acquirer: c.Key.AcquirerID, Mcc: c.MCC, CardAcceptor: c.Merchant,
	}}
	return cmd
}

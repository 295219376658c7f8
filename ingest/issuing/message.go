// Package issuing makes what every door makes of the payments of the house's own cards: the ids that follow from an acquirer's
// match key, the hash of what was asked for, and the command of a clearing, which the card feed's second message, the API and the
// card network's file by way of it all tell.
//
// It decides nothing, and knows no card numbers: who calls it has made the number a key.
package issuing

import (
	"encoding/binary"
	"time"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// Message names one request of an acquirer for ever: its match key, and when it was transmitted, with the year that the key leaves
// out.
type Message struct {
	Key iso8583.MatchKey
	At  time.Time
}

// Identity is the text that names the message. What it asks for is part of it where the class of its type does not tell.
func (m Message) Identity(what string) string {
	return "iso8583 " + what + " " + m.At.UTC().Format("2006") + " " + m.Key.String()
}

// Authorization is the id of the authorization that the message asks for.
func (m Message) Authorization(account payment.AccountID) payment.ID {
	return payment.CardIDFrom(payment.KindAuthorization, account, m.Identity("authorization"))
}

// Holder is a card, and whose it is.
type Holder struct {
	Key     payment.CardKey
	Card    door.Card
	Account door.Account
	Pins    *paymentsv1.Pins
}

// Command is what all commands about a card payment have.
func (h *Holder) Command(kind payment.Kind, now time.Time) *paymentsv1.Command {
	return &paymentsv1.Command{
		Version: door.CommandVersion, Kind: paymentsv1.CommandKind(kind), Tenant: h.Card.Tenant, Merchant: h.Card.Merchant,
		Customer: h.Account.Customer, Account: string(h.Card.Account), AcceptedAtUs: now.UnixMicro(), Pins: h.Pins,
	}
}

// Request is a message and what it asks for: what makes another of the same key another one.
type Request struct {
	Message
	AmountMinor    int64
	Currency       string
	ProcessingCode string // six digits, by field 3
	Merchant       string
	MCC            string
	RRN            string
}

// Hash appends the keyed hash of the request for a card; hash is the keyed hash of bodies. Its form is for ever: a repeat is known
// by it.
func (r *Request) Hash(b []byte, card payment.CardKey, hash func(b, canonical []byte) []byte) []byte {
	var room [256]byte
	form := room[:0]
	for _, part := range [...]string{string(card), r.Currency, r.ProcessingCode, r.Key.AcquirerID, r.Merchant, r.Key.Terminal, r.MCC, r.RRN} {
		form = append(binary.BigEndian.AppendUint32(form, uint32(len(part))), part...) //nolint:gosec // a field is short
	}
	return hash(b, binary.BigEndian.AppendUint64(form, uint64(r.AmountMinor))) //nolint:gosec // not negative
}

// The transaction types of a processing code that are served.
const (
	typePurchase     = "00"
	typeCash         = "01"
	typeWithCashback = "09"
	typeReturn       = "20" // money for the cardholder
)

// Debits holds for a processing code (field 3) by which the cardholder pays.
func Debits(processingCode string) bool {
	switch processingCode[:2] {
	case typePurchase, typeCash, typeWithCashback:
		return true
	default:
		return false
	}
}

// Credits holds for a processing code by which the cardholder gets money. Only a clearing may have it.
func Credits(processingCode string) bool { return processingCode[:2] == typeReturn }

package accounts

import (
	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// Decision is the one record that says what a command did.
type Decision struct {
	Kind    payment.Kind
	Outcome payment.Outcome
	Reasons []payment.Reason // ordered by precedence

	Tenant, Merchant, Customer string
	Account                    string // the key decided; empty for ticks
	CommandID                  string
	PaymentID                  payment.ID
	CommandTopic               string
	CommandPartition           int32
	CommandOffset              int64
	AccountSeq                 uint64 // 0 for ticks
	AcceptedAtUS               int64  // clamped
	EffectiveDate              int32  // days since 1970-01-01
	Status                     payment.Status

	AmountMinor       int64
	Currency          string
	TargetAmountMinor int64
	TargetCurrency    string
	FeeMinor          int64
	FX                *payment.FX
	LimitAmountMinor  int64
	LimitCurrency     string
	Method            string
	ToAccount         payment.AccountID
	Related           payment.ID
	RelatedStatus     payment.Status
	RefundedMinor     int64 // of Related
	CapturedMinor     int64 // of the payment that a rail executes, as AuthorizedMinor
	AuthorizedMinor   int64
	OrderID           string // RAIL_ANSWER only, as the six after it
	RailCode          string
	Connector         string
	RailReference     string
	RailTID           string
	RailResult        payment.RailResult
	RailAmountMinor   int64
	GivenOrderID      string                 // the order that goes out with this decision
	ReasonCode        string                 // disputes: the card network's; REVERSAL: field 39
	Evidence          []payment.EvidenceFile // DISPUTE_EVIDENCE
	Quote             payment.ID             // the quote that the payment has used
	FraudScore        uint32
	RuleHits          []fraud.Hit
	Pins              payment.Pins
	Journals          []ledger.Journal
	Balances          []ledger.Balance
	BodyHash          [32]byte

	CounterpartyCountry string
	CounterpartyDigest  []byte
	AccountState        *AccountState // account requests only
	CreatedAtUS         int64
	Instrument          string
	DeadlineUS          int64

	Card                             payment.CardKey // of cards that pay from accounts, as what follows
	MCC, Acquirer, CardAcceptor, RRN string
	CardState                        *CardState // requests about a card only
}

// tell copies a payment's facts into the decision about it.
func (d *Decision) tell(id payment.ID, r *payment.Record) {
	d.PaymentID = id
	d.AmountMinor, d.Currency = r.AmountMinor, r.Currency
	d.TargetAmountMinor, d.TargetCurrency = r.TargetAmountMinor, r.TargetCurrency
	d.FeeMinor, d.FX, d.FraudScore = r.FeeMinor, r.FX, r.FraudScore
	d.Method, d.ToAccount, d.Related = r.Method, r.ToAccount, r.Related
	d.CounterpartyCountry, d.CounterpartyDigest = r.CounterpartyCountry, r.CounterpartyDigest
	d.CreatedAtUS, d.Instrument = r.CreatedAtUS, r.Instrument
	d.Quote = r.Quote
	d.tellStatus(r.Status, r)
	d.tellRail(r)
}

// tellStatus tells a status of a payment, and its deadline where that stands in it.
func (d *Decision) tellStatus(s payment.Status, r *payment.Record) {
	d.Status, d.DeadlineUS = s, 0
	if s == payment.StatusInReview || r.Kind == payment.KindFXQuote && s == payment.StatusCreated || openDispute(s) {
		d.DeadlineUS = r.DeadlineUS
	}
}

// tellRail tells what is granted and taken of a payment by card, and when what is left expires.
func (d *Decision) tellRail(r *payment.Record) {
	if r.Kind == payment.KindDispute {
		d.FeeMinor = r.DisputeFeeMinor
	}
	if r.Kind == payment.KindDispute && d.Kind != payment.KindRailAnswer { // which tells its own
		d.Connector, d.RailReference, d.ReasonCode = r.Rail.Connector, r.Rail.Reference, r.Rail.ReasonCode
	}
	if r.Rail == nil || r.Kind != payment.KindPayIn && r.Kind != payment.KindAuthorization {
		return
	}
	d.CapturedMinor, d.AuthorizedMinor = r.Rail.CapturedMinor, r.Rail.AuthorizedMinor
	if d.Status == payment.StatusRequiresCapture || d.Status == payment.StatusPartiallyCaptured {
		d.DeadlineUS = r.Rail.ExpiresAtUS
	}
}

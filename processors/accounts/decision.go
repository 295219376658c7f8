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
	OrderID           string // RAIL_ANSWER only, as the three after it
	RailCode          string
	Connector         string
	RailReference     string
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
	d.tellStatus(r.Status, r.DeadlineUS)
	d.tellRail(r)
}

func (d *Decision) tellStatus(s payment.Status, deadlineUS int64) {
	d.Status, d.DeadlineUS = s, 0
	if s == payment.StatusInReview {
		d.DeadlineUS = deadlineUS
	}
}

// tellRail tells what a card payment's rail has granted and taken, and when what is left expires.
func (d *Decision) tellRail(r *payment.Record) {
	if r.Rail == nil || r.Kind != payment.KindPayIn {
		return
	}
	d.CapturedMinor, d.AuthorizedMinor = r.Rail.CapturedMinor, r.Rail.AuthorizedMinor
	if d.Status == payment.StatusRequiresCapture || d.Status == payment.StatusPartiallyCaptured {
		d.DeadlineUS = r.Rail.ExpiresAtUS
	}
}

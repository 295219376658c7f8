package http

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// PaymentView is GET /transactions/{id}: the latest state of a payment. Amounts are minor units.
// A store fills everything apart from the members that come out of Sealed, which the HTTP layer opens.
type PaymentView struct {
	PaymentID         string            `json:"payment_id"`
	AccountID         string            `json:"account_id"`
	Kind              string            `json:"kind"`     // payin payout transfer refund capture void increment
	Decision          string            `json:"decision"` // the first one: approved declined review
	Status            string            `json:"status"`   // docs/lifecycle.md has them per kind
	Reasons           []string          `json:"reasons"`  // by precedence, the main one first; never null
	Amount            int64             `json:"amount"`
	Currency          string            `json:"currency"`
	TargetAmount      int64             `json:"target_amount"` // what the other side gets or the account is credited
	TargetCurrency    string            `json:"target_currency"`
	Fee               int64             `json:"fee"` // in currency
	FX                *FXView           `json:"fx,omitzero"`
	Method            string            `json:"method,omitzero"`
	ToAccountID       string            `json:"to_account_id,omitzero"`
	RefundedPaymentID string            `json:"refunded_payment_id,omitzero"` // refunds: the payment whose money goes back
	RelatedPaymentID  string            `json:"related_payment_id,omitzero"`  // captures, voids, increments: the pay-in concerned
	RefundedAmount    int64             `json:"refunded_amount,omitzero"`     // pay-ins: given back so far, in currency
	AuthorizedAmount  *int64            `json:"authorized_amount,omitzero"`   // pay-ins by card, 0 too: what the rail has granted, in currency
	CapturedAmount    *int64            `json:"captured_amount,omitzero"`     // pay-ins by card, 0 too: taken so far, in currency
	Instrument        string            `json:"instrument,omitzero"`
	Connector         string            `json:"connector,omitzero"`      // who executed it, of the rails
	RailReference     string            `json:"rail_reference,omitzero"` // the rail's own id of it
	RailCode          string            `json:"rail_code,omitzero"`      // the rail's own, of the answer that led to this status
	RailAmount        int64             `json:"rail_amount,omitzero"`    // what the rail says it moved, where that is not what was ordered
	Quote             string            `json:"quote,omitzero"`          // the quote it has used
	Card              string            `json:"card,omitzero"`           // authorizations, clearings: the card that pays, as the next four
	MCC               string            `json:"mcc,omitzero"`            // ISO 18245
	Acquirer          string            `json:"acquirer,omitzero"`       // who asks
	CardAcceptor      string            `json:"card_acceptor,omitzero"`  // where it pays
	RRN               string            `json:"rrn,omitzero"`            // retrieval reference number
	FraudScore        uint32            `json:"fraud_score"`
	EffectiveDate     string            `json:"effective_date"` // YYYY-MM-DD
	CreatedAt         time.Time         `json:"created_at"`
	UpdatedAt         time.Time         `json:"updated_at"`
	ReviewDeadline    time.Time         `json:"review_deadline,omitzero"` // in_review only
	ExpiresAt         time.Time         `json:"expires_at,omitzero"`      // requires_capture, partially_captured: the authorisation ends
	AccountSeq        uint64            `json:"account_seq"`              // of the last decision about this payment
	Reference         string            `json:"reference,omitzero"`
	Reason            string            `json:"reason,omitzero"` // a refund's free text
	Counterparty      *CounterpartyView `json:"counterparty,omitzero"`
	Metadata          jsontext.Value    `json:"metadata,omitzero"`

	CounterpartyCountry string             `json:"-"` // filled by the store
	Sealed              *paymentsv1.Sealed `json:"-"` // filled by the store
}

// FXView is a conversion. A rate is between major units, target per source, as an exact decimal.
type FXView struct {
	Rate     string `json:"rate"`
	Mid      string `json:"mid"`
	SpreadBP int32  `json:"spread_bp"`
}

// CounterpartyView is the other side of a pay-in or payout.
type CounterpartyView struct {
	Name     string `json:"name,omitzero"`
	Country  string `json:"country,omitzero"`
	Document string `json:"document,omitzero"`
	Account  string `json:"account,omitzero"`
}

// AccountView is GET /accounts/{id}.
type AccountView struct {
	AccountID      string    `json:"account_id"`
	ExternalID     string    `json:"external_id"`
	CustomerID     string    `json:"customer_id"`
	Kind           string    `json:"kind"`   // person merchant
	Status         string    `json:"status"` // open blocked closed
	Currencies     []string  `json:"currencies"`
	KYCLevel       uint32    `json:"kyc_level"`
	OverdraftLimit int64     `json:"overdraft_limit"` // in the first currency
	Policy         string    `json:"policy"`
	OpenedAt       time.Time `json:"opened_at"`
	AccountSeq     uint64    `json:"account_seq"`
}

// BalancesView is GET /accounts/{id}/balances: one row per currency of the account, in the account's order.
type BalancesView struct {
	Balances   []BalanceView `json:"balances"`
	AccountSeq uint64        `json:"account_seq"`
}

// BalanceView is one currency. Invariant: available = posted - held; an overdraft is not in it.
type BalanceView struct {
	Currency  string `json:"currency"`
	Posted    int64  `json:"posted"`
	Held      int64  `json:"held"`
	Available int64  `json:"available"`
}

// StatementPage is GET /accounts/{id}/statement: posted lines of one account, oldest first.
type StatementPage struct {
	Lines      []StatementLine `json:"lines"`
	HasMore    bool            `json:"has_more"`
	Cursor     string          `json:"cursor,omitzero"` // behind the last line; made by the HTTP layer
	AccountSeq uint64          `json:"account_seq"`
}

// StatementLine is one posted posting of the account. (account_seq, line) orders and names it.
type StatementLine struct {
	AccountSeq    uint64    `json:"account_seq"` // of the decision
	Line          int32     `json:"line"`        // of the posting within the decision
	PaymentID     string    `json:"payment_id"`
	Kind          string    `json:"kind"`    // of the command: payin payout transfer refund counter_leg leg_result approve ...
	Journal       string    `json:"journal"` // post compensation refund
	Currency      string    `json:"currency"`
	Amount        int64     `json:"amount"` // credit > 0, debit < 0
	EffectiveDate string    `json:"effective_date"`
	DecidedAt     time.Time `json:"decided_at"` // accepted_at of the command, as clamped
}

// PaymentAnswer answers a write that was decided. Everything in it is the same in the first decision and in each
// repetition of it, so that a repeat gets the first body byte for byte; the number of the decision is a header.
type PaymentAnswer struct {
	PaymentID         string    `json:"payment_id"`
	AccountID         string    `json:"account_id"`
	Kind              string    `json:"kind"`
	Decision          string    `json:"decision"`
	Status            string    `json:"status"`
	Reasons           []string  `json:"reasons"`
	Amount            int64     `json:"amount"`
	Currency          string    `json:"currency"`
	TargetAmount      int64     `json:"target_amount"`
	TargetCurrency    string    `json:"target_currency"`
	Fee               int64     `json:"fee"`
	FX                *FXView   `json:"fx,omitzero"`
	Method            string    `json:"method,omitzero"`
	ToAccountID       string    `json:"to_account_id,omitzero"`
	RefundedPaymentID string    `json:"refunded_payment_id,omitzero"` // refunds only: what was answered once is answered so again
	RelatedPaymentID  string    `json:"related_payment_id,omitzero"`  // captures, voids, increments
	Quote             string    `json:"quote,omitzero"`               // the quote it asked for
	FraudScore        uint32    `json:"fraud_score"`
	CreatedAt         time.Time `json:"created_at"`
}

// PendingAnswer answers a write that is acknowledged and not decided yet (or whose caller does not wait).
type PendingAnswer struct {
	PaymentID string `json:"payment_id"`
	AccountID string `json:"account_id"`
	Kind      string `json:"kind"`
	Status    string `json:"status"` // pending
}

// RequestAnswer answers a request that is not a payment: a verdict, a KYC level, a word about a dispute, a quote not given yet.
type RequestAnswer struct {
	AccountID  string  `json:"account_id"`
	Kind       string  `json:"kind"`
	Status     string  `json:"status"` // of the payment after a verdict, of the dispute; applied for a KYC level; pending
	PaymentID  string  `json:"payment_id,omitzero"`
	DisputeID  string  `json:"dispute_id,omitzero"`
	QuoteID    string  `json:"quote_id,omitzero"`
	CustomerID string  `json:"customer_id,omitzero"`
	KYCLevel   *uint32 `json:"kyc_level,omitzero"`
}

// QuoteView answers POST /fx/quotes and GET /fx/quotes/{id}: what an amount would be converted to, until when.
type QuoteView struct {
	QuoteID        string    `json:"quote_id"`
	AccountID      string    `json:"account_id"`
	Status         string    `json:"status"` // created; succeeded once a payment has used it; failed: not given
	Reasons        []string  `json:"reasons"`
	Amount         int64     `json:"amount"`
	Currency       string    `json:"currency"`
	TargetAmount   int64     `json:"target_amount"`
	TargetCurrency string    `json:"target_currency"`
	FX             *FXView   `json:"fx,omitzero"` // none where it was not given
	CreatedAt      time.Time `json:"created_at"`
	ExpiresAt      time.Time `json:"expires_at,omitzero"`  // created only
	PaymentID      string    `json:"payment_id,omitzero"`  // GET: what has used it
	AccountSeq     uint64    `json:"account_seq,omitzero"` // GET: of the last decision about it
}

// DisputeView is GET /disputes/{id}: where a dispute stands. Amounts are minor units.
type DisputeView struct {
	DisputeID      string         `json:"dispute_id"`
	PaymentID      string         `json:"payment_id"` // the pay-in
	AccountID      string         `json:"account_id"`
	Status         string         `json:"status"` // pre_dispute dispute pre_arbitration won lost
	Reasons        []string       `json:"reasons"`
	Amount         int64          `json:"amount"`
	Currency       string         `json:"currency"`
	TargetAmount   int64          `json:"target_amount"` // of the account: what is held or taken
	TargetCurrency string         `json:"target_currency"`
	Fee            int64          `json:"fee"`         // what stands charged for it, in target_currency
	ReasonCode     string         `json:"reason_code"` // the card network's
	Connector      string         `json:"connector"`   // who told of it
	Reference      string         `json:"reference"`   // his own id of it
	EvidenceUntil  time.Time      `json:"evidence_until,omitzero"`
	Evidence       []EvidenceFile `json:"evidence"` // in the order in which it was sent; never null
	CreatedAt      time.Time      `json:"created_at"`
	UpdatedAt      time.Time      `json:"updated_at"`
	AccountSeq     uint64         `json:"account_seq"`
}

// EvidenceFile names a file that speaks for the merchant, by where it is kept and its hash.
type EvidenceFile struct {
	Reference string `json:"reference"`
	SHA256    string `json:"sha256"` // 64 hexadecimal digits
	Kind      string `json:"kind"`   // receipt delivery communication other
}

// DisputesPage is GET /disputes: the merchant's disputes, the newest first.
type DisputesPage struct {
	Disputes []DisputeView `json:"disputes"` // without their evidence
	HasMore  bool          `json:"has_more"`
	Cursor   string        `json:"cursor,omitzero"` // behind the last; made by the HTTP layer
}

// OpenedAnswer answers POST /accounts, from the request alone, so that a repeat gets the same.
type OpenedAnswer struct {
	AccountID      string   `json:"account_id"`
	ExternalID     string   `json:"external_id"`
	CustomerID     string   `json:"customer_id"`
	Kind           string   `json:"kind"`
	Status         string   `json:"status"` // open, or pending
	Currencies     []string `json:"currencies"`
	KYCLevel       uint32   `json:"kyc_level"`
	OverdraftLimit int64    `json:"overdraft_limit"`
	Policy         string   `json:"policy"`
}

// BatchAnswer answers POST /payments:batch in the order of its items; for NDJSON each item is a line of its own.
type BatchAnswer struct {
	Items []BatchItemAnswer `json:"items"`
}

// BatchItemAnswer is what a single write would have answered.
type BatchItemAnswer struct {
	Index      int            `json:"index"`
	Status     int            `json:"status"` // HTTP status of this item
	Replayed   bool           `json:"replayed,omitzero"`
	AccountSeq uint64         `json:"account_seq,omitzero"`
	Body       jsontext.Value `json:"body"` // PaymentAnswer, PendingAnswer or Problem
}

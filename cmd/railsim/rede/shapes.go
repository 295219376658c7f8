package rede

import (
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/cards"
)

// request is POST /v1/transactions with a network token: its number and month stand where a card's would.
type request struct {
	Capture                *bool  `json:"capture"` // without it, captured
	Kind                   string `json:"kind"`
	Reference              string `json:"reference"`
	Amount                 int64  `json:"amount"` // centavos
	Installments           int    `json:"installments"`
	CardholderName         string `json:"cardholderName"`
	CardNumber             string `json:"cardNumber"` // of the token
	ExpirationMonth        string `json:"expirationMonth"`
	ExpirationYear         string `json:"expirationYear"`
	TokenCryptogram        string `json:"tokenCryptogram"`
	SoftDescriptor         string `json:"softDescriptor"`
	Subscription           bool   `json:"subscription"`
	DistributorAffiliation int64  `json:"distributorAffiliation"`
}

// amountOnly is a capture and a refund.
type amountOnly struct {
	Amount *int64 `json:"amount"`
}

type brand struct {
	Name          string `json:"name"`
	ReturnCode    string `json:"returnCode"`
	ReturnMessage string `json:"returnMessage"`
}

// transaction answers authorisation, capture and refund; what does not apply is left out.
type transaction struct {
	Reference         string `json:"reference,omitempty"`
	Tid               string `json:"tid,omitempty"`
	Nsu               string `json:"nsu,omitempty"`
	AuthorizationCode string `json:"authorizationCode,omitempty"`
	Brand             *brand `json:"brand,omitempty"`
	DateTime          string `json:"dateTime,omitempty"`
	Amount            int64  `json:"amount,omitzero"`
	Installments      int    `json:"installments,omitzero"`
	Kind              string `json:"kind,omitempty"`
	RefundID          string `json:"refundId,omitempty"`
	RefundDateTime    string `json:"refundDateTime,omitempty"`
	CancelID          string `json:"cancelId,omitempty"`
	ReturnCode        string `json:"returnCode"`
	ReturnMessage     string `json:"returnMessage"`
}

// queried answers GET.
type queried struct {
	RequestDateTime string        `json:"requestDateTime"`
	Authorization   authorization `json:"authorization"`
	Capture         *captured     `json:"capture,omitempty"`
	Refunds         []refunded    `json:"refunds,omitempty"`
}

type authorization struct {
	DateTime          string `json:"dateTime"`
	ReturnCode        string `json:"returnCode"`
	ReturnMessage     string `json:"returnMessage"`
	Affiliation       string `json:"affiliation"`
	Status            string `json:"status"`
	Reference         string `json:"reference"`
	Tid               string `json:"tid"`
	Nsu               string `json:"nsu"`
	AuthorizationCode string `json:"authorizationCode,omitempty"`
	Kind              string `json:"kind"`
	Amount            int64  `json:"amount"`
	Installments      int    `json:"installments"`
	Brand             brand  `json:"brand"`
}

type captured struct {
	DateTime string `json:"dateTime"`
	Nsu      string `json:"nsu"`
	Amount   int64  `json:"amount"`
}

type refunded struct {
	RefundID       string `json:"refundId"`
	RefundDateTime string `json:"refundDateTime"`
	Status         string `json:"status"`
	Amount         int64  `json:"amount"`
}

// notification is the webhook. Its shape is the simulator's.
type notification struct {
	CompanyNumber string   `json:"companyNumber"`
	Events        []string `json:"events"`
	Data          noted    `json:"data"`
}

type noted struct {
	ID        string `json:"id"` // tid
	Reference string `json:"reference"`
	Status    string `json:"status"`
	Amount    int64  `json:"amount"`                  // authorised, captured or cancelled, by status
	Refunded  int64  `json:"refundedAmount,omitzero"` // of what was captured

	Chargeback *chargeback `json:"chargeback,omitempty"`
}

// chargeback is what is told of a dispute, with its event.
type chargeback struct {
	ID            string `json:"id"`
	Stage         string `json:"stage"`
	Amount        int64  `json:"amount"`
	ReasonCode    string `json:"reasonCode,omitempty"`
	OccurredAt    string `json:"occurredAt"`
	EvidenceUntil string `json:"evidenceUntil,omitempty"` // a day
}

func note(c cards.Charge) noted {
	n := noted{ID: c.ID, Reference: c.Reference, Status: status(c), Amount: c.AskedMinor}
	switch n.Status {
	case statusApproved:
		n.Amount, n.Refunded = c.CapturedMinor, c.VoidedMinor+c.RefundedMinor
	case statusCanceled:
		n.Amount = c.VoidedMinor + c.RefundedMinor
	}
	return n
}

// Statuses of an authorisation.
const (
	statusApproved = "Approved"
	statusDenied   = "Denied"
	statusCanceled = "Canceled"
	statusPending  = "Pending"
)

func status(c cards.Charge) string {
	switch c.Status() {
	case cards.StatusDenied:
		return statusDenied
	case cards.StatusAuthorized:
		return statusPending
	case cards.StatusCaptured:
		return statusApproved
	default:
		return statusCanceled
	}
}

// returned is what the issuer says, for the digits of Cielo's sandbox.
func returned(i cards.Issuer) (code, message string) {
	switch i {
	case cards.NotAuthorized:
		return "101", "Unauthorized. Problems on the card, contact the issuer."
	case cards.Expired:
		return "112", "Unauthorized. Expiry date expired."
	case cards.Blocked:
		return "118", "Unauthorized. Card locked."
	case cards.TimedOut:
		return "121", "Error processing. Please try again."
	case cards.Canceled:
		return "105", "Unauthorized. Restricted card."
	case cards.Problem:
		return "111", "Unauthorized. Insufficient funds."
	default:
		return "00", "Success."
	}
}

func date(t time.Time) string { return t.Add(-3*time.Hour).Format("2006-01-02T15:04:05") + "-03:00" }

func digest(c cards.Charge, what string, n int) string {
	return cards.Digits(cards.Digest(0, Name, c.ID, c.Number, what), n)
}

func nsu(c cards.Charge) string { return digest(c, "nsu", 9) }

func authorizationCode(c cards.Charge) string {
	if !c.Issuer.Approves() {
		return ""
	}
	return digest(c, "authorization", 6)
}

func brandOf(c cards.Charge) brand {
	code, message := returned(c.Issuer)
	return brand{"Visa", code, message}
}

func show(c cards.Charge, pv string, now time.Time, amount func(int64) int64) queried {
	code, message := returned(c.Issuer)
	q := queried{RequestDateTime: date(now), Authorization: authorization{
		DateTime: date(c.CreatedAt), ReturnCode: code, ReturnMessage: message, Affiliation: pv, Status: status(c), Reference: c.Reference, Tid: c.ID,
		Nsu: nsu(c), AuthorizationCode: authorizationCode(c), Kind: "Credit", Amount: amount(c.AskedMinor), Installments: c.Installments, Brand: brandOf(c),
	}}
	if c.CapturedMinor > 0 {
		q.Capture = &captured{date(c.CapturedAt), nsu(c), amount(c.CapturedMinor)}
	}
	for _, x := range c.Cancels {
		q.Refunds = append(q.Refunds, refunded{refundID(x), date(x.At), "Done", x.AmountMinor})
	}
	return q
}

func refundID(x cards.Cancel) string { return x.ID[:16] }

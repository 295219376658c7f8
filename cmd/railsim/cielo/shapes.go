package cielo

import (
	"strconv"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/cards"
)

// Statuses of a sale.
const (
	StatusNotFinished      = 0
	StatusAuthorized       = 1
	StatusPaymentConfirmed = 2
	StatusDenied           = 3
	StatusVoided           = 10
	StatusRefunded         = 11
	StatusPending          = 12
	StatusAborted          = 13
	StatusScheduled        = 20
)

// request is POST /1/sales with a card token.
type request struct {
	MerchantOrderID string `json:"MerchantOrderId"`
	Customer        *struct {
		Name         string `json:"Name"`
		Email        string `json:"Email"`
		Identity     string `json:"Identity"`
		IdentityType string `json:"IdentityType"`
	} `json:"Customer"`
	Payment *requestPayment `json:"Payment"`
}

type requestPayment struct {
	Type             string `json:"Type"`
	Amount           int64  `json:"Amount"` // centavos
	Currency         string `json:"Currency"`
	Country          string `json:"Country"`
	ServiceTaxAmount int64  `json:"ServiceTaxAmount"`
	Installments     int    `json:"Installments"`
	Interest         string `json:"Interest"`
	Capture          bool   `json:"Capture"`
	Authenticate     bool   `json:"Authenticate"`
	SoftDescriptor   string `json:"SoftDescriptor"`
	CreditCard       *struct {
		CardToken string `json:"CardToken"`
		Brand     string `json:"Brand"`
	} `json:"CreditCard"`
}

// fault is one element of an error answer.
type fault struct {
	Code    int    `json:"Code"`
	Message string `json:"Message"`
}

type sale struct {
	MerchantOrderID string   `json:"MerchantOrderId"`
	Customer        customer `json:"Customer"`
	Payment         payment  `json:"Payment"`
}

type customer struct {
	Name string `json:"Name,omitempty"`
}

type creditCard struct {
	CardToken string `json:"CardToken"`
	SaveCard  bool   `json:"SaveCard"`
	Brand     string `json:"Brand"`
}

type link struct {
	Method string `json:"Method"`
	Rel    string `json:"Rel"`
	Href   string `json:"Href"`
}

type payment struct {
	ServiceTaxAmount  int64      `json:"ServiceTaxAmount"`
	Installments      int        `json:"Installments"`
	Interest          string     `json:"Interest"`
	Capture           bool       `json:"Capture"`
	Authenticate      bool       `json:"Authenticate"`
	CreditCard        creditCard `json:"CreditCard"`
	ProofOfSale       string     `json:"ProofOfSale"`
	Tid               string     `json:"Tid"`
	AuthorizationCode string     `json:"AuthorizationCode,omitempty"`
	PaymentID         string     `json:"PaymentId"`
	Type              string     `json:"Type"`
	Amount            int64      `json:"Amount"`
	ReceivedDate      string     `json:"ReceivedDate"`
	CapturedAmount    int64      `json:"CapturedAmount,omitzero"`
	CapturedDate      string     `json:"CapturedDate,omitempty"`
	VoidedAmount      int64      `json:"VoidedAmount,omitzero"`
	VoidedDate        string     `json:"VoidedDate,omitempty"`
	Currency          string     `json:"Currency"`
	Country           string     `json:"Country"`
	Status            int        `json:"Status"`
	ReturnCode        string     `json:"ReturnCode"`
	ReturnMessage     string     `json:"ReturnMessage"`
	Links             []link     `json:"Links"`
}

// operated answers a capture or a void.
type operated struct {
	Status                int    `json:"Status"`
	Tid                   string `json:"Tid"`
	ProofOfSale           string `json:"ProofOfSale"`
	AuthorizationCode     string `json:"AuthorizationCode"`
	ReasonCode            int    `json:"ReasonCode"`
	ReasonMessage         string `json:"ReasonMessage"`
	ProviderReturnCode    string `json:"ProviderReturnCode"`
	ProviderReturnMessage string `json:"ProviderReturnMessage"`
	ReturnCode            string `json:"ReturnCode"`
	ReturnMessage         string `json:"ReturnMessage"`
	Links                 []link `json:"Links"`
}

// found answers a search. The misspelling of the date is theirs.
type found struct {
	Payment []foundPayment `json:"Payment"`
}

type foundPayment struct {
	PaymentID    string `json:"PaymentId"`
	ReceivedDate string `json:"ReceveidDate"`
}

// notification is the webhook.
type notification struct {
	PaymentID  string `json:"PaymentId"`
	ChangeType int    `json:"ChangeType"`
}

func status(c cards.Charge) int {
	switch c.Status() {
	case cards.StatusDenied:
		return StatusDenied
	case cards.StatusAuthorized:
		return StatusAuthorized
	case cards.StatusCaptured:
		return StatusPaymentConfirmed
	case cards.StatusVoided:
		return StatusVoided
	default:
		return StatusRefunded
	}
}

// returned is what the sandbox says for a card whose last digit is the issuer's.
func returned(c cards.Charge) (code, message string) {
	switch c.Issuer {
	case cards.NotAuthorized:
		return "05", "Not Authorized"
	case cards.Expired:
		return "57", "Expired Card"
	case cards.Blocked:
		return "78", "Blocked Card"
	case cards.TimedOut:
		return "99", "Time Out"
	case cards.Canceled:
		return "77", "Canceled Card"
	case cards.Problem:
		return "70", "Problems with Creditcard"
	default:
	}
	if c.AutoCapture {
		return "6", "Operation Successful"
	}
	return "4", "Operation Successful"
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Add(-3 * time.Hour).Format("2006-01-02 15:04:05") // Brasilia's time
}

func digest(c cards.Charge, what string, n int) string {
	return cards.Digits(cards.Digest(0, "cielo", c.ID, c.Number, what), n)
}

func tid(c cards.Charge) string { return digest(c, "tid", 20) }

func proof(c cards.Charge) string { return digest(c, "proof", 6) }

func authorization(c cards.Charge) string {
	if !c.Issuer.Approves() {
		return ""
	}
	return digest(c, "authorization", 6)
}

func links(c cards.Charge) []link {
	self := "/1/sales/" + c.ID
	out := []link{{"GET", "self", self}}
	switch c.Status() {
	case cards.StatusAuthorized:
		out = append(out, link{"PUT", "capture", self + "/capture"}, link{"PUT", "void", self + "/void"})
	case cards.StatusCaptured:
		out = append(out, link{"PUT", "void", self + "/void"})
	default:
	}
	return out
}

func brand(s string) string {
	if s == "" {
		return "Visa"
	}
	return s
}

// show is the sale as it is told; amount says what is told of a sum.
func show(c cards.Charge, amount func(int64) int64) sale {
	code, message := returned(c)
	out := payment{
		Installments: c.Installments, Interest: "ByMerchant", Capture: c.AutoCapture,
		CreditCard:  creditCard{CardToken: c.Token, Brand: brand(c.Brand)},
		ProofOfSale: proof(c), Tid: tid(c), AuthorizationCode: authorization(c), PaymentID: c.ID, Type: "CreditCard",
		Amount: amount(c.AskedMinor), ReceivedDate: date(c.CreatedAt), CapturedDate: date(c.CapturedAt), VoidedDate: date(c.ClosedAt),
		VoidedAmount: c.VoidedMinor + c.RefundedMinor, Currency: c.Currency, Country: "BRA", Status: status(c),
		ReturnCode: code, ReturnMessage: message, Links: links(c),
	}
	if c.CapturedMinor > 0 {
		out.CapturedAmount = amount(c.CapturedMinor)
	}
	return sale{MerchantOrderID: c.Reference, Payment: out}
}

func parseAmount(s string) (int64, bool) {
	if s == "" {
		return 0, true
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n > 0
}

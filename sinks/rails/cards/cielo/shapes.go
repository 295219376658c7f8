package cielo

import (
	"cmp"
	"net/http"
	"strconv"

	"github.com/caudalpay/caudal/sinks/rails/cards"
	"github.com/caudalpay/caudal/sinks/rails/cards/rest"
)

type saleRequest struct {
	MerchantOrderID string         `json:"MerchantOrderId"`
	Payment         paymentRequest `json:"Payment"`
}

type paymentRequest struct {
	Type           string     `json:"Type"`
	Amount         int64      `json:"Amount"`
	Currency       string     `json:"Currency"`
	Installments   uint32     `json:"Installments"`
	Capture        bool       `json:"Capture"`
	SoftDescriptor string     `json:"SoftDescriptor,omitempty"`
	CreditCard     creditCard `json:"CreditCard"`
}

type creditCard struct {
	CardToken string `json:"CardToken"`
	Brand     string `json:"Brand"`
}

func saleOf(r cards.Request, descriptor string) saleRequest {
	return saleRequest{MerchantOrderID: r.OwnReference, Payment: paymentRequest{
		Type: "CreditCard", Amount: r.AmountMinor, Currency: r.Currency, Installments: r.Installments,
		Capture: r.Operation == cards.OperationCollect, SoftDescriptor: descriptor,
		CreditCard: creditCard{CardToken: r.Instrument, Brand: brandName(r.Brand)},
	}}
}

// brandName is how Cielo writes a brand.
func brandName(brand string) string {
	switch brand {
	case "visa":
		return "Visa"
	case "mastercard":
		return "Master"
	case "elo":
		return "Elo"
	case "amex":
		return "Amex"
	case "hipercard":
		return "Hipercard"
	case "diners":
		return "Diners"
	case "discover":
		return "Discover"
	case "jcb":
		return "JCB"
	case "aura":
		return "Aura"
	default:
		return brand
	}
}

// status is Payment.Status.
type status int

const (
	statusNotFinished status = 0
	statusAuthorized  status = 1
	statusConfirmed   status = 2
	statusDenied      status = 3
	statusVoided      status = 10
	statusRefunded    status = 11
	statusPending     status = 12
	statusAborted     status = 13
	statusScheduled   status = 20
)

type sale struct {
	MerchantOrderID string  `json:"MerchantOrderId"`
	Payment         payment `json:"Payment"`
}

type payment struct {
	PaymentID      string  `json:"PaymentId"`
	Tid            string  `json:"Tid"`
	Status         *status `json:"Status"`
	ReturnCode     string  `json:"ReturnCode"`
	Amount         int64   `json:"Amount"`
	CapturedAmount int64   `json:"CapturedAmount"`
	VoidedAmount   int64   `json:"VoidedAmount"`
}

// sold is the answer to a sale. It tells no CapturedAmount where an older gateway answers; what was confirmed is then
// the amount of the sale.
func (p payment) sold(o cards.Operation) cards.Result {
	r := cards.Result{Code: p.ReturnCode, Reference: p.PaymentID, TID: p.Tid}
	if p.Status == nil || p.PaymentID == "" {
		return r
	}
	switch *p.Status {
	case statusAuthorized:
		if o == cards.OperationAuthorize {
			r.Outcome, r.AmountMinor = cards.OutcomeConfirmed, p.Amount
		}
	case statusConfirmed:
		if o == cards.OperationCollect {
			r.Outcome, r.AmountMinor = cards.OutcomeConfirmed, p.Amount
			if p.CapturedAmount > 0 {
				r.AmountMinor = p.CapturedAmount
			}
		}
	case statusDenied, statusAborted:
		if !timedOut(p.ReturnCode) {
			r.Outcome = cards.OutcomeRefused
		}
	case statusVoided, statusRefunded:
		r.Outcome = cards.OutcomeRefused
	case statusNotFinished, statusPending, statusScheduled:
	}
	return r
}

// timedOut tells the return code with which the manual says that the sale may have been processed all the same.
func timedOut(code string) bool { return code == "98" }

func (p payment) standing() cards.Standing {
	s := cards.Standing{
		Code: p.ReturnCode, Reference: p.PaymentID, TID: p.Tid,
		AuthorizedMinor: p.Amount, CapturedMinor: p.CapturedAmount, ReturnedMinor: p.VoidedAmount,
	}
	if p.Status == nil || p.PaymentID == "" {
		return cards.Standing{}
	}
	switch *p.Status {
	case statusAuthorized:
		s.State = cards.StateAuthorized
	case statusConfirmed:
		s.State = cards.StateCaptured
		if p.CapturedAmount == 0 { // how much is not told: nothing can be concluded from it
			s.State = cards.StateUnclear
		}
	case statusDenied, statusAborted:
		s.State = cards.StateDeclined
	case statusVoided, statusRefunded:
		s.State = cards.StateVoided
		if s.ReturnedMinor == 0 {
			s.ReturnedMinor = cmp.Or(p.CapturedAmount, p.Amount) // what was not captured was never there to be given back
		}
	case statusNotFinished, statusPending, statusScheduled:
		s.State = cards.StatePending
	}
	return s
}

type change struct {
	Status     *status `json:"Status"`
	ReturnCode string  `json:"ReturnCode"`
}

func (c change) captured(r cards.Request) cards.Result {
	result := cards.Result{Code: c.ReturnCode, Reference: r.Reference}
	switch {
	case c.Status == nil:
	case *c.Status == statusConfirmed:
		result.Outcome = cards.OutcomeConfirmed
	case *c.Status == statusDenied, *c.Status == statusAborted, *c.Status == statusVoided, *c.Status == statusRefunded:
		result.Outcome = cards.OutcomeRefused
	}
	return result
}

// voided reads the answer to a cancellation. A partial one leaves Status 2, so the return code speaks.
func (c change) voided(r cards.Request) cards.Result {
	result := cards.Result{Code: c.ReturnCode, Reference: r.Reference}
	if c.Status == nil {
		return result
	}
	switch *c.Status {
	case statusVoided, statusRefunded:
		result.Outcome = cards.OutcomeConfirmed
	case statusConfirmed:
		switch c.ReturnCode {
		case "0", "00", "9":
			result.Outcome = cards.OutcomeConfirmed
		case "3", "17", "40", "41", "42", "51", "52", "53", "54", "55", "56", "58", "60", "72", "76", "77",
			"100", "101", "102", "103", "104", "105", "106", "107", "108", "120", "121", "130", "160":
			result.Outcome = cards.OutcomeRefused // of the manual's list those that say that it is not done
		}
	default:
	}
	return result
}

type salesList struct {
	Payment  *[]listed `json:"Payment"`
	Payments *[]listed `json:"Payments"` // both words are in use
}

type listed struct {
	PaymentID string `json:"PaymentId"`
}

// payments are the ids of the list. False: it is no list, and says nothing; an empty one says that there is none.
func (l salesList) payments() (ids []string, told bool) {
	for _, list := range []*[]listed{l.Payment, l.Payments} {
		if list == nil {
			continue
		}
		told = true
		for _, p := range *list {
			if p.PaymentID == "" {
				return nil, false
			}
			ids = append(ids, p.PaymentID)
		}
	}
	return ids, told
}

// turnedDown tells that Cielo itself turned a call down: it says why.
func turnedDown(reply rest.Reply) bool {
	return reply.TurnedDown() && errorCode(reply) != ""
}

// absent tells that Cielo itself knows no such sale. Its SDK reads no body of a 404, so one without a body is taken
// for Cielo's; a page is somebody's on the way.
func absent(reply rest.Reply) bool {
	return reply.Status == http.StatusNotFound && (len(reply.Body) == 0 || errorCode(reply) != "")
}

// errorCode is the first of the errors of a request that was turned down; empty where it has none.
func errorCode(reply rest.Reply) string {
	var list []struct {
		Code       *int64 `json:"Code"`
		ReturnCode *int64 `json:"ReturnCode"` // both words are in use
	}
	if !reply.Decode(&list) || len(list) == 0 {
		return ""
	}
	code := cmp.Or(list[0].Code, list[0].ReturnCode)
	if code == nil {
		return ""
	}
	return strconv.FormatInt(*code, 10)
}

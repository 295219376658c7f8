package pagarme

import (
	"cmp"

	"github.com/caudalpay/caudal/sinks/rails/cards"
)

type orderRequest struct {
	Code       string           `json:"code"`
	CustomerID string           `json:"customer_id"`
	Items      []itemRequest    `json:"items"`
	Payments   []paymentRequest `json:"payments"`
	Closed     bool             `json:"closed"`
}

type itemRequest struct {
	Amount      int64  `json:"amount"`
	Description string `json:"description"`
	Quantity    int    `json:"quantity"`
	Code        string `json:"code"`
}

type paymentRequest struct {
	PaymentMethod string     `json:"payment_method"`
	Amount        int64      `json:"amount"`
	CreditCard    creditCard `json:"credit_card"`
}

type creditCard struct {
	CardID              string `json:"card_id"`
	OperationType       string `json:"operation_type"`
	Installments        uint32 `json:"installments"`
	StatementDescriptor string `json:"statement_descriptor,omitempty"`
}

func orderOf(r cards.Request, cfg Config) orderRequest {
	operation := "auth_only"
	if r.Operation == cards.OperationCollect {
		operation = "auth_and_capture"
	}
	return orderRequest{
		Code: r.OwnReference, CustomerID: cfg.CustomerID, Closed: true,
		Items: []itemRequest{{Amount: r.AmountMinor, Description: "payment", Quantity: 1, Code: r.OwnReference}},
		Payments: []paymentRequest{{PaymentMethod: "credit_card", Amount: r.AmountMinor, CreditCard: creditCard{
			CardID: r.Instrument, OperationType: operation, Installments: r.Installments, StatementDescriptor: cfg.StatementDescriptor,
		}}},
	}
}

type amountRequest struct {
	Amount int64 `json:"amount"`
}

func amountOf(r cards.Request) amountRequest { return amountRequest{Amount: r.AmountMinor} }

// failure is what a refusal says.
type failure struct {
	Message string `json:"message"`
}

type ordersReply struct {
	Data *[]orderReply `json:"data"`
}

type orderReply struct {
	Code    string        `json:"code"`
	Charges []chargeReply `json:"charges"`
}

type chargeReply struct {
	ID             string           `json:"id"`
	Status         string           `json:"status"` // pending, paid, canceled, processing, failed, overpaid, underpaid, chargedback
	Amount         int64            `json:"amount"`
	PaidAmount     int64            `json:"paid_amount"`
	CanceledAmount int64            `json:"canceled_amount"`
	Last           transactionReply `json:"last_transaction"`
}

type transactionReply struct {
	Status             string `json:"status"`
	Success            *bool  `json:"success"`
	Amount             int64  `json:"amount"`
	AcquirerReturnCode string `json:"acquirer_return_code"`
}

// ended tells whether the transaction is one that nothing will change any more.
func (t transactionReply) ended() bool {
	switch t.Status {
	case "captured", "partial_capture", "voided", "partial_void", "refunded", "partial_refunded", "not_authorized", "failed",
		"error_on_voiding", "error_on_refunding":
		return true
	default:
		return false
	}
}

// made is the answer to an order. The charge's own status says too little (pending is authorised and not captured, and
// also not dealt with yet), so its last transaction speaks.
func (c chargeReply) made(o cards.Operation) cards.Result {
	r := cards.Result{Code: c.Last.AcquirerReturnCode, Reference: c.ID}
	if c.ID == "" {
		return r
	}
	switch c.standing().State {
	case cards.StateAuthorized:
		if o == cards.OperationAuthorize {
			r.Outcome, r.AmountMinor = cards.OutcomeConfirmed, c.Amount
		}
	case cards.StateCaptured:
		if o == cards.OperationCollect {
			r.Outcome, r.AmountMinor = cards.OutcomeConfirmed, c.paid()
		}
	case cards.StateDeclined:
		r.Outcome = cards.OutcomeRefused
	default:
	}
	return r
}

// paid is what was captured; where the charge does not tell it, what its transaction moved.
func (c chargeReply) paid() int64 {
	if c.PaidAmount > 0 {
		return c.PaidAmount
	}
	return c.Last.Amount
}

func (c chargeReply) standing() cards.Standing {
	s := cards.Standing{
		Code: c.Last.AcquirerReturnCode, Reference: c.ID, AuthorizedMinor: c.Amount, ReturnedMinor: c.CanceledAmount,
	}
	if c.ID == "" {
		return cards.Standing{}
	}
	switch c.Status {
	case "paid", "overpaid", "underpaid", "chargedback":
		s.State, s.CapturedMinor, s.Disputed = cards.StateCaptured, c.paid(), c.Status == "chargedback"
		switch {
		case !c.Last.ended():
			s.State = cards.StatePending // something is on its way: a cancellation, perhaps
		case s.CapturedMinor == 0:
			s.State = cards.StateUnclear
		}
	case "failed":
		s.State = cards.StateDeclined
		if c.Last.Status == "with_error" { // an error of theirs, not the card's: what the card was told is not known
			s.State = cards.StateUnclear
		}
	case "canceled":
		s.State, s.CapturedMinor = cards.StateVoided, c.PaidAmount
		if s.ReturnedMinor == 0 {
			s.ReturnedMinor = cmp.Or(c.PaidAmount, c.Amount) // what was not captured was never there to be given back
		}
	case "pending", "processing":
		s.State = cards.StatePending
		if c.Last.Status == "authorized_pending_capture" || c.Last.Status == "waiting_capture" {
			s.State = cards.StateAuthorized
		}
	}
	return s
}

// changed is the answer to a capture or a cancellation, by what the transaction that it made says of itself.
func (c chargeReply) changed(r cards.Request) cards.Result {
	result := cards.Result{Code: c.Last.AcquirerReturnCode, Reference: r.Reference}
	switch c.Last.Status {
	case "captured", "partial_capture":
		if r.Operation == cards.OperationCapture {
			result.Outcome, result.AmountMinor = cards.OutcomeConfirmed, c.paid()
		}
	case "voided", "partial_void", "refunded", "partial_refunded":
		if r.Operation != cards.OperationCapture {
			result.Outcome, result.AmountMinor = cards.OutcomeConfirmed, c.Last.Amount
		}
	case "not_authorized", "failed", "error_on_voiding", "error_on_refunding":
		if c.Last.Success != nil && !*c.Last.Success {
			result.Outcome = cards.OutcomeRefused
		}
	}
	return result
}

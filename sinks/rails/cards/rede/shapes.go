package rede

import (
	"cmp"

	"github.com/caudalpay/caudal/sinks/rails/cards"
)

type transactionRequest struct {
	Capture         bool   `json:"capture"`
	Kind            string `json:"kind"`
	Reference       string `json:"reference"`
	Amount          int64  `json:"amount"`
	Installments    uint32 `json:"installments,omitempty"` // absent: one payment
	CardholderName  string `json:"cardholderName,omitempty"`
	CardNumber      string `json:"cardNumber"` // of the network token
	ExpirationMonth string `json:"expirationMonth"`
	ExpirationYear  string `json:"expirationYear"`
	TokenCryptogram string `json:"tokenCryptogram,omitempty"`
	SoftDescriptor  string `json:"softDescriptor,omitempty"`
}

func transactionOf(r cards.Request, c Credential, descriptor string) transactionRequest {
	t := transactionRequest{
		Capture: r.Operation == cards.OperationCollect, Kind: "credit", Reference: r.OwnReference, Amount: r.AmountMinor,
		CardholderName: c.Holder, CardNumber: c.Number, ExpirationMonth: c.ExpirationMonth, ExpirationYear: c.ExpirationYear,
		TokenCryptogram: c.Cryptogram, SoftDescriptor: descriptor,
	}
	if r.Installments > 1 {
		t.Installments = r.Installments
	}
	return t
}

type amountRequest struct {
	Amount int64 `json:"amount"`
}

type transactionReply struct {
	TID        string     `json:"tid"`
	Reference  string     `json:"reference"`
	Amount     int64      `json:"amount"`
	ReturnCode string     `json:"returnCode"`
	Brand      brandReply `json:"brand"`
}

type brandReply struct {
	ReturnCode string `json:"returnCode"`
}

// The return codes that this program knows.
const (
	codeOK              = "00"
	codeReferenceTaken  = "42"
	codeCommunication   = "74" // communication failure, try again
	codeNoTransaction   = "78"
	codeProcessing      = "121" // error processing, try again
	codeSentBefore      = "122"
	codeTimeout         = "150"
	codeRequestFailed   = "370" // contact Rede
	codeUnsuccessful    = "899" // contact Rede
	codeRefunded        = "359"
	codeRefundRequested = "360"
)

// code is the brand's where it tells one: that is the one the table of retries knows.
func (t transactionReply) code() string { return cmp.Or(t.Brand.ReturnCode, t.ReturnCode) }

func (t transactionReply) made() cards.Result {
	r := cards.Result{Code: t.code(), Reference: t.TID}
	switch t.ReturnCode {
	case codeOK:
		if t.TID != "" {
			r.Outcome, r.AmountMinor = cards.OutcomeConfirmed, t.Amount
		}
	case codeReferenceTaken, codeSentBefore, codeTimeout: // this very attempt may be what stands there
	default:
		if !t.untold() || t.Brand.ReturnCode != "" { // where the brand has answered, that is what became of it
			r.Outcome = cards.OutcomeRefused
		}
	}
	return r
}

// untold tells a failure of Rede's own, of which it does not say whether anything was done before.
func (t transactionReply) untold() bool {
	switch t.ReturnCode {
	case codeCommunication, codeProcessing, codeSentBefore, codeTimeout, codeRequestFailed, codeUnsuccessful:
		return true
	default:
		return false
	}
}

func (t transactionReply) captured() cards.Result {
	r := cards.Result{Code: t.code()}
	switch t.ReturnCode {
	case codeOK:
		r.Outcome, r.AmountMinor = cards.OutcomeConfirmed, t.Amount
	default:
		if !t.untold() {
			r.Outcome = cards.OutcomeRefused
		}
	}
	return r
}

// refunded reads the answer to a cancellation. One that is only requested may still be turned down: it is asked for.
func (t transactionReply) refunded() cards.Result {
	r := cards.Result{Code: t.code()}
	switch t.ReturnCode {
	case codeOK, codeRefunded:
		r.Outcome, r.AmountMinor = cards.OutcomeConfirmed, t.Amount
	case codeRefundRequested:
	default:
		if !t.untold() {
			r.Outcome = cards.OutcomeRefused
		}
	}
	return r
}

type queryReply struct {
	ReturnCode    string              `json:"returnCode"` // of a query that found nothing
	Authorization *authorizationReply `json:"authorization"`
	Capture       *captureReply       `json:"capture"`
	Refunds       []refundReply       `json:"refunds"`
}

type authorizationReply struct {
	TID        string `json:"tid"`
	Reference  string `json:"reference"`
	Status     string `json:"status"`
	Amount     int64  `json:"amount"`
	ReturnCode string `json:"returnCode"`
}

type captureReply struct {
	Amount int64 `json:"amount"`
}

type refundReply struct {
	Amount int64  `json:"amount"`
	Status string `json:"status"` // Done, Processing, Denied
}

// about tells whether an answer is about the transaction that was asked for: a filter that is not understood finds any.
func (q queryReply) about(r cards.Request) bool {
	a := q.Authorization
	switch {
	case a == nil:
		return true
	case r.Reference != "":
		return a.TID == r.Reference
	default:
		return a.Reference == "" || a.Reference == r.OwnReference
	}
}

func (q queryReply) standing() cards.Standing {
	if q.ReturnCode == codeNoTransaction {
		return cards.Standing{State: cards.StateAbsent}
	}
	a := q.Authorization
	if a == nil || a.TID == "" {
		return cards.Standing{}
	}
	s := cards.Standing{Code: a.ReturnCode, Reference: a.TID, AuthorizedMinor: a.Amount}
	if q.Capture != nil {
		s.CapturedMinor = q.Capture.Amount
	}
	for _, r := range q.Refunds {
		switch r.Status {
		case "Done":
			s.ReturnedMinor += r.Amount
		case "Denied":
		default: // on its way: nothing can be concluded yet
			return cards.Standing{State: cards.StatePending, Reference: a.TID}
		}
	}
	switch {
	case a.Status == "Approved", a.Status == "Pending" && a.ReturnCode == codeOK: // the latter: authorised, and its capture pending
		s.State = cards.StateAuthorized
		if s.CapturedMinor > 0 {
			s.State = cards.StateCaptured
		}
	case a.Status == "Denied":
		s.State = cards.StateDeclined
	case a.Status == "Canceled":
		s.State = cards.StateVoided
		if s.ReturnedMinor == 0 {
			s.ReturnedMinor = cmp.Or(s.CapturedMinor, s.AuthorizedMinor) // what was not captured was never there to be given back
		}
	case a.Status == "Pending":
		s.State = cards.StatePending
	}
	return s
}

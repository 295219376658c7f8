package http

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const jsonMediaType = "application/json"

// statusPending is the word for a request that is in the log and not decided yet.
const statusPending = "pending"

// answer is what a handler says; the server writes it, and a batch puts it among its items.
type answer struct {
	status     int
	media      string // empty: application/json
	body       []byte
	location   string
	allow      string
	applied    string // Preference-Applied
	accountSeq uint64
	replayed   bool
	retry      bool // say Retry-After
	closing    bool // the connection ends here
}

func refusal(p *Problem) answer {
	a := answer{status: p.Status, media: problemMediaType, body: encode(p)}
	switch p.Code {
	case ErrorBusy, ErrorUnavailable, ErrorStoreBehind, ErrorInFlight, ErrorRateLimited:
		a.retry = true
	case ErrorMalformedRequest, ErrorTooLarge, ErrorTimeout, ErrorHeadersTooLarge:
		a.closing = true
	default:
	}
	return a
}

// pending answers what is acknowledged and not decided. It depends on the request alone, so a repeat gets the same.
func (p *prepared) pending() answer {
	a := answer{status: fasthttp.StatusAccepted}
	switch p.kind {
	case payment.KindOpenAccount, payment.KindSetKYCLevel:
		a.location = "/accounts/" + string(p.account)
		a.body = encode(RequestAnswer{AccountID: string(p.account), Kind: p.kind.String(), Status: statusPending, CustomerID: p.item.Command.GetCustomer()})
	case payment.KindApprove, payment.KindDecline, payment.KindFXQuote, payment.KindDispute, payment.KindDisputeEvidence, payment.KindDisputeAccept:
		a.location, a.body = p.place(), encode(p.request(statusPending))
	case payment.KindClearing:
		a.location, a.body = p.place(), encode(p.clearing(statusPending, []string{}))
	case payment.KindIssueCard, payment.KindSetCardStatus:
		view := *p.card
		view.Status = statusPending
		a.location, a.body = "/cards/"+view.CardID, encode(view)
	default:
		a.location = p.place()
		a.body = appendPending(make([]byte, 0, pendingBytesMost), p)
	}
	return a
}

// place is the address of what a request is about.
func (p *prepared) place() string {
	switch p.id.Kind() {
	case payment.KindFXQuote:
		return "/fx/quotes/" + string(p.id)
	case payment.KindDispute:
		return "/disputes/" + string(p.id)
	default:
		return "/transactions/" + string(p.id)
	}
}

// request answers what is not a payment, and names what it is about.
func (p *prepared) request(status string) RequestAnswer {
	a := RequestAnswer{AccountID: string(p.account), Kind: p.kind.String(), Status: status}
	switch p.id.Kind() {
	case payment.KindFXQuote:
		a.QuoteID = string(p.id)
	case payment.KindDispute:
		a.DisputeID = string(p.id)
		if p.kind == payment.KindDispute {
			a.PaymentID = p.item.Command.GetPaymentId()
		}
	default:
		a.PaymentID = string(p.id)
	}
	return a
}

// pendingBytesMost is what a PendingAnswer takes at most.
const pendingBytesMost = 160

// appendPending writes a PendingAnswer. Ids and kinds need no escaping; batches write a thousand of these.
func appendPending(b []byte, p *prepared) []byte {
	b = append(b, `{"payment_id":"`...)
	b = append(b, p.id...)
	b = append(b, `","account_id":"`...)
	b = append(b, p.account...)
	b = append(b, `","kind":"`...)
	b = append(b, p.kind.String()...)
	return append(b, `","status":"`+statusPending+`"}`...)
}

// failed turns what a submission came to into an answer; nil where there is a decision to answer.
func (s *Server) failed(p *prepared, err error) *answer {
	if err == nil {
		return nil
	}
	var a answer
	switch {
	case errors.Is(err, ErrPending):
		a = p.pending()
	case errors.Is(err, ErrBusy):
		a = refusal(s.problem(ErrorBusy, "The buffer of commands is full."))
	default:
		if !errors.Is(err, ErrUnavailable) {
			s.ports.Log.Error("submitting command", "kind", p.kind.String(), "account", string(p.account), "error", err)
		}
		a = refusal(s.problem(ErrorUnavailable, "The log did not acknowledge in time."))
	}
	return &a
}

// verdictOf is the first decision, also where this one repeats it: the outcome, and whether it is a repetition.
func verdictOf(d *paymentsv1.Decision) (first paymentsv1.Outcome, repeated bool) {
	if d.GetOutcome() != paymentsv1.Outcome_OUTCOME_REPEATED {
		return d.GetOutcome(), false
	}
	switch {
	case d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_IN_REVIEW && !isRequest(d.GetKind()):
		return paymentsv1.Outcome_OUTCOME_REVIEW, true
	case d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED && !isRequest(d.GetKind()),
		isRequest(d.GetKind()) && len(d.GetReasons()) > 0 && !grantedWithReasons(d):
		return paymentsv1.Outcome_OUTCOME_DECLINED, true
	default:
		return paymentsv1.Outcome_OUTCOME_APPROVED, true
	}
}

// grantedWithReasons holds for requests that are granted, although they tell a reason: the verdict that ends a review with a decline, whose reason is the
// payment's; and a clearing, a fact whose reason says what it found. One that is declined is not remembered.
func grantedWithReasons(d *paymentsv1.Decision) bool {
	switch d.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_DECLINE:
		return d.GetReasons()[0] == paymentsv1.Reason_REASON_REVIEW_DECLINED
	case paymentsv1.CommandKind_COMMAND_KIND_CLEARING:
		return true
	default:
		return false
	}
}

// isRequest holds for what is not a payment that the API's callers ask for: opening, KYC level, verdict, clearing.
func isRequest(k paymentsv1.CommandKind) bool {
	switch k {
	case paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT,
		paymentsv1.CommandKind_COMMAND_KIND_TRANSFER, paymentsv1.CommandKind_COMMAND_KIND_REFUND,
		paymentsv1.CommandKind_COMMAND_KIND_CAPTURE, paymentsv1.CommandKind_COMMAND_KIND_VOID, paymentsv1.CommandKind_COMMAND_KIND_INCREMENT:
		return false
	default:
		return true
	}
}

// decided turns a decision into an answer. Status and body are the same for the first decision and its repetitions.
func (s *Server) decided(p *prepared, d *paymentsv1.Decision, granted func(*paymentsv1.Decision) answer) answer {
	first, repeated := verdictOf(d)
	var a answer
	switch first {
	case paymentsv1.Outcome_OUTCOME_APPROVED, paymentsv1.Outcome_OUTCOME_REVIEW, paymentsv1.Outcome_OUTCOME_APPLIED:
		a = granted(d)
	case paymentsv1.Outcome_OUTCOME_DECLINED:
		a = s.declined(p, d)
	case paymentsv1.Outcome_OUTCOME_CONFLICT:
		a = s.knownOtherwise(p)
	default:
		s.ports.Log.Error("reading decision: unknown outcome", "outcome", int32(d.GetOutcome()), "account", string(p.account))
		return refusal(s.problem(ErrorInternal, "The decision cannot be read."))
	}
	a.replayed = repeated
	a.accountSeq = d.GetAccountSeq()
	return a
}

func (s *Server) conflict() answer {
	return refusal(s.problems.make(ErrorIdempotencyConflict, "The same key came with another body before; nothing changed."))
}

// knownOtherwise answers what the log knows with other contents. A clearing it knows by what it is, whatever key that comes under.
func (s *Server) knownOtherwise(p *prepared) answer {
	if p.kind != payment.KindClearing {
		return s.conflict()
	}
	problem := s.problems.make(ErrorIdempotencyConflict, "The item is in the books already with other contents: another card of the account, amount, currency, "+
		"processing code, MCC, merchant or RRN. Nothing changed.")
	problem.Instance = p.place()
	return refusal(problem)
}

func (s *Server) declined(p *prepared, d *paymentsv1.Decision) answer {
	reasons := reasonsOf(d)
	id := ErrorRequestDeclined
	var view *PaymentAnswer
	if !isRequest(paymentsv1.CommandKind(p.kind)) {
		id = ErrorPaymentDeclined
		view = p.view(d)
	}
	if len(d.GetReasons()) > 0 {
		switch d.GetReasons()[0] {
		case paymentsv1.Reason_REASON_OWNER_MISMATCH:
			if id = ErrorAccountUnknown; p.card != nil {
				reasons, id = []string{payment.ReasonCardTaken.String()}, ErrorRequestDeclined // whose it is is nobody else's business
			}
		case paymentsv1.Reason_REASON_ACCOUNT_UNKNOWN:
			id = ErrorAccountUnknown
		case paymentsv1.Reason_REASON_PAYMENT_UNKNOWN:
			switch id = ErrorPaymentUnknown; {
			case p.card != nil:
				id = ErrorCardUnknown
			case p.kind == payment.KindDisputeEvidence, p.kind == payment.KindDisputeAccept:
				id = ErrorDisputeUnknown
			}
		default:
		}
	}
	problem := s.problems.make(id, s.meanings.detail(p.kind, reasons))
	if p.id != "" {
		problem.Instance = p.place()
	}
	declined := DeclinedProblem{Problem: *problem, Decision: payment.OutcomeDeclined.String(), Reasons: reasons, Payment: view}
	return answer{status: problem.Status, media: problemMediaType, body: encode(&declined)}
}

func reasonsOf(d *paymentsv1.Decision) []string {
	words := make([]string, 0, len(d.GetReasons()))
	for _, r := range d.GetReasons() {
		words = append(words, payment.Reason(r).String()) //nolint:gosec // the enum's numbers fit a byte
	}
	return words
}

// paid answers a payment that was granted: 201 when approved, 202 while in review.
func (p *prepared) paid(d *paymentsv1.Decision) answer {
	view := p.view(d)
	status := fasthttp.StatusCreated
	if first, _ := verdictOf(d); first == paymentsv1.Outcome_OUTCOME_REVIEW {
		status = fasthttp.StatusAccepted
	}
	return answer{status: status, location: "/transactions/" + string(p.id), body: encode(view)}
}

// view takes from a decision only what its repetitions have as well.
func (p *prepared) view(d *paymentsv1.Decision) *PaymentAnswer {
	first, _ := verdictOf(d)
	v := &PaymentAnswer{
		PaymentID: string(p.id), AccountID: string(p.account), Kind: p.kind.String(),
		Decision: payment.Outcome(first).String(), Status: payment.Status(d.GetStatus()).String(), Reasons: reasonsOf(d), //nolint:gosec // the enums' numbers fit a byte
		Amount: d.GetAmountMinor(), Currency: d.GetCurrency(),
		TargetAmount: d.GetTargetAmountMinor(), TargetCurrency: d.GetTargetCurrency(),
		Fee: d.GetFeeMinor(), FX: fxOf(d.GetFx()), Method: d.GetMethod(), ToAccountID: d.GetToAccount(),
		FraudScore: d.GetFraudScore(), CreatedAt: time.UnixMicro(d.GetCreatedAtUs()).UTC(),
	}
	v.Quote = p.item.Command.GetInstruction().GetQuote()
	switch {
	case p.kind == payment.KindRefund:
		v.RefundedPaymentID = p.item.Command.GetPaymentId()
	case p.kind.Operation():
		v.RelatedPaymentID = p.item.Command.GetPaymentId()
	}
	return v
}

func fxOf(fx *paymentsv1.Fx) *FXView {
	if fx == nil {
		return nil
	}
	return &FXView{
		Rate: Decimal(fx.GetRateUnscaled(), fx.GetRateScale()), Mid: Decimal(fx.GetMidUnscaled(), fx.GetMidScale()), SpreadBP: fx.GetSpreadBp(),
	}
}

// Decimal is unscaled x 10^-scale as exact text without trailing zeros.
func Decimal(unscaled int64, scale uint32) string {
	digits := fmt.Sprintf("%0*d", scale+1, max(unscaled, -unscaled))
	whole, fraction := digits[:len(digits)-int(scale)], strings.TrimRight(digits[len(digits)-int(scale):], "0")
	if fraction != "" {
		whole += "." + fraction
	}
	if unscaled < 0 {
		whole = "-" + whole
	}
	return whole
}

// ruled answers a request about a payment or a dispute that was taken: where that stands now.
func (p *prepared) ruled(d *paymentsv1.Decision) answer {
	status := payment.Status(d.GetStatus()).String() //nolint:gosec // fits a byte
	return answer{status: fasthttp.StatusOK, location: p.place(), body: encode(p.request(status))}
}

// quoted answers a quote that was given.
func (p *prepared) quoted(d *paymentsv1.Decision) answer {
	return answer{status: fasthttp.StatusCreated, location: p.place(), body: encode(&QuoteView{
		QuoteID: string(p.id), AccountID: string(p.account), Status: payment.Status(d.GetStatus()).String(), Reasons: reasonsOf(d), //nolint:gosec // fits a byte
		Amount: d.GetAmountMinor(), Currency: d.GetCurrency(), TargetAmount: d.GetTargetAmountMinor(), TargetCurrency: d.GetTargetCurrency(),
		FX: fxOf(d.GetFx()), CreatedAt: time.UnixMicro(d.GetCreatedAtUs()).UTC(), ExpiresAt: time.UnixMicro(d.GetDeadlineUs()).UTC(),
	})}
}

// leveled answers a KYC level that was set.
func (p *prepared) leveled(*paymentsv1.Decision) answer {
	level := p.item.Command.GetSetKycLevel().GetKycLevel()
	return answer{status: fasthttp.StatusOK, body: encode(RequestAnswer{
		AccountID: string(p.account), Kind: p.kind.String(), Status: payment.OutcomeApplied.String(),
		CustomerID: p.item.Command.GetCustomer(), KYCLevel: &level,
	})}
}

// opened answers an account that can be used.
func (p *prepared) opened(*paymentsv1.Decision) answer {
	o := p.item.Command.GetOpenAccount()
	return answer{status: fasthttp.StatusCreated, location: "/accounts/" + string(p.account), body: encode(OpenedAnswer{
		AccountID: string(p.account), ExternalID: o.GetExternalId(), CustomerID: p.item.Command.GetCustomer(),
		Kind: AccountKindWord(o.GetKind()), Status: "open", Currencies: o.GetCurrencies(), KYCLevel: o.GetKycLevel(),
		OverdraftLimit: o.GetOverdraftLimitMinor(), Policy: o.GetPolicy(),
	})}
}

// AccountKindWord is the API's word for a kind of account.
func AccountKindWord(k paymentsv1.AccountKind) string {
	switch k {
	case paymentsv1.AccountKind_ACCOUNT_KIND_PERSON:
		return "person"
	case paymentsv1.AccountKind_ACCOUNT_KIND_MERCHANT:
		return "merchant"
	default:
		return "unknown"
	}
}

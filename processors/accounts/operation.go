package accounts

import (
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
)

const basisPoints = 10_000

// cardPayment is the payment that an operation is about, for it to change; nil where the operation is declined.
func (r *reducer) cardPayment(e payment.Event) *payment.Record {
	if r.s.Related == nil {
		r.decline(payment.ReasonPaymentUnknown)
		return nil
	}
	paid := clone(r.s.Related)
	r.rec.Currency, r.rec.TargetCurrency, r.rec.Method, r.rec.FX = paid.Currency, paid.TargetCurrency, paid.Method, paid.FX
	r.tellRelated(paid)
	if paid.Kind != payment.KindPayIn || paid.Rail == nil || payment.Next(payment.FamilyPayIn, paid.Status, e).Effect != payment.Stay {
		r.decline(payment.ReasonPaymentState)
		return nil
	}
	return paid
}

// cardPaymentAtRest is cardPayment for what tolerates no other operation beside it.
func (r *reducer) cardPaymentAtRest(e payment.Event) *payment.Record {
	paid := r.cardPayment(e)
	if paid != nil && (paid.Rail.OperationOpen || paid.Rail.CapturingMinor > 0) {
		r.decline(payment.ReasonOperationInProgress)
		return nil
	}
	return paid
}

// clone is a record that may be changed: what stood before is the snapshot's.
func clone(rec *payment.Record) *payment.Record {
	c := *rec
	if c.Rail != nil {
		rail := *c.Rail
		c.Rail = &rail
	}
	return &c
}

// start orders an operation that was allowed, and writes the payment with what is now in flight.
func (r *reducer) start(paid *payment.Record) {
	id := r.cmd.PaymentID
	r.d.Outcome = payment.OutcomeApproved
	r.rec.Rail = &payment.Rail{Final: r.cmd.Kind == payment.KindCapture && paid.Rail.Closing}
	r.move(r.rec, payment.EventOrdered)
	r.order(r.d.PaymentID, r.rec, id, paid)
	r.tellRelated(paid)
	r.w.Payments = append(r.w.Payments, PaymentWrite{id.Identity(), paid})
}

// capture takes part or all of what is authorised. What is ordered and not answered counts as taken, so that of two that
// come together the second finds the first.
func (r *reducer) capture() {
	r.rec.AmountMinor = r.cmd.Capture.AmountMinor
	paid := r.cardPayment(payment.EventCapture)
	if paid == nil {
		return
	}
	rail := paid.Rail
	if rail.OperationOpen || rail.Closing {
		r.decline(payment.ReasonOperationInProgress)
		return
	}
	most, ok := mostCaptured(rail)
	if !ok {
		r.decline(payment.ReasonAmountOverflow)
		return
	}
	taken := rail.CapturedMinor + rail.CapturingMinor // both are below most
	if r.rec.AmountMinor == 0 {
		r.rec.AmountMinor = max(rail.AuthorizedMinor-taken, 0)
	}
	if r.rec.AmountMinor == 0 || r.rec.AmountMinor > most-taken {
		r.decline(payment.ReasonCaptureExceedsAuthorization)
		return
	}
	if _, _, ok := net(paid, taken+r.rec.AmountMinor); !ok {
		r.decline(payment.ReasonAmountOverflow)
		return
	}
	rail.CapturingMinor += r.rec.AmountMinor
	rail.Closing = r.cmd.Capture.Final
	r.start(paid)
}

// mostCaptured is how far all captures together may go: what is authorised, and so many basis points of it.
func mostCaptured(rail *payment.Rail) (int64, bool) {
	bp := int64(rail.Terms.OverCaptureBP)
	whole, part := rail.AuthorizedMinor/basisPoints, rail.AuthorizedMinor%basisPoints
	over, ok := money.MulDivHalfEven(whole, bp, 1)
	if !ok {
		return 0, false
	}
	if over, ok = money.Add(over, part*bp/basisPoints); !ok {
		return 0, false
	}
	return money.Add(rail.AuthorizedMinor, over)
}

// void gives up what is authorised and not captured.
func (r *reducer) void() {
	paid := r.cardPaymentAtRest(payment.EventVoid)
	if paid == nil {
		return
	}
	rail := paid.Rail
	r.rec.AmountMinor = rail.AuthorizedMinor - rail.CapturedMinor // above zero: else the payment had ended
	rail.OperationOpen = true
	r.start(paid)
}

// increment asks for more to be authorised.
func (r *reducer) increment() {
	r.rec.AmountMinor = r.cmd.Increment.AmountMinor
	paid := r.cardPaymentAtRest(payment.EventIncrement)
	if paid == nil {
		return
	}
	if !incrementFits(paid, r.rec.AmountMinor) {
		r.decline(payment.ReasonAmountOverflow)
		return
	}
	paid.Rail.OperationOpen = true
	r.start(paid)
}

// incrementFits tells whether what would be authorised, with its fee and conversion, is a number.
func incrementFits(paid *payment.Record, addedMinor int64) bool {
	total, ok := money.Add(paid.Rail.AuthorizedMinor, addedMinor)
	if !ok {
		return false
	}
	_, _, ok = net(paid, total)
	return ok
}

// refundByRail holds what a refund will take until the rail has given it back.
func (r *reducer) refundByRail(paid *payment.Record) {
	rec, rail := r.rec, paid.Rail
	left := max(rail.CapturedMinor-paid.RefundedMinor-rail.RefundingMinor-rail.DisputedMinor, 0) // what was won may be taken again, behind another dispute
	if rec.AmountMinor == 0 {
		rec.AmountMinor = left
	}
	if rec.AmountMinor <= 0 || rec.AmountMinor > left {
		r.decline(payment.ReasonRefundExceedsPayment)
		return
	}
	if reason := r.refundTarget(paid); reason != payment.ReasonNone {
		r.decline(reason)
		return
	}
	if !ledger.Covers(r.cell.balance(rec.TargetCurrency), r.cell.overdraft(rec.TargetCurrency), rec.TargetAmountMinor, 0) {
		r.decline(payment.ReasonInsufficientFunds)
		return
	}
	if rec.TargetAmountMinor != 0 && !r.book(refundHold(r.key, rec)) {
		r.decline(payment.ReasonAmountOverflow)
		return
	}
	rail.RefundingMinor += rec.AmountMinor
	paid.RefundedTargetMinor += rec.TargetAmountMinor
	r.start(paid)
}

// refundTarget pins what the refund takes from the account.
func (r *reducer) refundTarget(paid *payment.Record) payment.Reason {
	rec := r.rec
	if paid.FX != nil && paid.Rail.Terms.CurrentRate {
		return r.refundAtCurrentRate()
	}
	debit, ok := refundDebit(paid, paid.RefundedMinor+paid.Rail.RefundingMinor, rec.AmountMinor)
	if !ok {
		return payment.ReasonAmountOverflow
	}
	rec.FX, rec.TargetAmountMinor = paid.FX, debit
	return payment.ReasonNone
}

// refundHold reserves what a refund takes.
func refundHold(account string, rec *payment.Record) ledger.Journal {
	l := newLines(ledger.LayerPending, 2)
	l.add(account, rec.TargetCurrency, -rec.TargetAmountMinor)
	l.add(ledger.SysSuspense, rec.TargetCurrency, rec.TargetAmountMinor)
	return ledger.Journal{Kind: ledger.JournalHold, Postings: l.postings}
}

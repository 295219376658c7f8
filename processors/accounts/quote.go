package accounts

import (
	"github.com/caudalpay/caudal/processors/intake"
	"github.com/caudalpay/caudal/processors/payment"
)

// quote pins a rate that one payment may use until it expires.
func (r *reducer) quote() {
	if r.s.Policy == nil {
		r.fail("pinned policy %q is not there", r.cmd.Pins.Policy)
		return
	}
	q := intake.Quote(r.d.AcceptedAtUS, r.cmd.FXQuote, intake.References{Policy: r.s.Policy, Rates: r.s.Rates})
	if q.Reason != payment.ReasonNone {
		r.decline(q.Reason)
		return
	}
	r.rec.TargetAmountMinor, r.rec.FX, r.rec.DeadlineUS = q.TargetAmountMinor, q.FX, q.DeadlineUS
	r.move(r.rec, payment.EventQuoted)
	r.d.Outcome = payment.OutcomeApproved
}

// useQuote gives the quote that a granted payment was converted by to it, for good.
func (r *reducer) useQuote(id payment.ID) {
	if id == "" {
		return
	}
	used := *r.s.Quote
	used.QuotedPayment, r.rec.Quote = r.d.PaymentID, id
	r.move(&used, payment.EventUsed)
	r.w.Payments = append(r.w.Payments, PaymentWrite{id.Identity(), &used})
}

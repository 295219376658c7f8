package accounts

import (
	"github.com/caudalpay/caudal/processors/intake"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
)

// clearing moves the money that the card network collects, or gives back. It is a fact: what fits no authorization is booked
// all the same, and says so.
func (r *reducer) clearing() {
	c := r.cmd.Clearing
	r.move(r.rec, payment.EventSettled)
	auth := r.cleared()
	switch {
	case c.Credit:
		r.collect(ledger.JournalRefund, c.Currency, -c.AmountMinor)
		if auth != nil {
			auth.RefundedMinor = money.AddUpTo(auth.RefundedMinor, c.AmountMinor)
		}
	case auth == nil:
		r.d.Reasons = []payment.Reason{payment.ReasonPaymentUnknown}
		r.collect(ledger.JournalPost, c.Currency, c.AmountMinor)
	case endedEmpty(auth):
		r.d.Reasons = []payment.Reason{payment.ReasonRailLate}
		r.suspend(intake.MethodIssuing, c.Currency, -c.AmountMinor)
	default:
		r.clear(auth)
	}
	if auth != nil {
		r.tellRelated(auth)
		r.w.Payments = append(r.w.Payments, PaymentWrite{r.cmd.PaymentID.Identity(), auth})
	}
}

// cleared is the authorization that is collected, for it to change; nil where none is named or there, or it is of another
// currency. One that was taken back before it came has none yet.
func (r *reducer) cleared() *payment.Record {
	auth := r.s.Related
	if auth == nil || auth.Currency != "" && auth.Currency != r.cmd.Clearing.Currency {
		return nil
	}
	return clone(auth)
}

// endedEmpty tells an authorization of which nothing was left to collect.
func endedEmpty(auth *payment.Record) bool {
	return payment.Next(payment.FamilyAuthorization, auth.Status, payment.EventCaptured).Effect == payment.Late ||
		auth.Status == payment.StatusSucceeded && auth.Rail.AuthorizedMinor == 0
}

// clear turns the hold into a posting. The amount may be another than was authorised.
func (r *reducer) clear(auth *payment.Record) {
	c, rail := r.cmd.Clearing, auth.Rail
	rail.CapturedMinor = money.AddUpTo(rail.CapturedMinor, c.AmountMinor)
	e, release := payment.EventCaptured, min(rail.HoldMinor, c.AmountMinor)
	if c.Final || rail.CapturedMinor >= rail.AuthorizedMinor {
		e, release = payment.EventCapturedAll, rail.HoldMinor
		r.forgetDeadline(auth)
	}
	r.releaseHold(auth, release)
	r.collect(ledger.JournalPost, c.Currency, c.AmountMinor)
	r.move(auth, e)
}

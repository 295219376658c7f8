package accounts

import "github.com/caudalpay/caudal/processors/payment"

// expire acts on a deadline, if it still stands. An entry that was overtaken does nothing.
func (r *reducer) expire() {
	id, e := r.cmd.PaymentID, r.cmd.Expire
	if id.Account() != payment.AccountID(r.key) {
		// The transfer lives under its payer: what is remembered here is its counter-leg.
		if leg := r.s.Leg; e.Purpose == payment.ExpireRetention && leg != nil && (leg.ExpiresAtUS == e.DueAtUS || leg.ExpiresAtUS == 0) {
			r.w.Leg = &LegWrite{Identity: id.Identity()}
		}
		return
	}
	if r.s.Related == nil {
		return
	}
	rec := clone(r.s.Related)
	r.d.tell(id, rec)
	switch {
	case e.Purpose == payment.ExpireReview && rec.Status == payment.StatusInReview && rec.DeadlineUS <= e.DueAtUS:
		r.d.Reasons = []payment.Reason{payment.ReasonReviewExpired}
		r.release(rec)
		r.unreserve(rec)
		r.move(rec, payment.EventReviewExpired)
		r.store(id, rec)
	case e.Purpose == payment.ExpireAuthorization:
		// An entry of another deadline was overtaken.
		step := payment.Next(payment.FamilyOf(rec.Kind), rec.Status, payment.EventAuthorizationExpired)
		if step.Effect == payment.Move && rec.Rail.ExpiresAtUS == e.DueAtUS {
			r.expireAuthorization(id, rec)
		}
	case e.Purpose == payment.ExpireRetention && rec.ExpiresAtUS == e.DueAtUS && rec.AtRest():
		r.w.Payments = append(r.w.Payments, PaymentWrite{Identity: id.Identity()})
	case e.Purpose == payment.ExpireRetention && rec.ExpiresAtUS == e.DueAtUS:
		rec.ExpiresAtUS += retentionAgainUS
		r.w.DueAdd = append(r.w.DueAdd, Due{rec.ExpiresAtUS, payment.AccountID(r.key), id, payment.ExpireRetention})
		r.store(id, rec)
	}
}

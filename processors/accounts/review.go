package accounts

import (
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/limits"
	"github.com/caudalpay/caudal/processors/payment"
)

// verdict decides a payment in review.
func (r *reducer) verdict() {
	if r.s.Related == nil {
		r.decline(payment.ReasonPaymentUnknown)
		return
	}
	rec := *clone(r.s.Related)
	id := r.cmd.PaymentID
	r.d.tell(id, &rec)
	if rec.Status != payment.StatusInReview {
		r.decline(payment.ReasonPaymentState)
		return
	}
	if r.cmd.Kind == payment.KindDecline {
		r.d.Outcome, r.d.Reasons = payment.OutcomeApproved, []payment.Reason{payment.ReasonReviewDeclined}
		r.release(&rec)
		r.unreserve(&rec)
		r.move(&rec, payment.EventDeclined)
		r.judged(id, &rec)
		return
	}
	if rec.Rail != nil {
		// The money stays held until the rail has answered.
		r.d.Outcome = payment.OutcomeApproved
		r.askRail(id, &rec)
		r.judged(id, &rec)
		return
	}
	balances := r.cell.Balances
	r.release(&rec)
	if !r.book(post(r.key, &rec)) {
		// The account has grown too far meanwhile: the payment stays in review.
		r.cell.Balances, r.d.Journals = balances, nil
		r.decline(payment.ReasonAmountOverflow)
		return
	}
	r.d.Outcome = payment.OutcomeApproved
	r.settle(id, &rec)
	r.judged(id, &rec)
}

// judged stores a payment that left review before its deadline.
func (r *reducer) judged(id payment.ID, rec *payment.Record) {
	r.w.DueRemove = append(r.w.DueRemove, Due{rec.DeadlineUS, payment.AccountID(r.key), id, payment.ExpireReview})
	r.store(id, rec)
}

// store writes a changed record and tells it.
func (r *reducer) store(id payment.ID, rec *payment.Record) {
	r.d.tell(id, rec)
	r.w.Payments = append(r.w.Payments, PaymentWrite{id.Identity(), rec})
}

// release undoes the hold.
func (r *reducer) release(rec *payment.Record) {
	if !r.book(hold(r.key, rec).Reverse(ledger.JournalRelease)) {
		r.fail("hold cannot be released")
	}
	if rec.Rail != nil {
		rec.Rail.HoldMinor = 0
	}
}

// unreserve gives the limit back, where its window is still open.
func (r *reducer) unreserve(rec *payment.Record) {
	if rec.LimitAmountMinor != 0 {
		r.cell.Limits = limits.Release(r.cell.Limits, rec.LimitDay, rec.LimitMonth, rec.LimitAmountMinor)
	}
}

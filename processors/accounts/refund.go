package accounts

import (
	"github.com/caudalpay/caudal/processors/fx"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
)

// refund gives money of a pay-in back. What a rail has brought goes back by it; else it is done at once, at the original rate,
// and the fee of the original is kept.
func (r *reducer) refund() {
	r.rec.AmountMinor = r.cmd.Refund.AmountMinor
	if r.s.Related == nil {
		r.decline(payment.ReasonPaymentUnknown)
		return
	}
	paid := clone(r.s.Related)
	rec, id := r.rec, r.cmd.PaymentID
	rec.Currency, rec.TargetCurrency, rec.Method, rec.FX = paid.Currency, paid.TargetCurrency, paid.Method, paid.FX
	r.tellRelated(paid)
	if paid.Kind != payment.KindPayIn || payment.Next(payment.FamilyPayIn, paid.Status, payment.EventRefund).Effect != payment.Stay {
		r.decline(payment.ReasonPaymentState)
		return
	}
	if paid.Rail != nil {
		r.refundByRail(paid)
		return
	}
	left := paid.AmountMinor - paid.RefundedMinor
	if rec.AmountMinor == 0 {
		rec.AmountMinor = left
	}
	if rec.AmountMinor > left {
		r.decline(payment.ReasonRefundExceedsPayment)
		return
	}
	debit, ok := refundDebit(paid, paid.RefundedMinor, rec.AmountMinor)
	if !ok {
		r.decline(payment.ReasonAmountOverflow)
		return
	}
	rec.TargetAmountMinor = debit
	if !ledger.Covers(r.cell.balance(paid.TargetCurrency), r.cell.overdraft(paid.TargetCurrency), debit, 0) {
		r.decline(payment.ReasonInsufficientFunds)
		return
	}
	if !r.book(refundJournal(r.key, rec)) {
		r.decline(payment.ReasonAmountOverflow)
		return
	}
	paid.RefundedMinor += rec.AmountMinor
	paid.RefundedTargetMinor += debit
	e := payment.EventRefunded
	if paid.RefundedMinor == paid.AmountMinor {
		e = payment.EventRefundedAll
	}
	r.move(paid, e)
	r.move(rec, payment.EventSettled)
	r.d.Outcome = payment.OutcomeApproved
	r.tellRelated(paid)
	r.w.Payments = append(r.w.Payments, PaymentWrite{id.Identity(), paid})
}

// tellRelated tells the payment that an operation is about.
func (r *reducer) tellRelated(paid *payment.Record) {
	r.d.RelatedStatus, r.d.RefundedMinor = paid.Status, paid.RefundedMinor
	if paid.Rail != nil {
		r.d.CapturedMinor, r.d.AuthorizedMinor = paid.Rail.CapturedMinor, paid.Rail.AuthorizedMinor
	}
}

// refundDebit is what a refund takes from the account: the conversion of all that is refunded after it, less what was
// taken before, so that parts add up to the whole.
func refundDebit(paid *payment.Record, beforeMinor, amountMinor int64) (int64, bool) {
	if paid.FX == nil {
		return amountMinor, true
	}
	total, ok := rateOf(paid.FX).Convert(beforeMinor+amountMinor, paid.Currency, paid.TargetCurrency)
	if !ok {
		return 0, false
	}
	debit, ok := money.Sub(total, paid.RefundedTargetMinor)
	return max(debit, 0), ok // a refund that failed in between may have left more than its share
}

// refundAtCurrentRate pins the market's rate of the refund's own day: a spread would pay the customer for giving back.
func (r *reducer) refundAtCurrentRate() payment.Reason {
	rec := r.rec
	c, reason := r.s.Rates.ConvertAtMid(r.d.AcceptedAtUS, rec.AmountMinor, fx.Pair{Source: rec.Currency, Target: rec.TargetCurrency})
	if reason != payment.ReasonNone {
		return reason
	}
	if c.TargetMinor == 0 {
		return payment.ReasonAmountTooSmall
	}
	rate, ok := c.Mid.WithSpread(0) // as every rate is told
	if !ok {
		return payment.ReasonAmountOverflow
	}
	rec.TargetAmountMinor = c.TargetMinor
	rec.FX = &payment.FX{RateUnscaled: rate.Unscaled, RateScale: rate.Scale, MidUnscaled: c.Mid.Unscaled, MidScale: c.Mid.Scale}
	return payment.ReasonNone
}

func refundJournal(account string, rec *payment.Record) ledger.Journal {
	l := newLines(ledger.LayerPosted, 4)
	l.add(account, rec.TargetCurrency, -rec.TargetAmountMinor)
	if rec.FX != nil {
		l.add(ledger.SysFX, rec.TargetCurrency, rec.TargetAmountMinor)
		l.add(ledger.SysFX, rec.Currency, -rec.AmountMinor)
	}
	l.add(ledger.SysClearing(rec.Method), rec.Currency, rec.AmountMinor)
	return ledger.Journal{Kind: ledger.JournalRefund, Postings: l.postings}
}

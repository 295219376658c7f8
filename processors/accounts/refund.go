package accounts

import (
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
)

// refund gives money of a pay-in back, at the original rate. The fee of the original is kept.
func (r *reducer) refund() {
	r.rec.AmountMinor = r.cmd.Refund.AmountMinor
	if r.s.Related == nil {
		r.decline(payment.ReasonPaymentUnknown)
		return
	}
	paid := *r.s.Related
	rec, id := r.rec, r.cmd.PaymentID
	rec.Currency, rec.TargetCurrency, rec.Method, rec.FX = paid.Currency, paid.TargetCurrency, paid.Method, paid.FX
	r.d.RelatedStatus, r.d.RefundedMinor = paid.Status, paid.RefundedMinor
	if paid.Kind != payment.KindPayIn || (paid.Status != payment.StatusSucceeded && paid.Status != payment.StatusPartiallyRefunded) {
		r.decline(payment.ReasonPaymentState)
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
	debit, ok := refundDebit(&paid, rec.AmountMinor)
	if !ok {
		r.decline(payment.ReasonAmountOverflow)
		return
	}
	rec.TargetAmountMinor = debit
	if !ledger.Covers(r.cell.balance(paid.TargetCurrency), r.cell.overdraft(paid.TargetCurrency), debit, 0) {
		r.decline(payment.ReasonInsufficientFunds)
		return
	}
	if !r.book(refundJournal(r.key, &paid, rec)) {
		r.decline(payment.ReasonAmountOverflow)
		return
	}
	paid.RefundedMinor += rec.AmountMinor
	paid.RefundedTargetMinor += debit
	to := payment.StatusPartiallyRefunded
	if paid.RefundedMinor == paid.AmountMinor {
		to = payment.StatusRefunded
	}
	r.move(&paid, to)
	r.move(rec, payment.StatusSucceeded)
	r.d.Outcome = payment.OutcomeApproved
	r.d.RelatedStatus, r.d.RefundedMinor = paid.Status, paid.RefundedMinor
	r.w.Payments = append(r.w.Payments, PaymentWrite{id.Identity(), &paid})
}

// refundDebit is what a refund takes from the account: the conversion of all that is refunded after it, less what was
// taken before, so that parts add up to the whole.
func refundDebit(paid *payment.Record, amountMinor int64) (int64, bool) {
	if paid.FX == nil {
		return amountMinor, true
	}
	rate := money.Rate{Unscaled: paid.FX.RateUnscaled, Scale: paid.FX.RateScale}
	total, ok := rate.Convert(paid.RefundedMinor+amountMinor, paid.Currency, paid.TargetCurrency)
	if !ok {
		return 0, false
	}
	return money.Sub(total, paid.RefundedTargetMinor)
}

func refundJournal(account string, paid, rec *payment.Record) ledger.Journal {
	l := newLines(ledger.LayerPosted, 4)
	l.add(account, rec.TargetCurrency, -rec.TargetAmountMinor)
	if paid.FX != nil {
		l.add(ledger.SysFX, rec.TargetCurrency, rec.TargetAmountMinor)
		l.add(ledger.SysFX, rec.Currency, -rec.AmountMinor)
	}
	l.add(ledger.SysClearing(rec.Method), rec.Currency, rec.AmountMinor)
	return ledger.Journal{Kind: ledger.JournalRefund, Postings: l.postings}
}

package logtest

import (
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const (
	created  = paymentsv1.PaymentStatus_PAYMENT_STATUS_CREATED
	pending  = paymentsv1.PaymentStatus_PAYMENT_STATUS_PENDING
	sent     = paymentsv1.PaymentStatus_PAYMENT_STATUS_SENT
	paid     = paymentsv1.PaymentStatus_PAYMENT_STATUS_PAID
	returned = paymentsv1.PaymentStatus_PAYMENT_STATUS_RETURNED
)

// bankPayOut orders a payout by bank: held until the rail says that it has left.
func (g *Generator) bankPayOut(a *account) []*paymentsv1.Decision {
	amount := g.amount()
	if b := a.balance(currency); b.GetPostedMinor()-b.GetHeldMinor() < amount+50 {
		d := g.create(a, payment.KindPayOut, declined, amount)
		d.Method = "bank"
		return g.fail(d, paymentsv1.Reason_REASON_INSUFFICIENT_FUNDS)
	}
	d := g.create(a, payment.KindPayOut, approved, amount)
	d.Method, d.FeeMinor, d.Status = "bank", 50, created
	d.GivenOrderId = d.GetPaymentId() + ".send"
	if g.rng.IntN(5) == 0 {
		g.convert(d, a)
	}
	a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_HOLD, holdOf(d)...)
	a.rails = append(a.rails, &rail{made: d, status: created})
	return []*paymentsv1.Decision{d}
}

func holdOf(d *paymentsv1.Decision) []*paymentsv1.Posting {
	line := func(account string, minor int64) *paymentsv1.Posting {
		return &paymentsv1.Posting{Account: account, Currency: currency, AmountMinor: minor, Layer: paymentsv1.Layer_LAYER_PENDING}
	}
	return []*paymentsv1.Posting{
		line(d.GetAccount(), -d.GetAmountMinor()), line(d.GetAccount(), -d.GetFeeMinor()), line("sys_suspense", d.GetAmountMinor()+d.GetFeeMinor()),
	}
}

func reversed(list []*paymentsv1.Posting) []*paymentsv1.Posting {
	back := make([]*paymentsv1.Posting, len(list))
	for i, p := range list {
		back[i] = proto.CloneOf(p)
		back[i].AmountMinor = -p.GetAmountMinor()
	}
	return back
}

// payOutAnswer takes a payout on: taken in, sent, paid, refused, or come back.
func (g *Generator) payOutAnswer(a *account, r *rail) []*paymentsv1.Decision {
	d := g.answer(a, r, r.made, "send")
	left := r.status == sent || r.status == paid
	ended := r.status == failed || r.status == returned
	switch n := g.rng.IntN(10); {
	case ended && r.status == failed && !r.suspended:
		r.suspended, d.Reasons = true, []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_LATE}
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_LATE,
			post("sys_clearing_bank", d.GetTargetCurrency(), d.GetTargetAmountMinor()), post("sys_suspense", d.GetTargetCurrency(), -d.GetTargetAmountMinor()))
	case ended: // again, and nothing changes
	case n < 3 && r.status == created:
		r.status = pending
	case n < 7 && !left:
		r.status = sent
		if n < 5 {
			r.status = paid
		}
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, reversed(holdOf(r.made))...)
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_POST, lines(r.made, r.made.GetKind())...)
	case n < 7 && r.status == sent:
		r.status = paid
	case n < 8 && !left:
		r.status, d.Reasons = failed, []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_REFUSED}
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, reversed(holdOf(r.made))...)
	case n < 8:
		r.status = returned
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_RETURN, reversed(lines(r.made, r.made.GetKind()))...)
	default: // the outcome is unknown, or known already
	}
	d.Status = r.status
	return []*paymentsv1.Decision{d}
}

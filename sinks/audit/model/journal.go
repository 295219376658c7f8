package model

import (
	"math/big"
	"slices"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

func bigSum(values ...int64) *big.Int {
	total := new(big.Int)
	for _, v := range values {
		total.Add(total, big.NewInt(v))
	}
	return total
}

func layerOf(kind paymentsv1.JournalKind) paymentsv1.Layer {
	if kind == paymentsv1.JournalKind_JOURNAL_KIND_HOLD || kind == paymentsv1.JournalKind_JOURNAL_KIND_RELEASE {
		return paymentsv1.Layer_LAYER_PENDING
	}
	return paymentsv1.Layer_LAYER_POSTED
}

// journal writes the lines into the decision and the account's balances.
func (c *call) journal(kind paymentsv1.JournalKind, lines []line) {
	j := &paymentsv1.Journal{Kind: kind}
	for _, l := range lines {
		j.Postings = append(j.Postings, &paymentsv1.Posting{Account: l.account, Currency: l.currency, AmountMinor: l.amount, Layer: layerOf(kind)})
		if l.account == c.acct.key {
			c.touched[l.currency] = true
			c.acct.book(kind, l)
		}
	}
	d := c.out.Decision
	d.Journals = append(d.Journals, j)
	d.Balances = slices.DeleteFunc(c.acct.allBalances(), func(b *paymentsv1.Balance) bool { return !c.touched[b.GetCurrency()] })
}

// book applies one line to the account: a hold's debit is held, a hold's credit is incoming, a release takes either back.
func (a *account) book(kind paymentsv1.JournalKind, l line) {
	b := a.balances[l.currency]
	if b == nil {
		b = &balance{}
		a.balances[l.currency] = b
	}
	switch {
	case layerOf(kind) == paymentsv1.Layer_LAYER_POSTED:
		b.posted += l.amount
	case kind == paymentsv1.JournalKind_JOURNAL_KIND_HOLD && l.amount < 0, kind == paymentsv1.JournalKind_JOURNAL_KIND_RELEASE && l.amount > 0:
		b.held -= l.amount
	default:
		b.incoming += l.amount
	}
}

// fits tells whether every line, one after the other, leaves the account's sums within int64.
func (c *call) fits(layer paymentsv1.Layer, lines []line) bool {
	sums := map[string]int64{}
	for _, l := range lines {
		if l.account != c.acct.key {
			continue
		}
		key := l.currency
		if _, begun := sums[key]; !begun {
			sums[key] = c.acct.start(layer, l)
		}
		next, ok := sum(sums[key], l.amount)
		if !ok {
			return false
		}
		sums[key] = next
	}
	return true
}

// start is the sum that a line of a hold or a post adds to; held counts downwards.
func (a *account) start(layer paymentsv1.Layer, l line) int64 {
	b := a.balances[l.currency]
	switch {
	case b == nil:
		return 0
	case layer == paymentsv1.Layer_LAYER_POSTED:
		return b.posted
	case l.amount < 0:
		return -b.held
	default:
		return b.incoming
	}
}

func reversed(lines []line) []line {
	back := make([]line, len(lines))
	for i, l := range lines {
		back[i] = line{l.account, l.currency, -l.amount}
	}
	return back
}

// release undoes the hold of a payment in review and gives its limit back.
func (c *call) release(p *pay) {
	c.journal(paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, reversed(p.hold))
	c.acct.unreserve(p)
}

// verdict decides a payment in review.
func (c *call) verdict() {
	d := c.out.Decision
	p := c.named(c.cmd.GetPaymentId())
	switch {
	case p == nil:
		c.decline(paymentsv1.Reason_REASON_PAYMENT_UNKNOWN)
		return
	case p.status != paymentsv1.PaymentStatus_PAYMENT_STATUS_IN_REVIEW:
		c.decline(paymentsv1.Reason_REASON_PAYMENT_STATE)
	case c.cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_DECLINE:
		d.Outcome, d.Reasons = paymentsv1.Outcome_OUTCOME_APPROVED, []paymentsv1.Reason{paymentsv1.Reason_REASON_REVIEW_DECLINED}
		c.due.remove(p.reviewEntry(c.acct.key))
		c.release(p)
		p.status = paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED
	case p.rail == nil && !c.fits(paymentsv1.Layer_LAYER_POSTED, p.post):
		c.decline(reasonOverflow)
	default:
		d.Outcome = paymentsv1.Outcome_OUTCOME_APPROVED
		c.due.remove(p.reviewEntry(c.acct.key))
		c.approve(p)
	}
	d.Status = p.status
	c.amounts(p)
}

func (c *call) approve(p *pay) {
	p.grant()
	p.deadline = 0
	if p.rail != nil {
		c.execute(p) // what is held stays so until the rail has done it
		return
	}
	c.journal(paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, reversed(p.hold))
	c.journal(paymentsv1.JournalKind_JOURNAL_KIND_POST, p.post)
	c.askPayee(p)
}

// refund gives money of a pay-in back.
func (c *call) refund() {
	r := c.draft()
	of := c.named(c.cmd.GetPaymentId())
	if of.byCard() {
		c.refundByRail(r, of)
		return
	}
	reason := c.refundable(r, of)
	if reason == 0 {
		reason = c.refundLines(r, of)
	}
	if reason != 0 {
		c.decline(reason)
	} else {
		d := c.out.Decision
		d.Outcome = paymentsv1.Outcome_OUTCOME_APPROVED
		c.journal(paymentsv1.JournalKind_JOURNAL_KIND_REFUND, r.post)
		of.refunded += r.amount
		of.status = paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_REFUNDED
		if of.refunded == of.amount {
			of.status = paymentsv1.PaymentStatus_PAYMENT_STATUS_REFUNDED
		}
	}
	c.tellRelated(of)
	c.record(r)
}

// refundable takes amount and method over from the payment.
func (c *call) refundable(r, of *pay) paymentsv1.Reason {
	r.amount = c.cmd.GetRefund().GetAmountMinor()
	if of == nil || of.merchant != c.cmd.GetMerchant() {
		return paymentsv1.Reason_REASON_PAYMENT_UNKNOWN
	}
	r.currency, r.targetCurrency, r.method, r.fx = of.currency, of.targetCurrency, of.method, of.fx
	settled := of.status == paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED || of.status == paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_REFUNDED
	if of.kind != kindPayIn || !settled {
		return paymentsv1.Reason_REASON_PAYMENT_STATE
	}
	left := of.amount - of.refunded
	if r.amount == 0 {
		r.amount = left
	}
	if r.amount > left {
		return paymentsv1.Reason_REASON_REFUND_EXCEEDS_PAYMENT
	}
	return 0
}

// refundLines prices a refund at the original rate.
func (c *call) refundLines(r, of *pay) paymentsv1.Reason {
	me, far := c.acct.key, "sys_clearing_"+of.method
	if of.rate == nil {
		r.target = r.amount
		r.post = []line{{me, r.currency, -r.amount}, {far, r.currency, r.amount}}
	} else {
		before, ok := of.rate.convert(of.refunded, of.currency, of.targetCurrency)
		after, ok2 := of.rate.convert(of.refunded+r.amount, of.currency, of.targetCurrency)
		if !ok || !ok2 {
			return reasonOverflow
		}
		r.target = after - before
		r.post = []line{
			{me, of.targetCurrency, -r.target},
			{"sys_fx", of.targetCurrency, r.target},
			{"sys_fx", of.currency, -r.amount},
			{far, of.currency, r.amount},
		}
	}
	r.post = withoutZero(r.post)
	if !c.funded(of.targetCurrency, r.target, 0) {
		return paymentsv1.Reason_REASON_INSUFFICIENT_FUNDS
	}
	if !c.fits(paymentsv1.Layer_LAYER_POSTED, r.post) {
		return reasonOverflow
	}
	return 0
}

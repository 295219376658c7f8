package model

import (
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const kindQuote = paymentsv1.CommandKind_COMMAND_KIND_FX_QUOTE

func (p *pay) asQuote(body *paymentsv1.FxQuote) {
	p.amount, p.currency, p.targetCurrency = body.GetAmountMinor(), body.GetCurrency(), body.GetTargetCurrency()
	if p.targetCurrency == "" {
		p.targetCurrency = p.currency
	}
}

// quote decides FX_QUOTE: a rate that one payment may use, until its deadline.
func (c *call) quote() {
	q := c.draft()
	if reason := c.priceQuote(q); reason != 0 {
		c.decline(reason)
	} else {
		c.out.Decision.Outcome = paymentsv1.Outcome_OUTCOME_APPROVED
		q.deadline = min(c.docs.sheet.GetValidUntilUs(), c.acct.last+c.docs.policy.GetQuoteTtlS()*1_000_000)
	}
	c.record(q)
}

func (c *call) priceQuote(q *pay) paymentsv1.Reason {
	switch {
	case c.docs.policy.GetQuoteTtlS() <= 0:
		return paymentsv1.Reason_REASON_METHOD_UNAVAILABLE
	case q.currency == q.targetCurrency:
		return paymentsv1.Reason_REASON_RATE_MISSING
	}
	r, fx, reason := c.pinned(q)
	if reason != 0 {
		return reason
	}
	return q.exchange(q.amount, r, fx)
}

// quoted is the rate of the quote that a payment names, or what stands against it.
func (c *call) quoted(p *pay, name string) (*rate, *paymentsv1.Fx, paymentsv1.Reason) {
	q := c.named(name)
	switch {
	case q == nil || q.kind != kindQuote || q.status == statusFailed:
		return nil, nil, paymentsv1.Reason_REASON_QUOTE_UNKNOWN
	case c.acct.last > q.deadline:
		return nil, nil, paymentsv1.Reason_REASON_QUOTE_EXPIRED
	case q.usedBy != "":
		return nil, nil, paymentsv1.Reason_REASON_QUOTE_USED
	case q.currency != p.currency || q.targetCurrency != p.targetCurrency || q.amount != p.amount:
		return nil, nil, paymentsv1.Reason_REASON_QUOTE_MISMATCH
	default:
		return q.rate, q.fx, 0
	}
}

// useQuote spends the quote on a payment that was granted, or waits for a verdict.
func (c *call) useQuote(p *pay) {
	if q := c.named(c.cmd.GetInstruction().GetQuote()); q != nil {
		q.usedBy, q.status, p.quote = p.id, statusSucceeded, q.id
	}
}

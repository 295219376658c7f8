package model

import (
	"math/big"
	"slices"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
)

// operate decides CAPTURE, VOID and INCREMENT.
func (c *call) operate() {
	o, of := c.draft(), c.named(c.cmd.GetPaymentId())
	o.amount = c.cmd.GetCapture().GetAmountMinor() + c.cmd.GetIncrement().GetAmountMinor() // one of them
	reason := c.about(o, of)
	if reason == 0 {
		switch o.kind {
		case kindCapture:
			reason = c.capture(o, of)
		case kindVoid:
			reason = c.void(o, of)
		default:
			reason = c.increment(o, of)
		}
	}
	c.operated(o, of, reason)
}

// operated writes the operation's record, and asks the rail where nothing stands against it.
func (c *call) operated(o, of *pay, reason paymentsv1.Reason) {
	if reason != 0 {
		c.decline(reason)
		o.rail = nil
	} else {
		c.out.Decision.Outcome = paymentsv1.Outcome_OUTCOME_APPROVED
		o.rail = &railed{}
	}
	c.record(o)
	if reason == 0 {
		of.rail.operations = append(of.rail.operations, o)
		c.order(o, of, o.steps()[0], &railsv1.Order{
			Kind: orderOf(o.kind), AmountMinor: o.amount, Currency: o.currency, Final: o.final,
			Connector: of.rail.connector, Reference: of.rail.reference,
		})
	}
	c.tellRelated(of)
}

func orderOf(kind paymentsv1.CommandKind) railsv1.OrderKind {
	switch kind {
	case kindCapture:
		return railsv1.OrderKind_ORDER_KIND_CAPTURE
	case kindVoid:
		return railsv1.OrderKind_ORDER_KIND_VOID
	case kindIncrement:
		return railsv1.OrderKind_ORDER_KIND_INCREMENT
	default:
		return railsv1.OrderKind_ORDER_KIND_RETURN
	}
}

// about takes over what an operation shares with its payment, and says whether the payment's status allows it at all.
func (c *call) about(o, of *pay) paymentsv1.Reason {
	if of == nil || of.merchant != c.cmd.GetMerchant() {
		return paymentsv1.Reason_REASON_PAYMENT_UNKNOWN
	}
	o.currency, o.targetCurrency, o.method, o.fx = of.currency, of.targetCurrency, of.method, of.fx
	if !of.byCard() || !slices.Contains(allowedIn(o.kind), of.status) {
		return paymentsv1.Reason_REASON_PAYMENT_STATE
	}
	return 0
}

// allowedIn are the statuses of a card pay-in in which an operation may be asked for.
func allowedIn(kind paymentsv1.CommandKind) statuses {
	switch kind {
	case kindCapture, kindVoid:
		return statuses{statusRequiresCapture, statusPartlyCaptured}
	case kindIncrement:
		return statuses{statusRequiresCapture}
	default:
		return statuses{statusSucceeded, statusPartiallyRefunded}
	}
}

// capture: everything ordered together stays within what is authorised and what the policy allows on top.
func (c *call) capture(o, of *pay) paymentsv1.Reason {
	r := of.rail
	closing := slices.ContainsFunc(of.waiting(kindCapture), func(p *pay) bool { return p.final })
	if closing || r.closed || len(of.waiting(kindVoid, kindIncrement)) > 0 {
		return paymentsv1.Reason_REASON_OPERATION_IN_PROGRESS
	}
	ordered := bigSum(r.captured, of.inFlight(kindCapture))
	left := new(big.Int).Sub(big.NewInt(r.authorized), ordered)
	if o.amount == 0 && left.Sign() > 0 {
		o.amount = left.Int64()
	}
	limit := new(big.Int).Mul(big.NewInt(r.authorized), big.NewInt(int64(r.card.GetOverCaptureBp())))
	limit.Quo(limit, big.NewInt(10_000)).Add(limit, big.NewInt(r.authorized))
	total := ordered.Add(ordered, big.NewInt(o.amount))
	if o.amount <= 0 || total.Cmp(limit) > 0 {
		return paymentsv1.Reason_REASON_CAPTURE_EXCEEDS_AUTHORIZATION
	}
	if !limit.IsInt64() {
		return reasonOverflow
	}
	if _, ok := of.netAt(total.Int64()); !ok {
		return reasonOverflow
	}
	o.final = c.cmd.GetCapture().GetFinal()
	return 0
}

// void gives up what was never captured.
func (c *call) void(o, of *pay) paymentsv1.Reason {
	if of.busy() {
		return paymentsv1.Reason_REASON_OPERATION_IN_PROGRESS
	}
	o.amount = of.rail.authorized - of.rail.captured // above 0, or it had ended
	return 0
}

// increment asks for more than was authorised.
func (c *call) increment(o, of *pay) paymentsv1.Reason {
	if of.busy() {
		return paymentsv1.Reason_REASON_OPERATION_IN_PROGRESS
	}
	if o.amount <= 0 {
		return reasonTooSmall
	}
	if _, ok := c.widened(of, o.amount); !ok {
		return reasonOverflow
	}
	return 0
}

// widened is what a larger authorisation adds to the hold.
func (c *call) widened(of *pay, minor int64) (int64, bool) {
	authorized, ok := sum(of.rail.authorized, minor)
	if !ok {
		return 0, false
	}
	before, ok := of.netAt(of.rail.authorized)
	after, ok2 := of.netAt(authorized)
	return after - before, ok && ok2
}

// refundByRail holds what the rail is asked to give back.
func (c *call) refundByRail(o, of *pay) {
	o.amount = c.cmd.GetRefund().GetAmountMinor()
	reason := c.about(o, of)
	if reason == 0 {
		reason = c.refundDebit(o, of)
	}
	if reason == 0 {
		c.move(journalHold, o.hold...)
	}
	c.operated(o, of, reason)
}

// refundDebit prices a refund, and says why it cannot be.
func (c *call) refundDebit(o, of *pay) paymentsv1.Reason {
	refunding := of.inFlight(kindRefund)
	left := max(0, of.rail.captured-of.refunded-refunding-of.rail.disputed)
	if o.amount == 0 {
		o.amount = left
	}
	if o.amount > left || o.amount <= 0 {
		return paymentsv1.Reason_REASON_REFUND_EXCEEDS_PAYMENT
	}
	var reason paymentsv1.Reason
	switch {
	case of.rate == nil:
		o.target = o.amount
	case of.rail.card.GetRefundRate() == referencev1.RefundRate_REFUND_RATE_CURRENT:
		reason = c.atCurrentRate(o, of)
	default:
		total, ok := of.rate.convert(of.refunded+refunding+o.amount, of.currency, of.targetCurrency)
		if !ok {
			return reasonOverflow
		}
		o.target = max(0, total-of.debited()) // a refused refund may have taken the rounding of the next with it
	}
	if reason != 0 {
		return reason
	}
	o.hold = []line{{c.acct.key, of.targetCurrency, -o.target}, {suspense, of.targetCurrency, o.target}}
	switch {
	case !c.funded(of.targetCurrency, o.target, 0):
		return paymentsv1.Reason_REASON_INSUFFICIENT_FUNDS
	case !c.fits(paymentsv1.Layer_LAYER_PENDING, o.hold):
		return reasonOverflow
	}
	return 0
}

// atCurrentRate prices a refund by the sheet that it pins itself, without a spread.
func (c *call) atCurrentRate(o, of *pay) paymentsv1.Reason {
	quote := c.docs.quote(of.currency, of.targetCurrency)
	switch {
	case quote == nil:
		return paymentsv1.Reason_REASON_RATE_MISSING
	case c.acct.last > c.docs.sheet.GetValidUntilUs():
		return paymentsv1.Reason_REASON_RATE_STALE
	}
	r, fx, ok := exchanged(quote, 0)
	if !ok {
		return reasonOverflow
	}
	o.target, ok = r.convert(o.amount, of.currency, of.targetCurrency)
	switch {
	case !ok:
		return reasonOverflow
	case o.target == 0:
		return reasonTooSmall
	}
	o.fx = fx
	return 0
}

// debited is what refunds took of the account, or still hold.
func (p *pay) debited() int64 {
	var total int64
	for _, o := range p.rail.operations {
		if o.kind == kindRefund && o.status != statusFailed {
			total += o.target // at most the account's money each time
		}
	}
	return total
}

// expireAuthorization gives up what nobody captured in time.
func (c *call) expireAuthorization(p *pay) {
	if p.status != statusRequiresCapture && p.status != statusPartlyCaptured || c.cmd.GetExpire().GetDueAtUs() < p.deadline || p.deadline == 0 {
		return
	}
	if p.busy() {
		p.deadline += hourUS // an answer is on its way; until then nobody knows what there is to give up
		c.due.add(p.authorizationEntry(c.acct.key))
		return
	}
	c.out.Decision.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_AUTHORIZATION_EXPIRED}
	c.letGo(p, p.rail.stands)
	p.status = statusExpired
	if p.rail.captured > 0 {
		p.status = statusSucceeded
	}
	p.deadline = 0
	c.orderExpiry(p, p.rail.authorized-p.rail.captured, p.rail.connector, p.rail.reference)
}

// orderExpiry tells the rail that what it has authorised is not wanted any more.
func (c *call) orderExpiry(p *pay, minor int64, connector, reference string) {
	c.order(p, p, "expire", &railsv1.Order{
		Kind: railsv1.OrderKind_ORDER_KIND_VOID, AmountMinor: minor, Currency: p.currency, Connector: connector, Reference: reference,
	})
}

func (p *pay) authorizationEntry(account string) dueEntry {
	return dueEntry{at: p.deadline, account: account, payment: p.id, purpose: paymentsv1.ExpirePurpose_EXPIRE_PURPOSE_AUTHORIZATION}
}

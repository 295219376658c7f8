package model

import (
	"math/big"
	"slices"
	"strings"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
)

// event is what an answer says, in the words of the tables in docs/lifecycle.md.
type event string

const (
	eventAuthorized event = "authorized"
	eventCollected  event = "collected"
	eventConfirmed  event = "confirmed"
	eventAccepted   event = "accepted"
	eventSent       event = "sent"
	eventRefused    event = "refused"
	eventReturned   event = "returned"
	eventUnknown    event = "unknown"
	eventNone       event = "" // a result that no table knows
)

// fate is what a table says to an event.
type fate int

const (
	fateRefused fate = iota
	fateIgnored
	fateContradiction
	fateLate
	fateMoves
)

// fateOf looks an event up in the table of the record's family.
func (p *pay) fateOf(e event) fate {
	switch {
	case e == eventNone || p.status == statusInReview:
		return fateRefused
	case p.kind == kindPayIn:
		return payInFate(p.status, e)
	case p.kind == kindPayOut:
		return payOutFate(p.status, e)
	default:
		return operationFate(p.status, e)
	}
}

type statuses []paymentsv1.PaymentStatus

func (s statuses) or(status paymentsv1.PaymentStatus, has, hasNot fate) fate {
	if slices.Contains(s, status) {
		return has
	}
	return hasNot
}

func payInFate(status paymentsv1.PaymentStatus, e event) fate {
	open := status == statusProcessing || status == statusUnknown
	switch e {
	case eventAuthorized, eventCollected, eventRefused:
		if open {
			return fateMoves
		}
	case eventUnknown:
		return statuses{statusProcessing}.or(status, fateMoves, fateIgnored)
	case eventAccepted:
		return fateIgnored
	default:
		return fateContradiction // nobody sends or returns a card's money, and its confirmation has names of its own
	}
	switch e {
	case eventAuthorized:
		return statuses{statusFailed}.or(status, fateLate, fateIgnored)
	case eventCollected:
		if status == statusRequiresCapture || status == statusPartlyCaptured {
			return fateContradiction
		}
		return statuses{statusFailed, statusCancelled, statusExpired}.or(status, fateLate, fateIgnored)
	default: // refused
		return statuses{statusFailed, statusCancelled, statusExpired}.or(status, fateIgnored, fateContradiction)
	}
}

func payOutFate(status paymentsv1.PaymentStatus, e event) fate {
	if status == statusSucceeded || status == statusExpired { // was never ordered
		return fateRefused
	}
	moves := map[event]statuses{
		eventAccepted:  {statusCreated},
		eventSent:      {statusCreated, statusPending},
		eventConfirmed: {statusCreated, statusPending, statusSent},
		eventRefused:   {statusCreated, statusPending, statusSent},
		eventReturned:  {statusCreated, statusPending, statusSent, statusPaid},
	}
	switch {
	case slices.Contains(moves[e], status):
		return fateMoves
	case status == statusFailed && (e == eventConfirmed || e == eventReturned):
		return fateLate
	case status == statusPaid && e == eventRefused:
		return fateContradiction
	default:
		return fateIgnored
	}
}

func operationFate(status paymentsv1.PaymentStatus, e event) fate {
	open := status == statusProcessing || status == statusUnknown
	switch {
	case e == eventSent || e == eventReturned:
		return fateContradiction
	case open && (e == eventConfirmed || e == eventRefused), status == statusProcessing && e == eventUnknown:
		return fateMoves
	case e == eventConfirmed && status == statusFailed:
		return fateLate
	case e == eventRefused && status == statusSucceeded:
		return fateContradiction
	default:
		return fateIgnored
	}
}

// eventOf reads a result.
func eventOf(step string, result paymentsv1.RailResult) event {
	switch result {
	case paymentsv1.RailResult_RAIL_RESULT_CONFIRMED:
		switch step {
		case "authorize":
			return eventAuthorized
		case "collect":
			return eventCollected
		default:
			return eventConfirmed
		}
	case paymentsv1.RailResult_RAIL_RESULT_REFUSED:
		return eventRefused
	case paymentsv1.RailResult_RAIL_RESULT_UNKNOWN:
		return eventUnknown
	case paymentsv1.RailResult_RAIL_RESULT_ACCEPTED:
		return eventAccepted
	case paymentsv1.RailResult_RAIL_RESULT_SENT:
		return eventSent
	case paymentsv1.RailResult_RAIL_RESULT_RETURNED:
		return eventReturned
	default:
		return eventNone
	}
}

// railAnswer takes in what a rail says about an order.
func (c *call) railAnswer() {
	d := c.out.Decision
	d.Outcome = paymentsv1.Outcome_OUTCOME_APPLIED
	of := c.named(c.cmd.GetPaymentId())
	if of == nil {
		c.decline(paymentsv1.Reason_REASON_PAYMENT_UNKNOWN)
		return
	}
	id, step, _ := strings.Cut(c.cmd.GetRailAnswer().GetOrderId(), ".")
	r := c.named(id)
	if r == nil || r != of && r.related != of.id {
		c.decline(paymentsv1.Reason_REASON_PAYMENT_STATE)
		d.Status = of.status
		c.amounts(of)
		return
	}
	switch {
	case !slices.Contains(r.steps(), step) || r == of && r.kind != kindPayIn && r.kind != kindPayOut:
		c.decline(paymentsv1.Reason_REASON_PAYMENT_STATE)
	case step == "expire": // its authorisation ended with the order
	default:
		c.answered(r, of, step)
	}
	d.PaymentId, d.Status = r.id, r.status
	c.amounts(r)
	if r.kind == kindCapture {
		d.FeeMinor, d.TargetAmountMinor = c.part.fee, c.part.net
	}
	if r != of {
		c.tellRelated(of)
	}
}

// answered asks the table, and does what it says.
func (c *call) answered(r, of *pay, step string) {
	body, d := c.cmd.GetRailAnswer(), c.out.Decision
	e := eventOf(step, body.GetResult())
	ordered := r.amount
	if r.kind == kindPayOut {
		ordered = r.target
	}
	moved := e == eventAuthorized || e == eventCollected || e == eventConfirmed || e == eventSent || e == eventReturned
	if told := body.GetAmountMinor(); told != 0 && told != ordered && moved {
		e = eventUnknown
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_AMOUNT}
	}
	switch r.fateOf(e) {
	case fateRefused:
		c.decline(paymentsv1.Reason_REASON_PAYMENT_STATE)
	case fateContradiction:
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_CONTRADICTION}
	case fateLate:
		c.tooLate(r, of, e)
	case fateMoves:
		switch {
		case e == eventUnknown:
			r.status = statusUnknown
		case r.kind == kindPayIn:
			c.payInAnswered(r, e)
		case r.kind == kindPayOut:
			c.payOutAnswered(r, e)
		default:
			c.operationAnswered(r, of, e)
		}
	case fateIgnored:
	}
}

// tooLate takes in, once, what the rail did after the payment had ended here.
func (c *call) tooLate(r, of *pay, e event) {
	if e == eventReturned {
		c.backTooLate(r)
		return
	}
	if r.late || r.kind == kindVoid || r.kind == kindIncrement {
		return
	}
	r.late = true
	if r.kind == kindCapture || r.kind == kindRefund {
		of.lateAt = max(of.lateAt, c.cmd.GetRailAnswer().GetReportedAtUs()) // the rail's clock, as it tells it
	}
	c.out.Decision.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_LATE}
	if e == eventAuthorized {
		body := c.cmd.GetRailAnswer()
		c.orderExpiry(r, r.amount, body.GetConnector(), body.GetReference())
		return
	}
	amount, currency := -r.amount, r.currency // what came in leaves clearing short
	switch r.kind {
	case kindRefund:
		amount = r.amount
	case kindPayOut:
		amount, currency = r.target, r.targetCurrency
	default:
	}
	c.move(paymentsv1.JournalKind_JOURNAL_KIND_LATE, line{"sys_clearing_" + of.method, currency, amount}, line{suspense, currency, -amount})
}

// backTooLate: a payout that left too late has come back. One that never left cannot.
func (c *call) backTooLate(p *pay) {
	switch {
	case !p.late:
		c.out.Decision.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_CONTRADICTION}
	case !p.lateBack:
		p.lateBack = true
		c.out.Decision.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_LATE}
		far := "sys_clearing_" + p.method
		c.move(paymentsv1.JournalKind_JOURNAL_KIND_LATE, line{far, p.targetCurrency, -p.target}, line{suspense, p.targetCurrency, p.target})
	}
}

func (c *call) payInAnswered(p *pay, e event) {
	body := c.cmd.GetRailAnswer()
	if e == eventRefused {
		p.status = statusFailed
		c.out.Decision.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_REFUSED}
		c.letGo(p, p.rail.stands)
		return
	}
	p.status = statusRequiresCapture
	p.rail.authorized, p.rail.connector, p.rail.reference = p.amount, body.GetConnector(), body.GetReference()
	if e == eventCollected {
		c.captured(p, p.amount)
		c.captureAnswered(p)
		return
	}
	if ttl := p.rail.card.GetAuthorizationTtlS(); ttl > 0 {
		p.deadline = c.acct.last + ttl*1_000_000
		c.due.add(p.authorizationEntry(c.acct.key))
	}
}

// operationAnswered ends an operation; what it asked for is done, or is not.
func (c *call) operationAnswered(o, of *pay, e event) {
	if e == eventRefused {
		o.status = statusFailed
		c.out.Decision.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_REFUSED}
		c.move(journalRelease, reversed(o.hold)...)
		if o.kind == kindCapture {
			c.captureAnswered(of)
		}
		return
	}
	o.status = statusSucceeded
	switch o.kind {
	case kindCapture:
		of.rail.closed = of.rail.closed || o.final || c.cmd.GetRailAnswer().GetClosed()
		c.captured(of, o.amount)
		c.captureAnswered(of)
	case kindVoid:
		c.letGo(of, of.rail.stands)
		c.endAuthorization(of)
		if of.rail.captured == 0 {
			of.status = statusCancelled
		}
	case kindIncrement:
		c.incremented(o, of)
	default:
		c.refunded(o, of)
	}
}

// endAuthorization: nothing is left that could be captured.
func (c *call) endAuthorization(p *pay) {
	if p.deadline != 0 {
		c.due.remove(p.authorizationEntry(c.acct.key))
	}
	p.deadline, p.status = 0, statusSucceeded
}

// incremented holds what came on top.
func (c *call) incremented(o, of *pay) {
	more, ok := c.widened(of, o.amount)
	if !ok {
		return // let in only where it does
	}
	of.rail.authorized += o.amount
	hold := []line{{c.acct.key, of.targetCurrency, more}, {suspense, of.targetCurrency, -more}}
	if c.fits(paymentsv1.Layer_LAYER_PENDING, hold) {
		of.rail.stands += more
		c.move(journalHold, hold...)
	}
}

// part is what one capture brings, in fees and to the account.
type part struct{ fee, net int64 }

// captured posts a part, by the difference that it makes to all that is captured.
func (c *call) captured(p *pay, minor int64) {
	r := p.rail
	feeBefore, _ := p.feeAt(r.captured) // each fitted when the capture was let in
	netBefore, _ := p.netAt(r.captured)
	r.captured += minor
	feeAfter, _ := p.feeAt(r.captured)
	netAfter, _ := p.netAt(r.captured)
	fee, net := feeAfter-feeBefore, netAfter-netBefore
	c.letGo(p, min(r.stands, net))
	me, from, to, far := c.acct.key, p.currency, p.targetCurrency, "sys_clearing_"+p.method
	lines := []line{{far, from, -minor}, {me, from, minor}, {me, from, -fee}, {"sys_fees", from, fee}}
	c.part = part{fee, minor}
	if p.rate != nil {
		lines = []line{{far, from, -minor}, {"sys_fees", from, fee}, {"sys_fx", from, minor - fee}, {"sys_fx", to, -net}, {me, to, net}}
		c.part = part{fee, net}
	}
	c.move(journalPost, c.orAside(lines)...)
	p.status = statusPartlyCaptured
}

// captureAnswered ends a card pay-in where no capture is on its way and none is to come.
func (c *call) captureAnswered(p *pay) {
	r := p.rail
	if len(p.waiting(kindCapture)) > 0 || !r.closed && r.captured < r.authorized {
		return
	}
	c.letGo(p, r.stands)
	c.endAuthorization(p)
}

// refunded gives back what was held for it, and the fee's part where the policy says so.
func (c *call) refunded(o, of *pay) {
	me, from, to, far := c.acct.key, of.currency, of.targetCurrency, "sys_clearing_"+of.method
	of.refunded += o.amount
	of.status = statusPartiallyRefunded
	if of.refunded == of.rail.captured {
		of.status = statusRefunded
	}
	c.move(journalRelease, reversed(o.hold)...)
	lines := []line{{me, to, -o.target}, {far, from, o.amount}}
	if of.rate != nil {
		lines = []line{{me, to, -o.target}, {"sys_fx", to, o.target}, {"sys_fx", from, -o.amount}, {far, from, o.amount}}
	}
	c.move(paymentsv1.JournalKind_JOURNAL_KIND_REFUND, lines...)
	c.returnFee(of)
}

// returnFee gives the fee of what was captured back, in proportion to what is given back so far.
func (c *call) returnFee(p *pay) {
	if p.rail.card.GetRefundFee() != referencev1.RefundFee_REFUND_FEE_RETURNED {
		return
	}
	fee, _ := p.feeAt(p.rail.captured) // charged before
	due, ok := halfEven(new(big.Int).Mul(big.NewInt(fee), big.NewInt(p.refunded)), big.NewInt(p.rail.captured))
	before := p.rail.feeReturned
	share := due - before
	if !ok {
		return
	}
	me, from, to := c.acct.key, p.currency, p.targetCurrency
	lines := []line{{"sys_fees", from, -share}, {me, from, share}}
	if p.rate != nil {
		already, ok := p.rate.convert(before, from, to)
		all, ok2 := p.rate.convert(due, from, to)
		converted := all - already
		if !ok || !ok2 || converted == 0 {
			return // it comes with the next part
		}
		lines = []line{{"sys_fees", from, -share}, {"sys_fx", from, share}, {"sys_fx", to, -converted}, {me, to, converted}}
	}
	p.rail.feeReturned = due
	c.move(paymentsv1.JournalKind_JOURNAL_KIND_REFUND, c.orAside(lines)...)
}

// payOutAnswered follows a payout out, and back.
func (c *call) payOutAnswered(p *pay, e event) {
	left := p.status == statusSent || p.status == statusPaid
	switch e {
	case eventAccepted:
		p.status = statusPending
	case eventSent, eventConfirmed:
		if !left {
			c.move(journalRelease, reversed(p.hold)...)
			c.move(journalPost, p.post...)
		}
		p.status = statusSent
		if e == eventConfirmed {
			p.status = statusPaid
		}
	default: // refused, returned
		c.acct.unreserve(p)
		if left {
			c.bringBack(p)
		} else {
			c.move(journalRelease, reversed(p.hold)...)
		}
		if left && e == eventReturned {
			p.status = statusReturned
			return
		}
		p.status = statusFailed
		c.out.Decision.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_REFUSED}
	}
}

// bringBack books a payout's money in again.
func (c *call) bringBack(p *pay) {
	gone := p.post
	if !p.rail.returnsFee {
		kept := *p
		kept.fee = 0
		_, gone = c.lines(&kept)
	}
	c.move(paymentsv1.JournalKind_JOURNAL_KIND_RETURN, c.orAside(reversed(gone))...)
}

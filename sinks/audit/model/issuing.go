package model

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const (
	kindAuthorization = paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION
	kindAdvice        = paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION_ADVICE
	kindReversal      = paymentsv1.CommandKind_COMMAND_KIND_REVERSAL
	kindClearing      = paymentsv1.CommandKind_COMMAND_KIND_CLEARING

	issuingMethod   = "issuing"
	clearingIssuing = "sys_clearing_issuing"

	journalReturn = paymentsv1.JournalKind_JOURNAL_KIND_RETURN
	journalLate   = paymentsv1.JournalKind_JOURNAL_KIND_LATE
)

// issued is what a card of the account was granted at somebody else's terminal.
type issued struct {
	financial            bool // a single message: it is posted at once
	nothing              bool // it asked only whether the card is good
	unasked              bool // a reversal has made it, and what it takes back has not come
	authorized, captured int64
	held                 int64
	left                 int64 // of what was declined, for a stand-in that grants it after all; 0: all
}

// granted is where an authorization stands once it is allowed.
func (i *issued) granted() paymentsv1.PaymentStatus {
	if i.financial || i.nothing {
		return statusSucceeded
	}
	return statusRequiresCapture
}

func (p *pay) asAuthorization(t *paymentsv1.CardTransaction) {
	p.kind, p.method = kindAuthorization, issuingMethod
	p.amount, p.currency, p.target, p.targetCurrency = t.GetAmountMinor(), t.GetCurrency(), t.GetAmountMinor(), t.GetCurrency()
	p.issued = &issued{financial: t.GetFinancial(), nothing: t.GetAmountMinor() == 0}
}

func (p *pay) asClearing(x *paymentsv1.Clearing) {
	p.method = issuingMethod
	p.amount, p.currency, p.target, p.targetCurrency = x.GetAmountMinor(), x.GetCurrency(), x.GetAmountMinor(), x.GetCurrency()
}

// authorization finds one by its full id.
func (c *call) authorization(id string) *pay {
	if p := c.named(id); p != nil && p.kind == kindAuthorization {
		return p
	}
	return nil
}

// issuing decides what comes from the network of the account's cards.
func (c *call) issuing() {
	switch c.cmd.GetKind() {
	case kindAuthorization:
		c.authorize()
	case kindAdvice:
		c.advise()
	case kindReversal:
		c.reverse()
	default:
		c.clear()
	}
}

// authorize decides AUTHORIZATION.
func (c *call) authorize() {
	p, d := c.draft(), c.out.Decision
	var reasons []paymentsv1.Reason
	if !c.holds(p.currency) {
		reasons = append(reasons, paymentsv1.Reason_REASON_CURRENCY_NOT_HELD)
	}
	if c.docs.policy.GetIssuing() == nil {
		reasons = append(reasons, paymentsv1.Reason_REASON_METHOD_UNAVAILABLE)
	}
	if len(reasons) == 0 {
		if reason := c.limitAmount(p); reason != 0 {
			reasons = append(reasons, reason)
		} else {
			reasons, _ = c.stages(p)
		}
	}
	if len(reasons) > 0 {
		c.decline(reasons...)
	} else {
		d.Outcome = paymentsv1.Outcome_OUTCOME_APPROVED
		c.allow(p)
	}
	c.observe(p)
	c.record(p)
	d.LimitAmountMinor, d.LimitCurrency = p.limitAmount, p.limitCurrency
}

func (c *call) holds(currency string) bool {
	return slices.Contains(c.acct.state.GetCurrencies(), currency)
}

// allow holds or posts what is granted, as far as there is room for it.
func (c *call) allow(p *pay) {
	i, minor := p.issued, cmp.Or(p.issued.left, p.amount)
	i.authorized, p.status, p.granted = minor, i.granted(), true
	if p.status == statusSucceeded {
		i.captured = minor
		c.charge(journalPost, p.currency, minor)
		return
	}
	if hold := c.chargeLines(p.currency, minor, suspense); c.holds(p.currency) && c.room(paymentsv1.Layer_LAYER_PENDING, hold) {
		i.held = minor
		c.move(journalHold, hold...)
	}
	if ttl := c.docs.policy.GetIssuing().GetAuthorizationTtlS(); ttl > 0 {
		p.deadline = c.acct.last + ttl*1_000_000
		c.due.add(p.authorizationEntry(c.acct.key))
	}
}

// charge takes so much from the account for the network, or gives a negative amount back. What the account has no room for
// waits in suspense.
func (c *call) charge(kind paymentsv1.JournalKind, currency string, minor int64) {
	lines := c.chargeLines(currency, minor, clearingIssuing)
	if !c.holds(currency) {
		lines = c.aside(lines)
	}
	c.move(kind, c.orAside(lines)...)
}

func (c *call) chargeLines(currency string, minor int64, far string) []line {
	return []line{{c.acct.key, currency, -minor}, {far, currency, minor}}
}

// reversedBefore declines an authorization that was taken back before it came.
func (c *call) reversedBefore(p *pay) {
	d, asked := c.out.Decision, c.draft()
	c.decline(paymentsv1.Reason_REASON_PAYMENT_STATE)
	p.amount, p.currency, p.target, p.targetCurrency = asked.amount, asked.currency, asked.target, asked.targetCurrency
	p.issued, p.asked = asked.issued, asked.asked
	d.Status = p.status
	c.amounts(p)
	p.first = answer{hash: c.cmd.GetBodyHash(), outcome: d.GetOutcome(), reasons: d.GetReasons(), status: p.status}
}

// toldByDoor is an ADVICE or a REVERSAL, which may be the door's own word.
type toldByDoor interface {
	GetStandIn() bool
	GetAskedAtUs() int64
}

// otherAsking says why what the door tells of an authorization is not about what stands there: another request had its key, or
// the acquirer has asked again since, and what it was told then holds.
func (c *call) otherAsking(p *pay, told toldByDoor) paymentsv1.Reason {
	switch {
	case !told.GetStandIn(), p == nil, p.issued == nil, p.issued.unasked:
		return 0
	case !bytes.Equal(p.first.hash, c.cmd.GetBodyHash()):
		return paymentsv1.Reason_REASON_IDEMPOTENCY_CONFLICT
	case told.GetAskedAtUs() > 0 && told.GetAskedAtUs() < p.asked:
		return paymentsv1.Reason_REASON_PAYMENT_STATE
	default:
		return 0
	}
}

// advise takes in what somebody else has granted or refused.
func (c *call) advise() {
	d, body := c.out.Decision, c.cmd.GetCardTransaction()
	d.Outcome = paymentsv1.Outcome_OUTCOME_APPLIED
	p := c.acct.payments[identity(d.GetPaymentId())]
	other := c.otherAsking(p, body)
	switch {
	case p == nil:
		c.advised()
		return
	case p.kind != kindAuthorization:
		c.decline(paymentsv1.Reason_REASON_PAYMENT_STATE)
		return
	case other != 0:
		d.Reasons = []paymentsv1.Reason{other}
	case p.status == statusFailed && p.first.outcome == paymentsv1.Outcome_OUTCOME_DECLINED && body.GetStandIn() && !body.GetRefused():
		c.standIn(p)
	case p.currency != "" && p.currency != body.GetCurrency():
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_PAYMENT_UNKNOWN}
	case p.status == statusCancelled:
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_PAYMENT_STATE}
	}
	d.Status = p.status
	c.amounts(p)
}

// advised makes the record of what this house was not asked for.
func (c *call) advised() {
	p := c.draft()
	if c.cmd.GetCardTransaction().GetRefused() {
		p.status = statusFailed
		c.out.Decision.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_REFUSED}
	} else {
		c.force(p)
	}
	c.keep(p)
	p.leaves = c.retain(p.id)
}

// force grants whatever stands against it: it has happened.
func (c *call) force(p *pay) {
	d := c.out.Decision
	p.limitAmount = 0
	c.limitAmount(p)                // stays 0 where it cannot be converted
	c.acct.window, _ = c.reserve(p) // passing its bounds
	p.reserved = len(c.docs.policy.GetLimits()) > 0
	c.allow(p)
	c.observe(p)
	d.LimitAmountMinor, d.LimitCurrency = p.limitAmount, p.limitCurrency
}

// standIn grants what was declined here after the door had said yes.
func (c *call) standIn(p *pay) {
	asked := c.draft()
	if left := p.issued.left; left < asked.amount && p.currency == asked.currency {
		asked.issued.left = left
	}
	p.amount, p.currency, p.target, p.targetCurrency, p.issued = asked.amount, asked.currency, asked.target, asked.targetCurrency, asked.issued
	c.force(p)
	p.first = answer{hash: p.first.hash, outcome: paymentsv1.Outcome_OUTCOME_APPROVED, status: p.status}
}

// reverse leaves so much of an authorization, also where it has not come yet.
func (c *call) reverse() {
	d, body := c.out.Decision, c.cmd.GetReversal()
	d.Outcome = paymentsv1.Outcome_OUTCOME_APPLIED
	p := c.authorization(c.cmd.GetPaymentId())
	other := c.otherAsking(p, body)
	switch {
	case p == nil && c.acct.payments[identity(c.cmd.GetPaymentId())] != nil:
		c.decline(paymentsv1.Reason_REASON_PAYMENT_STATE)
		return
	case p == nil && body.GetLeftMinor() != 0:
		c.decline(paymentsv1.Reason_REASON_PAYMENT_UNKNOWN)
		return
	case p == nil:
		p = &pay{
			id: c.cmd.GetPaymentId(), kind: kindAuthorization, merchant: c.cmd.GetMerchant(), seq: c.acct.seq, created: c.acct.last, date: d.GetEffectiveDate(),
			method: issuingMethod, status: statusCancelled, issued: &issued{unasked: true},
		}
		c.keep(p)
		p.leaves = c.retain(p.id)
		return
	case body.GetCurrency() != "" && p.currency != "" && body.GetCurrency() != p.currency:
		c.decline(paymentsv1.Reason_REASON_PAYMENT_UNKNOWN)
		return
	case other == paymentsv1.Reason_REASON_IDEMPOTENCY_CONFLICT:
		c.decline(other)
		return
	case other != 0:
		d.Status = p.status
		c.amounts(p)
		return
	case p.status == statusFailed && body.GetLeftMinor() == 0 && !body.GetStandIn():
		p.status = statusCancelled // no stand-in may grant it any more
	case p.status == statusFailed && body.GetCurrency() != "" && !body.GetStandIn():
		if left := body.GetLeftMinor(); left < cmp.Or(p.issued.left, p.amount) {
			p.issued.left = left
		}
	case p.issued.financial && p.status == statusSucceeded:
		c.takeBack(p, body.GetLeftMinor())
	case p.status == statusRequiresCapture || p.status == statusPartlyCaptured:
		c.leave(p, body.GetLeftMinor())
	}
	if body.GetStandIn() && body.GetLeftMinor() == 0 && p.first.outcome == paymentsv1.Outcome_OUTCOME_APPROVED && (p.issued.financial || p.issued.captured == 0) {
		p.first.outcome, p.first.status = paymentsv1.Outcome_OUTCOME_DECLINED, statusFailed
		p.first.reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_REFUSED}
	}
	d.Status = p.status
	c.amounts(p)
}

// leave lowers what a dual message has authorised, or ends it.
func (c *call) leave(p *pay, left int64) {
	i := p.issued
	switch {
	case left <= i.captured: // 0 among them
		c.endIssued(p, statusCancelled)
	case left < i.authorized:
		c.letHeld(p, max(0, i.held-(left-i.captured)))
		i.authorized = left
	}
}

// takeBack returns what a single message has posted itself, its authorized. What is captured above that, clearings have collected.
func (c *call) takeBack(p *pay, left int64) {
	i := p.issued
	back, whole := i.authorized-left, left == 0 && i.captured == i.authorized
	if back <= 0 && !whole {
		return
	}
	c.charge(journalReturn, p.currency, -back)
	i.captured -= back
	if left == 0 {
		c.acct.unreserve(p)
	}
	if whole {
		p.status = statusCancelled
	} else {
		i.authorized = left
	}
}

// endIssued lets go of all that is held: the rest is not wanted any more, or is not taken in time.
func (c *call) endIssued(p *pay, unused paymentsv1.PaymentStatus) {
	c.letHeld(p, p.issued.held)
	if p.issued.captured == 0 {
		c.acct.unreserve(p)
	}
	captured := p.issued.captured
	c.endAuthorization(p)
	if captured == 0 {
		p.status = unused
	}
}

func (c *call) letHeld(p *pay, minor int64) {
	p.issued.held -= minor
	c.move(journalRelease, reversed(c.chargeLines(p.currency, minor, suspense))...)
}

// expireIssued gives up what no clearing came for in time.
func (c *call) expireIssued(p *pay) {
	if p.status != statusRequiresCapture && p.status != statusPartlyCaptured || c.cmd.GetExpire().GetDueAtUs() < p.deadline || p.deadline == 0 {
		return
	}
	c.out.Decision.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_AUTHORIZATION_EXPIRED}
	p.deadline = 0 // its entry has come
	c.endIssued(p, statusExpired)
}

// clear moves the money of a card payment, as the network says.
func (c *call) clear() {
	d, body, p := c.out.Decision, c.cmd.GetClearing(), c.draft()
	d.Outcome = paymentsv1.Outcome_OUTCOME_APPLIED
	p.status, p.granted = statusSucceeded, true
	of := c.cleared(p)
	switch {
	case body.GetCredit():
		c.charge(paymentsv1.JournalKind_JOURNAL_KIND_REFUND, p.currency, -p.amount)
		if of != nil {
			of.refunded = capped(of.refunded, p.amount)
		}
	case of == nil:
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_PAYMENT_UNKNOWN}
		c.charge(journalPost, p.currency, p.amount)
	case of.status == statusCancelled, of.status == statusFailed, of.status == statusSucceeded && of.issued.authorized == 0:
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_LATE}
		c.move(journalLate, line{suspense, p.currency, -p.amount}, line{clearingIssuing, p.currency, p.amount})
	default:
		c.capturedByNetwork(of, p.amount, body.GetFinal())
	}
	c.keep(p)
	p.leaves = c.retain(p.id)
	c.tellRelated(of)
}

// cleared is the authorization that a clearing counts for: one that nobody asked for has no currency yet.
func (c *call) cleared(p *pay) *pay {
	of := c.authorization(p.related)
	if of == nil || of.currency != p.currency && !of.issued.unasked {
		return nil
	}
	return of
}

// capped is a sum that is only counted: it stops where int64 does.
func capped(a, b int64) int64 {
	if total, ok := sum(a, b); ok {
		return total
	}
	return math.MaxInt64
}

func (c *call) capturedByNetwork(of *pay, minor int64, final bool) {
	i := of.issued
	i.captured = capped(i.captured, minor)
	all := final || i.captured >= i.authorized
	if all {
		c.letHeld(of, i.held)
	} else {
		c.letHeld(of, min(i.held, minor))
	}
	c.charge(journalPost, of.currency, minor)
	switch {
	case all:
		c.endAuthorization(of)
	case of.status == statusRequiresCapture:
		of.status = statusPartlyCaptured
	case of.status == statusExpired:
		of.status = statusSucceeded
	}
}

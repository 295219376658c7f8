package model

import (
	"bytes"
	"cmp"
	"slices"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
)

const (
	kindDispute  = paymentsv1.CommandKind_COMMAND_KIND_DISPUTE
	kindEvidence = paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_EVIDENCE
	kindAccept   = paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_ACCEPT

	statusPreDispute     = paymentsv1.PaymentStatus_PAYMENT_STATUS_PRE_DISPUTE
	statusDispute        = paymentsv1.PaymentStatus_PAYMENT_STATUS_DISPUTE
	statusPreArbitration = paymentsv1.PaymentStatus_PAYMENT_STATUS_PRE_ARBITRATION
	statusWon            = paymentsv1.PaymentStatus_PAYMENT_STATUS_WON
	statusLost           = paymentsv1.PaymentStatus_PAYMENT_STATUS_LOST

	journalDispute = paymentsv1.JournalKind_JOURNAL_KIND_DISPUTE
	clearingCard   = "sys_clearing_card"
)

// disputed is where the money of a dispute is, and who told of it.
type disputed struct {
	connector, reference, code string
	held                       int64 // in the account's currency
	overflows                  bool  // before it has a record: that would leave int64
	taken                      bool
	returned                   bool  // the fee that stands charged comes back with the money
	occurred                   int64 // when what moved it last came about, by the word of who told; 0: not told
}

// leadsTo are the stages that are news in a status; the others are older, or the same. A dispute that nobody told of takes any.
func (p *pay) leadsTo() statuses {
	switch p.status {
	case statusPreDispute:
		return statuses{statusDispute, statusPreArbitration, statusWon, statusLost}
	case statusDispute:
		return statuses{statusPreArbitration, statusWon, statusLost}
	case statusPreArbitration:
		return statuses{statusWon, statusLost}
	case statusWon:
		return statuses{statusPreArbitration, statusLost}
	case statusLost:
		return statuses{statusWon}
	default:
		return statuses{statusPreDispute, statusDispute, statusPreArbitration, statusWon, statusLost}
	}
}

// stage is the status that a told stage leads to, 0 for none that is known.
func stage(told paymentsv1.DisputeStage) paymentsv1.PaymentStatus {
	switch told {
	case paymentsv1.DisputeStage_DISPUTE_STAGE_PRE_DISPUTE:
		return statusPreDispute
	case paymentsv1.DisputeStage_DISPUTE_STAGE_DISPUTE:
		return statusDispute
	case paymentsv1.DisputeStage_DISPUTE_STAGE_PRE_ARBITRATION:
		return statusPreArbitration
	case paymentsv1.DisputeStage_DISPUTE_STAGE_WON:
		return statusWon
	case paymentsv1.DisputeStage_DISPUTE_STAGE_LOST:
		return statusLost
	default:
		return 0
	}
}

// contestable are the statuses in which the merchant may answer.
func contestable(s paymentsv1.PaymentStatus) bool {
	return s == statusPreDispute || s == statusDispute || s == statusPreArbitration
}

// disputing decides what is said of a dispute, from outside and by the merchant.
func (c *call) disputing() {
	if c.cmd.GetKind() == kindDispute {
		c.dispute()
		return
	}
	c.contest()
}

// dispute takes in what a processor, the network or an operator says.
func (c *call) dispute() {
	d, body := c.out.Decision, c.cmd.GetDispute()
	p := c.acct.payments[identity(c.cmd.GetCommandId())]
	switch {
	case p != nil && (p.disputed == nil || p.id != c.cmd.GetCommandId()):
		c.decline(paymentsv1.Reason_REASON_PAYMENT_STATE)
	case p != nil && p.related != c.cmd.GetPaymentId():
		c.decline(paymentsv1.Reason_REASON_PAYMENT_UNKNOWN)
	}
	known, of := p != nil, c.disputable(p, c.cmd.GetPaymentId())
	if d.GetOutcome() == paymentsv1.Outcome_OUTCOME_DECLINED { // of what is another's nothing is told
		c.tellRelated(of)
		return
	}
	if !known && of != nil {
		p = c.told(of)
	}
	to := stage(body.GetStage())
	if reason := c.against(p, of, to); reason != 0 {
		c.decline(reason)
		if known {
			d.Status = p.status
			c.amounts(p)
		}
		c.tellRelated(of)
		return
	}
	d.Outcome = paymentsv1.Outcome_OUTCOME_APPLIED
	if !known {
		c.acct.payments[identity(p.id)] = p
		p.leaves = c.retain(p.id)
	}
	switch o := c.occurred(); {
	case c.isNews(p, to):
		p.deadline, p.disputed.code, p.disputed.occurred = body.GetDeadlineUs(), cmp.Or(body.GetReasonCode(), p.disputed.code), o
		c.disputeMoves(p, of, to)
	case slices.Contains(p.leadsTo(), to): // too late, or lost without a time to say that it is not
	case o > p.disputed.occurred:
		p.disputed.occurred = o // nothing new, but as of later
	}
	d.Status = p.status
	c.amounts(p)
	c.tellRelated(of)
	if message := body.GetMessageId(); message != "" {
		c.acct.answers[message] = &answer{hash: c.cmd.GetBodyHash(), status: d.GetStatus()}
	}
}

// occurred is when what is told came about, 0 where nobody says: not later than it was heard of.
func (c *call) occurred() int64 { return min(c.cmd.GetDispute().GetOccurredAtUs(), c.acct.last) }

// isNews tells a stage that the table lets in, and that did not come about before what is known. What is won is lost only by what
// surely came about after it.
func (c *call) isNews(p *pay, to paymentsv1.PaymentStatus) bool {
	o := c.occurred()
	if p.status == statusWon && to == statusLost {
		return o > p.disputed.occurred
	}
	return slices.Contains(p.leadsTo(), to) && (o == 0 || o >= p.disputed.occurred)
}

// heard answers a message about a dispute that was taken before.
func (c *call) heard() bool {
	d := c.out.Decision
	first := c.acct.answers[c.cmd.GetDispute().GetMessageId()]
	if c.cmd.GetDispute().GetMessageId() == "" || first == nil {
		return false
	}
	if !bytes.Equal(first.hash, c.cmd.GetBodyHash()) {
		d.Outcome = paymentsv1.Outcome_OUTCOME_CONFLICT
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_IDEMPOTENCY_CONFLICT}
		return true
	}
	d.Outcome, d.Status = paymentsv1.Outcome_OUTCOME_REPEATED, first.status
	if p := c.named(c.cmd.GetCommandId()); p != nil && p.disputed != nil && p.related == c.cmd.GetPaymentId() {
		c.amounts(p)
	}
	return true
}

// disputable is a pay-in that can be disputed, nil where there is none; to a dispute that it was about, it may not be any more.
func (c *call) disputable(p *pay, id string) *pay {
	of := c.named(id)
	if !of.byCard() || of.rail.captured == 0 || p != nil && p.related == of.id && of.seq > p.seq {
		return nil
	}
	return of
}

// against says why nothing can be done with what is told.
func (c *call) against(p, of *pay, to paymentsv1.PaymentStatus) paymentsv1.Reason {
	minor := c.cmd.GetDispute().GetAmountMinor()
	switch {
	case p == nil:
		return paymentsv1.Reason_REASON_PAYMENT_UNKNOWN
	case minor != p.amount, p.status == 0 && minor > of.rail.captured-of.rail.disputed:
		return paymentsv1.Reason_REASON_RAIL_AMOUNT
	case p.disputed.overflows:
		return reasonOverflow
	case of != nil && c.isNews(p, to) && to != statusWon && !p.counts():
		if _, ok := sum(of.rail.disputed, minor); !ok {
			return reasonOverflow
		}
	}
	return 0
}

// counts tells a dispute whose amount is set apart from what may be refunded.
func (p *pay) counts() bool { return p.status != 0 && p.status != statusWon }

// told is the dispute that a command tells of for the first time.
func (c *call) told(of *pay) *pay {
	p, body := c.draft(), c.cmd.GetDispute()
	p.amount, p.currency, p.target, p.targetCurrency = body.GetAmountMinor(), of.currency, body.GetAmountMinor(), of.targetCurrency
	p.fx, p.method, p.related = of.fx, of.method, of.id
	p.disputed = &disputed{connector: body.GetConnector(), reference: body.GetReference()}
	if of.rate != nil {
		target, ok := of.rate.convert(p.amount, p.currency, p.targetCurrency)
		p.target, p.disputed.overflows = target, !ok
	}
	return p
}

// disputeMoves takes a dispute to a stage, and its money with it; what it is about may have left.
func (c *call) disputeMoves(p, of *pay, to paymentsv1.PaymentStatus) {
	counted := p.counts()
	switch to {
	case statusPreDispute:
		hold := []line{{c.acct.key, p.targetCurrency, -p.target}, {suspense, p.targetCurrency, p.target}}
		if c.room(paymentsv1.Layer_LAYER_PENDING, hold) {
			p.disputed.held = p.target
			c.move(journalHold, hold...)
		}
	case statusWon:
		c.giveBack(p)
	default:
		c.take(p)
	}
	p.status = to
	switch {
	case of == nil:
	case p.counts() && !counted:
		of.rail.disputed += p.amount // fits, or it was declined
	case counted && !p.counts():
		of.rail.disputed -= p.amount
	}
}

// take gives the money to the rail, with a fee where none stands charged.
func (c *call) take(p *pay) {
	if p.disputed.taken {
		return
	}
	c.letDisputed(p)
	p.disputed.taken = true
	c.move(journalDispute, c.orAside(c.disputeLines(p))...)
	if p.fee != 0 {
		return
	}
	terms := c.docs.policy.GetCard().GetDispute()
	i := slices.IndexFunc(terms.GetFees(), func(row *referencev1.Charge) bool { return row.GetCurrency() == p.targetCurrency })
	if i >= 0 && terms.GetFees()[i].GetAmountMinor() > 0 {
		p.fee, p.disputed.returned = terms.GetFees()[i].GetAmountMinor(), terms.GetFeeReturned()
		c.move(journalDispute, c.orAside(c.disputeFee(p))...)
	}
}

// giveBack ends a dispute in the merchant's favour.
func (c *call) giveBack(p *pay) {
	c.letDisputed(p)
	if !p.disputed.taken {
		return
	}
	p.disputed.taken = false
	c.move(journalDispute, c.orAside(reversed(c.disputeLines(p)))...)
	if p.disputed.returned {
		c.move(journalDispute, c.orAside(reversed(c.disputeFee(p)))...)
		p.fee, p.disputed.returned = 0, false
	}
}

func (c *call) letDisputed(p *pay) {
	c.move(journalRelease, line{c.acct.key, p.targetCurrency, p.disputed.held}, line{suspense, p.targetCurrency, -p.disputed.held})
	p.disputed.held = 0
}

// disputeLines are the money taken, from the page.
func (c *call) disputeLines(p *pay) []line {
	me, from, to := c.acct.key, p.currency, p.targetCurrency
	if from == to {
		return []line{{me, to, -p.target}, {clearingCard, from, p.amount}}
	}
	return []line{{me, to, -p.target}, {"sys_fx", to, p.target}, {"sys_fx", from, -p.amount}, {clearingCard, from, p.amount}}
}

func (c *call) disputeFee(p *pay) []line {
	return []line{{c.acct.key, p.targetCurrency, -p.fee}, {"sys_fees", p.targetCurrency, p.fee}}
}

// tellDispute puts what is kept of a dispute into the decision; its deadline where evidence may still be given.
func (c *call) tellDispute(p *pay) {
	d := c.out.Decision
	d.Connector, d.RailReference, d.ReasonCode = p.disputed.connector, p.disputed.reference, p.disputed.code
	if contestable(d.GetStatus()) {
		d.DeadlineUs = p.deadline
	}
}

// contest is the merchant's word: DISPUTE_EVIDENCE and DISPUTE_ACCEPT.
func (c *call) contest() {
	d, p := c.out.Decision, c.named(c.cmd.GetPaymentId())
	switch {
	case p == nil || p.disputed == nil:
		c.decline(paymentsv1.Reason_REASON_PAYMENT_UNKNOWN)
		return
	case !contestable(p.status):
		c.decline(paymentsv1.Reason_REASON_PAYMENT_STATE)
	case p.deadline != 0 && c.acct.last > p.deadline:
		c.decline(paymentsv1.Reason_REASON_DEADLINE_PASSED)
	case c.cmd.GetKind() == kindEvidence:
		d.Outcome, d.Evidence = paymentsv1.Outcome_OUTCOME_APPROVED, c.cmd.GetDisputeEvidence().GetFiles()
	default:
		d.Outcome = paymentsv1.Outcome_OUTCOME_APPROVED
		c.disputeMoves(p, c.disputable(p, p.related), statusLost)
	}
	d.Status = p.status
	c.amounts(p)
}

package model

import (
	"slices"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
)

const (
	kindCapture   = paymentsv1.CommandKind_COMMAND_KIND_CAPTURE
	kindVoid      = paymentsv1.CommandKind_COMMAND_KIND_VOID
	kindIncrement = paymentsv1.CommandKind_COMMAND_KIND_INCREMENT
	kindRefund    = paymentsv1.CommandKind_COMMAND_KIND_REFUND

	statusInReview          = paymentsv1.PaymentStatus_PAYMENT_STATUS_IN_REVIEW
	statusProcessing        = paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING
	statusSucceeded         = paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED
	statusFailed            = paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED
	statusPartiallyRefunded = paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_REFUNDED
	statusRefunded          = paymentsv1.PaymentStatus_PAYMENT_STATUS_REFUNDED
	statusExpired           = paymentsv1.PaymentStatus_PAYMENT_STATUS_EXPIRED
	statusUnknown           = paymentsv1.PaymentStatus_PAYMENT_STATUS_UNKNOWN
	statusRequiresCapture   = paymentsv1.PaymentStatus_PAYMENT_STATUS_REQUIRES_CAPTURE
	statusPartlyCaptured    = paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_CAPTURED
	statusCancelled         = paymentsv1.PaymentStatus_PAYMENT_STATUS_CANCELLED
	statusCreated           = paymentsv1.PaymentStatus_PAYMENT_STATUS_CREATED
	statusPending           = paymentsv1.PaymentStatus_PAYMENT_STATUS_PENDING
	statusSent              = paymentsv1.PaymentStatus_PAYMENT_STATUS_SENT
	statusPaid              = paymentsv1.PaymentStatus_PAYMENT_STATUS_PAID
	statusReturned          = paymentsv1.PaymentStatus_PAYMENT_STATUS_RETURNED

	journalHold    = paymentsv1.JournalKind_JOURNAL_KIND_HOLD
	journalRelease = paymentsv1.JournalKind_JOURNAL_KIND_RELEASE
	journalPost    = paymentsv1.JournalKind_JOURNAL_KIND_POST

	suspense = "sys_suspense"
	hourUS   = int64(3_600_000_000)
)

// railed is what a payment has besides where something outside executes it: a pay-in by card, a payout by bank, and each
// operation on such a pay-in.
type railed struct {
	manual bool           // captured by commands
	asks   *railsv1.Order // what the rail is told of the instrument

	// Of the documents that the payment pinned.
	row        *referencev1.Fee // that priced it, nil: none
	card       *referencev1.CardPolicy
	returnsFee bool // payouts: the fee comes back with the money

	connector, reference string // of the authorisation
	authorized, captured int64
	stands               int64 // in the pending layer, in the account's currency
	feeReturned          int64
	closed               bool   // a final capture is done
	operations           []*pay // granted ones, whatever became of them
	disputed             int64  // taken or held for disputes
}

// railOf is the rail of a payment that is asked for, nil where there is none.
func (c *call) railOf(p *pay) *railed {
	policy, in := c.docs.policy, c.cmd.GetInstruction()
	asks := &railsv1.Order{Instrument: in.GetInstrument(), Brand: in.GetCard().GetBrand(), Installments: in.GetCard().GetInstallments()}
	switch {
	case p.kind == kindPayIn && p.method == "card" && policy.GetCard() != nil:
		return &railed{
			manual: in.GetCard().GetCapture() == paymentsv1.CaptureMethod_CAPTURE_METHOD_MANUAL, asks: asks, card: policy.GetCard(),
		}
	case p.kind == kindPayOut && p.method == "bank" && policy.GetBank() != nil:
		return &railed{asks: asks, returnsFee: policy.GetBank().GetReturnFee() == referencev1.RefundFee_REFUND_FEE_RETURNED}
	default:
		return nil
	}
}

// byCard tells a pay-in that a card's rail executes, or was declined before it could.
func (p *pay) byCard() bool {
	return p != nil && p.kind == kindPayIn && p.method == "card" && p.rail != nil
}

// settled tells the statuses in which a record may leave.
func (p *pay) settled() bool {
	switch p.status {
	case statusSucceeded, statusFailed, statusRefunded, statusExpired, statusCancelled, statusPaid, statusReturned, statusWon, statusLost:
		return true
	default:
		return false
	}
}

// waits tells an operation whose outcome is not known.
func (p *pay) waits() bool { return p.status == statusProcessing || p.status == statusUnknown }

// waiting are the operations of a kind that have no outcome yet.
func (p *pay) waiting(kinds ...paymentsv1.CommandKind) []*pay {
	if p.rail == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.rail.operations), func(o *pay) bool { return !o.waits() || !slices.Contains(kinds, o.kind) })
}

// inFlight is what operations of a kind are about, and have no outcome yet.
func (p *pay) inFlight(kind paymentsv1.CommandKind) int64 {
	var total int64
	for _, o := range p.waiting(kind) {
		total += o.amount // each was let in below a sum that fits
	}
	return total
}

// busy tells whether any operation has no outcome yet.
func (p *pay) busy() bool {
	return len(p.waiting(kindCapture, kindVoid, kindIncrement, kindRefund)) > 0
}

// feeAt is the fee of a card pay-in as if so much had been its amount.
func (p *pay) feeAt(minor int64) (int64, bool) {
	if minor == 0 {
		return 0, true
	}
	fee, ok := feeBy(p.rail.row, minor, p.currency)
	return min(fee, minor), ok
}

// netAt is what the account gets of so much, in its own currency.
func (p *pay) netAt(minor int64) (int64, bool) {
	fee, ok := p.feeAt(minor)
	if !ok || p.rate == nil {
		return minor - fee, ok
	}
	return p.rate.convert(minor-fee, p.currency, p.targetCurrency)
}

// tellRail puts what the rail has done for a card pay-in into the decision. A repeat tells what there was at first: nothing.
func (c *call) tellRail(p *pay) {
	d := c.out.Decision
	switch {
	case d.GetOutcome() == paymentsv1.Outcome_OUTCOME_REPEATED:
		return
	case p.byCard():
		d.AuthorizedMinor, d.CapturedMinor = p.rail.authorized, p.rail.captured
	case p.issued != nil:
		d.AuthorizedMinor, d.CapturedMinor = p.issued.authorized, p.issued.captured
	default:
		return
	}
	if s := d.GetStatus(); d.GetPaymentId() == p.id && (s == statusRequiresCapture || s == statusPartlyCaptured) {
		d.DeadlineUs = p.deadline
	}
}

// tellRelated tells of the payment that an operation is about, after it.
func (c *call) tellRelated(of *pay) {
	if of == nil {
		return
	}
	c.out.Decision.RefundedMinor, c.out.Decision.RelatedStatus = of.refunded, of.status
	c.tellRail(of)
}

// move writes a journal, where it has any lines.
func (c *call) move(kind paymentsv1.JournalKind, lines ...line) {
	if lines = withoutZero(lines); len(lines) > 0 {
		c.journal(kind, lines)
	}
}

// letGo takes so much of a card pay-in out of the pending layer.
func (c *call) letGo(p *pay, minor int64) {
	p.rail.stands -= minor
	c.move(journalRelease, line{c.acct.key, p.targetCurrency, -minor}, line{suspense, p.targetCurrency, minor})
}

// room: the account is not closed, and its sums stay within int64.
func (c *call) room(layer paymentsv1.Layer, lines []line) bool {
	return c.acct.state.GetStatus() != paymentsv1.AccountStatus_ACCOUNT_STATUS_CLOSED && c.fits(layer, lines)
}

// orAside puts suspense in the place of an account that has no room for the lines.
func (c *call) orAside(lines []line) []line {
	if c.room(paymentsv1.Layer_LAYER_POSTED, lines) {
		return lines
	}
	return c.aside(lines)
}

func (c *call) aside(lines []line) []line {
	for i := range lines {
		if lines[i].account == c.acct.key {
			lines[i].account = suspense
		}
	}
	return lines
}

// order asks the rail for something. What is asked is of the payment of; the answer is waited for by the record p.
func (c *call) order(p, of *pay, step string, o *railsv1.Order) {
	o.Version, o.OrderId, o.PaymentId, o.Method, o.Account = 1, p.id+"."+step, of.id, of.method, c.acct.key
	o.Tenant, o.Merchant, o.OrderedAtUs = c.acct.tenant, c.acct.merchant, c.acct.last
	o.LateAtUs = of.lateAt
	c.out.Orders = append(c.out.Orders, o)
	c.out.Decision.GivenOrderId = o.GetOrderId()
}

// execute asks the rail for a payment that was just granted.
func (c *call) execute(p *pay) {
	o := p.rail.asks
	o.AmountMinor, o.Currency = p.amount, p.currency
	switch {
	case p.kind == kindPayOut:
		o.Kind, o.AmountMinor, o.Currency = railsv1.OrderKind_ORDER_KIND_SEND, p.target, p.targetCurrency
	case p.rail.manual:
		o.Kind = railsv1.OrderKind_ORDER_KIND_AUTHORIZE
	default:
		o.Kind = railsv1.OrderKind_ORDER_KIND_COLLECT
	}
	if p.kind == kindPayIn {
		p.rail.stands, _ = p.netAt(p.amount) // priced before
	}
	c.order(p, p, p.steps()[0], o)
}

// steps are the orders that a record of this kind gives rise to, as the page's table names them.
func (p *pay) steps() []string {
	switch {
	case !p.granted || p.rail == nil:
		return nil
	case p.kind == kindPayOut:
		return []string{"send"}
	case p.kind == kindCapture:
		return []string{"capture"}
	case p.kind == kindVoid:
		return []string{"void"}
	case p.kind == kindIncrement:
		return []string{"increment"}
	case p.kind == kindRefund:
		return []string{"return"}
	case p.rail.manual:
		return []string{"authorize", "expire"}
	default:
		return []string{"collect"}
	}
}

package logtest

import (
	"fmt"
	"slices"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const (
	inReview          = paymentsv1.PaymentStatus_PAYMENT_STATUS_IN_REVIEW
	processing        = paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING
	succeeded         = paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED
	failed            = paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED
	partiallyRefunded = paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_REFUNDED
	refunded          = paymentsv1.PaymentStatus_PAYMENT_STATUS_REFUNDED
	expired           = paymentsv1.PaymentStatus_PAYMENT_STATUS_EXPIRED
	unknown           = paymentsv1.PaymentStatus_PAYMENT_STATUS_UNKNOWN
	requiresCapture   = paymentsv1.PaymentStatus_PAYMENT_STATUS_REQUIRES_CAPTURE
	partiallyCaptured = paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_CAPTURED
	cancelled         = paymentsv1.PaymentStatus_PAYMENT_STATUS_CANCELLED

	hourUS = 3_600_000_000
)

// rail is a payment that a rail executes, as far as it has come: a pay-in by card or a payout by bank.
type rail struct {
	made                                *paymentsv1.Decision // that created it
	manual                              bool
	status                              paymentsv1.PaymentStatus
	deadlineUS                          int64
	authorized, captured, capturing     int64
	refunded, refunding, refundedTarget int64
	hold                                int64 // a pay-in's pending credit
	waiting, refused                    []*paymentsv1.Decision
	voidOrIncrement, suspended          bool
}

// rails starts a payment by a rail, or takes one further.
func (g *Generator) rails(a *account) []*paymentsv1.Decision {
	if len(a.rails) == 0 || len(a.rails) < 8 && g.rng.IntN(4) == 0 {
		if g.rng.IntN(4) == 0 {
			return g.bankPayOut(a)
		}
		return g.cardPayIn(a)
	}
	n := g.rng.IntN(len(a.rails))
	r := a.rails[n]
	switch {
	case r.status == inReview:
		return g.railVerdict(a, r)
	case r.made.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT:
		return g.payOutAnswer(a, r)
	}
	switch r.status {
	case processing, unknown:
		return g.cardAnswer(a, r)
	case requiresCapture, partiallyCaptured:
		return g.authorizedStep(a, r)
	default:
		if g.rng.IntN(12) == 0 {
			a.rails = slices.Delete(a.rails, n, n+1)
			return g.leave(a, r)
		}
		return g.endedStep(a, r)
	}
}

func (g *Generator) cardPayIn(a *account) []*paymentsv1.Decision {
	outcome := approved
	switch g.rng.IntN(10) {
	case 0:
		d := g.create(a, payment.KindPayIn, declined, g.amount())
		d.Method = "card"
		return g.fail(d, paymentsv1.Reason_REASON_METHOD_UNAVAILABLE)
	case 1:
		outcome = review
	}
	d := g.create(a, payment.KindPayIn, outcome, 1000+g.amount())
	d.Method, d.Instrument, d.FeeMinor = "card", "tok_"+d.GetPaymentId()[3:9], fee(d.GetAmountMinor())
	if g.rng.IntN(5) == 0 {
		g.convert(d, a)
	}
	r := &rail{made: d, manual: g.rng.IntN(3) > 0, status: processing}
	_, r.hold = r.net(d.GetAmountMinor())
	if outcome == review {
		r.status, r.deadlineUS = inReview, d.GetAcceptedAtUs()+hourUS
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_FRAUD_SCORE}
	}
	d.Status, d.DeadlineUs = r.status, r.deadlineUS
	if outcome == approved {
		d.GivenOrderId = d.GetPaymentId() + "." + r.step()
	}
	a.pending(d, paymentsv1.JournalKind_JOURNAL_KIND_HOLD, r.hold)
	a.rails = append(a.rails, r)
	return []*paymentsv1.Decision{d}
}

// step is what a card payment asks its rail for.
func (r *rail) step() string {
	if r.manual {
		return "authorize"
	}
	return "collect"
}

// fee is a card's, of all that is captured.
func fee(minor int64) int64 { return minor / 70 }

// net is the fee and the credit of so much captured.
func (r *rail) net(minor int64) (feeMinor, creditMinor int64) {
	feeMinor = fee(minor)
	if r.made.GetFx() != nil {
		return feeMinor, (minor - feeMinor) / 5
	}
	return feeMinor, minor - feeMinor
}

// pending books a pending credit of the account in the payment's credited currency, or its release; debits are negative.
func (a *account) pending(d *paymentsv1.Decision, kind paymentsv1.JournalKind, minor int64) {
	if minor == 0 {
		return
	}
	line := func(account string, minor int64) *paymentsv1.Posting {
		return &paymentsv1.Posting{Account: account, Currency: d.GetTargetCurrency(), AmountMinor: minor, Layer: paymentsv1.Layer_LAYER_PENDING}
	}
	a.book(d, kind, line(a.id, minor), line("sys_suspense", -minor))
}

// railVerdict ends the review of a card payment. Approved, it waits for its rail.
func (g *Generator) railVerdict(a *account, r *rail) []*paymentsv1.Decision {
	var d *paymentsv1.Decision
	switch g.rng.IntN(3) {
	case 0:
		d = g.about(a, paymentsv1.CommandKind_COMMAND_KIND_APPROVE, approved, r.made)
		r.status, d.GivenOrderId = processing, d.GetPaymentId()+"."+r.step()
	case 1:
		d = g.about(a, paymentsv1.CommandKind_COMMAND_KIND_DECLINE, approved, r.made)
		r.status, d.Reasons = failed, []paymentsv1.Reason{paymentsv1.Reason_REASON_REVIEW_DECLINED}
	default:
		d = g.about(a, paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, applied, r.made)
		r.status, d.Reasons = expired, []paymentsv1.Reason{paymentsv1.Reason_REASON_REVIEW_EXPIRED}
	}
	d.Status, r.deadlineUS = r.status, 0
	if r.status != processing {
		a.pending(d, paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, -r.hold)
		r.hold = 0
	}
	return []*paymentsv1.Decision{d}
}

// answer is the decision on a rail's word about a payment's own order, or about an operation.
func (g *Generator) answer(a *account, r *rail, waits *paymentsv1.Decision, step string) *paymentsv1.Decision {
	d := g.about(a, paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER, applied, waits)
	d.OrderId, d.RailCode = waits.GetPaymentId()+"."+step, fmt.Sprintf("%02d", g.rng.IntN(100))
	d.RailResult, d.RailAmountMinor = paymentsv1.RailResult(1+g.rng.Int32N(6)), max(0, g.rng.Int64N(2000)-1000)
	if g.rng.IntN(5) > 0 {
		d.Connector = []string{"cielo", "rede"}[g.rng.IntN(2)]
		if g.rng.IntN(4) > 0 {
			d.RailReference = fmt.Sprintf("%s-%d", step, g.serial)
			if d.GetConnector() == "cielo" {
				d.RailTid = fmt.Sprintf("tid-%d", g.serial)
			}
		}
	}
	d.Status = r.status
	if waits != r.made {
		d.Status = waits.GetStatus()
	}
	return d
}

// tell ends a decision with what stands after it: of the payment itself, or of the one that an operation is about.
func (r *rail) tell(d *paymentsv1.Decision) *paymentsv1.Decision {
	d.CapturedMinor, d.AuthorizedMinor = r.captured, r.authorized
	if d.GetPaymentId() != r.made.GetPaymentId() {
		d.RelatedPaymentId, d.RelatedStatus, d.RefundedMinor = r.made.GetPaymentId(), r.status, r.refunded
		return d
	}
	d.Status = r.status
	if r.status == requiresCapture || r.status == partiallyCaptured {
		d.DeadlineUs = r.deadlineUS
	}
	return d
}

// cardAnswer answers the order of a card payment: collected or authorised, refused, or nobody knows.
func (g *Generator) cardAnswer(a *account, r *rail) []*paymentsv1.Decision {
	d := g.answer(a, r, r.made, r.step())
	switch n := g.rng.IntN(10); {
	case n == 0:
		r.status = unknown
	case n == 1:
		r.status, d.Reasons = failed, []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_REFUSED}
		a.pending(d, paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, -r.hold)
		r.hold = 0
	case n == 2: // an order that was never given: declined, and tells for information
		d.Outcome, d.Reasons = declined, []paymentsv1.Reason{paymentsv1.Reason_REASON_PAYMENT_STATE}
	case r.manual:
		r.status, r.authorized = requiresCapture, r.made.GetAmountMinor()
		if g.rng.IntN(4) > 0 { // a policy without a limit leaves no deadline
			r.deadlineUS = d.GetAcceptedAtUs() + 7*24*hourUS
		}
	default:
		r.authorized = r.made.GetAmountMinor()
		r.capture(a, d, r.authorized)
		r.status = succeeded
	}
	return []*paymentsv1.Decision{r.tell(d)}
}

// capture posts so much more of a card payment, and gives the part's fee and credit.
func (r *rail) capture(a *account, d *paymentsv1.Decision, minor int64) (feeMinor, targetMinor int64) {
	feeBefore, before := r.net(r.captured)
	r.captured += minor
	feeAfter, after := r.net(r.captured)
	feeMinor, targetMinor = feeAfter-feeBefore, after-before
	freed := min(r.hold, targetMinor)
	r.hold -= freed
	a.pending(d, paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, -freed)
	part := &paymentsv1.Decision{
		Account: a.id, AmountMinor: minor, FeeMinor: feeMinor, TargetAmountMinor: targetMinor, Fx: r.made.GetFx(), Method: "card",
	}
	a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_POST, lines(part, paymentsv1.CommandKind_COMMAND_KIND_PAY_IN)...)
	if r.made.GetFx() == nil {
		targetMinor = minor
	}
	return feeMinor, targetMinor
}

// giveUp releases what is left of an authorisation that ends.
func (r *rail) giveUp(a *account, d *paymentsv1.Decision) {
	a.pending(d, paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, -r.hold)
	r.hold, r.deadlineUS = 0, 0
}

// authorizedStep asks for something about an authorised payment, answers what was asked, or lets it expire.
func (g *Generator) authorizedStep(a *account, r *rail) []*paymentsv1.Decision {
	if len(r.waiting) > 0 && g.rng.IntN(2) == 0 {
		return g.operationAnswer(a, r)
	}
	left := r.authorized - r.captured - r.capturing
	switch n := g.rng.IntN(12); {
	case n < 6 && left > 0 && !r.voidOrIncrement:
		minor := 1 + g.rng.Int64N(left)
		if g.rng.IntN(4) == 0 {
			minor = left
		}
		d := g.operation(a, r, payment.KindCapture, minor)
		r.capturing += minor
		return []*paymentsv1.Decision{d}
	case n < 8 && len(r.waiting) == 0:
		r.voidOrIncrement = true
		return []*paymentsv1.Decision{g.operation(a, r, payment.KindVoid, r.authorized-r.captured)}
	case n < 9 && len(r.waiting) == 0 && r.status == requiresCapture:
		r.voidOrIncrement = true
		return []*paymentsv1.Decision{g.operation(a, r, payment.KindIncrement, g.amount())}
	case n < 10:
		return g.refusedOperation(a, r, payment.KindCapture)
	case n < 11 && r.deadlineUS != 0:
		return g.expireAuthorization(a, r)
	default: // the rail repeats itself
		return []*paymentsv1.Decision{r.tell(g.answer(a, r, r.made, "authorize"))}
	}
}

// operation orders a capture, void, increment or refund that was allowed.
func (g *Generator) operation(a *account, r *rail, kind payment.Kind, minor int64) *paymentsv1.Decision {
	d := g.create(a, kind, approved, minor)
	d.Method, d.TargetCurrency, d.TargetAmountMinor, d.Status = "card", r.made.GetTargetCurrency(), 0, processing
	d.GivenOrderId = d.GetPaymentId() + "." + stepOf(d)
	r.waiting = append(r.waiting, d)
	return r.tell(d)
}

// refusedOperation is declined. It tells where the payment stands, and changes nothing there.
func (g *Generator) refusedOperation(a *account, r *rail, kind payment.Kind) []*paymentsv1.Decision {
	d := g.create(a, kind, declined, g.amount())
	d.Method, d.TargetAmountMinor = "card", 0
	return g.fail(r.tell(d), paymentsv1.Reason_REASON_OPERATION_IN_PROGRESS)
}

// expireAuthorization gives up what was not captured in time; with something in flight, later.
func (g *Generator) expireAuthorization(a *account, r *rail) []*paymentsv1.Decision {
	d := g.about(a, paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, applied, r.made)
	if len(r.waiting) > 0 {
		r.deadlineUS += hourUS
		return []*paymentsv1.Decision{r.tell(d)}
	}
	r.status, d.Reasons = expired, []paymentsv1.Reason{paymentsv1.Reason_REASON_AUTHORIZATION_EXPIRED}
	if r.captured > 0 {
		r.status = succeeded
	}
	r.giveUp(a, d)
	return []*paymentsv1.Decision{r.tell(d)}
}

// stepOf is what an operation asks its rail for.
func stepOf(op *paymentsv1.Decision) string {
	return map[paymentsv1.CommandKind]string{
		paymentsv1.CommandKind_COMMAND_KIND_CAPTURE: "capture", paymentsv1.CommandKind_COMMAND_KIND_VOID: "void",
		paymentsv1.CommandKind_COMMAND_KIND_INCREMENT: "increment", paymentsv1.CommandKind_COMMAND_KIND_REFUND: "return",
	}[op.GetKind()]
}

// operationAnswer answers the oldest operation in flight.
func (g *Generator) operationAnswer(a *account, r *rail) []*paymentsv1.Decision {
	op := r.waiting[0]
	d := g.answer(a, r, op, stepOf(op))
	n := g.rng.IntN(10)
	switch {
	case n == 0:
		d.Status = unknown
		return []*paymentsv1.Decision{r.tell(d)}
	case n == 1:
		d.Outcome, d.Reasons = declined, []paymentsv1.Reason{paymentsv1.Reason_REASON_PAYMENT_STATE}
		return []*paymentsv1.Decision{r.tell(d)}
	case n < 4:
		d.Status, d.Reasons = failed, []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_REFUSED}
		r.refused = append(r.refused, op)
	default:
		d.Status = succeeded
	}
	r.waiting = r.waiting[1:]
	done := d.GetStatus() == succeeded
	switch op.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_CAPTURE:
		r.captureAnswered(a, d, done)
	case paymentsv1.CommandKind_COMMAND_KIND_REFUND:
		r.refundAnswered(a, d, done)
	case paymentsv1.CommandKind_COMMAND_KIND_VOID:
		r.voidOrIncrement = false
		if done {
			r.status = cancelled
			if r.captured > 0 {
				r.status = succeeded
			}
			r.giveUp(a, d)
		}
	default:
		r.voidOrIncrement = false
		if done {
			_, before := r.net(r.authorized)
			r.authorized += op.GetAmountMinor()
			_, after := r.net(r.authorized)
			r.hold += after - before
			a.pending(d, paymentsv1.JournalKind_JOURNAL_KIND_HOLD, after-before)
		}
	}
	return []*paymentsv1.Decision{r.tell(d)}
}

func (r *rail) captureAnswered(a *account, d *paymentsv1.Decision, done bool) {
	r.capturing -= d.GetAmountMinor()
	if done {
		d.FeeMinor, d.TargetAmountMinor = r.capture(a, d, d.GetAmountMinor())
		r.status = partiallyCaptured
	}
	if r.capturing == 0 && r.captured >= r.authorized {
		r.status = succeeded
		r.giveUp(a, d)
	}
}

func (r *rail) refundAnswered(a *account, d *paymentsv1.Decision, done bool) {
	r.refunding -= d.GetAmountMinor()
	a.pending(d, paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, d.GetTargetAmountMinor())
	if !done {
		r.refundedTarget -= d.GetTargetAmountMinor()
		return
	}
	r.refunded += d.GetAmountMinor()
	back := []*paymentsv1.Posting{post(a.id, d.GetTargetCurrency(), -d.GetTargetAmountMinor())}
	if d.GetFx() != nil {
		back = append(back, post("sys_fx", foreign, d.GetTargetAmountMinor()), post("sys_fx", currency, -d.GetAmountMinor()))
	}
	a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_REFUND, append(back, post("sys_clearing_card", currency, d.GetAmountMinor()))...)
	r.status = partiallyRefunded
	if r.refunded == r.captured {
		r.status = refunded
	}
}

// endedStep refunds what was captured, and lets the rail speak of what has ended: again, too late, or against its word.
func (g *Generator) endedStep(a *account, r *rail) []*paymentsv1.Decision {
	if len(r.waiting) > 0 && g.rng.IntN(2) == 0 {
		return g.operationAnswer(a, r)
	}
	switch n := g.rng.IntN(8); {
	case n < 3 && (r.status == succeeded || r.status == partiallyRefunded):
		return g.cardRefund(a, r)
	case n < 4 && len(r.refused) > 0 && r.refused[0].GetKind() == paymentsv1.CommandKind_COMMAND_KIND_CAPTURE:
		op := r.refused[0]
		r.refused = r.refused[1:]
		d := g.answer(a, r, op, "capture")
		d.Status, d.Reasons = failed, []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_LATE}
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_LATE,
			post("sys_clearing_card", currency, -op.GetAmountMinor()), post("sys_suspense", currency, op.GetAmountMinor()))
		return []*paymentsv1.Decision{r.tell(d)}
	case n < 5 && r.status == expired && r.authorized > 0: // the void that nobody asked for
		return []*paymentsv1.Decision{r.tell(g.answer(a, r, r.made, "expire"))}
	case n < 6: // nothing changes
		d := g.answer(a, r, r.made, "authorize")
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_CONTRADICTION}
		return []*paymentsv1.Decision{r.tell(d)}
	case n < 7: // its record is looked at for retention: no amounts of the rail are told
		d := g.about(a, paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, applied, r.made)
		d.Status = r.status
		return []*paymentsv1.Decision{d}
	default:
		return g.refusedOperation(a, r, payment.KindVoid)
	}
}

// cardRefund orders a refund: it is held, and the payment's refunded amount waits for the answer.
func (g *Generator) cardRefund(a *account, r *rail) []*paymentsv1.Decision {
	left := r.captured - r.refunded - r.refunding
	if left <= 0 {
		return g.refusedOperation(a, r, payment.KindRefund)
	}
	minor := 1 + g.rng.Int64N(left)
	if g.rng.IntN(3) == 0 {
		minor = left
	}
	debit := minor
	if r.made.GetFx() != nil {
		debit = max(0, (r.refunded+r.refunding+minor)/5-r.refundedTarget)
	}
	if b := a.balance(r.made.GetTargetCurrency()); b.GetPostedMinor()-b.GetHeldMinor() < debit {
		return g.refusedOperation(a, r, payment.KindRefund)
	}
	d := g.operation(a, r, payment.KindRefund, minor)
	d.Fx, d.TargetAmountMinor = r.made.GetFx(), debit
	r.refunding, r.refundedTarget = r.refunding+minor, r.refundedTarget+debit
	a.pending(d, paymentsv1.JournalKind_JOURNAL_KIND_HOLD, -debit)
	return []*paymentsv1.Decision{d}
}

// leave ends the records: a payment's own, then one of an operation, which names its payment and tells nothing of it.
func (g *Generator) leave(a *account, r *rail) []*paymentsv1.Decision {
	d := g.about(a, paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, applied, r.made)
	d.Status = r.status
	ds := []*paymentsv1.Decision{d}
	for _, op := range r.refused {
		d := g.about(a, paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, applied, op)
		d.RelatedPaymentId, d.Status = r.made.GetPaymentId(), failed
		ds = append(ds, d)
	}
	return ds
}

package accounts

import (
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// railAnswer takes in what a rail says about an order. It is never refused for what the account has become: it is a fact.
func (r *reducer) railAnswer() {
	if r.s.Related == nil {
		r.decline(payment.ReasonPaymentUnknown)
		return
	}
	paidID, paid := r.cmd.PaymentID, clone(r.s.Related)
	id, step := splitOrderID(r.cmd.RailAnswer.OrderID)
	if id != paidID {
		r.answerOperation(id, step, paid)
		return
	}
	r.d.tell(paidID, paid)
	if paid.Kind.Operation() || !wasOrdered(paid, step) { // an operation's answer names the payment that it is about
		r.decline(payment.ReasonPaymentState)
		return
	}
	if step == stepExpire {
		return // what nobody wants is given up at the rail, or expires there
	}
	changed := false
	switch e := r.answered(paid, step); r.answerStep(paid, e) {
	case payment.Move:
		r.apply(paidID, paid, e)
		changed = true
	case payment.Late:
		changed = r.late(paidID, paid, paid, step)
	default:
	}
	if changed {
		r.store(paidID, paid)
	}
}

// wasOrdered tells whether the record had given this order.
func wasOrdered(rec *payment.Record, step string) bool {
	if rec.Rail == nil || !rec.Rail.Ordered {
		return false
	}
	own, _ := stepOf(rec)
	return own != "" && step == own || step == stepExpire && own == stepAuthorize
}

// answered is the event that the answer is. One that tells another amount says nothing sure: it is asked for again.
func (r *reducer) answered(rec *payment.Record, step string) payment.Event {
	a := r.cmd.RailAnswer
	amountMinor, _ := ordered(rec)
	switch a.Result {
	case payment.RailConfirmed, payment.RailSent, payment.RailReturned:
		if a.AmountMinor != 0 && a.AmountMinor != amountMinor {
			r.d.Reasons = []payment.Reason{payment.ReasonRailAmount}
			return payment.EventUnknown
		}
	default:
	}
	switch a.Result {
	case payment.RailConfirmed:
		switch step {
		case stepAuthorize:
			return payment.EventAuthorized
		case stepCollect:
			return payment.EventCollected
		default:
			return payment.EventConfirmed
		}
	case payment.RailRefused:
		return payment.EventRefused
	case payment.RailAccepted:
		return payment.EventAccepted
	case payment.RailSent:
		return payment.EventSent
	case payment.RailReturned:
		return payment.EventReturned
	default:
		return payment.EventUnknown
	}
}

// answerStep asks the table, moves the record where it says so, and gives the reasons for what is not taken in.
func (r *reducer) answerStep(rec *payment.Record, e payment.Event) payment.Effect {
	step := payment.Next(payment.FamilyOf(rec.Kind), rec.Status, e)
	switch step.Effect {
	case payment.Contradict:
		r.d.Reasons = []payment.Reason{payment.ReasonRailContradiction}
	case payment.Refuse, payment.Impossible:
		r.decline(payment.ReasonPaymentState)
	default:
	}
	return step.Effect
}

// apply moves a payment by the answer to its own order, and the money with it.
func (r *reducer) apply(id payment.ID, rec *payment.Record, e payment.Event) {
	before := rec.Status
	r.move(rec, e)
	switch e {
	case payment.EventAuthorized:
		r.authorized(id, rec)
	case payment.EventCollected:
		r.granted(rec)
		r.postCapture(rec, rec.AmountMinor)
		r.releaseHold(rec, rec.Rail.HoldMinor)
	case payment.EventSent, payment.EventConfirmed:
		if before != payment.StatusSent {
			r.release(rec)
			r.must(post(r.key, rec))
		}
	case payment.EventRefused, payment.EventReturned:
		r.takenBack(rec, before)
	default: // accepted and unknown move the status alone
	}
}

// granted remembers who did it, for what is asked for later.
func (r *reducer) granted(rec *payment.Record) {
	rec.Rail.AuthorizedMinor = rec.AmountMinor
	rec.Rail.Connector, rec.Rail.Reference = r.cmd.RailAnswer.Connector, r.cmd.RailAnswer.Reference
}

func (r *reducer) authorized(id payment.ID, rec *payment.Record) {
	r.granted(rec)
	r.standUntil(id, rec)
}

// standUntil enters when what is authorised is given up.
func (r *reducer) standUntil(id payment.ID, rec *payment.Record) {
	if ttl := rec.Rail.Terms.AuthorizationTTLUS; ttl > 0 {
		rec.Rail.ExpiresAtUS = r.d.AcceptedAtUS + ttl
		r.w.DueAdd = append(r.w.DueAdd, r.authorizationDue(id, rec))
	}
}

func (r *reducer) authorizationDue(id payment.ID, rec *payment.Record) Due {
	return Due{rec.Rail.ExpiresAtUS, payment.AccountID(r.key), id, payment.ExpireAuthorization}
}

// takenBack ends a payment that its rail refused, or that came back after it had left.
func (r *reducer) takenBack(rec *payment.Record, before payment.Status) {
	if rec.Kind == payment.KindPayIn {
		r.releaseHold(rec, rec.Rail.HoldMinor)
		r.d.Reasons = []payment.Reason{payment.ReasonRailRefused}
		return
	}
	r.unreserve(rec)
	if before == payment.StatusSent || before == payment.StatusPaid {
		r.bookOrSuspend(returned(r.key, rec))
	} else {
		r.release(rec)
	}
	if rec.Status == payment.StatusFailed {
		r.d.Reasons = []payment.Reason{payment.ReasonRailRefused}
	}
}

// returned is the reverse of a payout's posting, without its fee where that is kept.
func returned(account string, rec *payment.Record) ledger.Journal {
	kept := *rec
	if !rec.Rail.Terms.FeeReturned {
		kept.FeeMinor = 0
	}
	return post(account, &kept).Reverse(ledger.JournalReturn)
}

// late takes in what the rail did after the payment had ended here: clearing follows the rail, and suspense waits for a
// person. An authorisation that nobody wants is given up. False: there was nothing to take in.
func (r *reducer) late(paidID payment.ID, paid, rec *payment.Record, step string) bool {
	amountMinor, currency := ordered(rec)
	if r.cmd.RailAnswer.Result == payment.RailReturned {
		return r.lateReturned(rec, currency, amountMinor)
	}
	if rec.Rail.Late {
		return false
	}
	switch step {
	case stepAuthorize:
		paid.Rail.Connector, paid.Rail.Reference = r.cmd.RailAnswer.Connector, r.cmd.RailAnswer.Reference
		r.orderVoid(paidID, paid, amountMinor)
	case stepCollect, stepCapture:
		r.suspend(paid.Method, currency, amountMinor)
	case stepReturn, stepSend:
		r.suspend(paid.Method, currency, -amountMinor)
	default:
		return false // a void or an increment moves no money
	}
	rec.Rail.Late = true
	r.d.Reasons = []payment.Reason{payment.ReasonRailLate}
	return true
}

// lateReturned takes back what a rail had sent too late. What it has not sent cannot come back.
func (r *reducer) lateReturned(rec *payment.Record, currency string, amountMinor int64) bool {
	switch {
	case !rec.Rail.Late:
		r.d.Reasons = []payment.Reason{payment.ReasonRailContradiction}
		return false
	case rec.Rail.LateReturned:
		return false
	}
	r.suspend(rec.Method, currency, amountMinor)
	rec.Rail.LateReturned = true
	r.d.Reasons = []payment.Reason{payment.ReasonRailLate}
	return true
}

// suspend books what came in (or left, where negative) to suspense.
func (r *reducer) suspend(method, currency string, amountMinor int64) {
	l := newLines(ledger.LayerPosted, 2)
	l.add(ledger.SysClearing(method), currency, -amountMinor)
	l.add(ledger.SysSuspense, currency, amountMinor)
	r.must(ledger.Journal{Kind: ledger.JournalLate, Postings: l.postings})
}

// answerOperation takes in the answer to a capture, void, increment or refund.
func (r *reducer) answerOperation(id payment.ID, step string, paid *payment.Record) {
	rec := r.s.Payment
	if rec == nil || rec.Related != r.cmd.PaymentID || id.Kind() != rec.Kind {
		r.d.tell(r.cmd.PaymentID, paid)
		r.decline(payment.ReasonPaymentState)
		return
	}
	rec = clone(rec)
	r.d.tell(id, rec)
	r.tellRelated(paid)
	if !wasOrdered(rec, step) {
		r.decline(payment.ReasonPaymentState)
		return
	}
	e := r.answered(rec, step)
	changed, paidChanged := false, false
	switch r.answerStep(rec, e) {
	case payment.Move:
		r.move(rec, e)
		changed = true
		paidChanged = r.applyOperation(rec, paid, e)
	case payment.Late:
		if changed = r.late(r.cmd.PaymentID, paid, rec, step); changed { // its later orders tell the rail what this account knows
			paid.Rail.LateAtUS, paidChanged = max(paid.Rail.LateAtUS, r.cmd.RailAnswer.ReportedAtUS), true
		}
	default:
	}
	r.d.tellStatus(rec.Status, rec)
	r.tellRelated(paid)
	if changed {
		r.w.Payments = append(r.w.Payments, PaymentWrite{id.Identity(), rec})
	}
	if paidChanged {
		r.w.Payments = append(r.w.Payments, PaymentWrite{r.cmd.PaymentID.Identity(), paid})
	}
}

// applyOperation moves the payment by an answered operation. False: nothing about the payment changed.
func (r *reducer) applyOperation(rec, paid *payment.Record, e payment.Event) bool {
	done := e == payment.EventConfirmed
	if !done && e != payment.EventRefused {
		return false
	}
	if !done {
		r.d.Reasons = []payment.Reason{payment.ReasonRailRefused}
	}
	rail := paid.Rail
	switch rec.Kind {
	case payment.KindCapture:
		r.answeredCapture(rec, paid, done)
	case payment.KindVoid:
		rail.OperationOpen = false
		if done {
			r.move(paid, payment.EventVoided)
			r.giveUp(paid)
		}
	case payment.KindIncrement:
		rail.OperationOpen = false
		if done {
			r.incremented(rec, paid)
		}
	case payment.KindRefund:
		r.answeredRefund(rec, paid, done)
	default:
		r.fail("answer to a %s", rec.Kind)
	}
	return true
}

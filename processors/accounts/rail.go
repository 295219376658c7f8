package accounts

import (
	"github.com/caudalpay/caudal/processors/fees"
	"github.com/caudalpay/caudal/processors/intake"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
)

// authorizationAgainUS is how long an authorisation stands on where something is in flight at its deadline.
const authorizationAgainUS = 60 * minuteUS

// byRail gives a granted payment the state of its rail, and pins the terms that an answer cannot pin. Nothing where the
// payment settles at once.
func (r *reducer) byRail(pol *policy.Policy) {
	rec := r.rec
	if !intake.HasRail(pol, rec.Kind, rec.Method) {
		return
	}
	rail := &payment.Rail{}
	switch rec.Kind {
	case payment.KindPayOut:
		rail.Terms.FeeReturned = pol.Bank.FeeReturned
	case payment.KindAuthorization:
		rail.Terms.AuthorizationTTLUS = pol.Issuing.AuthorizationTTLUS
	default:
		card := r.cmd.Instruction.Card
		rail.Capture, rail.Brand, rail.Installments = card.Capture, card.Brand, card.Installments
		_, rail.HoldMinor = credit(rec)
		rail.Terms = payment.RailTerms{
			AuthorizationTTLUS: pol.Card.AuthorizationTTLUS, OverCaptureBP: pol.Card.OverCaptureBP, FeeReturned: pol.Card.FeeReturned,
			CurrentRate: pol.Card.CurrentRate, Fee: r.s.Fees.Terms(rec.Kind, rec.Method, rec.Currency),
		}
	}
	rec.Rail = rail
}

// net is the fee of a card payment of which so much is captured, and what is credited for it, in the account's currency.
// Parts are differences of these, so they add up to the whole.
func net(paid *payment.Record, capturedMinor int64) (feeMinor, creditMinor int64, ok bool) {
	if capturedMinor == 0 {
		return 0, 0, true
	}
	feeMinor, ok = fees.Charge(paid.Rail.Terms.Fee, payment.KindPayIn, capturedMinor)
	if !ok {
		return 0, 0, false
	}
	creditMinor = capturedMinor - feeMinor // a pay-in's fee is never above its amount
	if paid.FX != nil {
		creditMinor, ok = rateOf(paid.FX).Convert(creditMinor, paid.Currency, paid.TargetCurrency)
	}
	return feeMinor, creditMinor, ok
}

func rateOf(f *payment.FX) money.Rate {
	return money.Rate{Unscaled: f.RateUnscaled, Scale: f.RateScale}
}

// answeredCapture posts what a capture has brought, and ends the payment where nothing more is coming.
func (r *reducer) answeredCapture(rec, paid *payment.Record, done bool) {
	rail := paid.Rail
	if done && (rec.Rail.Final || r.cmd.RailAnswer.Closed) { // closed: the rail takes no other, whatever was asked for
		rail.Closing, rail.Final = true, true
	}
	rail.CapturingMinor -= rec.AmountMinor
	if !done && rec.Rail.Final && !rail.Final {
		rail.Closing = false
	}
	if done {
		r.d.FeeMinor, r.d.TargetAmountMinor = r.postCapture(paid, rec.AmountMinor)
	}
	switch {
	case rail.CapturingMinor == 0 && (rail.Closing || rail.CapturedMinor >= rail.AuthorizedMinor):
		r.move(paid, payment.EventCapturedAll)
		r.giveUp(paid)
	case done:
		r.move(paid, payment.EventCaptured)
	}
}

// postCapture posts so much more of a card payment, and releases what was held for it. It returns the fee, and what was
// credited: gross where the currency is the same.
func (r *reducer) postCapture(paid *payment.Record, amountMinor int64) (feeMinor, targetMinor int64) {
	rail := paid.Rail
	_, before, ok := net(paid, rail.CapturedMinor)
	rail.CapturedMinor += amountMinor
	fee, after, fits := net(paid, rail.CapturedMinor)
	if !ok || !fits {
		r.fail("capture of %d overflows", amountMinor)
		return 0, 0
	}
	feeMinor, targetMinor = fee-rail.FeeMinor, after-before
	rail.FeeMinor = fee
	r.releaseHold(paid, min(rail.HoldMinor, targetMinor))
	part := payment.Record{
		Kind: payment.KindPayIn, Method: paid.Method, AmountMinor: amountMinor, Currency: paid.Currency, FeeMinor: feeMinor,
		TargetAmountMinor: targetMinor, TargetCurrency: paid.TargetCurrency, FX: paid.FX,
	}
	r.bookOrSuspend(post(r.key, &part))
	if paid.FX == nil {
		targetMinor = amountMinor
	}
	return feeMinor, targetMinor
}

// releaseHold takes so much of what a card payment holds out of the pending layer: a credit, or the debit of an authorization.
func (r *reducer) releaseHold(paid *payment.Record, amountMinor int64) {
	paid.Rail.HoldMinor -= amountMinor
	if paid.Kind == payment.KindAuthorization {
		amountMinor = -amountMinor
	}
	if j, some := r.pending(ledger.JournalRelease, paid.TargetCurrency, -amountMinor); some {
		r.must(j)
	}
}

// pending is a card payment's pending line, or its release; false where it is nothing.
func (r *reducer) pending(kind ledger.JournalKind, currency string, amountMinor int64) (j ledger.Journal, some bool) {
	l := newLines(ledger.LayerPending, 2)
	l.add(r.key, currency, amountMinor)
	l.add(ledger.SysSuspense, currency, -amountMinor)
	return ledger.Journal{Kind: kind, Postings: l.postings}, amountMinor != 0
}

// giveUp releases what is left of an authorisation that ends.
func (r *reducer) giveUp(paid *payment.Record) {
	r.releaseHold(paid, paid.Rail.HoldMinor)
	r.forgetDeadline(paid)
}

// forgetDeadline takes the payment's entry out of the due index.
func (r *reducer) forgetDeadline(paid *payment.Record) {
	if paid.Rail.ExpiresAtUS != 0 {
		r.w.DueRemove = append(r.w.DueRemove, r.authorizationDue(r.cmd.PaymentID, paid))
		paid.Rail.ExpiresAtUS = 0
	}
}

// incremented raises what is authorised. Where the account has no room for it the pending credit stays as it was.
func (r *reducer) incremented(rec, paid *payment.Record) {
	_, before, ok := net(paid, paid.Rail.AuthorizedMinor)
	paid.Rail.AuthorizedMinor += rec.AmountMinor // it was checked to fit when it was asked for, and nothing was added since
	_, after, fits := net(paid, paid.Rail.AuthorizedMinor)
	if !ok || !fits {
		r.fail("increment of %d overflows", rec.AmountMinor)
		return
	}
	r.move(paid, payment.EventIncremented)
	if j, some := r.pending(ledger.JournalHold, paid.TargetCurrency, after-before); some && r.book(j) {
		paid.Rail.HoldMinor += after - before
	}
}

// expireAuthorization gives up what was authorised and not captured in time.
func (r *reducer) expireAuthorization(id payment.ID, paid *payment.Record) {
	rail := paid.Rail
	if rail.CapturingMinor > 0 || rail.OperationOpen {
		rail.ExpiresAtUS += authorizationAgainUS
		r.w.DueAdd = append(r.w.DueAdd, r.authorizationDue(id, paid))
		r.store(id, paid)
		return
	}
	r.d.Reasons = []payment.Reason{payment.ReasonAuthorizationExpired}
	r.releaseHold(paid, rail.HoldMinor)
	r.move(paid, payment.EventAuthorizationExpired)
	rail.ExpiresAtUS = 0
	switch {
	case paid.Kind == payment.KindPayIn:
		r.orderVoid(id, paid, rail.AuthorizedMinor-rail.CapturedMinor)
	case rail.CapturedMinor == 0:
		r.unreserve(paid)
	}
	r.store(id, paid)
}

// answeredRefund posts what the rail has given back, or frees what was held for it.
func (r *reducer) answeredRefund(rec, paid *payment.Record, done bool) {
	rail := paid.Rail
	rail.RefundingMinor -= rec.AmountMinor
	if rec.TargetAmountMinor != 0 {
		r.must(refundHold(r.key, rec).Reverse(ledger.JournalRelease))
	}
	if !done {
		paid.RefundedTargetMinor -= rec.TargetAmountMinor
		return
	}
	paid.RefundedMinor += rec.AmountMinor
	r.must(refundJournal(r.key, rec))
	r.returnFee(paid)
	e := payment.EventRefunded
	if paid.RefundedMinor == rail.CapturedMinor {
		e = payment.EventRefundedAll
	}
	r.move(paid, e)
}

// returnFee gives back the part of the fee that belongs to what is refunded, where the terms say so.
func (r *reducer) returnFee(paid *payment.Record) {
	rail := paid.Rail
	if !rail.Terms.FeeReturned {
		return
	}
	total, ok := money.MulDivHalfEven(rail.FeeMinor, paid.RefundedMinor, rail.CapturedMinor)
	if !ok {
		r.fail("fee of %d refunded", paid.RefundedMinor)
		return
	}
	l := newLines(ledger.LayerPosted, 4)
	back := total - rail.FeeReturnedMinor
	l.add(ledger.SysFees, paid.Currency, -back)
	if paid.FX == nil {
		l.add(r.key, paid.Currency, back)
	} else {
		rate := rateOf(paid.FX)
		before, ok := rate.Convert(rail.FeeReturnedMinor, paid.Currency, paid.TargetCurrency)
		after, fits := rate.Convert(total, paid.Currency, paid.TargetCurrency)
		if !ok || !fits || after == before {
			return // too little to be money there: it goes with the next part
		}
		l.add(ledger.SysFX, paid.Currency, back)
		l.add(ledger.SysFX, paid.TargetCurrency, before-after)
		l.add(r.key, paid.TargetCurrency, after-before)
	}
	rail.FeeReturnedMinor = total
	if back != 0 {
		r.bookOrSuspend(ledger.Journal{Kind: ledger.JournalRefund, Postings: l.postings})
	}
}

// must books what cannot be refused.
func (r *reducer) must(j ledger.Journal) {
	if !r.book(j) {
		r.fail("%s of %d lines overflows", j.Kind, len(j.Postings))
	}
}

// bookOrSuspend books what the rail has done: it is never refused. The lines of an account that is closed, or has grown too
// far, go to suspense.
func (r *reducer) bookOrSuspend(j ledger.Journal) {
	if r.cell.State.Status != AccountStatusClosed && r.book(j) {
		return
	}
	r.must(toSuspense(r.key, j))
}

package accounts

import (
	"github.com/caudalpay/caudal/processors/intake"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// reversal takes an authorization back, so that the acquirer's part of it is left. It may come before what it takes back.
func (r *reducer) reversal() {
	found := r.s.Payment
	switch {
	case found == nil && r.cmd.Reversal.LeftMinor > 0:
		r.decline(payment.ReasonPaymentUnknown)
	case found == nil:
		r.foreclose()
	case found.Kind != payment.KindAuthorization:
		r.decline(payment.ReasonPaymentState)
	case inAnotherCurrency(found, r.cmd.Reversal.Currency):
		r.decline(payment.ReasonPaymentUnknown) // what is taken back is another request, under the same name
	case r.cmd.Reversal.StandIn && r.otherRequest(found):
		r.decline(payment.ReasonIdempotencyConflict)
	case r.cmd.Reversal.StandIn && overtaken(found, r.cmd.Reversal.AskedAtUS):
		r.d.tell(r.d.PaymentID, found)
	default:
		r.takeBack(clone(found))
	}
}

// inAnotherCurrency compares what an acquirer says of an authorization with what it is. One that was taken back before it
// came has no currency yet, and reversals named none before they were told to.
func inAnotherCurrency(rec *payment.Record, currency string) bool {
	return currency != "" && rec.Currency != "" && currency != rec.Currency
}

// foreclose remembers that an authorization was taken back, for the one that comes later. It has no body hash: nobody has
// asked for it.
func (r *reducer) foreclose() {
	r.rec = &payment.Record{
		Kind: payment.KindAuthorization, FirstSeq: r.cell.Seq, CreatedAtUS: r.d.AcceptedAtUS, EffectiveDate: r.d.EffectiveDate,
		Pins: r.cmd.Pins, Method: intake.MethodIssuing, Card: r.cmd.Reversal.Card,
	}
	r.created = true
	r.move(r.rec, payment.EventReversed)
}

func (r *reducer) takeBack(rec *payment.Record) {
	v := r.cmd.Reversal
	e, some := reversed(rec, v)
	switch {
	case !some && reduces(rec, v):
		rec.LeftMinor, some = v.LeftMinor, true
	case !some:
	case rec.Status == payment.StatusFailed:
		r.move(rec, e) // nothing is held or taken
	default:
		r.undo(rec, e)
	}
	if v.StandIn && v.LeftMinor == 0 && rec.FirstOutcome == payment.OutcomeApproved && (rec.Financial || rec.Rail.CapturedMinor == 0) {
		// The acquirer was told no while this house was still about to say yes: that answer stands.
		rec.FirstOutcome, rec.FirstStatus = payment.OutcomeDeclined, payment.StatusFailed
		rec.FirstReasons = []payment.Reason{payment.ReasonRailRefused}
		some = true
	}
	if some {
		r.store(r.d.PaymentID, rec)
		return
	}
	r.d.tell(r.d.PaymentID, rec)
}

// reduces tells a reversal in part of what was declined here, and which the door may have granted: its advice is on its way.
func reduces(rec *payment.Record, v *payment.Reversal) bool {
	return rec.Status == payment.StatusFailed && !v.StandIn && v.Currency != "" && v.LeftMinor > 0 && v.LeftMinor < leftOf(rec)
}

// leftOf is what a stand-in may grant of what was declined.
func leftOf(rec *payment.Record) int64 {
	if rec.LeftMinor > 0 {
		return rec.LeftMinor
	}
	return rec.AmountMinor
}

// reversed is the event that a reversal is to an authorization; false where it changes nothing.
func reversed(rec *payment.Record, v *payment.Reversal) (payment.Event, bool) {
	e, some := eventOfReversal(rec, v)
	if !some {
		return 0, false
	}
	switch payment.Next(payment.FamilyAuthorization, rec.Status, e).Effect {
	case payment.Move, payment.Stay:
		return e, true
	default:
		return 0, false
	}
}

func eventOfReversal(rec *payment.Record, v *payment.Reversal) (payment.Event, bool) {
	rail := rec.Rail
	switch {
	case rec.Status == payment.StatusFailed:
		// The door may have granted what was declined here, and its advice be on its way: what the acquirer has taken back
		// must not be granted by it. The door's own reversals stand behind its advice.
		if v.StandIn || v.LeftMinor > 0 {
			return 0, false
		}
	case rail == nil:
		return 0, false // nothing was granted
	case rec.Financial && (v.LeftMinor > 0 || rail.CapturedMinor > rail.AuthorizedMinor):
		return payment.EventRefunded, v.LeftMinor < rail.AuthorizedMinor // clearings have collected the rest
	case !rec.Financial && v.LeftMinor > rail.CapturedMinor:
		return payment.EventReduced, v.LeftMinor < rail.AuthorizedMinor
	}
	if rec.Financial {
		return payment.EventRefundedAll, true
	}
	return payment.EventReversed, true
}

// undo moves the money back, so far as it was held or taken, and the authorization on.
func (r *reducer) undo(rec *payment.Record, e payment.Event) {
	rail, left := rec.Rail, r.cmd.Reversal.LeftMinor
	switch e {
	case payment.EventReversed:
		r.giveUp(rec)
		if rail.CapturedMinor == 0 {
			r.unreserve(rec)
		}
	case payment.EventReduced:
		// Where the account had no room nothing is held, and no more is released than is.
		r.releaseHold(rec, max(rail.HoldMinor-(left-rail.CapturedMinor), 0))
		rail.AuthorizedMinor = left
	case payment.EventRefundedAll:
		r.collect(ledger.JournalReturn, rec.Currency, -rail.AuthorizedMinor)
		rail.CapturedMinor = 0
		r.unreserve(rec)
	default: // refunded in part
		back := rail.AuthorizedMinor - left
		r.collect(ledger.JournalReturn, rec.Currency, -back)
		rail.CapturedMinor, rail.AuthorizedMinor = rail.CapturedMinor-back, left
		if left == 0 {
			r.unreserve(rec)
		}
	}
	r.move(rec, e)
}

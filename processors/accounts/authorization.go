package accounts

import (
	"github.com/caudalpay/caudal/processors/intake"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// cardInstruction is what the stages see of a card transaction.
func cardInstruction(t *payment.CardTransaction) *payment.Instruction {
	return &payment.Instruction{
		AmountMinor: t.AmountMinor, Currency: t.Currency, Method: intake.MethodIssuing, Counterparty: t.Counterparty,
	}
}

// byCard fills what the records of card payments have in common.
func byCard(rec *payment.Record, card payment.CardKey, amountMinor int64, currency string) {
	rec.Method, rec.Card = intake.MethodIssuing, card
	rec.AmountMinor, rec.Currency, rec.TargetAmountMinor, rec.TargetCurrency = amountMinor, currency, amountMinor, currency
}

// askedAgain remembers in an authorization that its acquirer has repeated it: what a door has answered before is no longer the last word.
func (r *reducer) askedAgain(rec *payment.Record) {
	if r.cmd.Kind == payment.KindAuthorization && rec.AskedAtUS < r.cmd.AcceptedAtUS {
		again := clone(rec)
		again.AskedAtUS = r.cmd.AcceptedAtUS
		r.w.Payments = append(r.w.Payments, PaymentWrite{r.d.PaymentID.Identity(), again})
	}
}

// otherRequest tells a stand-in's word about another request under the name of an authorization.
func (r *reducer) otherRequest(rec *payment.Record) bool {
	return rec.BodyHash != [32]byte{} && rec.BodyHash != r.cmd.BodyHash
}

// overtaken tells a stand-in's word on a request that was repeated since: its acquirer was told again, and that holds. Times compare, and
// not places in the log: doors write to it apart, and what was asked later may not have come to it at all.
func overtaken(rec *payment.Record, askedAtUS int64) bool {
	return askedAtUS > 0 && askedAtUS < rec.AskedAtUS
}

// asked fills an authorization with what the acquirer asks, or tells.
func asked(rec *payment.Record, t *payment.CardTransaction) {
	byCard(rec, t.Card, t.AmountMinor, t.Currency)
	rec.Financial = t.Financial
	rec.CounterpartyCountry, rec.CounterpartyDigest = t.Counterparty.Country, t.Counterparty.Digest
}

// authorize takes an authorization on that was granted, by the event of a dual message or that of one with nothing to come:
// a single message, or an amount of 0.
func (r *reducer) authorize(dual, settled payment.Event) {
	rec, rail := r.rec, r.rec.Rail
	rail.AuthorizedMinor = leftOf(rec)
	if rec.Financial {
		rail.CapturedMinor = rail.AuthorizedMinor
	}
	if rec.Financial || rec.AmountMinor == 0 {
		r.move(rec, settled)
		return
	}
	r.move(rec, dual)
	r.standUntil(r.d.PaymentID, rec)
}

// foreclosed tells a record that a REVERSAL has made before its AUTHORIZATION came.
func foreclosed(rec *payment.Record) bool {
	return rec != nil && rec.Kind == payment.KindAuthorization && rec.BodyHash == [32]byte{}
}

// comesLate refuses an AUTHORIZATION that was taken back before it came.
func (r *reducer) comesLate() {
	asking := r.rec
	r.rec = nil
	r.decline(payment.ReasonPaymentState)
	rec := clone(r.s.Payment)
	asked(rec, r.cmd.CardTransaction)
	rec.BodyHash, rec.AskedAtUS = asking.BodyHash, asking.AskedAtUS
	rec.FirstOutcome, rec.FirstStatus, rec.FirstReasons, rec.FirstSeq = r.d.Outcome, rec.Status, r.d.Reasons, r.d.AccountSeq
	r.store(r.d.PaymentID, rec)
}

// advise takes in what was granted, or refused, elsewhere. It is a fact: nothing refuses it.
func (r *reducer) advise() {
	t, found := r.cmd.CardTransaction, r.s.Payment
	switch {
	case found == nil && t.Refused:
		r.newRecord()
		r.created = true
		r.d.Reasons = []payment.Reason{payment.ReasonRailRefused}
		r.move(r.rec, payment.EventDeclined)
	case found == nil:
		r.newRecord()
		r.created = true
		r.force()
	case found.Kind != payment.KindAuthorization:
		r.decline(payment.ReasonPaymentState)
	case t.StandIn && r.otherRequest(found):
		r.d.tell(r.d.PaymentID, found)
		r.d.Reasons = []payment.Reason{payment.ReasonIdempotencyConflict}
	case t.StandIn && overtaken(found, t.AskedAtUS):
		r.d.tell(r.d.PaymentID, found)
		r.d.Reasons = []payment.Reason{payment.ReasonPaymentState}
	case t.StandIn && !t.Refused && found.Status == payment.StatusFailed && found.FirstOutcome == payment.OutcomeDeclined:
		r.rec = clone(found)
		asked(r.rec, t)
		if found.Currency != t.Currency || found.LeftMinor >= t.AmountMinor {
			r.rec.LeftMinor = 0
		}
		r.force()
		r.rec.FirstOutcome, r.rec.FirstStatus, r.rec.FirstReasons = payment.OutcomeApproved, r.rec.Status, nil
		r.w.Payments = append(r.w.Payments, PaymentWrite{r.d.PaymentID.Identity(), r.rec})
	default:
		r.d.tell(r.d.PaymentID, found)
		if inAnotherCurrency(found, t.Currency) {
			r.d.Reasons = []payment.Reason{payment.ReasonPaymentUnknown}
		} else if found.Status == payment.StatusCancelled {
			r.d.Reasons = []payment.Reason{payment.ReasonPaymentState}
		}
	}
}

// force grants what somebody else has granted, whatever the stages would say. Where the account has no room nothing is held.
func (r *reducer) force() {
	rec, pol := r.rec, r.s.Policy
	r.cell.Fraud = r.cell.Fraud.ObserveVelocity(r.d.AcceptedAtUS)
	limitAmountMinor := int64(0)
	if pol != nil {
		limitAmountMinor, _ = intake.LimitAmount(
			intake.Request{AtUS: r.d.AcceptedAtUS, Instruction: cardInstruction(r.cmd.CardTransaction)},
			intake.References{Policy: pol, Rates: r.s.Rates})
		rec.LimitCurrency = pol.LimitCurrency
		r.d.LimitAmountMinor, r.d.LimitCurrency = limitAmountMinor, pol.LimitCurrency
		r.cell.Limits, _ = r.reserve(limitAmountMinor)
		r.byRail(pol)
	}
	if rec.Rail == nil {
		rec.Rail = &payment.Rail{}
	}
	r.observe(limitAmountMinor)
	r.authorize(payment.EventAdvised, payment.EventAdvisedFinancial)
	switch {
	case rec.Financial:
		r.collect(ledger.JournalPost, rec.Currency, rec.Rail.CapturedMinor)
	case rec.AmountMinor > 0 && r.cell.State.Status != AccountStatusClosed && r.book(hold(r.key, rec)):
		rec.Rail.HoldMinor = rec.Rail.AuthorizedMinor
	}
}

// collect moves what a card network takes from the account, or gives back where it is negative.
func (r *reducer) collect(kind ledger.JournalKind, currency string, amountMinor int64) {
	if amountMinor == 0 {
		return
	}
	l := newLines(ledger.LayerPosted, 2)
	l.add(r.key, currency, -amountMinor)
	l.add(ledger.SysClearing(intake.MethodIssuing), currency, amountMinor)
	r.bookOrSuspend(ledger.Journal{Kind: kind, Postings: l.postings})
}

package accounts

import (
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
)

// disputeTold tells whether the body of a DISPUTE says something.
func disputeTold(q *payment.Dispute) bool {
	if q == nil || q.AmountMinor <= 0 || q.OccurredAtUS < 0 || q.MessageID != "" && !payment.IsCommandID(q.MessageID) {
		return false
	}
	_, some := q.Stage.Event()
	return some
}

// openDispute tells the statuses in which a dispute is not decided.
func openDispute(s payment.Status) bool {
	return s == payment.StatusPreDispute || s == payment.StatusDispute || s == payment.StatusPreArbitration
}

// dispute takes in what is told of a dispute. It is a fact: neither the account's state nor its money refuses it.
func (r *reducer) dispute() {
	q := r.cmd.Dispute
	paid := r.disputedPayment()
	if paid != nil {
		r.tellRelated(paid)
	}
	rec, reason := r.disputed(paid)
	if reason != payment.ReasonNone {
		r.decline(reason)
		return
	}
	e, _ := q.Stage.Event()
	occurred := min(q.OccurredAtUS, r.d.AcceptedAtUS) // nobody's clock may shut out what is told later
	if comesLate(rec, e, occurred) || payment.Next(payment.FamilyDispute, rec.Status, e).Effect != payment.Move {
		r.d.tell(r.d.PaymentID, rec)
		r.heardOf(rec, occurred)
		return // older than what is known, or the same
	}
	if paid != nil && !count(rec, paid, e) {
		r.decline(payment.ReasonAmountOverflow)
		return
	}
	if rec.Status == payment.StatusNone {
		rec.ExpiresAtUS = r.retain(r.d.PaymentID)
	}
	rec.DeadlineUS, rec.DisputeOccurredAtUS = q.DeadlineUS, occurred
	if q.ReasonCode != "" {
		rec.Rail.ReasonCode = q.ReasonCode
	}
	r.advance(rec, e)
	if rec.FirstStatus == payment.StatusNone {
		rec.FirstOutcome, rec.FirstStatus = r.d.Outcome, rec.Status
	}
	r.store(r.d.PaymentID, rec)
	if paid != nil {
		r.w.Payments = append(r.w.Payments, PaymentWrite{r.cmd.PaymentID.Identity(), paid})
	}
}

// comesLate tells whether a message is older than what is known. What loses a dispute that is won is a pre-arbitration: a loss that does
// not say that it came about behind the win may be an old one.
func comesLate(rec *payment.Record, e payment.Event, occurred int64) bool {
	if rec.Status == payment.StatusWon && e == payment.EventLost {
		return occurred <= rec.DisputeOccurredAtUS
	}
	return occurred > 0 && occurred < rec.DisputeOccurredAtUS
}

// heardOf remembers how late a message is that moves nothing: one of a time before it comes too late.
func (r *reducer) heardOf(rec *payment.Record, occurred int64) {
	if occurred > rec.DisputeOccurredAtUS {
		rec.DisputeOccurredAtUS = occurred
		r.store(r.d.PaymentID, rec)
	}
}

// toldAgain answers a message about a dispute that was taken before.
func (r *reducer) toldAgain() {
	if rec := r.s.Payment; rec != nil && rec.Kind == payment.KindDispute && rec.Related == r.cmd.PaymentID {
		r.d.tell(r.d.PaymentID, rec)
		r.d.tellStatus(r.s.Command.Status, rec)
		return
	}
	r.d.Status = r.s.Command.Status
}

// disputedPayment is the pay-in that the dispute is about, for it to change; nil where it is none that can be disputed, or has
// left: one that is younger than the dispute has only the id in common with it.
func (r *reducer) disputedPayment() *payment.Record {
	paid, was := r.s.Related, r.s.Payment
	if paid == nil || paid.Kind != payment.KindPayIn || paid.Rail == nil || paid.Rail.CapturedMinor == 0 ||
		was != nil && was.Kind == payment.KindDispute && was.Related == r.cmd.PaymentID && was.FirstSeq < paid.FirstSeq {
		return nil
	}
	return clone(paid)
}

// disputed is the record of the dispute, for it to change: a new one where nothing was told of it before.
func (r *reducer) disputed(paid *payment.Record) (*payment.Record, payment.Reason) {
	q := r.cmd.Dispute
	if was := r.s.Payment; was != nil {
		switch {
		case was.Kind != payment.KindDispute:
			return nil, payment.ReasonPaymentState
		case was.Related != r.cmd.PaymentID:
			return nil, payment.ReasonPaymentUnknown
		}
		r.d.tell(r.d.PaymentID, was)
		if was.AmountMinor != q.AmountMinor {
			return nil, payment.ReasonRailAmount
		}
		return clone(was), payment.ReasonNone
	}
	switch {
	case paid == nil:
		return nil, payment.ReasonPaymentUnknown
	case q.AmountMinor > paid.Rail.CapturedMinor-paid.Rail.DisputedMinor: // what is told under a second name takes nothing a second time
		return nil, payment.ReasonRailAmount
	}
	rec := &payment.Record{
		Kind: payment.KindDispute, BodyHash: r.cmd.BodyHash, FirstSeq: r.cell.Seq, CreatedAtUS: r.d.AcceptedAtUS,
		EffectiveDate: r.d.EffectiveDate, Pins: r.cmd.Pins, Method: paid.Method, Related: r.cmd.PaymentID,
		AmountMinor: q.AmountMinor, Currency: paid.Currency, TargetAmountMinor: q.AmountMinor, TargetCurrency: paid.TargetCurrency, FX: paid.FX,
		Rail: &payment.Rail{Connector: q.Connector, Reference: q.Reference},
	}
	if paid.FX != nil {
		var ok bool
		if rec.TargetAmountMinor, ok = rateOf(paid.FX).Convert(q.AmountMinor, paid.Currency, paid.TargetCurrency); !ok {
			return nil, payment.ReasonAmountOverflow
		}
	}
	return rec, payment.ReasonNone
}

// count adds a dispute to what the pay-in has lost to disputes, or takes it out again; false where that is no number.
func count(rec, paid *payment.Record, e payment.Event) bool {
	counted := openDispute(rec.Status) || rec.Status == payment.StatusLost
	var ok bool
	switch {
	case e == payment.EventWon && counted:
		paid.Rail.DisputedMinor -= rec.AmountMinor
	case e != payment.EventWon && !counted:
		if paid.Rail.DisputedMinor, ok = money.Add(paid.Rail.DisputedMinor, rec.AmountMinor); !ok {
			return false
		}
	}
	return true
}

// advance moves a dispute and its money. A pre-dispute holds, what follows takes, and what is won is given back.
func (r *reducer) advance(rec *payment.Record, e payment.Event) {
	r.move(rec, e)
	switch e {
	case payment.EventPreDispute:
		r.holdDisputed(rec)
	case payment.EventWon:
		r.releaseDisputed(rec)
		r.giveBack(rec)
	default:
		r.releaseDisputed(rec)
		r.take(rec)
	}
}

// holdDisputed holds what a pre-dispute may take, whatever is available. Where there is no room nothing is held.
func (r *reducer) holdDisputed(rec *payment.Record) {
	if r.cell.State.Status != AccountStatusClosed && rec.TargetAmountMinor != 0 && r.book(refundHold(r.key, rec)) {
		rec.Rail.HoldMinor = rec.TargetAmountMinor
	}
}

func (r *reducer) releaseDisputed(rec *payment.Record) {
	if rec.Rail.HoldMinor != 0 {
		r.must(refundHold(r.key, rec).Reverse(ledger.JournalRelease))
		rec.Rail.HoldMinor = 0
	}
}

// take posts what the rail has taken, and the fee of it where none stands charged.
func (r *reducer) take(rec *payment.Record) {
	if rec.DisputeTaken {
		return
	}
	rec.DisputeTaken = true
	r.bookOrSuspend(disputeJournal(r.key, rec))
	pol := r.s.Policy
	if rec.DisputeFeeMinor != 0 || pol == nil || pol.Card == nil {
		return
	}
	if fee := pol.Card.Dispute.Fee(rec.TargetCurrency); fee > 0 {
		rec.DisputeFeeMinor, rec.Rail.Terms.FeeReturned = fee, pol.Card.Dispute.FeeReturned
		r.bookOrSuspend(disputeFee(r.key, rec))
	}
}

// giveBack reverses what was taken, with its fee where the terms say so.
func (r *reducer) giveBack(rec *payment.Record) {
	if !rec.DisputeTaken {
		return
	}
	rec.DisputeTaken = false
	r.bookOrSuspend(disputeJournal(r.key, rec).Reverse(ledger.JournalDispute))
	if rec.DisputeFeeMinor != 0 && rec.Rail.Terms.FeeReturned {
		r.bookOrSuspend(disputeFee(r.key, rec).Reverse(ledger.JournalDispute))
		rec.DisputeFeeMinor = 0
	}
}

// disputeJournal is a refund that nobody of the house has decided.
func disputeJournal(account string, rec *payment.Record) ledger.Journal {
	j := refundJournal(account, rec)
	j.Kind = ledger.JournalDispute
	return j
}

func disputeFee(account string, rec *payment.Record) ledger.Journal {
	l := newLines(ledger.LayerPosted, 2)
	l.add(account, rec.TargetCurrency, -rec.DisputeFeeMinor)
	l.add(ledger.SysFees, rec.TargetCurrency, rec.DisputeFeeMinor)
	return ledger.Journal{Kind: ledger.JournalDispute, Postings: l.postings}
}

// contest is what the merchant does about a dispute: names evidence, or gives in.
func (r *reducer) contest() {
	if r.s.Related == nil || r.s.Related.Kind != payment.KindDispute {
		r.decline(payment.ReasonPaymentUnknown)
		return
	}
	rec, id := clone(r.s.Related), r.cmd.PaymentID
	r.d.tell(id, rec)
	e := payment.EventEvidence
	if r.cmd.Kind == payment.KindDisputeAccept {
		e = payment.EventAccept
	}
	switch step := payment.Next(payment.FamilyDispute, rec.Status, e); {
	case step.Effect != payment.Move && step.Effect != payment.Stay:
		r.decline(payment.ReasonPaymentState)
		return
	case rec.DeadlineUS != 0 && r.d.AcceptedAtUS > rec.DeadlineUS:
		r.decline(payment.ReasonDeadlinePassed)
		return
	}
	r.d.Outcome = payment.OutcomeApproved
	if e == payment.EventEvidence {
		r.d.Evidence = r.cmd.Evidence
		return
	}
	r.advance(rec, e)
	r.store(id, rec)
}

package accounts

import (
	"github.com/caudalpay/caudal/processors/calendar"
	"github.com/caudalpay/caudal/processors/compliance"
	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/intake"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/limits"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
)

// instruct runs the stage chain of PAY_IN, PAY_OUT, TRANSFER and AUTHORIZATION. Each stage only proposes; nothing of the cell changes
// before all have spoken, apart from the velocity counters, which count refused payments too.
func (r *reducer) instruct(in *payment.Instruction) {
	pol, rec := r.s.Policy, r.rec
	if pol == nil {
		r.fail("pinned policy %q is not there", r.cmd.Pins.Policy)
		return
	}
	before := r.cell.Fraud
	r.cell.Fraud = before.ObserveVelocity(r.d.AcceptedAtUS)

	p := intake.Propose(
		intake.Request{
			Kind: r.cmd.Kind, Account: payment.AccountID(r.key), Currencies: r.cell.State.Currencies,
			AtUS: r.d.AcceptedAtUS, Instruction: in, Quote: r.s.Quote,
		},
		intake.References{
			Policy: pol, Fees: r.s.Fees, Rates: r.s.Rates,
			Enforced: pol.FraudMode == policy.FraudModeEnforce && r.s.Rules != nil && len(r.s.Rules.Rules) > 0,
		})
	if rec.Kind != payment.KindAuthorization { // of which nothing is converted
		rec.TargetCurrency, rec.TargetAmountMinor = p.TargetCurrency, p.TargetAmountMinor
	}
	rec.FeeMinor, rec.FX, rec.LimitCurrency = p.FeeMinor, p.FX, p.LimitCurrency
	r.d.LimitAmountMinor, r.d.LimitCurrency = p.LimitAmountMinor, p.LimitCurrency
	if len(p.Reasons) > 0 {
		r.decline(p.Reasons...)
		return
	}
	r.byRail(pol)

	reasons := compliance.Screen(r.s.Blocklist, in.Counterparty)
	verdict := r.assess(before, p.LimitAmountMinor)
	if verdict == fraud.Decline || verdict == fraud.Review && rec.Kind == payment.KindAuthorization { // nobody can wait at a till
		reasons = append(reasons, payment.ReasonFraudScore)
	}
	windows, refused := r.reserve(p.LimitAmountMinor)
	reasons = append(reasons, refused...)
	reasons = append(reasons, r.fund(verdict)...)
	if len(reasons) > 0 {
		r.d.Journals, r.cell.Balances = nil, r.s.Cell.Balances
		r.decline(reasons...)
		r.rec.LimitAmountMinor, r.rec.LimitDay, r.rec.LimitMonth, r.rec.Rail = 0, 0, 0, nil
		return
	}
	r.cell.Limits = windows
	r.observe(p.LimitAmountMinor)
	r.useQuote(in.Quote)
	r.grant(verdict)
}

// observe adds a granted payment to what fraud rules look at.
func (r *reducer) observe(limitAmountMinor int64) {
	r.cell.Fraud = r.cell.Fraud.ObserveAmount(limitAmountMinor)
	if digest := r.rec.CounterpartyDigest; len(digest) > 0 && !r.s.PartySeen {
		r.w.Party = digest
	}
}

// assess scores the payment and reports the rules that hit.
func (r *reducer) assess(before fraud.Features, limitAmountMinor int64) fraud.Verdict {
	pol := r.s.Policy
	a := fraud.Assess(r.s.Rules, pol, before, fraud.Facts{
		AtUS: r.d.AcceptedAtUS, AmountMinor: limitAmountMinor, MinuteOfDay: calendar.MinuteOfDay(r.d.AcceptedAtUS, pol.UTCOffsets),
		HasCounterparty: len(r.rec.CounterpartyDigest) > 0, NewCounterparty: len(r.rec.CounterpartyDigest) > 0 && !r.s.PartySeen,
	})
	r.rec.FraudScore, r.d.RuleHits = a.Score, a.Hits
	return a.Verdict
}

// reserve proposes the limit windows after the payment. Limits bind what leaves.
func (r *reducer) reserve(limitAmountMinor int64) (limits.Windows, []payment.Reason) {
	pol, at := r.s.Policy, r.d.AcceptedAtUS
	if r.cmd.Kind == payment.KindPayIn || len(pol.Limits) == 0 {
		return r.cell.Limits, nil
	}
	rec := r.rec
	rec.LimitAmountMinor = limitAmountMinor
	rec.LimitDay, rec.LimitMonth = calendar.DayOf(at, pol.UTCOffsets), calendar.MonthOf(at, pol.UTCOffsets)
	if r.cmd.Kind == payment.KindAuthorizationAdvice {
		return limits.Use(r.cell.Limits, rec.LimitDay, rec.LimitMonth, limitAmountMinor), nil
	}
	return limits.Reserve(r.cell.Limits, pol.Limits, r.cell.State.KYCLevel, rec.LimitDay, rec.LimitMonth, limitAmountMinor)
}

// fund proposes the journal: a hold where a review or a rail comes, else the posting.
func (r *reducer) fund(verdict fraud.Verdict) []payment.Reason {
	rec := r.rec
	if rec.Kind != payment.KindPayIn &&
		!ledger.Covers(r.cell.balance(rec.Currency), r.cell.overdraft(rec.Currency), rec.AmountMinor, rec.FeeMinor) {
		return []payment.Reason{payment.ReasonInsufficientFunds}
	}
	journal := post(r.key, rec)
	if verdict == fraud.Review || rec.Rail != nil && !rec.Financial {
		journal = hold(r.key, rec)
	}
	if len(journal.Postings) > 0 && !r.book(journal) {
		return []payment.Reason{payment.ReasonAmountOverflow}
	}
	return nil
}

// grant sets the status that follows from approval or review.
func (r *reducer) grant(verdict fraud.Verdict) {
	if verdict == fraud.Review {
		r.d.Outcome = payment.OutcomeReview
		r.move(r.rec, payment.EventReviewed)
		r.rec.DeadlineUS = r.d.AcceptedAtUS + r.s.Policy.ReviewTimeoutUS
		r.w.DueAdd = append(r.w.DueAdd, Due{r.rec.DeadlineUS, payment.AccountID(r.key), r.d.PaymentID, payment.ExpireReview})
		return
	}
	r.d.Outcome = payment.OutcomeApproved
	if r.rec.Kind == payment.KindAuthorization {
		if !r.rec.Financial {
			r.rec.Rail.HoldMinor = r.rec.AmountMinor
		}
		r.authorize(payment.EventAuthorized, payment.EventSettled)
		return
	}
	if r.rec.Rail != nil {
		r.askRail(r.d.PaymentID, r.rec)
		return
	}
	r.settle(r.d.PaymentID, r.rec)
}

// askRail takes a held payment on: its rail is asked to execute it.
func (r *reducer) askRail(id payment.ID, rec *payment.Record) {
	r.move(rec, payment.EventOrdered)
	r.order(id, rec, id, rec)
}

// settle takes a posted payment on: a transfer waits for the payee, everything else is done.
func (r *reducer) settle(id payment.ID, rec *payment.Record) {
	if rec.Kind != payment.KindTransfer {
		r.move(rec, payment.EventSettled)
		return
	}
	r.move(rec, payment.EventOrdered)
	r.askPayee(id, rec)
}

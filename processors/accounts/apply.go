package accounts

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caudalpay/caudal/processors/calendar"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// reducer is the work on one command. It owns what it writes; the snapshot stays as it was.
type reducer struct {
	s    *Snapshot
	cmd  *payment.Command
	key  string
	cell Cell
	d    *Decision
	w    Writes
	out  []Emission
	err  error

	// rec is the record that a creating command makes, created tells that it is kept: a stranger's or a repeat's is not.
	rec     *payment.Record
	created bool
}

// Apply decides a command. It is a function of its arguments; the error is ErrMalformed or ErrInvariant.
func Apply(s Snapshot, cmd payment.Command, m payment.Meta) (Writes, []Emission, error) {
	r := reducer{s: &s, cmd: &cmd, key: m.Key}
	if err := r.wellFormed(); err != nil {
		return Writes{}, nil, err
	}
	r.begin(m)
	switch {
	case cmd.Kind == payment.KindTick:
		r.tick()
	case payment.IsCustomerKey(m.Key):
		r.customer()
	case payment.IsCardKey(m.Key):
		r.card()
	default:
		r.account()
	}
	if cmd.Kind != payment.KindTick && r.err == nil {
		r.end()
		r.err = check(&s, &r.w)
	}
	if r.err != nil {
		return Writes{}, nil, fmt.Errorf("deciding %s %s: %w", cmd.Kind, cmd.CommandID, r.err)
	}
	return r.w, r.out, nil
}

// begin numbers the decision and clamps its time.
func (r *reducer) begin(m payment.Meta) {
	cmd := r.cmd
	r.w.Decision = Decision{
		Kind: cmd.Kind, Outcome: payment.OutcomeApplied,
		Tenant: cmd.Tenant, Merchant: cmd.Merchant, Customer: cmd.Customer,
		CommandID: cmd.CommandID, PaymentID: cmd.PaymentID,
		CommandTopic: m.Topic, CommandPartition: m.Partition, CommandOffset: m.Offset,
		AcceptedAtUS: cmd.AcceptedAtUS, Pins: cmd.Pins, BodyHash: cmd.BodyHash,
	}
	r.d = &r.w.Decision
	if q := cmd.Dispute; q != nil {
		r.d.PaymentID, r.d.Related = payment.ID(cmd.CommandID), cmd.PaymentID
		r.d.Connector, r.d.RailReference, r.d.ReasonCode = q.Connector, q.Reference, q.ReasonCode
	}
	if a := cmd.RailAnswer; a != nil {
		r.d.OrderID, r.d.RailCode, r.d.Connector, r.d.RailReference = a.OrderID, a.Code, a.Connector, a.Reference
		r.d.RailResult, r.d.RailAmountMinor, r.d.RailTID = a.Result, a.AmountMinor, a.TID
	}
	r.d.tellCard(cmd)
	if cmd.Kind != payment.KindTick {
		if r.s.Cell != nil {
			r.cell = *r.s.Cell
		}
		r.cell.Seq++
		r.cell.LastAcceptedAtUS = max(r.cell.LastAcceptedAtUS, cmd.AcceptedAtUS)
		r.d.Account, r.d.AccountSeq, r.d.AcceptedAtUS = m.Key, r.cell.Seq, r.cell.LastAcceptedAtUS
	}
	r.d.EffectiveDate = calendar.DayOf(r.d.AcceptedAtUS, nil)
	switch {
	case cmd.Instruction != nil && cmd.Instruction.EffectiveDate != 0:
		r.d.EffectiveDate = cmd.Instruction.EffectiveDate
	case cmd.CounterLeg != nil && cmd.CounterLeg.EffectiveDate != 0:
		r.d.EffectiveDate = cmd.CounterLeg.EffectiveDate
	}
}

// account runs the first checks in their order, then what the kind asks for.
func (r *reducer) account() {
	if r.cmd.Kind == payment.KindOpenAccount {
		r.open()
		return
	}
	if creates(r.cmd.Kind) {
		r.newRecord()
	}
	if related := r.s.Related; related != nil && related.Kind != r.cmd.PaymentID.Kind() {
		// The kind is part of a payment's name, if not of its identity: under another name there is no such payment.
		r.s.Related = nil
	}
	if r.cell.State == nil {
		r.decline(payment.ReasonAccountUnknown)
		return
	}
	if reason := r.owner(); reason != payment.ReasonNone {
		r.decline(reason)
		if r.cmd.Kind == payment.KindSetKYCLevel {
			r.refuseClaim() // it came here by way of a claim
		}
		return
	}
	if r.repeated() {
		return
	}
	r.created = r.rec != nil
	if reason := r.standing(); reason != payment.ReasonNone {
		r.decline(reason)
		return
	}
	switch r.cmd.Kind {
	case payment.KindPayIn, payment.KindPayOut, payment.KindTransfer:
		r.instruct(r.cmd.Instruction)
	case payment.KindAuthorization:
		r.instruct(cardInstruction(r.cmd.CardTransaction))
	case payment.KindAuthorizationAdvice:
		r.advise()
	case payment.KindReversal:
		r.reversal()
	case payment.KindClearing:
		r.clearing()
	case payment.KindRefund:
		r.refund()
	case payment.KindApprove, payment.KindDecline:
		r.verdict()
	case payment.KindSetKYCLevel:
		r.setKYCLevel()
	case payment.KindExpire:
		r.expire()
	case payment.KindCounterLeg:
		r.counterLeg()
	case payment.KindLegResult:
		r.legResult()
	case payment.KindRailAnswer:
		r.railAnswer()
	case payment.KindCapture:
		r.capture()
	case payment.KindVoid:
		r.void()
	case payment.KindIncrement:
		r.increment()
	case payment.KindFXQuote:
		r.quote()
	case payment.KindDispute:
		r.dispute()
	case payment.KindDisputeEvidence, payment.KindDisputeAccept:
		r.contest()
	case payment.KindUnknown, payment.KindOpenAccount, payment.KindTick, payment.KindReleaseClaim, payment.KindIssueCard,
		payment.KindSetCardStatus:
		r.fail("kind %s under an account's key", r.cmd.Kind)
	}
}

// creates tells the kinds that make a payment. A dispute is made by the first that is told of it, whoever tells.
func creates(k payment.Kind) bool { return k.Prefix() != "" && k != payment.KindDispute }

// emitted tells the kinds that the house makes itself: they act on state, whoever owns it.
func emitted(k payment.Kind) bool {
	switch k {
	case payment.KindExpire, payment.KindCounterLeg, payment.KindLegResult, payment.KindReleaseClaim, payment.KindRailAnswer:
		return true
	default:
		return false
	}
}

func (r *reducer) owner() payment.Reason {
	c := &r.cell
	switch {
	case r.cmd.Kind == payment.KindCounterLeg && r.cmd.Tenant != c.Tenant:
		return payment.ReasonOwnerMismatch
	case emitted(r.cmd.Kind) || r.cmd.Kind == payment.KindDispute:
		// The decision belongs to the account's owner, not to the other side that caused it.
		r.d.Tenant, r.d.Merchant, r.d.Customer = c.Tenant, c.Merchant, c.Customer
		return payment.ReasonNone
	case r.cmd.Tenant != c.Tenant || r.cmd.Merchant != c.Merchant:
		return payment.ReasonOwnerMismatch
	case r.cmd.Kind == payment.KindSetKYCLevel && r.cmd.Customer != c.Customer:
		// The level is the customer's: one whose claim on this account is about to be released sets no other's.
		return payment.ReasonOwnerMismatch
	default:
		r.d.Customer = c.Customer
		return payment.ReasonNone
	}
}

// standing checks what an account may do at all. What only gives back or takes back is never refused.
func (r *reducer) standing() payment.Reason {
	switch r.cmd.Kind {
	case payment.KindExpire, payment.KindLegResult, payment.KindRailAnswer, payment.KindDispute,
		payment.KindAuthorizationAdvice, payment.KindReversal, payment.KindClearing:
		return payment.ReasonNone
	default:
	}
	switch r.cell.State.Status {
	case AccountStatusClosed:
		return payment.ReasonAccountClosed
	case AccountStatusBlocked:
		return payment.ReasonAccountBlocked
	case AccountStatusNone, AccountStatusOpen:
	}
	switch r.cmd.Kind {
	case payment.KindCounterLeg: // it carries the payer's policy
		return payment.ReasonNone
	case payment.KindDisputeEvidence, payment.KindDisputeAccept: // what the merchant says of a dispute is taken by any
		return payment.ReasonNone
	default:
	}
	pinned, _, _ := strings.Cut(r.cmd.Pins.Policy, "@")
	// A verdict or a KYC level uses no policy, so none need be pinned to it.
	if pinned != r.cell.State.Policy && (pinned != "" || creates(r.cmd.Kind)) {
		return payment.ReasonPolicyMismatch
	}
	return payment.ReasonNone
}

// repeated answers what was decided before, and a conflicting use of the same id.
func (r *reducer) repeated() bool {
	var hash [32]byte
	switch {
	case r.cmd.Kind == payment.KindAuthorization && foreclosed(r.s.Payment):
		r.comesLate()
		return true
	case creates(r.cmd.Kind) && r.s.Payment != nil:
		hash = r.s.Payment.BodyHash
	case r.s.Command != nil:
		hash = r.s.Command.BodyHash
	case r.cmd.Kind == payment.KindCounterLeg && r.s.Leg != nil && r.s.Leg.PayerSeq == r.cmd.CounterLeg.PayerSeq:
		r.d.Related = r.cmd.CounterLeg.TransferID
		return true
	default:
		return false
	}
	if hash != r.cmd.BodyHash {
		r.conflict()
		return true
	}
	r.d.Outcome = payment.OutcomeRepeated
	if r.cmd.Kind == payment.KindDispute {
		r.toldAgain()
		return true
	}
	if first := r.s.Payment; first != nil {
		r.rec = nil
		r.askedAgain(first)
		r.d.tell(r.d.PaymentID, first)
		r.d.tellStatus(first.FirstStatus, first)
		r.d.CapturedMinor, r.d.AuthorizedMinor = 0, 0 // what came later is no part of the first answer
		r.d.Reasons = first.FirstReasons
		return true
	}
	first := r.s.Command
	r.d.Status = first.Status
	if r.s.Related != nil {
		r.d.tell(r.d.PaymentID, r.s.Related)
		r.d.CapturedMinor, r.d.AuthorizedMinor = 0, 0 // as above
		r.d.tellStatus(first.Status, r.s.Related)
	}
	r.d.Reasons = first.FirstReasons
	if r.cmd.Kind == payment.KindSetKYCLevel {
		r.tellAccount()
	}
	return true
}

// conflict refuses another request under a used id. It says what was asked and nothing of what stands.
func (r *reducer) conflict() {
	r.d.Outcome = payment.OutcomeConflict
	r.d.Reasons = []payment.Reason{payment.ReasonIdempotencyConflict}
}

// decline refuses with reasons, ordered. A payment that is refused is a failed payment; a counter-leg that is refused goes back.
func (r *reducer) decline(reasons ...payment.Reason) {
	slices.Sort(reasons)
	r.d.Outcome, r.d.Reasons = payment.OutcomeDeclined, slices.Compact(reasons)
	switch {
	case r.rec != nil:
		r.rec.Status = payment.StatusFailed
	case r.cmd.Kind == payment.KindCounterLeg:
		r.answerLeg(false)
	}
}

// fail records a broken invariant: nothing is written and the account is parked.
func (r *reducer) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format+": %w", append(args, ErrInvariant)...)
	}
}

// newRecord starts the record of a creating command with what was asked for.
func (r *reducer) newRecord() {
	r.rec = &payment.Record{
		Kind: r.cmd.Kind, BodyHash: r.cmd.BodyHash, FirstSeq: r.cell.Seq,
		CreatedAtUS: r.d.AcceptedAtUS, EffectiveDate: r.d.EffectiveDate, Pins: r.cmd.Pins,
	}
	switch {
	case r.cmd.Kind.Operation():
		r.d.PaymentID, r.rec.Related = payment.ID(r.cmd.CommandID), r.cmd.PaymentID
		if c := r.cmd.Clearing; c != nil {
			byCard(r.rec, c.Card, c.AmountMinor, c.Currency)
		}
		return
	case r.cmd.CardTransaction != nil:
		r.rec.Kind = payment.KindAuthorization
		asked(r.rec, r.cmd.CardTransaction)
		if r.cmd.Kind == payment.KindAuthorization {
			r.rec.AskedAtUS = r.cmd.AcceptedAtUS
		}
		return
	case r.cmd.FXQuote != nil:
		q := r.cmd.FXQuote
		r.rec.AmountMinor, r.rec.Currency, r.rec.TargetCurrency = q.AmountMinor, q.Currency, q.TargetCurrency
		return
	}
	in := r.cmd.Instruction
	r.rec.AmountMinor, r.rec.Currency, r.rec.TargetCurrency = in.AmountMinor, in.Currency, in.TargetCurrency
	if in.TargetCurrency == "" {
		r.rec.TargetCurrency = in.Currency
	}
	r.rec.Method, r.rec.ToAccount, r.rec.Instrument = in.Method, in.ToAccount, in.Instrument
	r.rec.CounterpartyCountry, r.rec.CounterpartyDigest = in.Counterparty.Country, in.Counterparty.Digest
}

// move takes a payment on by an event that its table allows.
func (r *reducer) move(rec *payment.Record, e payment.Event) {
	switch step := payment.Next(payment.FamilyOf(rec.Kind), rec.Status, e); step.Effect {
	case payment.Move:
		rec.Status = step.To
	case payment.Stay:
	default:
		r.fail("%s of a %s that is %s", e, rec.Kind, rec.Status)
	}
}

// book applies a journal to the balances; false is an overflow.
func (r *reducer) book(j ledger.Journal) bool {
	balances, ok := ledger.Apply(r.cell.Balances, r.key, j)
	if ok {
		r.cell.Balances = balances
		r.d.Journals = append(r.d.Journals, j)
	}
	return ok
}

// end writes the record of a creating or remembered command, the touched balances and the cell.
func (r *reducer) end() {
	d := r.d
	if r.rec != nil {
		d.tell(d.PaymentID, r.rec)
	}
	if r.created {
		r.rec.FirstOutcome, r.rec.FirstStatus, r.rec.FirstReasons = d.Outcome, r.rec.Status, d.Reasons
		r.rec.ExpiresAtUS = r.retain(d.PaymentID)
		r.w.Payments = append(r.w.Payments, PaymentWrite{d.PaymentID.Identity(), r.rec})
	}
	if id := r.remembered(); id != "" {
		r.w.Command = &CommandWrite{id, CommandRecord{
			BodyHash: r.cmd.BodyHash, FirstOutcome: d.Outcome, FirstReasons: d.Reasons, FirstSeq: d.AccountSeq,
			Status: d.Status, PaymentID: d.PaymentID, AcceptedAtUS: d.AcceptedAtUS,
		}}
	}
	if d.AccountState == nil {
		d.Balances = r.touched()
	}
	if (!payment.IsCustomerKey(r.key) || d.Outcome != payment.OutcomeApplied) && !emitted(r.cmd.Kind) {
		r.out = append(r.out, Emission{Reply: true})
	}
	r.w.Cell = &r.cell
}

// remembered is the id under which this decision is kept as the first answer to a request that is not a payment; empty: it is none.
func (r *reducer) remembered() string {
	if r.s.Command != nil {
		return ""
	}
	switch r.cmd.Kind {
	case payment.KindSetCardStatus:
		if r.cmd.CardStatus.Once && r.d.CardState != nil { // told to its owner alone
			return r.cmd.CommandID
		}
	case payment.KindDispute:
		if r.cell.State != nil && r.d.Outcome == payment.OutcomeApplied { // otherwise what it is about may still come
			return r.cmd.Dispute.MessageID
		}
	case payment.KindApprove, payment.KindDecline, payment.KindSetKYCLevel, payment.KindDisputeEvidence, payment.KindDisputeAccept:
		if r.cell.State != nil && !slices.Equal(r.d.Reasons, []payment.Reason{payment.ReasonOwnerMismatch}) {
			return r.cmd.CommandID
		}
	default:
	}
	return ""
}

// retain enters the day on which a new record leaves. A policy without retention keeps it for ever.
func (r *reducer) retain(id payment.ID) int64 {
	if r.s.Policy == nil || r.s.Policy.RetentionDays <= 0 {
		return 0
	}
	at := r.d.AcceptedAtUS + int64(r.s.Policy.RetentionDays)*dayUS
	r.w.DueAdd = append(r.w.DueAdd, Due{at, payment.AccountID(r.key), id, payment.ExpireRetention})
	return at
}

// touched lists the balances of the currencies that this decision posted to.
func (r *reducer) touched() []ledger.Balance {
	var out []ledger.Balance
	for _, b := range r.cell.Balances {
		if r.touches(b.Currency) {
			if out == nil {
				out = make([]ledger.Balance, 0, 2)
			}
			out = append(out, b)
		}
	}
	return out
}

func (r *reducer) touches(currency string) bool {
	for _, j := range r.d.Journals {
		for _, p := range j.Postings {
			if p.Account == r.key && p.Currency == currency {
				return true
			}
		}
	}
	return false
}

// tellAccount answers an account request with the whole account.
func (r *reducer) tellAccount() { r.d.AccountState, r.d.Balances = r.cell.State, r.cell.Balances }

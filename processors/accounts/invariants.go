package accounts

import (
	"fmt"

	"github.com/caudalpay/caudal/processors/payment"
)

func malformed(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrMalformed)...)
}

// wellFormed checks that a command has the body of its kind and belongs to its key, so that the stages need not.
func (r *reducer) wellFormed() error {
	cmd := r.cmd
	body := cardBody(cmd)
	switch cmd.Kind {
	case payment.KindOpenAccount:
		body = cmd.Open != nil && len(cmd.Open.Currencies) > 0
	case payment.KindSetKYCLevel:
		body = cmd.KYCLevel != nil
	case payment.KindPayIn, payment.KindPayOut, payment.KindTransfer:
		body = cmd.Instruction != nil && cmd.Instruction.AmountMinor > 0
	case payment.KindRefund:
		body = cmd.Refund != nil && cmd.Refund.AmountMinor >= 0
	case payment.KindApprove, payment.KindDecline:
		body = cmd.Verdict != nil
	case payment.KindExpire:
		body = cmd.Expire != nil
	case payment.KindTick:
		body = cmd.Tick != nil
	case payment.KindCounterLeg:
		body = cmd.CounterLeg != nil && cmd.CounterLeg.AmountMinor > 0
	case payment.KindLegResult:
		body = cmd.LegResult != nil
	case payment.KindRailAnswer:
		body = cmd.RailAnswer != nil
	case payment.KindReleaseClaim:
		body = cmd.Release != nil
	case payment.KindCapture:
		body = cmd.Capture != nil && cmd.Capture.AmountMinor >= 0
	case payment.KindVoid:
		body = cmd.Void != nil
	case payment.KindIncrement:
		body = cmd.Increment != nil && cmd.Increment.AmountMinor > 0
	case payment.KindFXQuote:
		body = cmd.FXQuote != nil && cmd.FXQuote.AmountMinor > 0
	case payment.KindDispute:
		body = disputeTold(cmd.Dispute)
	case payment.KindDisputeEvidence:
		body = len(cmd.Evidence) > 0 && len(cmd.Evidence) <= payment.EvidenceFilesMax
	case payment.KindDisputeAccept:
		body = cmd.Accept != nil
	default:
	}
	switch {
	case !body:
		return malformed("body of %s", cmd.Kind)
	case cmd.Kind == payment.KindTick:
		if _, err := payment.ParseAccountID(r.key); err == nil || payment.IsCustomerKey(r.key) || payment.IsCardKey(r.key) {
			return malformed("tick under key %s", r.key)
		}
		return nil
	case cmd.Kind.OfCard() != payment.IsCardKey(r.key):
		return malformed("%s under key %s", cmd.Kind, r.key)
	case cmd.Kind.OfCard():
		return nil
	case payment.IsCustomerKey(r.key):
		return r.namesCustomer()
	case cmd.Kind == payment.KindReleaseClaim:
		return malformed("release of a claim under key %s", r.key)
	case string(cmd.Account) != r.key:
		return malformed("account %s under key %s", cmd.Account, r.key)
	}
	return r.namesPayment()
}

// namesCustomer checks that a request concerning a customer's account lies under the key of that customer: a refusal by the
// account goes back there.
func (r *reducer) namesCustomer() error {
	cmd := r.cmd
	switch cmd.Kind {
	case payment.KindOpenAccount, payment.KindSetKYCLevel, payment.KindReleaseClaim:
	default:
		return nil // a customer has no such thing
	}
	if string(payment.CustomerKeyFrom(cmd.Tenant, cmd.Merchant, cmd.Customer)) != r.key {
		return malformed("customer %s/%s under key %s", cmd.Tenant, cmd.Merchant, r.key)
	}
	return nil
}

// namesPayment checks the payment ids of a command on an account's key.
func (r *reducer) namesPayment() error {
	cmd := r.cmd
	own := cmd.PaymentID
	switch cmd.Kind {
	case payment.KindOpenAccount, payment.KindSetKYCLevel:
		return nil
	case payment.KindRailAnswer:
		if cmd.PaymentID == "" {
			return nil // it names no payment: there is none
		}
	case payment.KindRefund, payment.KindCapture, payment.KindVoid, payment.KindIncrement, payment.KindDispute:
		own = payment.ID(cmd.CommandID)
	case payment.KindAuthorization, payment.KindAuthorizationAdvice, payment.KindReversal, payment.KindClearing:
		return r.namesAuthorization()
	case payment.KindCounterLeg:
		if cmd.CounterLeg.TransferID != cmd.PaymentID || cmd.CounterLeg.PayerAccount != cmd.PaymentID.Account() {
			return malformed("counter-leg of %s", cmd.PaymentID)
		}
	case payment.KindLegResult:
		if cmd.LegResult.TransferID != cmd.PaymentID {
			return malformed("leg result of %s", cmd.PaymentID)
		}
	default:
	}
	if _, err := payment.ParseID(string(cmd.PaymentID)); err != nil {
		return malformed("payment id %q", cmd.PaymentID)
	}
	if !creates(cmd.Kind) && cmd.Kind != payment.KindDispute {
		return nil
	}
	if _, err := payment.ParseID(string(own)); err != nil || own.Kind() != cmd.Kind || string(own.Account()) != r.key {
		return malformed("id %q of a %s under key %s", own, cmd.Kind, r.key)
	}
	return nil
}

// cardBody tells whether a command about an issued card has the body of its kind.
func cardBody(cmd *payment.Command) bool {
	switch cmd.Kind {
	case payment.KindIssueCard:
		return cmd.IssueCard != nil
	case payment.KindSetCardStatus:
		return cmd.CardStatus != nil && cmd.CardStatus.Status != payment.CardStatusUnknown
	case payment.KindAuthorization, payment.KindAuthorizationAdvice:
		return cmd.CardTransaction != nil && cmd.CardTransaction.AmountMinor >= 0
	case payment.KindReversal:
		return cmd.Reversal != nil && cmd.Reversal.LeftMinor >= 0
	case payment.KindClearing:
		return cmd.Clearing != nil && cmd.Clearing.AmountMinor > 0
	default:
		return false
	}
}

// namesAuthorization checks the ids of what an acquirer tells. A clearing may name no authorization.
func (r *reducer) namesAuthorization() error {
	cmd := r.cmd
	id, own := cmd.PaymentID, payment.ID(cmd.CommandID)
	if _, err := payment.ParseID(string(id)); (cmd.Kind != payment.KindClearing || id != "") &&
		(err != nil || id.Kind() != payment.KindAuthorization || string(id.Account()) != r.key) {
		return malformed("authorization %q under key %s", id, r.key)
	}
	switch _, err := payment.ParseID(cmd.CommandID); {
	case cmd.Kind == payment.KindReversal:
	case cmd.Kind != payment.KindClearing && own == id:
	case cmd.Kind == payment.KindClearing && err == nil && own.Kind() == cmd.Kind && string(own.Account()) == r.key:
	default:
		return malformed("id %q of a %s under key %s", own, cmd.Kind, r.key)
	}
	return nil
}

// check holds what must be true of every decision before anything is written.
func check(s *Snapshot, w *Writes) error {
	before := uint64(0)
	if s.Cell != nil {
		before = s.Cell.Seq
	}
	// Invariant: account_seq counts every decision of a key.
	if w.Cell.Seq != before+1 || w.Decision.AccountSeq != w.Cell.Seq {
		return fmt.Errorf("account_seq %d after %d: %w", w.Decision.AccountSeq, before, ErrInvariant)
	}
	// Invariant: a journal balances.
	for _, j := range w.Decision.Journals {
		if err := j.Check(); err != nil {
			return fmt.Errorf("checking journal: %w: %w", err, ErrInvariant)
		}
	}
	// Invariant: what is held or incoming is never negative.
	for _, b := range w.Cell.Balances {
		if b.HeldMinor < 0 || b.IncomingMinor < 0 {
			return fmt.Errorf("held %d, incoming %d %s: %w", b.HeldMinor, b.IncomingMinor, b.Currency, ErrInvariant)
		}
	}
	for _, p := range w.Payments {
		if p.Record == nil {
			continue
		}
		if err := checkRecord(p.Record); err != nil {
			return err
		}
	}
	return nil
}

// checkRecord holds what must be true of every payment.
func checkRecord(rec *payment.Record) error {
	brought, given := rec.AmountMinor, rec.RefundedMinor
	if rail := rec.Rail; rail != nil {
		if rec.Kind == payment.KindPayIn {
			brought, given = rail.CapturedMinor, rec.RefundedMinor+rail.RefundingMinor
		}
		// Invariant: what is in flight or held is never negative, and nothing is held once the payment is final.
		if rail.CapturingMinor < 0 || rail.RefundingMinor < 0 || rail.DisputedMinor < 0 || rail.HoldMinor < 0 || rec.Status.Final() && rail.HoldMinor != 0 {
			return fmt.Errorf("%s: capturing %d, refunding %d, disputed %d, held %d: %w",
				rec.Status, rail.CapturingMinor, rail.RefundingMinor, rail.DisputedMinor, rail.HoldMinor, ErrInvariant)
		}
		// Invariant: no more is captured, or on its way to be, than the terms allow. Where that leaves int64, all sums are below it.
		if most, ok := mostCaptured(rail); rec.Kind == payment.KindPayIn && ok && rail.CapturedMinor+rail.CapturingMinor > most {
			return fmt.Errorf("captured %d and %d of %d: %w", rail.CapturedMinor, rail.CapturingMinor, most, ErrInvariant)
		}
	}
	// Invariant: no payment gives back more than it brought. What a card acceptor gives back is its own affair.
	if rec.RefundedMinor < 0 || given > brought && rec.Kind != payment.KindAuthorization {
		return fmt.Errorf("refunded %d of %d: %w", given, brought, ErrInvariant)
	}
	return nil
}

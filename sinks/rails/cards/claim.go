package cards

import (
	"github.com/caudalpay/caudal/processors/payment"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// told is what the other side says when asked: how a transaction stands, what became of a request, or of a transfer.
type told struct {
	standing     Standing // acquirers
	result       Result
	transfer     bool // a bank says it
	orderedMinor int64
	stray        bool       // it holds money of an attempt that was given up
	settled      bool       // it is about an order that was confirmed
	late         []*attempt // orders of its payment that were taken for lost, and have come: they are answered
}

// holds tells money of a payer that is there, or that a bank has sent or is about to.
func (t told) holds() bool {
	if !t.transfer {
		return t.standing.State == StateAuthorized || t.standing.State == StateCaptured
	}
	return t.result.Outcome == OutcomeAccepted || t.result.Outcome == OutcomeSent || t.result.Outcome == OutcomeConfirmed
}

// of compares a notification with what was told: repeated where the two agree.
func (t told) of(n *railsv1.Notification) verdict {
	if !t.transfer {
		return t.standing.of(n)
	}
	said, claim := t.result.Outcome.told(), claimed(n.GetState())
	switch {
	case t.result.Outcome == OutcomeUnknown:
		return verdictUnclear
	case t.result.Outcome == OutcomeNotFound, n.GetCapturedMinor() > 0 && n.GetCapturedMinor() != t.orderedMinor:
		return verdictLie
	case claim == said, claim == payment.RailUnspecified:
		return verdictRepeated
	case ranked(claim) < ranked(said):
		return verdictStale
	default:
		return verdictLie
	}
}

// claimed is what a notification says of a transfer.
func claimed(s railsv1.NotifiedState) payment.RailResult {
	switch s {
	case railsv1.NotifiedState_NOTIFIED_STATE_ACCEPTED:
		return payment.RailAccepted
	case railsv1.NotifiedState_NOTIFIED_STATE_SENT:
		return payment.RailSent
	case railsv1.NotifiedState_NOTIFIED_STATE_PAID:
		return payment.RailConfirmed
	case railsv1.NotifiedState_NOTIFIED_STATE_FAILED:
		return payment.RailRefused
	case railsv1.NotifiedState_NOTIFIED_STATE_RETURNED:
		return payment.RailReturned
	default:
		return payment.RailUnspecified
	}
}

// of compares a notification with how the transaction stands. What it gives as 0 it does not tell.
func (s Standing) of(n *railsv1.Notification) verdict {
	switch s.State {
	case StateUnclear:
		return verdictUnclear
	case StateAbsent:
		return verdictLie
	default:
	}
	if n.GetReference() != "" && s.Reference != "" && n.GetReference() != s.Reference {
		return verdictUnknownPayment
	}
	claim := claimedState(n.GetState())
	if claim == StateUnclear {
		return verdictRepeated
	}
	authorized := 0
	if s.AuthorizedMinor > 0 { // not every standing tells it
		authorized = compared(n.GetAuthorizedMinor(), s.AuthorizedMinor)
	}
	captured, returned := compared(n.GetCapturedMinor(), s.CapturedMinor), compared(n.GetReturnedMinor(), s.ReturnedMinor)
	switch {
	case authorized != 0 || captured != 0 || returned > 0:
		return verdictLie
	case claim == s.State && returned == 0 && (claim != StateCaptured || n.GetReturnedMinor() == s.ReturnedMinor):
		return verdictRepeated
	case s.State == StatePending: // on its way to what is claimed, perhaps
		return verdictUnclear
	case life(claim) <= life(s.State) && claim != StateDeclined && (s.State != StateDeclined || claim == StatePending):
		return verdictStale
	default:
		return verdictLie
	}
}

// unordered tells a standing with more captured, or more given back, than the confirmed orders of its payment have moved: one came
// after it was taken for lost. What a partial capture leaves some call given back, so there only what is captured tells.
func (s Standing) unordered(confirmed before) bool {
	return s.CapturedMinor > confirmed.capturedMinor ||
		s.CapturedMinor > 0 && s.CapturedMinor == s.AuthorizedMinor && !s.Disputed && s.ReturnedMinor > confirmed.returnedMinor
}

func claimedState(s railsv1.NotifiedState) State {
	switch s {
	case railsv1.NotifiedState_NOTIFIED_STATE_PENDING:
		return StatePending
	case railsv1.NotifiedState_NOTIFIED_STATE_AUTHORIZED:
		return StateAuthorized
	case railsv1.NotifiedState_NOTIFIED_STATE_CAPTURED:
		return StateCaptured
	case railsv1.NotifiedState_NOTIFIED_STATE_VOIDED:
		return StateVoided
	case railsv1.NotifiedState_NOTIFIED_STATE_DECLINED:
		return StateDeclined
	default:
		return StateUnclear
	}
}

// compared is below 0 where less is claimed than is so, above 0 where more is, and 0 where the claim is right or none.
func compared(claim, is int64) int {
	switch {
	case claim == 0 || claim == is:
		return 0
	case claim < is:
		return -1
	default:
		return 1
	}
}

// life is how far a transaction has come: what was before is older.
func life(s State) int {
	switch s {
	case StatePending:
		return 1
	case StateAuthorized:
		return 2
	case StateCaptured:
		return 3
	case StateVoided, StateDeclined:
		return 4
	default:
		return 0
	}
}

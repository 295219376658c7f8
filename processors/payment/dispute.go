package payment

import "strings"

// DisputeStage is what is told of a dispute. The numbers are those of the wire format and never reused.
type DisputeStage uint8

// The stages of a dispute.
const (
	DisputeStageUnspecified    DisputeStage = 0
	DisputeStagePreDispute     DisputeStage = 1 // the cardholder's bank asks, no money has moved
	DisputeStageDispute        DisputeStage = 2 // chargeback: the money was taken
	DisputeStagePreArbitration DisputeStage = 3 // it was contested, and is taken again
	DisputeStageWon            DisputeStage = 4 // the money is given back, or was never taken
	DisputeStageLost           DisputeStage = 5
)

// String is the word used in the API, in tables and in files.
func (s DisputeStage) String() string {
	switch s {
	case DisputeStageUnspecified:
		return "unspecified"
	case DisputeStagePreDispute:
		return "pre_dispute"
	case DisputeStageDispute:
		return "dispute"
	case DisputeStagePreArbitration:
		return "pre_arbitration"
	case DisputeStageWon:
		return "won"
	case DisputeStageLost:
		return "lost"
	default:
		return "unknown"
	}
}

// Event is what the stage does to a dispute; false where it is none.
func (s DisputeStage) Event() (Event, bool) {
	switch s {
	case DisputeStagePreDispute:
		return EventPreDispute, true
	case DisputeStageDispute:
		return EventDispute, true
	case DisputeStagePreArbitration:
		return EventPreArbitration, true
	case DisputeStageWon:
		return EventWon, true
	case DisputeStageLost:
		return EventLost, true
	default:
		return 0, false
	}
}

// Dispute is what a processor, a card network or an operator tells of a dispute.
type Dispute struct {
	Stage       DisputeStage
	AmountMinor int64  // > 0, in the payment's currency
	ReasonCode  string // the card network's
	Connector   string // who tells
	Reference   string // the processor's own id of the dispute
	DeadlineUS  int64  // until when evidence is taken; 0: not told

	MessageID    string // of what is told this once (cmd_...), so that a repeat is one; empty: not told
	OccurredAtUS int64  // when it came about, by the word of who tells; 0: not told
}

// EvidenceFile is a file that the merchant keeps, by its hash.
type EvidenceFile struct {
	Reference string
	SHA256    [32]byte
	Kind      string // receipt, delivery, communication, other
}

// EvidenceFilesMax is how many files one DISPUTE_EVIDENCE names at most.
const EvidenceFilesMax = 20

// DisputeAccept gives in.
type DisputeAccept struct{}

// FXQuote asks for the rate at which an amount would be converted.
type FXQuote struct {
	AmountMinor              int64 // > 0, in Currency
	Currency, TargetCurrency string
}

// IsCommandID tells whether a text has the form of a request's id.
func IsCommandID(s string) bool {
	return strings.HasPrefix(s, commandPrefix) && isDigest(s[len(commandPrefix):], 2*digestLen)
}

// DisputeIDFrom derives a dispute's id from what the processor calls it, so that whoever tells of it means the same record.
func DisputeIDFrom(account AccountID, connector, reference string) ID {
	return ID(KindDispute.Prefix() + string(account[len(accountPrefix):]) + digest("dispute", connector, reference))
}

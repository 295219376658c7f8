package payment

// Outcome is what was decided about a command. The numbers are those of the wire format and never reused.
type Outcome uint8

// The outcomes.
const (
	OutcomeNone     Outcome = 0
	OutcomeApproved Outcome = 1 // a payment, refund or account request was granted
	OutcomeDeclined Outcome = 2 // refused, with reasons; nothing moved
	OutcomeReview   Outcome = 3 // the money is held until a verdict or the deadline
	OutcomeApplied  Outcome = 4 // a fact was taken in
	OutcomeRepeated Outcome = 5 // same id, same body: the first decision stands
	OutcomeConflict Outcome = 6 // same id, another body: nothing changed
)

// String is the word used in the API, in tables and in files.
func (o Outcome) String() string {
	switch o {
	case OutcomeNone:
		return "unspecified"
	case OutcomeApproved:
		return "approved"
	case OutcomeDeclined:
		return "declined"
	case OutcomeReview:
		return "review"
	case OutcomeApplied:
		return "applied"
	case OutcomeRepeated:
		return "repeated"
	case OutcomeConflict:
		return "conflict"
	default:
		return "unknown"
	}
}

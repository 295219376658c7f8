package payment

// Status is where a payment stands; what was decided about a command is an Outcome. The numbers are those of the wire
// format and never reused.
type Status uint8

// The statuses.
const (
	StatusNone              Status = 0
	StatusInReview          Status = 1 // held until a verdict or the deadline
	StatusProcessing        Status = 2 // waits for the other leg or a rail
	StatusSucceeded         Status = 3 // may still be refunded
	StatusFailed            Status = 4 // final: declined, or refused by the other leg or the rail
	StatusPartiallyRefunded Status = 5
	StatusRefunded          Status = 6 // final
	StatusExpired           Status = 7 // final: nobody decided the review, or captured, in time
	StatusUnknown           Status = 8 // the rail has not said what it did
	StatusRequiresCapture   Status = 9 // authorised
	StatusPartiallyCaptured Status = 10
	StatusCancelled         Status = 11 // final: given up before anything was captured
	StatusCreated           Status = 12 // payout: held and ordered
	StatusPending           Status = 13 // payout: taken in by the rail
	StatusSent              Status = 14 // payout: the money has left
	StatusPaid              Status = 15 // payout: the other side has it; it may still come back
	StatusReturned          Status = 16 // payout, final: the money came back

	StatusPreDispute     Status = 17 // dispute: held
	StatusDispute        Status = 18 // dispute: taken
	StatusPreArbitration Status = 19 // dispute: contested, and taken again
	StatusWon            Status = 20 // dispute, final unless it is taken again
	StatusLost           Status = 21 // dispute, final unless the rail reverses it

	statuses Status = 22
)

// String is the word used in the API, in tables and in files.
func (s Status) String() string {
	switch s {
	case StatusNone:
		return "unspecified"
	case StatusInReview:
		return "in_review"
	case StatusProcessing:
		return "processing"
	case StatusSucceeded:
		return "succeeded"
	case StatusFailed:
		return "failed"
	case StatusPartiallyRefunded:
		return "partially_refunded"
	case StatusRefunded:
		return "refunded"
	case StatusExpired:
		return "expired"
	case StatusUnknown:
		return "unknown"
	case StatusRequiresCapture:
		return "requires_capture"
	case StatusPartiallyCaptured:
		return "partially_captured"
	case StatusCancelled:
		return "cancelled"
	case StatusCreated:
		return "created"
	case StatusPending:
		return "pending"
	case StatusSent:
		return "sent"
	case StatusPaid:
		return "paid"
	case StatusReturned:
		return "returned"
	case StatusPreDispute:
		return "pre_dispute"
	case StatusDispute:
		return "dispute"
	case StatusPreArbitration:
		return "pre_arbitration"
	case StatusWon:
		return "won"
	case StatusLost:
		return "lost"
	default:
		return "unknown"
	}
}

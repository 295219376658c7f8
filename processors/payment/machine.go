package payment

import "strings"

// Event is something that happens to a payment. What a rail says becomes one of these by EventOf.
type Event uint8

// The events.
const (
	// What the stages and deadlines decide.
	EventSettled       Event = iota // granted, and done without the outside
	EventOrdered                    // granted: a rail, or the other account, is asked
	EventReviewed                   // held for a verdict
	EventDeclined                   // refused by a stage or a verdict
	EventReviewExpired              // nobody gave a verdict in time

	// What the other side answers.
	EventAuthorized
	EventCollected
	EventAccepted
	EventSent
	EventConfirmed
	EventRefused
	EventReturned
	EventUnknown

	// What is asked of a pay-in, and what came of it.
	EventCapture
	EventCaptured    // a part; the rest may still be captured
	EventCapturedAll // all that will be
	EventVoid
	EventVoided
	EventIncrement
	EventIncremented
	EventAuthorizationExpired
	EventRefund
	EventRefunded // a part
	EventRefundedAll

	// What becomes of a quote.
	EventQuoted
	EventUsed

	// What is told of a dispute, and what the merchant does about it.
	EventPreDispute
	EventDispute
	EventPreArbitration
	EventWon
	EventLost
	EventEvidence
	EventAccept

	// What an acquirer tells of a card that pays from an account.
	EventAdvised          // granted elsewhere
	EventAdvisedFinancial // the same, to be posted at once
	EventReversed         // a dual message, wholly
	EventReduced          // a dual message, in part

	events
)

// Effect is what the table says of an event in a status.
type Effect uint8

// The effects.
const (
	Impossible Effect = iota // a broken invariant: nothing in the house leads here
	Move                     // the status becomes To
	Stay                     // allowed; the status stays
	Ignore                   // a repeat, or older than what is known
	Contradict               // ignored, and worth a reason: the other side takes back what it had said
	Refuse                   // refused with payment_state
	Late                     // the other side did it after the payment had ended here
)

// Step is one cell of a table.
type Step struct {
	Effect Effect
	To     Status // after Move
}

// Family is a set of payments with one table.
type Family uint8

// The families.
const (
	FamilyPayIn     Family = iota
	FamilyPayOut           // sent by a rail, or settled at once
	FamilyTransfer         // between two accounts
	FamilyOperation        // capture, void, increment, refund: about another payment
	FamilyQuote
	FamilyDispute
	FamilyAuthorization // of a card that pays from the account
	families
)

// FamilyOf is the family of a payment's kind.
func FamilyOf(k Kind) Family {
	switch k {
	case KindPayIn:
		return FamilyPayIn
	case KindPayOut:
		return FamilyPayOut
	case KindTransfer:
		return FamilyTransfer
	case KindFXQuote:
		return FamilyQuote
	case KindDispute:
		return FamilyDispute
	case KindAuthorization:
		return FamilyAuthorization
	default:
		return FamilyOperation
	}
}

// The tables, a row a status and a column an event. A word is the status moved to. Else:
//
//	.  allowed, the status stays        =  ignored: a repeat, or older than what is known
//	x  refused with payment_state       !  ignored, with the reason rail_contradiction
//	L  late: done after the end here    -  nothing in the house leads here
//
// Statuses and events that no row or column names cannot be.
const (
	payInTable = `
                   settled    ordered     reviewed   declined  review_expired
none               succeeded  processing  in_review  failed    -
in_review          succeeded  processing  x          failed    expired
processing         x          x           x          x         =
unknown            x          x           x          x         =
requires_capture   x          x           x          x         =
partially_captured x          x           x          x         =
succeeded          x          x           x          x         =
partially_refunded x          x           x          x         =
refunded           x          x           x          x         =
failed             x          x           x          x         =
cancelled          x          x           x          x         =
expired            x          x           x          x         =

                   authorized        collected  accepted  sent  confirmed  refused  returned  unknown
none               -                 -          -         -     -          -        -         -
in_review          x                 x          x         x     x          x        x         x
processing         requires_capture  succeeded  =         !     !          failed   !         unknown
unknown            requires_capture  succeeded  =         !     !          failed   !         =
requires_capture   =                 !          =         !     !          !        !         =
partially_captured =                 !          =         !     !          !        !         =
succeeded          =                 =          =         !     !          !        !         =
partially_refunded =                 =          =         !     !          !        !         =
refunded           =                 =          =         !     !          !        !         =
failed             L                 L          =         !     !          =        !         =
cancelled          =                 L          =         !     !          =        !         =
expired            =                 L          =         !     !          =        !         =

                   capture  captured            captured_all  void  voided     increment  incremented  authorization_expired
none               -        -                   -             -     -          -          -            -
in_review          x        -                   -             x     -          x          -            =
processing         x        -                   -             x     -          x          -            =
unknown            x        -                   -             x     -          x          -            =
requires_capture   .        partially_captured  succeeded     .     cancelled  .          .            expired
partially_captured .        .                   succeeded     .     succeeded  x          -            succeeded
succeeded          x        -                   -             x     -          x          -            =
partially_refunded x        -                   -             x     -          x          -            =
refunded           x        -                   -             x     -          x          -            =
failed             x        -                   -             x     -          x          -            =
cancelled          x        -                   -             x     -          x          -            =
expired            x        -                   -             x     -          x          -            =

                   refund  refunded            refunded_all
none               -       -                   -
in_review          x       -                   -
processing         x       -                   -
unknown            x       -                   -
requires_capture   x       -                   -
partially_captured x       -                   -
succeeded          .       partially_refunded  refunded
partially_refunded .       .                   refunded
refunded           x       -                   -
failed             x       -                   -
cancelled          x       -                   -
expired            x       -                   -
`
	payOutTable = `
           settled    ordered  reviewed   declined  review_expired
none       succeeded  created  in_review  failed    -
in_review  succeeded  created  x          failed    expired
created    x          x        x          x         =
pending    x          x        x          x         =
sent       x          x        x          x         =
paid       x          x        x          x         =
succeeded  x          x        x          x         =
returned   x          x        x          x         =
failed     x          x        x          x         =
expired    x          x        x          x         =

           accepted  sent  confirmed  refused   returned  unknown
none       -         -     -          -         -         -
in_review  x         x     x          x         x         x
created    pending   sent  paid       failed    failed    =
pending    =         sent  paid       failed    failed    =
sent       =         =     paid       failed    returned  =
paid       =         =     =          !         returned  =
succeeded  x         x     x          x         x         x
returned   =         =     =          =         =         =
failed     =         =     L          =         L         =
expired    x         x     x          x         x         x
`
	transferTable = `
            ordered     reviewed   declined  review_expired  confirmed  refused
none        processing  in_review  failed    -               -          -
in_review   processing  x          failed    expired         =          =
processing  x           x          x         =               succeeded  failed
succeeded   x           x          x         =               =          =
failed      x           x          x         =               =          =
expired     x           x          x         =               =          =
`
	operationTable = `
            settled    ordered     declined
none        succeeded  processing  failed
processing  x          x           x
unknown     x          x           x
succeeded   x          x           x
failed      x          x           x

            accepted  sent  confirmed  refused  returned  unknown
none        -         -     -          -        -         -
processing  =         !     succeeded  failed   !         unknown
unknown     =         !     succeeded  failed   !         =
succeeded   =         !     =          !        !         =
failed      =         !     L          =        !         =
`
	quoteTable = `
            quoted   used       declined
none        created  -          failed
created     x        succeeded  x
succeeded   x        x          x
failed      x        x          x
`
	disputeTable = `
                 pre_dispute  dispute  pre_arbitration  won  lost  evidence  accept
none             pre_dispute  dispute  pre_arbitration  won  lost  -         -
pre_dispute      =            dispute  pre_arbitration  won  lost  .         lost
dispute          =            =        pre_arbitration  won  lost  .         lost
pre_arbitration  =            =        =                won  lost  .         lost
won              =            =        pre_arbitration  =    lost  x         x
lost             =            =        =                won  =     x         x
`
	// A dual message is authorised first and cleared later; a single one is both, and what it gives back is a refund. An
	// AUTHORIZATION that finds its record is a repeat.
	authorizationTable = `
                   settled    authorized        declined  advised           advised_financial
none               succeeded  requires_capture  failed    requires_capture  succeeded
requires_capture   =          =                 =         =                 =
partially_captured =          =                 =         =                 =
succeeded          =          =                 =         =                 =
failed             =          =                 =         requires_capture  succeeded
cancelled          =          =                 x         =                 =
expired            =          =                 =         =                 =

                   reversed   reduced  refunded  refunded_all
none               cancelled  x        x         cancelled
requires_capture   cancelled  .        -         -
partially_captured succeeded  .        -         -
succeeded          =          =        .         cancelled
failed             cancelled  =        =         cancelled
cancelled          =          =        =         =
expired            =          =        -         -

                   captured            captured_all  authorization_expired
none               -                   -             -
requires_capture   partially_captured  succeeded     expired
partially_captured .                   succeeded     succeeded
succeeded          .                   .             =
failed             L                   L             =
cancelled          L                   L             =
expired            succeeded           succeeded     =
`
)

type table [statuses][events]Step

//nolint:gochecknoglobals // never changed: the tables above, ready to be looked up
var tables = [families]*table{
	FamilyPayIn: parse(payInTable), FamilyPayOut: parse(payOutTable), FamilyTransfer: parse(transferTable), FamilyOperation: parse(operationTable),
	FamilyQuote: parse(quoteTable), FamilyDispute: parse(disputeTable),
	FamilyAuthorization: parse(authorizationTable),
}

// Next is what the table of a family says of an event in a status. StatusNone is a payment that is not there yet.
func Next(f Family, from Status, e Event) Step {
	if f >= families || from >= statuses || e >= events {
		return Step{}
	}
	return tables[f][from][e]
}

// parse reads a table as it is written above. A word it does not know is a mistake of this file, found by any test.
func parse(text string) *table {
	t := &table{}
	var columns []Event
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
			columns = nil
		case columns == nil:
			for _, w := range words {
				columns = append(columns, eventNamed(w))
			}
		case len(words) != len(columns)+1:
			panic("a row of another length: " + line)
		default:
			from := statusNamed(words[0])
			for i, w := range words[1:] {
				t[from][columns[i]] = cell(w)
			}
		}
	}
	return t
}

func cell(w string) Step {
	switch w {
	case "-":
		return Step{}
	case ".":
		return Step{Effect: Stay}
	case "=":
		return Step{Effect: Ignore}
	case "!":
		return Step{Effect: Contradict}
	case "x":
		return Step{Effect: Refuse}
	case "L":
		return Step{Effect: Late}
	default:
		return Step{Effect: Move, To: statusNamed(w)}
	}
}

func statusNamed(w string) Status {
	if w == "none" {
		return StatusNone
	}
	for s := StatusNone + 1; s < statuses; s++ {
		if s.String() == w {
			return s
		}
	}
	panic("no such status: " + w)
}

func eventNamed(w string) Event {
	for e := range events {
		if e.String() == w {
			return e
		}
	}
	panic("no such event: " + w)
}

// String is the word used in the tables and in docs/lifecycle.md.
func (e Event) String() string {
	switch e {
	case EventSettled:
		return "settled"
	case EventOrdered:
		return "ordered"
	case EventReviewed:
		return "reviewed"
	case EventDeclined:
		return "declined"
	case EventReviewExpired:
		return "review_expired"
	case EventAuthorized:
		return "authorized"
	case EventCollected:
		return "collected"
	case EventAccepted:
		return "accepted"
	case EventSent:
		return "sent"
	case EventConfirmed:
		return "confirmed"
	case EventRefused:
		return "refused"
	case EventReturned:
		return "returned"
	case EventUnknown:
		return "unknown"
	case EventCapture:
		return "capture"
	case EventCaptured:
		return "captured"
	case EventCapturedAll:
		return "captured_all"
	case EventVoid:
		return "void"
	case EventVoided:
		return "voided"
	case EventIncrement:
		return "increment"
	case EventIncremented:
		return "incremented"
	case EventAuthorizationExpired:
		return "authorization_expired"
	case EventRefund:
		return "refund"
	case EventRefunded:
		return "refunded"
	case EventRefundedAll:
		return "refunded_all"
	default:
		return e.apart()
	}
}

// apart are the words of quotes, disputes and cards that pay from accounts.
func (e Event) apart() string {
	switch e {
	case EventQuoted:
		return "quoted"
	case EventUsed:
		return "used"
	case EventPreDispute:
		return "pre_dispute"
	case EventDispute:
		return "dispute"
	case EventPreArbitration:
		return "pre_arbitration"
	case EventWon:
		return "won"
	case EventLost:
		return "lost"
	case EventEvidence:
		return "evidence"
	case EventAccept:
		return "accept"
	default:
		return e.ofIssued()
	}
}

// ofIssued are the words of an acquirer about a card that pays from an account.
func (e Event) ofIssued() string {
	switch e {
	case EventAdvised:
		return "advised"
	case EventAdvisedFinancial:
		return "advised_financial"
	case EventReversed:
		return "reversed"
	case EventReduced:
		return "reduced"
	default:
		return "no event"
	}
}

package cards

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/caudalpay/caudal/processors/payment"
)

// ErrNotSent says that a call surely reached nobody: the connection was refused, the breaker is open, the bulkhead is
// full, the acquirer turned it away unread (401; 403 and 429 by its own word). It may be made again, here or elsewhere.
var ErrNotSent = errors.New("not sent")

// CodeUnsupported is the code of what an acquirer cannot do: nothing was sent.
const CodeUnsupported = "unsupported"

// Port is what acquirers and banks have in common. The methods that call out return an error only where nothing was sent
// (ErrNotSent); whatever else happens is in the result. They end when ctx ends. Safe for concurrent use.
type Port interface {
	Capabilities() Capabilities
	// OwnReference is the id under which the other side knows an attempt at an order, whose name says: another attempt has another one,
	// but where Capabilities say that it Deduplicates.
	OwnReference(order string, attempt uint32) string
}

// Acquirer speaks the dialect of one acquirer.
type Acquirer interface {
	Port
	// Authorize reserves the amount, and for OperationCollect takes it at once.
	Authorize(ctx context.Context, r Request) (Result, error)
	Capture(ctx context.Context, r Request) (Result, error)
	// Void gives up what is authorised and not captured. Without a Reference it voids by OwnReference, where
	// Capabilities say that it can.
	Void(ctx context.Context, r Request) (Result, error)
	Refund(ctx context.Context, r Request) (Result, error)
	// Status tells how the transaction stands, by Reference or, where that is empty, by OwnReference. It changes nothing.
	Status(ctx context.Context, r Request) (Standing, error)
}

// Bank speaks the dialect of one bank that pays out. What it does takes hours, and may be undone days later.
type Bank interface {
	Port
	// Send asks for a transfer. That the bank has taken it is OutcomeAccepted, and promises nothing.
	Send(ctx context.Context, r Request) (Result, error)
	// Find tells what became of a transfer, by OwnReference. It changes nothing.
	Find(ctx context.Context, r Request) (Result, error)
}

type orderKey struct{}

// withOrder lets a call carry the order that it is made for.
func withOrder(ctx context.Context, orderID string) context.Context {
	return context.WithValue(ctx, orderKey{}, orderID)
}

// OrderOf is the order that a call is made for, empty where it is none's. A dialect tells it along: our references are
// digests, and a person at the acquirer may be asked for one of our ids.
func OrderOf(ctx context.Context) string {
	id, _ := ctx.Value(orderKey{}).(string)
	return id
}

// Capabilities say what an acquirer can do at all.
type Capabilities struct {
	Currencies       []string // ISO 4217
	Increments       bool
	MultipleCaptures bool
	PartialVoid      bool // of what a partial capture has left
	VoidsByOwn       bool // Void without a Reference
	// Synchronous: what it does not know a while after a call, it will never know.
	Synchronous bool
	// Repeatable: the same attempt may be sent again, and is done once.
	Repeatable bool
	// Deduplicates: Repeatable for ever. What it does not know may be sent again at any time, under the OwnReference it had.
	Deduplicates bool
	// TellsDisputes: Status says whether a transaction is disputed, which is then so with all that was captured. Who does not say
	// is believed what it notifies.
	TellsDisputes bool
}

// Operation is what is asked of an acquirer.
type Operation uint8

// The operations.
const (
	OperationUnknown Operation = iota
	OperationAuthorize
	OperationCollect // authorise and capture at once
	OperationCapture
	OperationVoid
	OperationRefund
	OperationIncrement
	OperationSend // pay out
)

// String is the word used in metrics and logs.
func (o Operation) String() string {
	switch o {
	case OperationAuthorize:
		return "authorize"
	case OperationCollect:
		return "collect"
	case OperationCapture:
		return "capture"
	case OperationVoid:
		return "void"
	case OperationRefund:
		return "refund"
	case OperationIncrement:
		return "increment"
	case OperationSend:
		return "send"
	default:
		return "unknown"
	}
}

// authorizes tells the operations that an issuer is asked about.
func (o Operation) authorizes() bool { return o == OperationAuthorize || o == OperationCollect }

// follows tells the operations on something that was authorised before.
func (o Operation) follows() bool { return !o.authorizes() && o != OperationSend }

// Request is one attempt at one order, as a dialect needs it.
type Request struct {
	Operation    Operation
	OrderID      string
	OwnReference string // ours, of this attempt
	Reference    string // the acquirer's id of the authorisation, where there is one
	AmountMinor  int64
	Currency     string
	Instrument   string // token of a vaulted card
	Brand        string
	Installments uint32 // at least 1
	Destination  Destination
}

// Destination is where a payout goes, as the merchant has told it. It is never logged.
type Destination struct{ Account, Name, Document string }

// LogValue implements slog.LogValuer.
func (Destination) LogValue() slog.Value { return slog.StringValue("redacted") }

// String implements fmt.Stringer.
func (Destination) String() string { return "redacted" }

// GoString implements fmt.GoStringer.
func (Destination) GoString() string { return "redacted" }

// Outcome is what became of a request.
type Outcome uint8

// The outcomes.
const (
	OutcomeUnknown Outcome = iota // nobody knows yet
	OutcomeConfirmed
	OutcomeRefused  // surely not done
	OutcomeNotFound // the acquirer knows nothing of it; it may still come
	OutcomeAccepted // a bank has taken it, and may still refuse
	OutcomeSent     // it has left the bank
	OutcomeReturned // it came back
)

// String is the word used in metrics and logs.
func (o Outcome) String() string {
	switch o {
	case OutcomeConfirmed:
		return "confirmed"
	case OutcomeRefused:
		return "refused"
	case OutcomeNotFound:
		return "not_found"
	case OutcomeAccepted:
		return "accepted"
	case OutcomeSent:
		return "sent"
	case OutcomeReturned:
		return "returned"
	default:
		return "unknown"
	}
}

// told is what an account is told of an outcome.
func (o Outcome) told() payment.RailResult {
	switch o {
	case OutcomeConfirmed:
		return payment.RailConfirmed
	case OutcomeRefused:
		return payment.RailRefused
	case OutcomeAccepted:
		return payment.RailAccepted
	case OutcomeSent:
		return payment.RailSent
	case OutcomeReturned:
		return payment.RailReturned
	default:
		return payment.RailUnknown
	}
}

// Result is an acquirer's answer.
type Result struct {
	Outcome     Outcome
	Code        string // the acquirer's own, of the brand where it tells it
	Reference   string // the acquirer's id of the transaction
	TID         string // of the transaction at acquirer and card network, where the acquirer tells it besides its Reference
	AmountMinor int64  // as the acquirer tells it; 0: not told
	Closed      bool   // of a capture that was done: the acquirer takes no other on this authorisation. Its Capabilities say so, no dialect
}

// State is how a transaction stands at an acquirer.
type State uint8

// The states.
const (
	StateUnclear State = iota // the acquirer does not say, or says what this program does not understand
	StateAbsent
	StatePending
	StateAuthorized
	StateCaptured // at least in part; ReturnedMinor tells what was given back since
	StateVoided   // given up or given back as a whole
	StateDeclined
)

// Standing is what an acquirer tells of a transaction when asked.
type Standing struct {
	State           State
	Code            string
	Reference       string
	TID             string
	Disputed        bool // its holder contests it; told where Capabilities say so
	AuthorizedMinor int64
	CapturedMinor   int64
	ReturnedMinor   int64 // voided and refunded
}

// before is how a transaction stood ahead of a call: only the difference tells whether the call was done.
type before struct{ capturedMinor, returnedMinor int64 }

// behind tells a standing that does not show yet what was confirmed: it comes of a copy that is behind, or something was taken back.
// A difference from it would tell another change than the one that is asked for.
func (s Standing) behind(o Operation, confirmed before) bool {
	switch {
	case s.State == StateVoided: // nothing is left to be changed
		return false
	case o == OperationCapture:
		return s.CapturedMinor < confirmed.capturedMinor
	case o == OperationRefund:
		return s.ReturnedMinor < confirmed.returnedMinor
	default:
		return false
	}
}

// unsupported says why an acquirer cannot do this at all, empty where it can.
func (c Capabilities) unsupported(r Request) string {
	switch {
	case r.Operation == OperationUnknown, r.Operation == OperationIncrement && !c.Increments:
		return "operation"
	case !slices.Contains(c.Currencies, r.Currency):
		return "currency"
	default:
		return ""
	}
}

// unfit says why what is asked cannot be done to a transaction that stands so, empty where it can.
func (c Capabilities) unfit(o Operation, s Standing) string {
	switch {
	case o == OperationCapture && s.CapturedMinor > 0 && !c.MultipleCaptures:
		return "second capture"
	case o == OperationVoid && s.CapturedMinor > 0 && !c.PartialVoid:
		return "void after a capture" // there it would give back what was captured
	default:
		return ""
	}
}

// outcome concludes from a transaction's standing what became of a request.
func (s Standing) outcome(o Operation, b before) Result {
	r := Result{Code: s.Code, Reference: s.Reference, TID: s.TID}
	switch s.State {
	case StateAbsent:
		if !o.follows() { // what is changed stood there before it was: who does not find it now says nothing of the change
			r.Outcome = OutcomeNotFound
		}
		return r
	case StateUnclear, StatePending:
		return r
	case StateDeclined:
		if !o.follows() { // a later operation is not what was declined
			r.Outcome = OutcomeRefused
		}
		return r
	case StateAuthorized, StateCaptured, StateVoided:
	}
	switch o {
	case OperationAuthorize, OperationCollect:
		return s.authorization(o, r)
	case OperationCapture:
		return s.difference(r, s.CapturedMinor-b.capturedMinor)
	case OperationVoid:
		return s.void(r, s.ReturnedMinor-b.returnedMinor)
	case OperationRefund:
		return s.givenBack(r, s.ReturnedMinor-b.returnedMinor)
	case OperationUnknown, OperationIncrement, OperationSend:
	}
	return r
}

// authorization is the outcome of what makes a transaction. One that was captured without being asked to, or the other
// way round, is something that a person has to look at: it stays unknown.
func (s Standing) authorization(o Operation, r Result) Result {
	switch {
	case s.State == StateVoided:
		r.Outcome, r.Code = OutcomeRefused, "voided"
	case s.State == StateAuthorized && o == OperationAuthorize:
		r.Outcome, r.AmountMinor = OutcomeConfirmed, s.AuthorizedMinor
	case s.State == StateCaptured && o == OperationCollect:
		r.Outcome, r.AmountMinor = OutcomeConfirmed, s.CapturedMinor
	}
	return r
}

// void is the outcome of one. What stands voided is given up, whoever has done it: also where it stood so before, or how much is not told.
func (s Standing) void(r Result, moved int64) Result {
	if s.State == StateVoided && moved <= 0 {
		r.Outcome = OutcomeConfirmed
		return r
	}
	return s.givenBack(r, moved)
}

// givenBack is the outcome of what gives up or gives back. Some call given back what is disputed: where that may be what has moved, the
// order may not have been done.
func (s Standing) givenBack(r Result, moved int64) Result {
	if s.Disputed && moved > 0 {
		r.Code = ""
		return r
	}
	return s.difference(r, moved)
}

// difference is the outcome of what changes a transaction: something moved since, or nothing did.
func (s Standing) difference(r Result, moved int64) Result {
	r.Code = ""
	switch {
	case moved > 0:
		r.Outcome, r.AmountMinor = OutcomeConfirmed, moved
	case s.State == StateVoided:
		r.Outcome, r.Code = OutcomeRefused, "voided"
	default:
		r.Outcome = OutcomeNotFound
	}
	return r
}

// Foremost is the standing that counts where an acquirer knows several transactions under one reference. Two that hold
// money are more than this program may conclude anything from.
func Foremost(all []Standing) Standing {
	best, holding := Standing{State: StateAbsent}, 0
	for _, s := range all {
		if s.State == StateUnclear {
			return s
		}
		if s.State == StateAuthorized || s.State == StateCaptured {
			holding++
		}
		if rank(s.State) > rank(best.State) {
			best = s
		}
	}
	if holding > 1 {
		return Standing{}
	}
	return best
}

func rank(s State) int {
	switch s {
	case StateAuthorized, StateCaptured:
		return 4
	case StatePending:
		return 3
	case StateVoided:
		return 2
	case StateDeclined:
		return 1
	default:
		return 0
	}
}

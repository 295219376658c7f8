// Package accounts is the reducer of the accounts group: it composes the stages into one decision per command.
//
// Reads names what a command needs, Apply decides it. Both are pure. A refusal is a decision; an error means a broken
// invariant or a command that contradicts itself, and parks the account. docs/domain.md says what each command does.
//
// It refuses to load, to store, to encode and to know of topics: the shell in streams/topology does.
package accounts

import (
	"errors"

	"github.com/caudalpay/caudal/processors/compliance"
	"github.com/caudalpay/caudal/processors/fees"
	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/fx"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
)

// ErrMalformed marks a command that contradicts itself or its key.
var ErrMalformed = errors.New("malformed command")

// ErrInvariant marks a state that must not be.
var ErrInvariant = errors.New("broken invariant")

// DuePerTickMax is how many due entries one tick takes out; another tick follows for the rest.
const DuePerTickMax = 1000

const (
	minuteUS = int64(60_000_000)
	dayUS    = 24 * 60 * minuteUS
	// retentionAgainUS is how long the record of a payment that is not final stays on.
	retentionAgainUS = 30 * dayUS
)

// Snapshot is what a command is decided on. Nothing in it is changed.
type Snapshot struct {
	Cell *Cell // nil: the key was never seen

	Payment   *payment.Record // of the identity a creating command claims
	Related   *payment.Record // the payment the command is about: refunded, judged, expired, answered
	Command   *CommandRecord
	Leg       *LegRecord      // the counter-leg of this transfer that was decided last
	PartySeen bool            // this counterparty was paid before
	Quote     *payment.Record // what the instruction names as its quote

	// The pinned documents; nil where nothing is pinned.
	Policy    *policy.Policy
	Fees      *fees.Schedule
	Rates     *fx.Sheet
	Rules     *fraud.RuleSet
	Blocklist *compliance.Blocklist

	// Ticks only.
	LastMinute int64
	Due        []Due // ascending, due at the start of the tick's minute, at most DuePerTickMax
}

// Writes is all that changes, apart from the emissions.
type Writes struct {
	Cell      *Cell // nil for ticks
	Payments  []PaymentWrite
	Command   *CommandWrite
	Leg       *LegWrite
	Party     []byte // digest of a counterparty now seen
	DueAdd    []Due
	DueRemove []Due
	Minute    *int64 // the last tick's
	Decision  Decision
}

// PaymentWrite puts or deletes a payment record under the account's key.
type PaymentWrite struct {
	Identity string          // the part of the id behind its prefix
	Record   *payment.Record // nil deletes
}

// CommandRecord remembers a request that is not a payment, so that a repeat gets the first answer.
type CommandRecord struct {
	BodyHash     [32]byte
	FirstOutcome payment.Outcome
	FirstReasons []payment.Reason
	FirstSeq     uint64
	Status       payment.Status // of the payment it was about
	PaymentID    payment.ID
	AcceptedAtUS int64
}

// CommandWrite puts a command record under the account's key.
type CommandWrite struct {
	CommandID string
	Record    CommandRecord
}

// LegRecord remembers a counter-leg that was decided.
type LegRecord struct {
	PayerSeq    uint64
	ExpiresAtUS int64 // 0: never, or not told
}

// LegWrite remembers under the payee's key that a counter-leg was decided, or forgets it.
type LegWrite struct {
	Identity string     // of the transfer
	Record   *LegRecord // nil: forget
}

// Due is an entry of a partition's due index.
type Due struct {
	AtUS    int64
	Account payment.AccountID
	Payment payment.ID
	Purpose payment.ExpirePurpose
}

// Emission leaves with the decision. Exactly one of the fields is set.
type Emission struct {
	Command   *CommandEmission
	Directory *DirectoryEntry
	Order     *Order
	Card      *CardEntry
	Reply     bool // the decision answers a caller, if one waits
}

// CommandEmission is a command to another key.
type CommandEmission struct {
	Key     string
	Command payment.Command
	// Forwarded: it is the same request, passed on with its reply address and sealed data.
	Forwarded bool
}

// DirectoryEntry is what every ingress knows of an account.
type DirectoryEntry struct {
	Account                    payment.AccountID
	Tenant, Merchant, Customer string
	State                      AccountState
	AccountSeq                 uint64
}

// OrderKind says what a rail is asked to do.
type OrderKind = payment.OrderKind

// The kinds of orders.
const (
	OrderKindUnknown   = payment.OrderUnknown
	OrderKindCollect   = payment.OrderCollect
	OrderKindSend      = payment.OrderSend
	OrderKindReturn    = payment.OrderReturn
	OrderKindAuthorize = payment.OrderAuthorize
	OrderKindCapture   = payment.OrderCapture
	OrderKindVoid      = payment.OrderVoid
	OrderKindIncrement = payment.OrderIncrement
)

// Order asks a rail to do something outside. docs/domain.md lists who asks for what.
type Order struct {
	OrderID          string // stable: the record that waits for the answer, and the step
	Kind             OrderKind
	Method           string
	Tenant, Merchant string
	Account          payment.AccountID
	PaymentID        payment.ID
	AmountMinor      int64
	Currency         string
	Instrument       string
	Connector        string // who has authorised it, where something is asked of that
	Reference        string // and its own id
	Brand            string
	Installments     uint8
	Final            bool // captures: what is left after it is given up
	OrderedAtUS      int64
	LateAtUS         int64 // what had come late of the payment's captures and refunds, as its rail told the time; 0: nothing
	DeadlineUS       int64 // 0: none
}

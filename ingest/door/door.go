// Package door is what every way into the house stands on: commands on their way to the log, what an ingress knows of
// accounts, cards and policies, and what may go wrong on the way. It knows neither HTTP nor ISO 8583, and holds no state.
package door

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// What the ports answer when they cannot do what was asked. Implementations wrap these, callers test with errors.Is.
var (
	// ErrBusy: the bounded buffer is full, or no room will come in time. Nothing was handed to the broker.
	ErrBusy = errors.New("the buffer of commands is full")
	// ErrUnavailable: the broker did not acknowledge in time. The command may or may not be in the log; the same
	// idempotency key makes a retry safe.
	ErrUnavailable = errors.New("the broker does not acknowledge")
	// ErrPending: acknowledged, and not decided before the wait was over.
	ErrPending = errors.New("accepted and not yet decided")
	// ErrPolicyUnknown: no policy of this id for this tenant.
	ErrPolicyUnknown = errors.New("unknown policy")
)

// CommandVersion is the version of the commands that doors write.
const CommandVersion = 1

// Item is a command on its way to the log, with its record key.
type Item struct {
	Key     string
	Command *paymentsv1.Command
}

// Result is what became of an Item whose caller waits: a decision, or an error.
type Result struct {
	Decision *paymentsv1.Decision
	Err      error
}

// Commands takes commands to the log.
// Invariant: a nil error (and ErrPending) means that the broker has acknowledged the command with acks=all.
// Items of one key reach the log in the order they were given. Commands own what they are given until they return.
type Commands interface {
	// Submit returns after the broker's acknowledgement. ErrBusy, ErrUnavailable.
	Submit(ctx context.Context, key string, cmd *paymentsv1.Command) error
	// SubmitAndWait returns the decision. ErrBusy, ErrUnavailable, ErrPending. It sets the command's reply address.
	SubmitAndWait(ctx context.Context, key string, cmd *paymentsv1.Command, wait time.Duration) (*paymentsv1.Decision, error)
	// SubmitBatch hands all items over at once and returns after the last acknowledgement, one error (or nil) per item, in order.
	SubmitBatch(ctx context.Context, items []Item) []error
	// SubmitBatchAndWait does the same and waits for the decisions, one deadline for all.
	SubmitBatchAndWait(ctx context.Context, items []Item, wait time.Duration) []Result
}

// Lane takes commands to the log one by one, for callers that have milliseconds: none waits for a batch.
// Invariant: commands of one key that are begun one after the other reach the log in that order, also where the first is
// not acknowledged yet, or has failed.
type Lane interface {
	// Begin hands a command over and does not wait. It sets the command's reply address. ErrBusy.
	Begin(key string, cmd *paymentsv1.Command) (Ticket, error)
}

// Ticket is a command that was begun. Its holder calls Leave once.
type Ticket interface {
	// Acked returns once the broker has acknowledged. ErrUnavailable: it has refused, or ctx has ended.
	Acked(ctx context.Context) error
	// Decision returns the decision, ErrPending where ctx ends after the acknowledgement, or as Acked.
	Decision(ctx context.Context) (*paymentsv1.Decision, error)
	// Times are when it was begun and when the broker acknowledged it; the second is the first where that is not known.
	Times() (begun, acked time.Time)
	// Leave gives up waiting: what is decided later wakes nobody.
	Leave()
}

// Account is what a door has to know of an account.
type Account struct {
	Tenant, Merchant, Customer string
	Policy                     string // id, without version
	Currencies                 string // joined by commas
}

// Holds tells whether the account has a balance in a currency.
func (a *Account) Holds(currency string) bool {
	for c := range strings.SplitSeq(a.Currencies, ",") {
		if c == currency {
			return true
		}
	}
	return false
}

// Accounts is the directory of accounts, followed in memory.
type Accounts interface {
	Account(id payment.AccountID) (Account, bool)
	CustomerAccount(tenant, merchant, customer string) (payment.AccountID, bool)
	// WaitAccount returns when the directory has the account, or with ctx's error.
	WaitAccount(ctx context.Context, id payment.AccountID) error
}

// Card is what a door has to know of a card. The number is nowhere but in the request that brings it.
type Card struct {
	Tenant, Merchant string
	Account          payment.AccountID
	Status           paymentsv1.CardStatus
	First6, Last4    string
	Expiry           int32 // YYMM
	IssuedAtUs       int64
	Seq              uint64 // of the card's key
}

// Cards is the directory of cards, followed in memory.
type Cards interface {
	Card(id payment.CardKey) (Card, bool)
	// WaitCard returns when the directory has the card up to seq of its key, or with ctx's error.
	WaitCard(ctx context.Context, id payment.CardKey, seq uint64) error
}

// Pins names the newest versions of what a policy refers to.
type Pins interface {
	// Pin returns a value that the caller does not change. ErrPolicyUnknown where there is no such policy.
	Pin(policyID string) (*paymentsv1.Pins, error)
}

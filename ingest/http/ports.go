package http

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
	// ErrNotFound: the store has no such object of this owner.
	ErrNotFound = errors.New("not found")
	// ErrForged: who notifies has not shown the secret, or long ago.
	ErrForged = errors.New("the notification is not known to be its processor's")
	// ErrMalformed: what came is no JSON.
	ErrMalformed = errors.New("the notification is not JSON")
	// ErrLimited: more came than may.
	ErrLimited = errors.New("too many notifications")
	// ErrPolicyUnknown: no policy of this id for this tenant.
	ErrPolicyUnknown = errors.New("unknown policy")
)

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

// Account is what the door has to know of an account.
type Account struct {
	Tenant, Merchant, Customer string
	Policy                     string // id, without version
	Currencies                 string // joined by commas
}

func (a *Account) holds(currency string) bool {
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

// Pins names the newest versions of what a policy refers to.
type Pins interface {
	// Pin returns a value that the caller does not change. ErrPolicyUnknown where there is no such policy.
	Pin(policyID string) (*paymentsv1.Pins, error)
}

// Sealer keeps personal data unreadable in the log.
type Sealer interface {
	// SealInto seals p into the memory of s; false where there is nothing to hide.
	SealInto(s *paymentsv1.Sealed, p *paymentsv1.Personal) (bool, error)
	Open(s *paymentsv1.Sealed) (*paymentsv1.Personal, error)
	// AppendBodyHash appends a keyed SHA-256 (32 bytes), so that a log's reader cannot guess bodies.
	AppendBodyHash(b, canonical []byte) []byte
	// PartyDigest is an HMAC-SHA-256 of normalised text, under a key of its own.
	PartyDigest(normalised string) []byte
}

// Webhooks takes what processors notify.
type Webhooks interface {
	// Receive returns after the broker's acknowledgement. ErrNotFound where there is no such processor, ErrForged, ErrMalformed,
	// ErrLimited, ErrBusy, ErrUnavailable. It keeps nothing of body.
	Receive(ctx context.Context, processor string, header func(name string) []string, body []byte) error
}

// Owner is whose objects a caller sees and moves.
type Owner struct {
	Tenant   string
	Merchant string
}

// StatementCursor stands behind the last line of a page; the zero value stands before the first line.
type StatementCursor struct {
	AccountSeq uint64
	Line       int32
}

// StatementQuery asks for the lines behind a cursor, oldest first.
type StatementQuery struct {
	Account payment.AccountID
	After   StatementCursor
	Limit   int // 1 to 500
}

// DisputesCursor stands behind a dispute, in the order of a page; the zero value stands before the newest.
type DisputesCursor struct {
	CreatedAtUS int64
	ID          payment.ID
}

// DisputesQuery asks for the disputes behind a cursor, the newest first.
type DisputesQuery struct {
	Account payment.AccountID // empty: of every account
	Status  payment.Status    // StatusNone: any
	After   DisputesCursor
	Limit   int // 1 to 500
}

// Store reads what the decisions became. Every read is bound to its owner: another owner's object is ErrNotFound.
type Store interface {
	Payment(ctx context.Context, owner Owner, id payment.ID) (*PaymentView, error)
	Account(ctx context.Context, owner Owner, id payment.AccountID) (*AccountView, error)
	Balances(ctx context.Context, owner Owner, id payment.AccountID) (*BalancesView, error)
	Statement(ctx context.Context, owner Owner, query StatementQuery) (*StatementPage, error)
	Timeline(ctx context.Context, owner Owner, query TimelineQuery) (*TimelinePage, error)
	Quote(ctx context.Context, owner Owner, id payment.ID) (*QuoteView, error)
	Dispute(ctx context.Context, owner Owner, id payment.ID) (*DisputeView, error)
	Disputes(ctx context.Context, owner Owner, query DisputesQuery) (*DisputesPage, error)
	// WaitSeq returns when the store holds the account up to seq, or with ctx's error.
	WaitSeq(ctx context.Context, account payment.AccountID, seq uint64) error
}

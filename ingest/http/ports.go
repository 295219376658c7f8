package http

import (
	"context"
	"errors"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
)

// What HTTP shares with the other doors.
type (
	Item     = door.Item
	Result   = door.Result
	Commands = door.Commands
	Account  = door.Account
	Accounts = door.Accounts
	Card     = door.Card
	Cards    = door.Cards
	Pins     = door.Pins
)

// What the ports answer when they cannot do what was asked; see package door.
var (
	ErrBusy          = door.ErrBusy
	ErrUnavailable   = door.ErrUnavailable
	ErrPending       = door.ErrPending
	ErrPolicyUnknown = door.ErrPolicyUnknown
)

// What the ports of this door alone answer.
var (
	// ErrNotFound: the store has no such object of this owner.
	ErrNotFound = errors.New("not found")
	// ErrForged: who notifies has not shown the secret, or long ago.
	ErrForged = errors.New("the notification is not known to be its processor's")
	// ErrMalformed: what came is no JSON.
	ErrMalformed = errors.New("the notification is not JSON")
	// ErrLimited: more came than may.
	ErrLimited = errors.New("too many notifications")
)

// Sealer keeps personal data unreadable in the log.
type Sealer interface {
	// SealInto seals p into the memory of s; false where there is nothing to hide.
	SealInto(s *paymentsv1.Sealed, p *paymentsv1.Personal) (bool, error)
	Open(s *paymentsv1.Sealed) (*paymentsv1.Personal, error)
	// AppendBodyHash appends a keyed SHA-256 (32 bytes), so that a log's reader cannot guess bodies.
	AppendBodyHash(b, canonical []byte) []byte
	// PartyDigest is an HMAC-SHA-256 of normalised text, under a key of its own.
	PartyDigest(normalised string) []byte
	// CardKey names a card by the keyed digest of its number.
	CardKey(number string) payment.CardKey
}

// Policies tells the newest version of a policy.
type Policies interface {
	Policy(id string) (*referencev1.Policy, bool)
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

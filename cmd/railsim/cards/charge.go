// Package cards is what the three acquirers have in common behind their protocols: charges, what may be done to them, and what
// an issuer says to a card. It writes what happened to the journal before anybody is answered, and is folded from it again.
//
// The rules are those the acquirers publish: a capture is done once, of at most what is authorised, and lets the rest go; a
// cancel before it takes all of the authorisation; after it a part may go, until nothing is left; on the day of the authorisation,
// or of the capture, that is a void, later a refund. It refuses what those rules do not know, such as raising an authorisation.
package cards

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/faults"
)

// Refusals of an operation. Nothing was done.
var (
	ErrUnknown = errors.New("no such charge")
	ErrState   = errors.New("the charge's status does not allow it")
	ErrAmount  = errors.New("the amount is more than there is")
	ErrTaken   = errors.New("the reference is taken")
	// ErrRepeated: the key was answered before, and nothing is done again.
	ErrRepeated = errors.New("the idempotency key was answered before")
)

// Status of a charge, in words of no protocol.
type Status string

// Statuses of a charge.
const (
	StatusDenied     Status = "denied"
	StatusAuthorized Status = "authorized"
	StatusCaptured   Status = "captured"
	StatusVoided     Status = "voided"   // all of it, before a capture or on the day
	StatusRefunded   Status = "refunded" // all of it, and some of it later
)

// Charge is one authorisation and what became of it. Amounts are minor units of Currency.
type Charge struct {
	ID, Reference, Order   string
	Number                 int // of the charges of this reference, from 1
	Token, Brand, Currency string
	Installments           int
	Issuer                 Issuer
	AuthorizedMinor        int64
	CapturedMinor          int64
	VoidedMinor            int64 // of an authorisation all of it; of a capture what went on its day
	RefundedMinor          int64 // what went later
	AutoCapture            bool
	CreatedAt, CapturedAt  time.Time
	ClosedAt               time.Time       // of the last cancel
	Cancels                []Cancel        // of what was captured, or the one of the authorisation
	Extra                  json.RawMessage // what its protocol wants to remember
	LastOperation          string          // authorize, capture, cancel
	LastAmountMinor        int64           // of that operation
	AskedMinor             int64           // of the authorisation, declined or not
	Dispute                *Dispute        `json:",omitempty"` // the last that was told of one
}

// Dispute is what the card network says of a charge that its holder contests.
type Dispute struct {
	ID          string // of the case
	Stage       Stage
	AmountMinor int64
	Reason      string // the network's code
	At          time.Time
}

// Stage of a dispute.
type Stage string

// Stages of a dispute, in their order but for its two ends.
const (
	StagePreDispute     Stage = "pre_dispute"     // the holder's bank asks, no money has moved
	StageDispute        Stage = "dispute"         // the money was taken
	StagePreArbitration Stage = "pre_arbitration" // it was contested, and is taken again
	StageWon            Stage = "won"             // it was given back, or never taken
	StageLost           Stage = "lost"
)

// Stages are all of them.
func Stages() []Stage {
	return []Stage{StagePreDispute, StageDispute, StagePreArbitration, StageWon, StageLost}
}

// taken is what the network has of a dispute in this stage.
func (d *Dispute) taken() int64 {
	if d == nil || d.Stage == StagePreDispute || d.Stage == StageWon {
		return 0
	}
	return d.AmountMinor
}

// Disputed says whether the money stands taken.
func (c Charge) Disputed() bool { return c.Dispute.taken() > 0 }

// Told is what a notification says of the dispute where it lies so, wrong making another amount; nil where it has no such lie: nothing
// was before its first stage.
func (d Dispute) Told(lie faults.Kind, wrong func(int64) int64) *Dispute {
	switch lie {
	case faults.HookLieAmount:
		d.AmountMinor = wrong(d.AmountMinor)
	case faults.HookLieState:
		return d.before()
	default:
	}
	return &d
}

func (d Dispute) before() *Dispute {
	switch d.Stage {
	case StagePreArbitration, StageWon, StageLost:
		d.Stage = StageDispute
	case StageDispute:
		d.Stage = StagePreDispute
	default:
		return nil
	}
	d.At = d.At.Add(-time.Second)
	return &d
}

// EvidenceUntil is the last day on which evidence is taken.
func (d Dispute) EvidenceUntil() string { return d.At.AddDate(0, 0, 10).Format(time.DateOnly) }

// Cancel is one amount that was let go or given back.
type Cancel struct {
	ID          string
	AmountMinor int64
	At          time.Time
	Refund      bool // on a later day
}

// Status is where the charge stands.
func (c Charge) Status() Status {
	gone := c.VoidedMinor + c.RefundedMinor
	switch {
	case !c.Issuer.Approves():
		return StatusDenied
	case c.CapturedMinor > 0 && gone < c.CapturedMinor:
		return StatusCaptured
	case gone == 0:
		return StatusAuthorized
	case c.RefundedMinor > 0:
		return StatusRefunded
	default:
		return StatusVoided
	}
}

// Issuer is what the card's issuer says, as a digit of the sandbox: 0, 1 and 4 approve.
type Issuer int

// Digits with a meaning.
const (
	Approved      Issuer = 0
	NotAuthorized Issuer = 2
	Expired       Issuer = 3
	Blocked       Issuer = 5
	TimedOut      Issuer = 6
	Canceled      Issuer = 7
	Problem       Issuer = 8
)

// Approves says whether the money is promised.
func (i Issuer) Approves() bool { return i == 0 || i == 1 || i == 4 }

// issuer is what the token's last digit asks for; 9 leaves it to the seed. A token that ends in a letter is approved.
func (v *Vault) issuer(token, reference string, number int) Issuer {
	switch last := token[len(token)-1]; {
	case last == '9':
		digits := []Issuer{Approved, Approved, Approved, Approved, Approved, NotAuthorized, Expired, Blocked, TimedOut, Canceled, Problem}
		at := faults.Site{Connector: v.cfg.Connector, Reference: reference, Operation: "issuer", Call: number}
		return digits[faults.Draw(v.cfg.Seed, at, "issuer")%uint64(len(digits))]
	case last >= '0' && last <= '8':
		return Issuer(last - '0')
	default:
		return Approved
	}
}

// Digest is a name that seed, connector, reference and number decide, so that a run can be repeated id by id.
func Digest(seed uint64, connector, reference string, number int, what string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s\x00%d\x00%s", seed, connector, reference, number, what))
	return hex.EncodeToString(sum[:])
}

// Digits are n decimal digits out of a hexadecimal name.
func Digits(hexName string, n int) string {
	out := []byte(hexName[:n])
	for i, c := range out {
		if c >= 'a' {
			out[i] = c - 'a' + '0'
		}
	}
	return string(out)
}

// UUID dresses a hexadecimal name as one.
func UUID(h string) string {
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:32]
}

// Day numbers the business days at UTC-3, Brasilia's time; length is 24 hours, or less where a test cannot wait.
func Day(t time.Time, length time.Duration) int64 {
	return t.Add(-3*time.Hour).UnixNano() / int64(length)
}

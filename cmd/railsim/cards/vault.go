package cards

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/journal"
)

// Appender is the journal, as the vault needs it.
type Appender interface {
	Append(entries ...journal.Entry) error
}

// Config of a vault.
type Config struct {
	Connector string
	Seed      uint64
	Now       func() time.Time
	Day       time.Duration // length of a business day
	ID        func(digest string) string
	Unique    bool // a reference is charged once at most, declines included
	// ByAuthorization: what was captured is voided on the day of its authorisation, and refunded later; else on the capture's day.
	ByAuthorization bool
}

// Vault holds the charges of one acquirer.
type Vault struct {
	cfg     Config
	journal Appender

	mu      sync.Mutex
	charges map[string]*Charge
	byRef   map[string][]string
	events  map[string]int // by reference: webhooks so far
	answers map[string]Answer
}

// Answer is one that a repeat with its key gets again.
type Answer struct {
	Digest string // of the request
	Status int
	Body   []byte
}

// NewVault is an empty one. Restore it from the journal, then attach the journal.
func NewVault(cfg Config) *Vault {
	return &Vault{
		cfg:     cfg,
		charges: map[string]*Charge{}, byRef: map[string][]string{}, events: map[string]int{}, answers: map[string]Answer{},
	}
}

// Attach gives the vault the journal to write to.
func (v *Vault) Attach(j Appender) { v.journal = j }

// Restore takes in an entry of before the start. It fits the journal's listeners, and ignores what it wrote itself.
func (v *Vault) Restore(e journal.Entry, replayed bool) {
	if !replayed || e.Connector != v.cfg.Connector {
		return
	}
	switch {
	case e.Kind == journal.Answered:
		var a Answer
		if json.Unmarshal(e.State, &a) == nil { // we wrote it
			v.answers[e.Name] = a
		}
	case len(e.State) > 0:
		var c Charge
		if json.Unmarshal(e.State, &c) == nil { // as above
			v.put(&c)
		}
	}
	v.events[e.Reference] = max(v.events[e.Reference], e.Event)
}

func (v *Vault) put(c *Charge) {
	if v.charges[c.ID] == nil {
		v.byRef[c.Reference] = append(v.byRef[c.Reference], c.ID)
	}
	v.charges[c.ID] = c
}

// Request is what is asked for, in words of no protocol.
type Request struct {
	Reference, Order       string
	Token, Brand, Currency string
	Installments           int
	AmountMinor            int64
	Capture                bool
	Extra                  json.RawMessage
}

// Origin is the call that asks.
type Origin struct {
	Operation string
	Call      int
	Key       string // of idempotency; empty: none
	Digest    string // of the request, with Key
	// Answer makes what a repeat with Key gets again, from the charge as it will be.
	Answer func(Charge) (status int, body []byte)
}

// Repeat is what was answered to a key before.
func (v *Vault) Repeat(key string) (Answer, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	a, ok := v.answers[key]
	return a, ok
}

func (v *Vault) repeated(from Origin) bool {
	_, ok := v.answers[from.Key]
	return ok && from.Key != ""
}

// Authorize asks the issuer, and captures at once where asked.
func (v *Vault) Authorize(r Request, from Origin) (Charge, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.repeated(from) {
		return Charge{}, ErrRepeated
	}
	if v.cfg.Unique && len(v.byRef[r.Reference]) > 0 {
		return Charge{}, ErrTaken
	}
	number := len(v.byRef[r.Reference]) + 1
	now := v.cfg.Now().UTC()
	c := Charge{
		ID:        v.cfg.ID(Digest(v.cfg.Seed, v.cfg.Connector, r.Reference, number, "charge")),
		Reference: r.Reference, Order: r.Order, Number: number, Token: r.Token, Brand: r.Brand, Currency: r.Currency,
		Installments: r.Installments, Issuer: v.issuer(r.Token, r.Reference, number), AutoCapture: r.Capture, CreatedAt: now,
		Extra: r.Extra, LastOperation: "authorize", LastAmountMinor: r.AmountMinor, AskedMinor: r.AmountMinor,
	}
	if !c.Issuer.Approves() {
		return c, v.record(c, from, journal.Entry{Kind: journal.Declined, AmountMinor: r.AmountMinor})
	}
	c.AuthorizedMinor = r.AmountMinor
	entries := []journal.Entry{{Kind: journal.Authorized, AmountMinor: r.AmountMinor}}
	if r.Capture {
		c.CapturedMinor, c.CapturedAt = r.AmountMinor, now
		entries = append(entries, journal.Entry{Kind: journal.Captured, AmountMinor: r.AmountMinor})
	}
	return c, v.record(c, from, entries...)
}

// Capture takes what was promised: amountMinor of it, or with 0 all.
func (v *Vault) Capture(id string, amountMinor int64, from Origin) (Charge, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.repeated(from) {
		return Charge{}, ErrRepeated
	}
	old, ok := v.charges[id]
	if !ok {
		return Charge{}, ErrUnknown
	}
	c := *old
	if c.Status() != StatusAuthorized {
		return c, ErrState
	}
	if amountMinor == 0 {
		amountMinor = c.AuthorizedMinor
	}
	if amountMinor > c.AuthorizedMinor {
		return c, ErrAmount
	}
	c.CapturedMinor, c.CapturedAt, c.LastOperation, c.LastAmountMinor = amountMinor, v.cfg.Now().UTC(), "capture", amountMinor
	return c, v.record(c, from, journal.Entry{Kind: journal.Captured, AmountMinor: amountMinor})
}

// Cancel lets go or gives back: amountMinor, or with 0 all that is left.
func (v *Vault) Cancel(id string, amountMinor int64, from Origin) (Charge, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.repeated(from) {
		return Charge{}, ErrRepeated
	}
	old, ok := v.charges[id]
	if !ok {
		return Charge{}, ErrUnknown
	}
	c := *old
	taken := c.Status() == StatusCaptured
	left := c.AuthorizedMinor
	switch {
	case taken:
		left = c.CapturedMinor - c.VoidedMinor - c.RefundedMinor
	case c.Status() != StatusAuthorized:
		return c, ErrState
	}
	if amountMinor == 0 {
		amountMinor = left
	}
	if amountMinor > left || !taken && amountMinor < left {
		return c, ErrAmount
	}
	now := v.cfg.Now().UTC()
	since := c.CapturedAt
	if v.cfg.ByAuthorization {
		since = c.CreatedAt
	}
	refund := taken && Day(now, v.cfg.Day) != Day(since, v.cfg.Day)
	c.Cancels = append(slices.Clip(c.Cancels), Cancel{
		ID: Digest(v.cfg.Seed, v.cfg.Connector, c.Reference, c.Number, fmt.Sprint("cancel ", len(c.Cancels))), AmountMinor: amountMinor, At: now, Refund: refund,
	})
	c.ClosedAt, c.LastOperation, c.LastAmountMinor = now, "cancel", amountMinor
	e := journal.Entry{Kind: journal.Voided, AmountMinor: amountMinor, Taken: taken}
	if refund {
		e.Kind, e.Taken = journal.Refunded, false
		c.RefundedMinor += amountMinor
	} else {
		c.VoidedMinor += amountMinor
	}
	return c, v.record(c, from, e)
}

// Dispute takes in what the card network says of a charge: amountMinor of it, or with 0 all that was captured. The id of the case
// stays what it was at first.
func (v *Vault) Dispute(id string, stage Stage, amountMinor int64, reason string) (Charge, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old, ok := v.charges[id]
	if !ok {
		return Charge{}, ErrUnknown
	}
	c := *old
	if c.CapturedMinor == 0 {
		return c, ErrState
	}
	if amountMinor == 0 {
		amountMinor = c.CapturedMinor
	}
	if amountMinor > c.CapturedMinor {
		return c, ErrAmount
	}
	c.Dispute = &Dispute{
		ID: Digits(Digest(v.cfg.Seed, v.cfg.Connector, c.Reference, c.Number, "dispute"), 12), Stage: stage, AmountMinor: amountMinor, Reason: reason,
		At: v.cfg.Now().UTC(),
	}
	return c, v.record(c, Origin{Operation: "dispute"}, journal.Entry{Kind: journal.Disputed, AmountMinor: c.Dispute.taken() - old.Dispute.taken()})
}

// record writes what happened to c, and only then lets it be so. The last entry has the state and the webhook.
func (v *Vault) record(c Charge, from Origin, entries ...journal.Entry) error {
	event := v.events[c.Reference] + 1
	for i := range entries {
		e := &entries[i]
		e.Connector, e.Reference, e.Order, e.Charge, e.Currency = v.cfg.Connector, c.Reference, c.Order, c.ID, c.Currency
		e.Operation, e.Call = from.Operation, from.Call
	}
	state, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encoding a charge: %w", err)
	}
	last := &entries[len(entries)-1]
	last.State, last.Event = state, event
	var again Answer
	if from.Key != "" {
		again.Digest = from.Digest
		again.Status, again.Body = from.Answer(c)
		state, err := json.Marshal(again)
		if err != nil {
			return fmt.Errorf("encoding an answer: %w", err)
		}
		entries = append(entries, journal.Entry{Kind: journal.Answered, Connector: v.cfg.Connector, Reference: c.Reference, Name: from.Key, State: state})
	}
	if err := v.journal.Append(entries...); err != nil {
		return err //nolint:wrapcheck // it says what it was doing
	}
	v.put(&c)
	v.events[c.Reference] = event
	if from.Key != "" {
		v.answers[from.Key] = again
	}
	return nil
}

// Find is one charge.
func (v *Vault) Find(id string) (Charge, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, ok := v.charges[id]
	if !ok {
		return Charge{}, false
	}
	return *c, true
}

// ByReference are the charges of a reference, oldest first.
func (v *Vault) ByReference(reference string) []Charge {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := []Charge{}
	for _, id := range v.byRef[reference] {
		out = append(out, *v.charges[id])
	}
	return out
}

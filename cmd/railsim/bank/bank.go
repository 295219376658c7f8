// Package bank plays a bank that pays out: it takes a transfer at once, and says later what became of it.
//
// The API is the simulator's own. No bank's is public enough to follow, and what they have in common is this: an id of the
// client's that makes a repeat harmless, an answer that promises nothing, and statuses by webhook and by query. The last digit of
// the account's number or token decides: 3 comes back before it was paid, 4 is called failed and turns out to be paid, 5 is
// refused at once, 6 stays pending for ever, 7 fails before the money leaves, 8 comes back after it was paid, 9 is paid or one of
// 3, 4, 7 and 8 by the seed, all others are paid. Reasons are codes of the central bank's for returned TEDs.
package bank

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/cards"
	"github.com/caudalpay/caudal/cmd/railsim/faults"
	"github.com/caudalpay/caudal/cmd/railsim/journal"
	"github.com/caudalpay/caudal/cmd/railsim/schedule"
	"github.com/caudalpay/caudal/cmd/railsim/wire"
)

// Name of the connector, in paths and books.
const Name = "bank"

// Credentials are a bearer token.
type Credentials struct {
	Token string `yaml:"token"`
}

// Config of the bank.
type Config struct {
	Credentials Credentials
	Seed        uint64
	Delay       time.Duration // between statuses, on average: half as much or as much again, by the seed
	Now         func() time.Time
}

// Statuses of a transfer.
const (
	StatusPending  = "pending"
	StatusSent     = "sent"
	StatusPaid     = "paid"
	StatusFailed   = "failed"
	StatusReturned = "returned"
)

// Reasons, as codes of returned TEDs.
const (
	reasonClosed  = "1" // the account is closed
	reasonAccount = "2" // branch or account invalid
	reasonHolder  = "3" // CPF or CNPJ of somebody else
)

// request is POST /transfers.
type request struct {
	EndToEndID string   `json:"end_to_end_id"`
	OrderID    string   `json:"order_id"`
	Amount     int64    `json:"amount"` // minor units
	Currency   string   `json:"currency"`
	Account    *Account `json:"account"`
}

// Account is where the money goes: a token, or bank, branch and number.
type Account struct {
	Token  string `json:"token,omitempty"`
	ISPB   string `json:"ispb,omitempty"`
	Branch string `json:"branch,omitempty"`
	Number string `json:"number,omitempty"`
	Type   string `json:"type,omitempty"`
	Name   string `json:"name,omitempty"`
	// Document is the holder's CPF or CNPJ.
	Document string `json:"document,omitempty"`
}

// Transfer is one, as it is told.
type Transfer struct {
	ID         string    `json:"id"` // the client's: end_to_end_id, else order_id
	EndToEndID string    `json:"end_to_end_id,omitempty"`
	OrderID    string    `json:"order_id,omitempty"`
	Amount     int64     `json:"amount"`
	Currency   string    `json:"currency"`
	Status     string    `json:"status"`
	Reason     string    `json:"reason,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	UpdatedAt  time.Time `json:"updated_at"`
}

// record is what is remembered.
type record struct {
	Transfer Transfer
	Account  Account
	Fate     int // digit
	Event    int // number of its last webhook
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// event is the webhook.
type event struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"` // transfer.sent, .paid, .failed, .returned
	CreatedAt time.Time `json:"created_at"`
	Data      Transfer  `json:"data"`
}

// Server is the bank.
type Server struct {
	cfg     Config
	plan    *faults.Plan
	journal cards.Appender

	mu        sync.Mutex
	transfers map[string]*record
	due       schedule.Heap
	wake      chan struct{}
}

// New is a bank without transfers. Restore it from the journal, then attach the journal.
func New(cfg Config, plan *faults.Plan) *Server {
	return &Server{cfg: cfg, plan: plan, transfers: map[string]*record{}, wake: make(chan struct{}, 1)}
}

// Attach gives the bank the journal to write to, and lets go on what a kill left under way.
func (s *Server) Attach(j cards.Appender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal = j
	for _, r := range s.transfers {
		s.later(*r)
	}
}

// Restore takes in an entry of before the start. It fits the journal's listeners.
func (s *Server) Restore(e journal.Entry, replayed bool) {
	if !replayed || e.Connector != Name || len(e.State) == 0 {
		return
	}
	var r record
	if json.Unmarshal(e.State, &r) == nil { // we wrote it
		s.transfers[r.Transfer.ID] = &r
	}
}

// Handler serves the API below its root.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /transfers", s.create)
	mux.HandleFunc("GET /transfers/{id}", s.get)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+s.cfg.Credentials.Token)) != 1 {
			refuse(w, http.StatusUnauthorized, "unauthorized", "the bearer token is wrong")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func refusal(status int, code, message string) faults.Answer {
	return faults.Answer{Status: status, Body: wire.Marshal(failure{code, message})}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	faults.Write(w, refusal(status, code, message))
}

func wrong(q request) string {
	switch {
	case q.EndToEndID == "" && q.OrderID == "":
		return "end_to_end_id or order_id is required"
	case len(q.EndToEndID) > 128 || len(q.OrderID) > 128:
		return "ids have at most 128 characters"
	case q.Amount <= 0:
		return "amount is above 0"
	case len(q.Currency) != 3:
		return "currency is a code of ISO 4217"
	case q.Account == nil || q.Account.Token == "" && (q.Account.ISPB == "" || q.Account.Branch == "" || q.Account.Number == ""):
		return "account is a token, or ispb, branch and number"
	default:
		return ""
	}
}

// fate is the digit that decides, 9 resolved.
func (s *Server) fate(id string, a Account) int {
	text := a.Token
	if text == "" {
		text = a.Number
	}
	last := text[len(text)-1]
	switch {
	case last < '0' || last > '9':
		return 0
	case last < '9':
		return int(last - '0')
	}
	fates := []int{0, 0, 0, 0, 3, 4, 7, 8}
	return fates[faults.Draw(s.cfg.Seed, faults.Site{Connector: Name, Reference: id, Operation: "fate"}, "fate")%uint64(len(fates))]
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var q request
	if _, err := wire.Read(w, r, &q); err != nil {
		refuse(w, http.StatusBadRequest, "malformed", err.Error())
		return
	}
	if why := wrong(q); why != "" {
		refuse(w, http.StatusUnprocessableEntity, "invalid", why)
		return
	}
	id := q.EndToEndID
	if id == "" {
		id = q.OrderID
	}
	call := s.plan.Begin(Name, id, "send")
	if call.Before(w, r) {
		return
	}
	t, status, err := s.accept(id, q, call)
	switch {
	case err != nil:
		refuse(w, http.StatusInternalServerError, "internal", err.Error())
	case status == http.StatusConflict:
		call.Answer(w, r, refusal(status, "conflict", "the id was used for another transfer"))
	case status == http.StatusUnprocessableEntity:
		call.Answer(w, r, refusal(status, "account_invalid", "the account does not exist"))
	default:
		t.Amount = call.Amount(t.Amount)
		call.Answer(w, r, faults.Answer{Status: status, Body: wire.Marshal(t), Effect: status == http.StatusAccepted})
	}
}

// accept takes a transfer: 202 the first time, 200 a repeat, 409 another one under its id, 422 where it can never be paid.
func (s *Server) accept(id string, q request, call *faults.Call) (Transfer, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.transfers[id]; ok {
		same := old.Transfer.Amount == q.Amount && old.Transfer.Currency == q.Currency && old.Account == *q.Account &&
			old.Transfer.EndToEndID == q.EndToEndID && old.Transfer.OrderID == q.OrderID
		if !same {
			return Transfer{}, http.StatusConflict, nil
		}
		return old.Transfer, http.StatusOK, nil
	}
	now := s.cfg.Now().UTC()
	r := record{Account: *q.Account, Fate: s.fate(id, *q.Account), Transfer: Transfer{
		ID: id, EndToEndID: q.EndToEndID, OrderID: q.OrderID, Amount: q.Amount, Currency: q.Currency, Status: StatusPending, CreatedAt: now, UpdatedAt: now,
	}}
	if r.Fate == 5 {
		return Transfer{}, http.StatusUnprocessableEntity, nil
	}
	e := journal.Entry{Kind: journal.Accepted, Operation: call.Operation, Call: call.Call}
	if err := s.record(r, e); err != nil {
		return Transfer{}, 0, err
	}
	s.later(r)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return r.Transfer, http.StatusAccepted, nil
}

// later lets a transfer go on, after a while that the seed decides.
func (s *Server) later(r record) {
	drawn := faults.Draw(s.cfg.Seed, faults.Site{Connector: Name, Reference: r.Transfer.ID, Operation: "delay", Call: r.Event}, "delay")
	s.due.Add(s.cfg.Now().Add(s.cfg.Delay/2+time.Duration(drawn%1024)*s.cfg.Delay/1024), r.Transfer.ID)
}

func (s *Server) record(r record, e journal.Entry) error {
	state, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding a transfer: %w", err)
	}
	t := r.Transfer
	e.Connector, e.Reference, e.Charge, e.AmountMinor, e.Currency, e.Event, e.State = Name, t.ID, t.ID, t.Amount, t.Currency, r.Event, state
	if t.OrderID != t.ID {
		e.Order = t.OrderID
	}
	if err := s.journal.Append(e); err != nil {
		return err //nolint:wrapcheck // it says what it was doing
	}
	s.transfers[t.ID] = &r
	return nil
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	call := s.plan.Begin(Name, id, "query")
	if call.Before(w, r) {
		return
	}
	s.mu.Lock()
	found, ok := s.transfers[id]
	var t Transfer
	if ok {
		t = found.Transfer
	}
	s.mu.Unlock()
	if !ok {
		call.Answer(w, r, refusal(http.StatusNotFound, "not_found", "there is no such transfer"))
		return
	}
	t.Amount = call.Amount(t.Amount)
	if call.Unfinished() {
		t.Status, t.Reason = StatusPending, ""
	}
	call.Answer(w, r, faults.Answer{Status: http.StatusOK, Body: wire.Marshal(t)})
}

// Run moves transfers on until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	for {
		s.mu.Lock()
		id, wait, ok := s.due.Next(s.cfg.Now())
		var err error
		if ok {
			err = s.step(id)
		}
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("moving transfer %s on: %w", id, err)
		}
		if ok {
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.wake:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
		t.Stop()
	}
}

// next is where a transfer goes from here; empty: it stays.
func next(status string, fate int) (to, reason string, kind journal.Kind) {
	switch {
	case fate == 6:
		return "", "", ""
	case status == StatusPending && (fate == 4 || fate == 7):
		return StatusFailed, reasonAccount, journal.Failed
	case status == StatusPending:
		return StatusSent, "", journal.Sent
	case status == StatusSent && fate == 3:
		return StatusReturned, reasonHolder, journal.Returned
	case status == StatusSent, status == StatusFailed && fate == 4:
		return StatusPaid, "", journal.Paid
	case status == StatusPaid && fate == 8:
		return StatusReturned, reasonClosed, journal.Returned
	default:
		return "", "", ""
	}
}

func (s *Server) step(id string) error {
	r := *s.transfers[id]
	to, reason, kind := next(r.Transfer.Status, r.Fate)
	if to == "" {
		return nil
	}
	now := s.cfg.Now().UTC()
	r.Transfer.Status, r.Transfer.Reason, r.Transfer.UpdatedAt = to, reason, now
	r.Event++
	if err := s.record(r, journal.Entry{Kind: kind}); err != nil {
		return err
	}
	s.later(r)
	return nil
}

// Webhook is the event of an entry.
func (s *Server) Webhook(e journal.Entry, lie faults.Kind, wrongAmount func(int64) int64) (body []byte, ok bool) {
	var r record
	if json.Unmarshal(e.State, &r) != nil {
		return nil, false // not ours
	}
	t := r.Transfer
	switch lie {
	case faults.HookLieUnknown:
		t.ID = "unknown-" + cards.Digest(0, Name, t.ID, 0, "unknown")[:16]
		t.EndToEndID, t.OrderID = "", t.ID
	case faults.HookLieAmount:
		t.Amount = wrongAmount(t.Amount)
	case faults.HookLieState:
		t.Status = map[string]string{StatusSent: StatusPending, StatusPaid: StatusSent, StatusFailed: StatusPending, StatusReturned: StatusPaid}[t.Status]
		t.Reason = ""
	default:
	}
	return wire.Marshal(event{
		ID: "evt_" + cards.Digest(0, Name, e.Reference, e.Event, string(lie))[:16], Type: "transfer." + t.Status, CreatedAt: t.UpdatedAt, Data: t,
	}), true
}

package cards

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// bank is an acquirer that counts. Its faults are words in the token of the card, the first for the first call that
// moves money, and so on: "ok", "decline:51", "cut" (done, and the connection cut), "lost" (cut before anything was
// done), "late" (done, cut, and not found by who asks soon after), "hang" (done, and silent until the deadline), "500" (done), "busy" (turned away), "twice"
// (done, and somebody on the way repeats the call: the answer is that it cannot be done again), "blind" (the same, and the next question
// is not answered). What has no word is ok.
type bank struct {
	server *httptest.Server

	mu       sync.Mutex
	by       map[string]*Standing // by reference
	own      map[string][]string  // references by our reference
	declined map[string]string    // code by our reference
	calls    map[string]int       // that moved money or tried to, by order and operation
	charges  map[string]int       // that moved money, by order
	voids    map[string]int       // by our reference
	seen     map[string]time.Time // from when a transaction is found, by our reference
	serial   int
	silent   int         // questions that are not answered
	asked    chan string // orders that were asked to move money; full: not told
}

func newBank(t testing.TB) *bank {
	b := &bank{
		by: map[string]*Standing{}, own: map[string][]string{}, declined: map[string]string{}, calls: map[string]int{},
		charges: map[string]int{}, voids: map[string]int{}, seen: map[string]time.Time{}, asked: make(chan string, 1024),
	}
	b.server = httptest.NewServer(b)
	t.Cleanup(b.server.Close)
	return b
}

func (b *bank) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	var r Request
	if err := json.NewDecoder(q.Body).Decode(&r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if strings.HasSuffix(q.URL.Path, "/status") {
		b.mu.Lock()
		s, silent := b.standing(r), b.silent
		b.silent = max(0, silent-1)
		b.mu.Unlock()
		if silent > 0 {
			panic(http.ErrAbortHandler)
		}
		_ = json.NewEncoder(w).Encode(s)
		return
	}
	select {
	case b.asked <- r.OrderID:
	default:
	}
	word, result := b.move(r)
	switch word {
	case "cut", "lost", "late":
		panic(http.ErrAbortHandler)
	case "hang":
		<-q.Context().Done()
	case "500":
		w.WriteHeader(http.StatusInternalServerError)
	case "busy":
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		_ = json.NewEncoder(w).Encode(result)
	}
}

func (b *bank) move(r Request) (string, Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := r.OrderID + "/" + r.Operation.String()
	word := "ok"
	if words := strings.Split(r.Instrument, ","); b.calls[key] < len(words) {
		word = words[b.calls[key]]
	}
	b.calls[key]++
	code, isDecline := strings.CutPrefix(word, "decline:")
	switch {
	case word == "lost" || word == "busy":
		return word, Result{}
	case isDecline:
		b.declined[r.OwnReference] = code
		return word, Result{Outcome: OutcomeRefused, Code: code}
	}
	if word == "late" {
		b.seen[r.OwnReference] = time.Now().Add(300 * time.Millisecond)
	}
	result := b.do(r)
	if word == "twice" || word == "blind" {
		if word == "blind" {
			b.silent = 3 // more often than a question is sent
		}
		return word, Result{Outcome: OutcomeRefused, Code: "done"}
	}
	return word, result
}

func (b *bank) do(r Request) Result {
	s := b.by[r.Reference]
	done := Result{Outcome: OutcomeConfirmed, Code: "00", AmountMinor: r.AmountMinor}
	switch r.Operation {
	case OperationAuthorize, OperationCollect:
		b.serial++
		b.charges[r.OrderID]++
		done.Reference = fmt.Sprintf("tid-%d", b.serial)
		s = &Standing{State: StateAuthorized, Reference: done.Reference, AuthorizedMinor: r.AmountMinor}
		if r.Operation == OperationCollect {
			s.State, s.CapturedMinor = StateCaptured, r.AmountMinor
		}
		b.by[done.Reference] = s
		b.own[r.OwnReference] = append(b.own[r.OwnReference], done.Reference)
		return done
	case OperationVoid:
		b.voids[r.OwnReference]++
		if s == nil {
			return Result{Outcome: OutcomeNotFound, Code: "404"}
		}
		s.State, s.ReturnedMinor = StateVoided, s.AuthorizedMinor
	case OperationCapture:
		b.charges[r.OrderID]++
		s.State, s.CapturedMinor = StateCaptured, s.CapturedMinor+r.AmountMinor
	case OperationRefund:
		b.charges[r.OrderID]++
		s.ReturnedMinor += r.AmountMinor
	default:
		return Result{Outcome: OutcomeRefused, Code: "?"}
	}
	done.Reference = s.Reference
	return done
}

func (b *bank) standing(r Request) Standing {
	if r.Reference != "" {
		if s := b.by[r.Reference]; s != nil {
			return *s
		}
		return Standing{State: StateAbsent}
	}
	if time.Now().Before(b.seen[r.OwnReference]) {
		return Standing{State: StateAbsent}
	}
	var all []Standing
	for _, ref := range b.own[r.OwnReference] {
		all = append(all, *b.by[ref])
	}
	if code := b.declined[r.OwnReference]; code != "" {
		all = append(all, Standing{State: StateDeclined, Code: code})
	}
	return Foremost(all)
}

func (b *bank) charged(orderID string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.charges[orderID]
}

// teller is the dialect of the bank, for this process or for a child of it.
type teller struct {
	url  string
	can  Capabilities
	http *http.Client
}

func newTeller(url string) *teller {
	return &teller{url: url, http: &http.Client{}, can: Capabilities{Currencies: []string{"BRL"}, Synchronous: true, VoidsByOwn: true}}
}

func (c *teller) Capabilities() Capabilities { return c.can }

func (c *teller) OwnReference(orderID string, attempt uint32) string {
	return fmt.Sprintf("%s#%d@%s", orderID, attempt, c.url)
}

func (c *teller) Authorize(ctx context.Context, r Request) (Result, error) { return c.move(ctx, r) }
func (c *teller) Capture(ctx context.Context, r Request) (Result, error)   { return c.move(ctx, r) }
func (c *teller) Void(ctx context.Context, r Request) (Result, error)      { return c.move(ctx, r) }
func (c *teller) Refund(ctx context.Context, r Request) (Result, error)    { return c.move(ctx, r) }

func (c *teller) move(ctx context.Context, r Request) (result Result, err error) {
	_, err = c.ask(ctx, "/move", r, &result)
	return result, err
}

func (c *teller) Status(ctx context.Context, r Request) (s Standing, err error) {
	_, err = c.ask(ctx, "/status", r, &s)
	return s, err
}

func (c *teller) ask(ctx context.Context, path string, r Request, into any) (bool, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return false, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	resp, err := c.http.Do(q)
	if err != nil {
		if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
			return false, fmt.Errorf("%w: %w", ErrNotSent, err)
		}
		return false, nil
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		return false, fmt.Errorf("%w: busy", ErrNotSent)
	case http.StatusOK:
		return true, json.NewDecoder(resp.Body).Decode(into)
	default:
		return false, nil
	}
}

// eventually waits for what another goroutine or process does.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("never: %s", what)
		}
	}
}

// Package hooks tells the client by webhook what has happened: one for each change at an acquirer or the bank, to
// URL/{connector}, repeated with back-off until it is answered 2xx.
//
// Each shows who sends it as the one it plays does: Cielo by a header with a fixed value (docs.cielo.com.br, "Notification
// Post"), Pagar.me by HTTP Basic. Of Rede and of banks nothing is public: they sign as Standard Webhooks 1.0.0 says.
//
// Without faults the webhooks of one reference arrive in order, one after the other. What was told is kept in delivered.ndjson,
// so that after a kill only what was not told is told; what was under way may come twice.
package hooks

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/cards"
	"github.com/caudalpay/caudal/cmd/railsim/faults"
	"github.com/caudalpay/caudal/cmd/railsim/journal"
	"github.com/caudalpay/caudal/cmd/railsim/schedule"
)

// Shape makes the body of a connector's webhook: the truth, or with a kind of lie that. False: there is none of that kind.
type Shape func(e journal.Entry, lie faults.Kind, wrong func(int64) int64) (body []byte, ok bool)

// Config of a sender.
type Config struct {
	URL     string            // empty: nobody is told anything
	Sign    map[string]Signer // by connector
	Shapes  map[string]Shape  // by connector
	Plan    *faults.Plan
	Now     func() time.Time
	Backoff time.Duration // after the first failure; it doubles up to a minute
	Workers int
	Data    string // folder; empty: nothing is kept
	Log     *slog.Logger
}

const backoffMax = time.Minute

// message is one webhook to be sent until it is taken.
type message struct {
	connector, id string
	body          []byte
	seq           int64 // of the journal's entry; 0: a lie or a duplicate
	attempts      int
	reorder       func() // non-nil: to be overtaken, and told when it was
	held          time.Time
}

// lane keeps the order of one reference.
type lane struct {
	queue  []*message
	active bool // it is due some time, or a worker has it
	busy   bool // a worker has it
}

// Stats are how much was told.
type Stats struct {
	Delivered int64 `json:"delivered"`
	Attempts  int64 `json:"attempts"`
	Failed    int64 `json:"failed_attempts"`
	Waiting   int64 `json:"waiting"`
}

// Sender sends.
type Sender struct {
	cfg    Config
	client *http.Client
	kept   *kept

	mu     sync.Mutex
	lanes  map[string]*lane
	timers schedule.Heap
	wake   chan struct{}
	ready  chan string // lanes with something to send
	stats  Stats
	replay []journal.Entry // of before the start, until Resume
}

// New makes a sender. Offer it the journal, then run it.
func New(cfg Config) (*Sender, error) {
	k, err := openKept(cfg.Data)
	if err != nil {
		return nil, err
	}
	return &Sender{
		cfg: cfg, kept: k, client: &http.Client{Timeout: 15 * time.Second},
		lanes: map[string]*lane{}, wake: make(chan struct{}, 1), ready: make(chan string, 1),
	}, nil
}

// Offer takes in an entry of the journal. It fits the journal's listeners.
func (s *Sender) Offer(e journal.Entry, replayed bool) {
	if e.Event == 0 || s.cfg.URL == "" || replayed && s.kept.has(e.Seq) {
		return
	}
	if replayed {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.replay = append(s.replay, e)
		return
	}
	s.enqueue(e)
}

// id names a webhook for ever: the same event has the same id, whenever it is sent.
func id(e journal.Entry, what string) string {
	return "msg_" + cards.Digest(0, e.Connector, e.Reference, e.Event, e.Charge+string(e.Kind)+what)[:24]
}

func (s *Sender) enqueue(e journal.Entry) {
	shape := s.cfg.Shapes[e.Connector]
	if shape == nil {
		return
	}
	hook := s.cfg.Plan.Hook(e.Connector, e.Reference, e.Event)
	body, ok := shape(e, "", hook.Wrong)
	if !ok {
		return
	}
	main := e.Connector + " " + e.Reference
	truth := &message{connector: e.Connector, id: id(e, ""), body: body, seq: e.Seq}
	s.mu.Lock()
	defer s.mu.Unlock()
	if hook.Reorder {
		truth.held = s.cfg.Now().Add(hook.Hold)
		truth.reorder = func() { hook.Fell(faults.HookReorder) }
	}
	if hook.Delay > 0 {
		hook.Fell(faults.HookDelay)
		s.push(main+" late "+truth.id, truth, hook.Delay)
	} else {
		s.push(main, truth, 0)
	}
	if hook.Duplicate {
		hook.Fell(faults.HookDuplicate)
		s.push(main+" twice "+truth.id, &message{connector: e.Connector, id: truth.id, body: body}, 0)
	}
	for _, lie := range hook.Lies {
		body, ok := shape(e, lie, hook.Wrong)
		if !ok {
			continue
		}
		hook.Fell(lie)
		lied := id(e, string(lie))
		s.push(main+" lie "+lied, &message{connector: e.Connector, id: lied, body: body}, 0)
	}
}

// push puts a message at the end of a lane, and wakes the lane after d where it sleeps.
func (s *Sender) push(key string, m *message, d time.Duration) {
	l := s.lanes[key]
	if l == nil {
		l = &lane{}
		s.lanes[key] = l
	}
	l.queue = append(l.queue, m)
	s.stats.Waiting++
	if !l.active {
		l.active = true
		s.timers.Add(s.cfg.Now().Add(d), key)
		s.poke()
	} else if len(l.queue) == 2 && l.queue[0].reorder != nil && l.queue[0].attempts == 0 {
		// What is to be overtaken waits for this one.
		s.timers.Add(s.cfg.Now(), key)
		s.poke()
	}
}

func (s *Sender) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Resume puts what a kill left untold in front of what happens from now on.
func (s *Sender) Resume() {
	s.mu.Lock()
	replay := s.replay
	s.replay = nil
	s.mu.Unlock()
	for _, e := range replay {
		s.enqueue(e)
	}
}

// Run sends until ctx ends. It owns its workers.
func (s *Sender) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range max(s.cfg.Workers, 1) {
		workers.Go(func() { s.work(ctx) })
	}
	s.schedule(ctx)
	workers.Wait()
	return s.kept.close()
}

// schedule hands lanes to workers when they are due.
func (s *Sender) schedule(ctx context.Context) {
	for {
		s.mu.Lock()
		key, wait, ok := s.timers.Next(s.cfg.Now())
		s.mu.Unlock()
		if ok {
			select {
			case s.ready <- key:
				continue
			case <-ctx.Done():
				return
			}
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.wake:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

func (s *Sender) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case key := <-s.ready:
			s.serve(ctx, key)
		}
	}
}

// pick takes the next message of a lane out, or says when to come again.
func (s *Sender) pick(key string) *message {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[key]
	if l == nil || l.busy || len(l.queue) == 0 {
		return nil
	}
	first := l.queue[0]
	switch {
	case first.reorder == nil:
	case len(l.queue) > 1: // however late: where the house takes nothing for a while, it is overtaken when it does
		first.reorder()
		first.reorder = nil
		l.queue[0], l.queue[1] = l.queue[1], first
	case s.cfg.Now().Before(first.held):
		s.timers.Add(first.held, key)
		s.poke()
		return nil
	}
	m := l.queue[0]
	l.queue, l.busy = l.queue[1:], true
	return m
}

func (s *Sender) serve(ctx context.Context, key string) {
	m := s.pick(key)
	if m == nil {
		return
	}
	err := s.post(ctx, m)
	if err != nil && ctx.Err() != nil {
		return
	}
	if err == nil && m.seq != 0 {
		if err := s.kept.add(m.seq); err != nil {
			s.cfg.Log.Error("keeping that a webhook was delivered", "error", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Attempts++
	l := s.lanes[key]
	l.busy = false
	due := s.cfg.Now()
	if err != nil {
		s.stats.Failed++
		s.cfg.Log.Debug("webhook not taken", "connector", m.connector, "webhook_id", m.id, "attempt", m.attempts, "error", err)
		due = due.Add(min(s.cfg.Backoff<<min(m.attempts-1, 20), backoffMax))
		l.queue = append([]*message{m}, l.queue...)
	} else {
		s.stats.Delivered++
		s.stats.Waiting--
	}
	if len(l.queue) == 0 {
		delete(s.lanes, key)
		return
	}
	s.timers.Add(due, key)
	s.poke()
}

func (s *Sender) post(ctx context.Context, m *message) error {
	m.attempts++
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.URL+"/"+m.connector, bytes.NewReader(m.body))
	if err != nil {
		return fmt.Errorf("making a webhook: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(HeaderDelivery, m.id)
	s.cfg.Sign[m.connector](r.Header, m.id, s.cfg.Now(), m.body)
	a, err := s.client.Do(r)
	if err != nil {
		return fmt.Errorf("sending a webhook: %w", err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(a.Body, 64<<10)) // so that the connection is used again
	_ = a.Body.Close()                                         // nothing was written
	if a.StatusCode/100 != 2 {
		return fmt.Errorf("sending a webhook: %s", a.Status)
	}
	return nil
}

// Stats are counts so far.
func (s *Sender) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

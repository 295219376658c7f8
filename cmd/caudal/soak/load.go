package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/client"
)

// queue holds what is to be sent. It is unbounded: what comes of payments in flight is bounded by these.
type queue struct {
	mu     sync.Mutex
	items  []item
	taken  int // under way to the front door
	wake   chan struct{}
	closed bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) put(items ...item) {
	q.mu.Lock()
	q.items = append(q.items, items...)
	q.mu.Unlock()
	q.poke()
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for up to batchMost items; none: ctx has ended.
func (q *queue) take(ctx context.Context) []item {
	for {
		q.mu.Lock()
		n := min(len(q.items), batchMost)
		out := q.items[:n:n]
		q.items = q.items[n:]
		q.taken += n
		more := len(q.items) > 0
		q.mu.Unlock()
		if n > 0 {
			if more {
				q.poke()
			}
			return out
		}
		select {
		case <-ctx.Done():
			return nil
		case <-q.wake:
		}
	}
}

func (q *queue) done(n int) {
	q.mu.Lock()
	q.taken -= n
	q.mu.Unlock()
}

func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) == 0 && q.taken == 0
}

// accepted is what the front door took.
type accepted struct {
	mu       sync.Mutex
	payments map[string]bool // ids
	refused  map[string]int
	sample   map[string]string
}

// send hands items to the front door until ctx ends. A batch that was not answered is sent again as it was, however often the
// house dies meanwhile: the keys make it the same payments.
func (r *run) send(ctx context.Context, api *client.Client) error {
	for {
		batch := r.queue.take(ctx)
		if batch == nil {
			return nil
		}
		list := make([]any, len(batch))
		for i := range batch {
			list[i] = batch[i]
		}
		var answers []client.ItemAnswer
		for {
			var err error
			if answers, err = api.Batch(ctx, list, "respond-async"); err == nil {
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			r.log.Info("a batch is sent again", "error", err)
			time.Sleep(100 * time.Millisecond)
		}
		if err := r.took(batch, answers); err != nil {
			return err
		}
		r.queue.done(len(batch))
	}
}

func (r *run) took(batch []item, answers []client.ItemAnswer) error {
	r.accepted.mu.Lock()
	defer r.accepted.mu.Unlock()
	for i, a := range answers {
		var body struct {
			PaymentID string `json:"payment_id"`
			ID        string `json:"id"`
			Code      string `json:"code"`
		}
		if err := json.Unmarshal(a.Body, &body); err != nil {
			return fmt.Errorf("reading item answer %.200s: %w", a.Body, err)
		}
		if !a.Accepted() {
			r.accepted.refused[body.Code]++
			r.accepted.sample[body.Code] = fmt.Sprintf("%+v: %s", batch[i], a.Body)
			continue
		}
		if body.PaymentID == "" {
			body.PaymentID = body.ID
		}
		r.accepted.payments[body.PaymentID] = true
	}
	return nil
}

// generate queues the payments, as many at once as may be under way.
func (r *run) generate(ctx context.Context, ids []string) error {
	for sent := 0; sent < r.options.Payments; {
		if r.flying() >= r.options.Flight {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(20 * time.Millisecond):
			}
			continue
		}
		n := min(batchMost, r.options.Payments-sent)
		items := make([]item, n)
		for i := range items {
			items[i] = payment(r.options.Seed, sent+i, ids)
		}
		r.queue.put(items...)
		sent += n
		r.sent.Store(int64(sent))
		if ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

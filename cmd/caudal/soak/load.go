package soak

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/client"
)

// queue holds what is to be sent. It is unbounded: what comes of payments in flight is bounded by these.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	taken int // under way to the front door, or due later
	wake  chan struct{}
}

func newQueue[T any]() *queue[T] { return &queue[T]{wake: make(chan struct{}, 1)} }

func (q *queue[T]) put(items ...T) {
	q.mu.Lock()
	q.items = append(q.items, items...)
	q.mu.Unlock()
	q.poke()
}

// later puts an item after a pause. Until then it counts as under way.
func (q *queue[T]) later(pause time.Duration, one T) {
	q.done(-1)
	time.AfterFunc(pause, func() {
		q.put(one)
		q.done(1)
	})
}

func (q *queue[T]) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for up to a number of items; none: ctx has ended.
func (q *queue[T]) take(ctx context.Context, most int) []T {
	for {
		q.mu.Lock()
		n := min(len(q.items), most)
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

func (q *queue[T]) done(n int) {
	q.mu.Lock()
	q.taken -= n
	q.mu.Unlock()
}

func (q *queue[T]) empty() bool {
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
		batch := r.queue.take(ctx, batchMost)
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
	for i, a := range answers {
		if _, err := r.accepted.take(batch[i], a); err != nil {
			return err
		}
	}
	return nil
}

// take keeps what was accepted, and tells its id; empty: it was refused.
func (a *accepted) take(request any, answer client.ItemAnswer) (string, error) {
	var body struct {
		PaymentID string `json:"payment_id"`
		QuoteID   string `json:"quote_id"`
		DisputeID string `json:"dispute_id"`
		ID        string `json:"id"`
		Code      string `json:"code"`
	}
	if err := json.Unmarshal(answer.Body, &body); err != nil {
		return "", fmt.Errorf("reading item answer %.200s: %w", answer.Body, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !answer.Accepted() {
		a.refused[body.Code]++
		a.sample[body.Code] = fmt.Sprintf("%+v: %s", request, answer.Body)
		return "", nil
	}
	id := cmp.Or(body.QuoteID, body.DisputeID, body.PaymentID, body.ID)
	a.payments[id] = true
	return id, nil
}

// call is a request of its own, for what no batch takes or what has to go beside others.
type call struct {
	path, key string
	body      any
	then      func(id string) // what comes of it, once it is accepted
}

// call makes calls until ctx ends, each until it is answered.
func (r *run) call(ctx context.Context, api *client.Client) error {
	for {
		taken := r.calls.take(ctx, 1)
		if taken == nil {
			return nil
		}
		c := taken[0]
		var answer client.Answer
		for {
			var err error
			if answer, err = api.Do(ctx, client.Request{Method: http.MethodPost, Path: c.path, Key: c.key, Prefer: "respond-async", Body: c.body}); err == nil {
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			r.log.Info("a call is made again", "path", c.path, "error", err)
		}
		id, err := r.accepted.take(c.body, client.ItemAnswer{Status: answer.Status, Body: answer.Body})
		if err != nil {
			return err
		}
		if id != "" {
			c.then(id)
		}
		r.calls.done(1)
	}
}

// generate queues the payments, as many at once as may be under way.
func (r *run) generate(ctx context.Context, of holders) error {
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
		items := make([]item, 0, n)
		for range n {
			if p := payment(r.options.Seed, sent, of); p.rated == nil {
				items = append(items, p)
			} else {
				r.quote(p)
			}
			sent++
		}
		r.sent.Add(int64(len(items)))
		r.queue.put(items...)
		if ctx.Err() != nil {
			return nil
		}
	}
	r.generated.Store(true)
	return nil
}

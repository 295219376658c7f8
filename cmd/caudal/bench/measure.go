package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"
	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/observe"
)

// connections of the load generator: with 64 single callers the ingress waited for them and not the other way round.
const (
	batchConnections  = 16
	singleConnections = 256
	batchItems        = 100
)

// poster sends requests over a pool of connections with as little work as possible.
type poster struct {
	client *fasthttp.Client
	token  string
}

func newPoster(token string, connections int) *poster {
	return &poster{client: &fasthttp.Client{MaxConnsPerHost: connections, ReadTimeout: time.Minute, WriteTimeout: time.Minute}, token: "Bearer " + token}
}

// post returns the status and appends the body to into.
func (p *poster) post(url, key, prefer string, body, into []byte) (int, []byte, error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI(url)
	req.Header.SetMethod(http.MethodPost)
	req.Header.Set("Authorization", p.token)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	if prefer != "" {
		req.Header.Set("Prefer", prefer)
	}
	req.SetBodyRaw(body)
	if err := p.client.Do(req, resp); err != nil {
		return 0, into, fmt.Errorf("posting: %w", err)
	}
	return resp.StatusCode(), append(into[:0], resp.Body()...), nil
}

// accepted counts the items of a batch's answer that the log has, and collects some pay-ins for refunds.
func (c *caller) accepted(answer []byte) (int64, error) {
	var out struct {
		Items []struct {
			Status int `json:"status"`
			Body   struct {
				PaymentID string `json:"payment_id"`
				Kind      string `json:"kind"`
			} `json:"body"`
		} `json:"items"`
	}
	if len(c.payins) > 1000 { // enough to refund: count only, which is cheaper
		return countAccepted(answer), nil
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return 0, fmt.Errorf("reading batch answer %.200s: %w", answer, err)
	}
	var n int64
	for _, item := range out.Items {
		if item.Status == http.StatusAccepted {
			n++
			if item.Body.Kind == "payin" {
				c.payins = append(c.payins, item.Body.PaymentID)
			}
		}
	}
	return n, nil
}

func countAccepted(answer []byte) int64 { return int64(bytes.Count(answer, []byte(`"status":202`))) }

// closedBatches sends batches as fast as they are acknowledged, and returns how many items the log has.
func closedBatches(ctx context.Context, s *system, w *workload, limit time.Duration) (int64, error) {
	p := newPoster(s.token, batchConnections)
	defer p.client.CloseIdleConnections()
	var total atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	until := time.Now().Add(limit)
	for i := range batchConnections {
		g.Go(func() error {
			c := w.caller(uint64(i)) //nolint:gosec // small
			var body, answer []byte
			for time.Now().Before(until) && ctx.Err() == nil {
				body = c.batch(body, batchItems)
				status, got, err := p.post(s.url+"/payments:batch", "", "respond-async", body, answer)
				answer = got
				switch {
				case err != nil:
					return err
				case status == http.StatusServiceUnavailable:
					time.Sleep(20 * time.Millisecond) // back-pressure
					continue
				case status != http.StatusOK && status != http.StatusMultiStatus && status != http.StatusAccepted:
					return fmt.Errorf("batch answered %d: %.300s", status, answer)
				}
				n, err := c.accepted(answer)
				if err != nil {
					return err
				}
				total.Add(n)
			}
			return nil
		})
	}
	err := g.Wait()
	return total.Load(), err
}

// closedSingles sends one payment a request over many connections and returns how many were answered with yes. url may be
// the echo's.
func closedSingles(url, token string, w *workload, limit time.Duration) (int64, error) {
	p := newPoster(token, singleConnections)
	defer p.client.CloseIdleConnections()
	var total atomic.Int64
	var g errgroup.Group
	began := time.Now()
	for i := range singleConnections {
		g.Go(func() error {
			c := w.caller(uint64(1000 + i)) //nolint:gosec // small
			var body, answer []byte
			var key string
			for time.Since(began) < limit {
				body, key = c.single(body)
				status, got, err := p.post(url+"/payins", key, "respond-async", body, answer)
				answer = got
				if err != nil {
					return err
				}
				if status >= 300 && status != http.StatusServiceUnavailable {
					return fmt.Errorf("single payment answered %d: %.300s", status, answer)
				}
				if status < 300 {
					total.Add(1)
				}
			}
			return nil
		})
	}
	err := g.Wait()
	return total.Load(), err
}

// openLoop sends batches at a constant rate of items, measures each from the time it was meant to be sent, and counts what
// the log has.
func openLoop(ctx context.Context, s *system, w *workload, perSecond float64, limit time.Duration) (*hdrhistogram.Histogram, int64, error) {
	const items = 20 // small batches, so that the rate is even
	interval := time.Duration(float64(items) / perSecond * float64(time.Second))
	p := newPoster(s.token, 256)
	defer p.client.CloseIdleConnections()
	acks := hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)
	var accepted int64
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(256)
	c := w.caller(99)
	began := time.Now()
	for n := 0; ; n++ {
		meant := began.Add(time.Duration(n) * interval)
		if meant.Sub(began) > limit || ctx.Err() != nil {
			break
		}
		time.Sleep(time.Until(meant))
		body := c.batch(nil, items)
		g.Go(func() error {
			status, answer, err := p.post(s.url+"/payments:batch", "", "respond-async", body, nil)
			took := time.Since(meant)
			if err != nil {
				return err
			}
			if status >= 300 {
				return fmt.Errorf("batch at a constant rate answered %d: %.300s", status, answer)
			}
			mu.Lock()
			defer mu.Unlock()
			accepted += countAccepted(answer)
			return acks.RecordValue(max(1, took.Microseconds()))
		})
	}
	err := g.Wait()
	return acks, accepted, err
}

// drained waits until all is decided and both stores hold every decision counted by the observer since base.
func drained(ctx context.Context, s *system, o *observe.Observer, accepted int64, base [2]int64) error {
	for until := time.Now().Add(5 * time.Minute); time.Now().Before(until); {
		c := o.Snapshot()
		if c.Decided >= accepted && c.InTransit == 0 {
			p, ch, err := s.stored(ctx)
			if err != nil {
				return err
			}
			if p-base[0] >= c.All && ch-base[1] >= c.All {
				return nil
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("not drained in five minutes: %+v", o.Snapshot())
}

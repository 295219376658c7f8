// Package client speaks Caudal's HTTP API for the tools of this repository: sample day, bench, import.
// It repeats a request that was not answered (503, time-out, cut connection) with back-off; idempotency keys make that safe.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Client is one caller with one key.
type Client struct {
	base     string
	token    string
	http     *http.Client
	patience time.Duration // how long a request is repeated
	tell     io.Writer     // of waiting; nil: nobody
	waiting  atomic.Bool   // and it was told
}

// New returns a client of the API at base (http://host:port).
func New(base, token string, connections int) *Client {
	return &Client{base: base, token: token, patience: retryFor, http: &http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{
			MaxIdleConns: connections, MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections,
			IdleConnTimeout: time.Minute,
			DialContext:     (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		},
	}}
}

// Within sets how long a request is repeated before the caller hears of the failure: less than usual where somebody watches.
func (c *Client) Within(d time.Duration) *Client {
	c.patience = d
	return c
}

// Telling says on w what is waited for, once for each time that nobody answers.
func (c *Client) Telling(w io.Writer) *Client {
	c.tell = w
	return c
}

// wait tells of an answer that did not come, for the first of them.
func (c *Client) wait(why error) {
	if !c.waiting.Swap(true) && c.tell != nil {
		_, _ = fmt.Fprintf(c.tell, "no answer, trying again for up to %s: %v\n", c.patience, why) // the terminal may be gone
	}
}

// ErrAddress says that no request can be sent to such an address, however often it is tried.
var ErrAddress = errors.New("the address has to be http://HOST:PORT")

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Answer is a response with its body read.
type Answer struct {
	Status   int
	Replayed bool // it repeats an earlier answer: nothing has moved
	Body     []byte
}

// Request is one call; Key is the idempotency key, Prefer the header of RFC 7240.
type Request struct {
	Method, Path, Key, Prefer string
	Body                      any // JSON, nil: none
}

// retryFor is the usual patience.
const retryFor = 2 * time.Minute

// Do sends until there is an answer other than 503.
func (c *Client) Do(ctx context.Context, r Request) (Answer, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = json.Marshal(r.Body); err != nil {
			return Answer{}, fmt.Errorf("encoding request: %w", err)
		}
	}
	pause := 50 * time.Millisecond
	for until := time.Now().Add(c.patience); ; pause = min(2*pause, 2*time.Second) {
		a, wait, err := c.once(ctx, r, body)
		if err == nil && a.Status != http.StatusServiceUnavailable {
			if c.waiting.Load() {
				c.waiting.Store(false)
			}
			return a, nil
		}
		if err == nil {
			err = fmt.Errorf("%s %s: %d: %s", r.Method, r.Path, a.Status, a.Body)
		}
		if ctx.Err() != nil || errors.Is(err, ErrAddress) || time.Now().After(until) {
			return a, errors.Join(err, ctx.Err())
		}
		c.wait(err)
		select {
		case <-time.After(max(pause, wait)):
		case <-ctx.Done():
		}
	}
}

func (c *Client) once(ctx context.Context, r Request, body []byte) (Answer, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, c.base+r.Path, bytes.NewReader(body))
	if err != nil {
		return Answer{}, 0, fmt.Errorf("%w, not %q: %w", ErrAddress, c.base, err)
	}
	if req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return Answer{}, 0, fmt.Errorf("%w, not %q", ErrAddress, c.base)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	if r.Key != "" {
		req.Header.Set("Idempotency-Key", r.Key)
	}
	if r.Prefer != "" {
		req.Header.Set("Prefer", r.Prefer)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, 0, fmt.Errorf("sending %s %s: %w", r.Method, r.Path, err)
	}
	defer func() { _ = resp.Body.Close() }() // all of it has been read
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, 0, fmt.Errorf("reading answer of %s %s: %w", r.Method, r.Path, err)
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // absent: 0
	return Answer{Status: resp.StatusCode, Replayed: resp.Header.Get("Idempotency-Replayed") == "true", Body: data}, time.Duration(seconds) * time.Second, nil
}

// Problem is the part of an RFC 9457 answer that a tool acts on.
type Problem struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// ItemAnswer is one item of a batch's answer.
type ItemAnswer struct {
	Index  int             `json:"index"`
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

// Accepted tells whether the item is in the log or was already.
func (a ItemAnswer) Accepted() bool { return a.Status < 300 || a.Status == http.StatusPaymentRequired }

// Batch sends items in order and repeats those that met a full buffer, in order, before it returns.
func (c *Client) Batch(ctx context.Context, items []any, prefer string) ([]ItemAnswer, error) {
	answers := make([]ItemAnswer, len(items))
	pending := make([]int, len(items))
	for i := range pending {
		pending[i] = i
	}
	for len(pending) > 0 {
		send := make([]any, len(pending))
		for i, at := range pending {
			send[i] = items[at]
		}
		a, err := c.Do(ctx, Request{Method: http.MethodPost, Path: "/payments:batch", Prefer: prefer, Body: send})
		if err != nil {
			return nil, err
		}
		var out struct {
			Items []ItemAnswer `json:"items"`
		}
		if err := json.Unmarshal(a.Body, &out); err != nil || len(out.Items) != len(send) {
			return nil, fmt.Errorf("batch of %d answered %d: %.300s", len(send), a.Status, a.Body)
		}
		var again []int
		for i, item := range out.Items {
			at := pending[i]
			item.Index = at
			answers[at] = item
			if item.Status == http.StatusServiceUnavailable {
				again = append(again, at)
			}
		}
		pending = again
		if len(pending) > 0 {
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	return answers, nil
}

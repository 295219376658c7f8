package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/books"
	"github.com/caudalpay/caudal/cmd/railsim/server"
	"github.com/caudalpay/caudal/cmd/railsim/simtest"
)

// house is a simulator under test, served for real.
type house struct {
	t    *testing.T
	url  string
	sim  *server.Server
	http *http.Client
}

// clock is one that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func config() server.Config { return simtest.Config() }

func start(t *testing.T, cfg server.Config) *house {
	t.Helper()
	s, url := simtest.Serve(t, cfg)
	// No connection is used twice: Go's client repeats by itself what a kept connection lost.
	return &house{t: t, url: url, sim: s, http: &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// answer is what a client saw.
type answer struct {
	Status int
	Body   string
	Err    error
}

func (a answer) timedOut() bool {
	return errors.Is(a.Err, context.DeadlineExceeded) || errors.Is(a.Err, os.ErrDeadlineExceeded)
}

// at is the value at a path of an answer: members with dots between, [0] for an element.
func (a answer) at(t *testing.T, path string) any {
	t.Helper()
	var v any
	d := json.NewDecoder(strings.NewReader(a.Body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
	for step := range strings.SplitSeq(path, ".") {
		if step == "0" {
			list, ok := v.([]any)
			if !ok || len(list) == 0 {
				t.Fatalf("no %s in %s", path, a.Body)
			}
			v = list[0]
			continue
		}
		object, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("no %s in %s", path, a.Body)
		}
		v = object[step]
	}
	if n, ok := v.(json.Number); ok {
		return n.String()
	}
	return v
}

func (a answer) text(t *testing.T, path string) string {
	t.Helper()
	s, ok := a.at(t, path).(string)
	if !ok {
		t.Fatalf("%s is %v in %s", path, a.at(t, path), a.Body)
	}
	return s
}

// call makes one with the credentials of its rail.
func (h *house) call(method, path, body string, headers ...string) answer {
	h.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	c := server.DefaultCredentials()
	switch {
	case strings.HasPrefix(path, "/cielo/"):
		r.Header.Set("MerchantId", c.Cielo.MerchantID)
		r.Header.Set("MerchantKey", c.Cielo.MerchantKey)
	case strings.HasPrefix(path, "/rede/"):
		r.SetBasicAuth(c.Rede.PV, c.Rede.Token)
	case strings.HasPrefix(path, "/pagarme/"):
		r.SetBasicAuth(c.Pagarme.SecretKey, "")
	case strings.HasPrefix(path, "/bank/"):
		r.Header.Set("Authorization", "Bearer "+c.Bank.Token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	a, err := h.http.Do(r)
	if err != nil {
		return answer{Err: err}
	}
	defer func() { _ = a.Body.Close() }()
	b, err := io.ReadAll(a.Body)
	return answer{Status: a.StatusCode, Body: string(b), Err: err}
}

// must makes a call that is answered so.
func (h *house) must(status int, method, path, body string, headers ...string) answer {
	h.t.Helper()
	a := h.call(method, path, body, headers...)
	if a.Err != nil || a.Status != status {
		h.t.Fatalf("%s %s %s: want %d, got %+v", method, path, body, status, a)
	}
	return a
}

// order is one in the books.
func (h *house) order(id string) books.Order {
	h.t.Helper()
	a := h.call("GET", "/books?order_id="+id, "")
	var o books.Order
	if a.Status == http.StatusNotFound {
		return o
	}
	if err := json.Unmarshal([]byte(a.Body), &o); err != nil {
		h.t.Fatal(err)
	}
	return o
}

// line is the order's only line.
func (h *house) line(id string) books.Line {
	h.t.Helper()
	o := h.order(id)
	if len(o.Lines) != 1 {
		h.t.Fatalf("order %s has %d lines", id, len(o.Lines))
	}
	return o.Lines[0]
}

func (h *house) summary() server.Summary {
	h.t.Helper()
	var s server.Summary
	if err := json.Unmarshal([]byte(h.must(200, "GET", "/books/summary", "").Body), &s); err != nil {
		h.t.Fatal(err)
	}
	return s
}

// until waits for something to become so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

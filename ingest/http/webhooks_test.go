package http_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/ingest/http"
)

// desk takes notifications. The processor's name says what becomes of them.
type desk struct {
	bodies  []string
	headers []string
}

func (d *desk) Receive(_ context.Context, processor string, header func(string) []string, body []byte) error {
	err := map[string]error{
		"acquirer": nil, "forged": http.ErrForged, "noise": http.ErrMalformed, "flood": http.ErrLimited, "full": http.ErrBusy,
		"away": http.ErrUnavailable, "broken": errors.New("broken"),
	}
	why, known := err[processor]
	if !known {
		return http.ErrNotFound
	}
	d.bodies, d.headers = append(d.bodies, string(body)), append(d.headers, strings.Join(header("webhook-signature"), "|"))
	return why
}

func TestWebhooks(t *testing.T) {
	here := &desk{}
	d := openDoor(t, func(_ *http.Config, p *http.Ports) { p.Webhooks = here })
	for _, c := range []struct {
		processor string
		status    int
		code      string
		retry     bool
	}{
		{"acquirer", 200, "", false},
		{"forged", 401, "notification_refused", false},
		{"noise", 400, "malformed_json", false},
		{"flood", 429, "rate_limited", true},
		{"full", 503, "busy", true},
		{"away", 503, "unavailable", true},
		{"broken", 500, "internal_error", false},
		{"nobody", 404, "not_found", false},
	} {
		r := d.send("POST", "/webhooks/"+c.processor, `{"a":1}`, "Content-Type", "application/json")
		if r.status != c.status || (r.header["Retry-After"] != "") != c.retry {
			t.Errorf("%s: %d %v, want %d", c.processor, r.status, r.header, c.status)
		}
		if c.code == "" {
			continue
		}
		if p := r.problem(t); string(p.Code) != c.code {
			t.Errorf("%s: %s, want %s", c.processor, p.Code, c.code)
		}
	}
}

// Invariant: a forger is told the same whatever was wrong, and nothing of how far it came.
func TestForgerLearnsNothing(t *testing.T) {
	d := openDoor(t, func(_ *http.Config, p *http.Ports) { p.Webhooks = &desk{} })
	p := d.send("POST", "/webhooks/forged", `{"a":1}`, "Content-Type", "application/json").problem(t)
	if p.Detail != "" || len(p.Violations) > 0 || p.Instance != "" {
		t.Errorf("told: %+v", p)
	}
}

// Invariant: the bytes that are checked are those that came, and every value of a header is seen.
func TestWebhookIsHandedOnAsItCame(t *testing.T) {
	here := &desk{}
	d := openDoor(t, func(_ *http.Config, p *http.Ports) { p.Webhooks = here })
	body := " {\"a\" : 1e2,\n\"é\":\"\\u00e9\"} "
	d.send("POST", "/webhooks/acquirer", body, "Content-Type", "application/json", "Webhook-Signature", "v1,x v1,y")
	if len(here.bodies) != 1 || here.bodies[0] != body || here.headers[0] != "v1,x v1,y" {
		t.Errorf("%q %q", here.bodies, here.headers)
	}
}

func TestWebhookLimits(t *testing.T) {
	here := &desk{}
	d := openDoor(t, func(c *http.Config, p *http.Ports) { p.Webhooks, c.HookMaxBytes = here, 20_000 })
	long := func(n int) string { return strconv.Quote(strings.Repeat("a", n-2)) }
	if r := d.send("POST", "/webhooks/acquirer", long(20_000), "Content-Type", "application/json"); r.status != 200 {
		t.Errorf("the longest: %d %s", r.status, r.body)
	}
	if r := d.send("POST", "/webhooks/acquirer", long(20_001), "Content-Type", "application/json"); r.status != 413 {
		t.Errorf("a longer one: %d", r.status)
	}
	if r := d.send("POST", "/webhooks/acquirer", "a=1", "Content-Type", "text/plain"); r.status != 415 {
		t.Errorf("no JSON: %d", r.status)
	}
	if r := d.send("GET", "/webhooks/acquirer", ""); r.status != 405 {
		t.Errorf("GET: %d", r.status)
	}
	if len(here.bodies) != 1 {
		t.Errorf("%d came through", len(here.bodies))
	}
}

func TestNoProcessorNotifies(t *testing.T) {
	if r := openDoor(t).send("POST", "/webhooks/acquirer", "{}", "Content-Type", "application/json"); r.status != 404 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

package http

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// openings is a log of customers and accounts: the stages decide, and what they emit is decided next.
type openings struct {
	still
	cells     map[string]*accounts.Cell
	commands  map[string]*accounts.CommandRecord
	directory map[payment.AccountID]Account
	decided   int
}

func (h *openings) decide(key string, cmd payment.Command) (reply *accounts.Decision, err error) {
	h.decided++
	w, out, err := accounts.Apply(accounts.Snapshot{Cell: h.cells[key], Command: h.commands[cmd.CommandID]}, cmd, payment.Meta{Key: key, Topic: "payments.commands.v1"})
	if err != nil {
		return nil, err
	}
	h.cells[key] = w.Cell
	if w.Command != nil {
		h.commands[w.Command.CommandID] = &w.Command.Record
	}
	for _, e := range out {
		switch {
		case e.Directory != nil:
			h.directory[e.Directory.Account] = Account{
				Tenant: e.Directory.Tenant, Merchant: e.Directory.Merchant, Customer: e.Directory.Customer, Policy: "standard", Currencies: "BRL",
			}
		case e.Command != nil:
			next, err := h.decide(e.Command.Key, e.Command.Command)
			if err != nil {
				return nil, err
			}
			if next != nil {
				reply = next
			}
		case e.Reply:
			reply = &w.Decision
		}
	}
	return reply, nil
}

func (h *openings) SubmitAndWait(_ context.Context, key string, cmd *paymentsv1.Command, _ time.Duration) (*paymentsv1.Decision, error) {
	c, _, err := codec.CommandFromProto(cmd)
	if err != nil {
		return nil, err
	}
	d, err := h.decide(key, c)
	if err != nil {
		return nil, err
	}
	return codec.DecisionToProto(d, codec.Seal{}), nil
}

func (h *openings) Account(id payment.AccountID) (Account, bool) {
	a, ok := h.directory[id]
	return a, ok
}

func (h *openings) CustomerAccount(_, _, customer string) (payment.AccountID, bool) {
	for id, a := range h.directory {
		if a.Customer == customer {
			return id, true
		}
	}
	return "", false
}

// Invariant: opening an account keeps what is promised about keys: the same key and body get the same answer again, another
// body 422, no key 400. It holds for what was declined, and after the account has changed.
func TestOpeningAnAccountIsIdempotent(t *testing.T) {
	s, secret := benchServer(t)
	h := &openings{cells: map[string]*accounts.Cell{}, commands: map[string]*accounts.CommandRecord{}, directory: map[payment.AccountID]Account{}}
	s.ports.Commands, s.ports.Accounts = h, h
	send := func(method, path, key, body string) (status int, answer string, replayed bool) {
		var ctx fasthttp.RequestCtx
		var req fasthttp.Request
		req.Header.SetMethod(method)
		req.SetRequestURI(path)
		req.Header.Set("Authorization", "Bearer "+secret)
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		req.SetBodyString(body)
		ctx.Init(&req, nil, nil)
		s.handle(&ctx)
		return ctx.Response.StatusCode(), string(bytes.Clone(ctx.Response.Body())), string(ctx.Response.Header.Peek("Idempotency-Replayed")) == "true"
	}
	body := func(external, customer string, level int) string {
		return fmt.Sprintf(`{"external_id":%q,"customer_id":%q,"kind":"person","currencies":["BRL"],"kyc_level":%d}`, external, customer, level)
	}
	first := map[string]string{} // answers by key
	for _, c := range []struct {
		name, key, body string
		status          int
		code            ErrorID
		replayed        bool
	}{
		{"first", "k1", body("a1", "c1", 1), 201, "", false},
		{"again", "k1", body("a1", "c1", 1), 201, "", true},
		{"another level under the key", "k1", body("a1", "c1", 2), 422, ErrorIdempotencyConflict, false},
		{"another account under the key", "k1", body("a2", "c1", 1), 422, ErrorIdempotencyConflict, false},
		{"another customer under the key", "k1", body("a2", "c2", 1), 422, ErrorIdempotencyConflict, false},
		{"a third time", "k1", body("a1", "c1", 1), 201, "", true},
		{"without a key", "", body("a3", "c3", 1), 400, ErrorMissingKey, false},
		{"with no usable key", "a b", body("a3", "c3", 1), 400, ErrorInvalidKey, false},
		{"the same account under another key", "k2", body("a1", "c1", 1), 201, "", true},
		{"another body under that key", "k3", body("a1", "c1", 3), 422, ErrorIdempotencyConflict, false},
		{"a second account of the customer", "k4", body("a4", "c1", 1), 409, ErrorRequestDeclined, false},
		{"and again", "k4", body("a4", "c1", 1), 409, ErrorRequestDeclined, true},
		{"and with another body", "k4", body("a4", "c4", 1), 422, ErrorIdempotencyConflict, false},
		{"another's account", "k5", body("a1", "c5", 1), 422, ErrorIdempotencyConflict, false},
		{"what is malformed leaves the key free", "k6", body("a6", "c 6", 1), 422, ErrorInvalidRequest, false},
		{"and it is used", "k6", body("a6", "c6", 1), 201, "", false},
	} {
		status, answer, replayed := send("POST", "/accounts", c.key, c.body)
		if status != c.status || replayed != c.replayed || c.code != "" && !bytes.Contains([]byte(answer), []byte(`"code":"`+c.code+`"`)) {
			t.Errorf("%s: %d %s, replayed %v", c.name, status, answer, replayed)
		}
		if was, ok := first[c.key]; ok && c.replayed && was != answer {
			t.Errorf("%s\nfirst %s\nagain %s", c.name, was, answer)
		}
		if _, ok := first[c.key]; !ok && status != 422 {
			first[c.key] = answer
		}
	}
	if status, answer, _ := send("PUT", "/customers/c1/kyc-level", "k7", `{"kyc_level":3}`); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	if status, answer, replayed := send("POST", "/accounts", "k1", body("a1", "c1", 1)); status != 201 || answer != first["k1"] || !replayed {
		t.Errorf("after the level has changed: %d %s, replayed %v", status, answer, replayed)
	}
	if len(h.directory) != 2 { // a1 and a6
		t.Errorf("%d accounts were opened: %v", len(h.directory), h.directory)
	}
	// What this process does not remember, the log does, by the account.
	s.recent = newRecent(16)
	if status, answer, replayed := send("POST", "/accounts", "k1", body("a1", "c1", 1)); status != 201 || answer != first["k1"] || !replayed {
		t.Errorf("forgotten: %d %s, replayed %v", status, answer, replayed)
	}
	if status, _, _ := send("POST", "/accounts", "k1", body("a1", "c1", 2)); status != 422 {
		t.Errorf("forgotten, another body: %d", status)
	}
}

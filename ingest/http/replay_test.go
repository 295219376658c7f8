package http

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const decidedAccount = payment.AccountID("acc_aaaaaaaaaaaaaaaaaaaa")

// deciding is a log of one account whose commands are decided by the stages themselves.
type deciding struct {
	still
	cell    *accounts.Cell
	records map[string]*payment.Record
	orders  []accounts.Order
	offset  int64
}

func newDeciding() *deciding {
	return &deciding{
		still: still{Account{Tenant: "sample", Merchant: "shop", Customer: "c1", Policy: "standard", Currencies: "BRL"}},
		cell: &accounts.Cell{
			Tenant: "sample", Merchant: "shop", Customer: "c1", Balances: []ledger.Balance{{Currency: "BRL", PostedMinor: 10_000}},
			State: &accounts.AccountState{Status: accounts.AccountStatusOpen, Currencies: []string{"BRL"}, Policy: "standard"},
		},
		records: map[string]*payment.Record{},
	}
}

func (h *deciding) decide(cmd *payment.Command) (*accounts.Decision, error) {
	s := accounts.Snapshot{
		Cell: h.cell, Related: h.records[cmd.PaymentID.Identity()],
		Policy: &policy.Policy{ID: "standard", Version: 1, Card: &policy.Card{AuthorizationTTLUS: 1_000_000}, Bank: &policy.Bank{}},
	}
	waits := cmd.CommandID
	if cmd.RailAnswer != nil {
		waits, _, _ = strings.Cut(cmd.RailAnswer.OrderID, ".")
	}
	if id, err := payment.ParseID(waits); err == nil {
		s.Payment = h.records[id.Identity()]
	}
	h.offset++
	w, out, err := accounts.Apply(s, *cmd, payment.Meta{Key: string(decidedAccount), Topic: "payments.commands.v1", Offset: h.offset})
	if err != nil {
		return nil, err
	}
	h.cell = w.Cell
	for _, p := range w.Payments {
		h.records[p.Identity] = p.Record
	}
	for _, e := range out {
		if e.Order != nil {
			h.orders = append(h.orders, *e.Order)
		}
	}
	return &w.Decision, nil
}

func (h *deciding) SubmitAndWait(_ context.Context, _ string, cmd *paymentsv1.Command, _ time.Duration) (*paymentsv1.Decision, error) {
	c, _, err := codec.CommandFromProto(cmd)
	if err != nil {
		return nil, err
	}
	d, err := h.decide(&c)
	if err != nil {
		return nil, err
	}
	raw, err := codec.EncodeReply(1, d)
	if err != nil {
		return nil, err
	}
	var reply paymentsv1.Reply
	if err := proto.Unmarshal(raw, &reply); err != nil {
		return nil, err
	}
	return reply.GetDecision(), nil
}

// answer says what the rail did with the order given last.
func (h *deciding) answer(t *testing.T, result payment.RailResult) {
	t.Helper()
	o := h.orders[len(h.orders)-1]
	d, err := h.decide(&payment.Command{
		Kind: payment.KindRailAnswer, Tenant: o.Tenant, Account: o.Account, PaymentID: o.PaymentID, AcceptedAtUS: h.cell.LastAcceptedAtUS + 1,
		CommandID:  fmt.Sprint(o.OrderID, ".", result),
		RailAnswer: &payment.RailAnswer{OrderID: o.OrderID, Result: result, Connector: "lab", Reference: "r1"},
	})
	if err != nil || d.Outcome != payment.OutcomeApplied {
		t.Fatalf("%s %s: %+v, %v", o.OrderID, result, d, err)
	}
}

// Invariant: what a rail does between a request and its repeat does not change the answer by a byte.
func TestRepeatAfterTheRailHasAnswered(t *testing.T) {
	s, secret := benchServer(t)
	h := newDeciding()
	s.ports.Commands, s.ports.Accounts, s.ports.Pins = h, h, h
	post := func(path, key, body string) (int, string) {
		var ctx fasthttp.RequestCtx
		var req fasthttp.Request
		req.Header.SetMethod(fasthttp.MethodPost)
		req.SetRequestURI(path)
		req.Header.Set("Authorization", "Bearer "+secret)
		req.Header.Set("Idempotency-Key", key)
		req.SetBodyString(body)
		ctx.Init(&req, nil, nil)
		s.handle(&ctx)
		return ctx.Response.StatusCode(), string(bytes.Clone(ctx.Response.Body()))
	}
	pi := func(key string) string { return string(payment.IDFrom(payment.KindPayIn, decidedAccount, "shop", key)) }
	card := func(more string) string {
		return `{` + hashedAccount + `,"amount":1000,"currency":"BRL","reference":"r","instrument":"tok_1","method":{"type":"card"` + more + `}}`
	}
	bank := `{` + hashedAccount + `,"amount":100,"currency":"BRL","reference":"r","counterparty":{"account":"1"},"method":{"type":"bank"}}`
	type write struct{ path, key, body string }
	var writes []write
	var answers []string
	for _, c := range []struct {
		write
		rail   payment.RailResult // RailUnspecified: it is not asked
		status int
		word   string
	}{
		{write{"/payins", "auto", card("")}, payment.RailConfirmed, 201, "processing"},
		{write{"/payins", "refused", card("")}, payment.RailRefused, 201, "processing"},
		{write{"/payins", "manual", card(`,"capture":"manual","brand":"visa"`)}, payment.RailConfirmed, 201, "processing"},
		{write{"/payins/" + pi("manual") + "/increment", "more", `{"amount":500}`}, payment.RailConfirmed, 201, "processing"},
		{write{"/payins/" + pi("manual") + "/capture", "part", `{"amount":400}`}, payment.RailConfirmed, 201, "processing"},
		{write{"/payins/" + pi("manual") + "/capture", "over", `{"amount":1101}`}, payment.RailUnspecified, 402, "capture_exceeds_authorization"},
		{write{"/payins/" + pi("manual") + "/increment", "late", `{"amount":5}`}, payment.RailUnspecified, 402, "payment_state"},
		{write{"/payins/" + pi("manual") + "/void", "failed", ``}, payment.RailRefused, 201, "processing"},
		{write{"/payins/" + pi("manual") + "/void", "unsure", ``}, payment.RailUnknown, 201, "processing"},
		{write{"/payins/" + pi("manual") + "/capture", "beside", ``}, payment.RailUnspecified, 402, "operation_in_progress"},
		{write{"/payins/" + pi("nobody") + "/void", "nobody", ``}, payment.RailUnspecified, 404, "payment_unknown"},
		{write{"/refunds", "back", `{"payment_id":"` + pi("auto") + `","amount":300}`}, payment.RailConfirmed, 201, "processing"},
		{write{"/payouts", "out", bank}, payment.RailReturned, 201, "created"},
	} {
		status, body := post(c.path, c.key, c.body)
		if status != c.status || !strings.Contains(body, `"`+c.word+`"`) {
			t.Fatalf("%s %s: %d %s", c.path, c.key, status, body)
		}
		if c.rail != payment.RailUnspecified {
			h.answer(t, c.rail)
		}
		writes, answers = append(writes, c.write), append(answers, fmt.Sprint(status, body))
	}
	for i, w := range writes {
		if status, body := post(w.path, w.key, w.body); fmt.Sprint(status, body) != answers[i] {
			t.Errorf("%s %s\nfirst %s\nagain %d%s", w.path, w.key, answers[i], status, body)
		}
	}
	for key, want := range map[string]payment.Status{"auto": payment.StatusPartiallyRefunded, "refused": payment.StatusFailed, "manual": payment.StatusPartiallyCaptured, "out": payment.StatusFailed} {
		if rec := h.records[payment.ID(pi(key)).Identity()]; rec.Status != want {
			t.Errorf("%s is %s, and not %s: nothing was proven", key, rec.Status, want)
		}
	}
}

package rails_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/rails"
	"github.com/caudalpay/caudal/cmd/railsim/server"
	"github.com/caudalpay/caudal/cmd/railsim/simtest"
	"github.com/caudalpay/caudal/sinks/rails/cards"
)

// simulator plays the acquirers of deploy/rails/simulated.yaml, and gives the configuration that reaches it.
func simulator(t *testing.T, faults string) (url string, all map[string]cards.Config) {
	t.Helper()
	cfg := simtest.Config()
	cfg.Faults, cfg.BankDelay = faults, 20*time.Millisecond
	_, url = simtest.Serve(t, cfg)
	all, err := rails.Load(configured(t, url), cards.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	return url, all
}

// configured is deploy/rails with another address.
func configured(t *testing.T, url string) string {
	t.Helper()
	credentials := server.DefaultCredentials()
	t.Setenv("RAILSIM_CIELO", credentials.Cielo.MerchantKey)
	t.Setenv("RAILSIM_REDE", credentials.Rede.Token)
	t.Setenv("RAILSIM_PAGARME", credentials.Pagarme.SecretKey)
	t.Setenv("RAILSIM_CIELO_HOOK", credentials.Cielo.WebhookValue)
	t.Setenv("RAILSIM_PAGARME_HOOK", credentials.Pagarme.Webhook)
	t.Setenv("RAILSIM_HOOK", credentials.Webhook)
	t.Setenv("RAILSIM_BANK", credentials.Bank.Token)
	folder := t.TempDir()
	for _, name := range []string{"simulated.yaml", "routes.yaml"} {
		b, err := os.ReadFile(filepath.Join("../../../deploy/rails", name))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), "http://127.0.0.1:9090", url)
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "simulated.yaml")
}

// TestDialectsAreUnderstood lets each dialect ask the simulator for all that it can ask. Both were written from the same public
// pages by different hands: where they differ, one has misread them.
func TestDialectsAreUnderstood(t *testing.T) {
	url, all := simulator(t, "")
	for name, a := range all[rails.Card].Acquirers {
		t.Run(name, func(t *testing.T) {
			x := exchange{t: t, a: a, name: name}
			collected := x.do(a.Authorize, x.request(cards.OperationCollect, "co", ""), cards.OutcomeConfirmed)
			x.stands("co", collected.Reference, cards.Standing{State: cards.StateCaptured, AuthorizedMinor: 1000, CapturedMinor: 1000})
			back := x.request(cards.OperationRefund, "re", collected.Reference)
			back.AmountMinor = 400
			x.do(a.Refund, back, cards.OutcomeConfirmed)
			x.stands("co", collected.Reference, cards.Standing{State: cards.StateCaptured, AuthorizedMinor: 1000, CapturedMinor: 1000, ReturnedMinor: 400})

			held := x.do(a.Authorize, x.request(cards.OperationAuthorize, "au", ""), cards.OutcomeConfirmed)
			x.stands("au", held.Reference, cards.Standing{State: cards.StateAuthorized, AuthorizedMinor: 1000})
			part := x.request(cards.OperationCapture, "ca", held.Reference)
			part.AmountMinor = 600
			x.do(a.Capture, part, cards.OutcomeConfirmed)
			x.stands("au", held.Reference, cards.Standing{State: cards.StateCaptured, AuthorizedMinor: 1000, CapturedMinor: 600})

			given := x.do(a.Authorize, x.request(cards.OperationAuthorize, "gi", ""), cards.OutcomeConfirmed)
			x.do(a.Void, x.request(cards.OperationVoid, "vo", given.Reference), cards.OutcomeConfirmed)
			if s := x.status("gi", given.Reference); s.State != cards.StateVoided {
				t.Errorf("after a void: %+v", s)
			}

			declined := x.request(cards.OperationCollect, "de", "")
			declined.Instrument = "tok_2"
			if r := x.do(a.Authorize, declined, cards.OutcomeRefused); r.Code == "" {
				t.Errorf("declined without a code: %+v", r)
			}
			if s := x.status("nobody", ""); s.State != cards.StateAbsent {
				t.Errorf("what was never sent: %+v", s)
			}
		})
	}
	resp, err := http.Get(url + "/books/summary") //nolint:noctx // on loopback, in a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	var books struct {
		Orders       int `json:"orders"`
		ChargedTwice int `json:"charged_twice"`
	}
	if err != nil || json.Unmarshal(raw, &books) != nil || books.Orders < 9 || books.ChargedTwice != 0 {
		t.Errorf("books: %v %s", err, raw)
	}
}

// TestBankIsUnderstood lets the connector send transfers to the simulated bank, and follows each to its end.
func TestBankIsUnderstood(t *testing.T) {
	_, all := simulator(t, "")
	b := all[rails.Bank].Banks["bank"]
	if b == nil {
		t.Fatal("no bank in deploy/rails/simulated.yaml")
	}
	request := func(order, account string) cards.Request {
		return cards.Request{
			Operation: cards.OperationSend, OrderID: order, OwnReference: b.OwnReference(order, 1), AmountMinor: 1000, Currency: "BRL",
			Destination: cards.Destination{Account: account, Name: "Ana Souza", Document: "52998224725"},
		}
	}
	for account, want := range map[string]cards.Result{
		"60701190/0001/12345-0": {Outcome: cards.OutcomeConfirmed},
		"60701190/0001/12345-3": {Outcome: cards.OutcomeReturned, Code: "3"},
		"60701190/0001/12345-4": {Outcome: cards.OutcomeConfirmed},
		"60701190/0001/12345-7": {Outcome: cards.OutcomeRefused, Code: "2"},
		"60701190/0001/12345-8": {Outcome: cards.OutcomeReturned, Code: "1"},
		"acct_1":                {Outcome: cards.OutcomeConfirmed},
	} {
		r := request("po_"+account, account)
		if s, err := b.Find(t.Context(), r); err != nil || s.Outcome != cards.OutcomeNotFound {
			t.Errorf("%s, never sent: %+v %v", account, s, err)
		}
		taken, err := b.Send(t.Context(), r)
		if err != nil || taken.Outcome != cards.OutcomeAccepted || taken.AmountMinor != 1000 || taken.Reference == "" {
			t.Fatalf("%s: %+v %v", account, taken, err)
		}
		want.Reference, want.AmountMinor = taken.Reference, 1000
		found := cards.Result{}
		for until := time.Now().Add(10 * time.Second); found != want; time.Sleep(5 * time.Millisecond) {
			if found, err = b.Find(t.Context(), r); err != nil || time.Now().After(until) {
				t.Fatalf("%s: %+v %v, want %+v", account, found, err, want)
			}
		}
		if again, err := b.Send(t.Context(), r); err != nil || again != want {
			t.Errorf("%s, sent again: %+v %v", account, again, err)
		}
		r.AmountMinor++
		if other, err := b.Send(t.Context(), r); err != nil || other.Outcome != cards.OutcomeUnknown {
			t.Errorf("%s, another transfer under its id: %+v %v", account, other, err)
		}
	}
	if r, err := b.Send(t.Context(), request("po_5", "60701190/0001/12345-5")); err != nil || r.Outcome != cards.OutcomeRefused || r.Code != "account_invalid" {
		t.Errorf("turned down: %+v %v", r, err)
	}
}

type exchange struct {
	t    *testing.T
	a    cards.Acquirer
	name string
}

func (x exchange) request(o cards.Operation, order, reference string) cards.Request {
	return cards.Request{
		Operation: o, OrderID: x.name + order, OwnReference: x.a.OwnReference(x.name+order, 1), Reference: reference, AmountMinor: 1000, Currency: "BRL",
		Instrument: "tok_a", Brand: "visa", Installments: 1,
	}
}

func (x exchange) do(call func(context.Context, cards.Request) (cards.Result, error), r cards.Request, want cards.Outcome) cards.Result {
	x.t.Helper()
	got, err := call(x.t.Context(), r)
	if err != nil || got.Outcome != want {
		x.t.Fatalf("%s: %+v, %v, want %s", r.Operation, got, err, want)
	}
	return got
}

func (x exchange) status(order, reference string) cards.Standing {
	x.t.Helper()
	s, err := x.a.Status(x.t.Context(), x.request(cards.OperationAuthorize, order, reference))
	if err != nil {
		x.t.Fatal(err)
	}
	return s
}

// stands asks by the acquirer's id, and by our own.
func (x exchange) stands(order, reference string, want cards.Standing) {
	x.t.Helper()
	for _, by := range []string{reference, ""} {
		got := x.status(order, by)
		if (got.TID != "") != (x.name == "cielo") {
			x.t.Errorf("%s by %q: the network's number is %q", order, by, got.TID)
		}
		got.Code, got.Reference, got.TID = "", "", ""
		if got != want {
			x.t.Errorf("%s by %q: %+v, want %+v", order, by, got, want)
		}
	}
}

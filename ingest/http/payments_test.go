package http_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

func TestPayInBecomesACommand(t *testing.T) {
	d := openDoor(t)
	before := time.Now().UnixMicro()
	r := d.post("/payins", "k1", `{"account_id":"`+string(d.shop)+`","amount":1234,"currency":"BRL","target_currency":"USD",
		"method":{"type":"cash"},"reference":"order 7","instrument":"tok_1","effective_date":"1993-07-05",
		"counterparty":{"name":"José  da Silva","country":"BR","document":"111.444.777-35","account":"0001/12-3"},
		"metadata":{"b":[1,2.50],"a":"x"}}`)
	if r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	var a http.PaymentAnswer
	r.decode(t, &a)
	id := payment.IDFrom(payment.KindPayIn, d.shop, "shop", "k1")
	if a.PaymentID != string(id) || a.AccountID != string(d.shop) || a.Decision != "approved" || a.Status != "succeeded" ||
		a.Kind != "payin" || a.Amount != 1234 || a.FX == nil || a.FX.Rate != "0.51234" || a.FX.Mid != "0.52" {
		t.Fatalf("answer %+v", a)
	}
	if r.header["Location"] != "/transactions/"+string(id) || r.header["Caudal-Account-Seq"] != "1" || r.header["Idempotency-Replayed"] != "" {
		t.Fatalf("headers %v", r.header)
	}
	cmd := d.produced()[0]
	personal, err := d.sealer.Open(cmd.GetSealed())
	check(t, err)
	want := &paymentsv1.Personal{
		Reference: "order 7", CounterpartyName: "José  da Silva", CounterpartyDocument: "111.444.777-35",
		CounterpartyAccount: "0001/12-3", MetadataJson: `{"a":"x","b":[1,2.50]}`,
	}
	if !proto.Equal(personal, want) {
		t.Errorf("sealed %v", personal)
	}
	if at := cmd.GetAcceptedAtUs(); at < before || at > time.Now().UnixMicro() {
		t.Errorf("accepted at %d", at)
	}
	party := &paymentsv1.Counterparty{
		Country: "BR", Digest: d.sealer.PartyDigest("11144477735"), NameDigest: d.sealer.PartyDigest("JOSE DA SILVA"),
		DocumentDigest: d.sealer.PartyDigest("11144477735"), AccountDigest: d.sealer.PartyDigest("0001123"),
	}
	wantCommand := &paymentsv1.Command{
		Version: 1, Kind: paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, Tenant: "sample", Merchant: "shop", Customer: "c1",
		Account: string(d.shop), CommandId: string(id), PaymentId: string(id), Pins: &paymentsv1.Pins{Policy: "standard@3"},
		AcceptedAtUs: cmd.GetAcceptedAtUs(), BodyHash: cmd.GetBodyHash(), Sealed: cmd.GetSealed(),
		Body: &paymentsv1.Command_Instruction{Instruction: &paymentsv1.Instruction{
			AmountMinor: 1234, Currency: "BRL", TargetCurrency: "USD", Method: "cash", Instrument: "tok_1",
			Counterparty: party, EffectiveDate: 8586,
		}},
	}
	if !proto.Equal(cmd, wantCommand) || len(cmd.GetBodyHash()) != 32 || d.keys[0] != string(d.shop) {
		t.Errorf("command %v\nwant %v", cmd, wantCommand)
	}
	raw, err := proto.Marshal(cmd)
	check(t, err)
	for _, secret := range []string{"José", "Silva", "777-35", "order 7", "0001/12"} {
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("the log reads %q", secret)
		}
	}
}

func TestEveryKindOfWrite(t *testing.T) {
	d := openDoor(t)
	pi := string(payment.IDFrom(payment.KindPayIn, d.shop, "shop", "first"))
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		kind                     paymentsv1.CommandKind
		key, commandID, concerns string
		answer                   string
	}{
		{
			"payout", "POST", "/payouts", d.payIn("5", ""), 201, paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT,
			string(d.shop), "po_", "po_", `"kind":"payout"`,
		},
		{
			"transfer to another merchant", "POST", "/transfers",
			`{"account_id":"` + string(d.shop) + `","to_account_id":"` + string(d.rival) + `","amount":5,"currency":"BRL","reference":""}`, 201,
			paymentsv1.CommandKind_COMMAND_KIND_TRANSFER, string(d.shop), "tr_", "tr_", `"status":"processing"`,
		},
		{
			"refund", "POST", "/refunds", `{"payment_id":"` + pi + `","reason":"broken"}`, 201,
			paymentsv1.CommandKind_COMMAND_KIND_REFUND, string(d.shop), "re_", pi, `"refunded_payment_id":"` + pi + `"`,
		},
		{
			"approve", "POST", "/payments/" + pi + "/approve", "", 200,
			paymentsv1.CommandKind_COMMAND_KIND_APPROVE, string(d.shop), "cmd_", pi, `"kind":"approve"`,
		},
		{
			"decline", "POST", "/payments/" + pi + "/decline", "{}", 409,
			paymentsv1.CommandKind_COMMAND_KIND_DECLINE, string(d.shop), "cmd_", pi, `"reasons":["payment_state"]`,
		},
		{
			"level", "PUT", "/customers/c1/kyc-level", `{"kyc_level":0}`, 200, paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL,
			string(payment.CustomerKeyFrom("sample", "shop", "c1")), "cmd_", "", `"kyc_level":0`,
		},
		{
			"account", "POST", "/accounts", `{"external_id":"e9","customer_id":"c9","kind":"merchant","currencies":["EUR","JPY"],"kyc_level":3,"overdraft_limit":9}`, 201,
			paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, string(payment.CustomerKeyFrom("sample", "shop", "c9")), "cmd_", "", `"policy":"standard"`,
		},
		{
			"second account of a customer", "POST", "/accounts", `{"external_id":"second","customer_id":"c9","kind":"person","currencies":["EUR"],"kyc_level":3}`, 409,
			paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, string(payment.CustomerKeyFrom("sample", "shop", "c9")), "cmd_", "", `"reasons":["customer_has_account"]`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := len(d.produced())
			r := d.send(c.method, c.path, c.body, "Idempotency-Key", "key-"+strings.ReplaceAll(c.name, " ", "-"))
			if r.status != c.status || !strings.Contains(string(r.body), c.answer) {
				t.Fatalf("%d %s", r.status, r.body)
			}
			cmd := d.produced()[n]
			if cmd.GetKind() != c.kind || d.keys[n] != c.key || !strings.HasPrefix(cmd.GetCommandId(), c.commandID) ||
				!strings.HasPrefix(cmd.GetPaymentId(), c.concerns) || cmd.GetPins().GetPolicy() != "standard@3" || len(cmd.GetBodyHash()) != 32 {
				t.Errorf("key %s command %v", d.keys[n], cmd)
			}
		})
	}
	if v := d.produced()[3].GetVerdict(); v.GetActor() != "till-shop" {
		t.Errorf("verdict %v", v)
	}
	if r := d.send("GET", "/transactions/"+pi, ""); r.status != 404 {
		t.Errorf("%d", r.status)
	}
}

// Invariant: a repeat gets the first status and body, byte for byte.
func TestRepeatAnswersTheFirstBytes(t *testing.T) {
	d := openDoor(t)
	for name, c := range map[string]struct {
		amount string
		status int
	}{"approved": {"100", 201}, "declined": {"777", 402}, "review": {"888", 202}, "refused by the log": {"404", 404}} {
		t.Run(name, func(t *testing.T) {
			key := strings.ReplaceAll("k "+name, " ", "-")
			first := d.post("/payins", key, d.payIn(c.amount, ""))
			// The same request in other bytes.
			again := d.post("/payins", key, ` {"reference" : "order\u00201","method":{"type":"book"},"currency":"BRL", "target_currency":"BRL","amount":`+c.amount+`,"account_id":"`+string(d.shop)+`"}`+"\n")
			if first.status != c.status || again.status != c.status || !bytes.Equal(first.body, again.body) {
				t.Fatalf("first %d %s\nagain %d %s", first.status, first.body, again.status, again.body)
			}
			if first.header["Idempotency-Replayed"] != "" || again.header["Idempotency-Replayed"] != "true" {
				t.Errorf("headers %v %v", first.header, again.header)
			}
			if first.header["Content-Type"] != again.header["Content-Type"] || first.header["Location"] != again.header["Location"] {
				t.Errorf("headers %v %v", first.header, again.header)
			}
			other := d.post("/payins", key, d.payIn(c.amount, `,"target_currency":"USD"`))
			if p := other.problem(t); other.status != 422 || p.Code != http.ErrorIdempotencyConflict || other.header["Idempotency-Replayed"] != "" {
				t.Errorf("another body: %d %s", other.status, other.body)
			}
			kind := d.post("/payouts", key, d.payIn(c.amount, ""))
			if p := kind.problem(t); p.Code != http.ErrorIdempotencyConflict {
				t.Errorf("another kind: %d %s", kind.status, kind.body)
			}
		})
	}
	for i, w := range [][3]string{
		{"POST", "/payments/" + string(payment.IDFrom(payment.KindTransfer, d.shop, "shop", "in review")) + "/decline", ``},
		{"PUT", "/customers/c1/kyc-level", `{"kyc_level":2}`},
		{"POST", "/accounts", `{"external_id":"e2","customer_id":"c2x","kind":"person","currencies":["BRL"],"kyc_level":1}`},
		{"POST", "/payments/" + string(payment.IDFrom(payment.KindPayOut, d.shop, "shop", "x")) + "/decline", ``},
	} {
		key := fmt.Sprintf("w-%d", i)
		first, again := d.send(w[0], w[1], w[2], "Idempotency-Key", key), d.send(w[0], w[1], w[2], "Idempotency-Key", key)
		if first.status != again.status || !bytes.Equal(first.body, again.body) || again.header["Idempotency-Replayed"] != "true" {
			t.Errorf("%s: %d %s, then %d %s", w[1], first.status, first.body, again.status, again.body)
		}
	}
}

func TestDeclinedTellsWhy(t *testing.T) {
	d := openDoor(t)
	r := d.post("/payins", "k", d.payIn("777", ""))
	var p http.DeclinedProblem
	r.decode(t, &p)
	if r.status != 402 || p.Code != http.ErrorPaymentDeclined || p.Decision != "declined" || len(p.Reasons) != 2 || p.Reasons[0] != "limit_day" ||
		p.Payment == nil || p.Payment.Status != "failed" || p.Instance != "/transactions/"+p.Payment.PaymentID || p.TraceID != "" {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestSameKeyInFlight(t *testing.T) {
	d := openDoor(t)
	first := make(chan reply, 1)
	go func() { first <- d.post("/payins", "k", d.payIn("1111", "")) }()
	<-d.arrived
	second := d.post("/payins", "k", d.payIn("1111", ""))
	if p := second.problem(t); second.status != 409 || p.Code != http.ErrorInFlight || second.header["Retry-After"] != "1" {
		t.Errorf("%d %s", second.status, second.body)
	}
	if n := len(d.produced()); n != 1 {
		t.Errorf("%d commands", n)
	}
	close(d.slow)
	if r := <-first; r.status != 201 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := d.post("/payins", "k", d.payIn("1111", "")); r.status != 201 || r.header["Idempotency-Replayed"] != "true" {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestPrefer(t *testing.T) {
	d := openDoor(t, func(c *http.Config, _ *http.Ports) { c.WaitMax = 3 * time.Second })
	for _, c := range []struct {
		prefer, applied string
		status          int
	}{
		{"", "", 201},
		{"respond-async", "respond-async", 202},
		{"Respond-Async", "respond-async", 202},
		{"wait=2", "wait=2", 201},
		{"wait=100", "wait=3", 201},
		{"wait=0", "wait=0", 202},
		{"respond-async, wait=1", "wait=1", 201},
		{"wait=1, respond-async", "wait=1", 201},
		{`wait="2"; x=y`, "wait=2", 201},
		{"wait=-1", "", 201},
		{"wait=99999999999999999999", "", 201},
		{"wait", "", 201},
		{"handling=lenient", "", 201},
		{",;=,", "", 201},
	} {
		r := d.post("/payins", payKey(c.prefer), d.payIn("100", ""), "Prefer", c.prefer)
		if r.status != c.status || r.header["Preference-Applied"] != c.applied {
			t.Errorf("%q: %d, applied %q", c.prefer, r.status, r.header["Preference-Applied"])
		}
		if c.status == 202 {
			var p http.PendingAnswer
			r.decode(t, &p)
			if p.Status != "pending" || p.Kind != "payin" || r.header["Location"] != "/transactions/"+p.PaymentID {
				t.Errorf("%q: %s %v", c.prefer, r.body, r.header)
			}
		}
	}
}

// payKey makes an idempotency key of any text.
func payKey(s string) string {
	return "k" + strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
}

func TestPendingAndUnavailable(t *testing.T) {
	d := openDoor(t)
	if r := d.post("/payins", "p", d.payIn("999", "")); r.status != 202 || !strings.Contains(string(r.body), `"status":"pending"`) || r.header["Location"] == "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	for amount, id := range map[string]http.ErrorID{"503": http.ErrorBusy, "504": http.ErrorUnavailable} {
		for _, prefer := range []string{"wait=1", "respond-async"} {
			r := d.post("/payins", "u"+amount, d.payIn(amount, ""), "Prefer", prefer)
			if p := r.problem(t); r.status != 503 || p.Code != id || r.header["Retry-After"] != "1" {
				t.Errorf("%s %s: %d %s", amount, prefer, r.status, r.body)
			}
		}
	}
	// What was not acknowledged is not remembered as if it were: the key takes another body.
	if r := d.post("/payins", "u503", d.payIn("5", ""), "Prefer", "respond-async"); r.status != 202 || r.header["Idempotency-Replayed"] != "" {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// Invariant: a door that has just started and has not read its directories refuses nobody as unknown: a retry of what stands in
// the log would be told that it never was.
func TestNothingIsUnknownBeforeTheDirectoriesAreRead(t *testing.T) {
	var read atomic.Bool
	d := openDoor(t, func(_ *http.Config, p *http.Ports) {
		p.Known = []func() error{func() error {
			if read.Load() {
				return nil
			}
			return errors.New("still reading")
		}}
	})
	known := d.payIn("100", "")
	unknown := strings.Replace(known, string(d.shop), string(payment.AccountIDFrom("sample", "shop", "nobody")), 1)
	for _, path := range []string{"/payins", "/fx/quotes", "/cards", "/payments:batch"} {
		r := d.post(path, "early", unknown)
		if p := r.problem(t); r.status != 503 || p.Code != http.ErrorUnavailable || r.header["Retry-After"] == "" {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	if r := d.send("GET", "/accounts/"+string(d.shop)+"/balances", ""); r.status != 503 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if n := len(d.produced()); n != 0 {
		t.Errorf("%d commands", n)
	}
	read.Store(true)
	if r := d.post("/payins", "early", unknown); r.status != 404 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := d.post("/payins", "early", known); r.status != 201 {
		t.Errorf("%d %s", r.status, r.body)
	}
	read.Store(false) // a directory that falls behind later has read what stood there
	if r := d.post("/payins", "late", known); r.status != 201 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// Callers that do not wait get the same words from the door's memory; the log gets the command all the same.
func TestMemoryForThoseWhoDoNotWait(t *testing.T) {
	d := openDoor(t)
	async := []string{"Prefer", "respond-async"}
	first := d.post("/payins", "m", d.payIn("100", ""), async...)
	again := d.post("/payins", "m", d.payIn("100", ""), async...)
	other := d.post("/payins", "m", d.payIn("101", ""), async...)
	if first.status != 202 || again.status != 202 || !bytes.Equal(first.body, again.body) || again.header["Idempotency-Replayed"] != "true" {
		t.Errorf("%d %s, %d %s", first.status, first.body, again.status, again.body)
	}
	if p := other.problem(t); other.status != 422 || p.Code != http.ErrorIdempotencyConflict {
		t.Errorf("%d %s", other.status, other.body)
	}
	if n := len(d.produced()); n != 3 {
		t.Errorf("%d commands, want 3: the conflict is a decision too", n)
	}
}

func TestOwnership(t *testing.T) {
	d := openDoor(t)
	id := payment.IDFrom(payment.KindPayIn, d.shop, "shop", "own")
	d.payments[id] = &http.PaymentView{PaymentID: string(id)}
	d.views[d.shop] = &http.AccountView{AccountID: string(d.shop)}
	rival := []string{"Authorization", "Bearer " + otherToken, "Idempotency-Key", "x"}
	transfer := func(from, to payment.AccountID) string {
		return `{"account_id":"` + string(from) + `","to_account_id":"` + string(to) + `","amount":5,"currency":"BRL","reference":"r"}`
	}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/payins", d.payIn("5", "")},
		{"POST", "/payouts", d.payIn("5", "")},
		{"POST", "/transfers", transfer(d.shop, d.rival)},
		{"POST", "/transfers", transfer(d.rival, d.foreign)},
		{"POST", "/refunds", `{"payment_id":"` + string(id) + `"}`},
		{"POST", "/payments/" + string(id) + "/approve", ""},
		{"POST", "/payments/" + string(id) + "/decline", ""},
		{"PUT", "/customers/c1/kyc-level", `{"kyc_level":3}`},
		{"GET", "/transactions/" + string(id), ""},
		{"GET", "/payments/" + string(id) + "/timeline", ""},
		{"GET", "/accounts/" + string(d.shop), ""},
		{"GET", "/accounts/" + string(d.shop) + "/balances", ""},
		{"GET", "/accounts/" + string(d.shop) + "/statement", ""},
	} {
		r := d.send(c.method, c.path, c.body, rival...)
		if r.problem(t); r.status != 404 {
			t.Errorf("%s %s by another merchant: %d %s", c.method, c.path, r.status, r.body)
		}
	}
	if n := len(d.produced()); n != 0 {
		t.Errorf("%d commands of another merchant", n)
	}
	if r := d.send("POST", "/transfers", transfer(d.rival, d.shop), rival...); r.status != 201 {
		t.Errorf("a transfer to another merchant's account of the tenant: %d %s", r.status, r.body)
	}
	if r := d.send("GET", "/accounts/"+string(d.shop), ""); r.status != 200 {
		t.Errorf("the owner: %d %s", r.status, r.body)
	}
}

func TestAccountIsAnsweredWhenItCanBeUsed(t *testing.T) {
	d := openDoor(t)
	body := `{"external_id":"new","customer_id":"cn","kind":"person","currencies":["BRL"],"kyc_level":2}`
	r := d.post("/accounts", "a1", body)
	var o http.OpenedAnswer
	r.decode(t, &o)
	if r.status != 201 || o.AccountID != string(payment.AccountIDFrom("sample", "shop", "new")) || o.Status != "open" || o.Kind != "person" || r.header["Location"] != "/accounts/"+o.AccountID {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := d.post("/payins", "a2", `{"account_id":"`+o.AccountID+`","amount":1,"currency":"BRL","method":{"type":"cash"},"reference":"r"}`); r.status != 201 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := d.post("/accounts", "a3", `{"external_id":"new","customer_id":"cn","kind":"person","currencies":["USD"],"kyc_level":2}`); r.status != 422 {
		t.Errorf("another body for the same account: %d %s", r.status, r.body)
	}
	if r := d.post("/accounts", "a4", strings.Replace(body, "new", "newer", 1), "Prefer", "respond-async"); r.status != 202 || !strings.Contains(string(r.body), `"status":"pending"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// Invariant: who does not wait is told of a conflict, and nothing is opened under a key that has opened another account.
func TestConflictOpensNothing(t *testing.T) {
	d := openDoor(t)
	body := func(external string) string {
		return `{"external_id":"` + external + `","customer_id":"` + external + `","kind":"person","currencies":["BRL"],"kyc_level":1,"policy":"standard"}`
	}
	for i, want := range []int{202, 422} {
		r := d.post("/accounts", "k", body([]string{"a1", "a2"}[i]), "Prefer", "respond-async")
		if r.status != want {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if n := len(d.produced()); n != 1 {
		t.Errorf("%d commands", n)
	}
}

package http_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// quote is the body of a quote of an amount from BRL to another currency.
func (d *door) quote(amount, target string) string {
	return `{"account_id":"` + string(d.shop) + `","amount":` + amount + `,"currency":"BRL","target_currency":"` + target + `"}`
}

func (d *door) quoteID(key string) string {
	return string(payment.IDFrom(payment.KindFXQuote, d.shop, "shop", key))
}

func TestQuoteBecomesACommand(t *testing.T) {
	d := openDoor(t)
	r := d.post("/fx/quotes", "k", d.quote("10000", "USD"))
	var v http.QuoteView
	r.decode(t, &v)
	id := d.quoteID("k")
	want := http.QuoteView{
		QuoteID: id, AccountID: string(d.shop), Status: "created", Reasons: []string{}, Amount: 10000, Currency: "BRL", TargetAmount: 1900, TargetCurrency: "USD",
		FX: v.FX, CreatedAt: v.CreatedAt, ExpiresAt: v.CreatedAt.Add(30 * time.Second),
	}
	if r.status != 201 || r.header["Location"] != "/fx/quotes/"+id || v.FX == nil || *v.FX != (http.FXView{Rate: "0.19", Mid: "0.2", SpreadBP: 500}) ||
		!strings.Contains(string(r.body), `"rate":"0.19"`) {
		t.Fatalf("%d %v %s", r.status, r.header, r.body)
	}
	if v.FX = want.FX; v.QuoteID != want.QuoteID || !v.ExpiresAt.Equal(want.ExpiresAt) || v.Amount != want.Amount || v.TargetAmount != want.TargetAmount || v.Status != want.Status ||
		v.AccountID != want.AccountID || v.Currency != want.Currency || v.TargetCurrency != want.TargetCurrency || v.Reasons == nil {
		t.Errorf("%+v", v)
	}
	cmd := d.produced()[0]
	wantCmd := &paymentsv1.Command{
		Version: 1, Kind: paymentsv1.CommandKind_COMMAND_KIND_FX_QUOTE, Tenant: "sample", Merchant: "shop", Customer: "c1", Account: string(d.shop), CommandId: id, PaymentId: id,
		Pins: &paymentsv1.Pins{Policy: "standard@3"}, AcceptedAtUs: cmd.GetAcceptedAtUs(), BodyHash: cmd.GetBodyHash(),
		Body: &paymentsv1.Command_FxQuote{FxQuote: &paymentsv1.FxQuote{AmountMinor: 10000, Currency: "BRL", TargetCurrency: "USD"}},
	}
	if !proto.Equal(cmd, wantCmd) || len(cmd.GetBodyHash()) != 32 || d.keys[0] != string(d.shop) {
		t.Errorf("key %s command %v", d.keys[0], cmd)
	}
}

// Invariant: a quote's key is one of the account's, as a payment's: the same request is the same quote, another one a conflict.
func TestRepeatOfAQuote(t *testing.T) {
	d := openDoor(t)
	first := d.post("/fx/quotes", "k", d.quote("10000", "USD"))
	again := d.post("/fx/quotes", "k", ` { "amount":10000, "target_currency":"USD", "currency":"BRL", "account_id":"`+string(d.shop)+`" }`)
	if first.status != 201 || again.status != 201 || !bytes.Equal(first.body, again.body) || again.header["Idempotency-Replayed"] != "true" {
		t.Fatalf("first %d %s\nagain %d %s", first.status, first.body, again.status, again.body)
	}
	for name, r := range map[string]reply{
		"amount":   d.post("/fx/quotes", "k", d.quote("10001", "USD")),
		"currency": d.post("/fx/quotes", "k", d.quote("10000", "EUR")),
		"pay-in":   d.post("/payins", "k", d.payIn("10000", `,"target_currency":"USD"`)),
	} {
		if r.status != 422 || r.problem(t).Code != http.ErrorIdempotencyConflict {
			t.Errorf("another %s: %d %s", name, r.status, r.body)
		}
	}
	declined := d.post("/fx/quotes", "stale", d.quote("666", "USD"))
	var p http.DeclinedProblem
	declined.decode(t, &p)
	if declined.status != 409 || p.Code != http.ErrorRequestDeclined || p.Reasons[0] != "rate_stale" || p.Payment != nil || p.Instance != "/fx/quotes/"+d.quoteID("stale") {
		t.Errorf("%d %s", declined.status, declined.body)
	}
	if r := d.post("/fx/quotes", "stale", d.quote("666", "USD")); r.status != 409 || !bytes.Equal(r.body, declined.body) {
		t.Errorf("%d %s", r.status, r.body)
	}
	pending := d.post("/fx/quotes", "late", d.quote("10000", "USD"), "Prefer", "respond-async")
	var a http.RequestAnswer
	pending.decode(t, &a)
	if pending.status != 202 || a.QuoteID != d.quoteID("late") || a.Status != "pending" || a.Kind != "fx_quote" || a.PaymentID != "" || pending.header["Location"] != "/fx/quotes/"+a.QuoteID {
		t.Errorf("%d %v %s", pending.status, pending.header, pending.body)
	}
}

// Every kind that converts may name a quote, which is a part of what was asked for.
func TestPaymentsNameAQuote(t *testing.T) {
	d := openDoor(t)
	quote := d.quoteID("q")
	naming := func(body, quote string) string {
		return strings.Replace(body, `"currency":"BRL"`, `"currency":"BRL","target_currency":"USD","quote":"`+quote+`"`, 1)
	}
	transfer := `{"account_id":"` + string(d.shop) + `","to_account_id":"` + string(d.buyer) + `","amount":100,"currency":"BRL","reference":"r"}`
	for i, c := range []struct{ path, body string }{
		{"/payins", d.payIn("100", "")},
		{"/payins", d.payIn("100", `,"metadata":{}`)}, // the way of all fields
		{"/payins", d.byCard("100", "")},
		{"/payouts", d.payIn("100", "")},
		{"/transfers", transfer},
	} {
		key := payKey(c.path + c.body)
		r := d.post(c.path, key, naming(c.body, quote))
		var a http.PaymentAnswer
		r.decode(t, &a)
		if in := d.produced()[i].GetInstruction(); r.status != 201 || a.Quote != quote || in.GetQuote() != quote || in.GetTargetCurrency() != "USD" {
			t.Fatalf("%s: %d %s %v", c.path, r.status, r.body, in)
		}
	}
	n := len(d.produced())
	d.post("/payins", "with", naming(d.payIn("100", ""), quote))
	for name, body := range map[string]string{
		"other": naming(d.payIn("100", ""), d.quoteID("other")),
		"none":  strings.Replace(d.payIn("100", ""), `"currency":"BRL"`, `"currency":"BRL","target_currency":"USD"`, 1),
	} {
		if r := d.post("/payins", "with", body); r.status != 422 || r.problem(t).Code != http.ErrorIdempotencyConflict {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	for body, pointer := range map[string]string{
		naming(d.payIn("100", ""), "fq_x"):                                                        "/quote",
		naming(d.payIn("100", ""), string(d.payInID("k"))):                                        "/quote",
		strings.Replace(naming(d.payIn("100", ""), quote), `"target_currency":"USD",`, ``, 1):     "/target_currency",
		strings.Replace(naming(d.payIn("100", ""), quote), `"USD"`, `"BRL"`, 1):                   "/target_currency",
		strings.Replace(naming(d.payIn("100", ""), quote), `"quote":"`+quote+`"`, `"quote":1`, 1): "/quote",
	} {
		r := d.post("/payins", "bad", body)
		if p := r.problem(t); r.status != 422 || len(p.Violations) != 1 || *p.Violations[0].Pointer != pointer {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	if r := d.post("/refunds", "bad", `{"payment_id":"`+string(d.payInID("k"))+`","quote":"`+quote+`"}`); r.status != 422 || !strings.Contains(string(r.body), `"pointer":"/quote","code":"unknown_field"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if got := len(d.produced()); got != n+3 {
		t.Errorf("%d commands more", got-n)
	}
}

func TestQuoteThatCannotBe(t *testing.T) {
	d := openDoor(t)
	for body, pointer := range map[string]string{
		d.quote("0", "USD"):   "/amount",
		d.quote("1.5", "USD"): "/amount",
		d.quote("100", "BRL"): "/target_currency",
		d.quote("100", "ZZZ"): "/target_currency",
		`{"account_id":"` + string(d.shop) + `","amount":1,"currency":"BRL"}`:                          "/target_currency",
		`{"account_id":"acc_x","amount":1,"currency":"BRL","target_currency":"USD"}`:                   "/account_id",
		strings.Replace(d.quote("100", "USD"), `"amount"`, `"method":{"type":"book"},"amount"`, 1):     "/method",
		strings.Replace(d.quote("100", "USD"), `"amount"`, `"quote":"`+d.quoteID("k")+`","amount"`, 1): "/quote",
	} {
		r := d.post("/fx/quotes", "k", body)
		if p := r.problem(t); r.status != 422 || len(p.Violations) != 1 || *p.Violations[0].Pointer != pointer {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	for _, account := range []payment.AccountID{d.rival, d.foreign} {
		if r := d.post("/fx/quotes", "k", strings.Replace(d.quote("100", "USD"), string(d.shop), string(account), 1)); r.problem(t).Code != http.ErrorAccountUnknown {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if r := d.post("/fx/quotes", "", d.quote("100", "USD")); r.problem(t).Code != http.ErrorMissingKey {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := d.post("/fx/quotes", "k", d.quote("100", "USD"), "Authorization", "Bearer "+readToken); r.status != 403 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if n := len(d.produced()); n != 0 {
		t.Errorf("%d commands", n)
	}
}

func TestReadAQuote(t *testing.T) {
	d := openDoor(t)
	id := payment.ID(d.quoteID("k"))
	d.quotes[id] = &http.QuoteView{QuoteID: string(id), Status: "succeeded", PaymentID: string(d.payInID("p")), AccountSeq: 7, Reasons: []string{}}
	r := d.send("GET", "/fx/quotes/"+string(id), "", "Authorization", "Bearer "+readToken)
	var v http.QuoteView
	r.decode(t, &v)
	if r.status != 200 || v.PaymentID != string(d.payInID("p")) || r.header["Caudal-Account-Seq"] != "7" || strings.Contains(string(r.body), "expires_at") {
		t.Errorf("%d %v %s", r.status, r.header, r.body)
	}
	for path, status := range map[string]int{
		"/fx/quotes/" + string(id) + "?min_seq=99": 503,
		"/fx/quotes/" + string(id) + "?limit=1":    400,
		"/fx/quotes/" + d.quoteID("none"):          404,
		"/fx/quotes/" + string(d.payInID("k")):     404,
		"/fx/quotes/x":                             404,
		"/fx/quotes/fq_" + strings.Repeat("a", 40): 404,
	} {
		if r := d.send("GET", path, ""); r.status != status {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	if r := d.send("GET", "/fx/quotes/"+string(id), "", "Authorization", "Bearer "+otherToken); r.status != 404 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

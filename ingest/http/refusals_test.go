package http_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/ingest/http"
)

// Invariant: what is refused at the door never reaches the log, and the answer points at what is wrong.
func TestRefusals(t *testing.T) {
	d := openDoor(t)
	shop := `"account_id":"` + string(d.shop) + `"`
	pay := func(members string) string { return `{` + shop + `,` + members + `}` }
	const rest = `"currency":"BRL","method":{"type":"book"},"reference":"r"`
	const whole = `"amount":5,` + rest
	transfer := func(to, members string) string {
		return pay(`"to_account_id":"` + to + `","amount":5,"currency":"BRL","reference":"r"` + members)
	}
	account := func(from, to string) string {
		return strings.Replace(`{"external_id":"e","customer_id":"c","kind":"person","currencies":["BRL"],"kyc_level":1,"overdraft_limit":5}`, from, to, 1)
	}
	long := strings.Repeat("x", 141)
	deep := strings.Repeat(`{"a":`, 8) + "1" + strings.Repeat("}", 8)
	pi := "pi_" + strings.Repeat("a", 40)
	method := func(members string) string {
		return `"amount":5,"currency":"BRL","reference":"r","method":{"type":` + members + `}`
	}
	const token, party = `,"instrument":"tok_1"`, `,"counterparty":{"account":"1"}`
	own := "/payins/" + string(d.payInID("k"))
	capture, void, increment := own+"/capture", own+"/void", own+"/increment"
	for _, c := range []struct {
		name, path, body string
		id               http.ErrorID
		pointer, code    string
	}{
		{"empty", "/payins", ``, http.ErrorMalformedJSON, "", "malformed"},
		{"white space", "/payins", " \n", http.ErrorMalformedJSON, "", "malformed"},
		{"array", "/payins", `[]`, http.ErrorInvalidRequest, "", "wrong_type"},
		{"null", "/payins", `null`, http.ErrorInvalidRequest, "", "wrong_type"},
		{"unclosed", "/payins", `{"amount":1`, http.ErrorMalformedJSON, "", "malformed"},
		{"trailing data", "/payins", pay(whole) + `{}`, http.ErrorMalformedJSON, "", "malformed"},
		{"trailing word", "/payins", pay(whole) + `x`, http.ErrorMalformedJSON, "", "malformed"},
		{"duplicate name", "/payins", pay(whole + `,"amount":6`), http.ErrorMalformedJSON, "/amount", "malformed"},
		{"duplicate name, escaped", "/payins", pay(whole + `,"\u0061mount":6`), http.ErrorMalformedJSON, "/amount", "malformed"},
		{"duplicate name inside", "/payins", pay(whole + `,"metadata":{"a":1,"a":2}`), http.ErrorMalformedJSON, "/metadata/a", "malformed"},
		{"invalid UTF-8", "/payins", pay(`"reference":"` + "\xff" + `"`), http.ErrorMalformedJSON, "/reference", "malformed"},
		{"overlong UTF-8", "/payins", pay(`"reference":"` + "\xc0\xaf" + `"`), http.ErrorMalformedJSON, "/reference", "malformed"},
		{"surrogate in UTF-8", "/payins", pay(`"reference":"` + "\xed\xa0\x80" + `"`), http.ErrorMalformedJSON, "/reference", "malformed"},
		{"lone surrogate", "/payins", pay(`"reference":"\ud800"`), http.ErrorMalformedJSON, "/reference", "malformed"},
		{"lone low surrogate", "/payins", pay(`"reference":"\udc00x"`), http.ErrorMalformedJSON, "/reference", "malformed"},
		{"raw control character", "/payins", pay("\"reference\":\"a\x01b\""), http.ErrorMalformedJSON, "/reference", "malformed"},
		{"byte order mark", "/payins", "\xef\xbb\xbf" + pay(whole), http.ErrorMalformedJSON, "", "malformed"},
		{"endless depth", "/payins", pay(`"metadata":` + strings.Repeat(`[`, 11_000)), http.ErrorMalformedJSON, "/metadata" + strings.Repeat("/0", 95), "malformed"},
		{"endless name", "/payins", pay(`"` + strings.Repeat("x", 9000) + `":1`), http.ErrorInvalidRequest, "", "unknown_field"},

		{"unknown field", "/payins", pay(whole + `,"ammount":5`), http.ErrorInvalidRequest, "/ammount", "unknown_field"},
		{"name in other case", "/payins", pay(`"Amount":5,` + rest), http.ErrorInvalidRequest, "/Amount", "unknown_field"},
		{"name with a slash", "/payins", pay(whole + `,"a/b~":5`), http.ErrorInvalidRequest, "/a~1b~0", "unknown_field"},
		{"kind in a single write", "/payins", pay(whole + `,"kind":"payin"`), http.ErrorInvalidRequest, "/kind", "unknown_field"},
		{"key in a single write", "/payins", pay(whole + `,"idempotency_key":"x"`), http.ErrorInvalidRequest, "/idempotency_key", "unknown_field"},
		{"field of another kind", "/payins", pay(whole + `,"to_account_id":"` + string(d.buyer) + `"`), http.ErrorInvalidRequest, "/to_account_id", "unknown_field"},
		{"missing account", "/payins", `{` + whole + `}`, http.ErrorInvalidRequest, "/account_id", "required"},
		{"missing amount", "/payins", pay(rest), http.ErrorInvalidRequest, "/amount", "required"},
		{"missing currency", "/payins", pay(`"amount":5,"method":{"type":"book"},"reference":"r"`), http.ErrorInvalidRequest, "/currency", "required"},
		{"missing method", "/payins", pay(`"amount":5,"currency":"BRL","reference":"r"`), http.ErrorInvalidRequest, "/method", "required"},
		{"missing reference", "/payins", pay(`"amount":5,"currency":"BRL","method":{"type":"book"}`), http.ErrorInvalidRequest, "/reference", "required"},
		{"missing method type", "/payouts", pay(`"amount":5,"currency":"BRL","method":{},"reference":"r"`), http.ErrorInvalidRequest, "/method/type", "required"},

		{"amount as string", "/payins", pay(`"amount":"5",` + rest), http.ErrorInvalidRequest, "/amount", "not_an_integer"},
		{"amount as float", "/payins", pay(`"amount":5.0,` + rest), http.ErrorInvalidRequest, "/amount", "not_an_integer"},
		{"amount with exponent", "/payins", pay(`"amount":5e2,` + rest), http.ErrorInvalidRequest, "/amount", "not_an_integer"},
		{"amount with a huge exponent", "/payins", pay(`"amount":1e1000000000,` + rest), http.ErrorInvalidRequest, "/amount", "not_an_integer"},
		{"amount null", "/payins", pay(`"amount":null,` + rest), http.ErrorInvalidRequest, "/amount", "not_an_integer"},
		{"amount true", "/payins", pay(`"amount":true,` + rest), http.ErrorInvalidRequest, "/amount", "not_an_integer"},
		{"amount object", "/payins", pay(`"amount":{"a":[1]},` + rest), http.ErrorInvalidRequest, "/amount", "not_an_integer"},
		{"amount minus zero", "/payins", pay(`"amount":-0,` + rest), http.ErrorInvalidRequest, "/amount", "not_an_integer"},
		{"amount zero", "/payins", pay(`"amount":0,` + rest), http.ErrorInvalidRequest, "/amount", "out_of_range"},
		{"amount negative", "/payins", pay(`"amount":-5,` + rest), http.ErrorInvalidRequest, "/amount", "out_of_range"},
		{"amount over int64", "/payins", pay(`"amount":9223372036854775808,` + rest), http.ErrorInvalidRequest, "/amount", "out_of_range"},
		{"amount over everything", "/payins", pay(`"amount":` + strings.Repeat("9", 400) + `,` + rest), http.ErrorInvalidRequest, "/amount", "out_of_range"},
		{"amount with a leading zero", "/payins", pay(`"amount":05,` + rest), http.ErrorMalformedJSON, "", "malformed"},
		{"amount with a plus", "/payins", pay(`"amount":+5,` + rest), http.ErrorMalformedJSON, "/amount", "malformed"},
		{"amount in hexadecimal", "/payins", pay(`"amount":0x5,` + rest), http.ErrorMalformedJSON, "", "malformed"},
		{"amount NaN", "/payins", pay(`"amount":NaN,` + rest), http.ErrorMalformedJSON, "/amount", "malformed"},
		{"refund of zero", "/refunds", `{"payment_id":"` + pi + `","amount":0}`, http.ErrorInvalidRequest, "/amount", "out_of_range"},

		{"unknown currency", "/payins", pay(`"amount":5,"currency":"XXX","method":{"type":"book"},"reference":"r"`), http.ErrorInvalidRequest, "/currency", "unknown_currency"},
		{"currency in lower case", "/payins", pay(`"amount":5,"currency":"brl","method":{"type":"book"},"reference":"r"`), http.ErrorInvalidRequest, "/currency", "unknown_currency"},
		{"currency as number", "/payins", pay(`"amount":5,"currency":986,"method":{"type":"book"},"reference":"r"`), http.ErrorInvalidRequest, "/currency", "wrong_type"},
		{"unknown target currency", "/payins", pay(whole + `,"target_currency":"EURO"`), http.ErrorInvalidRequest, "/target_currency", "unknown_currency"},
		{"currency not held", "/payouts", pay(`"amount":5,"currency":"EUR","method":{"type":"book"},"reference":"r"`), http.ErrorInvalidRequest, "/currency", "currency_not_held"},
		{"credited currency not held", "/payins", pay(whole + `,"target_currency":"EUR"`), http.ErrorInvalidRequest, "/target_currency", "currency_not_held"},
		{"payer does not hold it", "/transfers", strings.Replace(transfer(string(d.buyer), ""), "BRL", "EUR", 1), http.ErrorInvalidRequest, "/currency", "currency_not_held"},

		{"account id malformed", "/payins", `{"account_id":"acc_1",` + whole + `}`, http.ErrorInvalidRequest, "/account_id", "malformed"},
		{"account id as number", "/payins", `{"account_id":1,` + whole + `}`, http.ErrorInvalidRequest, "/account_id", "wrong_type"},
		{"unknown account", "/payins", `{"account_id":"acc_` + strings.Repeat("a", 20) + `",` + whole + `}`, http.ErrorAccountUnknown, "/account_id", "unknown"},
		{"unknown payee", "/transfers", transfer("acc_"+strings.Repeat("a", 20), ""), http.ErrorAccountUnknown, "/to_account_id", "unknown"},
		{"payee of another tenant", "/transfers", transfer(string(d.foreign), ""), http.ErrorAccountUnknown, "/to_account_id", "unknown"},
		{"to itself", "/transfers", transfer(string(d.shop), ""), http.ErrorInvalidRequest, "/to_account_id", "same_account"},
		{"transfer with a method", "/transfers", transfer(string(d.buyer), `,"method":{"type":"book"}`), http.ErrorInvalidRequest, "/method", "unknown_field"},
		{"refund of a payout", "/refunds", `{"payment_id":"po_` + pi[3:] + `"}`, http.ErrorInvalidRequest, "/payment_id", "malformed"},
		{"refund without a payment", "/refunds", `{"amount":5}`, http.ErrorInvalidRequest, "/payment_id", "required"},
		{"refund under an unknown account", "/refunds", `{"payment_id":"` + pi + `"}`, http.ErrorPaymentUnknown, "/payment_id", "unknown"},

		{"payment by card without an instrument", "/payins", pay(method(`"card"`)), http.ErrorInvalidRequest, "/instrument", "required"},
		{"payment by card with its number", "/payins", pay(method(`"card"`) + `,"instrument":"4111-1111-1111-1111"`), http.ErrorInvalidRequest, "/instrument", "card_number"},
		{"card: capture", "/payins", pay(method(`"card","capture":"later"`) + token), http.ErrorInvalidRequest, "/method/capture", "malformed"},
		{"card: capture as yes or no", "/payins", pay(method(`"card","capture":true`) + token), http.ErrorInvalidRequest, "/method/capture", "wrong_type"},
		{"card: brand in capitals", "/payins", pay(method(`"card","brand":"VISA"`) + token), http.ErrorInvalidRequest, "/method/brand", "malformed"},
		{"card: brand like a number", "/payins", pay(method(`"card","brand":"4111111111111111"`) + token), http.ErrorInvalidRequest, "/method/brand", "malformed"},
		{"card: brand empty", "/payins", pay(method(`"card","brand":""`) + token), http.ErrorInvalidRequest, "/method/brand", "malformed"},
		{"card: brand too long", "/payins", pay(method(`"card","brand":"`+long[:33]+`"`) + token), http.ErrorInvalidRequest, "/method/brand", "malformed"},
		{"card: brand null", "/payins", pay(method(`"card","brand":null`) + token), http.ErrorInvalidRequest, "/method/brand", "wrong_type"},
		{"card: no installment", "/payins", pay(method(`"card","installments":0`) + token), http.ErrorInvalidRequest, "/method/installments", "out_of_range"},
		{"card: a hundred installments", "/payins", pay(method(`"card","installments":100`) + token), http.ErrorInvalidRequest, "/method/installments", "out_of_range"},
		{"card: installments as text", "/payins", pay(method(`"card","installments":"3"`) + token), http.ErrorInvalidRequest, "/method/installments", "not_an_integer"},
		{"card: unknown field", "/payins", pay(method(`"card","number":"4111"`) + token), http.ErrorInvalidRequest, "/method/number", "unknown_field"},
		{"card: field twice", "/payins", pay(method(`"card","brand":"elo","brand":"elo"`) + token), http.ErrorMalformedJSON, "/method/brand", "malformed"},
		{"brand of book", "/payins", pay(method(`"book","brand":"visa"`)), http.ErrorInvalidRequest, "/method/brand", "unknown_field"},
		{"installments of cash", "/payouts", pay(method(`"cash","installments":2`)), http.ErrorInvalidRequest, "/method/installments", "unknown_field"},
		{"capture of bank", "/payouts", pay(method(`"bank","capture":"manual"`) + party), http.ErrorInvalidRequest, "/method/capture", "unknown_field"},
		{"capture before its type", "/payins", pay(`"amount":5,"currency":"BRL","reference":"r","method":{"capture":"manual","type":"cash"}`), http.ErrorInvalidRequest, "/method/capture", "unknown_field"},
		{"members without a type", "/payins", pay(`"amount":5,"currency":"BRL","reference":"r","method":{"capture":"manual"}`), http.ErrorInvalidRequest, "/method/type", "required"},
		{"payout by card", "/payouts", pay(method(`"card"`) + token), http.ErrorMethodUnavailable, "/method/type", "method_unavailable"},
		{"pay-in by bank", "/payins", pay(method(`"bank"`) + party), http.ErrorMethodUnavailable, "/method/type", "method_unavailable"},
		{"payout by bank to nobody", "/payouts", pay(method(`"bank"`)), http.ErrorInvalidRequest, "/counterparty/account", "required"},
		{"payout by bank to a name", "/payouts", pay(method(`"bank"`) + `,"counterparty":{"name":"Ann"}`), http.ErrorInvalidRequest, "/counterparty/account", "required"},
		{"payout by bank to a hyphen", "/payouts", pay(method(`"bank"`) + `,"counterparty":{"account":" - "}`), http.ErrorInvalidRequest, "/counterparty/account", "required"},
		{"payout by bank to a long account", "/payouts", pay(method(`"bank"`) + `,"counterparty":{"account":"` + long + `"}`), http.ErrorInvalidRequest, "/counterparty/account", "too_long"},
		{"pay-in by pix", "/payins", pay(method(`"pix","capture":7,"brand":[]`)), http.ErrorMethodUnavailable, "/method/type", "method_unavailable"},
		{"payout by ted", "/payouts", pay(method(`"ted"`)), http.ErrorMethodUnavailable, "/method/type", "method_unavailable"},
		{"pay-in by boleto", "/payins", pay(method(`"boleto","installments":0`)), http.ErrorMethodUnavailable, "/method/type", "method_unavailable"},
		{"card in capitals", "/payins", pay(method(`"CARD"`) + token), http.ErrorMethodUnavailable, "/method/type", "method_unavailable"},

		{"capture of zero", capture, `{"amount":0}`, http.ErrorInvalidRequest, "/amount", "out_of_range"},
		{"capture of less", capture, `{"amount":-1}`, http.ErrorInvalidRequest, "/amount", "out_of_range"},
		{"capture of a text", capture, `{"amount":"5"}`, http.ErrorInvalidRequest, "/amount", "not_an_integer"},
		{"capture of null", capture, `{"amount":null}`, http.ErrorInvalidRequest, "/amount", "not_an_integer"},
		{"final as number", capture, `{"final":1}`, http.ErrorInvalidRequest, "/final", "wrong_type"},
		{"final as text", capture, `{"final":"true"}`, http.ErrorInvalidRequest, "/final", "wrong_type"},
		{"final null", capture, `{"final":null}`, http.ErrorInvalidRequest, "/final", "wrong_type"},
		{"final twice", capture, `{"final":true,"final":true}`, http.ErrorMalformedJSON, "/final", "malformed"},
		{"capture of another payment", capture, `{"payment_id":"` + pi + `"}`, http.ErrorInvalidRequest, "/payment_id", "unknown_field"},
		{"capture with a currency", capture, `{"currency":"BRL"}`, http.ErrorInvalidRequest, "/currency", "unknown_field"},
		{"capture with a kind", capture, `{"kind":"capture"}`, http.ErrorInvalidRequest, "/kind", "unknown_field"},
		{"capture as array", capture, `[]`, http.ErrorInvalidRequest, "", "wrong_type"},
		{"capture, white space", capture, ` `, http.ErrorMalformedJSON, "", "malformed"},
		{"capture, trailing data", capture, `{}{}`, http.ErrorMalformedJSON, "", "malformed"},
		{"void of a part", void, `{"amount":5}`, http.ErrorInvalidRequest, "/amount", "unknown_field"},
		{"void, final", void, `{"final":true}`, http.ErrorInvalidRequest, "/final", "unknown_field"},
		{"void, null", void, `null`, http.ErrorInvalidRequest, "", "wrong_type"},
		{"increment of nothing", increment, `{}`, http.ErrorInvalidRequest, "/amount", "required"},
		{"increment without a body", increment, ``, http.ErrorInvalidRequest, "/amount", "required"},
		{"increment of zero", increment, `{"amount":0}`, http.ErrorInvalidRequest, "/amount", "out_of_range"},
		{"increment, final", increment, `{"amount":5,"final":true}`, http.ErrorInvalidRequest, "/final", "unknown_field"},
		{"final refund", "/refunds", `{"payment_id":"` + pi + `","final":true}`, http.ErrorInvalidRequest, "/final", "unknown_field"},
		{"final payment", "/payins", pay(whole + `,"final":true`), http.ErrorInvalidRequest, "/final", "unknown_field"},

		{"method without a rail", "/payouts", pay(`"amount":5,"currency":"BRL","method":{"type":"pix","key":{"any":[1]}},"reference":"r"`), http.ErrorMethodUnavailable, "/method/type", "method_unavailable"},
		{"method with more", "/payouts", pay(`"amount":5,"currency":"BRL","method":{"type":"cash","till":1},"reference":"r"`), http.ErrorInvalidRequest, "/method/till", "unknown_field"},
		{"method as text", "/payouts", pay(`"amount":5,"currency":"BRL","method":"cash","reference":"r"`), http.ErrorInvalidRequest, "/method", "wrong_type"},
		{"method type as number", "/payouts", pay(`"amount":5,"currency":"BRL","method":{"type":1},"reference":"r"`), http.ErrorInvalidRequest, "/method/type", "wrong_type"},
		{"reference too long", "/payins", pay(`"amount":5,"currency":"BRL","method":{"type":"book"},"reference":"` + long + `"`), http.ErrorInvalidRequest, "/reference", "too_long"},
		{"control character", "/payins", pay(`"amount":5,"currency":"BRL","method":{"type":"book"},"reference":"a\u0000b"`), http.ErrorInvalidRequest, "/reference", "malformed"},
		{"reason too long", "/refunds", `{"payment_id":"` + pi + `","reason":"` + long + `"}`, http.ErrorInvalidRequest, "/reason", "too_long"},
		{"counterparty as text", "/payins", pay(whole + `,"counterparty":"x"`), http.ErrorInvalidRequest, "/counterparty", "wrong_type"},
		{"counterparty with more", "/payins", pay(whole + `,"counterparty":{"email":"x"}`), http.ErrorInvalidRequest, "/counterparty/email", "unknown_field"},
		{"country", "/payins", pay(whole + `,"counterparty":{"country":"bra"}`), http.ErrorInvalidRequest, "/counterparty/country", "malformed"},
		{"instrument like a card", "/payins", pay(whole + `,"instrument":"4111111111111111"`), http.ErrorInvalidRequest, "/instrument", "card_number"},
		{"instrument with spaces", "/payins", pay(whole + `,"instrument":"a b"`), http.ErrorInvalidRequest, "/instrument", "malformed"},
		{"no such day", "/payins", pay(whole + `,"effective_date":"2026-02-30"`), http.ErrorInvalidRequest, "/effective_date", "malformed"},
		{"day zero", "/payins", pay(whole + `,"effective_date":"1970-01-01"`), http.ErrorInvalidRequest, "/effective_date", "out_of_range"},
		{"day too far", "/payins", pay(whole + `,"effective_date":"2200-01-01"`), http.ErrorInvalidRequest, "/effective_date", "out_of_range"},
		{"metadata as array", "/payins", pay(whole + `,"metadata":[1]`), http.ErrorInvalidRequest, "/metadata", "wrong_type"},
		{"metadata too large", "/payins", pay(whole + `,"metadata":{"a":"` + strings.Repeat("x", 2041) + `"}`), http.ErrorInvalidRequest, "/metadata", "too_long"},
		{"metadata too deep", "/payins", pay(whole + `,"metadata":{"a":` + deep + `}`), http.ErrorInvalidRequest, "/metadata", "too_deep"},

		{"account: name with a space", "/accounts", account(`"e"`, `"e e"`), http.ErrorInvalidRequest, "/external_id", "malformed"},
		{"account: name too long", "/accounts", account(`"c"`, `"`+strings.Repeat("c", 65)+`"`), http.ErrorInvalidRequest, "/customer_id", "malformed"},
		{"account: kind", "/accounts", account(`"person"`, `"robot"`), http.ErrorInvalidRequest, "/kind", "malformed"},
		{"account: no currency", "/accounts", account(`["BRL"]`, `[]`), http.ErrorInvalidRequest, "/currencies", "required"},
		{"account: currency twice", "/accounts", account(`["BRL"]`, `["BRL","USD","BRL"]`), http.ErrorInvalidRequest, "/currencies/2", "duplicate"},
		{"account: unknown currency", "/accounts", account(`["BRL"]`, `["BRL","ZZZ"]`), http.ErrorInvalidRequest, "/currencies/1", "unknown_currency"},
		{"account: currencies as text", "/accounts", account(`["BRL"]`, `"BRL"`), http.ErrorInvalidRequest, "/currencies", "wrong_type"},
		{"account: seventeen currencies", "/accounts", account(`["BRL"]`, `["BRL","USD","EUR","CZK","JPY","GBP","CHF","SEK","NOK","DKK","PLN","HUF","RON","TRY","AUD","NZD","CAD"]`), http.ErrorInvalidRequest, "/currencies", "too_many"},
		{"account: broken list", "/accounts", account(`["BRL"]`, `["BRL"`), http.ErrorMalformedJSON, "/currencies", "malformed"},
		{"account: level", "/accounts", account(`"kyc_level":1`, `"kyc_level":4`), http.ErrorInvalidRequest, "/kyc_level", "out_of_range"},
		{"account: level missing", "/accounts", account(`"kyc_level":1,`, ``), http.ErrorInvalidRequest, "/kyc_level", "required"},
		{"account: overdraft", "/accounts", account(`:5`, `:-5`), http.ErrorInvalidRequest, "/overdraft_limit", "out_of_range"},
		{"account: policy", "/accounts", account(`"kyc_level":1`, `"kyc_level":1,"policy":"none"`), http.ErrorInvalidRequest, "/policy", "unknown_policy"},
		{"account: unknown field", "/accounts", account(`"kyc_level":1`, `"kyc_level":1,"x":1`), http.ErrorInvalidRequest, "/x", "unknown_field"},
		{"account: null", "/accounts", `null`, http.ErrorInvalidRequest, "", "wrong_type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := d.post(c.path, "k", c.body)
			p := r.problem(t)
			if p.Code != c.id || r.status < 400 || r.status > 499 || p.TraceID == "" {
				t.Fatalf("%d %s", r.status, r.body)
			}
			if v := p.Violations[0]; v.Pointer == nil || *v.Pointer != c.pointer || v.Code != c.code || v.Detail == "" {
				t.Errorf("%s", r.body)
			}
		})
	}
	for _, body := range []string{`{}`, `{"kyc_level":4}`, `{"kyc_level":"1"}`, `{"kyc_level":1,"x":1}`, `1`, ``, `{"kyc_level":1}{}`} {
		if r := d.send("PUT", "/customers/c1/kyc-level", body, "Idempotency-Key", "k"); r.status != 422 && r.status != 400 {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	if r := d.post("/payments/"+pi+"/approve", "k", `{"force":true}`); r.problem(t).Code != http.ErrorInvalidRequest {
		t.Errorf("%s", r.body)
	}
	stolen := strings.Replace(account(`"e"`, `"shop-1"`), `"c"`, `"c9"`, 1)
	if p := d.post("/accounts", "k", stolen).problem(t); p.Code != http.ErrorIdempotencyConflict || len(p.Violations) != 1 || *p.Violations[0].Pointer != "/customer_id" {
		t.Errorf("an account that is another customer's: %+v", p)
	}
	if n := len(d.produced()); n != 0 {
		t.Errorf("%d refused requests reached the log", n)
	}
}

// All that is wrong is told at once, and not without end.
func TestViolationsAreCollected(t *testing.T) {
	d := openDoor(t)
	r := d.post("/payins", "k", `{"amount":0,"currency":"X","x":1}`)
	if p := r.problem(t); len(p.Violations) != 6 {
		t.Errorf("%s", r.body)
	}
	var b strings.Builder
	for i := range 500 {
		fmt.Fprintf(&b, `"f%d":1,`, i)
	}
	r = d.post("/payins", "k", `{`+b.String()+`"g":1}`)
	if p := r.problem(t); len(p.Violations) != 20 {
		t.Errorf("%d violations", len(p.Violations))
	}
}

// The amounts and texts at the edge are taken.
func TestEdgesAreTaken(t *testing.T) {
	d := openDoor(t)
	for name, body := range map[string]string{
		"largest amount":   d.payIn("9223372036854775807", ""),
		"smallest amount":  d.payIn("1", ""),
		"escaped names":    strings.Replace(d.payIn("5", ""), `"amount"`, `"\u0061mount"`, 1),
		"pair of halves":   d.payIn("5", `,"metadata":{"a":"\ud83d\ude00"}`),
		"metadata to 2 kB": d.payIn("5", `,"metadata":{"a":"`+strings.Repeat("x", 2040)+`"}`),
		"metadata 8 deep":  d.payIn("5", `,"metadata":`+strings.Repeat(`{"a":`, 8)+"1"+strings.Repeat("}", 8)),
		"brackets in text": d.payIn("5", `,"metadata":{"a":"\"[[[[[[[[[[[[[[[["}`),
		"last day":         d.payIn("5", `,"effective_date":"2199-12-31"`),
		"first day":        d.payIn("5", `,"effective_date":"1970-01-02"`),
		"140 runes":        strings.Replace(d.payIn("5", ""), "order 1", strings.Repeat("ç", 140), 1),
		"empty reference":  strings.Replace(d.payIn("5", ""), "order 1", "", 1),
		"white space":      "\r\n\t " + d.payIn("5", "") + " \n",
	} {
		if r := d.post("/payins", strings.ReplaceAll(name, " ", "-"), body); r.status != 201 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	if r := d.post("/payins", strings.Repeat("k", 255), d.payIn("5", ""), "Content-Type", "Application/JSON; charset=utf-8"); r.status != 201 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestHeadersOfAWrite(t *testing.T) {
	d := openDoor(t)
	for _, c := range []struct {
		name, header, value string
		status              int
		id                  http.ErrorID
	}{
		{"no authorization", "Authorization", "", 401, http.ErrorUnauthorized},
		{"another scheme", "Authorization", "Basic " + token, 401, http.ErrorUnauthorized},
		{"no scheme", "Authorization", token, 401, http.ErrorUnauthorized},
		{"unknown key", "Authorization", "Bearer " + token + "x", 401, http.ErrorUnauthorized},
		{"empty key", "Authorization", "Bearer ", 401, http.ErrorUnauthorized},
		{"scope", "Authorization", "Bearer " + readToken, 403, http.ErrorInsufficientScope},
		{"no key", "Idempotency-Key", "", 400, http.ErrorMissingKey},
		{"long key", "Idempotency-Key", strings.Repeat("k", 256), 400, http.ErrorInvalidKey},
		{"key with a space", "Idempotency-Key", "a b", 400, http.ErrorInvalidKey},
		{"key outside ASCII", "Idempotency-Key", "ç", 400, http.ErrorInvalidKey},
		{"form", "Content-Type", "multipart/form-data; boundary=x", 415, http.ErrorMediaType},
		{"lines", "Content-Type", "application/x-ndjson", 415, http.ErrorMediaType},
		{"gzip", "Content-Encoding", "gzip", 415, http.ErrorMediaType},
	} {
		r := d.post("/payins", "k", d.payIn("5", ""), c.header, c.value)
		if p := r.problem(t); r.status != c.status || p.Code != c.id {
			t.Errorf("%s: %d %s", c.name, r.status, r.body)
		} else if code := map[http.ErrorID]string{http.ErrorMissingKey: "required", http.ErrorInvalidKey: "malformed"}[c.id]; code != "" && p.Violations[0].Code != code {
			t.Errorf("%s: violation %s", c.name, p.Violations[0].Code)
		}
		if c.status == 401 && r.header["Www-Authenticate"] == "" {
			t.Errorf("%s: %v", c.name, r.header)
		}
	}
	if r := d.send("GET", "/accounts/"+string(d.shop), "", "Authorization", ""); r.status != 401 {
		t.Errorf("%d", r.status)
	}
	if r := d.post("/payins", "k", d.payIn("5", ""), "Authorization", "bEARER "+token); r.status != 201 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := d.post("/payins", "curl", d.payIn("5", ""), "Content-Type", "application/x-www-form-urlencoded"); r.status != 201 {
		t.Errorf("JSON as curl -d sends it: %d %s", r.status, r.body)
	}
	if n := len(d.produced()); n != 2 {
		t.Errorf("%d commands", n)
	}
}

func TestAddresses(t *testing.T) {
	d := openDoor(t)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/payins", 405, "POST"},
		{"DELETE", "/accounts/x", 405, "GET"},
		{"POST", "/healthz", 405, "GET"},
		{"GET", "/nothing", 404, ""},
		{"GET", "/accounts/", 404, ""},
		{"GET", "/accounts/a/b/balances", 404, ""},
		{"GET", "/accounts//balances", 404, ""},
		{"GET", "/transactions/../metrics", 200, ""},
		{"GET", "/transactions/pi_x", 404, ""},
		{"GET", "/accounts/acc_x/statement", 404, ""},
		{"GET", "/errors/busy", 200, ""},
		{"GET", "/errors/nope", 404, ""},
		{"POST", "/payments/pi_x/approve", 404, ""},
		{"PUT", "/customers/nobody/kyc-level", 404, ""},
		{"PUT", "/customers/%00/kyc-level", 404, ""},
	} {
		r := d.send(c.method, c.path, "", "Idempotency-Key", "k")
		if r.status != c.status || r.header["Allow"] != c.allow {
			t.Errorf("%s %s: %d %v", c.method, c.path, r.status, r.header)
		}
	}
}

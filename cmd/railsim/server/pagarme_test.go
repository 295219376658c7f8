package server_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func pagarmeOrder(code, card string, amount int, capture bool) string {
	operation := "auth_only"
	if capture {
		operation = "auth_and_capture"
	}
	return fmt.Sprintf(`{"code":%q,"items":[{"amount":%d,"description":"order","quantity":1,"code":"1"}],"customer_id":"cus_1","closed":true,
		"payments":[{"payment_method":"credit_card","credit_card":{"installments":1,"card_id":%q,"operation_type":%q}}]}`, code, amount, card, operation)
}

func TestPagarmeOrder(t *testing.T) {
	h := start(t, config())
	a := h.must(200, "POST", "/pagarme/core/v5/orders", pagarmeOrder("p1", "card_0", 1000, false))
	equal(t, "status", a.text(t, "status"), "pending")
	equal(t, "transaction", a.text(t, "charges.0.last_transaction.status"), "authorized_pending_capture")
	charge := "/pagarme/core/v5/charges/" + a.text(t, "charges.0.id")
	captured := h.must(200, "POST", charge+"/capture", `{"amount":800,"code":"p1"}`)
	equal(t, "captured", captured.text(t, "status"), "paid")
	equal(t, "paid", captured.text(t, "paid_amount"), "800")
	equal(t, "partial", captured.text(t, "last_transaction.status"), "partial_capture")
	h.must(412, "POST", charge+"/capture", "")
	h.must(412, "DELETE", charge, `{"amount":801}`)
	equal(t, "partly cancelled", h.must(200, "DELETE", charge, `{"amount":300}`).text(t, "last_transaction.status"), "partial_void")
	equal(t, "cancelled", h.must(200, "DELETE", charge, "").text(t, "status"), "canceled")
	h.must(412, "DELETE", charge, "")
	got := h.must(200, "GET", charge, "")
	equal(t, "cancelled amount", got.text(t, "canceled_amount"), "800")
	list := h.must(200, "GET", "/pagarme/core/v5/orders?code=p1", "")
	equal(t, "found", list.text(t, "data.0.charges.0.id"), got.text(t, "id"))
	equal(t, "how many", list.text(t, "paging.total"), "1")
	equal(t, "none", h.must(200, "GET", "/pagarme/core/v5/orders?code=p2", "").text(t, "paging.total"), "0")
	equal(t, "net", h.line("p1").NetMinor, 0)
}

func TestPagarmeDecline(t *testing.T) {
	h := start(t, config())
	for digit, code := range map[string]string{"2": "05", "3": "54", "5": "62", "6": "91", "7": "14", "8": "51"} {
		a := h.must(200, "POST", "/pagarme/core/v5/orders", pagarmeOrder("p"+digit, "card_"+digit, 1000, true))
		equal(t, "status of "+digit, a.text(t, "status"), "failed")
		equal(t, "code of "+digit, a.text(t, "charges.0.last_transaction.acquirer_return_code"), code)
		h.must(412, "POST", "/pagarme/core/v5/charges/"+a.text(t, "charges.0.id")+"/capture", "")
	}
	equal(t, "declines", h.summary().Totals[0].Declines, 6)
}

// One key is one order, however often it is sent and however many send it at once.
func TestPagarmeIdempotency(t *testing.T) {
	h := start(t, config())
	body := pagarmeOrder("p1", "card_0", 1000, false)
	answers := make([]answer, 8)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = h.call("POST", "/pagarme/core/v5/orders", body, "Idempotency-Key", "k1") })
	}
	all.Wait()
	for _, a := range answers {
		equal(t, "answer", a, answers[0])
	}
	equal(t, "status", answers[0].Status, 200)
	charge := "/pagarme/core/v5/charges/" + answers[0].text(t, "charges.0.id")
	first := h.must(200, "POST", charge+"/capture", `{"amount":500}`, "Idempotency-Key", "k2")
	equal(t, "capture repeated", h.must(200, "POST", charge+"/capture", `{"amount":500}`, "Idempotency-Key", "k2"), first)
	h.must(409, "POST", charge+"/capture", `{"amount":400}`, "Idempotency-Key", "k2")
	cancel := h.must(200, "DELETE", charge, `{"amount":100}`, "Idempotency-Key", "k3")
	equal(t, "cancel repeated", h.must(200, "DELETE", charge, `{"amount":100}`, "Idempotency-Key", "k3"), cancel)
	l := h.line("p1")
	equal(t, "authorisations", l.Authorizations, 1)
	equal(t, "captured", l.CapturedMinor, 500)
	equal(t, "voided", l.VoidedMinor, 100)
	h.must(409, "POST", "/pagarme/core/v5/orders", pagarmeOrder("p1", "card_0", 1001, false), "Idempotency-Key", "k1")
}

func TestPagarmeRefusals(t *testing.T) {
	h := start(t, config())
	good := pagarmeOrder("p1", "card_0", 1000, true)
	for name, c := range map[string][2]string{
		"no code":         {`"code":"p1"`, `"code":""`},
		"code too long":   {`"p1"`, `"` + strings.Repeat("a", 53) + `"`},
		"no amount":       {`"amount":1000`, `"amount":0`},
		"amount as text":  {`"amount":1000`, `"amount":"1000"`},
		"too much":        {`"quantity":1`, `"quantity":1001`},
		"no customer":     {`"customer_id":"cus_1",`, ``},
		"two payments":    {`"payments":[`, `"payments":[{"payment_method":"credit_card"},`},
		"other sum":       {`"credit_card","credit_card"`, `"credit_card","amount":999,"credit_card"`},
		"boleto":          {`"payment_method":"credit_card"`, `"payment_method":"boleto"`},
		"a card number":   {`"card_id":"card_0"`, `"card":{"number":"4000000000000010"}`},
		"number as id":    {`"card_0"`, `"4000000000000010"`},
		"two cards":       {`"card_id":`, `"card_token":"t","card_id":`},
		"other operation": {`auth_and_capture`, `capture_only`},
		"unknown member":  {`"closed":true`, `"closed":true,"colour":"red"`},
		"dollars":         {`"closed":true`, `"closed":true,"currency":"USD"`},
	} {
		if !strings.Contains(good, c[0]) {
			t.Fatalf("%s is not in %s", c[0], good)
		}
		if a := h.must(422, "POST", "/pagarme/core/v5/orders", strings.Replace(good, c[0], c[1], 1)); a.text(t, "message") == "" {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
	h.must(401, "POST", "/pagarme/core/v5/orders", good, "Authorization", "Basic eDp5")
	h.must(404, "GET", "/pagarme/core/v5/charges/ch_1", "")
	h.must(404, "POST", "/pagarme/core/v5/charges/ch_1/capture", "")
	h.must(404, "DELETE", "/pagarme/core/v5/charges/ch_1", "")
	h.must(422, "GET", "/pagarme/core/v5/orders", "")
	if s := h.summary(); s.Orders != 0 {
		t.Errorf("what was refused is in the books: %+v", s)
	}
}

package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func redeSale(reference, token string, amount int, capture bool) string {
	return fmt.Sprintf(`{"capture":%t,"kind":"credit","reference":%q,"amount":%d,"installments":1,"cardNumber":%q,"expirationMonth":"12","expirationYear":"2040","softDescriptor":"CAUDAL"}`, capture, reference, amount, token)
}

func TestRedeTransaction(t *testing.T) {
	h := start(t, config())
	a := h.must(200, "POST", "/rede/v1/transactions", redeSale("r1", "tok0", 1000, false))
	equal(t, "code", a.text(t, "returnCode"), "00")
	equal(t, "amount", a.text(t, "amount"), "1000")
	tid := a.text(t, "tid")
	equal(t, "status before", h.must(200, "GET", "/rede/v1/transactions/"+tid, "").text(t, "authorization.status"), "Pending")
	equal(t, "capture", h.must(200, "PUT", "/rede/v1/transactions/"+tid, `{"amount":900}`).text(t, "returnCode"), "00")
	equal(t, "capture again", h.must(400, "PUT", "/rede/v1/transactions/"+tid, `{"amount":100}`).text(t, "returnCode"), "172")
	equal(t, "refund of a part", h.must(200, "POST", "/rede/v1/transactions/"+tid+"/refunds", `{"amount":400}`).text(t, "returnCode"), "359")
	equal(t, "refund of too much", h.must(400, "POST", "/rede/v1/transactions/"+tid+"/refunds", `{"amount":501}`).text(t, "returnCode"), "21")
	got := h.must(200, "GET", "/rede/v1/transactions?reference=r1", "")
	equal(t, "status", got.text(t, "authorization.status"), "Approved")
	equal(t, "captured", got.text(t, "capture.amount"), "900")
	equal(t, "refunded", got.text(t, "refunds.0.amount"), "400")
	equal(t, "refund of the rest", h.must(200, "POST", "/rede/v1/transactions/"+tid+"/refunds", `{"amount":500}`).text(t, "returnCode"), "359")
	equal(t, "refund of nothing", h.must(400, "POST", "/rede/v1/transactions/"+tid+"/refunds", `{"amount":1}`).text(t, "returnCode"), "355")
	equal(t, "status after", h.must(200, "GET", "/rede/v1/transactions/"+tid, "").text(t, "authorization.status"), "Canceled")
	l := h.line("r1")
	equal(t, "captured", l.CapturedMinor, 900)
	equal(t, "net", l.NetMinor, 0)
}

func TestRedeRefundOnALaterDay(t *testing.T) {
	c := &clock{at: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
	cfg := config()
	cfg.Now = c.now
	h := start(t, cfg)
	tid := h.must(200, "POST", "/rede/v1/transactions", redeSale("r1", "tok0", 1000, true)).text(t, "tid")
	c.forward(24 * time.Hour)
	equal(t, "code", h.must(200, "POST", "/rede/v1/transactions/"+tid+"/refunds", `{"amount":1000}`).text(t, "returnCode"), "360")
	equal(t, "refunded", h.line("r1").RefundedMinor, 1000)

	// Here the day is that of the capture.
	tid = h.must(200, "POST", "/rede/v1/transactions", redeSale("r2", "tok0", 1000, false)).text(t, "tid")
	c.forward(24 * time.Hour)
	h.must(200, "PUT", "/rede/v1/transactions/"+tid, `{"amount":1000}`)
	equal(t, "on the capture's day", h.must(200, "POST", "/rede/v1/transactions/"+tid+"/refunds", `{"amount":1000}`).text(t, "returnCode"), "359")
}

// A reference is taken once: a repeat is refused and charges nobody, whether the first was approved or not.
func TestRedeReferenceIsUnique(t *testing.T) {
	h := start(t, config())
	h.must(200, "POST", "/rede/v1/transactions", redeSale("r1", "tok0", 1000, true))
	equal(t, "repeat", h.must(400, "POST", "/rede/v1/transactions", redeSale("r1", "tok0", 1000, true)).text(t, "returnCode"), "42")
	equal(t, "declined", h.must(200, "POST", "/rede/v1/transactions", redeSale("r2", "tok2", 1000, true)).text(t, "returnCode"), "101")
	equal(t, "repeat of it", h.must(400, "POST", "/rede/v1/transactions", redeSale("r2", "tok0", 1000, true)).text(t, "returnCode"), "42")
	s := h.summary()
	equal(t, "authorisations", s.Totals[0].Authorizations, 1)
	equal(t, "charged twice", s.ChargedTwice, 0)
}

func TestRedeRefusals(t *testing.T) {
	h := start(t, config())
	good := redeSale("r1", "tok0", 1000, true)
	for name, c := range map[string]struct{ old, new, code string }{
		"17 characters":   {`"r1"`, `"12345678901234567"`, "39"},
		"a dot":           {`"r1"`, `"r.1"`, "40"},
		"no reference":    {`"r1"`, `""`, "41"},
		"no amount":       {`1000`, `0`, "21"},
		"amount as text":  {`1000`, `"1000"`, "1"},
		"no month":        {`"12"`, `""`, "33"},
		"number as token": {`"tok0"`, `"5448280000000007"`, "36"},
		"no token":        {`"tok0"`, `""`, "37"},
		"debit":           {`"credit"`, `"debit"`, "31"},
		"unknown member":  {`"kind"`, `"colour":"red","kind"`, "1"},
	} {
		if !strings.Contains(good, c.old) {
			t.Fatalf("%s is not in %s", c.old, good)
		}
		equal(t, name, h.must(400, "POST", "/rede/v1/transactions", strings.Replace(good, c.old, c.new, 1)).text(t, "returnCode"), c.code)
	}
	h.must(401, "POST", "/rede/v1/transactions", good, "Authorization", "Basic eDp5")
	equal(t, "unknown tid", h.must(404, "GET", "/rede/v1/transactions/1", "").text(t, "returnCode"), "78")
	equal(t, "unknown reference", h.must(404, "GET", "/rede/v1/transactions?reference=r1", "").text(t, "returnCode"), "78")
	equal(t, "capture of nothing", h.must(404, "PUT", "/rede/v1/transactions/1", `{"amount":1}`).text(t, "returnCode"), "78")
	if s := h.summary(); s.Orders != 0 {
		t.Errorf("what was refused is in the books: %+v", s)
	}
	h.must(200, "POST", "/rede/v1/transactions", redeSale("1234567890123456", "tok0", 1, true))
}

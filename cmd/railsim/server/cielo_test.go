package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func cieloSale(reference, token string, amount int, capture bool) string {
	return fmt.Sprintf(`{"MerchantOrderId":%q,"Customer":{"Name":"Comprador"},"Payment":{"Type":"CreditCard","Amount":%d,"Currency":"BRL","Country":"BRA",
		"Installments":1,"Capture":%t,"SoftDescriptor":"CAUDAL","CreditCard":{"CardToken":%q,"Brand":"Visa"}}}`, reference, amount, capture, token)
}

func TestCieloSale(t *testing.T) {
	h := start(t, config())
	sale := h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, false))
	equal(t, "status", sale.text(t, "Payment.Status"), "1")
	equal(t, "code", sale.text(t, "Payment.ReturnCode"), "4")
	id := sale.text(t, "Payment.PaymentId")
	captured := h.must(200, "PUT", "/cielo/1/sales/"+id+"/capture?amount=600", "")
	equal(t, "status of a capture", captured.text(t, "Status"), "2")
	got := h.must(200, "GET", "/cielo/1/sales/"+id, "")
	equal(t, "captured", got.text(t, "Payment.CapturedAmount"), "600")
	equal(t, "amount", got.text(t, "Payment.Amount"), "1000")
	equal(t, "found", h.must(200, "GET", "/cielo/1/sales?merchantOrderId=o1", "").text(t, "Payment.0.PaymentId"), id)

	for _, refused := range []struct{ path, code string }{
		{"/capture?amount=100", "308"}, // once
		{"/void?amount=601", "312"},
		{"/void?amount=-1", "108"},
		{"/void?amount=1.5", "108"},
	} {
		equal(t, refused.path, h.must(400, "PUT", "/cielo/1/sales/"+id+refused.path, "").text(t, "0.Code"), refused.code)
	}
	equal(t, "status of a part voided", h.must(200, "PUT", "/cielo/1/sales/"+id+"/void?amount=250", "").text(t, "Status"), "2")
	equal(t, "status of all voided", h.must(200, "PUT", "/cielo/1/sales/"+id+"/void", "").text(t, "Status"), "10")
	equal(t, "void of nothing", h.must(400, "PUT", "/cielo/1/sales/"+id+"/void", "").text(t, "0.Code"), "309")

	l := h.line("o1")
	equal(t, "authorised", l.AuthorizedMinor, 1000)
	equal(t, "captured", l.CapturedMinor, 600)
	equal(t, "voided", l.VoidedMinor, 600)
	equal(t, "voids", l.Voids, 2)
	equal(t, "net", l.NetMinor, 0)
	equal(t, "charged", h.order("o1").Charged, 0)
}

func TestCieloVoidOfAnAuthorisation(t *testing.T) {
	h := start(t, config())
	id := h.must(201, "POST", "/cielo/1/sales/", cieloSale("o1", "tok0", 1000, false)).text(t, "Payment.PaymentId")
	equal(t, "capture above it", h.must(400, "PUT", "/cielo/1/sales/"+id+"/capture?amount=1001", "").text(t, "0.Code"), "308")
	equal(t, "a part of it", h.must(400, "PUT", "/cielo/1/sales/"+id+"/void?amount=400", "").text(t, "0.Code"), "312")
	equal(t, "all of it", h.must(200, "PUT", "/cielo/1/sales/"+id+"/void?amount=1000", "").text(t, "Status"), "10")
	equal(t, "capture of what is gone", h.must(400, "PUT", "/cielo/1/sales/"+id+"/capture", "").text(t, "0.Code"), "308")
	equal(t, "net", h.line("o1").NetMinor, 0)
}

// A cancel of a capture is a void on the day of the authorisation, later a refund; the day ends at midnight in Brasilia.
func TestCieloRefundOnALaterDay(t *testing.T) {
	c := &clock{at: time.Date(2026, 11, 24, 2, 59, 0, 0, time.UTC)} // 23:59 there
	cfg := config()
	cfg.Now = c.now
	h := start(t, cfg)
	id := h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, true)).text(t, "Payment.PaymentId")
	equal(t, "status on the day", h.must(200, "PUT", "/cielo/1/sales/"+id+"/void?amount=300", "").text(t, "Status"), "2")
	c.forward(2 * time.Minute)
	equal(t, "status on the next", h.must(200, "PUT", "/cielo/1/sales/"+id+"/void?amount=700", "").text(t, "Status"), "11")
	l := h.line("o1")
	equal(t, "voided", l.VoidedMinor, 300)
	equal(t, "refunded", l.RefundedMinor, 700)
	equal(t, "net", l.NetMinor, 0)

	id = h.must(201, "POST", "/cielo/1/sales", cieloSale("o2", "tok0", 1000, false)).text(t, "Payment.PaymentId")
	other := h.must(201, "POST", "/cielo/1/sales", cieloSale("o3", "tok0", 1000, false)).text(t, "Payment.PaymentId")
	c.forward(24 * time.Hour)
	h.must(200, "PUT", "/cielo/1/sales/"+id+"/capture", "")
	equal(t, "captured today, authorised yesterday", h.must(200, "PUT", "/cielo/1/sales/"+id+"/void", "").text(t, "Status"), "11")
	equal(t, "authorised yesterday, never captured", h.must(200, "PUT", "/cielo/1/sales/"+other+"/void", "").text(t, "Status"), "10")
}

func TestCieloSandbox(t *testing.T) {
	h := start(t, config())
	for digit, want := range []string{"1 4", "1 4", "3 05", "3 57", "1 4", "3 78", "3 99", "3 77", "3 70"} {
		a := h.must(201, "POST", "/cielo/1/sales", cieloSale(fmt.Sprint("o", digit), fmt.Sprint("tok", digit), 100, false))
		equal(t, fmt.Sprint("digit ", digit), a.text(t, "Payment.Status")+" "+a.text(t, "Payment.ReturnCode"), want)
	}
	// 9 is decided by the seed: both happen, and each again for the same reference.
	seen := map[string]int{}
	other := start(t, config())
	for i := range 40 {
		body := cieloSale(fmt.Sprint("r", i), "tok9", 100, false)
		first, second := h.must(201, "POST", "/cielo/1/sales", body), other.must(201, "POST", "/cielo/1/sales", body)
		equal(t, "the same seed's answer", first.text(t, "Payment.ReturnCode"), second.text(t, "Payment.ReturnCode"))
		equal(t, "the same seed's id", first.text(t, "Payment.PaymentId"), second.text(t, "Payment.PaymentId"))
		seen[first.text(t, "Payment.Status")]++
	}
	if seen["1"] == 0 || seen["3"] == 0 {
		t.Errorf("statuses of 9: %v", seen)
	}
	s := h.summary()
	equal(t, "declines", s.Totals[0].Declines, 6+seen["3"])
	equal(t, "authorisations", s.Totals[0].Authorizations, 3+seen["1"])
}

func TestCieloRefusals(t *testing.T) {
	h := start(t, config())
	good := cieloSale("o1", "tok0", 100, false)
	change := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s is not in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, c := range map[string]struct{ body, code string }{
		"no order":          {change(`"o1"`, `""`), "122"},
		"order with a dot":  {change(`"o1"`, `"o.1"`), "107"},
		"order too long":    {change(`"o1"`, `"`+strings.Repeat("a", 51)+`"`), "107"},
		"no amount":         {change(`"Amount":100`, `"Amount":0`), "108"},
		"amount below 0":    {change(`"Amount":100`, `"Amount":-100`), "108"},
		"amount as text":    {change(`"Amount":100`, `"Amount":"100"`), "0"},
		"amount with point": {change(`"Amount":100`, `"Amount":1.5`), "0"},
		"unknown member":    {change(`"Installments"`, `"Instalments":1,"Installments"`), "0"},
		"member twice":      {change(`"Installments":1`, `"Installments":1,"Installments":1`), "0"},
		"wrong case":        {change(`"Installments"`, `"installments"`), "0"},
		"debit":             {change(`"CreditCard","Amount"`, `"DebitCard","Amount"`), "133"},
		"dollars":           {change(`"BRL"`, `"USD"`), "110"},
		"no instalments":    {change(`"Installments":1`, `"Installments":0`), "123"},
		"a card number":     {change(`"CardToken"`, `"CardNumber":"4000000000000010","CardToken"`), "0"},
		"number as token":   {change(`"tok0"`, `"4000000000000010"`), "130"},
		"a security code":   {change(`"CardToken"`, `"SecurityCode":"123","CardToken"`), "0"},
		"no card":           {`{"MerchantOrderId":"o1","Payment":{"Type":"CreditCard","Amount":1,"Installments":1}}`, "124"},
		"no payment":        {`{"MerchantOrderId":"o1"}`, "119"},
		"cut":               {good[:len(good)-1], "0"},
		"more behind it":    {good + "{}", "0"},
		"nothing":           {"", "0"},
	} {
		equal(t, name, h.must(400, "POST", "/cielo/1/sales", c.body).text(t, "0.Code"), c.code)
	}
	equal(t, "wrong key", h.must(401, "POST", "/cielo/1/sales", good, "MerchantKey", "x").text(t, "0.Code"), "132")
	equal(t, "wrong merchant", h.must(401, "POST", "/cielo/1/sales", good, "MerchantId", "x").text(t, "0.Code"), "115")
	for _, unknown := range [][2]string{{"GET", ""}, {"PUT", "/capture"}, {"PUT", "/void"}} {
		equal(t, "unknown "+unknown[1], h.must(404, unknown[0], "/cielo/1/sales/nobody"+unknown[1], "").text(t, "0.Code"), "307")
	}
	equal(t, "nothing found", h.must(404, "GET", "/cielo/1/sales?merchantOrderId=o1", "").text(t, "0.Code"), "318")
	if s := h.summary(); s.Orders != 0 {
		t.Errorf("what was refused is in the books: %+v", s)
	}
}

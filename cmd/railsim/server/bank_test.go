package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func transfer(id, number string, amount int) string {
	return fmt.Sprintf(`{"end_to_end_id":%q,"amount":%d,"currency":"BRL","account":{"ispb":"00000000","branch":"0001","number":%q}}`, id, amount, number)
}

func (h *house) transferBecomes(id, status string) {
	h.t.Helper()
	until(h.t, id+" is "+status, func() bool { return h.must(200, "GET", "/bank/transfers/"+id, "").text(h.t, "status") == status })
}

func TestBankTransfer(t *testing.T) {
	h := start(t, config())
	for number, end := range map[string]string{"10": "paid", "3": "returned", "4": "paid", "7": "failed", "8": "returned"} {
		a := h.must(202, "POST", "/bank/transfers", transfer("E"+number, number, 1000))
		equal(t, "status", a.text(t, "status"), "pending")
		h.transferBecomes("E"+number, end)
	}
	equal(t, "refused", h.must(422, "POST", "/bank/transfers", transfer("E5", "5", 1000)).text(t, "code"), "account_invalid")
	paid, failed, returned := h.line("E10"), h.line("E7"), h.line("E8")
	equal(t, "paid", paid.NetMinor, -1000)
	equal(t, "failed", failed.Sent+failed.Paid, 0)
	equal(t, "returned", returned.NetMinor, 0)
	equal(t, "returned first sent", returned.SentMinor, 1000)
	late, unpaid := h.line("E4"), h.line("E3")
	equal(t, "paid after all", late.NetMinor, -1000)
	equal(t, "called failed before", late.Failed, 1)
	equal(t, "stands after all", h.order("E4").Charged, 1)
	equal(t, "came back unpaid", unpaid.NetMinor, 0)
	equal(t, "was not paid", unpaid.Paid, 0)
	equal(t, "what stands", h.order("E10").Charged, 1)
	equal(t, "what was returned does not stand", h.order("E8").Charged, 0)
	equal(t, "what failed does not stand", h.order("E7").Charged, 0)
}

func TestBankKeepsOneForEver(t *testing.T) {
	cfg := config()
	cfg.BankDelay = time.Millisecond
	h := start(t, cfg)
	h.must(202, "POST", "/bank/transfers", transfer("E6", "6", 1000))
	h.must(202, "POST", "/bank/transfers", transfer("E1", "1", 1000))
	h.transferBecomes("E1", "paid")
	equal(t, "the other", h.must(200, "GET", "/bank/transfers/E6", "").text(t, "status"), "pending")
}

func TestBankIsIdempotent(t *testing.T) {
	h := start(t, config())
	h.must(202, "POST", "/bank/transfers", transfer("E1", "1", 1000))
	equal(t, "repeat", h.must(200, "POST", "/bank/transfers", transfer("E1", "1", 1000)).text(t, "id"), "E1")
	h.must(409, "POST", "/bank/transfers", transfer("E1", "1", 1001))
	h.must(409, "POST", "/bank/transfers", transfer("E1", "2", 1000))
	h.transferBecomes("E1", "paid")
	h.must(200, "POST", "/bank/transfers", transfer("E1", "1", 1000))
	l := h.line("E1")
	equal(t, "transfers", l.Transfers, 1)
	equal(t, "sent", l.SentMinor, 1000)
	h.must(202, "POST", "/bank/transfers", `{"order_id":"po_1.send","amount":5,"currency":"BRL","account":{"token":"acct_1"}}`)
	equal(t, "by order", h.must(200, "GET", "/bank/transfers/po_1.send", "").text(t, "order_id"), "po_1.send")
}

// One order under two end-to-end ids is money sent twice.
func TestBankSentTwice(t *testing.T) {
	h := start(t, config())
	for _, id := range []string{"E1", "E2"} {
		h.must(202, "POST", "/bank/transfers", strings.Replace(transfer(id, "1", 1000), `"amount"`, `"order_id":"o1","amount"`, 1))
		h.transferBecomes(id, "paid")
	}
	equal(t, "twice", h.summary().ChargedTwice, 1)
	equal(t, "stand", h.order("o1").Charged, 2)
}

func TestBankRefusals(t *testing.T) {
	h := start(t, config())
	good := transfer("E1", "1", 1000)
	for status, changes := range map[int][][2]string{
		400: {{`1000`, `"1000"`}, {`"amount"`, `"colour":1,"amount"`}, {`1000`, `10.5`}},
		422: {{`"E1"`, `""`}, {`1000`, `0`}, {`1000`, `-1`}, {`"BRL"`, `"REAL"`}, {`"number":"1"`, `"number":""`}},
	} {
		for _, c := range changes {
			if !strings.Contains(good, c[0]) {
				t.Fatalf("%s is not in %s", c[0], good)
			}
			if a := h.must(status, "POST", "/bank/transfers", strings.Replace(good, c[0], c[1], 1)); a.text(t, "code") == "" {
				t.Errorf("%v: %s", c, a.Body)
			}
		}
	}
	h.must(401, "POST", "/bank/transfers", good, "Authorization", "Bearer x")
	h.must(404, "GET", "/bank/transfers/E1", "")
	if s := h.summary(); s.Orders != 0 {
		t.Errorf("what was refused is in the books: %+v", s)
	}
}

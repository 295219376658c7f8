package server_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/books"
	"github.com/caudalpay/caudal/cmd/railsim/wire"
)

// sendAgain is the client that must not be: what was not answered, it sends again.
func sendAgain(h *house, r rail, reference string) {
	for range 5 {
		if a := h.call("POST", r.path, r.body(reference)); a.Status == r.status && json.Valid([]byte(a.Body)) {
			return
		}
	}
}

// askFirst is the client that may: what was not answered, it asks for, and sends again only what is not there.
func askFirst(h *house, reference string) {
	for range 20 {
		if a := h.call("POST", "/cielo/1/sales", cieloSale(reference, "tok0", 1000, true)); a.Status == 201 && json.Valid([]byte(a.Body)) {
			return
		}
		for range 20 {
			a := h.call("GET", "/cielo/1/sales?merchantOrderId="+reference, "")
			if a.Status == 200 && json.Valid([]byte(a.Body)) {
				return
			}
			if a.Status == 404 && json.Valid([]byte(a.Body)) {
				break
			}
		}
	}
}

const lossy = "timeout_before=5%,timeout_after=5%,error_before=5%,error_after=5%,reset_before=5%,reset_after=5%,garbage=5%,timeout_ms=10"

// TestChargedTwice is the attack: a client that sends again charges twice, and the books see it; one that asks first does not.
func TestChargedTwice(t *testing.T) {
	cfg := config()
	cfg.Faults = lossy
	wrong, right := start(t, cfg), start(t, cfg)
	const n = 200
	for i := range n {
		sendAgain(wrong, rails()[0], fmt.Sprint("o", i))
		askFirst(right, fmt.Sprint("o", i))
	}
	bad, good := wrong.summary(), right.summary()
	if bad.ChargedTwice < 10 {
		t.Errorf("the client that sends again charged %d twice", bad.ChargedTwice)
	}
	equal(t, "named", len(bad.Twice), min(bad.ChargedTwice, 20))
	equal(t, "the first named has two", wrong.order(bad.Twice[0]).Charged > 1, true)
	equal(t, "charged twice by one who asks", good.ChargedTwice, 0)
	equal(t, "ever", good.ChargedTwiceEver, 0)
	equal(t, "captured by one who asks", good.Totals[0].CapturedMinor, n*1000)

	// Where a repeat is harmless, sending again charges nobody twice.
	safe := start(t, cfg)
	for i := range 50 {
		for _, r := range rails()[1:] {
			for range 3 {
				safe.call("POST", r.path, r.body(fmt.Sprint("s", r.name, i)), "Idempotency-Key", fmt.Sprint(i))
			}
		}
	}
	equal(t, "charged twice at those who see a repeat", safe.summary().ChargedTwice, 0)
	if fell := safe.summary().Faults; len(fell) != 3 {
		t.Errorf("faults fell at %v only", fell)
	}
}

// Two charges of which one is voided are one; but there were two.
func TestAVoidUndoesACharge(t *testing.T) {
	h := start(t, config())
	h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, true))
	id := h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, true)).text(t, "Payment.PaymentId")
	equal(t, "twice", h.summary().ChargedTwice, 1)
	equal(t, "the order says so", h.order("o1").ChargedTwice, true)
	h.must(200, "PUT", "/cielo/1/sales/"+id+"/void?amount=999", "")
	equal(t, "twice while a centavo stands", h.summary().ChargedTwice, 1)
	h.must(200, "PUT", "/cielo/1/sales/"+id+"/void", "")
	equal(t, "twice", h.summary().ChargedTwice, 0)
	equal(t, "ever", h.summary().ChargedTwiceEver, 1)
	equal(t, "the order says no more", h.order("o1").ChargedTwice, false)
	equal(t, "at one time", h.order("o1").ChargedMost, 2)
	equal(t, "money", h.line("o1").NetMinor, 1000)
}

// A decline is no charge: the order may go to the next card, or to the next acquirer.
func TestADeclineIsNoCharge(t *testing.T) {
	h := start(t, config())
	h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok2", 1000, true))
	h.must(200, "POST", "/rede/v1/transactions", redeSale("o1", "tok0", 1000, true))
	equal(t, "twice", h.summary().ChargedTwice, 0)
	equal(t, "lines", len(h.order("o1").Lines), 2)
}

// One order at two acquirers is charged twice too, by one reference or by one order that the header names.
func TestChargedAtTwoAcquirers(t *testing.T) {
	h := start(t, config())
	h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, true))
	h.must(200, "POST", "/rede/v1/transactions", redeSale("o1", "tok0", 1000, true))
	h.must(201, "POST", "/cielo/1/sales", cieloSale("c2", "tok0", 1000, true), wire.Header, "pi_2.collect")
	h.must(200, "POST", "/pagarme/core/v5/orders", pagarmeOrder("p2", "card_0", 1000, true), wire.Header, "pi_2.collect")
	equal(t, "twice", h.summary().ChargedTwice, 2)
	equal(t, "the second", h.order("pi_2.collect").Charged, 2)
}

// On a later day a cancel is a refund, and a refund does not undo that somebody was charged.
func TestARefundUndoesNoCharge(t *testing.T) {
	c := &clock{at: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
	cfg := config()
	cfg.Now = c.now
	h := start(t, cfg)
	h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, true))
	id := h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, true)).text(t, "Payment.PaymentId")
	c.forward(24 * time.Hour)
	h.must(200, "PUT", "/cielo/1/sales/"+id+"/void", "")
	equal(t, "twice", h.summary().ChargedTwice, 1)
	equal(t, "money", h.line("o1").NetMinor, 1000)
}

// The books stream: all orders, in order, as one JSON document.
func TestBooksStream(t *testing.T) {
	h := start(t, config())
	h.http.Transport = nil
	equal(t, "empty", h.must(200, "GET", "/books", "").Body, "[]\n")
	const n = 1203
	for i := range n {
		h.must(201, "POST", "/cielo/1/sales", cieloSale(fmt.Sprintf("o%05d", i), "tok0", 1+i, true))
	}
	var all []books.Order
	if err := json.Unmarshal([]byte(h.must(200, "GET", "/books", "").Body), &all); err != nil {
		t.Fatal(err)
	}
	equal(t, "orders", len(all), n)
	for i, o := range all {
		equal(t, "order", o.OrderID, fmt.Sprintf("o%05d", i))
		equal(t, "money", o.Lines[0].CapturedMinor, int64(1+i))
	}
	equal(t, "sum", h.summary().Totals[0].NetMinor, n*(n+1)/2)
}

package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// dispute asks for one at the control address.
func dispute(connector, charge, stage string, amount int64) string {
	return fmt.Sprintf(`{"connector":%q,"charge":%q,"stage":%q,"amount":%d,"reason":"10.4"}`, connector, charge, stage, amount)
}

// What a holder's bank says is told in the words of each acquirer, as often as it says something.
func TestDisputesAreTold(t *testing.T) {
	h, e := heard(t, "", nil)
	tid := h.must(200, "POST", "/rede/v1/transactions", redeSale("r1", "tok0", 1000, true)).text(t, "tid")
	sale := h.must(201, "POST", "/cielo/1/sales", cieloSale("c1", "tok0", 12345, true))
	charge := h.must(200, "POST", "/pagarme/core/v5/orders", pagarmeOrder("p1", "card_0", 1000, true)).text(t, "charges.0.id")
	e.takes(h, 3)
	id := h.must(201, "POST", "/disputes", dispute("rede", tid, "pre_dispute", 0)).text(t, "id")
	if again := h.must(201, "POST", "/disputes", dispute("rede", tid, "won", 0)).text(t, "id"); again != id {
		t.Errorf("the case is %s, and then %s", id, again)
	}
	h.must(201, "POST", "/disputes", dispute("cielo", sale.text(t, "Payment.PaymentId"), "pre_arbitration", 12300))
	h.must(201, "POST", "/disputes", dispute("pagarme", charge, "dispute", 0))
	got := e.takes(h, 7)[3:]
	of := func(path string) []told {
		return slices.DeleteFunc(slices.Clone(got), func(m told) bool { return m.path != path })
	}
	rede := of("/in/rede")
	for i, want := range []string{"PRE_DISPUTE", "WON"} {
		body := rede[i].body
		equal(t, "rede's event", strings.Contains(body, "PV.CHARGEBACK"), true)
		equal(t, "rede's dispute", field(t, body, "data.chargeback.stage")+" "+field(t, body, "data.chargeback.id")+" "+field(t, body, "data.id"), want+" cb_"+id+" "+tid)
	}
	cielo := of("/in/cielo")[0].body
	equal(t, "cielo's case", field(t, cielo, "process")+" "+field(t, cielo, "transactionAmount")+" "+field(t, cielo, "transactionDetails.tid"),
		"SEGUNDO_CHARGEBACK 123.00 "+sale.text(t, "Payment.Tid"))
	pagarme := of("/in/pagarme")[0].body
	equal(t, "pagarme's event", field(t, pagarme, "type")+" "+field(t, pagarme, "data.status")+" "+field(t, pagarme, "data.id"), "charge.chargedback chargedback "+charge)
	equal(t, "pagarme when asked", h.must(200, "GET", "/pagarme/core/v5/charges/"+charge, "").text(t, "status"), "chargedback")
	for id, want := range map[string]int64{"r1": 0, "c1": 12300, "p1": 1000} {
		if l := h.order(id).Lines[0]; l.DisputedMinor != want || l.Disputes == 0 {
			t.Errorf("%s in the books: %+v, want %d disputed", id, l, want)
		}
	}
}

// Beside the truth of a dispute its webhooks' faults tell of nobody's charge, of another amount, and of the stage before.
func TestDisputesAreLiedAbout(t *testing.T) {
	h, e := heard(t, "hook_duplicate=100%,hook_lie_unknown=100%,hook_lie_amount=100%,hook_lie_state=100%", nil)
	tid := h.must(200, "POST", "/rede/v1/transactions", redeSale("r1", "tok0", 1000, true)).text(t, "tid")
	before := len(e.takes(h, 5))
	h.must(201, "POST", "/disputes", dispute("rede", tid, "lost", 0))
	seen := map[string]int{}
	for _, m := range e.takes(h, before+5)[before:] {
		whose := "nobody's"
		if field(t, m.body, "data.id") == tid {
			whose = "its"
		}
		amount := "right"
		if field(t, m.body, "data.chargeback.amount") != "1000" {
			amount = "wrong"
		}
		seen[whose+" "+amount+" "+field(t, m.body, "data.chargeback.stage")]++
	}
	for what, n := range map[string]int{"its right LOST": 2, "nobody's right LOST": 1, "its wrong LOST": 1, "its right DISPUTE": 1} {
		if seen[what] != n {
			t.Errorf("%s: %d, want %d of %v", what, seen[what], n, seen)
		}
	}
}

// What cannot be disputed is refused, and says why.
func TestDisputesThatCannotBe(t *testing.T) {
	h, _ := heard(t, "", nil)
	tid := h.must(200, "POST", "/rede/v1/transactions", redeSale("r1", "tok0", 1000, false)).text(t, "tid")
	taken := h.must(200, "POST", "/rede/v1/transactions", redeSale("r2", "tok0", 1000, true)).text(t, "tid")
	for body, want := range map[string]struct {
		status int
		says   string
	}{
		`{}`:                                     {400, "cielo, rede or pagarme"},
		`{"connector":"rede","what":1}`:          {400, "what"},
		dispute("bank", "x", "dispute", 0):       {400, "cielo, rede or pagarme"},
		dispute("rede", taken, "arbitration", 0): {400, "pre_dispute"},
		dispute("rede", taken, "dispute", -1):    {400, "above zero"},
		dispute("cielo", taken, "won", 0):        {422, "no stage"},
		dispute("pagarme", taken, "won", 0):      {422, "no stage"},
		dispute("rede", "x", "dispute", 0):       {404, "no charge"},
		dispute("rede", tid, "dispute", 0):       {409, "nothing"},
		dispute("rede", taken, "dispute", 1001):  {422, "1000 was captured"},
	} {
		if a := h.call("POST", "/disputes", body); a.Status != want.status || !strings.Contains(a.Body, want.says) {
			t.Errorf("%s: %d %s", body, a.Status, a.Body)
		}
	}
}

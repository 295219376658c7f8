package accounts_test

import (
	"math"
	"testing"

	"github.com/caudalpay/caudal/processors/payment"
)

// Invariant: what comes back is never refused. Where the account has grown too far meanwhile, it goes to suspense.
func TestCompensationThatDoesNotFit(t *testing.T) {
	h, c := newHouse(1), caller{now: noon}
	decide := func(key string, cmd payment.Command) entry {
		t.Helper()
		if cmd.Instruction != nil {
			cmd.Pins = payment.Pins{Policy: "free@1"} // no limit and no fee
		}
		e, err := h.decide(key, cmd)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	open := func(name, currency string) {
		e := decide(c.open(name, payment.OpenAccount{Currencies: []string{currency}, KYCLevel: 3, Policy: "free"}))
		decide(e.out[0].Command.Key, e.out[0].Command.Command)
	}
	open("rich", "BRL")
	open("other", "USD")
	payIn := payment.Instruction{AmountMinor: math.MaxInt64, Currency: "BRL", Method: "book"}
	decide(c.instruct(payment.KindPayIn, "rich", "k1", payIn))
	sent := decide(c.instruct(payment.KindTransfer, "rich", "k2", payment.Instruction{
		AmountMinor: 5, Currency: "BRL", Method: "book", ToAccount: accountOf("other"),
	}))
	payIn.AmountMinor = 1
	decide(c.instruct(payment.KindPayIn, "rich", "k3", payIn))
	var back entry
	for next := sent; ; next = back {
		at := -1
		for i := range next.out {
			if next.out[i].Command != nil {
				at = i
			}
		}
		if at < 0 {
			break
		}
		back = decide(next.out[at].Command.Key, next.out[at].Command.Command)
	}
	if d := back.decision; d.Status != payment.StatusFailed || len(d.Journals) != 1 {
		t.Fatalf("%+v", d)
	}
	if got := h.cells[string(accountOf("rich"))].Balances[0].PostedMinor; got != math.MaxInt64-4 {
		t.Errorf("posted %d", got)
	}
	var suspense int64
	for _, p := range back.decision.Journals[0].Postings {
		if p.Account == "sys_suspense" {
			suspense += p.AmountMinor
		}
	}
	if suspense != 5 {
		t.Errorf("%d on suspense, want 5: %+v", suspense, back.decision.Journals)
	}
}

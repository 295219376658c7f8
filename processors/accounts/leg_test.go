package accounts_test

import (
	"fmt"
	"testing"

	"github.com/caudalpay/caudal/processors/payment"
)

// TestTransferRepeatedBetweenTheExpiriesOfItsSides: what remembers a transfer on the payer's side leaves before, or after,
// what remembers its counter-leg. The id is free again then, and used again, and the money must not stay in transit.
func TestTransferRepeatedBetweenTheExpiriesOfItsSides(t *testing.T) {
	h, c := newHouse(3), &caller{now: noon}
	var queue []delivery
	give := func(key string, cmd payment.Command) entry {
		t.Helper()
		e, err := h.decide(key, cmd)
		if err != nil {
			t.Fatal(err)
		}
		for _, out := range e.out {
			if out.Command != nil {
				queue = append(queue, delivery{out.Command.Key, out.Command.Command})
			}
		}
		return e
	}
	// drain delivers all that was emitted but what is held, and returns that.
	drain := func(hold func(delivery) bool) (held []delivery) {
		t.Helper()
		for len(queue) > 0 {
			d := queue[0]
			queue = queue[1:]
			if hold != nil && hold(d) {
				held = append(held, d)
				continue
			}
			give(d.key, d.cmd)
		}
		return held
	}
	for _, name := range []string{"payer", "payee"} {
		give(c.open(name, payment.OpenAccount{Currencies: []string{"BRL"}, KYCLevel: 3, Policy: "standard"}))
		drain(nil)
	}
	payee := payment.AccountIDFrom(tenant, merchant, "payee")
	give(c.instruct(payment.KindPayIn, "payer", "fund", payment.Instruction{AmountMinor: 1_000_00, Currency: "BRL", Method: "cash"}))
	pay := func() entry {
		key, cmd := c.instruct(payment.KindTransfer, "payer", "rent", payment.Instruction{AmountMinor: 100_00, Currency: "BRL", Method: "book", ToAccount: payee})
		return give(key, cmd)
	}
	if e := pay(); e.decision.Outcome != payment.OutcomeApproved {
		t.Fatalf("first: %v %v", e.decision.Outcome, e.decision.Reasons)
	}
	drain(nil)
	// The tick that makes both due; the payee's expiry is on its way for long.
	c.now += 91 * 86_400 * second
	for p := range h.partitions {
		give(fmt.Sprint("p", p), payment.Command{Kind: payment.KindTick, AcceptedAtUS: c.now, Tick: &payment.Tick{Minute: c.now / (60 * second)}})
	}
	late := drain(func(d delivery) bool { return d.key == string(payee) && d.cmd.Kind == payment.KindExpire })
	if len(late) == 0 {
		t.Fatal("no expiry of the counter-leg")
	}
	if e := pay(); e.decision.Outcome != payment.OutcomeApproved {
		t.Fatalf("second: %v %v", e.decision.Outcome, e.decision.Reasons)
	}
	drain(nil)
	for _, d := range late { // comes when the id lives again: it is about the first life
		give(d.key, d.cmd)
	}
	drain(nil)
	all, own := h.totals(string(payee))
	if own["postedBRL"] != 200_00 || all["postedBRL"] != 0 {
		t.Errorf("the payee has %d, all accounts together %d", own["postedBRL"], all["postedBRL"])
	}
	if _, transit := h.totals("sys_transit"); transit["postedBRL"] != 0 {
		t.Errorf("%d are in transit", transit["postedBRL"])
	}
	// A leg that comes twice is still taken once.
	last := entry{}
	for _, e := range h.log {
		if e.cmd.Kind == payment.KindCounterLeg {
			last = e
		}
	}
	if e := give(last.key, last.cmd); e.decision.Outcome != payment.OutcomeApplied || len(e.decision.Journals) > 0 {
		t.Errorf("the leg was taken twice: %v", e.decision.Outcome)
	}
}

type delivery struct {
	key string
	cmd payment.Command
}

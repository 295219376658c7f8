package accounts_test

import (
	"fmt"
	"testing"

	"github.com/caudalpay/caudal/processors/payment"
)

// A deadline passes up to a minute late (docs/domain.md, TICK), and what a review or an authorization holds is free again then. The retention
// of every record stands in the same index: more than a thousand a minute of them must not hold deadlines up.
func TestDeadlinesDoNotWaitBehindRetention(t *testing.T) {
	const busyMinutes, perMinute, minute = 10, 2_000, 60 * second // 33 payments a second
	h, c := newHouse(1), &caller{now: noon - noon%minute}
	decide := func(key string, cmd payment.Command) entry {
		t.Helper()
		e, err := h.decide(key, cmd)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, name := range []string{"busy", "held"} {
		policy := map[string]string{"busy": "free", "held": "standard"}[name]
		e := decide(c.open(name, payment.OpenAccount{Currencies: []string{"BRL"}, KYCLevel: 3, Policy: policy}))
		decide(e.out[0].Command.Key, e.out[0].Command.Command)
	}
	decide(c.instruct(payment.KindPayIn, "held", "fund", payment.Instruction{AmountMinor: 5_000_00, Currency: "BRL", Method: "book"}))
	began := c.now
	for m := range int64(busyMinutes) {
		for n := range int64(perMinute) {
			c.now = began + m*minute + n*minute/perMinute - second
			key, cmd := c.instruct(payment.KindPayIn, "busy", fmt.Sprint("p", m, "-", n), payment.Instruction{AmountMinor: 1, Currency: "BRL", Method: "book"})
			cmd.Pins = payment.Pins{Policy: "free@1"}
			decide(key, cmd)
		}
	}
	// Ninety days on, a payout waits for a verdict until the end of those ten minutes.
	c.now = began + 90*86_400*second + busyMinutes*minute - 3600*second
	held := decide(c.instruct(payment.KindPayOut, "held", "out", payment.Instruction{
		AmountMinor: 1_500_00, Currency: "BRL", Method: "book", Counterparty: payment.Counterparty{Digest: digest("new")},
	}))
	if held.decision.Status != payment.StatusInReview {
		t.Fatalf("%s %v", held.decision.Status, held.decision.Reasons)
	}
	deadline := held.decision.DeadlineUS
	for m := (began + 90*86_400*second) / minute; ; m++ {
		tick := decide("p0", payment.Command{Kind: payment.KindTick, AcceptedAtUS: m * minute, Tick: &payment.Tick{Minute: m}})
		for _, out := range tick.out {
			decide(out.Command.Key, out.Command.Command)
		}
		b := h.cells[string(accountOf("held"))].Balances[0]
		if b.HeldMinor == 0 {
			if late := m*minute - deadline; late > minute {
				t.Errorf("the review's money was free %d s after its deadline", late/second)
			}
			return
		}
		if m*minute-deadline > 60*minute {
			t.Fatalf("%+v is held an hour after the deadline, with %d entries due", b, len(h.due[0]))
		}
	}
}

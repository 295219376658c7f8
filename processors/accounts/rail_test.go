package accounts_test

import (
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// rail is the outside: what it was asked for, what it really did, and what it has still to say, in any order.
type rail struct {
	says    []sent
	did     map[string]int64 // clearing account and currency to what the rail moved: in is negative, as in the books
	ordered map[string]bool
	// disputes is what the card network says of each: written once more here, from what the words mean.
	disputes map[payment.ID]*disputed
}

func newRail() *rail {
	return &rail{did: map[string]int64{}, ordered: map[string]bool{}, disputes: map[payment.ID]*disputed{}}
}

// take executes an order, or does not, and prepares what is said of it: doubts, lies, repeats, and the truth at some time.
func (n *network) take(t *rapid.T, c *caller, o *accounts.Order) {
	if n.outside.ordered[o.OrderID] {
		t.Fatalf("order %s twice", o.OrderID)
	}
	n.outside.ordered[o.OrderID] = true
	if o.AmountMinor <= 0 && o.Kind != accounts.OrderKindVoid {
		t.Fatalf("order over %d", o.AmountMinor)
	}
	closed := o.Kind == accounts.OrderKindCapture && rapid.IntRange(0, 3).Draw(t, "closed") == 0
	say := func(r payment.RailResult, amountMinor int64) {
		key, cmd := c.answer(o.PaymentID, payment.RailAnswer{
			OrderID: o.OrderID, Result: r, AmountMinor: amountMinor, Connector: "c", Reference: "r-" + o.OrderID, Closed: closed,
		})
		n.outside.says = append(n.outside.says, sent{key, cmd})
	}
	for range rapid.IntRange(0, 2).Draw(t, "words") {
		switch rapid.IntRange(0, 3).Draw(t, "word") {
		case 0:
			say(payment.RailUnknown, 0)
		case 1:
			say(payment.RailAccepted, 0)
		case 2:
			say(payment.RailConfirmed, o.AmountMinor+7) // a lie about the amount
		case 3:
			say(payment.RailUnknown, o.AmountMinor)
		}
	}
	done := rapid.IntRange(0, 3).Draw(t, "fate") > 0
	if !done || rapid.IntRange(0, 5).Draw(t, "wrong") == 0 { // the second: refused, and done after all
		say(payment.RailRefused, 0)
	}
	if !done {
		return
	}
	n.outside.does(o, 1)
	if o.Kind == accounts.OrderKindSend && rapid.Bool().Draw(t, "in steps") {
		say(payment.RailSent, 0)
	}
	for range rapid.IntRange(1, 3).Draw(t, "times") {
		say(payment.RailConfirmed, rapid.SampledFrom([]int64{0, o.AmountMinor}).Draw(t, "told"))
	}
	if o.Kind == accounts.OrderKindSend && rapid.IntRange(0, 3).Draw(t, "back") == 0 {
		n.outside.does(o, -1)
		n.outside.heard(n) // it cannot come back before it was sent
		say(payment.RailReturned, 0)
	}
}

// heard puts all that was said so far on the log.
func (r *rail) heard(n *network) {
	for _, s := range r.says {
		n.send(s.key, s.cmd)
	}
	r.says = nil
}

func (r *rail) does(o *accounts.Order, sign int64) {
	clearing := ledger.SysClearing(o.Method) + " posted" + o.Currency
	switch o.Kind {
	case accounts.OrderKindCollect, accounts.OrderKindCapture:
		r.did[clearing] -= sign * o.AmountMinor
	case accounts.OrderKindReturn, accounts.OrderKindSend:
		r.did[clearing] += sign * o.AmountMinor
	default:
	}
}

// speak puts one of the words that are left on the log.
func (n *network) speak(t *rapid.T) {
	if len(n.outside.says) == 0 {
		return
	}
	i := rapid.IntRange(0, len(n.outside.says)-1).Draw(t, "which word")
	s := n.outside.says[i]
	n.outside.says = slices.Delete(n.outside.says, i, i+1)
	n.send(s.key, s.cmd)
}

// checkRails holds what is true when every order was answered.
func (n *network) checkRails(t *rapid.T) {
	for _, method := range []string{"card", "bank"} {
		_, own := n.totals(ledger.SysClearing(method))
		for layer, sum := range own {
			// Invariant: clearing is what the rail did, whatever it said and when.
			if want := n.outside.did[ledger.SysClearing(method)+" "+layer]; sum != want {
				t.Fatalf("%s clearing %s is %d, the rail moved %d", method, layer, sum, want)
			}
		}
	}
	for id, rec := range n.payments {
		if rec.Rail == nil {
			continue
		}
		// Invariant: what was answered is not waited for, and a payment at rest holds nothing.
		if rec.Status == payment.StatusProcessing || rec.Status == payment.StatusUnknown || rec.Status == payment.StatusCreated {
			t.Fatalf("%s is %s, and all is answered", id, rec.Status)
		}
		// Invariant: nothing is left to capture of what its rail has closed.
		if rec.Kind == payment.KindPayIn && rec.Rail.Final && !rec.Status.Final() && rec.Status != payment.StatusPartiallyRefunded {
			t.Fatalf("%s is %s, and its last capture is done", id, rec.Status)
		}
		if rail := rec.Rail; rail.CapturingMinor != 0 || rail.RefundingMinor != 0 || rail.OperationOpen {
			t.Fatalf("%s waits for something: %+v", id, rail)
		}
	}
	n.checkHolds(t)
}

// checkHolds compares the pending layer with the records that hold something in it.
func (n *network) checkHolds(t *rapid.T) {
	held, incoming := map[string]int64{}, map[string]int64{}
	for id, rec := range n.payments {
		account, _, _ := strings.Cut(id, "/")
		switch {
		case rec.Kind == payment.KindDispute:
			held[account[:24]+rec.TargetCurrency] += rec.Rail.HoldMinor
		case rec.Kind == payment.KindPayIn && rec.Rail != nil:
			incoming[account[:24]+rec.TargetCurrency] += rec.Rail.HoldMinor
		case rec.Kind == payment.KindPayIn && rec.Status == payment.StatusInReview && rec.FX == nil:
			incoming[account[:24]+rec.Currency] += rec.AmountMinor - rec.FeeMinor
		case rec.Kind == payment.KindPayIn && rec.Status == payment.StatusInReview:
			incoming[account[:24]+rec.TargetCurrency] += rec.TargetAmountMinor
		case rec.Status == payment.StatusInReview || rec.Status == payment.StatusPending:
			held[account[:24]+rec.Currency] += rec.AmountMinor + rec.FeeMinor
		}
	}
	for key, cell := range n.cells {
		for _, b := range cell.Balances {
			// Invariant: what is held or incoming is what records hold.
			if b.HeldMinor != held[key+b.Currency] || b.IncomingMinor != incoming[key+b.Currency] {
				t.Fatalf("%s: %+v, records hold %d and %d", key, b, held[key+b.Currency], incoming[key+b.Currency])
			}
		}
	}
}

package cards

import (
	"testing"
	"time"

	"github.com/caudalpay/caudal/processors/payment"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// An id may be used again once its payment's record has left, and that is another payment. Connectors have forgotten the first by then; the
// bank has not: the id of a transfer is its name there for ever.
func TestAPayoutUnderAnIDUsedAgainIsPaid(t *testing.T) {
	p := newPayer(t)
	var o *railsv1.Order
	for nth := range 2 {
		h := newHouse(t) // the second remembers nothing of the first
		o = payout(1, "ok|confirmed")
		o.OrderedAtUs = time.Now().Add(time.Duration(nth) * time.Second).UnixMicro()
		_, stop := h.start(paying(h.config(nil), newCounter(p.server.URL)))
		h.order(o)
		h.told(o, payment.RailConfirmed)
		stop()
	}
	if n := p.taken(o.GetOrderId()); n != 2 {
		t.Errorf("two payouts were ordered and told confirmed: the bank has made %d transfers", n)
	}
}

// A charge under an id that was used before, whose call never arrives: who asks by our reference must not find the first.
func TestAChargeUnderAnIDUsedAgainIsNotTheFirst(t *testing.T) {
	b := newBank(t)
	for nth, want := range []payment.RailResult{payment.RailConfirmed, payment.RailRefused} {
		h := newHouse(t)
		o := collect(1, "ok,lost") // the second call is lost
		o.OrderedAtUs = time.Now().Add(time.Duration(nth) * time.Second).UnixMicro()
		_, stop := h.start(h.config(map[string]Acquirer{"bank": newTeller(b.server.URL)}))
		h.order(o)
		if got := final(t, h.answers(o)[o.GetOrderId()]); got.Result != want {
			t.Errorf("charge %d was told %v", nth, got)
		}
		stop()
	}
}

// An attempt that a connector of the version before has begun keeps the references it had: another one would be another charge.
func TestAttemptsBegunBeforeKeepTheirReferences(t *testing.T) {
	for _, undated := range []bool{true, false} {
		a := &attempt{order: order{ID: "pi_1.collect", OrderedAtUS: 7}, undated: undated}
		r, err := a.record(0)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeAttempt(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "pi_1.collect", false: "pi_1.collect@7"}[undated]; a.name() != want || again.name() != want {
			t.Errorf("%s, read as %s", a.name(), again.name())
		}
	}
}

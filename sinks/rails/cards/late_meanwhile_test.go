package cards

import (
	"sync/atomic"
	"testing"

	"github.com/caudalpay/caudal/processors/payment"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// Invariant: what was taken for lost, and comes while the next is under way, leaves neither unknown. Here it comes between the
// look and the call of the next: the acquirer turns that down, or does it and its answer is lost. Either has to end, and the orders behind
// it have to be served.
func TestLateBetweenTheLookAndTheCallEnds(t *testing.T) {
	for name, word := range map[string]string{"turned down": "decline:51", "never arrived": "lost", "done and cut": "cut"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, b := newHouse(t), newBank(t)
			cfg := h.config(map[string]Acquirer{"bank": newNotifier(b.server.URL)})
			var armed atomic.Pointer[func(point, string)]
			cfg.hook = func(p point, id string) {
				if f := armed.Load(); f != nil {
					(*f)(p, id)
				}
			}
			h.start(cfg)
			kind := railsv1.OrderKind_ORDER_KIND_RETURN
			first, ref := h.begun(1, kind)
			one := follow(first, kind, 1, "return", 400, ref)
			h.lose(one)
			two := follow(first, kind, 2, "return", 150, ref)
			two.Instrument = word
			var once atomic.Bool
			f := func(p point, id string) {
				if p == pointAfterIntent && id == two.GetOrderId() && once.CompareAndSwap(false, true) {
					b.come(one, OperationRefund, 400)
				}
			}
			armed.Store(&f)
			h.order(two)
			three := follow(first, kind, 3, "return", 50, ref)
			h.order(three)
			n := captured(first)
			n.ReturnedMinor = b.moved(ref).returnedMinor
			h.notify(partitionOf(first), n)
			all := h.answers(three) // it waits behind the others
			toldLate(t, all[one.GetOrderId()])
			if a := final(t, all[two.GetOrderId()]); (a.Result == payment.RailConfirmed) != (word == "cut") {
				t.Errorf("%+v", a)
			}
		})
	}
}

// An acquirer is away for a while. What was ordered, and again with the same amount, is lost to both, and done once it is back: both orders are
// to be answered, and the one behind them is to be served.
func TestBothComeOnceTheAcquirerIsBack(t *testing.T) {
	for _, kind := range []railsv1.OrderKind{railsv1.OrderKind_ORDER_KIND_RETURN, railsv1.OrderKind_ORDER_KIND_CAPTURE} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			h, b := newHouse(t), newBank(t)
			cfg := h.config(map[string]Acquirer{"bank": several(b.server.URL)})
			_, stop := h.start(cfg)
			op := changes()[kind].op
			first, ref := h.begun(1, kind)
			one := follow(first, kind, 1, "s", 200, ref)
			h.lose(one)
			two := follow(first, kind, 2, "s", 200, ref)
			two.Instrument = "lost"
			h.order(two)
			for len(b.asked) > 0 {
				<-b.asked
			}
			eventually(t, "sent", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.calls[two.GetOrderId()+"/"+op.String()] > 0 })
			b.come(one, op, 200)
			b.come(two, op, 200)
			stop()
			h.start(cfg)
			three := follow(first, kind, 3, "s", 50, ref)
			h.order(three)
			all := h.answers(three) // it waits behind the others
			for _, o := range []*railsv1.Order{one, two} {
				words := all[o.GetOrderId()]
				if a := words[len(words)-1].RailAnswer; a.Result != payment.RailConfirmed {
					t.Errorf("%+v", a)
				}
			}
		})
	}
}

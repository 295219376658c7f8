package cards

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caudalpay/caudal/processors/payment"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// lagging is an acquirer whose questions are answered by a copy that is behind: for a while they tell how things stood before.
type lagging struct {
	*teller

	mu    sync.Mutex
	stale map[string]Standing // by reference, until it is deleted
}

func (c *lagging) Status(ctx context.Context, r Request) (Standing, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, is := c.stale[r.Reference]; is && r.Reference != "" {
		return s, nil
	}
	return c.teller.Status(ctx, r)
}

func (c *lagging) freeze(t *testing.T, reference string) {
	t.Helper()
	s, err := c.teller.Status(t.Context(), Request{Reference: reference})
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale[reference] = s
}

func (c *lagging) thaw(reference string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.stale, reference)
}

// What is asked for waits until the acquirer shows what it has confirmed: else a refund that was lost is taken for done, because the
// one before it, of the same amount, shows late. That holds for the next owner too.
func TestRefundBehindAnotherThatShowsLate(t *testing.T) {
	for _, restart := range []bool{false, true} {
		h, b := newHouse(t), newBank(t)
		c := &lagging{teller: newTeller(b.server.URL), stale: map[string]Standing{}}
		_, stop := h.start(h.config(map[string]Acquirer{"bank": c}))
		sale := collect(1, "ok")
		h.order(sale)
		ref := final(t, h.answers(sale)[sale.GetOrderId()]).Reference
		c.freeze(t, ref)
		one := follow(sale, railsv1.OrderKind_ORDER_KIND_RETURN, 2, "return", 150, ref)
		h.order(one)
		if a := final(t, h.answers(one)[one.GetOrderId()]); a.Result != payment.RailConfirmed {
			t.Fatalf("the first: %+v", a)
		}
		if restart {
			stop()
			h.start(h.config(map[string]Acquirer{"bank": c}))
		}
		two := follow(sale, railsv1.OrderKind_ORDER_KIND_RETURN, 3, "return", 150, ref)
		two.Instrument = "lost"
		h.order(two)
		time.Sleep(300 * time.Millisecond)
		c.thaw(ref)
		if a := final(t, h.answers(two)[two.GetOrderId()]); a.Result != payment.RailRefused || a.Code != "not_found" || b.charged(two.GetOrderId()) != 0 {
			t.Errorf("restarted %t: the second was never done, and is told: %+v", restart, a)
		}
		three := follow(sale, railsv1.OrderKind_ORDER_KIND_RETURN, 4, "return", 150, ref)
		h.order(three)
		if a := final(t, h.answers(three)[three.GetOrderId()]); a.Result != payment.RailConfirmed || b.by[ref].ReturnedMinor != 300 {
			t.Errorf("restarted %t: a third is told %+v, and %d are given back", restart, a, b.by[ref].ReturnedMinor)
		}
	}
}

// What is forgotten counts no more, and nothing counts twice.
func TestMovedFollowsAttempts(t *testing.T) {
	m := newMoved()
	open := &attempt{state: stateUnknown, result: payment.RailUnknown, order: order{Operation: OperationRefund, AmountMinor: 150}}
	done := *open
	done.state, done.result = stateDone, payment.RailConfirmed
	m.change("p", nil, open)
	m.change("p", open, &done)
	m.change("p", &done, done.slim())
	if got := m.of("p"); got != (before{returnedMinor: 150}) {
		t.Errorf("given back: %+v", got)
	}
	m.change("p", &done, nil)
	lost := *open
	lost.state, lost.result, lost.code = stateDone, payment.RailRefused, codeNotFound
	m.change("p", open, &lost)
	m.change("p", &lost, lost.slim())
	if !m.doubted("p") {
		t.Error("what was taken for lost is not doubted")
	}
	m.change("p", &lost, nil)
	if len(m.all) != 0 || len(m.changes) != 0 {
		t.Errorf("kept: %v %v", m.all, m.changes)
	}
}

// An order that was taken for lost, and is done all the same when nobody asks any more, is found by its notification, and answered: what
// the processor has moved is more than it has confirmed, by just that. Where it is another amount, a person has to see it.
func TestDoneAfterItWasTakenForLost(t *testing.T) {
	for _, kind := range []railsv1.OrderKind{railsv1.OrderKind_ORDER_KIND_CAPTURE, railsv1.OrderKind_ORDER_KIND_RETURN} {
		for words, want := range map[string]verdict{"ok": verdictRepeated, "lost": verdictConfirmed, "lost partly": verdictUnordered, "ok silent": verdictRepeated, "lost silent": verdictConfirmed, "lost partly silent": verdictUnordered} {
			word, silent := strings.CutSuffix(words, " silent") // as Cielo is, which says only that something has changed
			word, partly := strings.CutSuffix(word, " partly")
			h, b := newHouse(t), newBank(t)
			r, _ := h.start(h.config(map[string]Acquirer{"bank": newNotifier(b.server.URL)}))
			first := collect(1, "ok")
			step, move := "return", Request{Operation: OperationRefund, AmountMinor: 400}
			if kind == railsv1.OrderKind_ORDER_KIND_CAPTURE {
				first.Kind, first.OrderId = railsv1.OrderKind_ORDER_KIND_AUTHORIZE, first.GetPaymentId()+".authorize"
				step, move.Operation = "capture", OperationCapture
			}
			h.order(first)
			ref := final(t, h.answers(first)[first.GetOrderId()]).Reference
			o := follow(first, kind, 1, step, 400, ref)
			o.Instrument = word
			h.order(o)
			if a := final(t, h.answers(o)[o.GetOrderId()]); (a.Result == payment.RailConfirmed) != (word == "ok") {
				t.Fatalf("%s, %s: %+v", kind, word, a)
			}
			n := captured(first)
			n.Reference = ref
			if partly {
				move.AmountMinor--
			}
			b.mu.Lock()
			if move.Reference, move.OrderID = ref, o.GetOrderId(); word == "lost" {
				b.do(move)
			}
			n.CapturedMinor, n.ReturnedMinor = b.by[ref].CapturedMinor, b.by[ref].ReturnedMinor
			b.mu.Unlock()
			if silent {
				n.State, n.CapturedMinor, n.ReturnedMinor = railsv1.NotifiedState_NOTIFIED_STATE_UNSPECIFIED, 0, 0
			}
			h.notify(partitionOf(first), n)
			eventually(t, "judged", func() bool { return len(judged(t, "bank", r)) > 0 })
			if got := judged(t, "bank", r); got[want] != 1 {
				t.Errorf("%s, %s: %v", kind, words, got)
			}
			if all := h.answers(o)[o.GetOrderId()]; want == verdictConfirmed {
				toldLate(t, all)
			} else if rs := results(all); slices.Contains(rs, payment.RailRefused) && slices.Contains(rs, payment.RailConfirmed) {
				t.Errorf("%s, %s: answered %v", kind, words, rs)
			}
		}
	}
}

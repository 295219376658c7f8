package cards

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caudalpay/caudal/processors/payment"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// changes are the kinds of order that change a transaction, and what they ask for.
func changes() map[railsv1.OrderKind]struct {
	step string
	op   Operation
} {
	return map[railsv1.OrderKind]struct {
		step string
		op   Operation
	}{
		railsv1.OrderKind_ORDER_KIND_CAPTURE: {"capture", OperationCapture},
		railsv1.OrderKind_ORDER_KIND_RETURN:  {"return", OperationRefund},
	}
}

// several is the bank's dialect where it takes several captures.
func several(url string) *notifier {
	c := newNotifier(url)
	c.can.MultipleCaptures = true
	return c
}

// begun is a transaction that an order of a kind can change.
func (h *house) begun(n int, kind railsv1.OrderKind) (first *railsv1.Order, reference string) {
	h.t.Helper()
	first = collect(n, "ok")
	if kind == railsv1.OrderKind_ORDER_KIND_CAPTURE {
		first.Kind, first.OrderId = railsv1.OrderKind_ORDER_KIND_AUTHORIZE, first.GetPaymentId()+".authorize"
	}
	h.order(first)
	return first, final(h.t, h.answers(first)[first.GetOrderId()]).Reference
}

// lose orders what is taken for lost.
func (h *house) lose(o *railsv1.Order) {
	h.t.Helper()
	o.Instrument = "lost"
	h.order(o)
	if a := final(h.t, h.answers(o)[o.GetOrderId()]); a.Result != payment.RailRefused || a.Code != codeNotFound {
		h.t.Fatalf("to be lost: %+v", a)
	}
}

// come lets the bank do what was taken for lost.
func (b *bank) come(o *railsv1.Order, op Operation, amount int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.do(Request{Operation: op, Reference: o.GetReference(), OrderID: o.GetOrderId(), AmountMinor: amount})
}

func (b *bank) moved(reference string) before {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.by[reference]
	return before{capturedMinor: s.CapturedMinor, returnedMinor: s.ReturnedMinor}
}

// toldLate tells an order that was answered REFUSED, and CONFIRMED once it had come.
func toldLate(t *testing.T, all []payment.Command) {
	t.Helper()
	var rs []payment.RailResult
	var last payment.RailAnswer
	for _, c := range all {
		if last = *c.RailAnswer; len(rs) == 0 || rs[len(rs)-1] != last.Result {
			rs = append(rs, last.Result)
		}
	}
	if !slices.Equal(rs, []payment.RailResult{payment.RailUnknown, payment.RailRefused, payment.RailConfirmed}) || last.AmountMinor != 400 || last.Code != "came_late" || last.Reference == "" {
		t.Errorf("the order that came late was answered %v, last %+v", rs, last)
	}
}

// Invariant: what is ordered again because the first was taken for lost is not done twice, where the first has come since. That holds for
// the next owner too, and whoever orders again knowing it is served.
func TestOrderedAgainAfterTheLostOneHasCome(t *testing.T) {
	for kind, change := range changes() {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarted %t", change.step, restart), func(t *testing.T) {
				t.Parallel()
				h, b := newHouse(t), newBank(t)
				cfg := h.config(map[string]Acquirer{"bank": several(b.server.URL)})
				_, stop := h.start(cfg)
				first, ref := h.begun(1, kind)
				one := follow(first, kind, 1, change.step, 400, ref)
				h.lose(one)
				b.come(one, change.op, 400)
				if restart {
					stop()
					h.start(cfg)
				}
				two := follow(first, kind, 2, change.step, 400, ref)
				h.order(two)
				all := h.answers(two)
				if a := final(t, all[two.GetOrderId()]); a.Result != payment.RailRefused || a.Code != "earlier_done" || b.charged(two.GetOrderId()) != 0 || b.moved(ref).figure(change.op) != 400 {
					t.Errorf("%s, restarted %t: ordered again: %+v, and the bank has moved %+v", change.step, restart, a, b.moved(ref))
				}
				toldLate(t, all[one.GetOrderId()])
				three := follow(first, kind, 3, change.step, 150, ref)
				three.LateAtUs = lateAt(all[one.GetOrderId()])
				h.order(three)
				if a := final(t, h.answers(three)[three.GetOrderId()]); a.Result != payment.RailConfirmed || b.moved(ref).figure(change.op) != 550 {
					t.Errorf("%s, restarted %t: ordered knowing it: %+v, and the bank has moved %+v", change.step, restart, a, b.moved(ref))
				}
			})
		}
	}
}

// Invariant: whoever dies between what was found out and the order at hand, that order is not sent.
func TestOrderedAgainAndKilled(t *testing.T) {
	for _, p := range []point{pointAfterOutcome, pointAfterAnswer, pointBeforeCommit} {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			h, b := newHouse(t), newBank(t)
			cfg := h.config(map[string]Acquirer{"bank": newTeller(b.server.URL)})
			_, stop := h.start(cfg)
			first, ref := h.begun(1, railsv1.OrderKind_ORDER_KIND_RETURN)
			one := follow(first, railsv1.OrderKind_ORDER_KIND_RETURN, 1, "return", 400, ref)
			h.lose(one)
			stop()
			b.come(one, OperationRefund, 400)
			two := follow(first, railsv1.OrderKind_ORDER_KIND_RETURN, 2, "return", 400, ref)
			h.order(two)
			if err := spawn(t, h, b, p).Wait(); err == nil {
				t.Fatal("the child was to be killed")
			}
			cfg.Instance = "child"
			h.start(cfg)
			all := h.answers(two)
			if a := final(t, all[two.GetOrderId()]); a.Result != payment.RailRefused || a.Code != "earlier_done" || b.charged(two.GetOrderId()) != 0 {
				t.Errorf("%+v, and the bank has moved %+v", a, b.moved(ref))
			}
			toldLate(t, all[one.GetOrderId()])
		})
	}
}

// Invariant: what was ordered before its account knew that the lost one had come is not sent either, also where a notification has told
// it first, and whoever orders knowing it is served: whatever the clock of the door says that took the order.
func TestOrderedAgainBeforeTheNotification(t *testing.T) {
	for _, ahead := range []time.Duration{0, time.Hour, -time.Hour} {
		t.Run(fmt.Sprintf("by a clock %s ahead", ahead), func(t *testing.T) {
			t.Parallel()
			h, b := newHouse(t), newBank(t)
			r, _ := h.start(h.config(map[string]Acquirer{"bank": newNotifier(b.server.URL)}))
			kind := railsv1.OrderKind_ORDER_KIND_RETURN
			first, ref := h.begun(1, kind)
			one := follow(first, kind, 1, "return", 400, ref)
			h.lose(one)
			b.come(one, OperationRefund, 400)
			n := captured(first)
			n.ReturnedMinor = 400
			h.notify(partitionOf(first), n)
			eventually(t, "judged", func() bool { return len(judged(t, "bank", r)) > 0 })
			if got := judged(t, "bank", r); got[verdictConfirmed] != 1 {
				t.Errorf("judged %v", got)
			}
			two := follow(first, kind, 2, "return", 400, ref)
			two.OrderedAtUs = time.Now().Add(ahead).UnixMicro()
			h.order(two)
			all := h.answers(two)
			if a := final(t, all[two.GetOrderId()]); a.Result != payment.RailRefused || a.Code != "earlier_done" || b.charged(two.GetOrderId()) != 0 {
				t.Errorf("%+v, and the bank has moved %+v", a, b.moved(ref))
			}
			toldLate(t, all[one.GetOrderId()])
			three := follow(first, kind, 3, "return", 150, ref)
			three.OrderedAtUs, three.LateAtUs = two.GetOrderedAtUs(), lateAt(all[one.GetOrderId()])
			h.order(three)
			if a := final(t, h.answers(three)[three.GetOrderId()]); a.Result != payment.RailConfirmed || b.moved(ref).returnedMinor != 550 {
				t.Errorf("ordered knowing it: %+v, and the bank has moved %+v", a, b.moved(ref))
			}
		})
	}
}

// lateAt is when an order was said to have come late: what its account tells with each order from then on.
func lateAt(told []payment.Command) int64 { return told[len(told)-1].RailAnswer.ReportedAtUS }

// Invariant: what nobody can explain is not added to. A person sees it, and nothing is called done for it.
func TestOrderedAgainBehindWhatNobodyExplains(t *testing.T) {
	for kind, change := range changes() {
		t.Run(change.step, func(t *testing.T) {
			t.Parallel()
			h, b := newHouse(t), newBank(t)
			cfg := h.config(map[string]Acquirer{"bank": several(b.server.URL)})
			cfg.Patience.FollowUp = 300 * time.Millisecond
			h.start(cfg)
			first, ref := h.begun(1, kind)
			one := follow(first, kind, 1, change.step, 400, ref)
			h.lose(one)
			b.come(one, change.op, 150)
			two := follow(first, kind, 2, change.step, 400, ref)
			h.order(two)
			all := h.answers(two)
			if a := final(t, all[two.GetOrderId()]); a.Result != payment.RailRefused || a.Code != "unavailable" || b.charged(two.GetOrderId()) != 0 {
				t.Errorf("%s: %+v, and the bank has moved %+v", change.step, a, b.moved(ref))
			}
			if a := final(t, all[one.GetOrderId()]); a.Result != payment.RailRefused {
				t.Errorf("%s: the lost one: %+v", change.step, a)
			}
		})
	}
}

// What a standing says of orders that were taken for lost: they count from how it was when the first of them was sent.
func TestLateOrders(t *testing.T) {
	made := func(id string, o Operation, amount, stood int64, result payment.RailResult) *attempt {
		a := &attempt{state: stateDone, result: result, order: order{ID: id, Operation: o, AmountMinor: amount, PaymentID: "p"}}
		if result == payment.RailRefused {
			a.code = codeNotFound
		}
		if a.before.returnedMinor = stood; o == OperationCapture {
			a.before = before{capturedMinor: stood}
		}
		return a
	}
	lost := func(id string, amount, stood int64) *attempt {
		return made(id, OperationRefund, amount, stood, payment.RailRefused)
	}
	done := func(id string, amount, stood int64) *attempt {
		return made(id, OperationRefund, amount, stood, payment.RailConfirmed)
	}
	whole := func(returned int64) Standing {
		return Standing{State: StateCaptured, AuthorizedMinor: 1000, CapturedMinor: 1000, ReturnedMinor: returned}
	}
	part := func(returned int64) Standing {
		return Standing{State: StateCaptured, AuthorizedMinor: 1000, CapturedMinor: 700, ReturnedMinor: returned}
	}
	contested := whole(400)
	contested.Disputed = true
	for name, c := range map[string]struct {
		all    []*attempt
		s      Standing
		o      Operation
		want   []string
		unsure bool
	}{
		"nothing was lost":                     {all: []*attempt{done("a", 100, 0)}, s: whole(500)},
		"it has not come":                      {all: []*attempt{lost("a", 400, 0)}, s: whole(0)},
		"it has":                               {all: []*attempt{lost("a", 400, 0)}, s: whole(400), want: []string{"a"}},
		"it has, and was the last":             {all: []*attempt{lost("a", 1000, 0)}, s: Standing{State: StateVoided, ReturnedMinor: 1000}, want: []string{"a"}},
		"it has, behind what is forgotten":     {all: []*attempt{lost("a", 400, 300)}, s: whole(700), want: []string{"a"}},
		"what is forgotten is as much":         {all: []*attempt{lost("a", 400, 400)}, s: whole(400)},
		"another one is as much":               {all: []*attempt{lost("a", 400, 0), done("b", 400, 0)}, s: whole(400)},
		"it has, beside another":               {all: []*attempt{lost("a", 400, 0), done("b", 100, 0)}, s: whole(500), want: []string{"a"}},
		"one of two, the first":                {all: []*attempt{lost("b", 400, 0), lost("a", 400, 0)}, s: whole(400), want: []string{"a"}},
		"both":                                 {all: []*attempt{lost("a", 400, 0), lost("b", 300, 0)}, s: whole(700), want: []string{"a", "b"}},
		"the first came before the second":     {all: []*attempt{done("a", 100, 0), lost("b", 300, 100)}, s: whole(400), want: []string{"b"}},
		"another amount":                       {all: []*attempt{lost("a", 400, 0)}, s: whole(399), unsure: true},
		"more than it":                         {all: []*attempt{lost("a", 400, 0)}, s: whole(800), unsure: true},
		"voided as a whole, and not by it":     {all: []*attempt{lost("a", 400, 0)}, s: Standing{State: StateVoided, ReturnedMinor: 1000}},
		"contested for as much":                {all: []*attempt{lost("a", 400, 0)}, s: contested, unsure: true},
		"contested for another amount":         {all: []*attempt{lost("a", 300, 0)}, s: contested},
		"what a part left":                     {all: []*attempt{lost("a", 400, 0)}, s: part(300)},
		"what a part left was there before it": {all: []*attempt{lost("a", 400, 300)}, s: part(700), want: []string{"a"}},
		"it, and what a part left":             {all: []*attempt{lost("a", 400, 0)}, s: part(700), want: []string{"a"}},
		"it, or what a part left":              {all: []*attempt{lost("a", 300, 0)}, s: part(300), unsure: true},
		"it, or another and what a part left":  {all: []*attempt{lost("a", 400, 0), lost("b", 100, 0)}, s: part(400), unsure: true},
		"a capture": {
			all: []*attempt{made("a", OperationCapture, 300, 400, payment.RailRefused), lost("b", 300, 0)},
			s:   part(0), o: OperationCapture, want: []string{"a"},
		},
		"a capture of another amount": {
			all: []*attempt{made("a", OperationCapture, 200, 400, payment.RailRefused)}, s: part(0), o: OperationCapture, unsure: true,
		},
		"nobody says": {all: []*attempt{lost("a", 400, 0)}, s: Standing{ReturnedMinor: 400}},
	} {
		m := newMoved()
		for _, a := range c.all {
			m.change("p", nil, a)
		}
		if c.o == OperationUnknown {
			c.o = OperationRefund
		}
		come, sure := m.late("p", c.o, c.s)
		var got []string
		for _, a := range come {
			got = append(got, a.order.ID)
		}
		if !slices.Equal(got, c.want) || sure == c.unsure {
			t.Errorf("%s: %v, sure %t; want %v", name, got, sure, c.want)
		}
	}
}

// One that has come counts from then on as what was done last, also where what stands between is forgotten.
func TestLateOrdersOneAfterTheOther(t *testing.T) {
	m, now := newMoved(), time.UnixMicro(1_790_000_000_000_000)
	w := &worker{cfg: Config{Now: func() time.Time { return now }}, log: slog.New(slog.DiscardHandler), moved: m}
	lost := func(id string, amount, stood int64) *attempt {
		return &attempt{
			state: stateDone, result: payment.RailRefused, code: codeNotFound, before: before{returnedMinor: stood},
			order: order{ID: id, Operation: OperationRefund, AmountMinor: amount, PaymentID: "p"},
		}
	}
	done := lost("between", 50, 0)
	done.result, done.code = payment.RailConfirmed, ""
	first, second := lost("first", 400, 0), lost("second", 400, 50)
	for _, a := range []*attempt{first, done, second} {
		m.change("p", nil, a)
	}
	var stamps []int64
	for _, step := range []struct {
		returned int64
		want     string
	}{{50, ""}, {450, "first"}, {450, ""}, {850, "second"}, {850, ""}} {
		s := Standing{State: StateCaptured, AuthorizedMinor: 1000, CapturedMinor: 1000, ReturnedMinor: step.returned}
		come, sure := m.late("p", OperationRefund, s)
		got := ""
		for _, a := range w.overdue(come, OperationRefund, s) {
			got += a.order.ID
			m.change("p", first, a)
			first, stamps = second, append(stamps, micro(a.reportedAt))
		}
		if got != step.want || !sure {
			t.Errorf("given back %d: %q, sure %t; want %q", step.returned, got, sure, step.want)
		}
		if got == "first" {
			m.change("p", done, nil)
		}
	}
	if m.doubted("p") || m.of("p") != (before{returnedMinor: 800}) {
		t.Errorf("in the end: %+v", m.of("p"))
	}
	none := order{ID: "next", Operation: OperationRefund, PaymentID: "p", OrderedAtUS: micro(now.Add(time.Hour))}
	one, both := none, none
	one.LateAtUS, both.LateAtUS = stamps[0], stamps[1]
	if !m.overtook(none) || !m.overtook(one) || m.overtook(both) {
		t.Error("whoever orders before both are known is not served, and whoever does after that is")
	}
	next, later := newMoved(), lost("later", 100, 0)
	later.result, later.code, later.reportedAt = payment.RailConfirmed, codeCameLate, now.Add(time.Hour)
	next.change("p", nil, later)
	for after := later.reportedAt; after.Before(later.reportedAt.Add(3 * time.Microsecond)); {
		at := next.lateNow("p", now.Add(time.Nanosecond))
		if at.UnixMicro() <= after.UnixMicro() {
			t.Fatalf("told at %s behind %s, which an owner before told by a clock an hour ahead", at, after)
		}
		after = at
	}
}

// gated answers no question about one order while it is shut.
type gated struct {
	*notifier

	order string
	gate  sync.RWMutex
	asked chan struct{}
}

func (c *gated) Status(ctx context.Context, r Request) (Standing, error) {
	if r.OrderID == c.order {
		select {
		case c.asked <- struct{}{}:
		default:
		}
		c.gate.RLock()
		defer c.gate.RUnlock()
	}
	return c.notifier.Status(ctx, r)
}

// Nothing of a payment is sent while a notification makes it be asked whether a lost order has come: what is sent then would be taken for it.
func TestNothingIsSentMeanwhile(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	c := &gated{notifier: newNotifier(b.server.URL), asked: make(chan struct{}, 1), order: collect(1, "ok").GetOrderId()}
	r, _ := h.start(h.config(map[string]Acquirer{"bank": c}))
	first, ref := h.begun(1, railsv1.OrderKind_ORDER_KIND_RETURN)
	one := follow(first, railsv1.OrderKind_ORDER_KIND_RETURN, 1, "return", 400, ref)
	h.lose(one)
	c.gate.Lock()
	h.notify(partitionOf(first), captured(first))
	<-c.asked
	two := follow(first, railsv1.OrderKind_ORDER_KIND_RETURN, 2, "return", 400, ref)
	h.order(two)
	time.Sleep(300 * time.Millisecond)
	if n := b.charged(two.GetOrderId()); n != 0 {
		t.Errorf("sent %d times meanwhile", n)
	}
	c.gate.Unlock()
	all := h.answers(two)
	if a := final(t, all[two.GetOrderId()]); a.Result != payment.RailConfirmed || b.moved(ref).returnedMinor != 400 {
		t.Errorf("%+v, and the bank has moved %+v", a, b.moved(ref))
	}
	if rs := results(all[one.GetOrderId()]); slices.Contains(rs, payment.RailConfirmed) {
		t.Errorf("what has not come is answered %v", rs)
	}
	eventually(t, "judged", func() bool { return judged(t, "bank", r)[verdictRepeated] == 1 })
}

// What is to be given up, and was captured late, is told as captured, and is not given up.
func TestGivenUpAfterTheLostCaptureHasCome(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	h.start(h.config(map[string]Acquirer{"bank": newTeller(b.server.URL)}))
	first, ref := h.begun(1, railsv1.OrderKind_ORDER_KIND_CAPTURE)
	one := follow(first, railsv1.OrderKind_ORDER_KIND_CAPTURE, 1, "capture", 400, ref)
	h.lose(one)
	b.come(one, OperationCapture, 400)
	void := follow(first, railsv1.OrderKind_ORDER_KIND_VOID, 2, "void", first.GetAmountMinor(), ref)
	h.order(void)
	all := h.answers(void)
	if a := final(t, all[void.GetOrderId()]); a.Result != payment.RailRefused || a.Code != "earlier_done" || b.moved(ref) != (before{capturedMinor: 400}) {
		t.Errorf("%+v, and the bank has moved %+v", a, b.moved(ref))
	}
	closed := false
	for _, c := range all[one.GetOrderId()] {
		closed = c.RailAnswer.Result == payment.RailConfirmed && c.RailAnswer.Closed
	}
	if !closed {
		t.Error("an acquirer that takes one capture has not said so")
	}
	toldLate(t, all[one.GetOrderId()])
}

// mute cannot be asked about one order.
type mute struct {
	*notifier

	order string
	asked atomic.Int64
}

func (c *mute) Status(ctx context.Context, r Request) (Standing, error) {
	if r.OrderID == c.order {
		c.asked.Add(1)
		return Standing{}, ErrNotSent
	}
	return c.notifier.Status(ctx, r)
}

// A question that is not sent lets go of its payment.
func TestAQuestionThatFailsLetsGo(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	c := &mute{notifier: newNotifier(b.server.URL), order: collect(1, "ok").GetOrderId()}
	h.start(h.config(map[string]Acquirer{"bank": c}))
	kind := railsv1.OrderKind_ORDER_KIND_RETURN
	first, ref := h.begun(1, kind)
	one := follow(first, kind, 1, "return", 400, ref)
	h.lose(one)
	h.notify(partitionOf(first), captured(first))
	eventually(t, "asked", func() bool { return c.asked.Load() > 0 })
	two := follow(first, kind, 2, "return", 100, ref)
	h.order(two)
	if a := final(t, h.answers(two)[two.GetOrderId()]); a.Result != payment.RailConfirmed {
		t.Errorf("%+v", a)
	}
}

// A process that stops in the middle of a question leaves nothing held.
func TestStoppedInTheQuestion(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	c := &gated{notifier: newNotifier(b.server.URL), asked: make(chan struct{}, 1), order: collect(1, "ok").GetOrderId()}
	cfg := h.config(map[string]Acquirer{"bank": c})
	_, stop := h.start(cfg)
	kind := railsv1.OrderKind_ORDER_KIND_RETURN
	first, ref := h.begun(1, kind)
	one := follow(first, kind, 1, "return", 400, ref)
	h.lose(one)
	c.gate.Lock()
	b.come(one, OperationRefund, 400)
	n := captured(first)
	n.ReturnedMinor = 400
	h.notify(partitionOf(first), n)
	<-c.asked
	two := follow(first, kind, 2, "return", 400, ref)
	h.order(two)
	go func() { time.Sleep(200 * time.Millisecond); c.gate.Unlock() }()
	stop()
	h.start(cfg)
	all := h.answers(two)
	if a := final(t, all[two.GetOrderId()]); a.Code != "earlier_done" || b.moved(ref).returnedMinor != 400 {
		t.Errorf("%+v %+v", a, b.moved(ref))
	}
	toldLate(t, all[one.GetOrderId()])
}

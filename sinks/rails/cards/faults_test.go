package cards

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// follow is an order that follows a collect or authorisation.
func follow(first *railsv1.Order, kind railsv1.OrderKind, n int, step string, amount int64, reference string) *railsv1.Order {
	id := payment.IDFrom(payment.KindRefund, payment.AccountID(first.GetAccount()), "m1", fmt.Sprintf("%s-%d", step, n))
	o, _ := proto.Clone(first).(*railsv1.Order)
	o.OrderId, o.Kind, o.AmountMinor, o.Connector, o.Reference = string(id)+"."+step, kind, amount, "bank", reference
	o.Instrument = ""
	return o
}

func results(all []payment.Command) (rs []payment.RailResult) {
	for _, c := range all {
		rs = append(rs, c.RailAnswer.Result)
	}
	return rs
}

// What an acquirer does to one collect, and what the account is told.
func TestFaults(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	h.start(h.config(map[string]Acquirer{"bank": newTeller(b.server.URL)}))
	cases := []struct {
		words   string
		result  payment.RailResult
		code    string
		charges int
		unknown bool // UNKNOWN is answered first
	}{
		{words: "ok", result: payment.RailConfirmed, code: "00", charges: 1},
		{words: "decline:54", result: payment.RailRefused, code: "54"},
		{words: "decline:91", result: payment.RailConfirmed, code: "00", charges: 1}, // passing: sent once more
		{words: "decline:91,decline:91", result: payment.RailRefused, code: "91"},    // and not for ever
		{words: "busy,ok", result: payment.RailConfirmed, code: "00", charges: 1},    // turned away: not sent
		{words: "busy,busy,busy,ok", result: payment.RailConfirmed, code: "00", charges: 1},
		{words: "cut", result: payment.RailConfirmed, charges: 1, unknown: true},
		{words: "hang", result: payment.RailConfirmed, charges: 1, unknown: true},
		{words: "500", result: payment.RailConfirmed, charges: 1, unknown: true},
		{words: "late", result: payment.RailConfirmed, charges: 1, unknown: true},
		{words: "lost", result: payment.RailRefused, code: "not_found", unknown: true},
	}
	var orders []*railsv1.Order
	for i, c := range cases {
		orders = append(orders, collect(100+i, c.words))
	}
	h.order(orders...)
	all := h.answers(orders...)
	for i, c := range cases {
		id := orders[i].GetOrderId()
		a := final(t, all[id])
		if a.Result != c.result || a.Code != c.code || b.charged(id) != c.charges {
			t.Errorf("%s: %+v, charged %d times", c.words, a, b.charged(id))
		}
		if told := slices.Contains(results(all[id]), payment.RailUnknown); told != c.unknown {
			t.Errorf("%s: answered %v", c.words, results(all[id]))
		}
		if c.result == payment.RailConfirmed && a.AmountMinor != orders[i].GetAmountMinor() {
			t.Errorf("%s: told %d of %d", c.words, a.AmountMinor, orders[i].GetAmountMinor())
		}
		b.mu.Lock()
		if own := newTeller(b.server.URL).OwnReference(nameOfOrder(orders[i]), 1); (b.voids[own] > 0) != (c.code == "not_found") {
			t.Errorf("%s: voided %d times by our reference", c.words, b.voids[own])
		}
		b.mu.Unlock()
	}
}

// An acquirer that surely did not charge lets the next one try; one that may have does not.
func TestFailover(t *testing.T) {
	h, first, second := newHouse(t), newBank(t), newBank(t)
	cfg := h.config(map[string]Acquirer{"first": newTeller(first.server.URL), "second": newTeller(second.server.URL), "gone": newTeller("http://127.0.0.1:1")})
	var err error
	if cfg.Routes, err = ParseRoutes([]byte("version: 1\nroutes:\n" +
		"  - {connector: gone, cost_bp: 1}\n  - {connector: second, cost_bp: 30}\n  - {connector: first, cost_bp: 20}\n")); err != nil {
		t.Fatal(err)
	}
	h.start(cfg)
	gone, declined, hard, cut := collect(1, "ok"), collect(2, "decline:91"), collect(3, "decline:41"), collect(4, "cut")
	h.order(gone, declined, hard, cut)
	all := h.answers(gone, declined, hard, cut)
	if a := final(t, all[gone.GetOrderId()]); a.Connector != "first" || a.Result != payment.RailConfirmed {
		t.Errorf("refused connection: %+v", a)
	}
	// The same words are new to the second bank: it declines too, and the first of the round is asked once more.
	if a := final(t, all[declined.GetOrderId()]); a.Result != payment.RailConfirmed || first.charged(declined.GetOrderId())+second.charged(declined.GetOrderId()) != 1 {
		t.Errorf("passing decline: %+v", a)
	}
	if second.calls[declined.GetOrderId()+"/collect"] != 1 {
		t.Errorf("the second was asked %d times", second.calls[declined.GetOrderId()+"/collect"])
	}
	if a := final(t, all[hard.GetOrderId()]); a.Result != payment.RailRefused || a.Code != "41" || second.calls[hard.GetOrderId()+"/collect"] != 0 {
		t.Errorf("irreversible decline: %+v", a)
	}
	if a := final(t, all[cut.GetOrderId()]); a.Connector != "first" || second.calls[cut.GetOrderId()+"/collect"] != 0 {
		t.Errorf("cut connection: %+v", a)
	}
}

// Captures, voids and returns go where the authorisation went; what cannot be done there is refused unsent.
func TestFollowUps(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	h.start(h.config(map[string]Acquirer{"bank": newTeller(b.server.URL)}))
	auth := collect(1, "ok")
	auth.Kind, auth.OrderId = railsv1.OrderKind_ORDER_KIND_AUTHORIZE, auth.GetPaymentId()+".authorize"
	h.order(auth)
	ref := final(t, h.answers(auth)[auth.GetOrderId()]).Reference
	capture := follow(auth, railsv1.OrderKind_ORDER_KIND_CAPTURE, 1, "capture", 400, ref)
	second := follow(auth, railsv1.OrderKind_ORDER_KIND_CAPTURE, 2, "capture", 100, ref)
	void := follow(auth, railsv1.OrderKind_ORDER_KIND_VOID, 3, "void", 501, ref)
	more := follow(auth, railsv1.OrderKind_ORDER_KIND_INCREMENT, 4, "increment", 50, ref)
	stranger := follow(auth, railsv1.OrderKind_ORDER_KIND_CAPTURE, 5, "capture", 100, ref)
	stranger.Connector = "nobody"
	back := follow(auth, railsv1.OrderKind_ORDER_KIND_RETURN, 6, "return", 150, ref)
	back.Instrument = "cut" // done, and nobody knows; the next waits until somebody does
	again := follow(auth, railsv1.OrderKind_ORDER_KIND_RETURN, 7, "return", 150, ref)
	orders := []*railsv1.Order{capture, second, void, more, stranger, back, again}
	h.order(orders...)
	all := h.answers(orders...)
	for _, c := range []struct {
		order  *railsv1.Order
		result payment.RailResult
		code   string
		amount int64
	}{
		{capture, payment.RailConfirmed, "00", 400},
		{second, payment.RailRefused, CodeUnsupported, 0},
		{void, payment.RailRefused, CodeUnsupported, 0},
		{more, payment.RailRefused, CodeUnsupported, 0},
		{stranger, payment.RailRefused, "connector_unknown", 0},
		{back, payment.RailConfirmed, "", 150},
		{again, payment.RailConfirmed, "00", 150},
	} {
		a := final(t, all[c.order.GetOrderId()])
		if a.Result != c.result || a.Code != c.code || a.AmountMinor != c.amount || a.Closed != (c.order == capture) {
			t.Errorf("%s: %+v", c.order.GetOrderId(), a)
		}
	}
	if b.charged(back.GetOrderId()) != 1 || b.charged(again.GetOrderId()) != 1 || b.by[ref].ReturnedMinor != 300 {
		t.Errorf("returned %d", b.by[ref].ReturnedMinor)
	}
}

// A change that is turned down may be so because it is done: what carries calls may repeat a PUT or a DELETE, and the answer is then
// the repeat's. The transaction itself tells.
func TestTurnedDownBecauseDone(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	h.start(h.config(map[string]Acquirer{"bank": newTeller(b.server.URL)}))
	first := collect(1, "ok")
	h.order(first)
	ref := final(t, h.answers(first)[first.GetOrderId()]).Reference
	for i, c := range []struct {
		words   string
		result  payment.RailResult
		code    string
		amount  int64
		unknown bool // UNKNOWN is answered first
	}{
		{words: "twice", result: payment.RailConfirmed, amount: 101},
		{words: "blind", result: payment.RailConfirmed, amount: 102, unknown: true},
		{words: "decline:55", result: payment.RailRefused, code: "55"},
	} {
		back := follow(first, railsv1.OrderKind_ORDER_KIND_RETURN, i, "return", int64(101+i), ref)
		back.Instrument = c.words
		h.order(back)
		told := h.answers(back)[back.GetOrderId()]
		if a := final(t, told); a.Result != c.result || a.Code != c.code || a.AmountMinor != c.amount {
			t.Errorf("%s: %+v", c.words, a)
		}
		if slices.Contains(results(told), payment.RailUnknown) != c.unknown {
			t.Errorf("%s: answered %v", c.words, results(told))
		}
	}
	if b.by[ref].ReturnedMinor != 203 {
		t.Errorf("returned %d", b.by[ref].ReturnedMinor)
	}
}

// A capture says whether another one would be taken, also where its own answer was lost, and every time that it is answered.
func TestCapturesThatClose(t *testing.T) {
	for _, several := range []bool{false, true} {
		h, b := newHouse(t), newBank(t)
		c := newTeller(b.server.URL)
		c.can.MultipleCaptures = several
		h.start(h.config(map[string]Acquirer{"bank": c}))
		auth := collect(1, "ok")
		auth.Kind, auth.OrderId = railsv1.OrderKind_ORDER_KIND_AUTHORIZE, auth.GetPaymentId()+".authorize"
		h.order(auth)
		a := final(t, h.answers(auth)[auth.GetOrderId()])
		if a.Closed {
			t.Errorf("an authorisation is closed: %+v", a)
		}
		lost := follow(auth, railsv1.OrderKind_ORDER_KIND_CAPTURE, 1, "capture", 400, a.Reference)
		lost.Instrument = "cut"
		h.order(lost, lost)
		if a := final(t, h.answers(lost)[lost.GetOrderId()]); a.Result != payment.RailConfirmed || a.Closed == several {
			t.Errorf("several captures %t: %+v", several, a)
		}
	}
}

// An order behind one that nobody knows about waits in the log: its offset is committed, and a restart takes it up.
func TestWaitingOrdersSurviveRestart(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	cfg := h.config(map[string]Acquirer{"bank": newTeller(b.server.URL)})
	cfg.Polls = []time.Duration{3 * time.Second, 6 * time.Second}
	_, stop := h.start(cfg)
	first := collect(1, "ok")
	h.order(first)
	ref := final(t, h.answers(first)[first.GetOrderId()]).Reference
	back := follow(first, railsv1.OrderKind_ORDER_KIND_RETURN, 1, "return", 150, ref)
	back.Instrument = "cut"
	next := follow(first, railsv1.OrderKind_ORDER_KIND_RETURN, 2, "return", 160, ref)
	last := follow(first, railsv1.OrderKind_ORDER_KIND_RETURN, 3, "return", 170, ref)
	h.order(back, next, last)
	h.committed(4)
	stop()
	if n := b.charged(next.GetOrderId()); n != 0 {
		t.Fatalf("the order behind was sent %d times", n)
	}
	h.start(cfg)
	all := h.answers(back, next, last)
	for _, o := range []*railsv1.Order{back, next, last} {
		if a := final(t, all[o.GetOrderId()]); a.Result != payment.RailConfirmed || a.AmountMinor != o.GetAmountMinor() || b.charged(o.GetOrderId()) != 1 {
			t.Errorf("%s: %+v, %d times", o.GetOrderId(), a, b.charged(o.GetOrderId()))
		}
	}
}

// committed waits until the group has committed so many records, all partitions together.
func (h *house) committed(n int64) {
	h.t.Helper()
	admin := kadm.NewClient(h.client)
	eventually(h.t, fmt.Sprintf("%d committed", n), func() bool {
		offsets, err := admin.FetchOffsets(h.t.Context(), DefaultGroup)
		if err != nil {
			return false
		}
		sum := int64(0)
		offsets.Each(func(o kadm.OffsetResponse) {
			if o.Topic == topics.RailsOrders {
				sum += max(0, o.At)
			}
		})
		return sum >= n
	})
}

// The same record twice, at once and much later, is the same answer and one charge.
func TestDuplicates(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	cfg := h.config(map[string]Acquirer{"bank": newTeller(b.server.URL)})
	_, stop := h.start(cfg)
	good, bad, cut := collect(1, "ok"), collect(2, "decline:51"), collect(3, "cut")
	h.order(good, good, bad, cut, cut, bad, good)
	h.answers(good, bad, cut)
	h.order(good, bad, cut)
	h.committed(10)
	stop()
	h.start(cfg)
	h.order(good, bad, cut)
	h.committed(13)
	for _, o := range []*railsv1.Order{good, bad, cut} {
		all := h.answers(o)[o.GetOrderId()]
		final(t, all) // all alike
		want := 1
		if o == bad {
			want = 0
		}
		if b.charged(o.GetOrderId()) != want {
			t.Errorf("%s charged %d times", o.GetOrderId(), b.charged(o.GetOrderId()))
		}
	}
}

// Orders that are too old to be remembered, past their deadline or nobody's are refused unsent.
func TestNeverTried(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	h.start(h.config(map[string]Acquirer{"bank": newTeller(b.server.URL)}))
	old, late, foreign := collect(1, "ok"), collect(2, "ok"), collect(3, "ok")
	old.OrderedAtUs = time.Now().Add(-15 * 24 * time.Hour).UnixMicro()
	late.DeadlineUs = time.Now().Add(-time.Second).UnixMicro()
	foreign.Currency = "USD"
	pix := collect(4, "ok")
	pix.Method = "pix"
	h.order(old, late, pix, foreign)
	all := h.answers(old, late, foreign)
	for o, code := range map[*railsv1.Order]string{old: "too_old", late: "deadline", foreign: CodeUnsupported} {
		if a := final(t, all[o.GetOrderId()]); a.Result != payment.RailRefused || a.Code != code || b.charged(o.GetOrderId()) != 0 {
			t.Errorf("%+v", a)
		}
	}
	h.committed(4)
	if len(all[pix.GetOrderId()]) != 0 || b.charged(pix.GetOrderId()) != 0 {
		t.Error("another rail's order was taken")
	}
}

// Invariant: however partitions move between runners, an order charges once and is answered.
func TestRebalances(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	cfg := h.config(map[string]Acquirer{"bank": newTeller(b.server.URL)})
	words := []string{"ok", "ok", "ok", "decline:51", "cut", "500", "busy,ok", "hang"}
	rng := rand.New(rand.NewPCG(7, 1))
	var orders []*railsv1.Order
	for i := range 120 {
		orders = append(orders, collect(i, words[rng.IntN(len(words))]))
	}
	_, stopFirst := h.start(cfg)
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, o := range orders {
			h.order(o)
			time.Sleep(10 * time.Millisecond)
		}
	})
	stop := stopFirst
	for range 4 { // one comes, then the other goes
		time.Sleep(250 * time.Millisecond)
		_, next := h.start(cfg)
		time.Sleep(250 * time.Millisecond)
		stop()
		stop = next
	}
	wg.Wait()
	all := h.answers(orders...)
	for _, o := range orders {
		a := final(t, all[o.GetOrderId()])
		want := 1
		if a.Result == payment.RailRefused {
			want = 0
		}
		if n := b.charged(o.GetOrderId()); n != want {
			t.Errorf("%s (%s): %+v, charged %d times", o.GetOrderId(), o.GetInstrument(), a, n)
		}
	}
}

// Invariant: however often processes are killed under load, an order charges once and is answered.
func TestKilledUnderLoad(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	words := []string{"ok", "ok", "decline:51", "cut", "500", "busy,ok", "hang"}
	rng := rand.New(rand.NewPCG(11, 1))
	var orders []*railsv1.Order
	for i := range 300 {
		orders = append(orders, collect(i, words[rng.IntN(len(words))]))
	}
	h.order(orders...)
	for kill := range 6 {
		for len(b.asked) > 0 { // what the one before asked
			<-b.asked
		}
		child := spawn(t, h, b, "never")
		for range 1 + rng.IntN(20) { // in the middle of its work
			select {
			case <-b.asked:
			case <-time.After(20 * time.Second):
				t.Fatal("the child asks for nothing")
			}
		}
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
		t.Logf("kill %d", kill)
	}
	cfg := h.config(map[string]Acquirer{"bank": newTeller(b.server.URL)})
	cfg.Instance = "child"
	h.start(cfg)
	all := h.answers(orders...)
	refusals := map[string]int{}
	for _, o := range orders {
		a := final(t, all[o.GetOrderId()])
		want := 1
		if a.Result == payment.RailRefused {
			want = 0
			refusals[a.Code]++
		}
		if n := b.charged(o.GetOrderId()); n != want {
			t.Errorf("%s (%s): %+v, charged %d times", o.GetOrderId(), o.GetInstrument(), a, n)
		}
	}
	t.Logf("refused by code: %v", refusals)
}

// An acquirer that is away holds up its own orders, and not those of another in the same partition.
func TestOneAcquirerAway(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	cfg := h.config(map[string]Acquirer{"bank": newTeller(b.server.URL), "gone": newTeller("http://127.0.0.1:1")})
	cfg.Concurrency = 2
	cfg.Patience.FollowUp = 5 * time.Second
	r, _ := h.start(cfg)
	first := collect(1, "ok")
	var stuck []*railsv1.Order
	for i := range 10 {
		o := follow(collect(1, "ok"), railsv1.OrderKind_ORDER_KIND_RETURN, i, "return", 5, "tid")
		o.Connector, o.PaymentId = "gone", string(payment.IDFrom(payment.KindPayIn, accountOf(1), "m1", fmt.Sprint("other-", i)))
		stuck = append(stuck, o)
	}
	h.order(stuck...)
	began := time.Now()
	h.order(first)
	if a := final(t, h.answers(first)[first.GetOrderId()]); a.Result != payment.RailConfirmed || time.Since(began) > 3*time.Second {
		t.Errorf("%+v after %v", a, time.Since(began))
	}
	s := r.Snapshot()
	if s.Error != "" || len(s.Connectors) != 2 || s.Connectors[0].Name != "bank" || s.Connectors[0].Breaker != "closed" || len(s.Partitions) != partitions {
		t.Errorf("%+v", s)
	}
	all := h.answers(stuck...)
	for _, o := range stuck {
		if a := final(t, all[o.GetOrderId()]); a.Result != payment.RailRefused || a.Code != "unavailable" {
			t.Errorf("%+v", a)
		}
	}
}

// A runner that lost its partition without knowing is fenced: it can neither intend nor answer.
func TestFencedOwner(t *testing.T) {
	h := newHouse(t)
	cfg := h.config(map[string]Acquirer{"bank": newTeller("http://127.0.0.1:1")})
	cfg.Now = time.Now
	m := newMetrics(cfg.Registry)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	old, err := openJournal(ctx, cfg, 0, m)
	if err != nil {
		t.Fatal(err)
	}
	defer old.close()
	a := &attempt{state: stateIntended, order: order{ID: "o1", Account: "a", Method: methodCard}, intendedAt: time.Now()}
	record, err := a.record(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.write(ctx, record); err != nil {
		t.Fatal(err)
	}
	fresh, err := openJournal(ctx, cfg, 0, m)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.close()
	known, err := fresh.restore(ctx, cfg)
	if err != nil || known["o1"] == nil || len(known) != 1 {
		t.Fatalf("restored %v: %v", known, err)
	}
	a.order.ID = "o2"
	if record, err = a.record(0); err != nil {
		t.Fatal(err)
	}
	if err := old.write(ctx, record); err == nil {
		t.Error("the owner before can still intend")
	}
	if known, err := fresh.restore(ctx, cfg); err != nil || len(known) != 1 {
		t.Errorf("restored %v: %v", known, err)
	}
}

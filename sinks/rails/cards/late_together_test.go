package cards

import (
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/processors/payment"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// A clock that was a year ahead once, when one order had come late, is put right. What comes late of another account's payment then is not
// told as of next year: an answer's time is the account's time from then on, and the date of what it books.
func TestAClockAheadOnceDatesNobodyElse(t *testing.T) {
	now := time.UnixMicro(1_790_000_000_000_000)
	m := newMoved()
	w := &worker{cfg: Config{Now: func() time.Time { return now }}, log: slog.New(slog.DiscardHandler), moved: m}
	m.change("p", nil, &attempt{
		state: stateDone, result: payment.RailConfirmed, code: codeCameLate, reportedAt: now.Add(365 * 24 * time.Hour),
		order: order{ID: "p1", Operation: OperationRefund, AmountMinor: 400, PaymentID: "p", Account: "a"},
	})
	lost := &attempt{
		state: stateDone, result: payment.RailRefused, code: codeNotFound,
		order: order{ID: "q1", Operation: OperationRefund, AmountMinor: 400, PaymentID: "q", Account: "b"},
	}
	m.change("q", nil, lost)
	late := w.overdue([]*attempt{lost}, OperationRefund, Standing{State: StateCaptured, AuthorizedMinor: 1000, CapturedMinor: 1000, ReturnedMinor: 400})
	if ahead := late[0].reportedAt.Sub(now); ahead > time.Minute {
		t.Errorf("told %s ahead of the clock, for another payment of another account", ahead)
	}
}

// What was to be given up before its account knew of the late capture is not, also where a notification has told that first.
func TestGivenUpBeforeTheNotification(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	c := several(b.server.URL)
	c.can.PartialVoid = true
	r, _ := h.start(h.config(map[string]Acquirer{"bank": c}))
	first, ref := h.begun(1, railsv1.OrderKind_ORDER_KIND_CAPTURE)
	one := follow(first, railsv1.OrderKind_ORDER_KIND_CAPTURE, 1, "capture", 400, ref)
	h.lose(one)
	b.come(one, OperationCapture, 400)
	n := captured(first)
	n.CapturedMinor = 400
	h.notify(partitionOf(first), n)
	eventually(t, "judged", func() bool { return len(judged(t, "bank", r)) > 0 })
	void := follow(first, railsv1.OrderKind_ORDER_KIND_VOID, 2, "void", first.GetAmountMinor(), ref)
	h.order(void)
	all := h.answers(void)
	if a := final(t, all[void.GetOrderId()]); a.Result != payment.RailRefused || a.Code != codeEarlierDone || b.charged(void.GetOrderId()) != 0 {
		t.Errorf("%+v, sent %d times, and the bank has moved %+v", a, b.charged(void.GetOrderId()), b.moved(ref))
	}
	toldLate(t, all[one.GetOrderId()])
}

// lates are the answers of a code came_late to some orders, in the order of the log: that in which their account takes them in.
func (h *house) lates(n int) (all []payment.Command) {
	h.t.Helper()
	h.listen(20*time.Second, func() bool { return len(all) >= n }, func(_ *kgo.Record, c payment.Command) {
		if c.RailAnswer.Code == codeCameLate {
			all = append(all, c)
		}
	})
	if len(all) != n {
		h.t.Fatalf("%d came late, want %d", len(all), n)
	}
	return all
}

// Two lost refunds come at once, and a notification tells. What the account orders between the two answers, knowing of the first alone, may
// be ordered in the place of the second: it is not sent.
func TestOrderedBetweenTwoThatCameTogether(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	r, _ := h.start(h.config(map[string]Acquirer{"bank": newNotifier(b.server.URL)}))
	kind := railsv1.OrderKind_ORDER_KIND_RETURN
	first, ref := h.begun(1, kind)
	one, two := follow(first, kind, 1, "return", 400, ref), follow(first, kind, 2, "return", 300, ref)
	h.lose(one)
	h.lose(two)
	b.come(one, OperationRefund, 400)
	b.come(two, OperationRefund, 300)
	n := captured(first)
	n.ReturnedMinor = 700
	h.notify(partitionOf(first), n)
	eventually(t, "judged", func() bool { return judged(t, "bank", r)[verdictConfirmed] == 1 })
	late := h.lates(2)
	known, other := late[0].RailAnswer, late[1].RailAnswer
	again := follow(first, kind, 3, "return", other.AmountMinor, ref) // in place of the one that its account takes for failed still
	again.LateAtUs = known.ReportedAtUS
	h.order(again)
	a := final(t, h.answers(again)[again.GetOrderId()])
	if a.Code != codeEarlierDone || b.charged(again.GetOrderId()) != 0 || b.moved(ref).returnedMinor != 700 {
		t.Errorf("told in this order: %d at %d, %d at %d; ordered again between: %+v, sent %d times, and the bank has given back %d",
			known.AmountMinor, known.ReportedAtUS, other.AmountMinor, other.ReportedAtUS, a, b.charged(again.GetOrderId()), b.moved(ref).returnedMinor)
	}
}

// A capture and a refund of one payment, both taken for lost, come at once: the times told rise in the order of the log.
func TestBothKindsThatCameTogetherAreToldInOrder(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	r, _ := h.start(h.config(map[string]Acquirer{"bank": several(b.server.URL)}))
	first, ref := h.begun(1, railsv1.OrderKind_ORDER_KIND_CAPTURE)
	done := follow(first, railsv1.OrderKind_ORDER_KIND_CAPTURE, 1, "capture", 500, ref)
	h.order(done)
	final(t, h.answers(done)[done.GetOrderId()])
	one := follow(first, railsv1.OrderKind_ORDER_KIND_CAPTURE, 2, "capture", 400, ref)
	h.lose(one)
	two := follow(first, railsv1.OrderKind_ORDER_KIND_RETURN, 3, "return", 300, ref)
	h.lose(two)
	b.come(one, OperationCapture, 400)
	b.come(two, OperationRefund, 300)
	n := captured(first)
	n.CapturedMinor, n.ReturnedMinor = 900, 300
	h.notify(partitionOf(first), n)
	eventually(t, "judged", func() bool { return len(judged(t, "bank", r)) > 0 })
	late := h.lates(2)
	if late[0].RailAnswer.ReportedAtUS >= late[1].RailAnswer.ReportedAtUS {
		t.Errorf("%+v before %+v", late[0].RailAnswer, late[1].RailAnswer)
	}
}

package cards

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/rails/ownref"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// notifier is the dialect of a bank that knows our references as acquirers do: as digests.
type notifier struct{ *teller }

func newNotifier(url string) *notifier { return &notifier{newTeller(url)} }

func (c *notifier) OwnReference(orderID string, attempt uint32) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%s", attempt, orderID))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:32]
}

// nameless does not tell our reference, and has to be asked for it.
type nameless struct {
	*notifier
	owns map[string]string // by reference
}

func (c *nameless) Name(ctx context.Context, reference string) (string, Standing, error) {
	s, err := c.Status(ctx, Request{Reference: reference})
	return c.owns[reference], s, err
}

// patient asks by itself after an hour only.
func (h *house) patient(acquirers map[string]Acquirer) Config {
	cfg := h.config(acquirers)
	cfg.Polls = []time.Duration{time.Hour, 2 * time.Hour}
	cfg.Hearing.Pause = 10 * time.Millisecond
	return cfg
}

// partitionOf an order.
func partitionOf(o *railsv1.Order) int32 { return topics.Partition([]byte(o.GetAccount()), partitions) }

// behind is an order of some account that stands in a partition, found from account n on.
func behind(n int, partition int32) *railsv1.Order {
	for {
		if o := collect(n, "cut"); partitionOf(o) == partition {
			return o
		}
		n += 10
	}
}

// nameOfOrder is what our references of an order are made of.
func nameOfOrder(o *railsv1.Order) string { return (&attempt{order: orderFrom(o)}).name() }

// ownOf is our reference of an attempt at an order.
func ownOf(o *railsv1.Order, attempt uint32) string {
	return ownref.Mark((&notifier{}).OwnReference(nameOfOrder(o), attempt), partitionOf(o))
}

// captured is what an acquirer notifies of a collect.
func captured(o *railsv1.Order) *railsv1.Notification {
	return &railsv1.Notification{
		Version: 1, Kind: railsv1.NotificationKind_NOTIFICATION_KIND_PAYMENT, Processor: "bank", OwnReference: ownOf(o, 1),
		ReceivedAtUs: time.Now().UnixMicro(), State: railsv1.NotifiedState_NOTIFIED_STATE_CAPTURED, CapturedMinor: o.GetAmountMinor(),
	}
}

func (h *house) notify(partition int32, all ...*railsv1.Notification) {
	h.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(h.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		h.t.Fatal(err)
	}
	defer client.Close()
	for _, n := range all {
		value, err := proto.Marshal(n)
		if err != nil {
			h.t.Fatal(err)
		}
		record := &kgo.Record{Topic: topics.RailsNotifications, Partition: partition, Key: []byte("k"), Value: value}
		if err := client.ProduceSync(h.t.Context(), record).FirstErr(); err != nil {
			h.t.Fatal(err)
		}
	}
}

func value(t testing.TB, c prometheus.Counter) int {
	t.Helper()
	m := &dto.Metric{}
	if err := c.Write(m); err != nil {
		t.Fatal(err)
	}
	return int(m.GetCounter().GetValue())
}

func judged(t testing.TB, connector string, rs ...*Runner) map[verdict]int {
	t.Helper()
	all := map[verdict]int{}
	for _, r := range rs {
		for _, v := range verdicts() {
			if n := value(t, r.metrics.notifications.WithLabelValues(connector, string(v))); n > 0 {
				all[v] += n
			}
		}
	}
	return all
}

// unresolved waits until nobody knows what became of so many orders.
func unresolved(t testing.TB, r *Runner, n int64) {
	t.Helper()
	eventually(t, fmt.Sprint(n, " unresolved orders"), func() bool {
		all := int64(0)
		for _, p := range r.Snapshot().Partitions {
			all += p.Unresolved
		}
		return all == n
	})
}

// Invariant: an order of which nobody knows is asked for as soon as its processor notifies.
func TestNotificationAnswersAtOnce(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	r, _ := h.start(h.patient(map[string]Acquirer{"bank": newNotifier(b.server.URL)}))
	o := collect(1, "cut")
	h.order(o)
	unresolved(t, r, 1)
	h.notify(partitionOf(o), captured(o))
	all := h.answers(o)[o.GetOrderId()]
	if a := final(t, all); a.Result != payment.RailConfirmed || a.AmountMinor != o.GetAmountMinor() || b.charged(o.GetOrderId()) != 1 {
		t.Errorf("%+v, charged %d times", a, b.charged(o.GetOrderId()))
	}
	unresolved(t, r, 0)
	if got := judged(t, "bank", r); got[verdictConfirmed] != 1 || len(got) != 1 {
		t.Errorf("judged %v", got)
	}
}

// Invariant: a notification that was accepted is judged, whoever dies before; and one that was judged is not judged again.
func TestNotificationOutlivesItsReader(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	cfg := h.patient(map[string]Acquirer{"bank": newNotifier(b.server.URL)})
	r, stop := h.start(cfg)
	other := collect(1, "cut")
	near, far := behind(2, partitionOf(other)), behind(3, (partitionOf(other)+1)%partitions)
	h.order(other, near, far)
	unresolved(t, r, 3)
	h.notify(partitionOf(other), captured(other))
	h.answers(other)
	stop()
	h.notify(partitionOf(near), captured(near)) // nobody reads, here behind one that was judged
	h.notify(partitionOf(far), captured(far))   // and here as the first
	second, stop := h.start(cfg)
	all := h.answers(near, far)
	for _, o := range []*railsv1.Order{near, far} {
		if a := final(t, all[o.GetOrderId()]); a.Result != payment.RailConfirmed {
			t.Errorf("%+v", a)
		}
	}
	unresolved(t, second, 0)
	if got := judged(t, "bank", second); got[verdictConfirmed] != 2 || len(got) != 1 {
		t.Errorf("the second has judged %v", got)
	}
	stop()
	third, _ := h.start(cfg)
	last := collect(1000, "cut")
	h.order(last)
	unresolved(t, third, 1)
	h.notify(partitionOf(last), captured(last))
	h.answers(last)
	if got := judged(t, "bank", third); got[verdictConfirmed] != 1 || len(got) != 1 {
		t.Errorf("the third has judged %v", got)
	}
}

// A processor notifies while the call is still open: the notification waits for it.
func TestNotificationDuringTheCall(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	r, _ := h.start(h.patient(map[string]Acquirer{"bank": newNotifier(b.server.URL)}))
	o := collect(1, "hang")
	h.order(o)
	eventually(t, "the call", func() bool { return b.charged(o.GetOrderId()) == 1 })
	h.notify(partitionOf(o), captured(o))
	if a := final(t, h.answers(o)[o.GetOrderId()]); a.Result != payment.RailConfirmed {
		t.Errorf("%+v", a)
	}
	eventually(t, "a verdict", func() bool { return judged(t, "bank", r)[verdictConfirmed] == 1 })
}

// A notification that does not tell our reference is read by whoever, and judged by the owner of its order, in another process.
func TestNotificationFindsTheOwner(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	o := collect(1, "cut")
	dialect := &nameless{newNotifier(b.server.URL), map[string]string{"tid-1": ownOf(o, 1)}}
	cfg := h.patient(map[string]Acquirer{"bank": dialect})
	one, _ := h.start(cfg)
	two, _ := h.start(cfg)
	eventually(t, "each has partitions", func() bool { return len(one.Snapshot().Partitions) > 0 && len(two.Snapshot().Partitions) > 0 })
	h.order(o)
	eventually(t, "the call", func() bool { return b.charged(o.GetOrderId()) == 1 })
	for p := range int32(partitions) { // from wherever it comes
		if p != partitionOf(o) {
			h.notify(p, &railsv1.Notification{
				Version: 1, Kind: railsv1.NotificationKind_NOTIFICATION_KIND_PAYMENT, Processor: "bank", Reference: "tid-1", ReceivedAtUs: time.Now().UnixMicro(),
			})
		}
	}
	if a := final(t, h.answers(o)[o.GetOrderId()]); a.Result != payment.RailConfirmed {
		t.Errorf("%+v", a)
	}
	eventually(t, "all verdicts", func() bool {
		got := judged(t, "bank", one, two)
		return got[verdictConfirmed] == 1 && got[verdictRepeated] == partitions-2
	})
	h.notify(0, &railsv1.Notification{
		Version: 1, Kind: railsv1.NotificationKind_NOTIFICATION_KIND_PAYMENT, Processor: "bank", Reference: "tid-99", ReceivedAtUs: time.Now().UnixMicro(),
	})
	eventually(t, "a payment that nobody knows", func() bool { return judged(t, "bank", one, two)[verdictUnknownPayment] == 1 })
}

// attempts are how often something was written about an order.
func (h *house) attempts(o *railsv1.Order) (n int) {
	h.t.Helper()
	ends, err := kadm.NewClient(h.client).ListEndOffsets(h.t.Context(), topics.RailsAttempts)
	if err != nil {
		h.t.Fatal(err)
	}
	end, _ := ends.Lookup(topics.RailsAttempts, partitionOf(o))
	return int(end.Offset)
}

// Invariant: what a notification claims moves nothing, and is counted as what it is.
func TestLiesMoveNothing(t *testing.T) {
	h, b, first := newHouse(t), newBank(t), newBank(t)
	cfg := h.patient(map[string]Acquirer{"bank": newNotifier(b.server.URL), "first": newNotifier(first.server.URL)})
	var err error
	if cfg.Routes, err = ParseRoutes([]byte("version: 1\nroutes:\n  - {connector: first, cost_bp: 1, brands: [elo]}\n  - {connector: bank, cost_bp: 2}\n")); err != nil {
		t.Fatal(err)
	}
	r, _ := h.start(cfg)
	o, lost := collect(1, "ok"), collect(2, "lost")
	o.Brand, o.Instrument = "elo", "decline:91" // at each its first call: attempt 3 is the first that is confirmed, and attempt 2 was elsewhere
	h.order(o)
	h.answers(o)
	h.order(lost)
	unresolved(t, r, 1)
	charged, connector := b.charged(o.GetOrderId())+first.charged(o.GetOrderId()), final(t, h.answers(o)[o.GetOrderId()]).Connector
	reference, number := final(t, h.answers(o)[o.GetOrderId()]).Reference, uint32(3)
	for _, c := range []struct {
		name   string
		change func(n *railsv1.Notification)
		want   verdict
	}{
		{"the same again", func(n *railsv1.Notification) { n.Reference = reference }, verdictRepeated},
		{"nothing", func(n *railsv1.Notification) {
			n.State, n.CapturedMinor = railsv1.NotifiedState_NOTIFIED_STATE_UNSPECIFIED, 0
		}, verdictRepeated},
		{"another amount", func(n *railsv1.Notification) { n.CapturedMinor++ }, verdictLie},
		{"given back", func(n *railsv1.Notification) {
			n.State, n.ReturnedMinor = railsv1.NotifiedState_NOTIFIED_STATE_VOIDED, n.GetCapturedMinor()
		}, verdictLie},
		{"declined", func(n *railsv1.Notification) {
			n.State, n.CapturedMinor = railsv1.NotifiedState_NOTIFIED_STATE_DECLINED, 0
		}, verdictLie},
		{"an older state", func(n *railsv1.Notification) {
			n.State, n.CapturedMinor, n.AuthorizedMinor = railsv1.NotifiedState_NOTIFIED_STATE_AUTHORIZED, 0, n.GetCapturedMinor()
		}, verdictStale},
		{"another transaction", func(n *railsv1.Notification) { n.Reference = "tid-77" }, verdictUnknownPayment},
		{"an order that never was", func(n *railsv1.Notification) {
			n.OwnReference = ownref.Mark(strings.Repeat("a", 32), partitionOf(o))
		}, verdictUnknownPayment},
		{"somebody else's name", func(n *railsv1.Notification) { n.OwnReference = "order-4711" }, verdictUnknownPayment},
		{"the attempt before, as it was", func(n *railsv1.Notification) {
			n.OwnReference, n.Processor = ownOf(o, 2), map[string]string{"first": "bank", "bank": "first"}[connector]
			n.State, n.CapturedMinor = railsv1.NotifiedState_NOTIFIED_STATE_DECLINED, 0
		}, verdictRepeated},
		{"the attempt before, charged", func(n *railsv1.Notification) {
			n.OwnReference, n.Processor = ownOf(o, 2), map[string]string{"first": "bank", "bank": "first"}[connector]
		}, verdictLie},
		{"of a year ago", func(n *railsv1.Notification) { n.ReceivedAtUs -= 365 * 24 * time.Hour.Microseconds() }, verdictOld},
		{"no payment", func(n *railsv1.Notification) { n.Kind = railsv1.NotificationKind_NOTIFICATION_KIND_OTHER }, verdictOther},
	} {
		n := captured(o)
		n.Processor, n.OwnReference = connector, ownOf(o, number)
		c.change(n)
		before := judged(t, n.GetProcessor(), r)
		h.notify(partitionOf(o), n)
		eventually(t, c.name+" is judged", func() bool {
			sum, was := 0, 0
			for _, v := range judged(t, n.GetProcessor(), r) {
				sum += v
			}
			for _, v := range before {
				was += v
			}
			return sum > was
		})
		if after := judged(t, n.GetProcessor(), r); after[c.want] != before[c.want]+1 {
			t.Errorf("%s: judged %v after %v, want %s", c.name, after, before, c.want)
		}
	}
	// Of an order that nobody knows about a lie neither makes an answer nor changes when it is asked for.
	written := h.attempts(lost)
	n := captured(lost)
	before := judged(t, "bank", r)
	h.notify(partitionOf(lost), n, n, n)
	eventually(t, "lies about what is unknown", func() bool { return judged(t, "bank", r)[verdictLie] == before[verdictLie]+3 })
	unresolved(t, r, 1)
	if now := h.attempts(lost); now != written {
		t.Errorf("%d records about attempts, %d before", now, written)
	}
	if got := b.charged(o.GetOrderId()) + first.charged(o.GetOrderId()); got != charged || charged != 1 {
		t.Errorf("charged %d times, %d before", got, charged)
	}
	final(t, h.answers(o)[o.GetOrderId()])
}

// stand lets the bank hold the money of an attempt that it had declined.
func (b *bank) stand(own string, amount int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serial++
	reference := fmt.Sprintf("tid-%d", b.serial)
	delete(b.declined, own)
	b.own[own] = []string{reference}
	b.by[reference] = &Standing{State: StateCaptured, Reference: reference, AuthorizedMinor: amount, CapturedMinor: amount}
}

// An acquirer has declined, and charges all the same: the account is told, and an attempt that was given up is shown to people.
func TestChargedAfterAll(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	r, _ := h.start(h.patient(map[string]Acquirer{"bank": newNotifier(b.server.URL)}))
	hard, again := collect(1, "decline:54"), collect(2, "decline:91")
	h.order(hard, again)
	all := h.answers(hard, again)
	if a := final(t, all[hard.GetOrderId()]); a.Result != payment.RailRefused {
		t.Fatalf("%+v", a)
	}
	b.stand(ownOf(hard, 1), hard.GetAmountMinor())
	b.stand(ownOf(again, 1), again.GetAmountMinor()) // the second attempt was confirmed
	h.notify(partitionOf(hard), captured(hard))
	h.notify(partitionOf(again), captured(again))
	eventually(t, "both verdicts", func() bool {
		got := judged(t, "bank", r)
		return got[verdictConfirmed] == 1 && got[verdictUnordered] == 1
	})
	told := h.answers(hard, again)
	if got := results(told[hard.GetOrderId()]); len(got) != 2 || got[1] != payment.RailConfirmed {
		t.Errorf("answered %v", got)
	}
	if got := results(told[again.GetOrderId()]); len(got) != 1 {
		t.Errorf("of the one charged twice: answered %v", got)
	}
}

// A bank that was said to have got nothing, so that the payout went to the next, tells that it has sent it. It is asked itself, whatever became of
// the payout: it may have been paid twice, and that is no repeat.
func TestTheBankThatWasGivenUpIsAskedItself(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	for _, state := range []railsv1.AttemptState{stateFollowed, stateUnknown, stateDone} {
		for found, stray := range map[Outcome]bool{OutcomeSent: true, OutcomeReturned: false, OutcomeNotFound: false} {
			w := newTestWorker(t, &fake{}, now)
			asked := map[string]int{}
			for name, said := range map[string]Outcome{"first": found, "second": OutcomeSent} {
				w.connectors[name] = newConnector(name, bankWords{find: func(context.Context, Request) (Result, error) {
					asked[name]++
					return Result{Outcome: said, Reference: "tr-" + name, AmountMinor: 100}, nil
				}}, w.cfg.Guard, w.metrics)
			}
			known := &attempt{
				state: state, result: payment.RailSent, connector: "second", number: 2, own: "po.send", reference: "tr-second", reportedAt: now,
				order: order{ID: "po.send", Operation: OperationSend, Method: methodBank, AmountMinor: 100, Account: string(accountOf(1)), PaymentID: "po"},
			}
			n := &note{Notification: &railsv1.Notification{
				Processor: "first", OwnReference: w.own(w.connectors["first"], known, 1), Reference: "tr-first",
				State: railsv1.NotifiedState_NOTIFIED_STATE_SENT, CapturedMinor: 100,
			}}
			learnt, seen, err := w.hear(t.Context(), known, task{kind: taskHear, order: known.order, offset: noOffset, notes: []*note{n}})
			if err != nil || learnt != nil || asked["first"] != 1 || asked["second"] != 0 || seen.stray != stray {
				t.Errorf("%s, and the first says %s: asked %v, given up and has it %t, learnt %+v: %v", state, found, asked, seen.stray, learnt, err)
			}
			if v := seen.of(n.Notification); (v == verdictRepeated) != stray {
				t.Errorf("%s, and the first says %s: %s", state, found, v)
			}
		}
	}
}

// What is no hint is counted and passed over: a dispute without an amount, other connectors' notifications, noise.
func TestWhatIsNoHint(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	r, _ := h.start(h.patient(map[string]Acquirer{"bank": newNotifier(b.server.URL)}))
	o := collect(1, "cut")
	h.order(o)
	unresolved(t, r, 1)
	contested, elsewhere, future := captured(o), captured(o), captured(o)
	contested.Kind, contested.Dispute = railsv1.NotificationKind_NOTIFICATION_KIND_DISPUTE, &railsv1.NotifiedDispute{Id: "d1", Stage: railsv1.DisputeStage_DISPUTE_STAGE_DISPUTE}
	elsewhere.Processor, future.Version = "another", 2
	if err := h.client.ProduceSync(t.Context(), &kgo.Record{Topic: topics.RailsNotifications, Key: []byte("k"), Value: []byte("noise")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	h.notify(partitionOf(o), contested, elsewhere, future, captured(o))
	h.answers(o)
	eventually(t, "a dispute", func() bool { return contests(t, r)["dispute incomplete"] == 1 })
	if got := judged(t, "bank", r); got[verdictConfirmed] != 1 || len(got) != 1 {
		t.Errorf("judged %v", got)
	}
}

// Invariant: a flood of notifications is bounded in memory and in questions, holds up no order, and hides no true one.
func TestFloodOfNotifications(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	cfg := h.patient(map[string]Acquirer{"bank": newNotifier(b.server.URL)})
	cfg.Hearing.AtOnce, cfg.Hearing.WaitingMax = 1, 8
	r, _ := h.start(cfg)
	o, done := collect(1, "cut"), collect(1, "ok")
	done.OrderId, done.PaymentId = "done.collect", string(payment.IDFrom(payment.KindPayIn, payment.AccountID(o.GetAccount()), "m1", "done"))
	h.order(o, done)
	h.answers(done)
	unresolved(t, r, 1)
	var flood []*railsv1.Notification
	for range 300 {
		n := captured(done)
		n.CapturedMinor = 7
		flood = append(flood, n)
	}
	h.notify(partitionOf(o), append(flood, captured(o))...)
	next := collect(1, "ok")
	next.OrderId, next.PaymentId = "next.collect", string(payment.IDFrom(payment.KindPayIn, payment.AccountID(o.GetAccount()), "m1", "next"))
	h.order(next)
	h.answers(o, next)
	eventually(t, "the flood is judged", func() bool { return judged(t, "bank", r)[verdictLie] == 300 })
}

// What a notification says against what the processor says.
func TestClaims(t *testing.T) {
	const (
		none       = railsv1.NotifiedState_NOTIFIED_STATE_UNSPECIFIED
		pending    = railsv1.NotifiedState_NOTIFIED_STATE_PENDING
		authorized = railsv1.NotifiedState_NOTIFIED_STATE_AUTHORIZED
		capt       = railsv1.NotifiedState_NOTIFIED_STATE_CAPTURED
		voided     = railsv1.NotifiedState_NOTIFIED_STATE_VOIDED
		declined   = railsv1.NotifiedState_NOTIFIED_STATE_DECLINED
	)
	held := Standing{State: StateAuthorized, Reference: "t", AuthorizedMinor: 100}
	taken := Standing{State: StateCaptured, Reference: "t", AuthorizedMinor: 100, CapturedMinor: 60}
	part := Standing{State: StateCaptured, Reference: "t", AuthorizedMinor: 100, CapturedMinor: 60, ReturnedMinor: 20}
	gone := Standing{State: StateVoided, Reference: "t", AuthorizedMinor: 100, ReturnedMinor: 100}
	refused := Standing{State: StateDeclined, Reference: "t", AuthorizedMinor: 100}
	for i, c := range []struct {
		s                Standing
		state            railsv1.NotifiedState
		auth, cap, given int64
		want             verdict
	}{
		{Standing{}, capt, 0, 60, 0, verdictUnclear},
		{Standing{State: StateAbsent}, capt, 0, 60, 0, verdictLie},
		{Standing{State: StatePending}, pending, 0, 0, 0, verdictRepeated},
		{Standing{State: StatePending}, authorized, 0, 0, 0, verdictUnclear},
		{held, none, 0, 0, 0, verdictRepeated},
		{held, pending, 100, 0, 0, verdictStale},
		{held, authorized, 100, 0, 0, verdictRepeated},
		{held, authorized, 0, 0, 0, verdictRepeated},
		{held, authorized, 99, 0, 0, verdictLie},
		{held, authorized, 101, 0, 0, verdictLie},
		{held, capt, 100, 100, 0, verdictLie},
		{held, voided, 0, 0, 100, verdictLie},
		{held, declined, 0, 0, 0, verdictLie},
		{taken, capt, 100, 60, 0, verdictRepeated},
		{taken, capt, 0, 61, 0, verdictLie},
		{taken, capt, 0, 59, 0, verdictLie},
		{taken, capt, 0, 60, 20, verdictLie},
		{taken, authorized, 100, 0, 0, verdictStale},
		{taken, declined, 0, 0, 0, verdictLie},
		{part, capt, 100, 60, 20, verdictRepeated},
		{part, capt, 100, 60, 0, verdictStale},
		{part, capt, 100, 60, 10, verdictStale},
		{part, capt, 100, 60, 21, verdictLie},
		{gone, voided, 100, 0, 100, verdictRepeated},
		{gone, voided, 0, 0, 0, verdictRepeated},
		{gone, authorized, 100, 0, 0, verdictStale},
		{gone, capt, 100, 0, 0, verdictStale},
		{gone, declined, 0, 0, 0, verdictLie},
		{refused, declined, 0, 0, 0, verdictRepeated},
		{refused, pending, 0, 0, 0, verdictStale},
		{refused, authorized, 100, 0, 0, verdictLie},
		{refused, capt, 0, 100, 0, verdictLie},
	} {
		n := &railsv1.Notification{State: c.state, AuthorizedMinor: c.auth, CapturedMinor: c.cap, ReturnedMinor: c.given}
		if got := c.s.of(n); got != c.want {
			t.Errorf("%d: %+v says %v %d/%d/%d: %s, want %s", i, c.s, c.state, c.auth, c.cap, c.given, got, c.want)
		}
		n.Reference = "another"
		if got := c.s.of(n); c.s.Reference != "" && got != verdictUnknownPayment {
			t.Errorf("%d: of another transaction: %s", i, got)
		}
	}
}

// And against what a bank says of a transfer.
func TestClaimsOfTransfers(t *testing.T) {
	for i, c := range []struct {
		said   Outcome
		state  railsv1.NotifiedState
		amount int64
		want   verdict
	}{
		{OutcomeUnknown, railsv1.NotifiedState_NOTIFIED_STATE_PAID, 100, verdictUnclear},
		{OutcomeNotFound, railsv1.NotifiedState_NOTIFIED_STATE_PAID, 100, verdictLie},
		{OutcomeSent, railsv1.NotifiedState_NOTIFIED_STATE_SENT, 100, verdictRepeated},
		{OutcomeSent, railsv1.NotifiedState_NOTIFIED_STATE_SENT, 101, verdictLie},
		{OutcomeSent, railsv1.NotifiedState_NOTIFIED_STATE_UNSPECIFIED, 0, verdictRepeated},
		{OutcomeSent, railsv1.NotifiedState_NOTIFIED_STATE_ACCEPTED, 100, verdictStale},
		{OutcomeSent, railsv1.NotifiedState_NOTIFIED_STATE_PAID, 100, verdictLie},
		{OutcomeReturned, railsv1.NotifiedState_NOTIFIED_STATE_PAID, 100, verdictStale},
		{OutcomeConfirmed, railsv1.NotifiedState_NOTIFIED_STATE_RETURNED, 100, verdictLie},
		{OutcomeRefused, railsv1.NotifiedState_NOTIFIED_STATE_FAILED, 100, verdictRepeated},
	} {
		s := told{transfer: true, result: Result{Outcome: c.said}, orderedMinor: 100}
		if got := s.of(&railsv1.Notification{State: c.state, CapturedMinor: c.amount}); got != c.want {
			t.Errorf("%d: %v against %v of %d: %s, want %s", i, c.said, c.state, c.amount, got, c.want)
		}
	}
}

// Invariant: orders are executed where notifications cannot be read.
func TestOrdersNeedNoNotifications(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	if _, err := kadm.NewClient(h.client).DeleteTopics(t.Context(), topics.RailsNotifications); err != nil {
		t.Fatal(err)
	}
	h.start(h.patient(map[string]Acquirer{"bank": newNotifier(b.server.URL)}))
	o := collect(1, "ok")
	h.order(o)
	if a := final(t, h.answers(o)[o.GetOrderId()]); a.Result != payment.RailConfirmed {
		t.Errorf("%+v", a)
	}
}

package cards

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// payer is a bank that pays out. The destination says what becomes of a transfer: "<faults>|<outcomes>", faults by comma for the
// first calls of Send ("cut": taken and the connection cut, "lost": cut before it was taken, "refuse"), outcomes for the calls of
// Find one after the other, the last for ever.
type payer struct {
	server *httptest.Server

	mu        sync.Mutex
	transfers map[string]*transfer // by our reference
	sendings  map[string]int       // by our reference
	finds     map[string]int
}

type transfer struct {
	order    string
	amount   int64
	outcomes []Outcome
}

func newPayer(t testing.TB) *payer {
	p := &payer{transfers: map[string]*transfer{}, sendings: map[string]int{}, finds: map[string]int{}}
	p.server = httptest.NewServer(p)
	t.Cleanup(p.server.Close)
	return p
}

func outcomeOf(word string) Outcome {
	for _, o := range []Outcome{OutcomeAccepted, OutcomeSent, OutcomeConfirmed, OutcomeRefused, OutcomeReturned, OutcomeNotFound} {
		if o.String() == word {
			return o
		}
	}
	return OutcomeUnknown
}

func (p *payer) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	var r Request
	if err := json.NewDecoder(q.Body).Decode(&r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	word, result := p.answer(q.URL.Path, r)
	switch word {
	case "cut", "lost":
		panic(http.ErrAbortHandler)
	default:
		_ = json.NewEncoder(w).Encode(result)
	}
}

func (p *payer) answer(path string, r Request) (string, Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if path == "/find" {
		return p.find(r)
	}
	faults, outcomes, _ := strings.Cut(r.Destination.Account, "|")
	word := "ok"
	if words := strings.Split(faults, ","); p.sendings[r.OwnReference] < len(words) {
		word = words[p.sendings[r.OwnReference]]
	}
	p.sendings[r.OwnReference]++
	switch t := p.transfers[r.OwnReference]; {
	case word == "lost":
		return word, Result{}
	case word == "refuse":
		return word, refused("account")
	case t == nil:
		t = &transfer{order: r.OrderID, amount: r.AmountMinor}
		for w := range strings.SplitSeq(outcomes, ",") {
			t.outcomes = append(t.outcomes, outcomeOf(w))
		}
		p.transfers[r.OwnReference] = t
	}
	return word, Result{Outcome: OutcomeAccepted, Reference: "tr-" + r.OwnReference, AmountMinor: r.AmountMinor}
}

func (p *payer) find(r Request) (string, Result) {
	t := p.transfers[r.OwnReference]
	if t == nil {
		return "", Result{Outcome: OutcomeNotFound}
	}
	o := t.outcomes[0]
	if p.finds[r.OwnReference]++; len(t.outcomes) > 1 {
		t.outcomes = t.outcomes[1:]
	}
	return "", Result{Outcome: o, Code: "c", Reference: "tr-" + r.OwnReference, AmountMinor: t.amount}
}

// taken is how many transfers of an order there are.
func (p *payer) taken(orderID string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.transfers {
		if t.order == orderID {
			n++
		}
	}
	return n
}

// counter is the dialect of the payer.
type counter struct{ teller }

func newCounter(url string) *counter {
	c := &counter{teller: *newTeller(url)}
	c.can.Repeatable, c.can.Deduplicates = true, true
	return c
}

func (c *counter) OwnReference(orderID string, _ uint32) string { return "e2e-" + orderID }

func (c *counter) Send(ctx context.Context, r Request) (result Result, err error) {
	_, err = c.ask(ctx, "/send", r, &result)
	return result, err
}

func (c *counter) Find(ctx context.Context, r Request) (result Result, err error) {
	_, err = c.ask(ctx, "/find", r, &result)
	return result, err
}

// bankOnly hides what a teller has of an acquirer.
type bankOnly struct{ Bank }

// paying makes a configuration one of a bank.
func paying(cfg Config, c *counter) Config {
	cfg.Group, cfg.Acquirers, cfg.Banks = DefaultBankGroup, nil, map[string]Bank{"bank": bankOnly{c}}
	cfg.Open = func(s *paymentsv1.Sealed) (*paymentsv1.Personal, error) {
		return &paymentsv1.Personal{CounterpartyAccount: string(s.GetCiphertext())}, nil
	}
	cfg.Watch = Watch{For: time.Hour, First: 50 * time.Millisecond, Most: 100}
	cfg.Polls = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, 4 * time.Second}
	return cfg
}

// payout is an order of account n to a destination that says what becomes of it.
func payout(n int, destination string) *railsv1.Order {
	o := collect(n, "")
	id := payment.IDFrom(payment.KindPayOut, accountOf(n), "m1", fmt.Sprintf("key-%d", n))
	o.OrderId, o.PaymentId, o.Kind, o.Method, o.Brand = string(id)+".send", string(id), railsv1.OrderKind_ORDER_KIND_SEND, "bank", ""
	o.Sealed = &paymentsv1.Sealed{KeyId: "k", Ciphertext: []byte(destination)}
	return o
}

// told reads what an order was told, each result once, until the last of them was.
func (h *house) told(o *railsv1.Order, last payment.RailResult) (all []payment.RailResult) {
	h.t.Helper()
	if !h.listen(30*time.Second, func() bool { return slices.Contains(all, last) }, func(_ *kgo.Record, c payment.Command) {
		if c.RailAnswer.OrderID == o.GetOrderId() && !slices.Contains(all, c.RailAnswer.Result) {
			all = append(all, c.RailAnswer.Result)
		}
	}) {
		h.t.Fatalf("%s was never told %s, only %v", o.GetOrderId(), last, all)
	}
	return all
}

// A payout is told as far as it has come, also what happens to it after it was over.
func TestPayouts(t *testing.T) {
	const accepted, sent, paid, refused, returned, unknown = payment.RailAccepted, payment.RailSent, payment.RailConfirmed, payment.RailRefused, payment.RailReturned, payment.RailUnknown
	h, p := newHouse(t), newPayer(t)
	h.start(paying(h.config(nil), newCounter(p.server.URL)))
	cases := []struct {
		destination string
		want        []payment.RailResult
		transfers   int
	}{
		{"ok|accepted,sent,sent,confirmed", []payment.RailResult{accepted, sent, paid}, 1},
		{"ok|sent,confirmed,sent,confirmed,returned", []payment.RailResult{accepted, sent, paid, returned}, 1},
		{"ok|refused", []payment.RailResult{accepted, refused}, 1},
		{"ok|refused,refused,confirmed", []payment.RailResult{accepted, refused, paid}, 1},
		{"ok|returned", []payment.RailResult{accepted, sent, returned}, 1}, // nobody asked while it was away: it had left
		{"ok|unknown,not_found,confirmed", []payment.RailResult{accepted, paid}, 1},
		{"refuse", []payment.RailResult{refused}, 0},
		{"cut|confirmed", []payment.RailResult{accepted, paid}, 1}, // the second sending is the first
		{"cut,cut|confirmed", []payment.RailResult{unknown, paid}, 1},
		{"lost,lost|confirmed", []payment.RailResult{unknown, accepted, paid}, 1}, // not found, and sent again
		{"lost,lost,refuse", []payment.RailResult{unknown, refused}, 0},
	}
	var orders []*railsv1.Order
	for i, c := range cases {
		orders = append(orders, payout(i, c.destination))
	}
	h.order(append(orders, collect(99, "ok"))...) // another runner's
	for i, c := range cases {
		if got := h.told(orders[i], c.want[len(c.want)-1]); !slices.Equal(got, c.want) {
			t.Errorf("%s: told %v, want %v", c.destination, got, c.want)
		}
		if n := p.taken(orders[i].GetOrderId()); n != c.transfers {
			t.Errorf("%s: %d transfers", c.destination, n)
		}
	}
}

// Invariant: whenever a process dies, a payout is sent once, and is sent.
func TestKilledAnywherePaysOnce(t *testing.T) {
	for _, at := range []point{pointBeforeIntent, pointAfterIntent, pointAfterCall, pointAfterOutcome, pointAfterAnswer, pointBeforeCommit} {
		t.Run(string(at), func(t *testing.T) {
			h, p := newHouse(t), newPayer(t)
			o := payout(1, "ok|confirmed,confirmed,confirmed,confirmed,confirmed,returned")
			h.order(o)
			if err := spawnAt(t, h, at, childPayer+"="+p.server.URL).Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the child was to be killed at %q: %v", at, err)
			}
			cfg := paying(h.config(nil), newCounter(p.server.URL))
			cfg.Instance = "child"
			h.start(cfg)
			all := h.told(o, payment.RailReturned)
			if n := p.taken(o.GetOrderId()); n != 1 || slices.Contains(all, payment.RailRefused) || !slices.Contains(all, payment.RailConfirmed) {
				t.Errorf("%d transfers, told %v", n, all)
			}
		})
	}
}

// What is watched survives a restart, ends with its time, and is not more than it may be.
func TestWatching(t *testing.T) {
	h, p := newHouse(t), newPayer(t)
	cfg := paying(h.config(nil), newCounter(p.server.URL))
	cfg.Watch.First = time.Hour
	r, stop := h.start(cfg)
	over := payout(1, "ok|confirmed,returned")
	h.order(over)
	h.told(over, payment.RailConfirmed)
	watched := func(r *Runner) (n int64) {
		for _, s := range r.Snapshot().Partitions {
			n += s.Watched
		}
		return n
	}
	eventually(t, "watched", func() bool { return watched(r) == 1 })
	stop()
	if n := p.finds["e2e-"+nameOfOrder(over)]; n != 1 {
		t.Fatalf("asked %d times before the first pause was over", n)
	}
	r, stop = h.start(cfg)
	eventually(t, "watched again", func() bool { return watched(r) == 1 })
	stop()
	cfg.Watch.Most = 0
	r, _ = h.start(cfg)
	more := payout(2, "ok|confirmed")
	h.order(more)
	h.told(more, payment.RailConfirmed)
	eventually(t, "no more than may be", func() bool {
		m := &dto.Metric{}
		return r.metrics.unwatched.Write(m) == nil && m.GetCounter().GetValue() == 1 && watched(r) == 1
	})
}

// The pauses between questions grow with the age of what is over, and have an end.
func TestWatchSchedule(t *testing.T) {
	cfg, err := config([]string{"nobody"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Watch = DefaultConfig().Watch
	w := &worker{cfg: cfg, metrics: newMetrics(prometheus.NewRegistry())}
	began := time.Unix(1_790_000_000, 0)
	a := &attempt{order: order{Operation: OperationSend}, polls: 3}
	a.learn(Result{Outcome: OutcomeConfirmed, Reference: "tr"}, began)
	asked := 0
	for now := began; ; now = a.nextPoll {
		w.schedule(a, now)
		if a.state == stateDone {
			if now.Sub(began) != cfg.Watch.For {
				t.Errorf("watched for %v", now.Sub(began))
			}
			break
		}
		if asked++; !a.nextPoll.After(now) || asked > 20 {
			t.Fatalf("%d. pause from %v to %v", asked, now, a.nextPoll)
		}
		a.polls++
	}
	if asked < 8 {
		t.Errorf("asked %d times", asked)
	}
}

// A destination that cannot be opened is not sent, and stays nobody's but the account's.
func TestSealedDestination(t *testing.T) {
	h, p := newHouse(t), newPayer(t)
	cfg := paying(h.config(nil), newCounter(p.server.URL))
	opened := cfg.Open
	var mu sync.Mutex
	locked := true
	cfg.Open = func(s *paymentsv1.Sealed) (*paymentsv1.Personal, error) {
		mu.Lock()
		defer mu.Unlock()
		if locked {
			return nil, context.DeadlineExceeded
		}
		return opened(s)
	}
	h.start(cfg)
	o := payout(1, "ok|confirmed")
	h.order(o)
	time.Sleep(100 * time.Millisecond)
	if p.taken(o.GetOrderId()) != 0 {
		t.Fatal("sent to nobody knows whom")
	}
	mu.Lock()
	locked = false
	mu.Unlock()
	h.told(o, payment.RailConfirmed)
	a := fullAttempt()
	a.order.Operation, a.order.Method, a.order.Sealed, a.state, a.result = OperationSend, methodBank, o.GetSealed(), stateIntended, payment.RailUnspecified
	for _, known := range []bool{false, true} {
		if known {
			a.learn(Result{Outcome: OutcomeAccepted, Reference: "tr"}, time.Unix(1, 0))
		}
		r, err := a.record(0)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(r.Value, o.GetSealed().GetCiphertext()) == known {
			t.Errorf("the bank has it: %v; what is sealed is kept: %v", known, !known)
		}
	}
}

// A question that reaches nobody is no poll, and one that is not answered does not let the pauses grow.
func TestUnansweredQuestions(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	for name, c := range map[string]struct {
		says   Result
		err    error
		asked  time.Duration // before the next question
		counts uint32
	}{
		"nobody there":   {err: ErrNotSent, asked: 5 * time.Second, counts: 7},
		"nothing said":   {asked: time.Hour, counts: 8},
		"not known":      {says: Result{Outcome: OutcomeNotFound}, asked: 48 * time.Hour, counts: 8},
		"nothing new":    {says: Result{Outcome: OutcomeConfirmed, Reference: "tr"}, asked: 48 * time.Hour, counts: 8},
		"an older word":  {says: Result{Outcome: OutcomeSent, Reference: "tr"}, asked: 48 * time.Hour, counts: 8},
		"another amount": {says: Result{Outcome: OutcomeReturned, Reference: "tr", AmountMinor: 7}, asked: time.Hour, counts: 8},
	} {
		w := newTestWorker(t, &fake{}, now)
		w.cfg.Watch = DefaultConfig().Watch
		w.cfg.Guard.Sendings = 1
		says := func(context.Context, Request) (Result, error) { return c.says, c.err }
		w.connectors["bank"] = newConnector("bank", bankWords{find: says}, w.cfg.Guard, w.metrics)
		w.journal = committing(t, w.metrics)
		known := &attempt{
			state: stateFollowed, result: payment.RailConfirmed, connector: "bank", reference: "tr", polls: 7, reportedAt: now.Add(-48 * time.Hour),
			order: order{ID: "po.send", Operation: OperationSend, Method: methodBank, AmountMinor: 100, Account: string(accountOf(1))},
		}
		a, _, err := w.poll(t.Context(), known)
		if err != nil || a.result != payment.RailConfirmed || a.state != stateFollowed || a.polls != c.counts || a.nextPoll.Sub(now) != c.asked {
			t.Errorf("%s: %v, %+v, next after %v", name, err, a, a.nextPoll.Sub(now))
		}
	}
}

// What is not found is sent again only when the first call surely is dead: should the second be refused while the first is on its
// way, the account would hear of a refusal, and the money would leave.
func TestSentAgainLate(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	for since, want := range map[time.Duration]int{time.Second: 0, time.Hour: 1} {
		w := newTestWorker(t, &fake{}, now)
		w.cfg.Open = func(*paymentsv1.Sealed) (*paymentsv1.Personal, error) { return &paymentsv1.Personal{}, nil }
		sent := 0
		c := newConnector("bank", bankWords{
			find: func(context.Context, Request) (Result, error) { return Result{Outcome: OutcomeNotFound}, nil },
			send: func(context.Context, Request) (Result, error) {
				sent++
				return refused("account"), nil
			},
		}, w.cfg.Guard, w.metrics)
		w.connectors["bank"], w.journal = c, committing(t, w.metrics)
		a := &attempt{
			state: stateUnknown, result: payment.RailUnknown, connector: "bank", intendedAt: now.Add(-since),
			order: order{ID: "po.send", Operation: OperationSend, Method: methodBank, AmountMinor: 100, Currency: "BRL", OrderedAtUS: now.UnixMicro()},
		}
		if _, _, err := w.resolve(t.Context(), a); err != nil || sent != want {
			t.Errorf("%v after it was sent: sent %d times more, %v", since, sent, err)
		}
	}
}

// A first sending that nobody knows about, and that a bank finds late: what is sent again it refuses, because it has the transfer.
// The account must not hear of a refusal, or it gives back money that leaves.
func TestRefusedResendHidesTheFirstTransfer(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	for name, c := range map[string]struct {
		found Result // once it was sent again
		want  Outcome
	}{
		"it came late":     {Result{Outcome: OutcomeSent, Reference: "tr", AmountMinor: 100}, OutcomeSent},
		"nothing is said":  {Result{}, OutcomeUnknown},
		"it never came":    {Result{Outcome: OutcomeNotFound}, OutcomeRefused},
		"refused, as told": {Result{Outcome: OutcomeRefused, Reference: "tr"}, OutcomeRefused},
	} {
		w := newTestWorker(t, &fake{}, now)
		w.cfg.Open = func(*paymentsv1.Sealed) (*paymentsv1.Personal, error) { return &paymentsv1.Personal{}, nil }
		sent := 0
		w.connectors["bank"] = newConnector("bank", bankWords{
			find: func(context.Context, Request) (Result, error) {
				if sent == 0 {
					return Result{Outcome: OutcomeNotFound}, nil
				}
				return c.found, nil
			},
			send: func(context.Context, Request) (Result, error) {
				sent++
				return refused("duplicate"), nil
			},
		}, w.cfg.Guard, w.metrics)
		w.journal = committing(t, w.metrics)
		a := &attempt{
			state: stateUnknown, result: payment.RailUnknown, connector: "bank", number: 1, intendedAt: now.Add(-time.Hour),
			order: order{ID: "po.send", Operation: OperationSend, Method: methodBank, AmountMinor: 100, Currency: "BRL", OrderedAtUS: now.UnixMicro()},
		}
		if r, _, err := w.resolve(t.Context(), a); err != nil || sent != 1 || r.Outcome != c.want || r.Reference != c.found.Reference {
			t.Errorf("%s: sent %d times more, told %s of %q, %v", name, sent, r.Outcome, r.Reference, err)
		}
	}
}

// A bank is asked by our reference. One that tells no id of its own has the transfer all the same: it is asked until the transfer has come to its
// end, or the payout is pending for ever and its money held. What a bank never had is not asked for.
func TestAcceptedWithoutAnIDOfTheBanksIsFollowed(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	for said, want := range map[Outcome]bool{OutcomeAccepted: true, OutcomeSent: true, OutcomeConfirmed: true, OutcomeRefused: false} {
		w := newTestWorker(t, &fake{}, now)
		w.cfg.Open = func(*paymentsv1.Sealed) (*paymentsv1.Personal, error) { return &paymentsv1.Personal{}, nil }
		w.connectors["bank"] = newConnector("bank", bankWords{
			send: func(context.Context, Request) (Result, error) { return Result{Outcome: said, AmountMinor: 100}, nil },
			find: func(context.Context, Request) (Result, error) {
				return Result{Outcome: OutcomeRefused, Code: "closed"}, nil
			},
		}, w.cfg.Guard, w.metrics)
		w.places, w.journal = make(chan struct{}, 1), committing(t, w.metrics)
		a, _, err := w.execute(t.Context(), order{
			ID: "po.send", Operation: OperationSend, Method: methodBank, AmountMinor: 100, Currency: "BRL", Account: string(accountOf(1)), OrderedAtUS: now.UnixMicro(),
		}, 0)
		if err != nil || a.result != said.told() || a.asked() != want {
			t.Fatalf("%s: told %s, asked for %t: %v", said, a.result, a.asked(), err)
		}
		if said != OutcomeAccepted {
			continue
		}
		if a, _, err = w.poll(t.Context(), a); err != nil || a.result != payment.RailRefused || a.stage() != stageWatched {
			t.Errorf("failed behind its yes: told %s, %s: %v", a.result, a.state, err)
		}
	}
}

// Behind an open breaker nothing is intended: a bank that is away for an hour must not fill the log.
func TestNoIntentBehindAnOpenBreaker(t *testing.T) {
	w := newTestWorker(t, &fake{}, time.Unix(1_790_000_000, 0))
	w.cfg.Open = func(*paymentsv1.Sealed) (*paymentsv1.Personal, error) { return &paymentsv1.Personal{}, nil }
	c := newConnector("bank", bankWords{send: func(context.Context, Request) (Result, error) { return Result{Outcome: OutcomeAccepted}, nil }}, w.cfg.Guard, w.metrics)
	w.connectors["bank"], w.journal = c, committing(t, w.metrics)
	o := order{ID: "po.send", Operation: OperationSend, Method: methodBank, AmountMinor: 100, Currency: "BRL"}
	c.breaker.Open()
	a := &attempt{order: o}
	if _, err := w.ask(t.Context(), a, c); !errors.Is(err, ErrNotSent) || a.state == stateIntended {
		t.Errorf("open: %v, %s", err, a.state)
	}
	c.breaker.Close()
	if r, err := w.ask(t.Context(), a, c); err != nil || r.Outcome != OutcomeAccepted || a.state != stateIntended {
		t.Errorf("closed: %+v %v, %s", r, err, a.state)
	}
}

// committing is a journal that takes everything.
func committing(t *testing.T, m *metrics) *journal {
	t.Helper()
	j := &journal{entries: make(chan entry), closed: make(chan struct{}), metrics: m}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e := range j.entries {
			e.done <- nil
		}
	}()
	t.Cleanup(func() {
		close(j.entries)
		<-ended
	})
	return j
}

// bankWords is a bank that says what the test wants.
type bankWords struct {
	Bank

	find, send func(context.Context, Request) (Result, error)
}

func (bankWords) Capabilities() Capabilities {
	return Capabilities{Currencies: []string{"BRL"}, Synchronous: true, Repeatable: true, Deduplicates: true}
}
func (bankWords) OwnReference(orderID string, _ uint32) string { return orderID }

func (b bankWords) Send(ctx context.Context, r Request) (Result, error) { return b.send(ctx, r) }
func (b bankWords) Find(ctx context.Context, r Request) (Result, error) { return b.find(ctx, r) }

// Two runners keep what they tried in one partition, and each restores its own.
func TestTwoRunnersOnePartition(t *testing.T) {
	h := newHouse(t)
	byCard := h.config(map[string]Acquirer{"bank": newTeller("http://127.0.0.1:1")})
	byBank := paying(h.config(nil), newCounter("http://127.0.0.1:1"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for round := range 2 { // the second finds the fences of the first
		for _, cfg := range []Config{byCard, byBank} {
			j, err := openJournal(ctx, cfg, 0, newMetrics(prometheus.NewRegistry()))
			if err != nil {
				t.Fatal(err)
			}
			defer j.close()
			a := &attempt{state: stateIntended, order: order{ID: "of " + cfg.method(), Account: "a", Method: cfg.method()}, intendedAt: time.Now()}
			r, err := a.record(0)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.write(ctx, r); err != nil {
				t.Fatal(err)
			}
			if known, err := j.restore(ctx, cfg); err != nil || len(known) != 1 || known["of "+cfg.method()] == nil {
				t.Errorf("round %d, %s: restored %v: %v", round, cfg.method(), known, err)
			}
		}
	}
}

package cards

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caudalpay/caudal/processors/payment"
)

// fake is an acquirer that says what it is told to say.
type fake struct {
	can     Capabilities
	answers []Result
	voided  Result
	stands  Standing
	sent    int
}

func (f *fake) Capabilities() Capabilities              { return f.can }
func (f *fake) OwnReference(id string, _ uint32) string { return id }
func (f *fake) Authorize(context.Context, Request) (Result, error) {
	r := f.answers[min(f.sent, len(f.answers)-1)]
	f.sent++
	return r, nil
}

func (f *fake) Capture(ctx context.Context, r Request) (Result, error) { return f.Authorize(ctx, r) }
func (f *fake) Void(context.Context, Request) (Result, error)          { return f.voided, nil }
func (f *fake) Refund(ctx context.Context, r Request) (Result, error)  { return f.Authorize(ctx, r) }
func (f *fake) Status(context.Context, Request) (Standing, error)      { return f.stands, nil }

func newTestWorker(t *testing.T, f *fake, now time.Time) *worker {
	t.Helper()
	cfg, err := config([]string{"nobody"}, map[string]Acquirer{"bank": f})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Now = func() time.Time { return now }
	m := newMetrics(prometheus.NewRegistry())
	return &worker{cfg: cfg, metrics: m, log: cfg.Logger, names: &names{orders: map[string]string{}}, moved: newMoved(), connectors: map[string]*connector{"bank": newConnector("bank", f, cfg.Guard, m)}}
}

// An acquirer whose query lags says "absent", and then refuses to void what it has captured: that is proof that it stands
// there, and is taken for proof that it does not.
func TestRefusedVoidIsNoProofOfAbsence(t *testing.T) {
	now := time.Now()
	f := &fake{
		can:    Capabilities{Currencies: []string{"BRL"}, Synchronous: true, VoidsByOwn: true},
		stands: Standing{State: StateAbsent}, voided: Result{Outcome: OutcomeRefused, Code: "http_400: transaction cannot be cancelled now"},
	}
	w := newTestWorker(t, f, now)
	a := &attempt{
		state: stateUnknown, connector: "bank", own: "o", intendedAt: now.Add(-time.Hour),
		order: order{ID: "p.collect", Operation: OperationCollect, AmountMinor: 100, Currency: "BRL"},
	}
	if r, _, err := w.resolve(t.Context(), a); err != nil || r.Outcome == OutcomeRefused {
		t.Errorf("the charge may stand, its void was refused, and the account is told: %v %s %v", r.Outcome, r.Code, err)
	}
}

// A first sending that nobody knows about, a second that is refused: the first may have been done.
func TestRefusedRepeatHidesTheFirstSending(t *testing.T) {
	f := &fake{
		can:     Capabilities{Currencies: []string{"BRL"}, Synchronous: true, Repeatable: true},
		answers: []Result{{}, {Outcome: OutcomeRefused, Code: "http_412"}},
	}
	w := newTestWorker(t, f, time.Now())
	r, err := w.connectors["bank"].send(t.Context(), Request{Operation: OperationCapture, Currency: "BRL", AmountMinor: 100, Reference: "ch"})
	if err != nil || r.Outcome == OutcomeRefused {
		t.Errorf("sent %d times, of the first nobody knows, told %v %s %v", f.sent, r.Outcome, r.Code, err)
	}
}

// An account's clock may be ahead of the connectors' (one ingress ahead is enough: it is clamped upward for ever). An outcome
// is remembered for as long as its order is young enough to be tried.
func TestForgottenIsTooOldToBeTried(t *testing.T) {
	done := time.Now()
	w := newTestWorker(t, &fake{can: Capabilities{Currencies: []string{"BRL"}}}, done)
	o := order{ID: "p.collect", Operation: OperationCollect, OrderedAtUS: done.Add(26 * time.Hour).UnixMicro()}
	a := &attempt{state: stateDone, order: o, reportedAt: done}
	forgotten := 0
	for after := time.Duration(0); after < w.cfg.Keep+72*time.Hour; after += time.Hour {
		now := done.Add(after)
		w.cfg.Now = func() time.Time { return now }
		if a.forgettable(now.Add(-w.cfg.Keep - forgetEvery)) {
			forgotten++
			if w.never(o) == "" {
				t.Fatalf("forgotten after %v, and the order would be sent again", after)
			}
		}
	}
	if forgotten == 0 {
		t.Error("nothing is ever forgotten")
	}
}

// What is forgotten in a day must keep up with what is done in a day.
func TestForgettingKeepsUp(t *testing.T) {
	perSecond := float64(forgetMost) / forgetEvery.Seconds()
	if perSecond < 10 {
		t.Errorf("%.2f outcomes a second leave a partition's memory, however many come", perSecond)
	}
}

// order.go says that a SEND, and any kind that a later version may add, is refused as unsupported: it ends the process.
func TestKindNobodyKnows(t *testing.T) {
	w := newTestWorker(t, &fake{can: Capabilities{Currencies: []string{"BRL"}}}, time.Now())
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("every restart reads the order again and panics: %v", p)
		}
	}()
	o := order{ID: "po.send", Operation: OperationUnknown, AmountMinor: 1, Currency: "BRL", OrderedAtUS: time.Now().UnixMicro()}
	if r, err := w.try(t.Context(), &attempt{order: o}); err != nil || r.Code != CodeUnsupported {
		t.Errorf("%+v %v", r, err)
	}
}

// changing is an order that changes the transaction "ch" at the bank.
func changing(id string, op Operation, now time.Time) order {
	return order{
		ID: id, Operation: op, Method: methodCard, AmountMinor: 1000, Currency: "BRL", PaymentID: "pi", Account: string(accountOf(1)),
		Connector: "bank", Reference: "ch", OrderedAtUS: now.UnixMicro(),
	}
}

// A refund of all that was captured, of which nobody knows whether it arrived, and a holder who contests the charge meanwhile. Some acquirers call
// what is disputed given back: the dispute must not be taken for the refund, or the account pays for both.
func TestADisputeIsNotTheRefundUnderWay(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	w := newTestWorker(t, &fake{
		can:    Capabilities{Currencies: []string{"BRL"}, Synchronous: true, TellsDisputes: true},
		stands: Standing{State: StateCaptured, Reference: "ch", AuthorizedMinor: 1000, CapturedMinor: 1000, ReturnedMinor: 1000, Disputed: true},
	}, now)
	w.journal = committing(t, w.metrics)
	for _, since := range []time.Duration{5 * time.Second, 48 * time.Hour} {
		known := &attempt{
			state: stateUnknown, result: payment.RailUnknown, connector: "bank", own: "re.return", number: 1, intendedAt: now.Add(-since),
			before: before{capturedMinor: 1000}, reference: "ch", order: changing("re.return", OperationRefund, now),
		}
		a, _, err := w.poll(t.Context(), known)
		if err != nil {
			t.Fatal(err)
		}
		if a.state != stateUnknown || a.nextPoll.IsZero() {
			t.Errorf("%v after it was sent: what is given back is what the holder contests, and the account is told that its refund of %d is %s", since, a.amount, a.result)
		}
	}
}

// What the acquirer itself says of a refund is believed, whoever contests the charge.
func TestARefundOfWhatIsDisputedIsAnswered(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	for result, said := range map[payment.RailResult]Result{
		payment.RailConfirmed: {Outcome: OutcomeConfirmed, Reference: "ch", AmountMinor: 1000},
		payment.RailRefused:   {Outcome: OutcomeRefused, Code: "charged back"},
	} {
		w := newTestWorker(t, &fake{
			can: Capabilities{Currencies: []string{"BRL"}, Synchronous: true, TellsDisputes: true}, answers: []Result{said},
			stands: Standing{State: StateCaptured, Reference: "ch", AuthorizedMinor: 1000, CapturedMinor: 1000, ReturnedMinor: 1000, Disputed: true},
		}, now)
		w.places, w.journal = make(chan struct{}, 1), committing(t, w.metrics)
		if a, _, err := w.execute(t.Context(), changing("re.return", OperationRefund, now), 0); err != nil || a.result != result {
			t.Errorf("%+v, and the account is told %s %q: %v", said, a.result, a.code, err)
		}
	}
}

// What stands voided at the acquirer is given up, whoever has done it: a void that was called lost and came late, or the acquirer itself. Who
// voids it again has to be told so, or it stands authorised in the books for ever. Nothing is captured of it all the same.
func TestAVoidOfWhatStandsVoidedIsDone(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	turned := Result{Outcome: OutcomeRefused, Code: "already voided", Reference: "ch"}
	for name, returned := range map[string]int64{"what was given up is told": 1000, "it is not told": 0} {
		w := newTestWorker(t, &fake{
			can: Capabilities{Currencies: []string{"BRL"}, Synchronous: true}, voided: turned, answers: []Result{turned},
			stands: Standing{State: StateVoided, Reference: "ch", AuthorizedMinor: 1000, ReturnedMinor: returned},
		}, now)
		w.places, w.journal = make(chan struct{}, 1), committing(t, w.metrics)
		for op, result := range map[Operation]payment.RailResult{OperationVoid: payment.RailConfirmed, OperationCapture: payment.RailRefused} {
			if a, _, err := w.execute(t.Context(), changing("o", op, now), 0); err != nil || a.result != result {
				t.Errorf("%s: the account is told of its %s %s %q: %v", name, op, a.result, a.code, err)
			}
		}
	}
}

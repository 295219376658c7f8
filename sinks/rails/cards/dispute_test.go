package cards

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// desk is told of disputes, and answers as a test says.
type desk struct {
	answer func(n *railsv1.Notification, nth int) (*paymentsv1.Decision, error) // nth telling of this event, from 1

	mu   sync.Mutex
	told []string // event ids
}

func (d *desk) Tell(_ context.Context, n *railsv1.Notification) (*paymentsv1.Decision, error) {
	d.mu.Lock()
	d.told = append(d.told, n.GetEventId())
	nth := 0
	for _, id := range d.told {
		if id == n.GetEventId() {
			nth++
		}
	}
	d.mu.Unlock()
	return d.answer(n, nth)
}

func (d *desk) events() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.told)
}

// Every stage that a processor may tell is a status of its own.
func TestStatusOfEachStage(t *testing.T) {
	for number := range railsv1.DisputeStage_name {
		stage := railsv1.DisputeStage(number)
		if got := payment.Status(statusOf(stage)); number != 0 && got.String() != stageWord(stage) {
			t.Errorf("%s is %s", stage, got)
		}
	}
	if got := statusOf(railsv1.DisputeStage(99)); got != paymentsv1.PaymentStatus_PAYMENT_STATUS_UNSPECIFIED {
		t.Errorf("a stage that is new is %s", got)
	}
}

// stands is the decision that a dispute now stands as it was told.
func stands(n *railsv1.Notification, _ int) (*paymentsv1.Decision, error) {
	return &paymentsv1.Decision{Outcome: paymentsv1.Outcome_OUTCOME_APPLIED, Status: statusOf(n.GetDispute().GetStage())}, nil
}

// contested is what a processor notifies of a dispute.
func contested(event, dispute string, stage railsv1.DisputeStage) *railsv1.Notification {
	return &railsv1.Notification{
		Version: 1, Kind: railsv1.NotificationKind_NOTIFICATION_KIND_DISPUTE, Processor: "bank", EventId: event, Reference: "tid-1",
		ReceivedAtUs: time.Now().UnixMicro(), Dispute: &railsv1.NotifiedDispute{Id: dispute, Stage: stage, AmountMinor: 700, Currency: "BRL"},
	}
}

const (
	stageOpen = railsv1.DisputeStage_DISPUTE_STAGE_DISPUTE
	stageWon  = railsv1.DisputeStage_DISPUTE_STAGE_WON
)

// contests are the disputes that were judged, by stage and verdict.
func contests(t testing.TB, r *Runner) map[string]int {
	t.Helper()
	all := map[string]int{}
	for stage := range railsv1.DisputeStage_name {
		for _, v := range disputeVerdicts() {
			word := stageWord(railsv1.DisputeStage(stage))
			if n := value(t, r.metrics.disputes.WithLabelValues("bank", word, string(v))); n > 0 {
				all[word+" "+string(v)] += n
			}
		}
	}
	return all
}

// disputing is a house whose disputes go to a desk.
func (h *house) disputing(b *bank, d *desk) Config {
	cfg := h.patient(map[string]Acquirer{"bank": newNotifier(b.server.URL)})
	cfg.Disputes, cfg.Hearing.Behind, cfg.Hearing.Unanswered = d, 700*time.Millisecond, 700*time.Millisecond
	return cfg
}

// What an account decides about a dispute is what its notification is judged to be.
func TestDisputeIsJudgedByItsDecision(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	declined := func(r paymentsv1.Reason) *paymentsv1.Decision {
		return &paymentsv1.Decision{Outcome: paymentsv1.Outcome_OUTCOME_DECLINED, Reasons: []paymentsv1.Reason{r}}
	}
	answers := map[string]struct {
		d    *paymentsv1.Decision
		err  error
		want verdict
	}{
		"stands":   {&paymentsv1.Decision{Outcome: paymentsv1.Outcome_OUTCOME_APPLIED, Status: paymentsv1.PaymentStatus_PAYMENT_STATUS_DISPUTE}, nil, verdictConfirmed},
		"older":    {&paymentsv1.Decision{Outcome: paymentsv1.Outcome_OUTCOME_APPLIED, Status: paymentsv1.PaymentStatus_PAYMENT_STATUS_WON}, nil, verdictStale},
		"again":    {&paymentsv1.Decision{Outcome: paymentsv1.Outcome_OUTCOME_REPEATED, Status: paymentsv1.PaymentStatus_PAYMENT_STATUS_WON}, nil, verdictRepeated},
		"other":    {&paymentsv1.Decision{Outcome: paymentsv1.Outcome_OUTCOME_CONFLICT}, nil, verdictContradicted},
		"amount":   {declined(paymentsv1.Reason_REASON_RAIL_AMOUNT), nil, verdictContradicted},
		"overflow": {declined(paymentsv1.Reason_REASON_AMOUNT_OVERFLOW), nil, verdictRefused},
		"captured": {declined(paymentsv1.Reason_REASON_PAYMENT_UNKNOWN), nil, verdictUnknownPayment},
		"nobody's": {nil, ErrNoPayIn, verdictUnknownPayment},
		"currency": {nil, ErrContradicted, verdictContradicted},
		"parked":   {nil, ErrUndecided, verdictPending},
	}
	d := &desk{answer: func(n *railsv1.Notification, _ int) (*paymentsv1.Decision, error) {
		return answers[n.GetEventId()].d, answers[n.GetEventId()].err
	}}
	r, _ := h.start(h.disputing(b, d))
	want := map[string]int{}
	for name, a := range answers {
		h.notify(0, contested(name, "d-"+name, stageOpen))
		want["dispute "+string(a.want)]++
	}
	for _, change := range []func(*railsv1.Notification){
		func(n *railsv1.Notification) { n.Dispute.Id = "" },
		func(n *railsv1.Notification) { n.Dispute.AmountMinor = 0 },
		func(n *railsv1.Notification) { n.Reference = "" },
	} {
		n := contested("incomplete", "d-incomplete", stageOpen)
		change(n)
		h.notify(0, n)
		want["dispute incomplete"]++
	}
	byTID := contested("stands", "d-tid", stageOpen)
	byTID.Reference, byTID.Dispute.Tid = "", "123"
	h.notify(0, byTID, contested("nobody knows the word", "d-word", railsv1.DisputeStage_DISPUTE_STAGE_UNSPECIFIED))
	want["dispute confirmed"]++
	want["unknown incomplete"]++
	sum := func(all map[string]int) (n int) {
		for _, k := range all {
			n += k
		}
		return n
	}
	eventually(t, "all verdicts", func() bool { return sum(contests(t, r)) >= sum(want) })
	if got := contests(t, r); !equalCounts(got, want) {
		t.Errorf("judged %v\nwant   %v", got, want)
	}
	times := map[string]int{}
	for _, event := range d.events() {
		times[event]++
		if event == "incomplete" || answers[event].want == "" {
			t.Errorf("%q was told to an account", event)
		}
	}
	if times["other"] != 1 || times["currency"] != 1 || times["amount"] < 2 {
		t.Errorf("told so often: %v", times)
	}
}

func equalCounts(a, b map[string]int) bool {
	for k, n := range a {
		if b[k] != n {
			return false
		}
	}
	return len(a) == len(b)
}

// A dispute is won, and the next of the same charge is opened under another name, which waits for nothing that is told of the first: its account
// finds the amount taken still, and declines it. It is told again, or what the card network took is not in the books.
func TestADisputeAheadOfTheOneThatIsWonIsToldAgain(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	tried := make(chan struct{})
	var first sync.Once
	var won atomic.Bool
	d := &desk{answer: func(n *railsv1.Notification, nth int) (*paymentsv1.Decision, error) {
		switch {
		case n.GetDispute().GetId() == "first":
			<-tried // its account is slower
			won.Store(true)
		case !won.Load():
			first.Do(func() { close(tried) })
			return &paymentsv1.Decision{Outcome: paymentsv1.Outcome_OUTCOME_DECLINED, Reasons: []paymentsv1.Reason{paymentsv1.Reason_REASON_RAIL_AMOUNT}}, nil
		}
		return stands(n, nth)
	}}
	cfg := h.disputing(b, d)
	cfg.Hearing.Behind = time.Minute
	r, _ := h.start(cfg)
	h.notify(0, contested("e1", "first", stageWon), contested("e2", "second", stageOpen))
	eventually(t, "both verdicts", func() bool { return len(contests(t, r)) == 2 })
	if got := contests(t, r); got["won confirmed"] != 1 || got["dispute confirmed"] != 1 {
		t.Errorf("judged %v, told %v", got, d.events())
	}
}

// Invariant: what is told of one dispute reaches its account in the order in which it came, and another dispute waits for none of it.
func TestDisputesAreToldInTheirOrder(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	d := &desk{answer: func(n *railsv1.Notification, nth int) (*paymentsv1.Decision, error) {
		if n.GetEventId() == "opened" && nth < 6 {
			return nil, ErrNoPayIn // the store is behind
		}
		return stands(n, nth)
	}}
	cfg := h.disputing(b, d)
	cfg.Hearing.Behind = time.Minute
	r, _ := h.start(cfg)
	h.notify(0, contested("opened", "d1", stageOpen), contested("won", "d1", stageWon), contested("another", "d2", stageOpen))
	eventually(t, "three verdicts", func() bool {
		got := contests(t, r)
		return got["dispute confirmed"] == 2 && got["won confirmed"] == 1
	})
	events := d.events()
	if at := slices.Index(events, "won"); at != len(events)-1 || slices.Index(events, "another") > 2 {
		t.Errorf("told %v", events)
	}
}

// Invariant: a dispute is told until its account has decided, whatever fails here, and whoever dies.
func TestDisputeOutlivesItsReader(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	broken := &desk{answer: func(*railsv1.Notification, int) (*paymentsv1.Decision, error) {
		return nil, errors.New("the log is away")
	}}
	cfg := h.disputing(b, broken)
	cfg.Hearing.Behind, cfg.Hearing.Unanswered = time.Nanosecond, time.Nanosecond
	first, stop := h.start(cfg)
	h.notify(0, contested("opened", "d1", stageOpen))
	eventually(t, "it was tried four times", func() bool { return len(broken.events()) >= 4 })
	if got := contests(t, first); len(got) > 0 {
		t.Errorf("judged %v", got)
	}
	stop()
	works := &desk{answer: stands}
	cfg.Disputes = works
	second, stop := h.start(cfg)
	eventually(t, "a verdict", func() bool { return contests(t, second)["dispute confirmed"] == 1 })
	stop()
	last := &desk{answer: stands}
	cfg.Disputes = last
	third, _ := h.start(cfg)
	h.notify(0, contested("won", "d1", stageWon))
	eventually(t, "a verdict on what came behind", func() bool { return contests(t, third)["won confirmed"] == 1 })
	if got := last.events(); len(got) != 1 {
		t.Errorf("what was judged is told again: %v", got)
	}
}

// Invariant: a dispute whose processor was taken out of the file of rails waits for it to be put back.
func TestDisputeOfAProcessorThatIsNotConnected(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	d := &desk{answer: stands}
	without := h.patient(map[string]Acquirer{"other": newNotifier(b.server.URL)})
	without.Disputes = d
	routes, err := ParseRoutes([]byte(strings.ReplaceAll(oneRoute, "bank", "other")))
	if err != nil {
		t.Fatal(err)
	}
	without.Routes = routes
	first, stop := h.start(without)
	h.notify(0, contested("opened", "d1", stageOpen))
	marker := contested("marker", "d2", stageOpen)
	marker.Processor = "other"
	h.notify(0, marker)
	eventually(t, "what comes behind it is told", func() bool { return slices.Contains(d.events(), "marker") })
	stop()
	if got := contests(t, first); len(got) > 0 || len(d.events()) != 1 {
		t.Errorf("judged %v, told %v", got, d.events())
	}
	second, _ := h.start(h.disputing(b, d))
	eventually(t, "a verdict", func() bool { return contests(t, second)["dispute confirmed"] == 1 })
}

// Patience with what is not found begins when it is not found: behind a store that was away comes one that is still behind.
func TestPatienceBeginsAnew(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	d := &desk{answer: func(n *railsv1.Notification, nth int) (*paymentsv1.Decision, error) {
		switch {
		case nth <= 7: // longer than a dispute that is not found is told again
			return nil, errors.New("the store is away")
		case nth <= 9:
			return nil, ErrNoPayIn
		default:
			return stands(n, nth)
		}
	}}
	r, _ := h.start(h.disputing(b, d))
	h.notify(0, contested("opened", "d1", stageOpen))
	eventually(t, "a verdict", func() bool { return len(contests(t, r)) > 0 })
	if got := contests(t, r); got["dispute confirmed"] != 1 {
		t.Errorf("judged %v after %d tellings", got, len(d.events()))
	}
}

// witnessing is an acquirer that says, when asked, whether a transaction is disputed.
type witnessing struct {
	*notifier

	mu sync.Mutex
	s  Standing
}

func (w *witnessing) Capabilities() Capabilities {
	c := w.notifier.Capabilities()
	c.TellsDisputes = true
	return c
}

func (w *witnessing) Status(context.Context, Request) (Standing, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.s, nil
}

func (w *witnessing) say(s Standing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.s = s
}

// Invariant: where the processor can be asked, no account hears of a dispute that the processor denies, or says nothing of.
func TestProcessorIsAskedBeforeMoneyMoves(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	taken, contest := Standing{State: StateCaptured, CapturedMinor: 700}, Standing{State: StateCaptured, CapturedMinor: 700, Disputed: true}
	for _, c := range []struct {
		name  string
		stage railsv1.DisputeStage
		says  Standing
		want  verdict
	}{
		{"disputed", stageOpen, contest, verdictConfirmed},
		{"lost", railsv1.DisputeStage_DISPUTE_STAGE_LOST, contest, verdictConfirmed},
		{"given back", stageWon, taken, verdictConfirmed},
		{"nothing taken yet", railsv1.DisputeStage_DISPUTE_STAGE_PRE_DISPUTE, taken, verdictConfirmed},
		{"not disputed", stageOpen, taken, verdictLie},
		{"still disputed", stageWon, contest, verdictLie},
		{"another amount", stageOpen, Standing{State: StateCaptured, CapturedMinor: 800, Disputed: true}, verdictLie},
		{"no such charge", stageOpen, Standing{State: StateAbsent}, verdictLie},
		{"no answer", stageOpen, Standing{}, verdictUnclear},
	} {
		d := &desk{answer: stands}
		cfg := h.disputing(b, d)
		cfg.Acquirers = map[string]Acquirer{"bank": &witnessing{notifier: newNotifier(b.server.URL), s: c.says}}
		r, stop := h.start(cfg)
		h.notify(0, contested(c.name, c.name, c.stage))
		key := stageWord(c.stage) + " " + string(c.want)
		eventually(t, c.name, func() bool { return len(contests(t, r)) > 0 })
		if got := contests(t, r); got[key] != 1 || len(got) != 1 || (len(d.events()) == 1) != (c.want == verdictConfirmed) {
			t.Errorf("%s: judged %v, told %v", c.name, got, d.events())
		}
		stop()
	}
	late := &witnessing{notifier: newNotifier(b.server.URL), s: taken} // its webhooks are ahead of what it says
	d := &desk{answer: stands}
	cfg := h.disputing(b, d)
	cfg.Acquirers, cfg.Hearing.Behind = map[string]Acquirer{"bank": late}, time.Minute
	r, _ := h.start(cfg)
	h.notify(0, contested("late", "late", stageOpen))
	time.Sleep(50 * time.Millisecond)
	late.say(contest)
	eventually(t, "it says the same", func() bool { return contests(t, r)["dispute confirmed"] == 1 })
}

// A dispute beside a hint about the same transaction is not judged with it.
func TestDisputeBesideHint(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	release := make(chan struct{})
	d := &desk{answer: func(n *railsv1.Notification, nth int) (*paymentsv1.Decision, error) {
		if n.GetEventId() == "first" {
			<-release
		}
		return stands(n, nth)
	}}
	cfg := h.disputing(b, d)
	cfg.Hearing.AtOnce = 1
	r, _ := h.start(cfg)
	o := collect(1, "cut")
	h.order(o)
	unresolved(t, r, 1)
	n := contested("opened", "d1", stageOpen)
	n.OwnReference = ownOf(o, 1)
	h.notify(partitionOf(o), contested("first", "d0", stageOpen))
	eventually(t, "the first is told", func() bool { return len(d.events()) == 1 })
	h.notify(partitionOf(o), captured(o), n) // both wait for the one place, and are found together
	time.Sleep(200 * time.Millisecond)
	close(release)
	h.answers(o)
	eventually(t, "all verdicts", func() bool {
		return judged(t, "bank", r)[verdictConfirmed] == 1 && contests(t, r)["dispute confirmed"] == 2
	})
	if got := judged(t, "bank", r); len(got) != 1 {
		t.Errorf("judged %v", got)
	}
}

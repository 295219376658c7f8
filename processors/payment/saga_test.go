package payment_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caudalpay/caudal/processors/payment"
)

// kinds are all that make records, each with what else tells its sagas apart.
var kinds = []payment.Record{
	{Kind: payment.KindPayIn, Method: "book"},
	{Kind: payment.KindPayIn, Method: "cash"},
	{Kind: payment.KindPayIn, Method: "card"},
	{Kind: payment.KindPayIn, Method: "card", Rail: &payment.Rail{Capture: payment.CaptureManual}},
	{Kind: payment.KindPayOut, Method: "book"},
	{Kind: payment.KindPayOut, Method: "bank", Rail: &payment.Rail{}},
	{Kind: payment.KindPayOut, Method: "bank", FX: &payment.FX{}, Rail: &payment.Rail{}},
	{Kind: payment.KindTransfer, Method: "book"},
	{Kind: payment.KindRefund, Method: "card", Rail: &payment.Rail{}},
	{Kind: payment.KindCapture, Method: "card", Rail: &payment.Rail{}},
	{Kind: payment.KindVoid, Method: "card", Rail: &payment.Rail{}},
	{Kind: payment.KindIncrement, Method: "card", Rail: &payment.Rail{}},
	{Kind: payment.KindFXQuote},
	{Kind: payment.KindDispute, Method: "card", Rail: &payment.Rail{}},
	{Kind: payment.KindAuthorization, Method: "issuing", Rail: &payment.Rail{}},
}

// reaches tells the statuses that a payment of a kind and method comes to: those of its family but for what its way does without.
func reaches(r payment.Record, s payment.Status) bool {
	manual := r.Rail != nil && r.Rail.Capture == payment.CaptureManual
	switch {
	case s == payment.StatusNone || s.Final():
		return false
	case r.Kind == payment.KindPayIn && r.Method != "card":
		return s == payment.StatusInReview || s == payment.StatusPartiallyRefunded
	case r.Kind == payment.KindPayIn && !manual:
		return s != payment.StatusRequiresCapture && s != payment.StatusPartiallyCaptured
	case r.Kind == payment.KindPayOut && r.Rail == nil:
		return s == payment.StatusInReview
	default:
		return true
	}
}

// Invariant: whatever is not final waits at exactly one step of the saga of its kind and method, and no step waits for what cannot be.
func TestEveryWaitIsAStep(t *testing.T) {
	waited := map[string]bool{}
	for _, r := range kinds {
		for _, f := range families {
			if f.family != payment.FamilyOf(r.Kind) {
				continue
			}
			for _, s := range f.statuses {
				r.Status = s
				w, ok := payment.SagaOf(&r)
				if ok != reaches(r, s) {
					t.Errorf("%s %s by %s: waits at a step: %t", s, r.Kind, r.Method, ok)
				}
				n := 0
				for _, step := range payment.Sagas() {
					if ok && step.Saga == w.Step.Saga && step.Record == r.Kind && slices.Contains(step.Waits, s) {
						n++
						waited[step.Saga+"."+step.Name+"."+step.Record.String()+s.String()] = true
					}
				}
				if ok && n != 1 {
					t.Errorf("%s %s by %s: %d steps of %s", s, r.Kind, r.Method, n, w.Step.Saga)
				}
			}
		}
	}
	for _, step := range payment.Sagas() {
		for _, s := range step.Waits {
			if !waited[step.Saga+"."+step.Name+"."+step.Record.String()+s.String()] {
				t.Errorf("%s %s waits in %s: no record does", step.Saga, step.Name, s)
			}
		}
	}
}

// Invariant: what a step holds or has done is taken back by an event that its record's table moves by, from where it waits or
// from where that has led.
func TestEveryStepCanBeUndone(t *testing.T) {
	for _, step := range payment.Sagas() {
		if !step.Undoable {
			if len(step.Waits) > 0 && step.StuckAfterUS != 0 {
				t.Errorf("%s %s waits, and nothing takes it back", step.Saga, step.Name)
			}
			continue
		}
		family := payment.FamilyOf(step.Record)
		moves := false
		for s := range reached(family, step.Waits) {
			moves = moves || payment.Next(family, s, step.Undone).Effect == payment.Move
		}
		if !moves {
			t.Errorf("%s %s: %s moves no %s from there", step.Saga, step.Name, step.Undone, step.Record)
		}
	}
}

// reached are the statuses that come of some, they included; of none: all.
func reached(f payment.Family, from []payment.Status) map[payment.Status]bool {
	all := map[payment.Status]bool{}
	if len(from) == 0 {
		from = everyStatus()
	}
	for len(from) > 0 {
		s := from[0]
		from = from[1:]
		if all[s] {
			continue
		}
		all[s] = true
		for _, e := range everyEvent() {
			if step := payment.Next(f, s, e); step.Effect == payment.Move {
				from = append(from, step.To)
			}
		}
	}
	return all
}

// Invariant: a record orders at one step, under the order's word: the ids of orders on their way are made of it.
func TestStepsOrderUnderTheirWords(t *testing.T) {
	for _, step := range payment.Sagas() {
		if step.Order == payment.OrderUnknown {
			continue
		}
		if step.Name != step.Order.String() && (step.Name != "expire" || step.Order != payment.OrderVoid) {
			t.Errorf("%s %s orders %s", step.Saga, step.Name, step.Order)
		}
	}
	for _, r := range kinds {
		step, ok := r.StepOrdering()
		asked := r.Kind != payment.KindDispute && r.Kind != payment.KindAuthorization // by somebody else: they ask no rail
		if ok != (r.Rail != nil && asked || r.Kind == payment.KindPayIn && r.Method == "card") {
			t.Errorf("%s by %s orders at a step: %t %s", r.Kind, r.Method, ok, step.Name)
		}
	}
}

func TestStuck(t *testing.T) {
	us := func(d time.Duration) int64 { return d.Microseconds() }
	for _, c := range []struct {
		name string
		rec  payment.Record
		at   int64 // 0: never
	}{
		{"a transfer on its way", payment.Record{Kind: payment.KindTransfer, Status: payment.StatusProcessing, CreatedAtUS: 7}, 7 + us(5*time.Minute)},
		{"a review", payment.Record{Kind: payment.KindPayIn, Method: "book", Status: payment.StatusInReview, CreatedAtUS: 7, DeadlineUS: 9}, 9 + us(15*time.Minute)},
		{"an authorisation that expires", payment.Record{
			Kind: payment.KindPayIn, Method: "card", Status: payment.StatusRequiresCapture, DeadlineUS: 3,
			Rail: &payment.Rail{Capture: payment.CaptureManual, ExpiresAtUS: 11},
		}, 11 + us(2*time.Hour)},
		{"one that never does", payment.Record{
			Kind: payment.KindPayIn, Method: "card", Status: payment.StatusPartiallyCaptured, CreatedAtUS: 7, DeadlineUS: 3,
			Rail: &payment.Rail{Capture: payment.CaptureManual},
		}, 0},
		{"a quote", payment.Record{Kind: payment.KindFXQuote, Status: payment.StatusCreated, CreatedAtUS: 7, DeadlineUS: 9}, 0},
		{"a payout that was sent", payment.Record{Kind: payment.KindPayOut, Method: "bank", Status: payment.StatusSent, CreatedAtUS: 7}, 7 + us(72*time.Hour)},
	} {
		if w, ok := payment.SagaOf(&c.rec); !ok || w.StuckAtUS != c.at {
			t.Errorf("%s: stuck at %d (%t), want %d", c.name, w.StuckAtUS, ok, c.at)
		}
	}
}

// sagaPage draws the sagas.
func sagaPage(b *strings.Builder) {
	b.WriteString(`
## Sagas

What takes more than one decision, step by step. *Asks*: the order to a rail in capitals, or the command that takes the step; *waits*: the statuses of the
record in which it waits, none where the step is over in the decision that takes it; *stuck*: how long after it has come there somebody should look
(` + "`caudal sagas list --stuck`, measured by `caudal_sinks_sagas_stuck`" + `), or how long after its own deadline; *undone*: the event that takes back what the step holds or has done.

| saga | step | record | asks | waits | stuck | undone |
|---|---|---|---|---|---|---|
`)
	last := ""
	for _, step := range payment.Sagas() {
		name := "`" + step.Saga + "`"
		if step.Saga == last {
			name = ""
		}
		last = step.Saga
		waits := make([]string, len(step.Waits))
		for i, s := range step.Waits {
			waits[i] = s.String()
		}
		undone := "–"
		if step.Undoable {
			undone = "`" + step.Undone.String() + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", name, step.Name, step.Record, orDash(step.Asks), orDash(strings.Join(waits, ", ")), stuckWord(&step), undone)
	}
}

func stuckWord(s *payment.SagaStep) string {
	if s.StuckAfterUS == 0 {
		return "never"
	}
	const dayUS = 86_400_000_000
	if s.StuckAfterUS%dayUS == 0 {
		return fmt.Sprintf("%dd", s.StuckAfterUS/dayUS)
	}
	word := strings.TrimSuffix(strings.TrimSuffix((time.Duration(s.StuckAfterUS)*time.Microsecond).String(), "0s"), "0m")
	if s.FromDeadline {
		return word + " after its deadline"
	}
	return word
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

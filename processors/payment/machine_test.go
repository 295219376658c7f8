package payment_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/processors/payment"
)

var rewrite = flag.Bool("rewrite-lifecycle", false, "rewrite docs/lifecycle.md")

// families in the order of the page, each with the statuses it has.
var families = []struct {
	family   payment.Family
	name     string
	about    string
	statuses []payment.Status
}{
	{payment.FamilyPayIn, "Pay-ins", "`book` and `cash` are `succeeded` when they are decided; `card` goes the long way.", []payment.Status{
		payment.StatusNone, payment.StatusInReview, payment.StatusProcessing, payment.StatusUnknown, payment.StatusRequiresCapture,
		payment.StatusPartiallyCaptured, payment.StatusSucceeded, payment.StatusPartiallyRefunded, payment.StatusRefunded,
		payment.StatusFailed, payment.StatusCancelled, payment.StatusExpired,
	}},
	{payment.FamilyPayOut, "Payouts", "`book` and `cash` are `succeeded` when they are decided; `bank` is sent.", []payment.Status{
		payment.StatusNone, payment.StatusInReview, payment.StatusCreated, payment.StatusPending, payment.StatusSent, payment.StatusPaid,
		payment.StatusSucceeded, payment.StatusReturned, payment.StatusFailed, payment.StatusExpired,
	}},
	{payment.FamilyTransfer, "Transfers", "The other side is the payee's account: it confirms or refuses the counter-leg.", []payment.Status{
		payment.StatusNone, payment.StatusInReview, payment.StatusProcessing, payment.StatusSucceeded, payment.StatusFailed, payment.StatusExpired,
	}},
	{payment.FamilyOperation, "Captures, voids, increments and refunds", "Each is a record of its own about a pay-in. A refund of `book` or `cash` is `succeeded` when it is decided.", []payment.Status{
		payment.StatusNone, payment.StatusProcessing, payment.StatusUnknown, payment.StatusSucceeded, payment.StatusFailed,
	}},
	{payment.FamilyQuote, "Quotes", "A rate that one payment may use until it expires; one that has expired stays `created` until it leaves.", []payment.Status{
		payment.StatusNone, payment.StatusCreated, payment.StatusSucceeded, payment.StatusFailed,
	}},
	{payment.FamilyDispute, "Disputes", "Each is a record of its own about a pay-in by `card`, whose status it does not change.", []payment.Status{
		payment.StatusNone, payment.StatusPreDispute, payment.StatusDispute, payment.StatusPreArbitration, payment.StatusWon, payment.StatusLost,
	}},
	{payment.FamilyAuthorization, "Authorizations", "Of a card that pays from an account. `reversed` and `reduced` are a reversal of a dual message, `refunded_all` and `refunded` of a single one, wholly and in part.", []payment.Status{
		payment.StatusNone, payment.StatusRequiresCapture, payment.StatusPartiallyCaptured, payment.StatusSucceeded, payment.StatusFailed,
		payment.StatusCancelled, payment.StatusExpired,
	}},
}

func everyEvent() (all []payment.Event) {
	for e := payment.Event(0); e.String() != "no event"; e++ {
		all = append(all, e)
	}
	return all
}

func everyStatus() (all []payment.Status) {
	for s := payment.StatusNone; s <= payment.StatusLost; s++ {
		all = append(all, s)
	}
	return all
}

// Invariant: every event that a family has is decided in every status that it has, and no status leads out of the family.
func TestEveryPairIsDecided(t *testing.T) {
	for _, f := range families {
		for _, e := range everyEvent() {
			decided := slices.ContainsFunc(f.statuses, func(s payment.Status) bool { return payment.Next(f.family, s, e).Effect != payment.Impossible })
			for _, s := range everyStatus() {
				step := payment.Next(f.family, s, e)
				switch {
				case !slices.Contains(f.statuses, s) && step != payment.Step{}:
					t.Errorf("%s: %s in %s, which it does not have", f.name, e, s)
				case step.Effect == payment.Move && !slices.Contains(f.statuses, step.To):
					t.Errorf("%s: %s in %s leads to %s, which it does not have", f.name, e, s, step.To)
				case step.Effect == payment.Move && step.To == s:
					t.Errorf("%s: %s in %s moves nowhere: that is allowed, and no move", f.name, e, s)
				case decided && asked(e) && s != payment.StatusNone && slices.Contains(f.statuses, s) && step.Effect == payment.Impossible:
					t.Errorf("%s: %s in %s is not decided", f.name, e, s)
				}
			}
		}
	}
}

// asked tells the events that come from outside the reducer: whatever the status, they need an answer.
func asked(e payment.Event) bool {
	switch e {
	case payment.EventCaptured, payment.EventCapturedAll, payment.EventVoided, payment.EventIncremented, payment.EventRefunded, payment.EventRefundedAll:
		return false // follow from an operation that the payment had allowed, and that pins its status
	default:
		return true
	}
}

// Invariant: what is final stays, unless money is given back, comes back, is taken again, or the rail was late. Of an issued
// card the other side has the last word: what it has granted, takes back or collects is a fact.
func TestFinalIsFinal(t *testing.T) {
	for _, f := range families {
		back := []payment.Event{payment.EventRefunded, payment.EventRefundedAll, payment.EventReturned, payment.EventPreArbitration, payment.EventWon, payment.EventLost}
		if f.family == payment.FamilyAuthorization {
			back = append(back, payment.EventAdvised, payment.EventAdvisedFinancial, payment.EventCaptured, payment.EventCapturedAll, payment.EventReversed)
		}
		for _, s := range f.statuses {
			for _, e := range everyEvent() {
				if step := payment.Next(f.family, s, e); s.Final() && step.Effect == payment.Move && !slices.Contains(back, e) {
					t.Errorf("%s: final %s moves to %s by %s", f.name, s, step.To, e)
				}
			}
		}
	}
}

// Invariant: from every status but the final ones some event leads on, and every status can be reached.
func TestNoStatusIsADeadEnd(t *testing.T) {
	for _, f := range families {
		reached := map[payment.Status]bool{payment.StatusNone: true}
		for range f.statuses {
			for _, s := range f.statuses {
				moves := false
				for _, e := range everyEvent() {
					if step := payment.Next(f.family, s, e); step.Effect == payment.Move {
						moves = true
						reached[step.To] = reached[step.To] || reached[s]
					}
				}
				if !moves && !s.Final() {
					t.Errorf("%s: nothing leads out of %s", f.name, s)
				}
			}
		}
		for _, s := range f.statuses {
			if !reached[s] {
				t.Errorf("%s: %s is never reached", f.name, s)
			}
		}
	}
}

// TestLifecycleIsDocumented draws docs/lifecycle.md from the tables and compares.
func TestLifecycleIsDocumented(t *testing.T) {
	const path = "../../docs/lifecycle.md"
	want := page()
	if *rewrite {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("docs/lifecycle.md differs from the tables (%v); run go test ./processors/payment -run Documented -rewrite-lifecycle", err)
	}
}

func page() string {
	var b strings.Builder
	b.WriteString(`# The life of a payment

Drawn from the tables in processors/payment by ` + "`go test ./processors/payment -run Documented -rewrite-lifecycle`" + `; a test compares.
What each event does to the books is in [domain.md](domain.md).

A word is the status that the event leads to. Else: **stays**: allowed, the status stays; ignored: a repeat, or older than what is known;
refused: ` + "`payment_state`" + `; contradiction: ignored, with the reason ` + "`rail_contradiction`" + `; **late**: the rail did it after the payment had ended
here, reason ` + "`rail_late`" + `; –: nothing leads here.
`)
	for _, f := range families {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```mermaid\nstateDiagram-v2\n", f.name, f.about)
		for _, s := range f.statuses {
			arrows(&b, f.family, s)
		}
		b.WriteString("```\n\n")
		grid(&b, f.family, f.statuses)
	}
	sagaPage(&b)
	return b.String()
}

// arrows draws the moves out of a status, one arrow for all events that lead to the same.
func arrows(b *strings.Builder, f payment.Family, from payment.Status) {
	var targets []payment.Status
	by := map[payment.Status][]string{}
	for _, e := range everyEvent() {
		if step := payment.Next(f, from, e); step.Effect == payment.Move {
			if by[step.To] == nil {
				targets = append(targets, step.To)
			}
			by[step.To] = append(by[step.To], e.String())
		}
	}
	name := from.String()
	if from == payment.StatusNone {
		name = "[*]"
	}
	for _, to := range targets {
		fmt.Fprintf(b, "  %s --> %s: %s\n", name, to, strings.Join(by[to], ", "))
	}
	if len(targets) == 0 {
		fmt.Fprintf(b, "  %s --> [*]\n", name)
	}
}

// grid is the whole table: a row an event, since there are more of them.
func grid(b *strings.Builder, f payment.Family, statuses []payment.Status) {
	b.WriteString("| event |")
	for _, s := range statuses {
		name := s.String()
		if s == payment.StatusNone {
			name = "none yet"
		}
		b.WriteString(" " + name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(statuses)) + "\n")
	for _, e := range everyEvent() {
		if !slices.ContainsFunc(statuses, func(s payment.Status) bool { return payment.Next(f, s, e).Effect != payment.Impossible }) {
			continue
		}
		b.WriteString("| `" + e.String() + "` |")
		for _, s := range statuses {
			b.WriteString(" " + word(payment.Next(f, s, e)) + " |")
		}
		b.WriteByte('\n')
	}
}

func word(s payment.Step) string {
	switch s.Effect {
	case payment.Move:
		return s.To.String()
	case payment.Stay:
		return "**stays**"
	case payment.Ignore:
		return "ignored"
	case payment.Contradict:
		return "contradiction"
	case payment.Refuse:
		return "refused"
	case payment.Late:
		return "**late**"
	case payment.Impossible:
		return "–"
	default:
		return "?"
	}
}

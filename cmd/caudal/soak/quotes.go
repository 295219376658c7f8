package soak

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// Quotes says what became of the rates that were promised.
type Quotes struct {
	Given int `json:"given"`
	Used  int `json:"used"`  // by one payment each
	Late  int `json:"late"`  // payments refused because theirs had expired
	Taken int `json:"taken"` // payments refused because another had theirs
	Wrong int `json:"wrong"` // used twice, too late, at another rate, or refused without a reason
}

// rated is a payment that asks for a rate first, and uses it after a pause, twice at once.
type rated struct{ pause time.Duration }

// uses of one quote at once.
const uses = 2

// story is a quote and the payments that name it.
type story struct {
	quote    string
	payments []string
}

// quotes is the model of them: at most one payment has each, in time, at its rate.
type quotes struct {
	mu      sync.Mutex
	stories []*story

	given   map[string]*paymentsv1.Decision // by quote
	decided map[string]*paymentsv1.Decision // by payment: those that a quote has to do with
}

// hear keeps the first word on each quote, and on each payment that has one or is refused for one.
func (q *quotes) hear(d *paymentsv1.Decision) {
	if q.given == nil {
		q.given, q.decided = map[string]*paymentsv1.Decision{}, map[string]*paymentsv1.Decision{}
	}
	switch d.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_FX_QUOTE:
		q.given[d.GetPaymentId()] = d
	case paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT, paymentsv1.CommandKind_COMMAND_KIND_TRANSFER:
		if d.GetQuote() != "" || slices.ContainsFunc(d.GetReasons(), ofQuotes) {
			q.decided[d.GetPaymentId()] = d
		}
	default:
	}
}

func ofQuotes(r paymentsv1.Reason) bool {
	return r >= paymentsv1.Reason_REASON_QUOTE_UNKNOWN && r <= paymentsv1.Reason_REASON_QUOTE_MISMATCH
}

// quote asks for the rate of a payment, and lets two payments use it at once.
func (r *run) quote(p item) {
	asked := map[string]any{"account_id": p.AccountID, "amount": p.Amount, "currency": p.Currency, "target_currency": p.TargetCurrency}
	r.calls.put(call{path: "/fx/quotes", key: "quote-" + p.Key, body: asked, then: func(id string) {
		told := &story{quote: id}
		r.quotes.mu.Lock()
		r.quotes.stories = append(r.quotes.stories, told)
		r.quotes.mu.Unlock()
		r.sent.Add(uses)
		for n := range uses {
			use := p
			use.Quote, use.Kind, use.Key = id, "", ""
			r.calls.later(p.rated.pause, call{path: "/" + p.Kind + "s", key: fmt.Sprintf("%s-%d", p.Key, n), body: use, then: func(payment string) {
				r.quotes.mu.Lock()
				told.payments = append(told.payments, payment)
				r.quotes.mu.Unlock()
			}})
		}
	}})
}

// rates holds every use of a quote against what was promised.
func (r *run) rates() {
	report := &r.report.Quotes
	wrong := func(format string, args ...any) {
		report.Wrong++
		r.report.find(format, args...)
	}
	for _, s := range r.quotes.stories {
		given := r.quotes.given[s.quote]
		if given.GetOutcome() != paymentsv1.Outcome_OUTCOME_APPROVED {
			wrong("quote %s was not given: %v", s.quote, given.GetReasons())
			continue
		}
		report.Given++
		winners, inTime := 0, 0
		for _, id := range s.payments {
			switch p := r.quotes.decided[id]; {
			case p == nil:
				wrong("payment %s was decided without its quote %s", id, s.quote)
			case p.GetAcceptedAtUs() > given.GetDeadlineUs():
				report.Late++
				if p.GetReasons() == nil || p.GetReasons()[0] != paymentsv1.Reason_REASON_QUOTE_EXPIRED {
					wrong("payment %s came too late for quote %s: %v, quote %q", id, s.quote, p.GetReasons(), p.GetQuote())
				}
			case p.GetQuote() == "":
				inTime++
				report.Taken++
				if p.GetReasons()[0] != paymentsv1.Reason_REASON_QUOTE_USED {
					wrong("payment %s was refused quote %s: %v", id, s.quote, p.GetReasons())
				}
			default:
				inTime++
				winners++
				if fault := misuse(p, given); fault != "" {
					wrong("payment %s and quote %s: %s", id, s.quote, fault)
				}
			}
		}
		if winners != min(inTime, 1) {
			wrong("quote %s was used by %d of %d payments", s.quote, winners, inTime)
		}
		report.Used += winners
	}
	if report.Used == 0 || report.Late == 0 || report.Taken == 0 {
		r.report.TooRare = append(r.report.TooRare, fmt.Sprintf("quotes: %+v", *report))
	}
}

// misuse tells what a payment that has a quote does not take from it. The fee of a pay-in comes off before it is converted.
func misuse(p, given *paymentsv1.Decision) string {
	switch {
	case p.GetQuote() != given.GetPaymentId():
		return "it has " + p.GetQuote()
	case !proto.Equal(p.GetFx(), given.GetFx()):
		return fmt.Sprintf("converted at %v, promised %v", p.GetFx(), given.GetFx())
	case p.GetKind() != paymentsv1.CommandKind_COMMAND_KIND_PAY_IN && p.GetTargetAmountMinor() != given.GetTargetAmountMinor():
		return fmt.Sprintf("%d arrive, promised %d", p.GetTargetAmountMinor(), given.GetTargetAmountMinor())
	default:
		return ""
	}
}

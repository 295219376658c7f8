package soak

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/caudalpay/caudal/cmd/caudal/rig"
)

// summary is what the simulator's GET /books/summary tells, as far as it is looked at.
type summary struct {
	ChargedTwice int                         `json:"charged_twice"`
	Twice        []string                    `json:"charged_twice_orders"` // the first of them
	References   int                         `json:"references"`           // charges and transfers
	Met          map[string]int              `json:"met"`                  // by kind of fault, on how many of them
	Faults       map[string]map[string]int64 `json:"faults"`               // by connector and kind
	Webhooks     any                         `json:"webhooks"`
}

// order is one of GET /books.
type order struct {
	ID    string `json:"order_id"`
	Lines []struct {
		Net int64 `json:"net_minor"`
	} `json:"lines"`
}

// compare holds what the decisions have told against the simulator's own books.
func (r *run) compare(ctx context.Context, s *rig.Simulator) error {
	var told summary
	if err := s.Get(ctx, "/books/summary", &told); err != nil {
		return err
	}
	var orders []order
	if err := s.Get(ctx, "/books", &orders); err != nil {
		return err
	}
	r.report.ChargedTwice, r.report.Charges, r.report.Webhooks = told.ChargedTwice, told.References, told.Webhooks
	for _, id := range told.Twice {
		r.report.find("order %s was charged twice", id)
	}
	r.report.PerSecond = float64(told.References) / r.report.Seconds
	r.faults(told)
	r.sums(orders)
	r.fates()
	r.rates()
	r.funds()
	r.explain()
	return r.cards()
}

// wanted are the kinds of faults that each have to meet their share: all that the simulator knows.
func wanted() []string {
	return []string{
		"latency", "timeout_before", "timeout_after", "error_before", "error_after", "reset_before", "reset_after", "wrong_amount", "garbage", "unfinished",
		"hook_duplicate", "hook_reorder", "hook_delay", "hook_lie_unknown", "hook_lie_amount", "hook_lie_state",
	}
}

func (r *run) faults(s summary) {
	for kind, on := range s.Met {
		m := Met{On: on, Share: 100 * float64(on) / float64(max(s.References, 1))}
		for _, kinds := range s.Faults {
			m.Fell += kinds[kind]
		}
		r.report.Faults[kind] = m
	}
	for _, kind := range wanted() {
		if share := r.report.Faults[kind].Share; share < r.options.Share {
			r.report.TooRare = append(r.report.TooRare, fmt.Sprintf("%s: %.1f %%", kind, share))
		}
	}
	slices.Sort(r.report.TooRare)
}

// sums compares each payment by a rail with what the rail did for its order.
func (r *run) sums(orders []order) {
	theirs := map[string]int64{}
	for _, o := range orders {
		id, _, _ := strings.Cut(o.ID, ".")
		for _, l := range o.Lines {
			theirs[id] += l.Net
		}
	}
	for id, s := range r.fold.all {
		if strings.HasPrefix(id, "dp_") {
			continue // no rail's books tell of it: funds compares it
		}
		if net := -s.clearing; net != theirs[id] {
			r.report.Different++
			r.report.find("%s is %s, its rail owes %d by our books, and %d by its own", id, word(s), net, theirs[id])
		}
		delete(theirs, id)
	}
	for id, net := range theirs {
		if net != 0 {
			r.report.Different++
			r.report.find("the rail has %d for %s, of which no decision tells", net, id)
		}
	}
}

func word(s *state) string {
	return strings.ToLower(strings.TrimPrefix(s.status.String(), "PAYMENT_STATUS_"))
}

// fates counts what has none.
func (r *run) fates() {
	r.report.Decisions, r.report.Accepted = r.fold.decisions, len(r.accepted.payments)
	for code, n := range r.accepted.refused {
		r.report.Refused[code] = n
		r.report.find("%d were refused by the front door, which has no reason to: %s", n, code)
		r.log.Info("refused by the front door", "code", code, "count", n, "one", r.accepted.sample[code])
	}
	for id := range r.accepted.payments {
		if s := r.fold.all[id]; s == nil || s.status == 0 {
			r.report.Lost++
			r.report.find("%s was accepted and never decided", id)
		}
	}
	for id, s := range r.fold.all {
		if s.waiting() {
			r.report.Stuck++
			r.report.find("%s is still %s", id, word(s))
		}
		if s.order != "" {
			r.report.Statuses[word(s)]++
		}
	}
}

// cards takes over what the acquirer found: it has a model of its own of each account.
func (r *run) cards() (err error) {
	if !r.feed.Ended() {
		r.report.Feed.WrongAnswers++
		r.report.find("card feed: the acquirer still waits for answers")
		return nil
	}
	if r.report.Feed, err = r.feed.Report(); err != nil {
		return err
	}
	for _, wrong := range r.report.Feed.Wrong {
		r.report.find("card feed: %s", wrong)
	}
	if r.report.Feed.Answered == 0 || r.report.Feed.Approved == 0 {
		r.report.TooRare = append(r.report.TooRare, fmt.Sprintf("card feed: %+v", r.report.Feed))
	}
	return nil
}

// explain names every payment that has money in transit or suspense. A hold stands in suspense's pending layer until its
// authorisation is captured, given up or expires.
func (r *run) explain() {
	explained := map[total]int64{}
	for id, s := range r.fold.all {
		for at, amount := range s.standing {
			line := Line{Account: at.account, Layer: at.layer, Currency: at.currency, Payment: id, Amount: amount, Status: word(s), Reasons: []string{}}
			for _, reason := range s.reasons {
				line.Reasons = append(line.Reasons, strings.ToLower(strings.TrimPrefix(reason.String(), "REASON_")))
			}
			r.report.Lines = append(r.report.Lines, line)
			explained[at] += amount
		}
	}
	slices.SortFunc(r.report.Lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Layer, b.Layer), cmp.Compare(a.Payment, b.Payment))
	})
	for at, balance := range r.fold.totals {
		if at.account != "sys_transit" && at.account != "sys_suspense" {
			continue
		}
		r.report.Standings = append(r.report.Standings, Standing{at.account, at.layer, at.currency, balance, explained[at]})
		if balance != explained[at] {
			r.report.Unexplained++
			r.report.find("%s (%s) holds %d %s, and %d of it is explained", at.account, at.layer, balance, at.currency, explained[at])
		}
	}
	slices.SortFunc(r.report.Standings, func(a, b Standing) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Layer, b.Layer), cmp.Compare(a.Currency, b.Currency))
	})
}

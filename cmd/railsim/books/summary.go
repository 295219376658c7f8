package books

import (
	"cmp"
	"maps"
	"slices"
)

// twiceListed is how many orders a summary names; it counts all.
const twiceListed = 20

// Total is the money of one connector in one currency. Its Reference is empty.
type Total = Line

// Summary is the books in short.
type Summary struct {
	Orders int `json:"orders"`
	// ChargedTwice counts orders of which two charges or transfers stand: each authorised, collected or sent, and not wholly
	// voided. ChargedTwiceEver counts those too of which two stood at one time, and one was let go later.
	ChargedTwice     int                         `json:"charged_twice"`
	ChargedTwiceEver int                         `json:"charged_twice_ever"`
	Twice            []string                    `json:"charged_twice_orders"` // the first of them, by name
	Totals           []Total                     `json:"totals"`
	Faults           map[string]map[string]int64 `json:"faults"`     // that really fell, by connector and kind
	References       int                         `json:"references"` // charges and transfers as clients call them; one order may have several
	Met              map[string]int              `json:"met"`        // by kind, on how many references it fell at least once
}

// Summary counts.
func (b *Books) Summary() Summary {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Summary{
		Orders: len(b.orders), Twice: []string{}, Totals: []Total{}, Faults: map[string]map[string]int64{},
		References: len(b.met), Met: map[string]int{},
	}
	type key struct{ connector, currency string }
	totals := map[key]*Total{}
	for id, o := range b.orders {
		if o.charged > 1 {
			s.ChargedTwice++
			s.Twice = append(s.Twice, id)
		}
		if o.most > 1 {
			s.ChargedTwiceEver++
		}
		for _, l := range o.lines {
			k := key{l.Connector, l.Currency}
			if totals[k] == nil {
				totals[k] = &Total{Connector: l.Connector, Currency: l.Currency}
			}
			totals[k].add(l)
		}
	}
	slices.Sort(s.Twice)
	s.Twice = s.Twice[:min(len(s.Twice), twiceListed)]
	for _, t := range totals {
		s.Totals = append(s.Totals, *t)
	}
	slices.SortFunc(s.Totals, func(a, b Total) int {
		return cmp.Or(cmp.Compare(a.Connector, b.Connector), cmp.Compare(a.Currency, b.Currency))
	})
	for _, kinds := range b.met {
		for kind := range kinds {
			s.Met[kind]++
		}
	}
	for connector, kinds := range b.faults {
		s.Faults[connector] = maps.Clone(kinds)
	}
	return s
}

func (l *Line) add(m *Line) {
	l.Authorizations += m.Authorizations
	l.Declines += m.Declines
	l.Captures += m.Captures
	l.Voids += m.Voids
	l.Refunds += m.Refunds
	l.Transfers += m.Transfers
	l.Sent += m.Sent
	l.Paid += m.Paid
	l.Failed += m.Failed
	l.Returned += m.Returned
	l.AuthorizedMinor += m.AuthorizedMinor
	l.CapturedMinor += m.CapturedMinor
	l.VoidedMinor += m.VoidedMinor
	l.RefundedMinor += m.RefundedMinor
	l.SentMinor += m.SentMinor
	l.ReturnedMinor += m.ReturnedMinor
	l.NetMinor += m.NetMinor
}

// Package ledger is double entry: journals that sum to zero, and the balances of an account after them. It disposes of
// what the other stages propose; it refuses to lose a minor unit to overflow, and keeps no history.
package ledger

import (
	"errors"
	"fmt"
	"math"
)

// Layer says whether a posting moves money or holds it. The numbers are those of the wire format.
type Layer uint8

// The layers.
const (
	LayerPosted  Layer = 1
	LayerPending Layer = 2
)

// String is the word used in tables and in files.
func (l Layer) String() string {
	switch l {
	case LayerPosted:
		return "posted"
	case LayerPending:
		return "pending"
	default:
		return "unknown"
	}
}

// JournalKind says what a journal does. The numbers are those of the wire format.
type JournalKind uint8

// The kinds of journals.
const (
	JournalHold         JournalKind = 1 // pending layer only
	JournalPost         JournalKind = 2
	JournalRelease      JournalKind = 3 // undoes a hold
	JournalCompensation JournalKind = 4 // returns a refused transfer
	JournalRefund       JournalKind = 5
	JournalReturn       JournalKind = 6 // a payout came back
	JournalLate         JournalKind = 7 // what a rail did after the payment had ended: to or from suspense
	JournalDispute      JournalKind = 8 // taken for a dispute, or given back
)

// String is the word used in tables and in files.
func (k JournalKind) String() string {
	switch k {
	case JournalHold:
		return "hold"
	case JournalPost:
		return "post"
	case JournalRelease:
		return "release"
	case JournalCompensation:
		return "compensation"
	case JournalRefund:
		return "refund"
	case JournalReturn:
		return "return"
	case JournalLate:
		return "late"
	case JournalDispute:
		return "dispute"
	default:
		return "unknown"
	}
}

// The system accounts. They live in postings only: no decision reads them, so they are no hot keys.
const (
	SysFees     = "sys_fees"
	SysFX       = "sys_fx"
	SysTransit  = "sys_transit"
	SysSuspense = "sys_suspense"

	clearingPrefix = "sys_clearing_"
)

// SysClearing is the clearing account of a method.
func SysClearing(method string) string { return clearingPrefix + method }

// Posting is one line: a credit is positive, a debit negative.
type Posting struct {
	Account, Currency string
	AmountMinor       int64
	Layer             Layer
}

// Journal is lines that belong together.
type Journal struct {
	Kind     JournalKind
	Postings []Posting
}

// What Check finds.
var (
	ErrUnbalanced = errors.New("journal does not sum to zero")
	ErrLine       = errors.New("malformed posting")
)

// Check tells what is wrong with a journal.
//
// Invariant: a journal sums to zero per layer and currency, exactly, whatever the order of its lines; no line is zero,
// and each has a negative in int64, so that every journal can be reversed.
func (j Journal) Check() error {
	for i := range j.Postings {
		p := &j.Postings[i]
		if p.AmountMinor == 0 || p.AmountMinor == math.MinInt64 || p.Account == "" || p.Currency == "" ||
			(p.Layer != LayerPosted && p.Layer != LayerPending) {
			return fmt.Errorf("checking line %d of a %s journal: %w", i, j.Kind, ErrLine)
		}
		if j.seen(i) {
			continue
		}
		var s sum
		for k := i; k < len(j.Postings); k++ {
			if q := &j.Postings[k]; q.Layer == p.Layer && q.Currency == p.Currency {
				s = s.add(q.AmountMinor)
			}
		}
		if s != (sum{}) {
			return fmt.Errorf("checking %s %s of a %s journal: %w", p.Layer, p.Currency, j.Kind, ErrUnbalanced)
		}
	}
	return nil
}

// seen tells whether the layer and currency of a line stood on an earlier line. Journals have few lines: looking back
// costs less than a map.
func (j Journal) seen(i int) bool {
	for k := range i {
		if j.Postings[k].Layer == j.Postings[i].Layer && j.Postings[k].Currency == j.Postings[i].Currency {
			return true
		}
	}
	return false
}

// Reverse is the journal that undoes a checked one, line by line in the same order.
func (j Journal) Reverse(kind JournalKind) Journal {
	out := Journal{Kind: kind, Postings: make([]Posting, len(j.Postings))}
	for i, p := range j.Postings {
		p.AmountMinor = -p.AmountMinor
		out.Postings[i] = p
	}
	return out
}

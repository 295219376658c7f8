package ledger

import (
	"math"
	"slices"

	"github.com/caudalpay/caudal/processors/money"
)

// Balance is what an account has in one currency.
type Balance struct {
	Currency      string
	PostedMinor   int64
	HeldMinor     int64 // pending debits, >= 0
	IncomingMinor int64 // pending credits, >= 0; not available
}

// Apply is the balances after a journal: a new slice in the same order. Posted lines move posted. Pending lines of a hold
// raise held (debit) or incoming (credit); those of a release, its reverse, lower them. False, and nothing applies, where
// a balance leaves int64 after any line, where held or incoming would fall below zero, where the account has no balance
// in a line's currency, and where a pending line stands in another kind of journal.
func Apply(bs []Balance, account string, j Journal) ([]Balance, bool) {
	out := slices.Clone(bs)
	for i := range j.Postings {
		p := &j.Postings[i]
		if p.Account != account {
			continue
		}
		at := slices.IndexFunc(out, func(b Balance) bool { return b.Currency == p.Currency })
		if at < 0 || !out[at].apply(j.Kind, p) {
			return nil, false
		}
	}
	return out, true
}

func (b *Balance) apply(kind JournalKind, p *Posting) bool {
	var ok bool
	switch {
	case p.Layer == LayerPosted:
		b.PostedMinor, ok = money.Add(b.PostedMinor, p.AmountMinor)
		return ok
	case p.Layer == LayerPending && kind == JournalHold && p.AmountMinor < 0,
		p.Layer == LayerPending && kind == JournalRelease && p.AmountMinor > 0:
		b.HeldMinor, ok = money.Sub(b.HeldMinor, p.AmountMinor)
		return ok && b.HeldMinor >= 0
	case p.Layer == LayerPending && (kind == JournalHold || kind == JournalRelease):
		b.IncomingMinor, ok = money.Add(b.IncomingMinor, p.AmountMinor)
		return ok && b.IncomingMinor >= 0
	default:
		return false
	}
}

// Available is posted less held; the smallest int64 where that is smaller still.
func Available(b Balance) int64 {
	a, ok := money.Sub(b.PostedMinor, b.HeldMinor)
	if !ok {
		return math.MinInt64
	}
	return a
}

// Covers tells whether amount + fee <= posted - held + overdraft. It cannot overflow.
func Covers(b Balance, overdraftMinor, amountMinor, feeMinor int64) bool {
	need := sum{}.add(amountMinor).add(feeMinor).add(b.HeldMinor)
	return need.atMost(sum{}.add(b.PostedMinor).add(overdraftMinor))
}

// Package fx converts amounts by a pinned sheet of rates. It knows direct pairs only: it never triangulates, never
// inverts a rate, and refuses a sheet that is no longer valid.
package fx

import (
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
)

// Sheet is one version of the rates.
type Sheet struct {
	Ref          string // id@version
	AsOfUS       int64
	ValidUntilUS int64 // inclusive
	Rates        map[Pair]Quote
}

// Pair is a direction: a pair and its opposite are two quotes.
type Pair struct{ Source, Target money.Currency }

// Quote is the market's rate and what is taken from the customer: rate = mid x (10,000 - spread) / 10,000.
type Quote struct {
	Mid      money.Rate
	SpreadBP int32
}

// Conversion is what one amount became, and by what.
type Conversion struct {
	Rate        money.Rate // with the spread
	Mid         money.Rate
	SpreadBP    int32
	TargetMinor int64
}

// Convert is the customer's conversion, spread taken. ReasonNone: it holds; else why not: rate_missing (also without a
// sheet, and where the quote is no rate), rate_stale, amount_overflow, amount_too_small.
func (s *Sheet) Convert(atUS, amountMinor int64, p Pair) (Conversion, payment.Reason) {
	q, reason := s.quote(atUS, p)
	if reason != payment.ReasonNone {
		return Conversion{}, reason
	}
	rate, ok := q.Mid.WithSpread(q.SpreadBP)
	if !ok {
		return Conversion{}, payment.ReasonAmountOverflow
	}
	target, ok := rate.Convert(amountMinor, p.Source, p.Target)
	if !ok {
		return Conversion{}, payment.ReasonAmountOverflow
	}
	if target == 0 {
		return Conversion{}, payment.ReasonAmountTooSmall
	}
	return Conversion{Rate: rate, Mid: q.Mid, SpreadBP: q.SpreadBP, TargetMinor: target}, payment.ReasonNone
}

// AtMid is the amount at the market's rate, for counting and not for paying: no spread, and 0 is a result like any other.
func (s *Sheet) AtMid(atUS, amountMinor int64, p Pair) (int64, payment.Reason) {
	c, reason := s.ConvertAtMid(atUS, amountMinor, p)
	return c.TargetMinor, reason
}

// ConvertAtMid is AtMid with the mid that was used, and no rate beside it.
func (s *Sheet) ConvertAtMid(atUS, amountMinor int64, p Pair) (Conversion, payment.Reason) {
	q, reason := s.quote(atUS, p)
	if reason != payment.ReasonNone {
		return Conversion{}, reason
	}
	target, ok := q.Mid.Convert(amountMinor, p.Source, p.Target)
	if !ok {
		return Conversion{}, payment.ReasonAmountOverflow
	}
	return Conversion{Mid: q.Mid, TargetMinor: target}, payment.ReasonNone
}

func (s *Sheet) quote(atUS int64, p Pair) (Quote, payment.Reason) {
	if s == nil {
		return Quote{}, payment.ReasonRateMissing
	}
	q, ok := s.Rates[p]
	if !ok || !q.usable(p) {
		return Quote{}, payment.ReasonRateMissing
	}
	if atUS > s.ValidUntilUS {
		return Quote{}, payment.ReasonRateStale
	}
	return q, payment.ReasonNone
}

// usable keeps a nonsensical quote from being told as an overflow of the customer's amount.
func (q Quote) usable(p Pair) bool {
	_, source := money.Exponent(p.Source)
	_, target := money.Exponent(p.Target)
	return source && target && q.Mid.Unscaled > 0 && q.Mid.Scale <= money.MidScaleMax &&
		q.SpreadBP >= 0 && q.SpreadBP < money.SpreadBPEnd
}

// Package fees prices a payment by a schedule: fixed plus a rate, between a minimum and a maximum. It never pays the
// customer (a fee is at least zero) and knows no tiers or volumes.
package fees

import (
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
)

// rateUnit is what RatePPM counts in.
const rateUnit = 1_000_000

// Schedule is one version of a fee table.
type Schedule struct {
	Ref  string // id@version
	Fees []Fee  // the first row that fits counts
}

// Fee is one row. Empty kind, method or currency fits all.
type Fee struct {
	Kind               payment.Kind
	Method, Currency   string
	FixedMinor         int64
	RatePPM            int32
	MinMinor, MaxMinor int64 // MaxMinor 0: no maximum
}

// Charge is the fee in the currency of the amount; false where it leaves int64. No schedule and no fitting row: 0.
// A pay-in's fee is never above its amount, because it is taken out of it.
func (s *Schedule) Charge(kind payment.Kind, method, currency string, amountMinor int64) (feeMinor int64, ok bool) {
	f, found := s.row(kind, method, currency)
	if !found {
		return 0, true
	}
	part, ok := money.MulDivHalfEven(amountMinor, int64(f.RatePPM), rateUnit)
	if !ok {
		return 0, false
	}
	fee, ok := money.Add(part, f.FixedMinor)
	if !ok {
		return 0, false
	}
	fee = max(fee, f.MinMinor, 0)
	if f.MaxMinor > 0 {
		fee = min(fee, f.MaxMinor)
	}
	if kind == payment.KindPayIn {
		fee = min(fee, amountMinor)
	}
	return fee, true
}

func (s *Schedule) row(kind payment.Kind, method, currency string) (*Fee, bool) {
	if s == nil {
		return nil, false
	}
	for i := range s.Fees {
		f := &s.Fees[i]
		if (f.Kind == payment.KindUnknown || f.Kind == kind) && (f.Method == "" || f.Method == method) &&
			(f.Currency == "" || f.Currency == currency) {
			return f, true
		}
	}
	return nil, false
}

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
func (s *Schedule) Charge(kind payment.Kind, method, currency string, amountMinor int64) (feeMinor int64, ok bool) {
	return Charge(s.Terms(kind, method, currency), kind, amountMinor)
}

// Terms are those of the first row that fits. No schedule and no fitting row: those of no fee.
func (s *Schedule) Terms(kind payment.Kind, method, currency string) payment.FeeTerms {
	if f, found := s.row(kind, method, currency); found {
		return payment.FeeTerms{RatePPM: f.RatePPM, FixedMinor: f.FixedMinor, MinMinor: f.MinMinor, MaxMinor: f.MaxMinor}
	}
	return payment.FeeTerms{}
}

// Charge is the fee by the terms of a row; false where it leaves int64.
// A pay-in's fee is never above its amount, because it is taken out of it. More never costs less.
func Charge(t payment.FeeTerms, kind payment.Kind, amountMinor int64) (feeMinor int64, ok bool) {
	part, ok := money.MulDivHalfEven(amountMinor, int64(t.RatePPM), rateUnit)
	if !ok {
		return 0, false
	}
	fee, ok := money.Add(part, t.FixedMinor)
	if !ok {
		return 0, false
	}
	fee = max(fee, t.MinMinor, 0)
	if t.MaxMinor > 0 {
		fee = min(fee, t.MaxMinor)
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

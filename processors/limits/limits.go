// Package limits holds what an account may send per day and per month of its tenant, by KYC level. It counts in the
// limit currency only and refuses to know rates, clocks and time zones: days and months arrive as numbers.
package limits

import (
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
)

// Windows is what was used of the current day and month.
type Windows struct {
	Day            int32 // days since 1970-01-01 in the tenant's offset
	DayUsedMinor   int64
	Month          int32 // months since 1970-01
	MonthUsedMinor int64
}

// Reserve adds an amount to both windows where the level's limits allow it. On a reason the windows come back unchanged.
// Without limits nothing is counted; a level without a row may send nothing.
//
// Invariant: a window never holds more than the limit it was reserved under, but for what Use has added.
func Reserve(w Windows, limits []policy.KYCLimit, level uint8, day, month int32, amountMinor int64) (Windows, []payment.Reason) {
	if len(limits) == 0 {
		return w, nil
	}
	next := w.at(day, month)
	dayUsed, dayOK := money.Add(next.DayUsedMinor, amountMinor)
	monthUsed, monthOK := money.Add(next.MonthUsedMinor, amountMinor)
	if !dayOK || !monthOK {
		return w, []payment.Reason{payment.ReasonAmountOverflow}
	}
	limit := ofLevel(limits, level)
	var reasons []payment.Reason
	if dayUsed > limit.DayMinor {
		reasons = append(reasons, payment.ReasonLimitDay)
	}
	if monthUsed > limit.MonthMinor {
		reasons = append(reasons, payment.ReasonLimitMonth)
	}
	if reasons != nil {
		return w, reasons
	}
	next.DayUsedMinor, next.MonthUsedMinor = dayUsed, monthUsed
	return next, nil
}

// Use adds an amount that is spent already, whatever the limits say. A window that would leave int64 stays at its end.
func Use(w Windows, day, month int32, amountMinor int64) Windows {
	w = w.at(day, month)
	w.DayUsedMinor, w.MonthUsedMinor = money.AddUpTo(w.DayUsedMinor, amountMinor), money.AddUpTo(w.MonthUsedMinor, amountMinor)
	return w
}

// Release takes back what was reserved on a day and in a month, from each window only while it is still that one.
func Release(w Windows, day, month int32, amountMinor int64) Windows {
	if w.Day == day {
		w.DayUsedMinor = max(w.DayUsedMinor-amountMinor, 0)
	}
	if w.Month == month {
		w.MonthUsedMinor = max(w.MonthUsedMinor-amountMinor, 0)
	}
	return w
}

// at is the windows of a day and month: what was used before in others is forgotten.
func (w Windows) at(day, month int32) Windows {
	if w.Day != day {
		w.Day, w.DayUsedMinor = day, 0
	}
	if w.Month != month {
		w.Month, w.MonthUsedMinor = month, 0
	}
	return w
}

func ofLevel(limits []policy.KYCLimit, level uint8) policy.KYCLimit {
	for _, l := range limits {
		if l.Level == level {
			return l
		}
	}
	return policy.KYCLimit{}
}

// Package calendar puts an instant on a tenant's day, month and minute. It knows no time zones and no clock: the offsets
// from UTC are data of the tenant's policy, so that the same log gives the same days on every host for ever.
package calendar

import (
	"slices"
	"time"
)

const (
	daySeconds    = 86_400
	minuteSeconds = 60
	yearMonths    = 12
	epochYear     = 1970
	microseconds  = 1_000_000
)

// UTCOffset is valid from FromUS (Unix microseconds) until the next one begins.
type UTCOffset struct {
	FromUS  int64
	OffsetS int32
}

// DayOf is the number of local days since 1970-01-01. Offsets ascend by FromUS; before the first, and without any, it is UTC.
func DayOf(us int64, offsets []UTCOffset) int32 {
	return int32(FloorDiv(localSeconds(us, offsets), daySeconds)) //nolint:gosec // int64 microseconds span 2^28 days
}

// MonthOf is the number of local months since 1970-01.
func MonthOf(us int64, offsets []UTCOffset) int32 {
	year, month, _ := time.Unix(localSeconds(us, offsets), 0).UTC().Date()
	return int32((year-epochYear)*yearMonths + int(month) - 1) //nolint:gosec // int64 microseconds span 2^24 months
}

// MinuteOfDay is the local minute, 0 to 1439.
func MinuteOfDay(us int64, offsets []UTCOffset) int32 {
	s := localSeconds(us, offsets)
	return int32((s - FloorDiv(s, daySeconds)*daySeconds) / minuteSeconds) //nolint:gosec // below 1440
}

// localSeconds is whole seconds, so that adding the offset cannot overflow.
func localSeconds(us int64, offsets []UTCOffset) int64 {
	s := FloorDiv(us, microseconds)
	for _, o := range slices.Backward(offsets) { // the offset wanted is nearly always one of the last
		if o.FromUS <= us {
			return s + int64(o.OffsetS)
		}
	}
	return s
}

// FloorDiv rounds towards the past, before 1970 too. b is positive.
func FloorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

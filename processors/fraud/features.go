// Package fraud scores a payment by weighted rules over counters of fixed size, and says what a policy makes of the
// score. It keeps no list of payments: a window is a ring of buckets, exact to one bucket.
package fraud

import (
	"math"

	"github.com/caudalpay/caudal/processors/calendar"
	"github.com/caudalpay/caudal/processors/money"
)

// The width of a bucket of each ring.
const (
	minuteBucketUS = 10 * 1_000_000
	hourBucketUS   = 5 * 60 * 1_000_000
	dayBucketUS    = 60 * 60 * 1_000_000
)

// historyCap is the count at which history is halved, so that the mean follows the last thousand payments or so.
const historyCap = 1024

// Features is what is remembered of an account: three rings of payments counted, and the amounts of the past. A bucket
// lies at its number modulo the ring's length; ...Bucket is the number of the newest.
type Features struct {
	MinuteBucket    int64
	MinuteCounts    [6]uint32 // of 10 s
	HourBucket      int64
	HourCounts      [12]uint32 // of 5 min
	DayBucket       int64
	DayCounts       [24]uint32 // of 1 h
	HistoryCount    uint32
	HistorySumMinor int64
	HistoryMaxMinor int64
}

// ObserveVelocity counts a payment. A late one lands in its bucket while the ring still holds it, else nowhere.
func (f Features) ObserveVelocity(atUS int64) Features {
	f.MinuteBucket = observe(f.MinuteCounts[:], f.MinuteBucket, calendar.FloorDiv(atUS, minuteBucketUS))
	f.HourBucket = observe(f.HourCounts[:], f.HourBucket, calendar.FloorDiv(atUS, hourBucketUS))
	f.DayBucket = observe(f.DayCounts[:], f.DayBucket, calendar.FloorDiv(atUS, dayBucketUS))
	return f
}

// ObserveAmount adds an amount to the history. It halves count and sum together, which keeps the mean.
func (f Features) ObserveAmount(amountMinor int64) Features {
	sum, ok := money.Add(f.HistorySumMinor, amountMinor)
	if !ok || f.HistoryCount >= historyCap {
		f.HistoryCount /= 2
		if sum, ok = money.Add(f.HistorySumMinor/2, amountMinor); !ok {
			sum = math.MaxInt64
		}
	}
	f.HistorySumMinor = sum
	f.HistoryCount++
	f.HistoryMaxMinor = max(f.HistoryMaxMinor, amountMinor)
	return f
}

// observe adds one to a bucket and returns the newest bucket's number.
func observe(counts []uint32, newest, bucket int64) int64 {
	n := int64(len(counts))
	if bucket > newest {
		for b := max(newest, bucket-n) + 1; b <= bucket; b++ {
			counts[floorMod(b, n)] = 0
		}
		newest = bucket
	}
	if c := &counts[floorMod(bucket, n)]; bucket > newest-n && *c < math.MaxUint32 {
		*c++
	}
	return newest
}

// counted sums the buckets of the window that ends with the given one.
func counted(counts []uint32, newest, bucket int64) int64 {
	n := int64(len(counts))
	var sum int64
	for b := max(newest, bucket) - n + 1; b <= min(newest, bucket); b++ {
		sum += int64(counts[floorMod(b, n)])
	}
	return sum
}

func floorMod(a, b int64) int64 { return a - calendar.FloorDiv(a, b)*b }

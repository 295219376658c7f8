package ledger

import "math/bits"

// sum adds int64 in 128 bits, two's complement, so that no order of the terms overflows.
type sum struct{ hi, lo uint64 }

func (s sum) add(a int64) sum {
	lo, carry := bits.Add64(s.lo, uint64(a), 0)     //nolint:gosec // two's complement
	hi, _ := bits.Add64(s.hi, uint64(a>>63), carry) //nolint:gosec // the sign, extended
	return sum{hi: hi, lo: lo}
}

// atMost compares as signed numbers.
func (s sum) atMost(t sum) bool {
	if s.hi != t.hi {
		return int64(s.hi) < int64(t.hi) //nolint:gosec // two's complement
	}
	return s.lo <= t.lo
}

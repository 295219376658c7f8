// Package money is integer arithmetic on minor units: checked sums, one rounding rule (half to even, once), rates,
// and the decimal text of an amount. It refuses floats, silent overflow, and any currency outside ISO 4217.
package money

import (
	"math"
	"math/bits"
)

// Add is a+b, false where the sum leaves int64.
func Add(a, b int64) (int64, bool) {
	s := a + b
	return s, (s > a) == (b > 0)
}

// AddUpTo is a+b of two that are not negative, the largest int64 where the sum leaves it: for what is only counted.
func AddUpTo(a, b int64) int64 {
	if s, ok := Add(a, b); ok {
		return s
	}
	return math.MaxInt64
}

// Sub is a-b, false where the difference leaves int64.
func Sub(a, b int64) (int64, bool) {
	d := a - b
	return d, (d < a) == (b > 0)
}

// Neg is -a, false for the one value without a negative.
func Neg(a int64) (int64, bool) { return -a, a != math.MinInt64 }

// MulDivHalfEven is a x num / den, rounded once, half to even. False where den is not positive or the result leaves
// int64; the product may be as large as it likes.
func MulDivHalfEven(a, num, den int64) (int64, bool) {
	if den <= 0 {
		return 0, false
	}
	d := uint64(den)
	hi, lo := bits.Mul64(magnitude(a), magnitude(num))
	if hi >= d {
		return 0, false
	}
	q, r := bits.Div64(hi, lo, d)
	// r against d-r, and not 2r against d, which could wrap.
	up := r > d-r || r == d-r && q&1 == 1
	return signed(q, up, (a < 0) != (num < 0))
}

// magnitude is |a|; 2^63 for the smallest int64.
func magnitude(a int64) uint64 {
	if a < 0 {
		return -uint64(a) //nolint:gosec // two's complement: the wrapped negation is the magnitude
	}
	return uint64(a)
}

// signed puts a magnitude, one more where up is set, and a sign together again.
func signed(q uint64, up, negative bool) (int64, bool) {
	if up {
		if q == math.MaxUint64 {
			return 0, false
		}
		q++
	}
	if negative {
		return int64(-q), q <= 1<<63 //nolint:gosec // wraps to the negative number, checked beside it
	}
	return int64(q), q <= math.MaxInt64 //nolint:gosec // checked beside it
}

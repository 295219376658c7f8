package money

import "math/bits"

// The bounds of a rate.
const (
	ScaleMax    = 18                     // 10^18 is the largest power of ten an int64 holds
	MidScaleMax = ScaleMax - spreadScale // of a rate that a spread is taken from
	SpreadBPEnd = 10_000                 // a spread of everything leaves no rate

	spreadScale = 4 // a basis point is 10^-4
)

// Rate is Unscaled x 10^-Scale target units per source unit, both major. A rate is above zero.
type Rate struct {
	Unscaled int64
	Scale    uint8
}

// WithSpread is the rate less bp basis points, exactly: Unscaled x (10000-bp) with four more decimals. False where the
// rate is none, bp is outside 0..9999, or the result has no place in a Rate.
func (r Rate) WithSpread(bp int32) (Rate, bool) {
	if r.Unscaled <= 0 || bp < 0 || bp >= SpreadBPEnd || r.Scale > MidScaleMax {
		return Rate{}, false
	}
	u, ok := MulDivHalfEven(r.Unscaled, int64(SpreadBPEnd-bp), 1)
	if !ok {
		return Rate{}, false
	}
	return Rate{Unscaled: u, Scale: r.Scale + spreadScale}, true
}

// Convert is minor units of source in minor units of target, rounded once, half to even. False where a currency is
// unknown, the rate is none, or the result leaves int64.
func (r Rate) Convert(minor int64, source, target Currency) (int64, bool) {
	from, ok := Exponent(source)
	to, known := Exponent(target)
	if !ok || !known || r.Unscaled <= 0 || r.Scale > ScaleMax {
		return 0, false
	}
	hi, lo := bits.Mul64(magnitude(minor), uint64(r.Unscaled))
	shift := int(to) - int(from) - int(r.Scale)
	if shift < 0 {
		return scaleDown(hi, lo, -shift, minor < 0)
	}
	over, q := bits.Mul64(lo, pow10(shift))
	if hi != 0 || over != 0 {
		return 0, false
	}
	return signed(q, false, minor < 0)
}

// scaleDown divides the product hi:lo by 10^digits, 1 <= digits <= 22, rounded half to even. Beyond 18 digits the
// divisor leaves 64 bits, so it divides twice: by 10^(digits-18), then by 10^18. Flooring twice floors as once does, and
// the first remainder only matters to tell a tie from a bit more than a tie.
func scaleDown(hi, lo uint64, digits int, negative bool) (int64, bool) {
	var sticky uint64
	if digits > ScaleMax {
		d := pow10(digits - ScaleMax)
		var r uint64
		hi, r = hi/d, hi%d
		lo, sticky = bits.Div64(r, lo, d)
		digits = ScaleMax
	}
	d := pow10(digits)
	if hi >= d {
		return 0, false
	}
	q, r := bits.Div64(hi, lo, d)
	half := d / 2 // exact: d is even
	up := r > half || r == half && (sticky > 0 || q&1 == 1)
	return signed(q, up, negative)
}

// pow10 is 10^n, n up to 19.
func pow10(n int) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}

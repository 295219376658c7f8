package model

import (
	"math/big"
	"time"
)

// exponents are the ISO 4217 currencies whose minor unit is not a hundredth.
var exponents = map[string]int64{ //nolint:gochecknoglobals // a table, never changed
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0, "UYI": 0,
	"VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
	"CLF": 4, "UYW": 4,
}

func exponent(currency string) int64 {
	if e, ok := exponents[currency]; ok {
		return e
	}
	return 2
}

// sum adds exactly; false means that the result does not fit int64.
func sum(values ...int64) (int64, bool) {
	total := new(big.Int)
	for _, v := range values {
		total.Add(total, big.NewInt(v))
	}
	return total.Int64(), total.IsInt64()
}

// halfEven is numerator / denominator rounded to the nearest, ties to the even neighbour.
func halfEven(numerator, denominator *big.Int) (int64, bool) {
	quotient, rest := new(big.Int).QuoRem(numerator, denominator, new(big.Int))
	twice := new(big.Int).Abs(rest)
	twice.Lsh(twice, 1)
	c := twice.Cmp(denominator)
	if c > 0 || (c == 0 && quotient.Bit(0) == 1) {
		quotient.Add(quotient, big.NewInt(int64(numerator.Sign())))
	}
	return quotient.Int64(), quotient.IsInt64()
}

// rate is unscaled / 10^scale, target per source, between major units.
type rate struct {
	unscaled int64
	scale    int64
}

// withSpread takes the spread from the customer: mid x (10,000 - spread) / 10,000.
func (r rate) withSpread(bp int32) (rate, bool) {
	n := new(big.Int).Mul(big.NewInt(r.unscaled), big.NewInt(10_000-int64(bp)))
	return rate{unscaled: n.Int64(), scale: r.scale + 4}, n.IsInt64() && r.scale+4 <= 18
}

// convert gives the target's minor units, rounded once.
func (r rate) convert(minor int64, source, target string) (int64, bool) {
	n := new(big.Int).Mul(big.NewInt(minor), big.NewInt(r.unscaled))
	d := big.NewInt(1)
	shift := exponent(target) - exponent(source) - r.scale
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(max(shift, -shift)), nil)
	if shift >= 0 {
		n.Mul(n, power)
	} else {
		d = power
	}
	return halfEven(n, d)
}

func dayUTC(us int64) int32 { return int32(floorDiv(us, 86_400_000_000)) } //nolint:gosec // days fit

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// local is the tenant's wall clock.
func local(us int64, offsetS int32) time.Time {
	return time.UnixMicro(us).UTC().Add(time.Duration(offsetS) * time.Second)
}

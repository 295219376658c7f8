package money

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The errors of Parse.
var (
	ErrCurrency = errors.New("unknown currency")
	ErrAmount   = errors.New("malformed amount")
	ErrDecimals = errors.New("more decimals than the currency has")
	ErrRange    = errors.New("amount out of range")
)

// Parse reads a decimal text ("12.30", "-7", "0.5") exactly into minor units. It takes a minus sign, at least one digit, and
// after a point one digit up to as many as the currency has; it refuses everything else, also spaces, a plus sign,
// exponents and grouping, because a guess about money is worse than an error.
func Parse(s string, currency Currency) (int64, error) {
	exponent, ok := Exponent(currency)
	if !ok {
		return 0, fmt.Errorf("parsing amount in %q: %w", currency, ErrCurrency)
	}
	digits, negative := strings.CutPrefix(s, "-")
	whole, decimals, point := strings.Cut(digits, ".")
	if whole == "" || point && decimals == "" {
		return 0, fmt.Errorf("parsing amount %q: %w", s, ErrAmount)
	}
	var m uint64
	for _, c := range []byte(whole + decimals) {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("parsing amount %q: %w", s, ErrAmount)
		}
		if m > math.MaxInt64/10 {
			return 0, fmt.Errorf("parsing amount %q: %w", s, ErrRange)
		}
		m = m*10 + uint64(c-'0')
	}
	missing := int(exponent) - len(decimals)
	if missing < 0 {
		return 0, fmt.Errorf("parsing amount %q in %s: %w", s, currency, ErrDecimals)
	}
	for range missing {
		if m > math.MaxInt64/10 {
			return 0, fmt.Errorf("parsing amount %q: %w", s, ErrRange)
		}
		m *= 10
	}
	minor, ok := signed(m, false, negative)
	if !ok {
		return 0, fmt.Errorf("parsing amount %q: %w", s, ErrRange)
	}
	return minor, nil
}

// Format is the decimal text of an amount with all decimals of its currency; minor units where the currency is unknown.
func Format(minor int64, currency Currency) string {
	exponent, _ := Exponent(currency)
	digits := strconv.FormatUint(magnitude(minor), 10)
	if e := int(exponent); e > 0 {
		if short := e + 1 - len(digits); short > 0 {
			digits = strings.Repeat("0", short) + digits
		}
		digits = digits[:len(digits)-e] + "." + digits[len(digits)-e:]
	}
	if minor < 0 {
		return "-" + digits
	}
	return digits
}

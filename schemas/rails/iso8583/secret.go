package iso8583

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const redacted = "[redacted]"

// PAN is the primary account number: 8 to 19 digits of a card, or of a token in its place. However it is printed, logged or
// encoded it shows the first six and the last four digits at most; string(p) are all of them.
type PAN string

// Masked is 424242******4242, and only stars where six and four would leave fewer than three hidden.
func (p PAN) Masked() string {
	switch {
	case len(p) < 13:
		return strings.Repeat("*", len(p))
	default:
		return string(p[:6]) + strings.Repeat("*", len(p)-10) + string(p[len(p)-4:])
	}
}

// LuhnValid says whether the check digit is right: the only thing a number can tell about itself.
func (p PAN) LuhnValid() bool {
	sum := 0
	for i := range len(p) {
		n := int(p[len(p)-1-i]) - '0'
		if n < 0 || n > 9 {
			return false
		}
		if i%2 == 1 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return len(p) > 0 && sum%10 == 0
}

// String implements fmt.Stringer.
func (p PAN) String() string { return p.Masked() }

// Format implements fmt.Formatter: no verb shows more, as %#v or %x would without it.
func (p PAN) Format(w fmt.State, _ rune) { show(w, p.Masked()) }

// LogValue implements slog.LogValuer.
func (p PAN) LogValue() slog.Value { return slog.StringValue(p.Masked()) }

// MarshalText implements encoding.TextMarshaler.
func (p PAN) MarshalText() ([]byte, error) { return []byte(p.Masked()), nil }

// Secret is a field that is never shown: track 2, PIN block, EMV data, expiry, an account, and the private fields, in which
// networks carry the CVV2 and names. string(s) is the value.
type Secret string

// card is the number in track 2.
func (s Secret) card() PAN {
	at := strings.IndexAny(string(s), "=D")
	if at < 0 {
		return ""
	}
	return PAN(s[:at])
}

// String implements fmt.Stringer.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format implements fmt.Formatter.
func (s Secret) Format(w fmt.State, _ rune) { show(w, s.String()) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func show(w fmt.State, text string) {
	_, _ = io.WriteString(w, text) // what fmt writes to has no error to give
}

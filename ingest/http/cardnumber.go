package http

import (
	"bytes"
	"slices"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// The lengths of card numbers.
const (
	cardDigitsLeast = 13
	cardDigitsMost  = 19
	cardGroup       = 4 // as cards print them
)

// phoneDigitsMost are those of the longest number that E.164 knows.
const phoneDigitsMost = 15

// invoiceDigits are those of a Brazilian invoice's access key, which people write in groups of four: most hold something that
// a card number could be.
const invoiceDigits = 44

// holdsCardNumber tells whether a text holds what looks like a card's number: 13 to 19 digits in one piece, or in the groups
// that cards print, with a length and first digits that card networks use, and a check digit that fits. Letters before or
// behind do not hide one; a longer row of digits is something else. What is written like a phone number (behind a plus), and
// 14 digits that are a company's number, are what they are.
//
// It is a guard against mistakes, not against those who want to get one through.
func holdsCardNumber(s string) bool {
	if !manyDigits(s) {
		return false
	}
	var digits [256]byte
	var starts [64]int
	run := digitRun{digits: digits[:0], starts: starts[:0]}
	before, gap := ' ', 0 // the rune before, and how many since the last digit
	for _, c := range s {
		switch {
		case '0' <= c && c <= '9':
			if len(run.digits) == 0 {
				run.behind = before
			}
			if len(run.digits) == 0 || gap > 0 {
				run.starts = append(run.starts, len(run.digits))
			}
			run.digits, gap = append(run.digits, byte(c)), 0
		case joins(c) && gap < digitGapMost:
			gap++
		default:
			if run.card() {
				return true
			}
			run.digits, run.starts, gap = run.digits[:0], run.starts[:0], 0
		}
		before = c
	}
	return run.card()
}

// manyDigits says no to nearly all texts, quickly.
func manyDigits[T ~string | ~[]byte](s T) bool {
	n := 0
	for i := range len(s) {
		if '0' <= s[i] && s[i] <= '9' {
			n++
		}
	}
	return n >= cardDigitsLeast
}

// digitGapMost is how many runes may stand between two groups of one number.
const digitGapMost = 3

// joins holds for what people put between the groups of a number.
func joins(c rune) bool {
	return c == '.' || c == '_' || c == '/' || unicode.In(c, unicode.Zs, unicode.Pd)
}

// digitRun is groups of digits with nothing between them that parts numbers.
type digitRun struct {
	digits []byte
	starts []int // of the groups, in digits
	behind rune
}

// card tells whether some of the groups are a card's number.
func (r *digitRun) card() bool {
	if len(r.digits) < cardDigitsLeast || len(r.digits) == invoiceDigits || r.behind == '+' && len(r.digits) <= phoneDigitsMost {
		return false
	}
	ends := append(r.starts[1:len(r.starts):len(r.starts)], len(r.digits))
	for i, from := range r.starts {
		for j := i; j < len(ends) && ends[j]-from <= cardDigitsMost; j++ {
			if ends[j]-from >= cardDigitsLeast && printed(r.starts[i:j+1], ends[j]) && isCardNumber(string(r.digits[from:ends[j]])) {
				return true
			}
		}
	}
	return false
}

// printed holds for groups as cards print them: one, or fours, of which the last may be shorter, or 4-6-4 and 4-6-5.
func printed(starts []int, end int) bool {
	sizes := make([]int, len(starts), cardDigitsMost)
	for i, from := range starts {
		next := end
		if i+1 < len(starts) {
			next = starts[i+1]
		}
		sizes[i] = next - from
	}
	last := sizes[len(sizes)-1]
	switch {
	case len(sizes) == 1:
		return true
	case len(sizes) == 3 && sizes[1] == 6:
		return sizes[0] == cardGroup && (last == cardGroup || last == cardGroup+1)
	default:
		return last <= cardGroup && !slices.ContainsFunc(sizes[:len(sizes)-1], func(n int) bool { return n != cardGroup })
	}
}

// isCardNumber judges 13 to 19 digits by what ISO/IEC 7812 and the networks issue.
func isCardNumber(digits string) bool {
	first := digits[:2]
	var issued bool
	switch len(digits) {
	case 13:
		issued = first[0] == '4'
	case 14:
		issued = (first == "30" || first == "36" || first == "38" || first == "39") && !isCNPJ(digits)
	case 15:
		issued = first == "34" || first == "37"
	case 16:
		issued = "22" <= first && first <= "27" || '3' <= first[0] && first[0] <= '6'
	case 19:
		issued = first[0] == '4' || first[0] == '6'
	}
	return issued && iso8583.PAN(digits).LuhnValid()
}

// isCNPJ checks the two last digits of a Brazilian company's number.
func isCNPJ(digits string) bool {
	for n := len(digits) - 2; n < len(digits); n++ {
		sum, weight := 0, 2
		for i := n - 1; i >= 0; i-- {
			sum += weight * int(digits[i]-'0')
			if weight++; weight > 9 {
				weight = 2
			}
		}
		if check := (11 - sum%11) % 11 % 10; check != int(digits[n]-'0') {
			return false
		}
	}
	return true
}

// accountHoldsCardNumber is holdsCardNumber for the number of an account outside: an IBAN is one, whatever it looks like.
func accountHoldsCardNumber(s string) bool { return holdsCardNumber(s) && !isIBAN(s) }

// isIBAN checks an account's number as ISO 13616 does: European ones are written in groups of four too.
func isIBAN(s string) bool {
	const least, most = 15, 34
	var text [most]byte
	n := 0
	for i := range len(s) {
		if s[i] == ' ' {
			continue
		}
		if n == most {
			return false
		}
		text[n] = s[i]
		n++
	}
	if n < least {
		return false
	}
	rest := 0
	for i := range n {
		c := text[(i+4)%n] // country and check digits go last
		switch {
		case '0' <= c && c <= '9':
			rest = (rest*10 + int(c-'0')) % 97
		case 'A' <= c && c <= 'Z':
			rest = (rest*100 + int(c-'A') + 10) % 97
		default:
			return false
		}
	}
	return rest == 1 && text[0] >= 'A' && text[1] >= 'A'
}

// metadataHoldsCardNumber looks into each name, text and number of a JSON value.
func metadataHoldsCardNumber(v jsontext.Value) bool {
	if !manyDigits(v) {
		return false
	}
	d := jsontext.NewDecoder(bytes.NewReader(v))
	for {
		token, err := d.ReadToken()
		if err != nil {
			return false // the end: the value is valid
		}
		if kind := token.Kind(); (kind == '"' || kind == '0') && holdsCardNumber(token.String()) {
			return true
		}
	}
}

package http

import (
	"strings"

	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
)

// plain reads what nearly every payment is: known names once each, texts of visible ASCII without escapes, amounts of
// digits. It refuses nothing: where it says no, the decoder reads the same bytes again, takes them or finds the fault.
// The texts it gives are pieces of the one it reads.
//
// Invariant: what plain takes, the decoder takes, and both read the same.
type plain struct {
	text string
	at   int
}

func (p *plain) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// next passes c and the space before it, or stays.
func (p *plain) next(c byte) bool {
	p.space()
	if p.at == len(p.text) || p.text[p.at] != c {
		return false
	}
	p.at++
	return true
}

func (p *plain) end() bool {
	p.space()
	return p.at == len(p.text)
}

// string reads a text of printable ASCII.
func (p *plain) string() (string, bool) {
	if !p.next('"') {
		return "", false
	}
	for i := p.at; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			s := p.text[p.at:i]
			p.at = i + 1
			return s, true
		case c < ' ', c > '~', c == '\\':
			return "", false
		}
	}
	return "", false
}

const plainDigitsMost = 18 // the most that fit an int64 whatever they are

// amount reads a positive number of digits.
func (p *plain) amount(into *int64) bool {
	p.space()
	from := p.at
	var n int64
	for p.at < len(p.text) && '0' <= p.text[p.at] && p.text[p.at] <= '9' {
		n = n*10 + int64(p.text[p.at]-'0')
		if p.at++; p.at-from > plainDigitsMost {
			return false
		}
	}
	if p.at == from || p.text[from] == '0' || p.at < len(p.text) && strings.IndexByte(".eE", p.text[p.at]) >= 0 {
		return false
	}
	*into = n
	return true
}

// object reads an object and gives each name to member.
func (p *plain) object(member func(name string) bool) bool {
	if !p.next('{') || p.next('}') {
		return false
	}
	for {
		name, ok := p.string()
		if !ok || !p.next(':') || !member(name) {
			return false
		}
		if p.next(',') {
			continue
		}
		return p.next('}')
	}
}

// payment reads one body as decoder.payment does.
func (p *plain) payment(r *paymentRequest, kind payment.Kind) bool {
	r.kind = kind
	batched := kind == payment.KindUnknown
	if !p.object(func(name string) bool {
		f := fieldOf(name)
		if f == 0 || !batched && f&(fieldKind|fieldKey) != 0 || r.seen&f != 0 {
			return false
		}
		r.seen |= f
		return p.field(r, f)
	}) {
		return false
	}
	if missing, odd := r.misfits(batched); r.kind == payment.KindUnknown || missing|odd != 0 || r.toItself() || r.unconverted() {
		return false
	}
	r.normalise()
	return true
}

func (p *plain) field(r *paymentRequest, f field) bool {
	switch f {
	case fieldAmount:
		return p.amount(&r.amount)
	case fieldMethod:
		return p.method(r)
	case fieldCounterparty:
		return p.counterparty(&r.counterparty)
	case fieldEffectiveDate, fieldMetadata, fieldFinal:
		return false
	default:
	}
	s, ok := p.string()
	if !ok {
		return false
	}
	switch f {
	case fieldKind:
		r.kind = payKind(s)
		return r.kind != payment.KindUnknown
	case fieldKey:
		r.key = s
		return isIdempotencyKey(s)
	case fieldAccount:
		return plainAccount(&r.account, s)
	case fieldToAccount:
		return plainAccount(&r.toAccount, s)
	case fieldPayment:
		id, err := payment.ParseID(s)
		r.paymentID = id
		return err == nil && id.Kind() == payment.KindPayIn
	case fieldQuote:
		id, err := payment.ParseID(s)
		r.quote = id
		return err == nil && id.Kind() == payment.KindFXQuote
	case fieldCurrency:
		return plainCurrency(&r.currency, s)
	case fieldTargetCurrency:
		return plainCurrency(&r.targetCurrency, s)
	case fieldReference:
		r.reference = s
		return len(s) <= referenceMaxRunes && !holdsCardNumber(s)
	case fieldReason:
		r.reason = s
		return len(s) <= referenceMaxRunes && !holdsCardNumber(s)
	case fieldInstrument:
		r.instrument = s
		return isName(s) && !isRowOfDigits(s) && !holdsCardNumber(s)
	default:
		return false
	}
}

func plainAccount(into *payment.AccountID, s string) bool {
	id, err := payment.ParseAccountID(s)
	*into = id
	return err == nil
}

func plainCurrency(into *string, s string) bool {
	*into = s
	_, known := money.Exponent(s)
	return known
}

// method takes the two that settle at once: what a rail asks of the rest of a body is the decoder's to judge.
func (p *plain) method(r *paymentRequest) bool {
	return p.object(func(name string) bool {
		if name != "type" || r.method != "" {
			return false
		}
		s, ok := p.string()
		r.method = s
		return ok && (s == methodBook || s == methodCash)
	})
}

func (p *plain) counterparty(into *counterparty) bool {
	return p.object(func(name string) bool {
		var to *string
		switch name {
		case "name":
			to = &into.name
		case "country":
			to = &into.country
		case "document":
			to = &into.document
		case "account":
			to = &into.account
		default:
			return false
		}
		s, ok := p.string()
		if !ok || holdsCardNumber(s) || s == "" || *to != "" || len(s) > partyMaxRunes || to == &into.country && !isCountry(s) {
			return false // an empty text could stand twice without being seen
		}
		*to = s
		return true
	})
}

package http

import (
	"encoding/binary"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/caudalpay/caudal/processors/payment"
)

// canonical builds the bytes whose hash tells one request from another: every field in a fixed order, each with its
// length before it. White space, the order of names and the spelling of escapes in the JSON text do not matter.
// The order is part of the idempotency contract: append only, and start each kind of body with its own word.
type canonical []byte

func (c canonical) text(s string) canonical {
	return append(binary.AppendUvarint(c, uint64(len(s))), s...)
}

func (c canonical) raw(b []byte) canonical {
	return append(binary.AppendUvarint(c, uint64(len(b))), b...)
}

func (c canonical) number(n int64) canonical { return binary.AppendVarint(c, n) }

func (c canonical) flag(b bool) canonical {
	if b {
		return c.number(1)
	}
	return c.number(0)
}

func (r *paymentRequest) canonical(c canonical) canonical {
	c = c.text(r.kind.String()).text(string(r.account)).text(string(r.toAccount)).text(string(r.paymentID)).
		number(r.amount).text(r.currency).text(r.targetCurrency).text(r.method).text(r.reference).text(r.reason).
		text(r.instrument).text(r.counterparty.name).text(r.counterparty.country).text(r.counterparty.document).
		text(r.counterparty.account).number(int64(r.effectiveDay)).raw(r.metadata)
	// What came later stands behind, where kind or method say that it is there: the forms of all others stay.
	if r.method == methodCard {
		c = c.text(r.card.capture.String()).text(r.card.brand).number(r.card.installments)
	}
	if r.kind == payment.KindCapture {
		c = c.flag(r.final)
	}
	if r.quote != "" {
		c = c.text(string(r.quote))
	}
	return c
}

func (r *accountRequest) canonical(c canonical) canonical {
	c = c.text("open_account").text(r.externalID).text(r.customerID).number(int64(r.kind)).number(int64(len(r.currencies)))
	for _, currency := range r.currencies {
		c = c.text(currency)
	}
	return c.number(r.kycLevel).number(r.overdraft).text(r.policy)
}

func (r *evidenceRequest) canonical(c canonical) canonical {
	c = c.number(int64(len(r.files)))
	for _, f := range r.files {
		c = c.text(f.GetReference()).raw(f.GetSha256()).text(f.GetKind())
	}
	return c
}

// NormaliseName brings a name to the form whose digest names a party: upper case, without accents, words apart by one
// space. "  José  da Silva" and "JOSE DA SILVA" are one party.
func NormaliseName(s string) string {
	if !isASCII(s) {
		s = strings.Map(func(r rune) rune {
			if unicode.Is(unicode.Mn, r) {
				return -1
			}
			return r
		}, norm.NFKD.String(s))
	}
	return strings.Join(strings.Fields(strings.ToUpper(s)), " ")
}

// NormaliseCode does the same for the numbers of documents and accounts, where punctuation means nothing either:
// "111.444.777-35" and "11144477735" are one document.
func NormaliseCode(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, NormaliseName(s))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

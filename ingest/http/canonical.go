package http

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
)

func (r *paymentRequest) canonical(c door.Canonical) door.Canonical {
	c = c.Text(r.kind.String()).Text(string(r.account)).Text(string(r.toAccount)).Text(string(r.paymentID)).
		Number(r.amount).Text(r.currency).Text(r.targetCurrency).Text(r.method).Text(r.reference).Text(r.reason).
		Text(r.instrument).Text(r.counterparty.name).Text(r.counterparty.country).Text(r.counterparty.document).
		Text(r.counterparty.account).Number(int64(r.effectiveDay)).Raw(r.metadata)
	// What came later stands behind, where kind or method say that it is there: the forms of all others stay.
	if r.method == methodCard {
		c = c.Text(r.card.capture.String()).Text(r.card.brand).Number(r.card.installments)
	}
	if r.kind == payment.KindCapture {
		c = c.Flag(r.final)
	}
	if r.quote != "" {
		c = c.Text(string(r.quote))
	}
	return c
}

func (r *accountRequest) canonical(c door.Canonical) door.Canonical {
	c = c.Text("open_account").Text(r.externalID).Text(r.customerID).Number(int64(r.kind)).Number(int64(len(r.currencies)))
	for _, currency := range r.currencies {
		c = c.Text(currency)
	}
	return c.Number(r.kycLevel).Number(r.overdraft).Text(r.policy)
}

func (r *evidenceRequest) canonical(c door.Canonical) door.Canonical {
	c = c.Number(int64(len(r.files)))
	for _, f := range r.files {
		c = c.Text(f.GetReference()).Raw(f.GetSha256()).Text(f.GetKind())
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

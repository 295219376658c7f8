package importer

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caudalpay/caudal/processors/money"
)

// item is one payment of a batch, as POST /payments:batch takes it.
type item struct {
	Kind           string  `json:"kind"`
	IdempotencyKey string  `json:"idempotency_key"`
	AccountID      string  `json:"account_id"`
	Amount         int64   `json:"amount"`
	Currency       string  `json:"currency"`
	Method         method  `json:"method"`
	Reference      string  `json:"reference"`
	Counterparty   *party  `json:"counterparty,omitempty"`
	EffectiveDate  *string `json:"effective_date,omitempty"`
}

type method struct {
	Type string `json:"type"`
}

type party struct {
	Name     string `json:"name,omitempty"`
	Country  string `json:"country,omitempty"`
	Document string `json:"document,omitempty"`
	Account  string `json:"account,omitempty"`
}

// opening is the body of POST /accounts.
type opening struct {
	ExternalID     string   `json:"external_id"`
	CustomerID     string   `json:"customer_id"`
	Kind           string   `json:"kind"`
	Currencies     []string `json:"currencies"`
	KYCLevel       int64    `json:"kyc_level"`
	OverdraftLimit int64    `json:"overdraft_limit,omitempty"`
	Policy         string   `json:"policy,omitempty"`
}

// row is a line of the file on its way.
type row struct {
	number int64 // 1 for the first behind the header
	line   int
	cells  []string
	item   item
	open   *opening // what its account is opened with where it is missing; nil: item.AccountID is given
}

// refused is why a row is not sent, or was not taken.
type refused struct{ code, detail string }

// account is what decides the order: rows of one account stay in it.
func (r *row) account() string {
	if r.open != nil {
		return r.open.ExternalID
	}
	return r.item.AccountID
}

// convert makes the payment of a row, exactly: an amount with more decimals than its currency has is refused, not rounded.
func (m *Mapping) convert(r *row, digest string) *refused {
	for _, cell := range r.cells {
		if !utf8.ValidString(cell) {
			return &refused{"invalid_utf8", "the row is not UTF-8"}
		}
	}
	it := &r.item
	it.Currency, it.Reference = m.Currency.fill(r.cells), m.Reference.fill(r.cells)
	if it.IdempotencyKey = m.Key.fill(r.cells); m.Key.empty() {
		it.IdempotencyKey = digest + "-" + strconv.FormatInt(r.number, 10)
	}
	if it.IdempotencyKey == "" {
		return &refused{"missing_key", "the columns of the idempotency key are empty"}
	}
	minor, why := m.amount(r.cells, it.Currency)
	if why != nil {
		return why
	}
	if why := m.direct(it, r.cells, minor); why != nil {
		return why
	}
	if why := m.date(it, r.cells); why != nil {
		return why
	}
	p := party{
		Name: m.Counterparty.Name.fill(r.cells), Document: m.Counterparty.Document.fill(r.cells), Account: m.Counterparty.Account.fill(r.cells),
	}
	if p != (party{}) {
		p.Country = m.Counterparty.Country.fill(r.cells)
		it.Counterparty = &p
	}
	return m.owner(r)
}

func (m *Mapping) amount(cells []string, currency string) (int64, *refused) {
	text := m.Amount.Text.fill(cells)
	if m.Amount.Grouping != "" {
		text = strings.ReplaceAll(text, m.Amount.Grouping, "")
	}
	if m.point() == "," {
		if strings.Contains(text, ".") {
			return 0, &refused{"malformed_amount", fmt.Sprintf("%q has a point, and the decimal point is a comma", text)}
		}
		text = strings.Replace(text, ",", ".", 1)
	}
	minor, err := money.Parse(text, currency)
	switch {
	case err != nil:
		return 0, &refused{"malformed_amount", err.Error()}
	case minor == 0:
		return 0, &refused{"zero_amount", "the amount is zero"}
	}
	return minor, nil
}

// direct sets kind, method and the amount without its sign.
func (m *Mapping) direct(it *item, cells []string, minor int64) *refused {
	word := m.Direction.Text.fill(cells)
	if m.Direction.Text.empty() {
		word = signPositive
		if minor < 0 {
			word, minor = signNegative, -minor
		}
	}
	movement, ok := m.Direction.Values[word]
	switch {
	case !ok:
		return &refused{"unknown_direction", fmt.Sprintf("%q is not in direction.values", word)}
	case minor <= 0:
		return &refused{"negative_amount", "the amount is negative, and the direction is told by direction.text"}
	}
	it.Kind, it.Method, it.Amount = movement.Kind, method{movement.Method}, minor
	return nil
}

func (m *Mapping) date(it *item, cells []string) *refused {
	if m.EffectiveDate.Text.empty() {
		return nil
	}
	layout, _ := dateLayout(m.EffectiveDate.Format) // validated
	text := m.EffectiveDate.Text.fill(cells)
	day, err := time.Parse(layout, text)
	if err != nil {
		return &refused{"malformed_date", fmt.Sprintf("%q is no date of the form of the mapping", text)}
	}
	date := day.Format(time.DateOnly)
	it.EffectiveDate = &date
	return nil
}

func (m *Mapping) owner(r *row) *refused {
	if o := m.Account.Open; o != nil {
		r.open = &opening{
			ExternalID: m.Account.ExternalID.fill(r.cells), CustomerID: o.CustomerID.fill(r.cells), Kind: o.Kind,
			Currencies: o.Currencies, KYCLevel: int64(o.KYCLevel), Policy: o.Policy,
		}
		if o.OverdraftLimit != "" {
			r.open.OverdraftLimit, _ = money.Parse(o.OverdraftLimit, o.Currencies[0]) // validated
		}
	} else {
		r.item.AccountID = m.Account.ID.fill(r.cells)
	}
	if r.account() == "" {
		return &refused{"missing_account", "the columns of the account are empty"}
	}
	return nil
}

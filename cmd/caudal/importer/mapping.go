package importer

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/schemas/strictyaml"
)

// Mapping says how a row of a file becomes a payment. docs/import.md describes it.
type Mapping struct {
	Version       strictyaml.Whole `yaml:"version"`
	Delimiter     string           `yaml:"delimiter"` // one character; empty: a comma
	Key           Template         `yaml:"key"`       // idempotency key; empty: digest of the file and number of the row
	Account       AccountMapping   `yaml:"account"`
	Direction     DirectionMapping `yaml:"direction"`
	Amount        AmountMapping    `yaml:"amount"`
	Currency      Template         `yaml:"currency"`
	EffectiveDate DateMapping      `yaml:"effective_date"`
	Reference     Template         `yaml:"reference"`
	Counterparty  PartyMapping     `yaml:"counterparty"`
}

// AccountMapping names the account of a row: by its id, or by the merchant's own id of an account that is opened where
// it is missing.
type AccountMapping struct {
	ID         Template     `yaml:"id"`
	ExternalID Template     `yaml:"external_id"`
	Open       *OpenMapping `yaml:"open"`
}

// OpenMapping is what a missing account is opened with.
type OpenMapping struct {
	CustomerID     Template         `yaml:"customer_id"`
	Kind           string           `yaml:"kind"`
	Currencies     []string         `yaml:"currencies"`
	KYCLevel       strictyaml.Whole `yaml:"kyc_level"`
	Policy         string           `yaml:"policy"`
	OverdraftLimit string           `yaml:"overdraft_limit"` // decimal text, in the first currency
}

// DirectionMapping turns a word of the file into a kind and a method. Without text the sign of the amount is the word:
// positive or negative.
type DirectionMapping struct {
	Text   Template            `yaml:"text"`
	Values map[string]Movement `yaml:"values"`
}

// Movement is what a direction means.
type Movement struct {
	Kind   string `yaml:"kind"`
	Method string `yaml:"method"`
}

// AmountMapping is a decimal text in major units.
type AmountMapping struct {
	Text         Template `yaml:"text"`
	DecimalPoint string   `yaml:"decimal_point"` // . or ,; empty: .
	Grouping     string   `yaml:"grouping"`      // what stands between thousands; empty: nothing may
}

// DateMapping is a date in one of a few known forms.
type DateMapping struct {
	Text   Template `yaml:"text"`
	Format string   `yaml:"format"` // YYYY-MM-DD where empty
}

// PartyMapping is the other side.
type PartyMapping struct {
	Name     Template `yaml:"name"`
	Country  Template `yaml:"country"`
	Document Template `yaml:"document"`
	Account  Template `yaml:"account"`
}

const mappingVersion = 1

// The words of a direction that is read off the sign.
const (
	signPositive = "positive"
	signNegative = "negative"
)

// dateLayout turns a form into Go's layout.
func dateLayout(format string) (string, bool) {
	layout, ok := map[string]string{
		"": time.DateOnly, "YYYY-MM-DD": time.DateOnly, "YYYYMMDD": "20060102",
		"DD.MM.YYYY": "02.01.2006", "DD/MM/YYYY": "02/01/2006", "MM/DD/YYYY": "01/02/2006",
	}[format]
	return layout, ok
}

// LoadMapping reads a mapping, and refuses one that could not work with any file.
func LoadMapping(path string) (*Mapping, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the path is what the caller asked for
	if err != nil {
		return nil, fmt.Errorf("reading mapping: %w", err)
	}
	m := &Mapping{}
	if err := strictyaml.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("reading mapping %s: %w", path, err)
	}
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("mapping %s: %w", path, err)
	}
	return m, nil
}

func (m *Mapping) validate() error {
	var problems []error
	must := func(ok bool, path, complaint string) {
		if !ok {
			problems = append(problems, fmt.Errorf("%s: %s", path, complaint))
		}
	}
	must(m.Version == mappingVersion, "version", "is not 1")
	must(len(m.Delimiter) <= 1 && m.Delimiter != "\"" && m.Delimiter != "\n", "delimiter", "is not one character")
	must(m.Account.ID.empty() != m.Account.ExternalID.empty(), "account", "has not exactly one of id and external_id")
	must(m.Account.ExternalID.empty() == (m.Account.Open == nil), "account.open", "belongs to external_id, which needs it")
	must(!m.Amount.Text.empty(), "amount.text", "is missing")
	must(!m.Currency.empty(), "currency", "is missing")
	must(!m.Reference.empty(), "reference", "is missing")
	must(m.Amount.DecimalPoint == "" || m.Amount.DecimalPoint == "." || m.Amount.DecimalPoint == ",", "amount.decimal_point", "is not . or ,")
	must(len(m.Amount.Grouping) <= 2 && (m.Amount.Grouping == "" || m.Amount.Grouping != m.point()), "amount.grouping", "is the decimal point or too long")
	_, known := dateLayout(m.EffectiveDate.Format)
	must(known, "effective_date.format", "is not one of YYYY-MM-DD, YYYYMMDD, DD.MM.YYYY, DD/MM/YYYY, MM/DD/YYYY")
	must(len(m.Direction.Values) > 0, "direction.values", "are missing")
	for word, v := range m.Direction.Values {
		at := "direction.values." + word
		must(v.Kind == "payin" || v.Kind == "payout", at+".kind", "is not payin or payout")
		must(v.Method != "", at+".method", "is missing")
		must(!m.Direction.Text.empty() || word == signPositive || word == signNegative, at, "is not positive or negative, and there is no direction.text")
	}
	if o := m.Account.Open; o != nil {
		must(!o.CustomerID.empty(), "account.open.customer_id", "is missing")
		must(o.Kind == "person" || o.Kind == "merchant", "account.open.kind", "is not person or merchant")
		must(len(o.Currencies) > 0, "account.open.currencies", "are missing")
		must(o.KYCLevel >= 0 && o.KYCLevel <= 3, "account.open.kyc_level", "is not 0 to 3")
		if o.OverdraftLimit != "" && len(o.Currencies) > 0 {
			minor, err := money.Parse(o.OverdraftLimit, o.Currencies[0])
			must(err == nil && minor >= 0, "account.open.overdraft_limit", "is no amount of "+o.Currencies[0])
		}
	}
	return errors.Join(problems...)
}

func (m *Mapping) point() string {
	if m.Amount.DecimalPoint == "" {
		return "."
	}
	return m.Amount.DecimalPoint
}

// bind finds every column that the mapping names in the header of a file.
func (m *Mapping) bind(header map[string]int) error {
	templates := []struct {
		path string
		t    *Template
	}{
		{"key", &m.Key},
		{"account.id", &m.Account.ID},
		{"account.external_id", &m.Account.ExternalID},
		{"direction.text", &m.Direction.Text},
		{"amount.text", &m.Amount.Text},
		{"currency", &m.Currency},
		{"effective_date.text", &m.EffectiveDate.Text},
		{"reference", &m.Reference},
		{"counterparty.name", &m.Counterparty.Name},
		{"counterparty.country", &m.Counterparty.Country},
		{"counterparty.document", &m.Counterparty.Document},
		{"counterparty.account", &m.Counterparty.Account},
	}
	if m.Account.Open != nil {
		templates = append(templates, struct {
			path string
			t    *Template
		}{"account.open.customer_id", &m.Account.Open.CustomerID})
	}
	var problems []error
	for _, t := range templates {
		if err := t.t.bind(t.path, header); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// Package rails reads the file that names an installation's acquirers and banks, and runs their connectors. It decides nothing about
// money and speaks no dialect: sinks/rails does.
package rails

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caudalpay/caudal/schemas/strictyaml"
	"github.com/caudalpay/caudal/sinks/rails/bank"
	"github.com/caudalpay/caudal/sinks/rails/cards"
	"github.com/caudalpay/caudal/sinks/rails/cards/abecs"
	"github.com/caudalpay/caudal/sinks/rails/cards/cielo"
	"github.com/caudalpay/caudal/sinks/rails/cards/pagarme"
	"github.com/caudalpay/caudal/sinks/rails/cards/rede"
)

const fileVersion = 1

// file is what an operator writes. Secrets stand in it by reference only.
type file struct {
	Kind      string           `yaml:"kind"` // rails
	Version   strictyaml.Whole `yaml:"version"`
	Routes    string           `yaml:"routes"` // another file, beside this one
	Acquirers []acquirer       `yaml:"acquirers"`
	Banks     []payer          `yaml:"banks"`
	Timing    timing           `yaml:"timing"`
}

// acquirer is one that takes orders, by the name that routes use.
type acquirer struct {
	Name       string   `yaml:"name"`
	Dialect    string   `yaml:"dialect"` // cielo, rede, pagarme
	URL        string   `yaml:"url"`
	QueryURL   string   `yaml:"query_url"`   // cielo
	MerchantID string   `yaml:"merchant_id"` // cielo: MerchantId; rede: the affiliation
	CustomerID string   `yaml:"customer_id"` // pagarme: owns the cards
	Descriptor string   `yaml:"descriptor"`  // on the holder's invoice
	Secret     secret   `yaml:"secret"`
	Vault      vault    `yaml:"vault"` // rede
	Webhook    *webhook `yaml:"webhook"`
}

// payer is one that takes payouts, by the name that routes use.
type payer struct {
	Name       string   `yaml:"name"`
	Dialect    string   `yaml:"dialect"` // transfers
	URL        string   `yaml:"url"`
	Currencies []string `yaml:"currencies"`
	Secret     secret   `yaml:"secret"`
	Webhook    *webhook `yaml:"webhook"`
}

// secret is where a secret stands: in a variable of the environment, or alone in a file.
type secret struct {
	Env  string `yaml:"env"`
	File string `yaml:"file"`
}

// vault says how an instrument becomes what Rede charges: a network token's number, with the month to which it is valid.
type vault struct {
	Expiration string `yaml:"expiration"` // MM/YYYY of every instrument, each of which is the token's number itself
}

// timing overrides what DefaultConfig of cards says. Empty: that.
type timing struct {
	Deadline      string   `yaml:"deadline"`
	Polls         []string `yaml:"polls"`
	NotFoundAfter string   `yaml:"not_found_after"`
	Authorization string   `yaml:"authorization_patience"`
	Payout        string   `yaml:"payout_patience"`
	WatchFor      string   `yaml:"watch_for"`
	WatchFirst    string   `yaml:"watch_first"`
	Dispute       string   `yaml:"dispute_patience"`
}

// Load completes the configurations of the connectors from a file, by the word for what they connect: one of acquirers and one
// of banks, where the file names some. The caller gives brokers and the process in c, and what opens destinations. The error
// names the place in the file and says what to change.
func Load(path string, c cards.Config) (map[string]cards.Config, error) {
	f, err := read(path)
	if err != nil {
		return nil, err
	}
	all, err := f.configs(filepath.Dir(path), c)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return all, nil
}

func read(path string) (*file, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the operator's own
	if err != nil {
		return nil, fmt.Errorf("reading the file of rails: %w", err)
	}
	f := new(file)
	if err := strictyaml.Unmarshal(raw, f); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return f, nil
}

// The words for what is connected, also as a label of metrics.
const (
	Card = "card"
	Bank = "bank"
)

func (f *file) configs(folder string, c cards.Config) (map[string]cards.Config, error) {
	if f.Kind != "rails" || f.Version != fileVersion {
		return nil, fmt.Errorf("kind %q, version %d: kind is rails, version is %d", f.Kind, f.Version, fileVersion)
	}
	if f.Routes == "" || len(f.Acquirers)+len(f.Banks) == 0 {
		return nil, errors.New("routes, acquirers and banks: at least one acquirer or bank, and the name of the file with the routes")
	}
	if err := f.Timing.into(&c); err != nil {
		return nil, err
	}
	routes, err := cards.LoadRoutes(beside(folder, f.Routes))
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it was doing
	}
	byCard, byBank := c, c
	if err := f.open(folder, &byCard, &byBank); err != nil {
		return nil, err
	}
	for _, name := range routes.Connectors() {
		if byCard.Acquirers[name] == nil && byBank.Banks[name] == nil {
			return nil, fmt.Errorf("route to %q, which is not configured", name)
		}
	}
	byCard.Routes = routes.Only(func(name string) bool { return byCard.Acquirers[name] != nil })
	byBank.Routes = routes.Only(func(name string) bool { return byBank.Banks[name] != nil })
	all := map[string]cards.Config{}
	if len(byCard.Acquirers) > 0 {
		all[Card] = withRegistry(byCard, Card)
	}
	if len(byBank.Banks) > 0 {
		byBank.Group = cards.DefaultBankGroup
		all[Bank] = withRegistry(byBank, Bank)
	}
	return all, nil
}

// withRegistry lets the metrics of several connectors stand in one registry.
func withRegistry(c cards.Config, method string) cards.Config {
	if c.Registry != nil {
		c.Registry = prometheus.WrapRegistererWith(prometheus.Labels{"method": method}, c.Registry)
	}
	return c
}

// open makes what the file names; names are of one of them only.
func (f *file) open(folder string, byCard, byBank *cards.Config) (err error) {
	if byCard.Codes, err = abecs.Default(); err != nil {
		return fmt.Errorf("reading the table of declines: %w", err)
	}
	byCard.Acquirers, byBank.Banks = map[string]cards.Acquirer{}, map[string]cards.Bank{}
	for i, a := range f.Acquirers {
		if a.Name == "" || byCard.Acquirers[a.Name] != nil {
			return fmt.Errorf("acquirers[%d].name: each needs one of its own", i)
		}
		if byCard.Acquirers[a.Name], err = a.open(folder); err != nil {
			return fmt.Errorf("acquirers[%d] %s: %w", i, a.Name, err)
		}
	}
	for i, b := range f.Banks {
		if b.Name == "" || byCard.Acquirers[b.Name] != nil || byBank.Banks[b.Name] != nil {
			return fmt.Errorf("banks[%d].name: each needs one of its own", i)
		}
		if byBank.Banks[b.Name], err = b.open(folder); err != nil {
			return fmt.Errorf("banks[%d] %s: %w", i, b.Name, err)
		}
	}
	return nil
}

func (b *payer) open(folder string) (cards.Bank, error) {
	if b.Dialect != "transfers" {
		return nil, fmt.Errorf("dialect %q: choose transfers", b.Dialect)
	}
	token, err := b.Secret.read(folder)
	if err != nil {
		return nil, err
	}
	return bank.New(bank.Config{URL: b.URL, Token: token, Currencies: b.Currencies})
}

// open makes the acquirer that speaks the dialect.
func (a *acquirer) open(folder string) (cards.Acquirer, error) {
	key, err := a.Secret.read(folder)
	if err != nil {
		return nil, err
	}
	switch a.Dialect {
	case "cielo":
		return cielo.New(cielo.Config{URL: a.URL, QueryURL: a.QueryURL, MerchantID: a.MerchantID, MerchantKey: key, SoftDescriptor: a.Descriptor})
	case "pagarme":
		return pagarme.New(pagarme.Config{URL: a.URL, SecretKey: key, CustomerID: a.CustomerID, StatementDescriptor: a.Descriptor})
	case "rede":
		v, err := a.Vault.open()
		if err != nil {
			return nil, err
		}
		return rede.New(rede.Config{URL: a.URL, PV: a.MerchantID, Token: key, Vault: v, SoftDescriptor: a.Descriptor})
	default:
		return nil, fmt.Errorf("dialect %q: choose cielo, rede or pagarme", a.Dialect)
	}
}

func (v vault) open() (rede.Vault, error) {
	month, year, ok := strings.Cut(v.Expiration, "/")
	if !ok || len(month) != 2 || len(year) != 4 {
		return nil, fmt.Errorf("vault.expiration %q: write MM/YYYY", v.Expiration)
	}
	return rede.VaultFunc(func(_ context.Context, instrument string) (rede.Credential, error) {
		return rede.Credential{Number: instrument, ExpirationMonth: month, ExpirationYear: year}, nil
	}), nil
}

func (s secret) read(folder string) (string, error) {
	switch {
	case (s.Env == "") == (s.File == ""):
		return "", errors.New("secret: name env or file, one of them")
	case s.Env != "":
		if v := os.Getenv(s.Env); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("secret.env: %s is not set", s.Env)
	default:
		raw, err := os.ReadFile(beside(folder, s.File))
		if err != nil {
			return "", fmt.Errorf("reading secret.file: %w", err)
		}
		return strings.TrimSpace(string(raw)), nil
	}
}

func beside(folder, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(folder, path)
}

func (t timing) into(c *cards.Config) error {
	for name, d := range map[string]struct {
		text string
		into *time.Duration
	}{
		"deadline": {t.Deadline, &c.Guard.Deadline}, "not_found_after": {t.NotFoundAfter, &c.NotFoundAfter},
		"authorization_patience": {t.Authorization, &c.Patience.Authorization}, "payout_patience": {t.Payout, &c.Patience.Payout},
		"watch_for": {t.WatchFor, &c.Watch.For}, "watch_first": {t.WatchFirst, &c.Watch.First},
		"dispute_patience": {t.Dispute, &c.Hearing.Behind},
	} {
		if d.text == "" {
			continue
		}
		v, err := time.ParseDuration(d.text)
		if err != nil {
			return fmt.Errorf("timing.%s: %w", name, err)
		}
		*d.into = v
	}
	if len(t.Polls) == 0 {
		return nil
	}
	c.Polls = nil
	for i, text := range t.Polls {
		v, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("timing.polls[%d]: %w", i, err)
		}
		c.Polls = append(c.Polls, v)
	}
	return nil
}

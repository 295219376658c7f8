// Package rails reads the file that names an installation's acquirers, and runs their connectors. It decides nothing about
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

	"github.com/caudalpay/caudal/schemas/strictyaml"
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
	Timing    timing           `yaml:"timing"`
}

// acquirer is one that takes orders, by the name that routes use.
type acquirer struct {
	Name       string `yaml:"name"`
	Dialect    string `yaml:"dialect"` // cielo, rede, pagarme
	URL        string `yaml:"url"`
	QueryURL   string `yaml:"query_url"`   // cielo
	MerchantID string `yaml:"merchant_id"` // cielo: MerchantId; rede: the affiliation
	CustomerID string `yaml:"customer_id"` // pagarme: owns the cards
	Descriptor string `yaml:"descriptor"`  // on the holder's invoice
	Secret     secret `yaml:"secret"`
	Vault      vault  `yaml:"vault"` // rede
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
}

// Cards completes the configuration of the card connectors from a file; the caller names brokers and the process. The
// error names the place in the file and says what to change.
func Cards(path string, c cards.Config) (cards.Config, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the operator's own
	if err != nil {
		return c, fmt.Errorf("reading the file of rails: %w", err)
	}
	var f file
	if err := strictyaml.Unmarshal(raw, &f); err != nil {
		return c, fmt.Errorf("reading %s: %w", path, err)
	}
	if err := f.into(filepath.Dir(path), &c); err != nil {
		return c, fmt.Errorf("reading %s: %w", path, err)
	}
	return c, nil
}

func (f *file) into(folder string, c *cards.Config) (err error) {
	if f.Kind != "rails" || f.Version != fileVersion {
		return fmt.Errorf("kind %q, version %d: kind is rails, version is %d", f.Kind, f.Version, fileVersion)
	}
	if f.Routes == "" || len(f.Acquirers) == 0 {
		return errors.New("routes and acquirers: at least one acquirer, and the name of the file with the routes")
	}
	if c.Routes, err = cards.LoadRoutes(beside(folder, f.Routes)); err != nil {
		return err //nolint:wrapcheck // it says what it was doing
	}
	if c.Codes, err = abecs.Default(); err != nil {
		return fmt.Errorf("reading the table of declines: %w", err)
	}
	c.Acquirers = map[string]cards.Acquirer{}
	for i, a := range f.Acquirers {
		if a.Name == "" || c.Acquirers[a.Name] != nil {
			return fmt.Errorf("acquirers[%d].name: each needs one of its own", i)
		}
		if c.Acquirers[a.Name], err = a.open(folder); err != nil {
			return fmt.Errorf("acquirers[%d] %s: %w", i, a.Name, err)
		}
	}
	return f.Timing.into(c)
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
		"authorization_patience": {t.Authorization, &c.Patience.Authorization},
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

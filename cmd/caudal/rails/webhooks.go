package rails

import (
	"cmp"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caudalpay/caudal/ingest/webhooks"
	"github.com/caudalpay/caudal/schemas/strictyaml"
)

// webhook is how a processor that notifies shows that it is the processor. Without it nobody may notify in its name.
type webhook struct {
	Scheme    string           `yaml:"scheme"`     // standard, basic, header; default: what the dialect's processor offers
	Header    string           `yaml:"header"`     // of scheme header: its name
	Secrets   []secret         `yaml:"secrets"`    // one, or two while one follows the other
	Tolerance string           `yaml:"tolerance"`  // of scheme standard: how old a timestamp may be
	PerSecond strictyaml.Whole `yaml:"per_second"` // notifications that are taken
}

// toleranceDefault is that of Standard Webhooks.
const toleranceDefault = 5 * time.Minute

// schemeOf is what processors are known to offer: Cielo sends headers with fixed values, Pagar.me HTTP Basic. Of the others
// none is known, and they are taken to sign as Standard Webhooks says.
func schemeOf(dialect string) string {
	switch dialect {
	case "cielo":
		return webhooks.SchemeHeader
	case "pagarme":
		return webhooks.SchemeBasic
	default:
		return webhooks.SchemeStandard
	}
}

// Webhooks are the processors of a file that may notify, by name.
func Webhooks(path string) (map[string]webhooks.Processor, error) {
	f, err := read(path)
	if err != nil {
		return nil, err
	}
	all, folder := map[string]webhooks.Processor{}, filepath.Dir(path)
	open := func(name, dialect string, w *webhook) error {
		if w == nil {
			return nil
		}
		p, err := w.open(folder, dialect)
		if err != nil {
			return fmt.Errorf("reading %s: webhook of %s: %w", path, name, err)
		}
		all[name] = p
		return nil
	}
	for _, a := range f.Acquirers {
		if err := open(a.Name, a.Dialect, a.Webhook); err != nil {
			return nil, err
		}
	}
	for _, b := range f.Banks {
		if err := open(b.Name, b.Dialect, b.Webhook); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (w *webhook) open(folder, dialect string) (p webhooks.Processor, err error) {
	tolerance := toleranceDefault
	if w.Tolerance != "" {
		if tolerance, err = time.ParseDuration(w.Tolerance); err != nil {
			return p, fmt.Errorf("tolerance: %w", err)
		}
	}
	var secrets []string
	for i, s := range w.Secrets {
		text, err := s.read(folder)
		if err != nil {
			return p, fmt.Errorf("secrets[%d]: %w", i, err)
		}
		secrets = append(secrets, text)
	}
	if w.PerSecond < 0 {
		return p, fmt.Errorf("per_second %d: write how many notifications a second are taken", w.PerSecond)
	}
	p = webhooks.Processor{Dialect: dialect, PerSecond: cmp.Or(int(w.PerSecond), webhooks.DefaultPerSecond)}
	p.Verifier, err = webhooks.NewVerifier(cmp.Or(w.Scheme, schemeOf(dialect)), w.Header, tolerance, secrets)
	return p, err
}

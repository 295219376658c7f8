// Package abecs knows which declines of a card may be tried again: the table of ABECS, Normativo 21, as data with its
// source and the day it is of. It refuses to guess: a code, or a brand, that the table does not have is irreversible,
// because a network charges for each further try at those.
package abecs

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caudalpay/caudal/schemas/strictyaml"
)

//go:embed table.yaml
var embedded []byte

// Verdict is what the table says of a decline.
type Verdict uint8

// The verdicts.
const (
	Irreversible Verdict = iota // never again with this card
	Reversible                  // the holder may change something, and then try again
	Passing                     // reversible, and trouble on the way: another acquirer may approve now
)

// Table is keyed by brand and code. It never changes once it is read.
type Table struct {
	source    string
	validFrom time.Time
	verdicts  map[key]Verdict
}

type key struct{ brand, code string }

type file struct {
	Version   strictyaml.Whole `yaml:"version"`
	Source    string           `yaml:"source"`
	ValidFrom string           `yaml:"valid_from"`
	Tables    []table          `yaml:"tables"`
}

type table struct {
	Brands       []string `yaml:"brands"`
	Reversible   []string `yaml:"reversible"`
	Irreversible []string `yaml:"irreversible"`
	Ambiguous    []string `yaml:"ambiguous"`
	Passing      []string `yaml:"passing"`
}

const fileVersion = 1

// Default is the table this program comes with.
func Default() (*Table, error) { return Parse(embedded) }

// Parse reads a table from strict YAML.
func Parse(raw []byte) (*Table, error) {
	var f file
	if err := strictyaml.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("reading table of declines: %w", err)
	}
	day, err := time.Parse(time.DateOnly, f.ValidFrom)
	if err != nil {
		return nil, fmt.Errorf("reading table of declines: %w", err)
	}
	if f.Version != fileVersion || f.Source == "" || len(f.Tables) == 0 {
		return nil, fmt.Errorf("reading table of declines: version %d of %q with %d tables", f.Version, f.Source, len(f.Tables))
	}
	t := &Table{source: f.Source, validFrom: day, verdicts: map[key]Verdict{}}
	for _, brands := range f.Tables {
		for _, brand := range brands.Brands {
			if err := t.add(brand, brands); err != nil {
				return nil, fmt.Errorf("reading table of declines: %s: %w", brand, err)
			}
		}
	}
	return t, nil
}

func (t *Table) add(brand string, from table) error {
	if brand == "" {
		return errors.New("no brand")
	}
	for _, c := range slices.Concat(from.Irreversible, from.Ambiguous) {
		if err := t.set(brand, c, Irreversible); err != nil {
			return err
		}
	}
	for _, c := range from.Reversible {
		if err := t.set(brand, c, Reversible); err != nil {
			return err
		}
	}
	for _, c := range from.Passing {
		k := key{brand, normal(c)}
		if t.verdicts[k] != Reversible {
			return fmt.Errorf("code %q is passing and not reversible", c)
		}
		t.verdicts[k] = Passing
	}
	return nil
}

func (t *Table) set(brand, code string, v Verdict) error {
	k := key{brand, normal(code)}
	if _, twice := t.verdicts[k]; twice || k.code == "" {
		return fmt.Errorf("code %q is empty or stands twice", code)
	}
	t.verdicts[k] = v
	return nil
}

// Verdict on a decline of a brand's card.
func (t *Table) Verdict(brand, code string) Verdict {
	return t.verdicts[key{strings.ToLower(brand), normal(code)}]
}

// Source says where the table is from.
func (t *Table) Source() string { return t.source }

// ValidFrom is the day the table is of.
func (t *Table) ValidFrom() time.Time { return t.validFrom }

// normal writes 5, 05 and 005 alike: acquirers pad as they like.
func normal(code string) string {
	code = strings.ToUpper(strings.TrimSpace(code))
	if strings.Trim(code, "0123456789") == "" {
		code = strings.TrimLeft(code, "0")
	}
	return code
}

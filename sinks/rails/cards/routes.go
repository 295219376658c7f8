package cards

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/caudalpay/caudal/schemas/strictyaml"
)

// Routes say which acquirers may take an authorisation, and which banks a payout. What follows an authorisation goes where that went.
type Routes struct{ routes []route }

// route is one rule. What it does not name fits all.
type route struct {
	Connector  string           `yaml:"connector"`
	Brands     []string         `yaml:"brands"`
	Currencies []string         `yaml:"currencies"`
	FromMinor  strictyaml.Whole `yaml:"from_minor"`
	ToMinor    strictyaml.Whole `yaml:"to_minor"` // inclusive; 0: no end
	CostBP     strictyaml.Whole `yaml:"cost_bp"`
}

type routesFile struct {
	Version strictyaml.Whole `yaml:"version"`
	Routes  []route          `yaml:"routes"`
}

const (
	routesVersion = 1
	costMaxBP     = 10_000
)

// LoadRoutes reads a file of routes.
func LoadRoutes(path string) (*Routes, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the operator's own
	if err != nil {
		return nil, fmt.Errorf("reading routes: %w", err)
	}
	return ParseRoutes(raw)
}

// ParseRoutes reads routes from strict YAML:
//
//	version: 1
//	routes:
//	  - {connector: cielo, brands: [visa, elo], currencies: [BRL], to_minor: 50000, cost_bp: 150}
//	  - {connector: rede, cost_bp: 190}
func ParseRoutes(raw []byte) (*Routes, error) {
	var f routesFile
	if err := strictyaml.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("reading routes: %w", err)
	}
	if f.Version != routesVersion || len(f.Routes) == 0 {
		return nil, fmt.Errorf("reading routes: version %d with %d routes", f.Version, len(f.Routes))
	}
	for i, r := range f.Routes {
		if err := r.validate(); err != nil {
			return nil, fmt.Errorf("reading routes: route %d: %w", i+1, err)
		}
	}
	return &Routes{routes: f.Routes}, nil
}

func (r route) validate() error {
	switch {
	case r.Connector == "":
		return errors.New("no connector")
	case r.FromMinor < 0 || r.ToMinor < 0 || (r.ToMinor > 0 && r.ToMinor < r.FromMinor):
		return fmt.Errorf("amounts from %d to %d", r.FromMinor, r.ToMinor)
	case r.CostBP < 0 || r.CostBP > costMaxBP:
		return fmt.Errorf("cost of %d basis points", r.CostBP)
	case slices.Contains(r.Brands, "") || slices.Contains(r.Currencies, ""):
		return errors.New("an empty brand or currency")
	default:
		return nil
	}
}

func (r route) fits(o order) bool {
	return (len(r.Brands) == 0 || slices.Contains(r.Brands, o.Brand)) &&
		(len(r.Currencies) == 0 || slices.Contains(r.Currencies, o.Currency)) &&
		o.AmountMinor >= int64(r.FromMinor) && (r.ToMinor == 0 || o.AmountMinor <= int64(r.ToMinor))
}

// Only are the routes to some connectors.
func (rs *Routes) Only(known func(connector string) bool) *Routes {
	some := &Routes{}
	for _, r := range rs.routes {
		if known(r.Connector) {
			some.routes = append(some.routes, r)
		}
	}
	return some
}

// Connectors are all that a route leads to.
func (rs *Routes) Connectors() []string {
	var names []string
	for _, r := range rs.routes {
		names = append(names, r.Connector)
	}
	return names
}

// candidates are the connectors that may take an order: the healthy ones first, then the cheaper, then as in the file.
func (rs *Routes) candidates(o order, healthy func(connector string) bool) []string {
	type candidate struct {
		name   string
		sick   int
		costBP strictyaml.Whole
	}
	var all []candidate
	for _, r := range rs.routes {
		if !r.fits(o) {
			continue
		}
		c := candidate{name: r.Connector, costBP: r.CostBP}
		if !healthy(r.Connector) {
			c.sick = 1
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.sick, b.sick), cmp.Compare(a.costBP, b.costBP))
	})
	var names []string
	for _, c := range all {
		if !slices.Contains(names, c.name) {
			names = append(names, c.name)
		}
	}
	return names
}

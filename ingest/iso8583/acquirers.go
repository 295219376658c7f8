package iso8583

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/caudalpay/caudal/schemas/rails/iso8583"
	"github.com/caudalpay/caudal/schemas/strictyaml"
)

// institutions are the acquirers (field 32, without leading zeros) that one client may speak for.
type institutions map[string]bool

// acquirers are the clients by a name in their certificate. The nil map binds nobody.
type acquirers map[string]institutions

// digits is a number that YAML must not read as one: an identifier may begin with zeros.
type digits string

// UnmarshalYAML implements yaml.BytesUnmarshaler.
func (d *digits) UnmarshalYAML(text []byte) error {
	s := strings.Trim(strings.TrimSpace(string(text)), `"'`)
	if s == "" || len(s) > 11 || strings.Trim(s, "0123456789") != "" {
		return fmt.Errorf("%q is no acquirer: field 32 has 1 to 11 digits", s)
	}
	*d = digits(iso8583.WithoutZeros(s))
	return nil
}

// loadAcquirers reads which client may speak for which acquirers; nil where there is no file.
func loadAcquirers(path string) (acquirers, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no file binds nobody, which is no error
	}
	raw, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, fmt.Errorf("reading acquirers: %w", err)
	}
	var file struct {
		Acquirers []struct {
			Certificate  string   `yaml:"certificate"`
			Institutions []digits `yaml:"institutions"`
		} `yaml:"acquirers"`
	}
	if err := strictyaml.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("reading acquirers from %s: %w", path, err)
	}
	all := make(acquirers, len(file.Acquirers))
	for i, a := range file.Acquirers {
		switch {
		case a.Certificate == "":
			return nil, fmt.Errorf("reading acquirers from %s: number %d names no certificate", path, i+1)
		case all[a.Certificate] != nil:
			return nil, fmt.Errorf("reading acquirers from %s: %s stands there twice", path, a.Certificate)
		case len(a.Institutions) == 0:
			return nil, fmt.Errorf("reading acquirers from %s: %s has no institutions", path, a.Certificate)
		}
		all[a.Certificate] = make(institutions, len(a.Institutions))
		for _, id := range a.Institutions {
			all[a.Certificate][string(id)] = true
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("reading acquirers from %s: it names none, so that nobody could come in", path)
	}
	return all, nil
}

var errStranger = errors.New("no acquirer has a name of this certificate")

// of is what the client of a certificate may speak for: by a DNS name in it, or by its subject's common name.
func (a acquirers) of(cert *x509.Certificate) (institutions, error) {
	for _, name := range slices.Concat(cert.DNSNames, []string{cert.Subject.CommonName}) { // a certificate may serve several connections at once
		if mine, ok := a[name]; ok {
			return mine, nil
		}
	}
	return nil, errStranger
}

// speak tells whether a message is the client's own, and so is what it names in field 90.
func (i institutions) speak(m *iso8583.Message) bool {
	original, ok := m.OriginalKey()
	return i[m.MatchKey().AcquirerID] && (!ok || i[original.AcquirerID])
}

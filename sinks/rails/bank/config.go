package bank

import (
	"errors"
	"net/http"

	"github.com/caudalpay/caudal/sinks/rails/cards/rest"
)

// Config of a Bank.
type Config struct {
	URL        string
	Token      string            // bearer
	Currencies []string          // ISO 4217, that the bank pays out in
	Transport  http.RoundTripper // nil: http.DefaultTransport
}

// Validate refuses what cannot run.
func (c Config) Validate() error {
	switch {
	case !rest.Absolute(c.URL):
		return errors.New("addresses must be absolute")
	case c.Token == "":
		return errors.New("no token")
	case len(c.Currencies) == 0:
		return errors.New("no currencies")
	default:
		return nil
	}
}

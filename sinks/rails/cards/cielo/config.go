package cielo

import (
	"errors"
	"net/http"

	"github.com/caudalpay/caudal/sinks/rails/cards/rest"
)

// The addresses of Cielo's production; the sandbox has apisandbox and apiquerysandbox in their place.
const (
	DefaultURL      = "https://api.cieloecommerce.cielo.com.br"
	DefaultQueryURL = "https://apiquery.cieloecommerce.cielo.com.br"
)

// Config of an Acquirer.
type Config struct {
	URL, QueryURL  string
	MerchantID     string
	MerchantKey    string
	SoftDescriptor string            // at most 13 characters, on the holder's invoice; empty: the merchant's name
	Transport      http.RoundTripper // nil: http.DefaultTransport
}

// Validate refuses what cannot run.
func (c Config) Validate() error {
	switch {
	case !rest.Absolute(c.URL) || !rest.Absolute(c.QueryURL):
		return errors.New("addresses must be absolute")
	case c.MerchantID == "" || c.MerchantKey == "":
		return errors.New("no merchant id or key")
	case len(c.SoftDescriptor) > 13:
		return errors.New("soft descriptor above 13 characters")
	default:
		return nil
	}
}

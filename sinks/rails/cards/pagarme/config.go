package pagarme

import (
	"errors"
	"net/http"

	"github.com/caudalpay/caudal/sinks/rails/cards/rest"
)

// DefaultURL is Pagar.me's API; a sandbox is told apart by its key.
const DefaultURL = "https://api.pagar.me"

// Config of an Acquirer.
type Config struct {
	URL       string
	SecretKey string // sk_...
	// CustomerID owns the vaulted cards: an order names a customer.
	CustomerID          string
	StatementDescriptor string            // at most 13 characters, on the holder's invoice
	Transport           http.RoundTripper // nil: http.DefaultTransport
}

// Validate refuses what cannot run.
func (c Config) Validate() error {
	switch {
	case !rest.Absolute(c.URL):
		return errors.New("the address must be absolute")
	case c.SecretKey == "":
		return errors.New("no secret key")
	case c.CustomerID == "":
		return errors.New("no customer that owns the cards")
	case len(c.StatementDescriptor) > 13:
		return errors.New("statement descriptor above 13 characters")
	default:
		return nil
	}
}

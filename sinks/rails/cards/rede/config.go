package rede

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/caudalpay/caudal/sinks/rails/cards/rest"
)

// DefaultURL is e.Rede's production, version 1. Version 2 (…/erede/v2) takes the same requests with OAuth.
const DefaultURL = "https://api.userede.com.br/erede/v1"

// Config of an Acquirer.
type Config struct {
	URL   string // with the version
	PV    string // the affiliation's number
	Token string // the integration key
	// TokenURL gives bearer tokens for PV and Token by client credentials; empty: each request carries them as Basic.
	TokenURL       string
	Vault          Vault
	SoftDescriptor string            // on the holder's invoice
	Transport      http.RoundTripper // nil: http.DefaultTransport
}

// Vault turns the token of a vaulted card into what Rede takes: a network token and its cryptogram of one use. It must
// never give out the number of the card itself.
type Vault interface {
	// Credential makes no charge. Where it fails, nothing was sent.
	Credential(ctx context.Context, instrument string) (Credential, error)
}

// VaultFunc is a Vault of one function.
type VaultFunc func(ctx context.Context, instrument string) (Credential, error)

// Credential implements Vault.
func (f VaultFunc) Credential(ctx context.Context, instrument string) (Credential, error) {
	return f(ctx, instrument)
}

// Credential is a network token. It is never logged.
type Credential struct {
	Number          string // the token's, not the card's
	ExpirationMonth string
	ExpirationYear  string
	Holder          string
	Cryptogram      string
}

// LogValue implements slog.LogValuer.
func (Credential) LogValue() slog.Value { return slog.StringValue("redacted") }

// String implements fmt.Stringer.
func (Credential) String() string { return "redacted" }

// GoString implements fmt.GoStringer.
func (Credential) GoString() string { return "redacted" }

// Validate refuses what cannot run.
func (c Config) Validate() error {
	switch {
	case !rest.Absolute(c.URL) || (c.TokenURL != "" && !rest.Absolute(c.TokenURL)):
		return errors.New("addresses must be absolute")
	case c.PV == "" || c.Token == "":
		return errors.New("no affiliation or key")
	case c.Vault == nil:
		return errors.New("no vault: e.Rede takes no token of its own in a transaction")
	default:
		return nil
	}
}

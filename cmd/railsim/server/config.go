package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"

	"github.com/caudalpay/caudal/cmd/railsim/bank"
	"github.com/caudalpay/caudal/cmd/railsim/cielo"
	"github.com/caudalpay/caudal/cmd/railsim/hooks"
	"github.com/caudalpay/caudal/cmd/railsim/pagarme"
	"github.com/caudalpay/caudal/cmd/railsim/rede"
)

// Config of a simulator.
type Config struct {
	Listen      string
	Data        string // folder; empty: nothing is kept
	Seed        uint64
	Faults      string // YAML file or spec
	Webhooks    string // base URL; empty: none
	Credentials string // YAML file; empty: DefaultCredentials
	Day         time.Duration
	BankDelay   time.Duration // between the statuses of a transfer
	HookRetry   time.Duration // first back-off
	HookWorkers int

	Now func() time.Time // nil: the clock
	Log *slog.Logger
}

// Flags binds the configuration to a command.
func (c *Config) Flags(f *pflag.FlagSet) {
	f.StringVar(&c.Listen, "listen", "127.0.0.1:0", "address to serve on; port 0 takes a free one, which is printed")
	f.StringVar(&c.Data, "data", "", "folder that outlives a kill; default: nothing is kept")
	f.Uint64Var(&c.Seed, "seed", 1, "decides ids, issuers of cards that end in 9, and faults")
	f.StringVar(&c.Faults, "faults", "", "YAML file, or kind=rate,... (see above); default: none")
	f.StringVar(&c.Webhooks, "webhooks", "", "URL that webhooks go to, /cielo, /rede, /pagarme or /bank added; default: none are sent")
	f.StringVar(&c.Credentials, "credentials", "", "YAML file with what clients must show and the secret of webhooks; default: well-known ones for tests")
	f.DurationVar(&c.Day, "day", 24*time.Hour, "length of a business day: a cancel of a capture on a later one is a refund")
	f.DurationVar(&c.BankDelay, "bank-delay", 200*time.Millisecond, "time between the statuses of a transfer, on average")
	f.DurationVar(&c.HookRetry, "hook-retry", time.Second, "back-off after a webhook's first failure; it doubles up to a minute")
	f.IntVar(&c.HookWorkers, "hook-workers", 8, "webhooks under way at once")
}

// Validate refuses what cannot be meant.
func (c *Config) Validate() error {
	var errs []error
	if c.Day < time.Second {
		errs = append(errs, errors.New("--day is at least a second"))
	}
	if c.BankDelay < 0 || c.HookRetry <= 0 {
		errs = append(errs, errors.New("--bank-delay and --hook-retry are not negative"))
	}
	if c.HookWorkers < 1 {
		errs = append(errs, errors.New("--hook-workers is at least 1"))
	}
	if c.Webhooks != "" {
		if u, err := url.Parse(c.Webhooks); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			errs = append(errs, fmt.Errorf("--webhooks %q is no http URL", c.Webhooks))
		}
	}
	return errors.Join(errs...)
}

// Credentials are what clients must show, and the secret that signs webhooks.
type Credentials struct {
	Cielo   cielo.Credentials   `yaml:"cielo"`
	Rede    rede.Credentials    `yaml:"rede"`
	Pagarme pagarme.Credentials `yaml:"pagarme"`
	Bank    bank.Credentials    `yaml:"bank"`
	Webhook string              `yaml:"webhook_secret"` // of rede and bank: whsec_ and base64
}

// DefaultCredentials guard nothing: they are for tests, and everybody may know them.
func DefaultCredentials() Credentials {
	return Credentials{
		Cielo:   cielo.Credentials{MerchantID: "00000000-0000-4000-a000-000000000001", MerchantKey: "RAILSIMCIELOKEYRAILSIMCIELOKEYRAILSIMCIE", WebhookHeader: "X-Railsim", WebhookValue: "railsim-cielo-webhook"},
		Rede:    rede.Credentials{PV: "10000001", Token: "railsim-rede-token"},                                 //nolint:gosec // as above
		Pagarme: pagarme.Credentials{SecretKey: "sk_test_railsim", Webhook: "railsim:railsim-pagarme-webhook"}, //nolint:gosec // as above
		Bank:    bank.Credentials{Token: "railsim-bank-token"},                                                 //nolint:gosec // as above
		Webhook: "whsec_cmFpbHNpbS13ZWJob29rLXNlY3JldC0xMjM0NTY3OA==",
	}
}

func (c *Config) credentials() (Credentials, []byte, error) {
	out := DefaultCredentials()
	if c.Credentials != "" {
		b, err := os.ReadFile(c.Credentials)
		if err != nil {
			return out, nil, fmt.Errorf("reading credentials: %w", err)
		}
		if err := yaml.UnmarshalWithOptions(b, &out, yaml.DisallowUnknownField()); err != nil {
			return out, nil, fmt.Errorf("decoding %s: %w", c.Credentials, err)
		}
	}
	key, err := hooks.ParseSecret(out.Webhook)
	return out, key, err
}

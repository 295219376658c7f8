package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/railsim/server"
)

const railsFile = `# Written by railsim rails: leads caudal up --rails to a simulator.
kind: rails
version: 1
routes: routes.yaml
acquirers:
  - name: cielo
    dialect: cielo
    url: URL/cielo
    query_url: URL/cielo
    merchant_id: ID
    secret: {file: cielo.key}
    webhook: {header: HEADER, secrets: [{file: cielo.hook}]}
  - name: rede
    dialect: rede
    url: URL/rede/v1
    merchant_id: "PV"
    secret: {file: rede.key}
    vault: {expiration: 12/2040}
    webhook: {secrets: [{file: standard.hook}]}
  - name: pagarme
    dialect: pagarme
    url: URL/pagarme
    customer_id: cus_railsim
    secret: {file: pagarme.key}
    webhook: {secrets: [{file: pagarme.hook}]}
banks:
  - name: bank
    dialect: transfers
    url: URL/bank
    currencies: [BRL, USD, EUR]
    secret: {file: bank.key}
    webhook: {secrets: [{file: standard.hook}]}
timing: {deadline: 500ms, polls: [300ms, 1s, 3s, 6s, 14s], not_found_after: 13s, watch_first: 300ms} # a simulator answers soon, or never
`

const routesFile = `version: 1
routes:
  - {connector: cielo, brands: [visa], cost_bp: 200}
  - {connector: rede, brands: [elo], cost_bp: 210}
  - {connector: pagarme, cost_bp: 220}
  - {connector: bank}
`

func railsCommand() *cobra.Command {
	var url, dir string
	c := &cobra.Command{
		Use:   "rails",
		Short: "Write the file that leads `caudal up --rails` to a simulator",
		Long: "Writes rails.yaml, routes.yaml and the well-known secrets of a simulator into a folder, with timings that suit one, and\n" +
			"prints the path of rails.yaml.",
		Example: "  bin/caudal up --rails $(bin/railsim rails --url http://127.0.0.1:9090 --dir ./rails)",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := writeRails(dir, strings.TrimSuffix(url, "/"))
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), path); err != nil {
				return fmt.Errorf("printing the path: %w", err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&url, "url", "http://127.0.0.1:9090", "where the simulator serves")
	c.Flags().StringVar(&dir, "dir", "./rails", "folder to write to; what is there under these names is replaced")
	return c
}

// simulatorAddress holds what is written into YAML as it stands.
var simulatorAddress = regexp.MustCompile(`^https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~/-]*)?$`)

func writeRails(dir, url string) (string, error) {
	if !simulatorAddress.MatchString(url) {
		return "", fmt.Errorf("--url %q is not http://HOST:PORT", url)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("making the folder: %w", err)
	}
	known := server.DefaultCredentials()
	fill := strings.NewReplacer("URL", url, "ID", known.Cielo.MerchantID, "PV", known.Rede.PV, "HEADER", known.Cielo.WebhookHeader)
	for name, text := range map[string]string{
		"rails.yaml": fill.Replace(railsFile), "routes.yaml": routesFile, "cielo.key": known.Cielo.MerchantKey, "rede.key": known.Rede.Token,
		"pagarme.key": known.Pagarme.SecretKey, "bank.key": known.Bank.Token,
		"cielo.hook": known.Cielo.WebhookValue, "pagarme.hook": known.Pagarme.Webhook, "standard.hook": known.Webhook,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return filepath.Join(dir, "rails.yaml"), nil
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/up"
	"github.com/caudalpay/caudal/processors/money"
)

// accountLine is one account in one currency. Amounts are minor units.
type accountLine struct {
	AccountID  string `json:"account_id"`
	ExternalID string `json:"external_id"`
	Currency   string `json:"currency"`
	Posted     int64  `json:"posted"`
	Held       int64  `json:"held"`
	Available  int64  `json:"available"` // posted - held
}

func accountsCommand() *cobra.Command {
	c := &cobra.Command{Use: "accounts", Short: "Accounts of an installation"}
	var data, output string
	list := &cobra.Command{
		Use:   "list",
		Short: "List accounts with their balances, one line per account and currency",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			parts, err := up.Attach(ctx, data, cmd.ErrOrStderr(), slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, parts.Stop(ctx)) }()
			conn, err := pgx.Connect(ctx, parts.Postgres)
			if err != nil {
				return fmt.Errorf("connecting to Postgres: %w", err)
			}
			defer func() { err = errors.Join(err, conn.Close(ctx)) }()
			rows, err := conn.Query(ctx, accountsQuery)
			if err != nil {
				return fmt.Errorf("reading accounts: %w", err)
			}
			lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[accountLine])
			if err != nil {
				return fmt.Errorf("reading accounts: %w", err)
			}
			return printAccounts(cmd.OutOrStdout(), lines, output)
		},
	}
	list.Flags().StringVar(&data, "data", dataDefault, "data folder of the installation")
	list.Flags().StringVarP(&output, "output", "o", "table", "table or json (one object per line)")
	c.AddCommand(list)
	return c
}

func printAccounts(w io.Writer, lines []accountLine, output string) error {
	switch output {
	case "json":
		encoder := json.NewEncoder(w)
		for _, l := range lines {
			if err := encoder.Encode(l); err != nil {
				return fmt.Errorf("printing accounts: %w", err)
			}
		}
		return nil
	case "table":
		t := table.NewWriter()
		t.SetOutputMirror(w)
		t.SetStyle(table.StyleLight)
		t.AppendHeader(table.Row{"account", "external id", "currency", "posted", "held", "available"})
		for _, l := range lines {
			t.AppendRow(table.Row{l.AccountID, l.ExternalID, l.Currency, money.Format(l.Posted, l.Currency), money.Format(l.Held, l.Currency), money.Format(l.Available, l.Currency)})
		}
		t.Render()
		return nil
	default:
		return fmt.Errorf("-o %q: choose table or json", output)
	}
}

// accountsQuery lists the currencies an account holds, in its own order; one never used is zero.
const accountsQuery = `
SELECT a.account, a.external_id, c.currency,
       coalesce(b.posted_minor, 0), coalesce(b.held_minor, 0), coalesce(b.posted_minor, 0) - coalesce(b.held_minor, 0)
FROM accounts.accounts a
CROSS JOIN LATERAL unnest(a.currencies) WITH ORDINALITY AS c(currency, place)
LEFT JOIN ledger.balances b ON b.account = a.account AND b.currency = c.currency
WHERE a.status <> 0
ORDER BY a.external_id, a.account, c.place`

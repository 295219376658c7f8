package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/railsim/server"
	"github.com/caudalpay/caudal/processors/money"
)

func booksCommand() *cobra.Command {
	var address, output, order string
	var all, check bool
	c := &cobra.Command{
		Use:   "books",
		Short: "Show what a simulator really did: money, orders charged twice, faults that fell",
		Long: "Reads /books/summary of a running simulator, with --orders every order (JSON, one a line), with --order one of them.\n\n" +
			"charged_twice counts orders of which two charges or payouts stand now, over all connectors: each was authorised,\n" +
			"collected or sent, and is not wholly voided, failed or returned. A refund does not undo a charge. charged_twice_ever\n" +
			"counts also those of which one was let go later.\n\n" +
			"Exit codes: 0 shown, 1 failed, 3 with --check where charged_twice is not 0.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := cmd.OutOrStdout()
			base := strings.TrimSuffix(address, "/")
			switch {
			case output != "table" && output != "json":
				return fmt.Errorf("-o %q: choose table or json", output)
			case order != "":
				return show(cmd.Context(), w, base+"/books?order_id="+url.QueryEscape(order))
			case all:
				return show(cmd.Context(), w, base+"/books")
			}
			var s server.Summary
			if err := get(cmd.Context(), base+"/books/summary", func(r io.Reader) error { return json.NewDecoder(r).Decode(&s) }); err != nil {
				return err
			}
			if err := printSummary(w, s, output); err != nil {
				return err
			}
			if check && s.ChargedTwice > 0 {
				return fmt.Errorf("%d %w", s.ChargedTwice, errChargedTwice)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&address, "url", "http://127.0.0.1:9090", "where the simulator serves")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	f.BoolVar(&all, "orders", false, "every order instead of the summary, as JSON")
	f.StringVar(&order, "order", "", "one order instead of the summary, as JSON")
	f.BoolVar(&check, "check", false, "end with 3 where an order was charged twice")
	return c
}

func get(ctx context.Context, address string, read func(io.Reader) error) (err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("asking for the books: %w", err)
	}
	client := http.Client{Timeout: 10 * time.Minute}
	a, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("asking for the books: %w", err)
	}
	defer func() { _ = a.Body.Close() }() // nothing was written
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("asking for the books: %s", a.Status)
	}
	if err := read(a.Body); err != nil {
		return fmt.Errorf("reading the books: %w", err)
	}
	return nil
}

func show(ctx context.Context, w io.Writer, address string) error {
	return get(ctx, address, func(r io.Reader) error {
		_, err := io.Copy(w, r)
		return err //nolint:wrapcheck // get says what it was doing
	})
}

func printSummary(w io.Writer, s server.Summary, output string) error {
	if output == "json" {
		return writeJSON(w, s)
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"connector", "currency", "authorised", "declined", "captured", "voided", "refunded", "sent", "returned", "net"})
	for _, l := range s.Totals {
		amount := func(count int, minor int64) string {
			if count == 0 {
				return "0"
			}
			return fmt.Sprintf("%d: %s", count, money.Format(minor, l.Currency))
		}
		t.AppendRow(table.Row{
			l.Connector, l.Currency, amount(l.Authorizations, l.AuthorizedMinor), l.Declines, amount(l.Captures, l.CapturedMinor), amount(l.Voids, l.VoidedMinor),
			amount(l.Refunds, l.RefundedMinor), amount(l.Sent, l.SentMinor), amount(l.Returned, l.ReturnedMinor), money.Format(l.NetMinor, l.Currency),
		})
	}
	t.Render()
	var text strings.Builder
	fmt.Fprintf(&text, "orders %d, charged twice %d (ever %d)", s.Orders, s.ChargedTwice, s.ChargedTwiceEver)
	if s.ChargedTwice > 0 {
		fmt.Fprintf(&text, ": %s", strings.Join(s.Twice, " "))
	}
	fmt.Fprintf(&text, "\nwebhooks delivered %d, attempts %d, failed attempts %d, waiting %d\n", s.Webhooks.Delivered, s.Webhooks.Attempts, s.Webhooks.Failed, s.Webhooks.Waiting)
	for _, connector := range slices.Sorted(maps.Keys(s.Faults)) {
		fmt.Fprintf(&text, "faults of %s:", connector)
		for _, kind := range slices.Sorted(maps.Keys(s.Faults[connector])) {
			fmt.Fprintf(&text, " %s %d", kind, s.Faults[connector][kind])
		}
		text.WriteString("\n")
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("printing the books: %w", err)
	}
	return nil
}

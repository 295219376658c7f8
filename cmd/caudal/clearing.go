package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/clearing"
	"github.com/caudalpay/caudal/cmd/caudal/lines"
)

func clearingCommand() *cobra.Command {
	c := &cobra.Command{Use: "clearing", Short: "What card networks collect from issued cards"}
	o := clearing.Options{Workers: 16}
	var data, output string
	load := &cobra.Command{
		Use:   "load FILE",
		Short: "Clear the items of a card network's file in a running installation",
		Long: "Reads the whole file first (docs/card-feed.md has its form) and holds it against its control totals: what is wrong is listed by\n" +
			"line, and nothing is sent. Then it sends each item as POST /clearings does. An item is taken once, also where the card feed has told\n" +
			"it: load a file again whenever a run has not come to its end. What is refused is listed by line, and stops nothing else.\n" +
			"The key needs the scope operator. Exit codes: 0 every item is in the books, 1 one is not.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("-o %q: choose table or json", output)
			}
			if o.Workers < 1 {
				return fmt.Errorf("--workers %d: at least 1", o.Workers)
			}
			o.File, o.Progress = args[0], cmd.ErrOrStderr()
			var err error
			if o.Token, err = tokenOr(o.Token, data); err != nil {
				return err
			}
			result, err := clearing.Load(cmd.Context(), o)
			if err != nil && result.Items == 0 {
				return err //nolint:wrapcheck // nothing was sent: it says why
			}
			err = errors.Join(err, printCleared(cmd.OutOrStdout(), result, output))
			if n := len(result.Refused); err == nil && n > 0 {
				err = fmt.Errorf("%d of %d items are not in the books", n, result.Items)
			}
			return err
		},
	}
	f := load.Flags()
	f.StringVar(&o.URL, "url", "http://127.0.0.1:8080", "address of the API")
	f.StringVar(&data, "data", dataDefault, "data folder whose token to use")
	f.StringVar(&o.Token, "token", "", "bearer token, instead of the data folder's")
	f.IntVar(&o.Workers, "workers", o.Workers, "requests in flight")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	c.AddCommand(load)
	return c
}

func printCleared(w io.Writer, r clearing.Result, output string) error {
	if output == "json" {
		return printJSON(w, r)
	}
	footers := []table.Row{{"", "items", r.Items}, {"", "cleared", r.Cleared}, {"", "repeated", r.Repeated}}
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		footers = append(footers, table.Row{"", "of them " + reason, r.Reasons[reason]})
	}
	printRefused(w, r.Refused, footers)
	return nil
}

// printRefused draws the lines of a file that changed nothing, and what became of the others.
func printRefused(w io.Writer, refused []lines.Refusal, footers []table.Row) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Footer = text.FormatDefault
	t.AppendHeader(table.Row{"line", "refused", "why"})
	for _, r := range refused {
		t.AppendRow(table.Row{r.Line, r.Code, r.Detail})
	}
	for _, row := range footers {
		t.AppendFooter(row)
	}
	t.Render()
}

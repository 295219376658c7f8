package main

import (
	"context"
	"maps"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/clearing"
	"github.com/caudalpay/caudal/cmd/caudal/lines"
)

func clearingCommand() *cobra.Command {
	c := &cobra.Command{Use: "clearing", Short: "What card networks collect from issued cards"}
	o := lines.Options{Workers: 16}
	load := &cobra.Command{
		Use:   "load FILE",
		Short: "Clear the items of a card network's file in a running installation",
		Long: "Reads the whole file first (docs/card-feed.md has its form) and holds it against its control totals: what is wrong is listed by\n" +
			"line, and nothing is sent. Then it sends each item as POST /clearings does. An item is taken once, also where the card feed has told\n" +
			"it: load a file again whenever a run has not come to its end. What is refused is listed by line, and stops nothing else.\n" +
			"The key needs the scope operator. Exit codes: 0 every item is in the books, 1 one is not.",
	}
	c.AddCommand(loadCommand(load, &o, func(ctx context.Context) (loaded, error) {
		r, err := clearing.Load(ctx, o)
		footers := []table.Row{{"", "items", r.Items}, {"", "cleared", r.Cleared}, {"", "repeated", r.Repeated}}
		for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
			footers = append(footers, table.Row{"", "of them " + reason, r.Reasons[reason]})
		}
		return loaded{result: r, lines: r.Items, refused: r.Refused, footers: footers}, err //nolint:wrapcheck // it says of which file or line
	}))
	return c
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/disputes"
	"github.com/caudalpay/caudal/cmd/caudal/lines"
)

func disputesCommand() *cobra.Command {
	c := &cobra.Command{Use: "disputes", Short: "Disputes of card payments"}
	o := disputes.Options{Options: lines.Options{Workers: 8}}
	load := &cobra.Command{
		Use:   "load FILE",
		Short: "Tell a running installation what a card network's file says of disputes",
		Long: "Sends each line as POST /disputes does, in order per pay-in: a .csv file with a header, else one JSON object per line, with\n" +
			"the members payment_id, stage, amount, reference, and optionally reason_code, connector, deadline, occurred_at. What is refused is\n" +
			"listed by line, and stops nothing else; running it again changes nothing, since what is said to the letter as before is taken once.\n" +
			"Where a dispute may come to a stage twice, occurred_at tells the second time from the first. A line is stale where the dispute is past\n" +
			"what it says: it is listed with where the dispute stands, and moves nothing. The key needs the scope operator. Exit codes: 0 no line was\n" +
			"refused, 1 one was.",
	}
	load.Flags().StringVar(&o.Connector, "connector", "", "who tells, of lines without a connector (default operator)")
	c.AddCommand(loadCommand(load, &o.Options, func(ctx context.Context) (loaded, error) {
		r, err := disputes.Load(ctx, o)
		footers := []table.Row{{r.Lines, "taken", r.Taken}, {"", "repeated", r.Repeated}, {"", "stale", len(r.Stale)}}
		return loaded{result: r, lines: r.Lines, refused: r.Refused, stale: r.Stale, footers: footers}, err //nolint:wrapcheck // it says at which line
	}))
	return c
}

func printJSON(w io.Writer, v any) error {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/disputes"
)

func disputesCommand() *cobra.Command {
	c := &cobra.Command{Use: "disputes", Short: "Disputes of card payments"}
	o := disputes.Options{Workers: 8}
	var data, output string
	load := &cobra.Command{
		Use:   "load FILE",
		Short: "Tell a running installation what a card network's file says of disputes",
		Long: "Sends each line as POST /disputes does, in order per pay-in: a .csv file with a header, else one JSON object per line, with\n" +
			"the members payment_id, stage, amount, reference, and optionally reason_code, connector, deadline, occurred_at. What is refused is\n" +
			"listed by line, and stops nothing else; running it again changes nothing. The key needs the scope operator.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("-o %q: choose table or json", output)
			}
			o.File, o.Progress = args[0], cmd.ErrOrStderr()
			var err error
			if o.Token, err = tokenOr(o.Token, data); err != nil {
				return err
			}
			result, err := disputes.Load(cmd.Context(), o)
			if err != nil && result.Lines == 0 {
				return err // nothing was read
			}
			err = errors.Join(err, printLoaded(cmd.OutOrStdout(), result, output))
			if n := len(result.Refused); err == nil && n > 0 {
				err = fmt.Errorf("%d of %d lines changed nothing", n, result.Lines)
			}
			return err
		},
	}
	f := load.Flags()
	f.StringVar(&o.URL, "url", "http://127.0.0.1:8080", "address of the API")
	f.StringVar(&data, "data", dataDefault, "data folder whose token to use")
	f.StringVar(&o.Token, "token", "", "bearer token, instead of the data folder's")
	f.StringVar(&o.Connector, "connector", "", "who tells, of lines without a connector (default operator)")
	f.IntVar(&o.Workers, "workers", o.Workers, "requests in flight")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	c.AddCommand(load)
	return c
}

func printLoaded(w io.Writer, r disputes.Result, output string) error {
	if output == "json" {
		return printJSON(w, r)
	}
	printRefused(w, r.Refused, []table.Row{{r.Lines, "taken", r.Taken}})
	return nil
}

func printJSON(w io.Writer, v any) error {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/importer"
)

func importCommand() *cobra.Command {
	var o importer.Options
	var data, output string
	c := &cobra.Command{
		Use:   "import --mapping FILE FILE.csv",
		Short: "Send a bank's or merchant's CSV file through the front door of a running installation",
		Long: "Sends each row as a payment, in order per account, under an idempotency key of its own: running it again sends\n" +
			"nothing twice. Rows that do not fit go to a side file with their line and the reason. See docs/import.md.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.File, o.Progress = args[0], cmd.ErrOrStderr()
			var err error
			if o.Token, err = tokenOr(o.Token, data); err != nil {
				return err
			}
			result, err := importer.Run(cmd.Context(), o)
			return errors.Join(err, result.Print(cmd.OutOrStdout(), output))
		},
	}
	f := c.Flags()
	f.StringVar(&o.Mapping, "mapping", "", "YAML file that says what the columns mean")
	f.StringVar(&o.URL, "url", "http://127.0.0.1:8080", "address of the API")
	f.StringVar(&data, "data", dataDefault, "data folder whose token to use")
	f.StringVar(&o.Rejected, "rejected", "", "side file for rejected rows (default FILE.rejected.csv)")
	f.IntVar(&o.Workers, "workers", 0, "requests in flight (default 8)")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	_ = c.MarkFlagRequired("mapping") // the flag exists
	return c
}

package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/bench"
)

func benchCommand() *cobra.Command {
	var o bench.Options
	var echo bool
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine against the targets: pairs of a baseline and the system",
		Long: "Starts an installation of its own and measures throughput (P1, P3, P4), latency (P8, P9) and processor time (P13)\n" +
			"as ratios to baselines on the same broker, in pairs. The figures count only because the books are proven afterwards;\n" +
			"where they do not close, it fails.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if echo {
				return bench.Echo()
			}
			o.Command = strings.Join(append([]string{"caudal"}, os.Args[1:]...), " ")
			return bench.Run(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.IntVar(&o.Pairs, "pairs", 7, "pairs of baseline and system")
	f.Float64Var(&o.Seconds, "seconds", 10, "length of each half of a pair")
	f.StringSliceVar(&o.Only, "only", nil, "measure only these: P1, P3, P4, P8, P9, P13")
	f.IntVar(&o.Accounts, "accounts", 10_000, "accounts the payments are spread over")
	f.StringVar(&o.Report, "report", "", "folder to write DATE-WHAT.md into")
	f.StringVar(&o.What, "what", "house", "name of the report")
	f.StringVar(&o.Work, "work", "", "folder for the installation, which stays; default: a temporary one")
	f.StringSliceVar(&o.Brokers, "brokers", nil, "Kafka brokers, 4.0 or later, instead of the embedded one")
	f.BoolVar(&o.Quick, "quick", false, "two short pairs on few accounts: does it run at all")
	f.StringVar(&o.Profile, "profile", "", "folder for processor profiles of 10 s, taken at full load")
	f.StringVarP(&o.Output, "output", "o", "table", "table or json")
	f.BoolVar(&echo, "echo", false, "serve the bare echo that P3 is compared with")
	_ = f.MarkHidden("echo") // the flag exists
	return c
}

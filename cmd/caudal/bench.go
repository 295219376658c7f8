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
	c.AddCommand(benchEngineCommand())
	return c
}

func benchEngineCommand() *cobra.Command {
	var o bench.EngineOptions
	var contestant string
	c := &cobra.Command{
		Use:   "engine",
		Short: "Measure the engine against franz-go, stock Goka and Kafka Streams doing the same work",
		Long: "Starts a broker of its own and lets contestants, each in a process of its own, work off the same backlog: read a counter, write\n" +
			"it, emit one output. Measures throughput (P5, P16), a hot key (P10), restore (P11), recovery (P14), memory (P15) and latency by\n" +
			"commit ceiling. What every contestant leaves is audited; one that leaves what is wrong is out, and the command fails.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if contestant != "" {
				return bench.ServeContestant(cmd.Context(), contestant)
			}
			o.Command = strings.Join(append([]string{"caudal"}, os.Args[1:]...), " ")
			return bench.RunEngine(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.IntVar(&o.Pairs, "pairs", 7, "rounds, in each of which every contestant has one turn")
	f.Float64Var(&o.Seconds, "seconds", 4, "length of a turn, after its warm-up")
	f.StringSliceVar(&o.Only, "only", nil, "measure only these: P5, P10, P11, P14, P15, P16, latency, sweep (default: P15 on kfake, P16 on Kafka, no sweep, all others)")
	f.StringVar(&o.Report, "report", "", "folder to write DATE-WHAT.md into")
	f.StringVar(&o.What, "what", "engine", "name of the report")
	f.StringVar(&o.Work, "work", "", "folder for the broker and the logs, which stays; default: a temporary one")
	f.StringSliceVar(&o.Brokers, "brokers", nil, "Kafka brokers, 4.0 or later, that are there already")
	f.IntVar(&o.Kafka, "kafka", 0, "start an Apache Kafka of 1 or 3 brokers (Java 17, Maven) instead of kfake")
	f.BoolVar(&o.Quick, "quick", false, "two short rounds: does it run at all")
	f.Float64Var(&o.Rate, "rate", 0, "records a second of latency and P14 (default: half of what the engine is found to sustain)")
	f.StringVar(&o.Profile, "profile", "", "folder for a processor profile of the engine at full load")
	f.StringVarP(&o.Output, "output", "o", "table", "table or json")
	f.StringVar(&o.Streams, "kafka-streams", "deploy/kafka-streams", "folder of the Kafka Streams application")
	f.StringVar(&contestant, "contestant", "", "be a contestant, told by standard input what to do")
	_ = f.MarkHidden("contestant") // the flag exists
	return c
}

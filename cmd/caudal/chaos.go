package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/chaos"
)

func chaosCommand() *cobra.Command {
	o := chaos.Defaults()
	c := &cobra.Command{
		Use:   "chaos",
		Short: "Attack the engine under load, and let an oracle recompute everything",
		Long: "Drives this binary's own workers with a conserving mix of payments while it kills them (-9), stops them past their\n" +
			"session and lets them go on, cuts their connections inside requests of a transaction, and starts and stops them; with\n" +
			"--kafka 3 it kills brokers too. Each kind gets at least a tenth of the faults, and a fault that hits an idle system is\n" +
			"repeated. Then an oracle recomputes every account, side record, decision and emission from the command log alone.\n" +
			"Ends with 1 where anything differs.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(o.Brokers) == 0 && o.Kafka == 0 {
				_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "the broker is kfake, which is not crash-atomic: it is not killed; --kafka 3 is") // the terminal may be gone
			}
			return chaos.Run(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.Int64Var(&o.Payments, "payments", o.Payments, "payments, spread over all faults")
	f.IntVar(&o.Faults, "faults", o.Faults, "faults")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "seed of load and plan")
	f.IntVar(&o.Members, "members", o.Members, "workers")
	f.IntVar(&o.Sessions, "sessions", o.Sessions, "members of the group in each worker")
	f.BoolVar(&o.Standby, "standby", false, "workers keep the state of the others' partitions too")
	f.StringSliceVar(&o.Brokers, "brokers", nil, "Kafka brokers, 4.0 or later, without an installation, instead of the embedded one")
	f.IntVar(&o.Kafka, "kafka", 0, "start Apache Kafka of 1 or 3 brokers (needs Java 17 and Maven)")
	f.Int32Var(&o.Partitions, "partitions", o.Partitions, "partitions of the topics")
	f.StringVar(&o.Engine, "engine", o.Engine, "caudal, or stock-goka to see what is compared")
	f.StringVar(&o.State, "state", o.State, "where workers keep their state beside the accounts: disk or memory")
	f.BoolVar(&o.Again, "again", false, "no attack: the oracle judges once more what a run left in --work")
	f.StringVar(&o.Work, "work", "", "folder of broker and logs, which stays; default: a temporary one, kept where something is wrong")
	f.DurationVar(&o.Stall, "stall", o.Stall, "end the run after this long without a decision")
	f.StringSliceVar(&o.Only, "only", nil, "only these kinds of faults")
	f.DurationVar(&o.SessionTimeout, "session-timeout", 0, "how long the group waits for a silent worker (default 2s on brokers of its own, 6s on others)")
	f.StringVarP(&o.Output, "output", "o", o.Output, "table or json")
	return c
}

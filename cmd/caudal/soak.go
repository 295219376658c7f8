package main

import (
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/soak"
)

func soakCommand() *cobra.Command {
	o := soak.Defaults()
	c := &cobra.Command{
		Use:   "soak",
		Short: "Run payments against rails that fail, kill the house on the way, and compare both sides' books",
		Long: "Starts `caudal up`, its sinks apart, and the simulator of acquirers and bank (railsim, beside this program), sends payments by\n" +
			"card, bank and book, captures, voids and refunds what comes of them, and lets every kind of fault fall. Some payments into\n" +
			"dollars ask for a quote first, which two of them use at once, or too late. Disputes are told stage by stage, in their order or\n" +
			"all at once with their times, some of it twice. An acquirer on the card feed asks about cards of the house. Meanwhile a worker\n" +
			"alone, the sinks (stores and connectors) alone and the whole house are killed (-9), in turn.\n\n" +
			"When nothing waits any more it compares each payment with the simulator's own books, the money of each dispute with what was\n" +
			"told of it, and the balances of cardholders with the acquirer's, explains what stands in transit and suspense, and lets\n" +
			"`caudal verify` recompute everything. Ends with 1 where anything differs, is lost, charged twice or stuck, where a quote was\n" +
			"used wrongly or an answer on the card feed was wrong, and where a kind of fault has met fewer charges than --share.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return soak.Run(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.IntVar(&o.Payments, "payments", o.Payments, "payments; captures, voids and refunds come on top")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "seed of payments, follow-ups and faults")
	f.IntVar(&o.Kills, "kills", o.Kills, "how often the house is killed, with all its children and the sinks")
	f.IntVar(&o.PartKills, "part-kills", o.PartKills, "how often one streams worker is killed alone, and as often the sinks (stores and connectors)")
	f.StringVar(&o.Faults, "faults", o.Faults, "faults of the simulator (railsim serve --help)")
	f.Float64Var(&o.Share, "share", o.Share, "per cent of the charges and transfers that each kind of fault has to meet")
	f.IntVar(&o.Workers, "workers", o.Workers, "streams workers")
	f.IntVar(&o.FeedRate, "feed-rate", o.FeedRate, "messages a second that an acquirer sends on the card feed meanwhile")
	f.IntVar(&o.Flight, "flight", o.Flight, "payments under way at once")
	f.DurationVar(&o.Stall, "stall", o.Stall, "end the run where something waits and nothing was decided for so long")
	f.StringVar(&o.Work, "work", "", "folder of everything, which stays; default: a temporary one, kept where something is wrong")
	f.StringVar(&o.Railsim, "railsim", "", "the simulator's program; default: beside this one")
	f.StringVarP(&o.Output, "output", "o", o.Output, "table or json")
	return c
}

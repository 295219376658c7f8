package main

import (
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/demo"
)

func demoCommand() *cobra.Command {
	o := demo.Options{Output: "table"}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the life of payments against simulated rails, and that the books balance afterwards",
		Long: "Starts `caudal up` and the simulator of acquirers and bank (railsim, beside this program) in a folder of its own, takes\n" +
			"payments through every turn they can take, prints a table of what became of each, and proves the books. Takes about two\n" +
			"minutes: one authorisation waits for the minute's tick to expire. Ends with 1 where a flow ends otherwise than it should.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.Run(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.Work, "work", "", "folder of everything, which stays; default: a temporary one, kept where something is wrong")
	f.StringVar(&o.Railsim, "railsim", "", "the simulator's program; default: beside this one")
	f.StringVarP(&o.Output, "output", "o", o.Output, "table or json")
	return c
}

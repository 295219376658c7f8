// Command caudal is the one binary of the payments processor: its subcommands are its roles and its tools.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/dlq"
	"github.com/caudalpay/caudal/cmd/caudal/embedded"
	"github.com/caudalpay/caudal/cmd/caudal/sagas"
	"github.com/caudalpay/caudal/cmd/caudal/topologycmd"
	"github.com/caudalpay/caudal/cmd/caudal/verifycmd"
)

func main() {
	if embedded.RunChild(os.Args) {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "caudal:", err)
		if errors.Is(err, sagas.ErrStuck) {
			os.Exit(sagas.ExitStuck)
		}
		os.Exit(1)
	}
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:           "caudal",
		Short:         "A Kafka-native payments processor",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	c.AddCommand(
		upCommand(), workerCommand(), fetchCommand(), verifycmd.New(), dlq.New(), importCommand(), accountsCommand(), paymentsCommand(), disputesCommand(), clearingCommand(), sagas.New(),
		topologycmd.New(), repairCommand(), benchCommand(), chaosCommand(), soakCommand(), demoCommand(),
	)
	for _, group := range c.Commands() {
		if !group.Runnable() { // cobra would show the help of a command that does not exist, and call that a success
			group.Args, group.RunE = cobra.NoArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	return c
}

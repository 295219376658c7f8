// Command railsim is the outside world, simulated: acquirers (Cielo, Rede, Pagar.me) and a bank that fail as the real ones do,
// on purpose and again the same way for the same seed, and keep books of their own of what they really did.
//
// It is a simulator and moves no money. It knows card tokens only, and refuses card numbers.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFailed       = 1
	exitChargedTwice = 3
)

// errChargedTwice is what `railsim books --check` ends with.
var errChargedTwice = errors.New("orders were charged twice")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	switch {
	case errors.Is(err, errChargedTwice):
		fmt.Fprintln(os.Stderr, "railsim:", err)
		os.Exit(exitChargedTwice)
	case err != nil:
		fmt.Fprintln(os.Stderr, "railsim:", err)
		os.Exit(exitFailed)
	}
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "railsim",
		Short: "The outside world, simulated: acquirers and a bank that fail on purpose and keep their own books",
		Long: "A simulator for trying and testing: it moves no money and takes no card numbers. `railsim serve` plays the rails,\n" +
			"`railsim books` shows what they really did, `railsim rails` writes\n" +
			"the file that leads an installation to them.\n\n" +
			"Exit codes: 0 done, 1 failed or misused, 3 charged twice (`railsim books --check`).",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	c.AddCommand(serveCommand(), feedCommand(), booksCommand(), railsCommand())
	return c
}

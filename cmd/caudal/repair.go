package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/repair"
	"github.com/caudalpay/caudal/cmd/caudal/up"
	"github.com/caudalpay/caudal/schemas/topics"
)

func repairCommand() *cobra.Command {
	var data string
	var dryRun bool
	cfg := repair.Config{Patience: 10 * time.Second}
	c := &cobra.Command{
		Use:   "repair",
		Short: "Mend a commit that the broker's death tore",
		Long: "Compares, for each partition of a stopped installation, what the processor's state has applied, what its group has\n" +
			"committed and what is decided. Where only the committed offset is behind, and the books prove that all else is\n" +
			"there, it commits the offset. It refuses anything else and says what differs. It refuses while any worker is in the\n" +
			"group, too, and names it.\n\n" +
			"--data takes an installation of `caudal up`; --brokers takes servers.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			cfg.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			switch {
			case len(cfg.Brokers) == 0:
				broker, err := up.OwnBroker(ctx, data, cfg.Log)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, broker.Stop(ctx)) }()
				cfg.Brokers, cfg.Partitions = broker.Brokers, broker.Partitions
			case cmd.Flags().Changed("data"):
				return errors.New("--data and --brokers name two installations: choose one")
			}
			return mend(ctx, cfg, dryRun, cmd.OutOrStdout())
		},
	}
	c.Flags().StringVar(&data, "data", dataDefault, "data folder of the installation, which must not be up")
	c.Flags().StringSliceVar(&cfg.Brokers, "brokers", nil, "Kafka brokers, instead of --data")
	c.Flags().Int32Var(&cfg.Partitions, "partitions", topics.PartitionsDefault, "partitions of the topics, with --brokers")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what differs and what would be done")
	return c
}

// mend inspects, prints, proves and, unless it is a dry run, commits.
func mend(ctx context.Context, cfg repair.Config, dryRun bool, out io.Writer) error {
	found, err := repair.Inspect(ctx, cfg)
	if err != nil {
		return err
	}
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"partition", "applied", "committed", "decided", "verdict"})
	torn := 0
	for _, p := range found {
		t.AppendRow(table.Row{p.ID, p.Applied, p.Committed, p.Decided, p.Verdict})
		if p.Verdict == repair.Torn {
			torn++
		}
	}
	t.Render()
	if err := repair.Refusal(found); err != nil {
		return err
	}
	if torn == 0 {
		_, err = fmt.Fprintln(out, "nothing to repair")
		return err
	}
	if err := repair.Prove(ctx, cfg); err != nil {
		return err
	}
	if dryRun {
		_, err = fmt.Fprintf(out, "%d partitions can be repaired: run it again without --dry-run\n", torn)
		return err
	}
	if err := repair.Commit(ctx, cfg, found); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d partitions repaired; start it again as before\n", torn)
	return err
}

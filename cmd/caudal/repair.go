package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/repair"
	"github.com/caudalpay/caudal/cmd/caudal/up"
	"github.com/caudalpay/caudal/schemas/topics"
)

func repairCommand() *cobra.Command {
	var data string
	var dryRun bool
	c := &cobra.Command{
		Use:   "repair",
		Short: "Mend a commit that the broker's death tore",
		Long: "Compares, for each partition of a stopped installation, what the processor's state has applied, what its group has\n" +
			"committed and what is decided. Where only the committed offset is behind, and the books prove that all else is\n" +
			"there, it commits the offset. It refuses anything else and says what differs.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			broker, err := up.OwnBroker(ctx, data, log)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, broker.Stop(ctx)) }()
			cfg := repair.Config{Brokers: broker.Brokers, Partitions: broker.Partitions, InstanceID: topics.AccountsGroup + "-0", Log: log}
			found, err := repair.Inspect(ctx, cfg)
			if err != nil {
				return err
			}
			t := table.NewWriter()
			t.SetOutputMirror(cmd.OutOrStdout())
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
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "nothing to repair")
				return err
			}
			if err := repair.Prove(ctx, cfg); err != nil {
				return err
			}
			if dryRun {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d partitions can be repaired: run it again without --dry-run\n", torn)
				return err
			}
			if err := repair.Commit(ctx, cfg, found); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d partitions repaired; start it again with: caudal up --data %s\n", torn, data)
			return err
		},
	}
	c.Flags().StringVar(&data, "data", dataDefault, "data folder of the installation, which must not be up")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what differs and what would be done")
	return c
}

// Package verifycmd is the command `caudal verify`: the proof that the books of an installation close.
// It only reads. It refuses to prove anything of what it was not pointed at, and says so.
package verifycmd

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/progress"
	"github.com/caudalpay/caudal/cmd/caudal/up"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit"
)

type options struct {
	data, postgres, clickhouse, output string
	brokers                            []string
	partitions                         int32
	allowLag                           bool
}

// New is the command. Its error is an *audit.DifferenceError where the books do not close.
func New() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "verify",
		Short: "Prove that the books close: recompute everything from the command log and compare",
		Long: "Reads the logs from their first record, recomputes each decision with a second, simple model, and compares: decisions,\n" +
			"hash chain, numbering, balances, the processor's table, claims of customers, money in transit, and every row of\n" +
			"Postgres and ClickHouse. Ends with 1 and names the first difference by account, topic, partition and offset.\n\n" +
			"--data takes an installation of `caudal up`, whether it runs or not. --brokers with --postgres or --clickhouse\n" +
			"takes servers; a store that is not named is not compared. Where something runs and only lags, verify waits for it\n" +
			"up to ten seconds.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := c.Flags()
	f.StringVar(&o.data, "data", "./caudal-data", "data folder of the installation")
	f.StringSliceVar(&o.brokers, "brokers", nil, "Kafka brokers, instead of --data")
	f.Int32Var(&o.partitions, "partitions", topics.PartitionsDefault, "partitions of the topics, with --brokers")
	f.StringVar(&o.postgres, "postgres", "", "Postgres DSN, with --brokers")
	f.StringVar(&o.clickhouse, "clickhouse", "", "ClickHouse DSN (HTTP), with --brokers")
	f.BoolVar(&o.allowLag, "allow-lag", false, "accept commands that are not decided yet and stores that are behind")
	f.StringVarP(&o.output, "output", "o", "table", "table or json")
	c.MarkFlagsMutuallyExclusive("data", "brokers")
	return c
}

func (o *options) run(cmd *cobra.Command) (err error) {
	if o.output != "table" && o.output != "json" {
		return fmt.Errorf("--output is %q, not table or json", o.output)
	}
	ctx, patience := cmd.Context(), lagPatience
	logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg := audit.Config{
		Brokers: o.brokers, Partitions: o.partitions, PostgresDSN: o.postgres, AllowLag: o.allowLag, Logger: logger,
		Progress: progress.New(cmd.ErrOrStderr(), "verifying", "records", progress.Unknown).Set,
	}
	if len(o.brokers) == 0 {
		if o.postgres != "" || o.clickhouse != "" {
			return errors.New("--postgres and --clickhouse go with --brokers")
		}
		parts, err := up.Attach(ctx, o.data, cmd.ErrOrStderr(), logger)
		if err != nil {
			return err //nolint:wrapcheck // says it all
		}
		defer func() { err = errors.Join(err, parts.Stop(ctx)) }()
		if parts.Owned() {
			patience = 0
		}
		cfg.Brokers, cfg.Partitions, cfg.PostgresDSN, cfg.ClickHouse = parts.Brokers, parts.Partitions, parts.Postgres, parts.ClickHouseOptions
	} else if o.clickhouse != "" {
		if cfg.ClickHouse, err = clickhouse.ParseDSN(o.clickhouse); err != nil {
			return fmt.Errorf("reading --clickhouse: %w", err)
		}
	}
	report, err := patient(ctx, cfg, patience)
	if err != nil {
		return fmt.Errorf("verifying: %w", err)
	}
	write := report.WriteTable
	if o.output == "json" {
		write = report.WriteJSON
	}
	return errors.Join(write(cmd.OutOrStdout()), report.Err())
}

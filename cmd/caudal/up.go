package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/up"
	"github.com/caudalpay/caudal/schemas/topics"
)

// dataDefault is the data folder of every command.
const dataDefault = "./caudal-data"

func upCommand() *cobra.Command {
	var o up.Options
	c := &cobra.Command{
		Use:   "up",
		Short: "Start everything in one data folder: broker, Postgres, ClickHouse, processor, API",
		Long: "Starts the broker (kfake: one node, for trying and for tests), Postgres, the ClickHouse engine and the streams\n" +
			"worker as child processes, and the API, the ticker and the sinks in this process. --brokers, --postgres and\n" +
			"--clickhouse point at real servers instead. Ctrl-C stops all of it; the next start goes on with the same data.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.ClickHouseAnyPort = !cmd.Flags().Changed("clickhouse-http")
			o.Sample = o.Sample || o.Once && o.Import == ""
			return up.Run(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.Data, "data", dataDefault, "folder of everything that is kept")
	f.StringVar(&o.HTTP, "http", "127.0.0.1:8080", "address of the API")
	f.StringVar(&o.ClickHouseHTTP, "clickhouse-http", "127.0.0.1:8123", "address of the embedded ClickHouse's HTTP interface (port 0: a free one)")
	f.StringSliceVar(&o.Brokers, "brokers", nil, "Kafka brokers, 4.0 or later, instead of the embedded one")
	f.StringVar(&o.Postgres, "postgres", "", "Postgres DSN instead of the embedded server")
	f.StringVar(&o.ClickHouse, "clickhouse", "", "ClickHouse DSN instead of the embedded engine")
	f.Int32Var(&o.Partitions, "partitions", topics.PartitionsDefault, "partitions of the topics, chosen once per installation")
	f.Int16Var(&o.Replication, "replication", 1, "replication factor of topics that are made at the first start")
	f.BoolVar(&o.Sample, "sample", false, "load the sample day, once per data folder and seed")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of the sample day")
	f.BoolVar(&o.Once, "once", false, "load (the sample day, or --import), wait until both stores hold everything, prove the books, end")
	f.StringVar(&o.Import, "import", "", "CSV file to load instead of the sample day")
	f.StringVar(&o.Mapping, "mapping", "", "mapping of --import")
	f.StringVarP(&o.Output, "output", "o", "table", "table or json")
	f.StringSliceVar(&o.Roles, "roles", nil, "run only these roles: ingress, streams, sinks (for measuring them apart)")
	f.StringVar(&o.Pprof, "pprof", "", "address of net/http/pprof, of the worker's under /worker/ and the broker's under /broker/")
	_ = f.MarkHidden("pprof") // the flag exists
	return c
}

func workerCommand() *cobra.Command {
	var o up.WorkerOptions
	c := &cobra.Command{
		Use:   "worker",
		Short: "Run the streams worker alone: the exactly-once processor of the accounts group",
		Args:  cobra.NoArgs,
		Run: func(*cobra.Command, []string) {
			if err := up.RunWorker(o); err != nil {
				os.Exit(1) // its log, which is JSON line by line, says why
			}
		},
	}
	f := c.Flags()
	f.StringSliceVar(&o.Brokers, "brokers", nil, "Kafka brokers")
	f.Int32Var(&o.Partitions, "partitions", topics.PartitionsDefault, "partitions of the topics")
	f.StringVar(&o.Instance, "instance", "0", "name of this member: its transactional and instance id, the same at every start")
	f.StringVar(&o.Admin, "admin", "127.0.0.1:0", "address of /metrics, /healthz, /readyz")
	f.DurationVar(&o.SessionTimeout, "session-timeout", 0, "how long the group waits for a member that is silent (0: the engine's default)")
	f.DurationVar(&o.TransactionTimeout, "transaction-timeout", 0, "how long the broker leaves a transaction open, below the session timeout (0: the engine's default)")
	f.StringVar(&o.Through, "through", "", "proxy for connections to brokers, of caudal chaos")
	f.BoolVar(&o.Stock, "stock-goka", false, "run stock Goka instead of the engine, for caudal chaos")
	for _, hidden := range []string{"through", "stock-goka"} {
		_ = f.MarkHidden(hidden) // the flag exists
	}
	_ = c.MarkFlagRequired("brokers") // the flag exists
	return c
}

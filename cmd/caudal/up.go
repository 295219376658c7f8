package main

import (
	"os"
	"time"

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
			"workers as child processes, and the API, the ticker and the sinks in this process. --brokers, --postgres and\n" +
			"--clickhouse point at real servers instead. Ctrl-C stops all of it; the next start goes on with the same data.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.CardFeed.AnyPort = !cmd.Flags().Changed("iso8583")
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
	f.IntVar(&o.Workers, "workers", 1, "streams workers: processes that share the partitions")
	f.StringVar(&o.State, "state", up.StateDisk, "where workers keep their state beside the accounts: disk (in the data folder) or memory")
	streamsFlags(c, &o.Streams)
	f.StringVar(&o.Rails, "rails", "", "file that names acquirers, banks and routes (docs/rails.md): executes the orders of payments by card and of payouts by bank")
	feedFlags(c, &o.CardFeed)
	f.Int32Var(&o.ReplyPartition, "reply-partition", 0, "where decisions come back to this process; another for each process that runs the role ingress")
	f.StringVar(&o.Pprof, "pprof", "", "address of net/http/pprof, of the workers' under /worker/, /worker-1/ ... and the broker's under /broker/")
	_ = f.MarkHidden("pprof") // the flag exists
	return c
}

// feedFlags are those of the door of acquirers.
func feedFlags(c *cobra.Command, o *up.CardFeed) {
	f := c.Flags()
	f.StringVar(&o.Address, "iso8583", "127.0.0.1:8583", "address of the door of acquirers (docs/card-feed.md): ISO 8583 over TCP; empty: closed")
	f.StringVar(&o.Header, "iso8583-header", "binary", "how its frames tell their length: binary (2 bytes) or ascii (4 digits)")
	f.StringVar(&o.TLS.Certificate, "iso8583-cert", "", "certificate of its TLS, a PEM file; empty: no TLS")
	f.StringVar(&o.TLS.Key, "iso8583-key", "", "key of that certificate, a PEM file")
	f.StringVar(&o.TLS.ClientCA, "iso8583-client-ca", "", "authorities whose acquirers may come in, a PEM file; empty: no certificate is asked for")
	f.StringVar(&o.TLS.Acquirers, "iso8583-acquirers", "", "file that says which client's certificate may speak for which acquirers (field 32, docs/card-feed.md); empty: each for all")
	f.DurationVar(&o.Deadline, "iso8583-deadline", 2*time.Second, "how long an authorization may wait for the core before this house stands in for it")
}

// streamsFlags are those that `up` hands on to its workers.
func streamsFlags(c *cobra.Command, o *up.StreamsOptions) {
	f := c.Flags()
	f.BoolVar(&o.AcceptGraph, "accept-graph", false, "take over state that another topology wrote; for one start of every worker")
	f.BoolVar(&o.BrokerAssigns, "broker-assigns", false, "let the broker assign partitions (KIP-848, Apache Kafka 4.3 or later); the same for every worker")
	f.IntVar(&o.Sessions, "sessions", 0, "members of the group in each worker: while one commits, the others work (default 1)")
	f.BoolVar(&o.Standby, "standby", false, "each worker keeps the state of the others' partitions up to date too, to take them over at once; takes memory, disk and reading for all")
	f.DurationVar(&o.SessionTimeout, "session-timeout", 0, "how long a silent worker keeps its partitions (default 6s; the broker's with --broker-assigns)")
	f.DurationVar(&o.TransactionTimeout, "transaction-timeout", 0, "how long a transaction may stay open; below the session timeout (default 2s)")
}

func workerCommand() *cobra.Command {
	var o up.WorkerOptions
	c := &cobra.Command{
		Use:   "worker",
		Short: "Run one streams worker alone: a member of the exactly-once processor of the accounts group",
		Long: "Runs one member of the accounts group. As many as there are partitions share the work, on one machine or on many, each\n" +
			"with an --instance of its own. Who supervises it starts it again, under the same --instance, whenever it ends by\n" +
			"itself: that is its answer to doubt. Exit status 78 means that a start would find the same; its last line says what\n" +
			"to do. SIGTERM ends it in order: it commits, and the others take over at once. So does the end of a pipe on its\n" +
			"standard input, so that it cannot outlive a parent.",
		Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) {
			if err := up.RunWorker(o); err != nil {
				os.Exit(1) // its log, which is JSON line by line, says why
			}
		},
	}
	f := c.Flags()
	f.StringSliceVar(&o.Brokers, "brokers", nil, "Kafka brokers")
	f.Int32Var(&o.Partitions, "partitions", topics.PartitionsDefault, "partitions of the topics")
	f.StringVar(&o.StateDir, "state-dir", "", "folder for the state of this member alone, which shortens its starts (default: all state in memory)")
	f.StringVar(&o.Instance, "instance", "0", "name of this member: its transactional and instance id, the same at every start")
	streamsFlags(c, &o.StreamsOptions)
	f.StringVar(&o.Admin, "admin", "127.0.0.1:0", "address of /metrics, /healthz, /readyz")
	f.StringVar(&o.Through, "through", "", "proxy for connections to brokers, of caudal chaos")
	f.BoolVar(&o.Stock, "stock-goka", false, "run stock Goka instead of the engine, for caudal chaos")
	for _, hidden := range []string{"through", "stock-goka"} {
		_ = f.MarkHidden(hidden) // the flag exists
	}
	_ = c.MarkFlagRequired("brokers") // the flag exists
	return c
}

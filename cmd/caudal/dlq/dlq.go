// Package dlq is the command `caudal dlq`: what could not be decided, shown, and the operator's word about it. A word is a
// record on the command log, at the key it concerns; the engine obeys it in the order of the log. This package writes that
// record and waits for what comes of it. It changes no state itself, and it refuses to speak for nobody: every word has a
// name and a reason.
package dlq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/up"
	"github.com/caudalpay/caudal/schemas/topics"
)

type options struct {
	data, output string
	brokers      []string
	partitions   int32
}

// New is the command with its subcommands.
func New() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "dlq",
		Short: "Parked accounts and dead letters: look at them, redrive, discard",
		Long: "A command that cannot be decided parks its account: it and all later commands of the account wait in order. A record\n" +
			"that is no account's goes to the dead letters. list and show only read. redrive has what is parked decided, in\n" +
			"order, up to the first that still fails; discard drops one for good and redrives the rest. Both write a record on\n" +
			"the command log that says who and why, and wait until the streams worker has obeyed it.\n\n" +
			"--data takes an installation of `caudal up`; --brokers takes servers.",
	}
	f := c.PersistentFlags()
	f.StringVar(&o.data, "data", "./caudal-data", "data folder of the installation")
	f.StringSliceVar(&o.brokers, "brokers", nil, "Kafka brokers, instead of --data")
	f.Int32Var(&o.partitions, "partitions", topics.PartitionsDefault, "partitions of the topics, with --brokers")
	f.StringVarP(&o.output, "output", "o", "table", "table or json")
	c.AddCommand(o.listCommand(), o.showCommand(), o.redriveCommand(), o.discardCommand())
	return c
}

// installation is the log that a command works on.
type installation struct {
	brokers    []string
	partitions int32
	running    bool // a worker is taken to be there
	stop       func(context.Context) error
}

// run checks the flags, connects, and disconnects.
func (o *options) run(cmd *cobra.Command, work func(ctx context.Context, in *installation) error) (err error) {
	if o.output != "table" && o.output != "json" {
		return fmt.Errorf("--output is %q: choose table or json", o.output)
	}
	if cmd.Flags().Changed("data") && len(o.brokers) > 0 {
		return errors.New("--data and --brokers name two installations: choose one")
	}
	ctx := cmd.Context()
	in, err := o.connect(ctx, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.stop(context.WithoutCancel(ctx))) }()
	return work(ctx, in)
}

// connect finds the log. Of an installation that is not up only the broker is started, for the time of the command.
func (o *options) connect(ctx context.Context, progress io.Writer) (*installation, error) {
	if len(o.brokers) > 0 {
		return &installation{o.brokers, o.partitions, true, func(context.Context) error { return nil }}, nil
	}
	log := slog.New(slog.NewTextHandler(progress, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if own, err := up.OwnBroker(ctx, o.data, log); err == nil {
		return &installation{own.Brokers, own.Partitions, false, own.Stop}, nil
	}
	parts, err := up.Attach(ctx, o.data, progress, log) // it is up, or there is none: this says which
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	return &installation{parts.Brokers, parts.Partitions, !parts.Owned(), parts.Stop}, nil
}

func (in *installation) client(options ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(in.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the broker: %w", err)
	}
	return client, nil
}

func (in *installation) home(key string) int32 {
	return topics.Partition([]byte(key), in.partitions)
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encoding output: %w", err)
	}
	return nil
}

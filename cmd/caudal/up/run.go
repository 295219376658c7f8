package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/cmd/caudal/installation"
	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/ingest/reference"
	sample "github.com/caudalpay/caudal/schemas/reference"
)

// ErrBooksOpen says that a load did not end in closed books.
var ErrBooksOpen = errors.New("the books do not close")

// Run starts an installation, loads what the options ask for, and stays until ctx ends (or, with Once, until the books
// are proven). Tables and JSON go to stdout, progress and what people read meanwhile to stderr.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) (err error) {
	if err := o.Validate(); err != nil {
		return err
	}
	for _, dir := range []string{o.Data, filepath.Join(o.Data, "logs")} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // Postgres runs as another user and must enter; secrets inside are 0600
			return fmt.Errorf("making the data folder: %w", err)
		}
	}
	lock, err := child.Lock(ctx, filepath.Join(o.Data, lockFile), 15*time.Second)
	if err != nil {
		return fmt.Errorf("owning the data folder: %w", err)
	}
	defer func() { _ = lock.Close() }() // released by the kernel anyway
	if err := o.doorsFree(ctx); err != nil {
		return err
	}
	log, closeLog, err := openLog(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()

	roomCtx, leave := context.WithCancel(ctx)
	var room sync.WaitGroup
	room.Go(func() { child.HeapRoom(roomCtx, upHeapRoom) })
	defer room.Wait()
	defer leave()
	in, err := start(ctx, o, stderr, log)
	if err != nil && !o.Once && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		_, _ = fmt.Fprintln(stderr, "\nstopped before it was up") // the terminal may be gone
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.stop(context.WithoutCancel(ctx))) }()
	if o.Sample || o.Import != "" {
		if in.token == "" {
			return fmt.Errorf("--sample and --import load with the token in %[1]s, which is no key of %[2]s: give it an entry there, or move both away, and new ones are made", filepath.Join(o.Data, tokenFile), filepath.Join(o.Data, keysFile))
		}
		closed, err := in.load(ctx, stdout, stderr)
		switch {
		case err != nil:
			return err
		case o.Once && !closed:
			return ErrBooksOpen
		}
	}
	if o.Once {
		in.settle(context.WithoutCancel(ctx)) // a tick may have come since
		return nil
	}
	in.welcome(stderr)
	select {
	case <-ctx.Done():
		_, _ = fmt.Fprintln(stderr, "\nstopping") // the terminal may be gone
		in.settle(context.WithoutCancel(ctx))
		return nil
	case err := <-in.failed:
		return err
	}
}

func openLog(o Options) (*slog.Logger, func() error, error) {
	f, err := os.OpenFile(logFile(o, "caudal"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the log: %w", err)
	}
	return slog.New(slog.NewJSONHandler(f, nil)), f.Close, nil
}

// start brings everything up in order: servers, topics, reference data, sinks, streams, ingress.
func start(ctx context.Context, o Options, stderr io.Writer, log *slog.Logger) (_ *running, err error) {
	in := &running{options: o, log: log, failed: make(chan error, 1), registry: newRegistry()}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.stop(context.WithoutCancel(ctx)))
		}
	}()
	if in.parts, err = startParts(ctx, o, stderr, log); err != nil {
		return nil, err
	}
	if len(o.Brokers) == 0 {
		_, _ = fmt.Fprintln(stderr, broker.Banner) // the terminal may be gone
	}
	if o.runs(roleIngress) {
		if in.token, err = devToken(o.Data); err != nil {
			return nil, err
		}
	}
	if err := prepare(ctx, o, in.parts.Brokers, log); err != nil {
		return nil, err
	}
	if o.runs(roleIngress) || o.runs(roleSinks) && o.Rails != "" {
		if err := in.startFollowing(ctx); err != nil {
			return nil, err
		}
	}
	if o.runs(roleSinks) {
		if err := in.startSinks(ctx); err != nil {
			return nil, err
		}
	}
	if o.runs(roleStreams) {
		if in.workers, err = startWorkers(ctx, o, in.parts.Brokers, log); err != nil {
			return nil, err
		}
		in.watchWorkers()
		asking := context.WithoutCancel(ctx) // readiness is asked while the house stops, too
		for i, p := range in.workers {
			in.checks = append(in.checks, http.Check{Name: workerName(i), Ready: func() error { return askWorker(asking, p) }})
		}
	}
	if o.runs(roleIngress) {
		if err := in.startIngress(ctx); err != nil {
			return nil, err
		}
	}
	if o.Pprof != "" {
		server, err := in.profiles(ctx)
		if err != nil {
			return nil, err
		}
		in.launch(ctx, &in.measuring, map[string]component{"profiles": server})
	}
	in.registry.MustRegister(newHealth(in))
	in.parts.HTTP, in.parts.CardFeed = "http://"+o.HTTP, o.CardFeed.Address
	if err := in.parts.write(o.Data); err != nil {
		return nil, err
	}
	return in, in.waitReady(ctx, stderr)
}

// prepare makes the topics and publishes the sample tenant's reference data.
func prepare(ctx context.Context, o Options, brokers []string, log *slog.Logger) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return fmt.Errorf("connecting to the broker: %w", err)
	}
	defer client.Close()
	if err := installation.Ensure(ctx, kadm.NewClient(client), installation.Size{Partitions: o.Partitions, Replication: o.Replication}, log); err != nil {
		return fmt.Errorf("preparing topics: %w", err)
	}
	documents, err := sample.Sample()
	if err != nil {
		return fmt.Errorf("reading reference data: %w", err)
	}
	if _, err := reference.Publish(ctx, reference.Config{Brokers: brokers, Log: log}, documents); err != nil {
		return fmt.Errorf("publishing reference data: %w", err)
	}
	return nil
}

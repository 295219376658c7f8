package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/streams/topology"
)

// StreamsOptions are what the streams workers of an installation have in common. Zero durations are the engine's defaults.
type StreamsOptions struct {
	AcceptGraph        bool // take over state of another topology
	BrokerAssigns      bool // the broker assigns partitions (KIP-848)
	Sessions           int  // of each worker; 0: one
	Standby            bool // each worker keeps the others' state too
	SessionTimeout     time.Duration
	TransactionTimeout time.Duration
}

// flags is how a worker is told.
func (o StreamsOptions) flags() []string {
	var flags []string
	if o.AcceptGraph {
		flags = append(flags, "--accept-graph")
	}
	if o.BrokerAssigns {
		flags = append(flags, "--broker-assigns")
	}
	if o.Sessions != 0 {
		flags = append(flags, "--sessions", strconv.Itoa(o.Sessions))
	}
	if o.Standby {
		flags = append(flags, "--standby")
	}
	if o.SessionTimeout != 0 {
		flags = append(flags, "--session-timeout", o.SessionTimeout.String())
	}
	if o.TransactionTimeout != 0 {
		flags = append(flags, "--transaction-timeout", o.TransactionTimeout.String())
	}
	return flags
}

// validate asks the engine, whose rules these are, before anything is started.
func (o StreamsOptions) validate(partitions int32) error {
	_, err := topology.NewAccounts(WorkerOptions{
		Brokers: []string{"not asked"}, Partitions: partitions, Instance: "0", StreamsOptions: o,
	}.engine())
	return err
}

// workers are the streams workers of an installation: supervised children with fixed ids, one group.
type workers []*child.Process

// workerName is the part a worker is in logs, checks and metrics: an installation with one has "streams".
func workerName(instance int) string {
	if instance == 0 {
		return roleStreams
	}
	return roleStreams + "-" + strconv.Itoa(instance)
}

// startWorkers starts them side by side. When one exits in doubt, its successor has the same ids and fences it.
func startWorkers(ctx context.Context, o Options, brokers []string, log *slog.Logger) (workers, error) {
	started := make(workers, o.Workers)
	g, gctx := errgroup.WithContext(ctx)
	for i := range started {
		g.Go(func() (err error) {
			started[i], err = child.Supervise(gctx, child.Spec{
				Name: workerName(i),
				Args: append([]string{
					"worker", "--brokers", strings.Join(brokers, ","), "--partitions", fmt.Sprint(o.Partitions), "--instance", strconv.Itoa(i),
				}, append(o.stateFlags(i), o.Streams.flags()...)...),
				Nice: child.NiceWorker, LogFile: logFile(o, workerName(i)), StopTimeout: stopGrace + 2*time.Second,
				PauseMin: 50 * time.Millisecond, PauseMax: 2 * time.Second, Logger: log,
			})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the streams workers: %w", err), started.stop(context.WithoutCancel(ctx)))
	}
	return started, nil
}

// stateFlags give each worker a folder of its own.
func (o *Options) stateFlags(instance int) []string {
	if o.State == StateMemory {
		return nil
	}
	return []string{"--state-dir", filepath.Join(o.Data, "state", strconv.Itoa(instance))}
}

// stop ends them side by side: one after the other, each would hand its partitions to the next.
func (w workers) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopGrace+5*time.Second)
	defer cancel()
	errs := make([]error, len(w))
	var stopping sync.WaitGroup
	for i, p := range w {
		if p != nil {
			stopping.Go(func() { errs[i] = p.Stop(ctx) })
		}
	}
	stopping.Wait()
	return errors.Join(errs...)
}

// askTimeout is how long a worker may take to say how it is.
const askTimeout = time.Second

// askWorker asks a worker itself: that its process runs says nothing about its place in the group.
func askWorker(ctx context.Context, worker *child.Process) error {
	if err := worker.Ready(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+worker.Announced()+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("asking the streams worker: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking the streams worker: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read below
	why, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(why)))
	}
	return err
}

// watchWorkers ends the installation when a worker refuses to go on: it has found a state that no restart mends.
func (in *running) watchWorkers() {
	for _, p := range in.workers {
		in.watching.Go(func() {
			<-p.Done()
			if err := p.Err(); err != nil { // else it was stopped
				in.fail(fmt.Errorf("%w\n%s", err, in.advice(err)))
			}
		})
	}
}

// What a worker refuses for.
const (
	refusedTorn    = "torn"
	refusedGraph   = "graph"
	refusedVersion = "version"
)

// advice says what to do about a refusal.
func (in *running) advice(err error) string {
	kept := "Nothing is lost, and nothing more is decided until "
	refused, _ := errors.AsType[*child.RefusedError](err)
	switch {
	case refused != nil && refused.Kind == refusedGraph:
		return fmt.Sprintf(kept+"this is settled. Either start the release that wrote this state. Or, if the change of the topology is meant\n"+
			"(see `caudal topology`), take the state over, and leave the flag out again once every partition has had a tick, a minute later:\n\n"+
			"  caudal up --data %s --accept-graph", in.options.Data)
	case refused != nil && refused.Kind == refusedVersion:
		return fmt.Sprintf(kept+"a program runs that knows this state; this one has changed nothing. Put the release that wrote it in place,\n"+
			"or a newer one, and start it on the same data:\n\n  caudal up --data %s", in.options.Data)
	default:
		return fmt.Sprintf(kept+"this is repaired. Look at it and repair it with:\n\n  caudal repair --data %[1]s --dry-run\n  caudal repair --data %[1]s", in.options.Data)
	}
}

package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/topology"
)

// WorkerOptions of the streams worker.
type WorkerOptions struct {
	Brokers    []string
	Partitions int32
	Instance   string
	Admin      string
	StateDir   string // folder of this worker's state alone; empty: in memory
	// Through is the address of a proxy that every connection to a broker goes through: it is told the broker's address in a
	// line, and answers with a byte once it has reached it. Empty: none.
	Through string
	Stock   bool // run stock Goka instead of the engine, to compare
	StreamsOptions
}

// engine is the engine's side of it.
func (o WorkerOptions) engine() engine.Config {
	id := topics.AccountsGroup + "-" + o.Instance
	return engine.Config{
		Brokers: o.Brokers, Partitions: o.Partitions, TransactionalID: id, InstanceID: id,
		Dir: o.StateDir, AcceptGraph: o.AcceptGraph, BrokerAssigns: o.BrokerAssigns, Sessions: o.Sessions, Standby: o.Standby,
		SessionTimeout: o.SessionTimeout, TransactionTimeout: o.TransactionTimeout,
	}
}

// newEngine builds the accounts group on the engine, or on stock Goka.
func (o *WorkerOptions) newEngine(log *slog.Logger, registry *prometheus.Registry) (*engine.Engine, error) {
	cfg := o.engine()
	cfg.Logger, cfg.Registerer = log, registry
	var dial engine.Dial
	if o.Through != "" {
		dial = o.dialThrough
		cfg.Options = []kgo.Opt{kgo.Dialer(dial)}
	}
	if o.Stock {
		cfg, callback := topology.Accounts(cfg)
		return engine.NewStock(cfg, callback, dial)
	}
	return topology.NewAccounts(cfg)
}

func (o *WorkerOptions) dialThrough(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, o.Through)
	if err != nil {
		return nil, fmt.Errorf("reaching the proxy: %w", err)
	}
	_, err = io.WriteString(conn, address+"\n")
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1)) // it has reached the broker
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.Join(err, conn.Close())}
	}
	return conn, nil
}

// What the processes may allocate between two collections. The worker's grows with its state.
const (
	upHeapRoom     = 512 << 20
	workerHeapRoom = 1 << 30
)

// stopGrace is what the open transaction gets to finish in order.
const stopGrace = 10 * time.Second

// RunWorker runs the accounts group in this process until told to end, or until its parent is gone. It logs to standard
// error; its first line on standard output names the address of its metrics. It returns an error in every case of doubt:
// who supervises it starts it again.
func RunWorker(o WorkerOptions) error {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	err := runWorker(o, log)
	kind, todo := refusal(err)
	switch {
	case kind != "": // starting again would find the same
		log.Error("worker refuses to start", "group", topics.AccountsGroup, "error", err, "todo", todo)
		child.Refuse(kind, err)
	case err != nil:
		log.Error("worker ended", "group", topics.AccountsGroup, "error", err)
	}
	return err
}

// refusal tells the errors that a restart would meet again, and what to do about them; empty for the others.
func refusal(err error) (kind, todo string) {
	if _, ok := errors.AsType[*engine.TornError](err); ok {
		return refusedTorn, "stop all workers, then: caudal repair --brokers ... --partitions ... --dry-run"
	}
	if _, ok := errors.AsType[*engine.GraphChangedError](err); ok {
		return refusedGraph, "start the release that wrote the state, or, if the change is meant, start every worker once with --accept-graph"
	}
	if _, ok := errors.AsType[*engine.StateVersionError](err); ok {
		return refusedVersion, "start the release that wrote the state, or a newer one"
	}
	return "", ""
}

func runWorker(o WorkerOptions, log *slog.Logger) error {
	ctx := child.Lifeline(stopGrace)
	go child.HeapRoom(ctx, workerHeapRoom) // ends with the process
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	e, err := o.newEngine(log, registry)
	if err != nil {
		return fmt.Errorf("building the accounts topology: %w", err)
	}
	listener, err := child.Listen(ctx, o.Admin)
	if err != nil {
		return fmt.Errorf("listening for metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := e.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	handleProfiles(mux)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	child.Announce(listener.Addr().String())
	err = e.Run(ctx)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err = errors.Join(err, server.Shutdown(closing))
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

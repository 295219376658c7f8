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
	"strings"
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

	SessionTimeout     time.Duration // 0: the engine's default
	TransactionTimeout time.Duration // 0: the engine's default
	// Through is the address of a proxy that every connection to a broker goes through: it is told the broker's address in a
	// line, and answers with a byte once it has reached it. Empty: none.
	Through string
	Stock   bool // run stock Goka instead of the engine, to compare
}

// newEngine builds the accounts group on the engine, or on stock Goka.
func (o *WorkerOptions) newEngine(log *slog.Logger, registry *prometheus.Registry) (*engine.Engine, error) {
	cfg := engine.Config{
		Brokers: o.Brokers, Partitions: o.Partitions,
		TransactionalID: topics.AccountsGroup + "-" + o.Instance, InstanceID: topics.AccountsGroup + "-" + o.Instance,
		SessionTimeout: o.SessionTimeout, TransactionTimeout: o.TransactionTimeout,
		Logger: log, Registerer: registry,
	}
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
	if err != nil {
		log.Error("worker ended", "group", topics.AccountsGroup, "error", err)
	}
	if _, torn := errors.AsType[*engine.TornError](err); torn {
		child.Refuse(err) // starting again would find the same
	}
	return err
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

// startWorker runs the worker as a supervised child with fixed ids: when it exits in doubt, its successor fences it.
func startWorker(ctx context.Context, o Options, brokers []string, log *slog.Logger) (*child.Process, error) {
	p, err := child.Supervise(ctx, child.Spec{
		Name: "streams",
		Args: []string{"worker", "--brokers", strings.Join(brokers, ","), "--partitions", fmt.Sprint(o.Partitions)},
		Nice: child.NiceWorker, LogFile: logFile(o, "streams"), StopTimeout: stopGrace + 2*time.Second, PauseMin: 50 * time.Millisecond, PauseMax: 2 * time.Second,
		Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("starting the streams worker: %w", err)
	}
	return p, nil
}

// streamsCheck asks the worker itself: that its process runs says nothing about its place in the group.
func streamsCheck(ctx context.Context, worker *child.Process) func() error {
	ctx = context.WithoutCancel(ctx) // readiness is asked while the house stops, too
	client := &http.Client{Timeout: time.Second}
	return func() error {
		if err := worker.Ready(); err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+worker.Announced()+"/readyz", nil)
		if err != nil {
			return fmt.Errorf("asking the streams worker: %w", err)
		}
		resp, err := client.Do(req)
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
}

// watchWorker ends the installation when the worker refuses to go on: it has found a state that no restart mends.
func (in *running) watchWorker() {
	in.watching.Go(func() {
		<-in.worker.Done()
		err := in.worker.Err()
		if err == nil {
			return // stopped
		}
		in.fail(fmt.Errorf("%w\nNothing is lost, and nothing more is decided until this is repaired. Look at it and repair it with:\n\n  caudal repair --data %s --dry-run\n  caudal repair --data %s",
			err, in.options.Data, in.options.Data))
	})
}

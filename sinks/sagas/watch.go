package sagas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/caudalpay/caudal/processors/payment"
)

// Config says what to watch.
type Config struct {
	DSN      string        // of the Postgres store
	Every    time.Duration // between two counts
	Logger   *slog.Logger
	Registry prometheus.Registerer
}

// DefaultEvery is far below the shortest time after which anything is stuck, and a count costs milliseconds (docs/stores.md).
const DefaultEvery = 30 * time.Second

// Watcher counts what is stuck, by saga and step. It reads what the sink has written, so it is as late as the sink is.
type Watcher struct {
	cfg   Config
	stuck *prometheus.GaugeVec
	found map[at]int // by the last count
}

// at is a step of a saga.
type at struct{ saga, step string }

// NewWatcher counts from Run on; until then every step is told with 0.
func NewWatcher(cfg Config) (*Watcher, error) {
	if cfg.DSN == "" || cfg.Every <= 0 {
		return nil, errors.New("watching sagas: an address of Postgres and a time between two counts are needed")
	}
	w := &Watcher{cfg: cfg, found: map[at]int{}, stuck: promauto.With(cfg.Registry).NewGaugeVec(prometheus.GaugeOpts{
		Name: "caudal_sinks_sagas_stuck", Help: "Payments, and operations on them, that have waited at a step of their saga for longer than it allows.",
	}, []string{"saga", "step"})}
	for _, step := range payment.Sagas() {
		if step.StuckAfterUS != 0 {
			w.stuck.WithLabelValues(step.Saga, step.Name).Set(0)
		}
	}
	return w, nil
}

// Run counts until ctx ends. Where the store is away the last figures stay: the sink's own alert says so.
func (w *Watcher) Run(ctx context.Context) error {
	tick := time.NewTicker(w.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.count(ctx); err != nil && ctx.Err() == nil {
			w.cfg.Logger.Warn("counting stuck sagas failed", "error", err)
		}
	}
}

// count tells what is stuck now, and logs each step at which there are more than before, with the one that waits longest.
func (w *Watcher) count(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Every)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.cfg.DSN) // anew each time: a store that was away is found again
	if err != nil {
		return fmt.Errorf("connecting to Postgres: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	lines, err := Read(ctx, conn, Filter{Stuck: true}, time.Now())
	if err != nil {
		return err
	}
	found, first := map[at]int{}, map[at]Line{}
	for _, l := range lines {
		step := at{l.Saga, l.Step}
		if found[step]++; found[step] == 1 {
			first[step] = l
		}
	}
	for step := range w.found {
		if found[step] == 0 {
			w.stuck.WithLabelValues(step.saga, step.step).Set(0)
		}
	}
	for step, n := range found {
		w.stuck.WithLabelValues(step.saga, step.step).Set(float64(n))
		if n > w.found[step] {
			w.cfg.Logger.Warn("sagas are stuck", "saga", step.saga, "step", step.step, "count", n, "payment_id", first[step].Payment, "since", first[step].Since)
		}
	}
	w.found = found
	return nil
}

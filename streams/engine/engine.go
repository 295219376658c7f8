package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// abortsMax bounds aborts in a row; then the process starts afresh.
const abortsMax = 5

// Engine runs one group.
type Engine struct {
	cfg      Config
	callback Callback
	metrics  *metrics
	state    atomic.Pointer[string] // why it is not ready, nil if it is
	// rollback is what an abort does to a partition; the tests replace it to show that their audit notices.
	rollback func(*partition)
}

// New checks the configuration; it asks no broker.
func New(cfg Config, cb Callback) (*Engine, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cb == nil {
		return nil, errors.New("validating engine config: the callback is missing")
	}
	e := &Engine{cfg: cfg, callback: cb, metrics: newMetrics(cfg.Registerer, cfg.Group), rollback: (*partition).rollback}
	e.setState("not started")
	return e, nil
}

// Ready returns nil while records are being handled, else what is going on instead.
func (e *Engine) Ready() error {
	if why := e.state.Load(); why != nil {
		return fmt.Errorf("group %s: %s", e.cfg.Group, *why)
	}
	return nil
}

func (e *Engine) setState(why string) { e.state.Store(&why) }

// Run consumes until ctx ends; then it commits what is in work and returns nil. After an error the process should end and
// start again: some errors leave goroutines behind that cannot be stopped.
func (e *Engine) Run(ctx context.Context) error {
	defer e.setState("stopped")
	e.setState("starting")
	if err := e.cfg.checkBroker(ctx); err != nil {
		return unlessStopped(ctx, err)
	}
	tables := newLookups(e.cfg.Lookups)
	if err := tables.open(e.cfg.clientOptions()); err != nil {
		return err
	}
	defer tables.close()
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	following := make(chan error, 1)
	go func() {
		err := tables.follow(run)
		if err != nil {
			cancel()
		}
		following <- err
	}()
	err := unlessStopped(run, e.consume(run, tables))
	cancel()
	return errors.Join(<-following, err)
}

func (e *Engine) consume(ctx context.Context, tables *lookups) error {
	if err := tables.start(ctx); err != nil {
		return err
	}
	parts := make([]*partition, e.cfg.Partitions)
	for i := range parts {
		parts[i] = newPartition(int32(i), &e.cfg, e.callback, tables)
	}
	return e.sessions(ctx, parts)
}

// sessions goes on after a confirmed abort on the state it has; anything else ends the run.
func (e *Engine) sessions(ctx context.Context, parts []*partition) error {
	retained := false
	for aborts := 0; ; {
		before := e.metrics.commitCount.Load()
		s := newSession(&e.cfg, parts, e.metrics, func() { e.state.Store(nil) })
		err := s.run(ctx, retained)
		if !errors.Is(err, errAborted) {
			return err
		}
		if e.metrics.commitCount.Load() > before {
			aborts = 0
		}
		if aborts++; aborts > abortsMax {
			return fmt.Errorf("%d aborts in a row: %w", aborts, err)
		}
		e.setState("starting again after an abort")
		e.cfg.Logger.Warn("transaction aborted, starting a new session on the retained state", "error", err, "aborts", aborts)
		for _, p := range parts {
			e.rollback(p)
		}
		retained = true
		select {
		case <-time.After(time.Duration(aborts) * 20 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// unlessStopped drops an error that only says that ctx ended: that is an orderly end.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"
)

// abortsMax bounds aborts in a row; then the process starts afresh.
const abortsMax = 5

// Engine runs one group.
type Engine struct {
	cfg      Config
	callback Callback
	metrics  *metrics
	state    atomic.Pointer[string] // why it is not ready, nil if it is
	holding  atomic.Int32           // partitions
	// rollback is what an abort does to a partition; the tests replace it to show that their audit notices.
	rollback func(*partition)
	// retained tells whether a partition's state is good for an assignment at an offset, reaches whether a fence record is the
	// one that ends a restore; the tests replace these too.
	retained func(p *partition, at int64) bool
	reaches  func(value, fence string) bool
	// believed tells whether a restored state is what the group has committed.
	believed func(p *partition, committed int64) bool
	// doubt is what follows from a commit whose outcome is unknown.
	doubt func(s *session, err error) error
	// end ends the open transaction together with the offsets that were read in it; work runs the group on its partitions.
	// Builds with mutants replace the one, NewStock the other.
	end  func(ctx context.Context, s *session, try kgo.TransactionEndTry) (committed bool, err error)
	work func(ctx context.Context, parts []*partition, joined *joins, folder *folder) error
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
	e := &Engine{
		cfg: cfg, callback: cb, metrics: newMetrics(cfg.Registerer, cfg.Group),
		rollback: (*partition).rollback,
		retained: func(p *partition, at int64) bool { return p.applied == at },
		reaches:  func(value, fence string) bool { return value == fence },
		believed: func(p *partition, committed int64) bool { return p.applied == committed },
		doubt:    func(_ *session, err error) error { return fmt.Errorf("%w: %w", ErrUnknownCommit, err) },
		end: func(ctx context.Context, s *session, try kgo.TransactionEndTry) (bool, error) {
			return s.tx.End(ctx, try)
		},
	}
	e.work = func(ctx context.Context, parts []*partition, joined *joins, folder *folder) error {
		return newSession(e, parts, joined, folder).run(ctx)
	}
	if err := e.mutate(); err != nil {
		return nil, err
	}
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

// Partitions is how many this process handles now.
func (e *Engine) Partitions() int { return int(e.holding.Load()) }

func (e *Engine) setState(why string) { e.state.Store(&why) }

// Run consumes until ctx ends; then it commits what is in work, leaves the group and returns nil. After an error the process should end and
// start again: some errors leave goroutines behind that cannot be stopped.
func (e *Engine) Run(ctx context.Context) error {
	defer e.setState("stopped")
	e.setState("starting")
	folder, err := openFolder(&e.cfg, vfs.Default) // before anything that a second process on it would disturb
	if err != nil {
		return err
	}
	defer folder.close()
	if err := e.cfg.checkBroker(ctx); err != nil {
		return unlessStopped(ctx, err)
	}
	tables := newLookups(e.cfg.Lookups)
	if err := tables.open(e.cfg.clientOptions()); err != nil {
		return err
	}
	defer tables.close()
	joined := newJoins(e.cfg.Joins)
	if err := joined.connect(e.cfg.clientOptions()); err != nil {
		return err
	}
	defer joined.close()
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	following := make(chan error, 2)
	for _, follow := range []func(context.Context) error{tables.follow, joined.follow} {
		go func() {
			err := follow(run)
			if err != nil {
				cancel()
			}
			following <- err
		}()
	}
	err = unlessStopped(run, e.consume(run, tables, joined, folder))
	cancel()
	return errors.Join(<-following, <-following, err)
}

func (e *Engine) consume(ctx context.Context, tables *lookups, joined *joins, folder *folder) error {
	if err := tables.start(ctx); err != nil {
		return err
	}
	parts := make([]*partition, e.cfg.Partitions)
	for i := range parts {
		parts[i] = newPartition(int32(i), &e.cfg, e.callback, tables)
	}
	err := e.work(ctx, parts, joined, folder)
	if folder == nil || folder.abandoned {
		return err
	}
	if errors.Is(err, ErrCallbackDeadline) { // it may wake up, and must find its database open
		folder.abandoned = true
		return err
	}
	for _, p := range parts {
		p.reset()
	}
	return err
}

// unlessStopped drops an error that only says that ctx ended: that is an orderly end.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

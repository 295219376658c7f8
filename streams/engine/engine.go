package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

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
	// unsettled counts the members that have not had all that was assigned to them in work.
	unsettled atomic.Int32
	// rollback is what an abort does to a partition; the tests replace it to show that their audit notices.
	rollback func(*partition)
	// retained tells whether a partition's state is good for an assignment at an offset, reaches whether a fence record is the
	// one that ends a restore; the tests replace these too.
	retained func(p *partition, at offsets) bool
	reaches  func(value, fence string) bool
	// believed tells whether a restored state is what the group has committed.
	believed func(p *partition, committed offsets) bool
	// follows is what a record of a changelog does to a partition on standby.
	follows func(p *partition, log int, r *kgo.Record) error
	// doubt is what follows from a commit whose outcome is unknown.
	doubt func(s *session, err error) error
	// end ends the open transaction together with the offsets that were read in it; work runs the group on its partitions.
	// Builds with mutants replace the one, NewStock the other.
	end  func(ctx context.Context, s *session, try kgo.TransactionEndTry) (committed bool, err error)
	work func(ctx context.Context, m *member) error
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
		retained: func(p *partition, at offsets) bool { return slices.Equal(p.applied, at) },
		reaches:  func(value, fence string) bool { return value == fence },
		believed: func(p *partition, committed offsets) bool { return slices.Equal(p.applied, committed) },
		follows:  (*partition).restoreRecord,
		doubt:    func(_ *session, err error) error { return fmt.Errorf("%w: %w", ErrUnknownCommit, err) },
		end: func(ctx context.Context, s *session, try kgo.TransactionEndTry) (bool, error) {
			return s.tx.End(ctx, try)
		},
	}
	e.work = func(ctx context.Context, m *member) error { return m.sessions(ctx, e) }
	e.unsettled.Store(int32(e.cfg.Sessions)) //nolint:gosec // at most one per partition
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

// settle notes that a member works.
func (e *Engine) settle() {
	if e.unsettled.Add(-1) <= 0 {
		e.state.Store(nil)
	}
}

// Run consumes until ctx ends; then it commits what is in work, leaves the group and returns nil. After an error the process should end and
// start again: some errors leave goroutines behind that cannot be stopped.
func (e *Engine) Run(ctx context.Context) error {
	defer e.setState("stopped")
	e.setState("starting")
	members, err := e.members() // before anything that a second process on their folders would disturb
	defer func() {
		for _, m := range members {
			if !m.abandoned {
				m.folder.close()
			}
		}
	}()
	if err != nil {
		return err
	}
	if err := e.cfg.checkBroker(ctx); err != nil {
		return unlessStopped(ctx, err)
	}
	tables := newLookups(e.cfg.Lookups)
	if err := tables.open(e.cfg.clientOptions()); err != nil {
		return err
	}
	defer tables.close()
	return beside(ctx, tables.follow, func(ctx context.Context) error {
		if err := tables.start(ctx); err != nil {
			return err
		}
		return e.consume(ctx, members, tables)
	})
}

// beside does the work while it follows something: the end of the work ends that, and so does a failure of that the work.
func beside(ctx context.Context, follow, work func(context.Context) error) error {
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	following := make(chan error, 1)
	go func() {
		err := follow(run)
		if err != nil {
			cancel()
		}
		following <- err
	}()
	err := unlessStopped(run, work(run))
	cancel()
	return errors.Join(<-following, err)
}

// consume runs the members. Where one fails the others end in order.
func (e *Engine) consume(ctx context.Context, members []*member, tables *lookups) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(members))
	for _, m := range members {
		go func() { ended <- m.run(ctx, e, tables) }()
	}
	var failed error
	for range members {
		if err := unlessStopped(ctx, <-ended); err != nil {
			failed = errors.Join(failed, err)
			cancel()
		}
	}
	return failed
}

// unlessStopped drops an error that only says that ctx ended: that is an orderly end.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

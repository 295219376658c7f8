package clickhouse

import (
	"bytes"
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	chdriver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	schema "github.com/caudalpay/caudal/schemas/sql/clickhouse"
	"github.com/caudalpay/caudal/sinks/decisionlog"
)

// Sink is the sink. Run it once.
type Sink struct {
	cfg      Config
	owner    string // this run of it
	owned    bool   // a range of ours stands in the store
	metrics  *decisionlog.Metrics
	progress *decisionlog.Progress
	facts    *facts
	lines    *lines
}

// New checks the configuration.
func New(cfg Config) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuring the clickhouse sink: %w", err)
	}
	cfg.ClickHouse = schema.InDatabase(cfg.ClickHouse)
	metrics := decisionlog.NewMetrics(cfg.Registry, "clickhouse")
	return &Sink{
		cfg: cfg, owner: crand.Text(), metrics: metrics, progress: decisionlog.NewProgress(metrics),
		facts: newFacts(), lines: newLines(),
	}, nil
}

// Ready is nil while ClickHouse and the broker answer.
func (s *Sink) Ready() error { return s.progress.Ready() }

// Position is, per partition, the next offset ClickHouse does not hold.
func (s *Sink) Position() map[int32]int64 { return s.progress.Position() }

// Drained returns when ClickHouse holds everything below the ends given.
func (s *Sink) Drained(ctx context.Context, ends map[int32]int64) error {
	return s.progress.Drained(ctx, ends)
}

const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
)

// Run takes decisions until ctx ends, beginning again from what the store says whenever store or broker fail.
// It returns an error only for what waiting does not mend.
func (s *Sink) Run(ctx context.Context) error {
	wait := retryFirst
	for {
		worked, err := s.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.progress.StoreLost(err)
		if final(err) {
			return fmt.Errorf("running the clickhouse sink: %w", err)
		}
		if worked {
			wait = retryFirst
		}
		s.metrics.Retries.Inc()
		s.cfg.Logger.Warn("clickhouse sink begins again", "error", err, "after", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait/2 + rand.N(wait)): //nolint:gosec // spreads retries
		}
		wait = min(2*wait, retryMost)
	}
}

func final(err error) bool {
	for _, e := range []error{ErrNotOwner, schema.ErrNewer, decisionlog.ErrUndecodable, decisionlog.ErrLogShort} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// session is one life of the connection: the last recorded range is repeated, then batches follow each other until
// something fails. It tells whether at least one batch was taken.
func (s *Sink) session(ctx context.Context) (worked bool, err error) {
	if err := schema.Migrate(ctx, s.cfg.ClickHouse, s.cfg.Logger); err != nil {
		return false, err
	}
	conn, err := chdriver.Open(&s.cfg.ClickHouse)
	if err != nil {
		return false, fmt.Errorf("opening clickhouse: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	last, err := s.resume(ctx, conn)
	if err != nil {
		return false, err
	}
	reader, err := decisionlog.Open(ctx, s.cfg.log(), last.next, s.progress)
	if err != nil {
		return false, err
	}
	defer reader.Close()
	s.progress.Start(last.next)
	for {
		batch, err := reader.Next(ctx)
		if err != nil {
			return worked, err
		}
		if batch == nil {
			if err := ping(ctx, conn); err != nil {
				return worked, err
			}
			continue
		}
		began := time.Now()
		if last, err = s.take(ctx, conn, last, batch); err != nil {
			return worked, err
		}
		worked = true
		s.metrics.BatchSeconds.Observe(time.Since(began).Seconds())
		s.metrics.Decisions.Add(float64(len(batch.Entries)))
		s.metrics.Rows.Add(float64(s.facts.rows() + s.lines.rows()))
		s.progress.Done(batch)
	}
}

// The longest that ClickHouse may take before the session is given up. What became of the batch is then read from the
// store.
const (
	pingMost  = 5 * time.Second
	writeMost = 2 * time.Minute
)

// ping notices that the store is away while there is nothing to write.
func ping(ctx context.Context, conn driver.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, pingMost)
	defer cancel()
	if err := conn.Ping(ctx); err != nil {
		return fmt.Errorf("reaching clickhouse: %w", err)
	}
	return nil
}

// resume repeats the last recorded range, because nothing says whether its rows came in. A partition the store has not
// seen begins at 0.
func (s *Sink) resume(ctx context.Context, conn driver.Conn) (claim, error) {
	last, err := lastClaim(ctx, conn, s.cfg.Name)
	if err != nil {
		return last, err
	}
	if s.owned && last.owner != s.owner {
		return last, fmt.Errorf("%w: range %d is %q's", ErrNotOwner, last.seq, last.owner)
	}
	for _, p := range s.cfg.Partitions {
		if _, ok := last.next[p]; !ok {
			last.first[p], last.next[p] = 0, 0
		}
	}
	batch, err := decisionlog.Range(ctx, s.cfg.log(), last.first, last.next)
	if err != nil {
		return last, err
	}
	return last, s.insert(ctx, conn, last.seq, batch)
}

// take records the range of the batch and inserts it.
func (s *Sink) take(ctx context.Context, conn driver.Conn, last claim, batch *decisionlog.Batch) (claim, error) {
	ctx, cancel := context.WithTimeout(ctx, writeMost)
	defer cancel()
	now := claim{seq: last.seq + 1, owner: s.owner, first: last.next, next: maps.Clone(last.next)}
	maps.Copy(now.next, batch.Next)
	if err := record(ctx, conn, s.cfg.Name, now); err != nil {
		return now, err
	}
	s.owned = true
	return now, s.insert(ctx, conn, now.seq, batch)
}

// insert sends a batch's rows under the number of its range: the same rows in the same order each time.
func (s *Sink) insert(ctx context.Context, conn driver.Conn, seq uint64, batch *decisionlog.Batch) error {
	slices.SortFunc(batch.Entries, func(a, b decisionlog.Entry) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	s.facts.reset()
	s.lines.reset()
	for _, e := range batch.Entries {
		if e.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_TICK {
			continue
		}
		s.facts.append(e)
		s.lines.append(e)
	}
	both, ctx := errgroup.WithContext(ctx)
	for _, b := range []*block{&s.facts.block, &s.lines.block} {
		if b.rows() == 0 {
			continue
		}
		both.Go(func() error {
			data, err := b.encode()
			if err != nil {
				return err
			}
			if err := conn.InsertFormat(exactlyOnce(ctx, token("batch", s.cfg.Name, seq)), "Native", b.statement(), bytes.NewReader(data)); err != nil {
				return fmt.Errorf("inserting into %s: %w", b.table, err)
			}
			return nil
		})
	}
	return both.Wait()
}

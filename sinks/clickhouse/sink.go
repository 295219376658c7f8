package clickhouse

import (
	"bytes"
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"maps"
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
	*decisionlog.Sink

	cfg   Config
	owner string // this run of it
	owned bool   // a range of ours stands in the store
	facts *facts
	lines *lines
}

// New checks the configuration.
func New(cfg Config) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuring the clickhouse sink: %w", err)
	}
	cfg.ClickHouse = schema.InDatabase(cfg.ClickHouse)
	s := &Sink{cfg: cfg, owner: crand.Text(), facts: newFacts(), lines: newLines()}
	s.Sink = decisionlog.NewSink(cfg.Config, decisionlog.Store{
		Name: "clickhouse", Open: s.open, Final: []error{ErrNotOwner},
	})
	return s, nil
}

// session holds the connection and the range recorded last.
type session struct {
	sink *Sink
	conn driver.Conn
	last claim
}

// open repeats the last recorded range and begins behind it.
func (s *Sink) open(ctx context.Context) (decisionlog.Session, error) {
	if err := schema.Migrate(ctx, s.cfg.ClickHouse, s.cfg.Logger); err != nil {
		return nil, err
	}
	conn, err := chdriver.Open(&s.cfg.ClickHouse)
	if err != nil {
		return nil, fmt.Errorf("opening clickhouse: %w", err)
	}
	last, err := s.resume(ctx, conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &session{sink: s, conn: conn, last: last}, nil
}

// Position is the end of the range recorded last.
func (s *session) Position() map[int32]int64 { return s.last.next }

// Ping notices that the store is away.
func (s *session) Ping(ctx context.Context) error {
	if err := s.conn.Ping(ctx); err != nil {
		return fmt.Errorf("reaching clickhouse: %w", err)
	}
	return nil
}

// Close lets go of idle connections.
func (s *session) Close(context.Context) {
	_ = s.conn.Close() // the session has failed already, or is to end
}

// writeMost is the longest that ClickHouse may take for a batch before the session is given up.
const writeMost = 2 * time.Minute

// Write records the range of the batch and inserts it.
func (s *session) Write(ctx context.Context, batch *decisionlog.Batch) (taken, rest *decisionlog.Batch, rows int, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeMost)
	defer cancel()
	now := claim{seq: s.last.seq + 1, owner: s.sink.owner, first: s.last.next, next: maps.Clone(s.last.next)}
	maps.Copy(now.next, batch.Next)
	if err := record(ctx, s.conn, now); err != nil {
		return nil, nil, 0, err
	}
	s.last, s.sink.owned = now, true
	s.sink.fill(batch, nil, nil)
	if err := s.sink.insert(ctx, s.conn, token("batch", now.seq, 0)); err != nil {
		return nil, nil, 0, err
	}
	if err := roomy(ctx, s.conn); err != nil {
		return nil, nil, 0, err
	}
	return batch, nil, s.sink.facts.rows() + s.sink.lines.rows(), nil
}

// resume repeats the last recorded range, as far as its rows did not come in. A partition the store has not seen begins
// at 0.
func (s *Sink) resume(ctx context.Context, conn driver.Conn) (claim, error) {
	last, err := lastClaim(ctx, conn)
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
	batch, err := decisionlog.Range(ctx, s.cfg.Config, last.first, last.next)
	if err != nil {
		return last, err
	}
	if err := roomy(ctx, conn); err != nil {
		return last, err
	}
	return last, s.mend(ctx, conn, last, batch)
}

// fill puts a batch's rows into the blocks, in the order of the log, without those of decisions that the store holds.
func (s *Sink) fill(batch *decisionlog.Batch, facts, postings map[identity]bool) {
	slices.SortFunc(batch.Entries, func(a, b decisionlog.Entry) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	s.facts.reset()
	s.lines.reset()
	for _, e := range batch.Entries {
		if !stored(e) {
			continue
		}
		at := identity{e.Partition, e.Offset}
		if !facts[at] {
			s.facts.append(e)
		}
		if !postings[at] {
			s.lines.append(e)
		}
	}
}

// stored tells whether the store keeps a decision: all but those of ticks.
func stored(e decisionlog.Entry) bool { return e.GetKind() != paymentsv1.CommandKind_COMMAND_KIND_TICK }

// insert sends the blocks under a token.
func (s *Sink) insert(ctx context.Context, conn driver.Conn, token string) error {
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
			if err := conn.InsertFormat(exactlyOnce(ctx, token), "Native", b.statement(), bytes.NewReader(data)); err != nil {
				return fmt.Errorf("inserting into %s: %w", b.table, err)
			}
			return nil
		})
	}
	return both.Wait()
}

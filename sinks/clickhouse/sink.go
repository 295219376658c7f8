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
	if err := record(ctx, s.conn, s.sink.cfg.Name, now); err != nil {
		return nil, nil, 0, err
	}
	s.last, s.sink.owned = now, true
	if err := s.sink.insert(ctx, s.conn, now.seq, batch); err != nil {
		return nil, nil, 0, err
	}
	return batch, nil, s.sink.facts.rows() + s.sink.lines.rows(), nil
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
	batch, err := decisionlog.Range(ctx, s.cfg.Config, last.first, last.next)
	if err != nil {
		return last, err
	}
	return last, s.insert(ctx, conn, last.seq, batch)
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

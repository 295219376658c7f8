package decisionlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	schema "github.com/caudalpay/caudal/schemas/sql"
)

// Store is what tells one sink from another.
type Store struct {
	Name string // in metrics, errors and logs
	// Open connects to the store, brings it to this program's schema and finds where it stands.
	Open func(ctx context.Context) (Session, error)
	// Final are the store's own errors that waiting does not mend.
	Final []error
}

// Session is one life of a connection to a store. It ends with its first error; what became of the batch under way is
// then read from the store.
type Session interface {
	// Position is where the log is to be read from, per partition.
	Position() map[int32]int64
	// Ping notices that the store is away while there is nothing to write.
	Ping(ctx context.Context) error
	// Write makes the batch durable, or a first part of it; the rest is to be written next. It counts the rows sent.
	Write(ctx context.Context, batch *Batch) (taken, rest *Batch, rows int, err error)
	// Close says goodbye also where ctx has ended.
	Close(ctx context.Context)
}

// Sink takes the log into a store, session after session. Ready, Position and Drained tell how far it is. Run it once.
type Sink struct {
	*progress

	cfg   Config
	store Store
}

// NewSink takes a valid configuration.
func NewSink(cfg Config, store Store) *Sink {
	store.Final = append(store.Final, schema.ErrNewer, ErrUndecodable, ErrLogShort)
	return &Sink{progress: newProgress(newMetrics(cfg.Registry, store.Name)), cfg: cfg, store: store}
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
		s.storeLost(err)
		if s.final(err) {
			return fmt.Errorf("running the %s sink: %w", s.store.Name, err)
		}
		if worked {
			wait = retryFirst
		}
		s.metrics.retries.Inc()
		s.cfg.Logger.Warn(s.store.Name+" sink begins again", "error", err, "after", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait/2 + rand.N(wait)): //nolint:gosec // spreads retries
		}
		wait = min(2*wait, retryMost)
	}
}

func (s *Sink) final(err error) bool {
	for _, e := range s.store.Final {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// session is one life of the connection: the store says where to begin, then batches follow each other until something
// fails. It tells whether at least one batch was taken.
func (s *Sink) session(ctx context.Context) (worked bool, err error) {
	session, err := s.store.Open(ctx)
	if err != nil {
		return false, err
	}
	defer session.Close(ctx)
	at := session.Position()
	reader, err := open(ctx, s.cfg, at, s.progress)
	if err != nil {
		return false, err
	}
	defer reader.close()
	s.start(at)
	var took time.Duration // for the last batch
	for {
		batch, err := reader.next(ctx, s.linger(took))
		if err == nil && batch == nil {
			err = ping(ctx, session)
		}
		if err != nil {
			return worked, err
		}
		for batch != nil {
			began := time.Now()
			taken, rest, rows, err := session.Write(ctx, batch)
			if err != nil {
				return worked, err
			}
			worked, took = true, time.Since(began)
			s.done(taken, rows, took)
			batch = rest
		}
	}
}

// A batch costs its store something whatever is in it. Where decisions come fast, lingering a few times as long as the last
// batch took keeps that to a part of the work; where they come one by one, batches are short and so is the wait.
const (
	lingerPerBatch = 4
	lingerMost     = 250 * time.Millisecond
)

func (s *Sink) linger(took time.Duration) time.Duration {
	return max(s.cfg.Linger, min(lingerPerBatch*took, lingerMost))
}

// pingMost is the longest that a store may take to answer before the session is given up.
const pingMost = 5 * time.Second

func ping(ctx context.Context, session Session) error {
	ctx, cancel := context.WithTimeout(ctx, pingMost)
	defer cancel()
	return session.Ping(ctx)
}

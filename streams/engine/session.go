package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	startTimeout  = 30 * time.Second // for what a start asks of the broker
	commitTimeout = 15 * time.Second // then the outcome is unknown and the process ends
	claimBuffer   = 1024             // records on their way into Goka, per partition
	// The price of a commit depends on how many partitions it touches and hardly on its records: where input trickles, the
	// gaps keep commits to a fifth of the time. What comes after a pause commits at once.
	gapsPerCommit = 4
	trickleStep   = 2 * time.Millisecond
)

// errAborted means that the transaction is known not to have committed; work may go on with the state of the last commit.
var errAborted = errors.New("transaction aborted")

// session is the life of the transactional client: from fencing the predecessor to the first thing that goes wrong.
type session struct {
	engine  *Engine
	cfg     *Config
	metrics *metrics
	parts   []*partition

	tx        *kgo.GroupTransactSession
	client    *kgo.Client
	connected chan struct{}      // closed once client is there
	cut       context.CancelFunc // ends what the client is at, whatever that is
	inputID   kadm.TopicID
	claims    []*claim

	// membership
	bulletin   bulletin
	wake       atomic.Pointer[context.CancelFunc] // ends the poll that waits
	nudged     atomic.Bool
	places     []place
	running    []*partition
	joined     bool
	settled    bool // everything assigned was running once
	generation int32
	queue      chan []arrival // to the restorer
	restored   chan restored

	// records handed to Goka and not done yet
	pending  atomic.Int64
	idle     chan struct{}
	fatal    chan error // the first failure outside the loop
	stopping atomic.Bool
	watchdog watchdog

	produceFailed atomic.Pointer[error]
	open          bool // a transaction is open
	aborts        int  // in a row
	lastCommit    time.Time
	gap           time.Duration // from lastCommit to the next one, unless input waits
	abandoned     chan error    // something hangs that cannot be stopped
	err           error         // why consume ended
}

func newSession(e *Engine, parts []*partition) *session {
	s := &session{
		engine: e, cfg: &e.cfg, metrics: e.metrics, parts: parts,
		connected: make(chan struct{}), generation: -1,
		places: make([]place, len(parts)), queue: make(chan []arrival, len(parts)), restored: make(chan restored, len(parts)),
		idle: make(chan struct{}, 1), fatal: make(chan error, 1), abandoned: make(chan error, 1),
	}
	for range parts {
		s.claims = append(s.claims, newClaim(e.cfg.Input, int32(len(s.claims)))) //nolint:gosec // a partition count
	}
	return s
}

// run fences the predecessor, joins the group and handles what is assigned. An orderly end leaves the group.
func (s *session) run(ctx context.Context) error {
	if err := s.fencePredecessor(ctx); err != nil {
		return err
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	defer s.close()
	details, err := kadm.NewClient(s.client).ListTopics(ctx, s.cfg.Input)
	if err != nil {
		return fmt.Errorf("describing %s: %w", s.cfg.Input, err)
	}
	s.inputID = details[s.cfg.Input].ID
	for _, p := range s.parts {
		p.bind(ctx, s.produce)
	}
	processor, err := goka.NewProcessor(s.cfg.Brokers, s.graph(), s.options()...)
	if err != nil {
		return fmt.Errorf("building goka processor: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- processor.Run(ctx) }()
	select {
	case err = <-ended:
	case err := <-s.abandoned:
		return err
	}
	if s.err != nil {
		return s.err
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("running goka: %w", err)
	}
	s.leave(ctx)
	return nil
}

// fencePredecessor ends what a former life left open, before the group hands out offsets that it may hold back.
func (s *session) fencePredecessor(ctx context.Context) error {
	client, err := kgo.NewClient(append(s.cfg.clientOptions(),
		kgo.TransactionalID(s.cfg.TransactionalID), kgo.TransactionTimeout(s.cfg.TransactionTimeout))...)
	if err != nil {
		return fmt.Errorf("opening client: %w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if _, _, err := client.ProducerID(ctx); err != nil {
		return fmt.Errorf("fencing the predecessor: %w", err)
	}
	if s.cfg.BrokerAssigns {
		return s.releaseName(ctx, client)
	}
	return nil
}

func (s *session) connect(ctx context.Context) error {
	ctx, s.cut = context.WithCancel(context.WithoutCancel(ctx))
	options := append(s.cfg.clientOptions(), kgo.WithContext(ctx),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.TransactionalID(s.cfg.TransactionalID), kgo.TransactionTimeout(s.cfg.TransactionTimeout),
		kgo.RecordPartitioner(newPartitioner()), kgo.MaxBufferedRecords(1<<20))
	tx, err := kgo.NewGroupTransactSession(append(options, s.groupOptions()...)...)
	if err != nil {
		s.cut()
		return fmt.Errorf("opening transactional client: %w", err)
	}
	s.tx, s.client = tx, tx.Client()
	close(s.connected)
	return nil
}

// consume is the one generation Goka sees, from inside its group hook.
func (s *session) consume(ctx context.Context, h sarama.ConsumerGroupHandler) error {
	// Goka's partition goroutines must outlive ctx until the last commit: ended early, they would drop records that count as pending.
	gokaCtx, stopGoka := context.WithCancel(context.WithoutCancel(ctx))
	defer stopGoka()
	g := &generation{session: s, ctx: gokaCtx}
	if err := h.Setup(g); err != nil {
		s.err = fmt.Errorf("setting up goka: %w", err)
		return s.err
	}
	var claims sync.WaitGroup
	for _, c := range s.claims {
		claims.Go(func() {
			err := h.ConsumeClaim(g, c)
			if !s.stopping.Load() {
				s.fail(fmt.Errorf("goka left partition %d: %w", c.partition, errors.Join(err, errors.New("claim ended early"))))
			}
		})
	}
	s.watchdog = newWatchdog(s.cfg.CallbackTimeout, len(s.parts))
	defer s.watchdog.stop()
	restoring, stopRestoring := context.WithCancel(ctx)
	defer stopRestoring()
	var restorer sync.WaitGroup
	restorer.Go(func() { s.restorer(restoring) })
	s.err = s.loop(ctx)
	s.stopping.Store(true)
	stopRestoring()
	if errors.Is(s.err, ErrCallbackDeadline) {
		s.abandon(s.err)
		return s.err
	}
	hung := time.AfterFunc(commitTimeout, func() { s.abandon(errors.New("goka or a restore does not stop")) })
	restorer.Wait()
	for _, c := range s.claims {
		close(c.messages)
	}
	claims.Wait()
	stopGoka()
	cleanupErr := h.Cleanup(g)
	hung.Stop()
	if s.err == nil && cleanupErr != nil {
		s.err = fmt.Errorf("cleaning up goka: %w", cleanupErr)
	}
	s.dropOpen(ctx)
	return s.err
}

// abandon makes run return although a goroutine hangs.
func (s *session) abandon(err error) {
	select {
	case s.abandoned <- err:
	default:
	}
}

// dropOpen ends a transaction that a failure left open, so that readers behind it need not wait for its timeout.
func (s *session) dropOpen(ctx context.Context) {
	if !s.open {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.TransactionTimeout)
	defer cancel()
	if _, err := s.tx.End(ctx, kgo.TryAbort); err != nil {
		s.cfg.Logger.Warn("transaction left open; it ends by its timeout or at the next start", "error", err)
	}
	s.open = false
	s.metrics.aborts.Inc()
}

func (s *session) loop(ctx context.Context) error {
	for {
		fetches := s.poll(ctx)
		if ctx.Err() != nil {
			return nil // what was polled is not committed: the next start reads it again
		}
		if err := pollError(fetches); err != nil {
			return err
		}
		rewound, err := s.assess(ctx)
		if err != nil {
			return err
		}
		if !rewound && fetches.NumRecords() > 0 {
			err := s.transaction(ctx, fetches)
			if errors.Is(err, errAborted) {
				err = s.resume(ctx, err)
			}
			if err != nil {
				return err
			}
		}
		s.tx.AllowRebalance()
		select {
		case err := <-s.fatal:
			return err
		default:
		}
	}
}

// resume goes on after a confirmed abort on the state of the last commit, as far as the group agrees that it is that.
func (s *session) resume(ctx context.Context, aborted error) error {
	if s.aborts++; s.aborts > abortsMax {
		return fmt.Errorf("%d aborts in a row: %w", s.aborts, aborted)
	}
	s.cfg.Logger.Warn("transaction aborted, going on with the state of the last commit", "group", s.cfg.Group, "error", aborted, "aborts", s.aborts)
	for _, p := range s.running {
		s.engine.rollback(p)
	}
	s.produceFailed.Store(nil)
	select {
	case <-time.After(time.Duration(s.aborts-1) * 20 * time.Millisecond):
	case <-ctx.Done():
		return nil
	}
	initCtx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if _, _, err := s.client.ProducerID(initCtx); err != nil { // an abort may be left to this
		return fmt.Errorf("going on after %w: %w", aborted, err)
	}
	committed, err := s.committedOffsets(ctx, s.running)
	if err != nil {
		return fmt.Errorf("going on after %w: %w", aborted, err)
	}
	for _, p := range slices.Clone(s.running) {
		if at := committed[p.id]; !s.engine.retained(p, at) {
			// The abort was a commit after all, or somebody else works on it: what is in memory does not count.
			s.expel(p.id, at)
		}
	}
	return nil
}

func pollError(f kgo.Fetches) (failed error) {
	f.EachError(func(topic string, p int32, err error) {
		if errors.Is(err, context.Canceled) { // by nudge
			return
		}
		failed = errors.Join(failed, fmt.Errorf("polling %s partition %d: %w", topic, p, err))
	})
	return failed
}

// transaction handles what was polled, and what more arrives while it is at it, and commits. It commits as soon as no
// input waits and the last commit is a gap ago, so that a lone record is not held at all.
func (s *session) transaction(ctx context.Context, fetches kgo.Fetches) error {
	hung := time.AfterFunc(commitTimeout, func() { s.abandon(errors.New("the client does not begin a transaction")) }) // Begin knows no context
	err := s.tx.Begin()
	hung.Stop()
	if err != nil {
		return fmt.Errorf("beginning transaction: %w", err)
	}
	s.open = true
	began := time.Now()
	records := fetches.NumRecords()
	if err := s.dispatch(fetches); err != nil {
		return err
	}
	var pollFailed error
	more := func() bool {
		return records < s.cfg.RecordsMax && time.Since(began) < s.cfg.CommitInterval && pollFailed == nil && ctx.Err() == nil && !s.bulletin.fresh.Load()
	}
	for more() {
		buffered := s.tx.PollRecords(nil, s.cfg.RecordsMax-records) //nolint:staticcheck,contextcheck // nil means: only what is buffered
		pollFailed = pollError(buffered)
		n := buffered.NumRecords()
		if n > 0 {
			records += n
			if err := s.dispatch(buffered); err != nil {
				return err
			}
			continue
		}
		if s.pending.Load() != 0 {
			if err := s.await(); err != nil {
				return err
			}
			continue
		}
		if !s.trickle(ctx) {
			break
		}
	}
	if err := s.await(); err != nil {
		return err
	}
	if err := s.commit(ctx, records); err != nil {
		return err
	}
	return pollFailed
}

// trickle waits for what is left of the gap since the last commit, in steps, so that what arrives meanwhile is handled
// beside the waiting. It tells whether there was any gap left.
func (s *session) trickle(ctx context.Context) bool {
	left := s.gap - time.Since(s.lastCommit)
	if left <= 0 {
		return false
	}
	pause := time.NewTimer(min(left, trickleStep))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
	return true
}

// dispatch hands records to their partitions' claims.
func (s *session) dispatch(fetches kgo.Fetches) (err error) {
	s.pending.Add(int64(fetches.NumRecords()))
	fetches.EachPartition(func(fp kgo.FetchTopicPartition) {
		if err != nil || len(fp.Records) == 0 {
			return
		}
		if s.places[fp.Partition].stage != running {
			err = fmt.Errorf("the client handed out records of partition %d, which is paused", fp.Partition)
			return
		}
		c := s.claims[fp.Partition]
		s.parts[fp.Partition].highWatermark = fp.HighWatermark
		if err = await(s, c.batches, fp.Records); err != nil {
			return
		}
		messages := make([]sarama.ConsumerMessage, len(fp.Records))
		for i, r := range fp.Records {
			m := &messages[i]
			m.Topic, m.Partition, m.Offset, m.Timestamp, m.Key, m.Value = r.Topic, r.Partition, r.Offset, r.Timestamp, r.Key, r.Value
			select {
			case c.messages <- m:
			default:
				if err = await(s, c.messages, m); err != nil {
					return
				}
			}
		}
	})
	return err
}

// await sends v, but not past a failure or a callback that hangs.
func await[T any](s *session, to chan<- T, v T) error {
	for {
		select {
		case to <- v:
			return nil
		case err := <-s.fatal:
			return err
		case <-s.watchdog.tick():
			if err := s.watchdog.check(s.parts); err != nil {
				return err
			}
		}
	}
}

// await returns when everything handed over is done.
func (s *session) await() error {
	for s.pending.Load() != 0 {
		select {
		case <-s.idle:
		case err := <-s.fatal:
			return err
		case <-s.watchdog.tick():
			if err := s.watchdog.check(s.parts); err != nil {
				return err
			}
		}
	}
	select {
	case err := <-s.fatal: // the last record may have failed
		return err
	default:
		return nil
	}
}

// done is called by Goka once per record.
func (s *session) done() {
	if s.pending.Add(-1) == 0 {
		select {
		case s.idle <- struct{}{}:
		default:
		}
	}
}

// fail stops the session from another goroutine; the first failure counts.
func (s *session) fail(err error) {
	s.stopping.Store(true)
	select {
	case s.fatal <- err:
	default:
	}
}

func (s *session) produce(r *kgo.Record) { s.client.Produce(context.Background(), r, s.produced) }

func (s *session) produced(r *kgo.Record, err error) {
	if err != nil {
		err = fmt.Errorf("producing to %s partition %d: %w", r.Topic, r.Partition, err)
		s.produceFailed.CompareAndSwap(nil, &err)
	}
}

// commit writes the changelogs and ends the transaction. Invariant: the overlay becomes the base only after the broker
// confirmed the commit.
func (s *session) commit(ctx context.Context, records int) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	// Some waits in the client do not end with their context.
	hung := time.AfterFunc(commitTimeout+time.Second, func() { s.abandon(fmt.Errorf("%w: the client does not answer", ErrUnknownCommit)) })
	defer hung.Stop()
	for _, p := range s.running {
		if p.dirty() {
			p.changelog(s.cfg.Table, s.cfg.Side)
		}
	}
	if err := s.client.Flush(ctx); err != nil {
		return fmt.Errorf("flushing transaction: %w", err)
	}
	try := kgo.TryCommit
	failed := s.produceFailed.Load()
	if failed != nil {
		try = kgo.TryAbort
	}
	// A member that the group has put out learns of it only where rebalances are allowed, and End would wait for a heartbeat
	// of the session that is over until then.
	putOut := time.AfterFunc(s.cfg.TransactionTimeout/2, s.tx.AllowRebalance)
	committed, err := s.engine.end(ctx, s, try)
	putOut.Stop()
	s.open = false
	switch {
	case err != nil && failed != nil:
		return fmt.Errorf("aborting after %w: %w", *failed, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnknownCommit, err)
	case failed != nil:
		s.metrics.aborts.Inc()
		return fmt.Errorf("%w: %w", errAborted, *failed)
	case !committed:
		s.metrics.aborts.Inc()
		return errAborted
	}
	s.committed(records, time.Since(began))
	return nil
}

func (s *session) committed(records int, took time.Duration) {
	s.lastCommit, s.gap = time.Now(), min(gapsPerCommit*took, s.cfg.CommitInterval)
	s.aborts = 0
	parked := 0
	for _, p := range s.running {
		parked += len(p.parked)
		if !p.dirty() {
			continue
		}
		s.metrics.add(p.tally)
		p.commit()
		s.metrics.lag.WithLabelValues(strconv.Itoa(int(p.id))).Set(float64(max(0, p.highWatermark-p.applied)))
	}
	s.metrics.parkedKeys.Set(float64(parked))
	s.metrics.records.Add(float64(records))
	s.metrics.commits.Inc()
	s.metrics.commitTime.Observe(took.Seconds())
}

// claim carries one partition's records into Goka: messages for Goka's way, batches beside them for the callback, in the
// same order, so that headers, null keys and null values need no translation.
type claim struct {
	topic     string
	partition int32
	messages  chan *sarama.ConsumerMessage
	batches   chan []*kgo.Record
	current   []*kgo.Record // read by the partition's goroutine only
}

func newClaim(topic string, partition int32) *claim {
	return &claim{
		topic: topic, partition: partition,
		messages: make(chan *sarama.ConsumerMessage, claimBuffer),
		batches:  make(chan []*kgo.Record, claimBuffer),
	}
}

func (c *claim) Topic() string                            { return c.topic }
func (c *claim) Partition() int32                         { return c.partition }
func (c *claim) InitialOffset() int64                     { return 0 }
func (c *claim) HighWaterMarkOffset() int64               { return 0 }
func (c *claim) Messages() <-chan *sarama.ConsumerMessage { return c.messages }

func (c *claim) nextRecord() *kgo.Record {
	if len(c.current) == 0 {
		c.current = <-c.batches // sent before its first message
	}
	r := c.current[0]
	c.current = c.current[1:]
	return r
}

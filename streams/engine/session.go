package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	startTimeout  = 30 * time.Second // for what a start asks of the broker
	commitTimeout = 15 * time.Second // then the outcome is unknown and the process ends
	// The price of a commit depends on how many partitions it touches and hardly on its records: where input trickles, the
	// gaps keep commits to a fifth of the time. What comes after a pause commits at once.
	gapsPerCommit = 4
	trickleStep   = 2 * time.Millisecond
)

// errAborted means that the transaction is known not to have committed; work may go on with the state of the last commit.
var errAborted = errors.New("transaction aborted")

// session is the life of the transactional client: from fencing the predecessor to the first thing that goes wrong.
type session struct {
	*member

	engine  *Engine
	metrics *metrics
	told    shares

	tx        *kgo.GroupTransactSession
	client    *kgo.Client
	connected chan struct{}      // closed once client is there
	cut       context.CancelFunc // ends what the client is at, whatever that is
	inputs    []string           // by number
	inputIDs  []kadm.TopicID     // likewise

	// membership
	bulletin   bulletin
	wake       atomic.Pointer[context.CancelFunc] // ends the poll that waits
	nudged     atomic.Bool
	places     []place
	standby    *standby // nil unless Config.Standby
	running    []*partition
	joined     bool
	settled    bool // everything assigned was running once
	generation int32
	queue      chan []arrival // to the restorer
	restored   chan restored

	runner        *runner
	produceFailed atomic.Pointer[error]
	bytes         atomic.Int64 // keys and values that the open transaction read and produced
	recordBytes   int64        // of an input record, as of late
	open          bool         // a transaction is open
	aborts        int          // in a row
	lastCommit    time.Time
	price         time.Duration // of a commit, as of late
	weighed       time.Time     // when the state on disk was
	swept         time.Time     // when old state on disk was removed
	hangs         chan error    // something that cannot be stopped
}

func newSession(e *Engine, m *member) *session {
	n := len(m.parts)
	s := &session{
		member: m, engine: e, metrics: e.metrics, told: e.metrics.shares(), inputs: m.cfg.inputs(),
		connected: make(chan struct{}), generation: -1,
		places: make([]place, n), queue: make(chan []arrival, n), restored: make(chan restored, n),
		hangs: make(chan error, 1), recordBytes: recordBytesMax, // until it is known
	}
	s.standby = newStandby(s)
	return s
}

// run fences the predecessor, joins the group and handles what is assigned. An orderly end leaves the group, whatever it
// interrupts.
func (s *session) run(ctx context.Context) error {
	if err := s.fencePredecessor(ctx); err != nil {
		return err
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	defer s.close()
	err := unlessStopped(ctx, s.work(ctx))
	if err == nil {
		s.leave(ctx)
	}
	if !s.abandoned {
		s.disown()
	}
	return err
}

// work returns also when something hangs that cannot be stopped.
func (s *session) work(ctx context.Context) error {
	details, err := kadm.NewClient(s.client).ListTopics(ctx, s.inputs...)
	if err != nil {
		return fmt.Errorf("describing %s: %w", strings.Join(s.inputs, ", "), err)
	}
	for _, topic := range s.inputs {
		s.inputIDs = append(s.inputIDs, details[topic].ID)
	}
	if s.folder != nil {
		if err := s.folder.identify(ctx, s.cfg, s.client); err != nil {
			return err
		}
	}
	for _, p := range s.parts {
		p.bind(ctx, s.produce)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.consume(ctx) }()
	select {
	case err = <-ended:
		s.abandoned = errors.Is(err, ErrCallbackDeadline)
	case err = <-s.hangs:
		s.abandoned = true
	}
	return err
}

// disown ends what is told of this session.
func (s *session) disown() {
	for i := range s.places {
		if s.places[i].stage == running {
			s.metrics.forget(int32(i))
		}
		s.places[i].stage = away
	}
	s.listRunning()
	s.told.inMemory.set(0)
	s.told.onDisk.set(0)
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

// consume works until ctx ends or something goes wrong, and joins what it started unless that hangs.
func (s *session) consume(ctx context.Context) error {
	s.runner = newRunner(s.parts, s.cfg.CallbackTimeout) //nolint:contextcheck // a partition has the engine's
	restoring, stopRestoring := context.WithCancel(ctx)
	defer stopRestoring()
	var restorer sync.WaitGroup
	restorer.Go(func() { s.restorer(restoring) })
	restorer.Go(func() { s.standby.run(restoring) })
	err := s.loop(ctx)
	if errors.Is(err, ErrCallbackDeadline) {
		return err // its goroutine does not end
	}
	stopRestoring()
	hung := time.AfterFunc(commitTimeout, func() {
		s.abandon(errors.Join(unlessStopped(ctx, err), errors.New("a callback or a restore does not stop")))
	})
	s.runner.stop()
	restorer.Wait()
	hung.Stop()
	s.dropOpen(ctx)
	return err
}

// abandon makes run return although a goroutine hangs.
func (s *session) abandon(err error) {
	select {
	case s.hangs <- err:
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
		return records < s.cfg.RecordsMax && s.bytes.Load() < int64(s.cfg.BytesMax) && time.Since(began) < s.cfg.CommitInterval && pollFailed == nil && ctx.Err() == nil && !s.bulletin.fresh.Load()
	}
	for more() {
		buffered := s.tx.PollRecords(nil, s.room(records)) //nolint:staticcheck,contextcheck // nil means: only what is buffered
		pollFailed = pollError(buffered)
		n := buffered.NumRecords()
		if n > 0 {
			records += n
			if err := s.dispatch(buffered); err != nil {
				return err
			}
			continue
		}
		if s.runner.busy() {
			if err := s.runner.wait(); err != nil {
				return err
			}
			continue
		}
		if !s.trickle(ctx) {
			break
		}
	}
	if err := s.runner.wait(); err != nil {
		return err
	}
	if err := s.commit(ctx, records); err != nil {
		return err
	}
	return pollFailed
}

// everyInput names a partition of all inputs, as the client wants it.
func (s *session) everyInput(p int32) map[string][]int32 {
	all := make(map[string][]int32, len(s.inputs))
	for _, topic := range s.inputs {
		all[topic] = []int32{p}
	}
	return all
}

// inputOf is the number of an input that a broker names, by its name or by its id alone; -1 if it is none.
func (s *session) inputOf(topic string, id kadm.TopicID) int {
	if topic != "" {
		return slices.Index(s.inputs, topic)
	}
	return slices.Index(s.inputIDs, id)
}

func (s *session) untold() offsets { return newOffsets(len(s.inputs), untold) }

// room is how many records more a transaction may read.
func (s *session) room(records int) int {
	bytes := max(0, int64(s.cfg.BytesMax)-s.bytes.Load())
	return min(s.cfg.RecordsMax-records, int(bytes/s.recordBytes)+1)
}

// smoothed takes one more commit into what commits take of late. One that was slow by chance (a collection, a disk that was
// busy) counts as twice the rest at most, so that the gap behind it does not hold up what comes next.
func smoothed(price, took time.Duration) time.Duration {
	if price == 0 {
		return took
	}
	return price + (min(took, 2*price)-price)/8
}

// trickle waits for what is left of the gap since the last commit, in steps, so that what arrives meanwhile is handled
// beside the waiting. It tells whether there was any gap left.
func (s *session) trickle(ctx context.Context) bool {
	left := min(gapsPerCommit*s.price, s.cfg.CommitInterval) - time.Since(s.lastCommit)
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

// dispatch hands records to their partitions.
func (s *session) dispatch(fetches kgo.Fetches) (err error) {
	fetches.EachPartition(func(fp kgo.FetchTopicPartition) {
		if err != nil || len(fp.Records) == 0 {
			return
		}
		if s.places[fp.Partition].stage != running {
			err = fmt.Errorf("the client handed out records of partition %d, which is paused", fp.Partition)
			return
		}
		p := s.parts[fp.Partition]
		if input := p.inputOf(fp.Topic); input >= 0 {
			p.ends[input] = fp.HighWatermark
		}
		p.newest = fp.Records[len(fp.Records)-1].Timestamp
		read := int64(0)
		for _, r := range fp.Records {
			read += int64(len(r.Key) + len(r.Value))
		}
		s.bytes.Add(read)
		s.recordBytes = max(1, (s.recordBytes+read/int64(len(fp.Records)))/2)
		err = s.runner.hand(fp.Partition, fp.Records)
	})
	return err
}

func (s *session) produce(r *kgo.Record) {
	s.bytes.Add(int64(len(r.Key) + len(r.Value)))
	s.client.Produce(context.Background(), r, s.produced)
}

func (s *session) produced(r *kgo.Record, err error) {
	if err != nil {
		err = fmt.Errorf("producing to %s partition %d: %w", r.Topic, r.Partition, err)
		s.produceFailed.CompareAndSwap(nil, &err)
		return
	}
	if s.folder == nil {
		return
	}
	switch r.Topic {
	case s.cfg.Table:
		s.parts[r.Partition].acked(tableLog, r)
	case s.cfg.Side:
		s.parts[r.Partition].acked(sideLog, r)
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
		if !p.dirty() {
			continue
		}
		if err := p.changelog(); err != nil {
			return err
		}
	}
	if err := s.client.Flush(ctx); err != nil {
		return fmt.Errorf("flushing transaction: %w", err)
	}
	flushed := time.Since(began)
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
		return s.engine.doubt(s, err)
	case failed != nil:
		s.metrics.aborts.Inc()
		return fmt.Errorf("%w: %w", errAborted, *failed)
	case !committed:
		s.metrics.aborts.Inc()
		return errAborted
	}
	s.metrics.flushTime.Observe(flushed.Seconds())
	return s.committed(records, began)
}

func (s *session) committed(records int, began time.Time) error {
	took := time.Since(began)
	s.lastCommit, s.price = time.Now(), smoothed(s.price, took)
	s.aborts = 0
	for _, p := range s.running {
		if !p.dirty() {
			continue
		}
		s.metrics.add(p.tally)
		if err := p.commit(began); err != nil {
			return err
		}
		s.metrics.lagging(p)
	}
	s.tellParked()
	s.metrics.records.Add(float64(records))
	s.metrics.commits.Inc()
	s.metrics.commitSize.Observe(float64(records))
	s.metrics.commitBytes.Observe(float64(s.bytes.Load()))
	s.metrics.commitTime.Observe(took.Seconds())
	s.weigh()
	return nil
}

// tellParked counts the keys of what runs here.
func (s *session) tellParked() {
	parked := 0
	for _, p := range s.running {
		parked += len(p.parked)
	}
	s.told.parkedKeys.set(float64(parked))
}

// diskWeighedEvery is how often the files are looked at for their size.
const diskWeighedEvery = 5 * time.Second

// weigh tells how large the state is.
func (s *session) weigh() {
	inMemory := 0
	for _, p := range s.running {
		inMemory += p.cells.base.held() + p.side.base.held()
	}
	s.told.inMemory.set(float64(inMemory))
	if s.folder == nil || time.Since(s.weighed) < diskWeighedEvery {
		return
	}
	s.weighed = time.Now()
	onDisk := int64(0)
	for _, p := range s.running {
		onDisk += p.disk.bytes()
	}
	s.told.onDisk.set(float64(onDisk))
}

package cards

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/schemas/topics"
)

// ErrNotReady says that a runner has no session with its broker, or has not restored a partition yet.
var ErrNotReady = errors.New("connectors are not ready")

// Runner executes the orders of the partitions that its group gives it. Run it once.
type Runner struct {
	cfg        Config
	metrics    *metrics
	connectors map[string]*connector

	mu     sync.Mutex
	err    error // why not ready
	owners map[int32]*owner
}

// New takes a valid configuration.
func New(cfg Config) (*Runner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuring connectors: %w", err)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Runner{
		cfg: cfg, metrics: newMetrics(cfg.Registry), connectors: map[string]*connector{},
		err: errors.New("not started"), owners: map[int32]*owner{},
	}
	newLag(cfg.Registry, r.lag)
	for name, port := range cfg.ports() {
		r.connectors[name] = newConnector(name, port, cfg.Guard, r.metrics)
	}
	return r, nil
}

const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
	pollMost   = 512
)

// Run executes orders until ctx ends, beginning again whenever the broker fails. It returns an error only for what
// waiting does not mend.
func (r *Runner) Run(ctx context.Context) error {
	wait := retryFirst
	for {
		began := time.Now()
		err := r.session(ctx)
		r.note(err)
		if ctx.Err() != nil {
			r.note(errors.New("stopped"))
			return nil
		}
		if errors.Is(err, ErrUndecodable) {
			return fmt.Errorf("running connectors: %w", err)
		}
		if time.Since(began) > retryMost {
			wait = retryFirst
		}
		r.cfg.Logger.Warn("connectors begin again", "error", err, "after", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)): //nolint:gosec // spreads retries
		}
		wait = min(2*wait, retryMost)
	}
}

func (r *Runner) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// Ready is nil while there is a session with the broker. A breaker that is open is no reason: other acquirers work.
func (r *Runner) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return fmt.Errorf("%w: %w", ErrNotReady, r.err)
	}
	return nil
}

// lag is how long the oldest notification of this member's partitions has waited to be judged.
func (r *Runner) lag() time.Duration {
	oldest := time.Duration(0)
	for _, o := range r.held() {
		if at := o.oldest.Load(); at > 0 {
			oldest = max(oldest, r.cfg.Now().Sub(timeOf(at)))
		}
	}
	return oldest
}

// Snapshot is how things stand, for people.
type Snapshot struct {
	Error      string // why not ready, empty where it is
	Codes      string // source of the table of declines, and the day it is of
	Connectors []ConnectorSnapshot
	Partitions []PartitionSnapshot
}

// ConnectorSnapshot is one acquirer's.
type ConnectorSnapshot struct {
	Name     string
	Breaker  string // closed, half-open, open
	InFlight int64
}

// PartitionSnapshot is one partition's of this member.
type PartitionSnapshot struct {
	Partition int32
	// Pending orders were read and are not finished; of the unresolved ones nobody knows whether they are done; those under way
	// a bank has not finished; the watched ones are over unless it takes them back.
	Pending, Unresolved, UnderWay, Watched int64
	Committable                            int64 // offset, -1: nothing was read yet
}

// Snapshot tells how things stand now.
func (r *Runner) Snapshot() Snapshot {
	s := Snapshot{}
	if r.cfg.Codes != nil {
		s.Codes = r.cfg.Codes.Source() + " of " + r.cfg.Codes.ValidFrom().Format(time.DateOnly)
	}
	if err := r.Ready(); err != nil {
		s.Error = err.Error()
	}
	for _, name := range slices.Sorted(maps.Keys(r.connectors)) {
		c := r.connectors[name]
		s.Connectors = append(s.Connectors, ConnectorSnapshot{Name: name, Breaker: c.breaker.State().String(), InFlight: c.inFlight.Load()})
	}
	owners := r.held()
	for _, part := range slices.Sorted(maps.Keys(owners)) {
		o := owners[part]
		s.Partitions = append(s.Partitions, PartitionSnapshot{
			Partition: part, Pending: o.pending.Load(), Unresolved: o.staged[stageUnresolved].Load(), UnderWay: o.staged[stageUnderWay].Load(),
			Watched: o.staged[stageWatched].Load(), Committable: o.next.Load(),
		})
	}
	return s
}

// session is one membership of the group.
type session struct {
	*Runner

	ctx    context.Context //nolint:containedctx // the callbacks of the client have none that ends with the session
	end    context.CancelFunc
	client *kgo.Client
	failed chan error
}

func (r *Runner) session(ctx context.Context) error {
	r.metrics.sessions.Inc()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &session{Runner: r, ctx: ctx, end: cancel, failed: make(chan error, 1)}
	opts := []kgo.Opt{
		kgo.SeedBrokers(r.cfg.Brokers...),
		kgo.ConsumerGroup(r.cfg.Group),
		kgo.ConsumeTopics(topics.RailsOrders),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(s.assigned),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.gone),
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}
	if r.cfg.Instance != "" {
		opts = append(opts, kgo.InstanceID(r.cfg.Instance))
	}
	client, err := kgo.NewClient(append(opts, r.cfg.Client...)...)
	if err != nil {
		return fmt.Errorf("joining group %s: %w", r.cfg.Group, err)
	}
	s.client = client
	committing := make(chan struct{})
	go s.commit(committing)
	err = s.poll()
	cancel()
	<-committing
	// Leaving revokes: what is under way ends, and its offsets are committed.
	client.CloseAllowingRebalance()
	s.release(slices.Collect(maps.Keys(s.held())))
	return err
}

// poll hands records to the owners of their partitions.
func (s *session) poll() error {
	for {
		fetches := s.client.PollRecords(s.ctx, pollMost)
		if s.ctx.Err() != nil {
			select {
			case err := <-s.failed:
				return err
			default:
				return nil
			}
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("fetching orders of partition %d: %w", e.Partition, e.Err)
		}
		owners := s.held()
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if o := owners[p.Partition]; o != nil && len(p.Records) > 0 {
				select {
				case o.inbox <- p.Records:
				case <-o.stopped:
				}
			}
		})
		s.note(nil)
		s.client.AllowRebalance()
	}
}

// held are the partitions of now.
func (r *Runner) held() map[int32]*owner {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.owners)
}

func (s *session) assigned(_ context.Context, client *kgo.Client, parts map[string][]int32) {
	for _, part := range parts[topics.RailsOrders] {
		o := newOwner(s.cfg, part, client, s.connectors, s.metrics)
		s.mu.Lock()
		s.owners[part] = o
		s.mu.Unlock()
		go s.own(o)
	}
	s.note(nil) // a member of the group, also where it has no partition, and where no order comes
}

// own runs an owner, and ends the session where it cannot go on: the next one begins from what the log says.
func (s *session) own(o *owner) {
	o.run(s.ctx)
	if o.err == nil {
		return
	}
	select {
	case s.failed <- o.err:
	default: // one reason is enough
	}
	s.end()
}

func (s *session) revoked(ctx context.Context, _ *kgo.Client, parts map[string][]int32) {
	owners := s.release(parts[topics.RailsOrders])
	s.commitOwners(context.WithoutCancel(ctx), owners)
}

// gone: somebody else has the partitions already, and fences what is still under way here.
func (s *session) gone(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	s.release(parts[topics.RailsOrders])
}

// release stops owners and joins them: each has one deadline for what is under way.
func (s *session) release(parts []int32) map[int32]*owner {
	owners := map[int32]*owner{}
	s.mu.Lock()
	for _, part := range parts {
		if o := s.owners[part]; o != nil {
			owners[part] = o
			delete(s.owners, part)
			close(o.stopping)
		}
	}
	s.mu.Unlock()
	for _, o := range owners {
		<-o.stopped
	}
	return owners
}

// commit makes progress durable now and then. A restart only repeats answers, so nothing hangs on how often.
func (s *session) commit(done chan<- struct{}) {
	defer close(done)
	tick := time.NewTicker(s.cfg.CommitEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			s.commitOwners(s.ctx, s.held())
		}
	}
}

const commitTimeout = 10 * time.Second

func (s *session) commitOwners(ctx context.Context, owners map[int32]*owner) {
	offsets, heard := map[int32]kgo.EpochOffset{}, map[int32]kgo.EpochOffset{}
	for part, o := range owners {
		if next := o.next.Load(); next > o.committed.Load() {
			offsets[part] = kgo.EpochOffset{Epoch: -1, Offset: next}
		}
		if next := o.nextHeard.Load(); next > o.committedHeard.Load() {
			heard[part] = kgo.EpochOffset{Epoch: -1, Offset: next}
		}
	}
	if len(offsets) == 0 && len(heard) == 0 {
		return
	}
	all := map[string]map[int32]kgo.EpochOffset{topics.RailsOrders: offsets, topics.RailsNotifications: heard}
	maps.DeleteFunc(all, func(_ string, parts map[int32]kgo.EpochOffset) bool { return len(parts) == 0 })
	if s.cfg.hook != nil {
		s.cfg.hook(pointBeforeCommit, "")
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	var failed error
	s.client.CommitOffsetsSync(ctx, all,
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			failed = commitError(resp, err)
		})
	if failed != nil {
		s.cfg.Logger.Warn("committing offsets of orders", "error", failed)
		return
	}
	for part, at := range offsets {
		owners[part].committed.Store(at.Offset)
	}
	for part, at := range heard {
		owners[part].committedHeard.Store(at.Offset)
	}
}

func commitError(resp *kmsg.OffsetCommitResponse, err error) error {
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("partition %d: %w", p.Partition, err)
			}
		}
	}
	return nil
}

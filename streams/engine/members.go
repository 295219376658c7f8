package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Which partitions this process works on follows from the offsets that the group's coordinator hands out with each
// assignment, never from the callbacks of the client alone: a revocation may go unreported (the client's session reports
// none until the next transaction ended). A partition works on when its state has applied exactly the offset at which it
// was assigned; whatever happened to it meanwhile, nobody else has committed then. Else it is restored first.

const (
	leaveTimeout  = 3 * time.Second
	assessTries   = 20 // restores of one assignment, before the disagreement counts as an error
	assessBackoff = 200 * time.Millisecond

	// Where the offsets of an assignment are in an open transaction, the client asks again only after a second.
	hurryAfter = 100 * time.Millisecond
	hurryTimes = 4
)

type stage uint8

const (
	away     stage = iota // not ours
	arriving              // announced, or assigned and without its state
	running               // its records are handled
)

// place is where a partition stands in this process. Only the loop touches it.
type place struct {
	stage     stage
	at        int64 // the group's offset when it was assigned, -1 if none
	unplaced  int   // announced, and its offset is not known yet: how often that was hurried, plus one
	since     time.Time
	known     bool // its state is in memory
	restoring bool // the restorer has it: nobody else may touch its state
	tries     int
	leftAt    time.Time
}

type newsKind uint8

const (
	newsJoined   newsKind = iota // a generation has begun
	newsExpected                 // a callback announced the partition
	newsAssigned                 // the partition will be read from an offset
	newsLost                     // a callback took it
	newsBlocked                  // a rebalance waits for the open transaction
)

type news struct {
	kind      newsKind
	partition int32
	at        int64
}

// bulletin carries news from the client's goroutines to the loop.
type bulletin struct {
	mu    sync.Mutex
	list  []news
	fresh atomic.Bool
}

func (b *bulletin) post(list ...news) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, list...)
	b.fresh.Store(true)
}

func (b *bulletin) take() []news {
	if !b.fresh.Load() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.list
	b.list = nil
	b.fresh.Store(false)
	return list
}

// groupOptions make the client a member of the group.
func (s *session) groupOptions() []kgo.Opt {
	list := func(kind newsKind, partitions []int32) []news {
		all := []news{{kind: newsJoined}}
		for _, p := range partitions {
			all = append(all, news{kind: kind, partition: p})
		}
		return all
	}
	options := []kgo.Opt{
		kgo.ConsumerGroup(s.cfg.Group), kgo.ConsumeTopics(s.cfg.Input), kgo.InstanceID(s.cfg.InstanceID),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.SessionTimeout(s.cfg.SessionTimeout), kgo.HeartbeatInterval(s.cfg.HeartbeatInterval),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			s.tell(list(newsExpected, m[s.cfg.Input]))
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			s.tell(list(newsLost, m[s.cfg.Input]))
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			s.tell(list(newsLost, m[s.cfg.Input]))
		}),
		kgo.OnPartitionsCallbackBlocked(func(context.Context, *kgo.Client) { s.tell([]news{{kind: newsBlocked}}) }),
		kgo.AdjustFetchOffsetsFn(s.assigned),
	}
	if s.cfg.BrokerAssigns {
		return append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	return append(options, kgo.Balancers(kgo.CooperativeStickyBalancer()))
}

func (s *session) tell(list []news) {
	s.bulletin.post(list...)
	s.nudge()
}

// assigned is called with the offsets of every assignment, before anything is fetched from there: the partitions stay
// paused until their state stands at that offset.
func (s *session) assigned(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	select {
	case <-s.connected:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var list []news
	var partitions []int32
	for p, o := range offsets[s.cfg.Input] {
		list = append(list, news{kind: newsAssigned, partition: p, at: max(-1, o.EpochOffset().Offset)})
		partitions = append(partitions, p)
	}
	if len(list) > 0 {
		s.client.PauseFetchPartitions(map[string][]int32{s.cfg.Input: partitions})
		s.tell(list)
	}
	return offsets, nil
}

// poll waits for records, or for news.
func (s *session) poll(ctx context.Context) kgo.Fetches {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.wake.Store(&cancel)
	if s.nudged.Load() {
		cancel()
	}
	fetches := s.tx.PollRecords(ctx, s.cfg.RecordsMax)
	s.nudged.Store(false) // what it was for is looked at after this
	return fetches
}

// nudge makes poll return.
func (s *session) nudge() {
	s.nudged.Store(true)
	if cancel := s.wake.Load(); cancel != nil {
		(*cancel)()
	}
}

// assess takes what happened to the assignment and to restores. No transaction is open. It tells whether all reading was
// set back to the committed offsets: then what was polled must be dropped.
func (s *session) assess(ctx context.Context) (rewound bool, err error) {
	list := s.bulletin.take()
	var queue []*partition
	for _, n := range list {
		switch n.kind {
		case newsJoined:
			s.joined = true
		case newsBlocked: // the transaction has ended on it
		case newsExpected:
			if pl := &s.places[n.partition]; pl.stage == away {
				pl.stage, pl.unplaced, pl.since = arriving, 1, time.Now()
				time.AfterFunc(hurryAfter+time.Millisecond, s.nudge)
			}
		case newsLost:
			s.lose(n.partition)
			rewound = true
		case newsAssigned:
			rewound = rewound || s.places[n.partition].stage == running
			if s.take(n.partition, n.at) {
				queue = append(queue, s.parts[n.partition])
			}
		}
	}
	again, err := s.takeRestored()
	if err != nil {
		return false, err
	}
	if rewound {
		// The client's session would abort the next transaction, and hide the next revocation, until an end; and what was
		// polled of a lost partition would be committed as read.
		if _, err := s.tx.End(ctx, kgo.TryAbort); err != nil {
			return false, fmt.Errorf("setting back to the committed offsets: %w", err)
		}
	}
	s.restoreLater(append(queue, again...))
	s.forgetAway()
	s.hurry(ctx)
	if len(list) > 0 {
		s.reportGeneration()
	}
	if !s.settled && s.joined && s.count(arriving) == 0 {
		s.settled = true
		s.engine.state.Store(nil)
	}
	return rewound, nil
}

// lose stops the work on a partition. Its state stays for a while: the partition may come back as it was left.
func (s *session) lose(p int32) {
	pl := &s.places[p]
	if pl.stage == running {
		s.metrics.lag.DeleteLabelValues(strconv.Itoa(int(p)))
	}
	if pl.stage != away {
		pl.leftAt = time.Now()
		time.AfterFunc(s.cfg.SessionTimeout+time.Millisecond, s.nudge)
	}
	pl.stage, pl.unplaced = away, 0
	s.listRunning()
}

// take notes an assignment and tells whether the partition must be restored first.
func (s *session) take(p int32, at int64) bool {
	pl := &s.places[p]
	pl.at, pl.tries, pl.unplaced = at, 0, 0
	if pl.restoring { // for an assignment before this one; its result will be measured against this
		pl.stage = arriving
		return false
	}
	if pl.known && s.engine.retained(s.parts[p], at) {
		s.admit(p)
		return false
	}
	s.client.PauseFetchPartitions(map[string][]int32{s.cfg.Input: {p}}) // it may have been admitted since it was paused
	pl.stage = arriving
	s.listRunning()
	return true
}

func (s *session) admit(p int32) {
	s.places[p].stage = running
	s.listRunning()
	s.client.ResumeFetchPartitions(map[string][]int32{s.cfg.Input: {p}})
}

// expel stops a running partition whose state is not what the group committed; it comes back when it is restored.
func (s *session) expel(p int32, at int64) {
	partitions := map[string][]int32{s.cfg.Input: {p}}
	s.client.PauseFetchPartitions(partitions)
	if at >= 0 {
		s.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{s.cfg.Input: {p: {Epoch: -1, Offset: at}}})
	}
	pl := &s.places[p]
	pl.stage, pl.at, pl.known, pl.tries = arriving, at, false, 0
	s.listRunning()
	s.restoreLater([]*partition{s.parts[p]})
}

// takeRestored admits what is restored and returns what must be restored again.
func (s *session) takeRestored() (again []*partition, err error) {
	for {
		select {
		case r := <-s.restored:
			pl := &s.places[r.part.id]
			pl.restoring = false
			pl.known = r.err == nil
			switch {
			case errors.Is(r.err, errMoved) && pl.stage == away:
			case errors.Is(r.err, errMoved):
				if pl.tries++; pl.tries > assessTries {
					return nil, r.err
				}
				again = append(again, r.part)
			case r.err != nil:
				return nil, r.err
			case pl.stage == arriving && !s.engine.retained(r.part, pl.at): // it was assigned anew meanwhile
				again = append(again, r.part)
			case pl.stage == arriving:
				s.admit(r.part.id)
			}
		default:
			return again, nil
		}
	}
}

func (s *session) restoreLater(parts []*partition) {
	if len(parts) == 0 {
		return
	}
	batch := make([]arrival, len(parts))
	for i, p := range parts {
		pl := &s.places[p.id]
		pl.restoring, pl.known = true, false
		batch[i] = arrival{part: p, at: pl.at}
	}
	s.queue <- batch // has room for every partition once
}

// forgetAway frees the state of what has not come back for as long as a member may be silent.
func (s *session) forgetAway() {
	for i := range s.places {
		pl := &s.places[i]
		if pl.stage == away && pl.known && !pl.restoring && time.Since(pl.leftAt) > s.cfg.SessionTimeout {
			s.parts[i].reset()
			pl.known = false
		}
	}
}

// hurry makes the client ask for the offsets of announced partitions again, once they are out of the transaction that held
// them: a member that rejoins without news gets its assignment confirmed, and a new look at the offsets with it.
func (s *session) hurry(ctx context.Context) {
	var late []*partition
	for i := range s.places {
		pl := &s.places[i]
		if pl.unplaced == 0 || pl.unplaced > hurryTimes || time.Since(pl.since) < hurryAfter {
			continue
		}
		pl.since = time.Now()
		late = append(late, s.parts[i])
		time.AfterFunc(hurryAfter+time.Millisecond, s.nudge)
	}
	if len(late) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, hurryAfter)
	defer cancel()
	if _, err := s.committedNow(ctx, late); err != nil {
		return
	}
	for _, p := range late {
		s.places[p.id].unplaced++
	}
	s.client.ForceRebalance()
}

func (s *session) listRunning() {
	s.running = s.running[:0]
	for i := range s.places {
		if s.places[i].stage == running {
			s.running = append(s.running, s.parts[i])
		}
	}
	s.metrics.partitions.Set(float64(len(s.running)))
	s.engine.holding.Store(int32(len(s.running))) //nolint:gosec // a partition count
}

func (s *session) count(st stage) (n int) {
	for i := range s.places {
		if s.places[i].stage == st {
			n++
		}
	}
	return n
}

func (s *session) reportGeneration() {
	_, generation := s.client.GroupMetadata()
	if generation == s.generation {
		return
	}
	s.generation = generation
	s.metrics.rebalances.Inc()
	s.cfg.Logger.Info("generation", "group", s.cfg.Group, "instance", s.cfg.InstanceID, "generation", generation,
		"running", len(s.running), "arriving", s.count(arriving))
}

// committedOffsets asks the coordinator, -1 where nothing is committed. Offsets in an open transaction are waited for.
func (s *session) committedOffsets(ctx context.Context, parts []*partition) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		found, err := s.committedNow(ctx, parts)
		if err == nil || !errors.Is(err, kerr.UnstableOffsetCommit) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// committedNow names the partitions: among all of a group's offsets the coordinator does not list one that has none but in
// an open transaction.
func (s *session) committedNow(ctx context.Context, parts []*partition) (map[int32]int64, error) {
	if len(parts) == 0 {
		return nil, nil
	}
	topic := kmsg.NewOffsetFetchRequestGroupTopic()
	topic.Topic, topic.TopicID = s.cfg.Input, s.inputID
	for _, p := range parts {
		topic.Partitions = append(topic.Partitions, p.id)
	}
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group, group.Topics = s.cfg.Group, []kmsg.OffsetFetchRequestGroupTopic{topic}
	request := kmsg.NewPtrOffsetFetchRequest()
	request.RequireStable, request.Groups = true, []kmsg.OffsetFetchRequestGroup{group}
	response, err := request.RequestWith(ctx, s.client)
	if err != nil {
		return nil, fmt.Errorf("fetching committed offsets: %w", err)
	}
	found := make(map[int32]int64, len(parts))
	for _, g := range response.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			return nil, fmt.Errorf("fetching committed offsets: %w", err)
		}
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("fetching committed offset of partition %d: %w", p.Partition, err)
				}
				found[p.Partition] = max(-1, p.Offset)
			}
		}
	}
	if len(found) != len(parts) {
		return nil, fmt.Errorf("fetching committed offsets: the broker told %d of %d", len(found), len(parts))
	}
	return found, nil
}

// leave tells the group that this member does not come back. A static member is not taken out by its client's end: its
// partitions would lie still until its session is over.
func (s *session) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	member, _ := s.client.GroupMetadata()
	s.tx.AllowRebalance()
	err := s.client.LeaveGroupContext(ctx) // ends the membership on this side
	if s.cfg.BrokerAssigns {
		request := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		request.Group, request.MemberID, request.MemberEpoch, request.InstanceID = s.cfg.Group, member, -1, &s.cfg.InstanceID
		var response *kmsg.ConsumerGroupHeartbeatResponse
		if response, err = request.RequestWith(ctx, s.client); err == nil {
			err = kerr.ErrorForCode(response.ErrorCode)
		}
	} else if err == nil {
		_, err = kadm.NewClient(s.client).LeaveGroup(ctx, kadm.LeaveGroup(s.cfg.Group).InstanceIDs(s.cfg.InstanceID))
	}
	if err != nil {
		s.cfg.Logger.Warn("did not leave the group; its partitions wait for the end of the session", "error", err)
	}
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file is the talk with the group: joining, what it says of assignments, its offsets, leaving. What follows from it for
// the partitions is in members.go.

const leaveTimeout = 3 * time.Second

// groupOptions make the client a member of the group.
func (s *session) groupOptions() []kgo.Opt {
	// list names a partition once, whatever the number of inputs that the client named it for.
	list := func(kind newsKind, assigned map[string][]int32) []news {
		all := []news{{kind: newsJoined}}
		for _, topic := range s.inputs {
			for _, p := range assigned[topic] {
				if n := (news{kind: kind, partition: p}); !slices.ContainsFunc(all, n.same) {
					all = append(all, n)
				}
			}
		}
		return all
	}
	options := []kgo.Opt{
		kgo.ConsumerGroup(s.cfg.Group), kgo.ConsumeTopics(s.inputs...), kgo.InstanceID(s.cfg.InstanceID),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(int32(min(s.cfg.BytesMax, 64<<20))), //nolint:gosec // bounded; what one poll can bring, compressed
		kgo.SessionTimeout(s.cfg.SessionTimeout), kgo.HeartbeatInterval(s.cfg.HeartbeatInterval),
		// Who has not come by then could not commit any more either, and everybody's commits wait for a rebalance.
		kgo.RebalanceTimeout(max(s.cfg.SessionTimeout, s.cfg.CallbackTimeout+s.cfg.TransactionTimeout)),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			s.tell(list(newsExpected, m))
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			s.tell(list(newsLost, m))
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			s.tell(list(newsLost, m))
		}),
		kgo.OnPartitionsCallbackBlocked(func(context.Context, *kgo.Client) { s.tell([]news{{kind: newsBlocked}}) }),
		kgo.AdjustFetchOffsetsFn(s.assigned),
	}
	if s.cfg.BrokerAssigns {
		shares := kgo.StickyBalancer()
		if len(s.inputs) > 1 {
			shares = kgo.RangeBalancer() // the same partitions of all topics, where they have the same number
		}
		return append(options, kgo.ServerSideBalancer(), kgo.Balancers(shares))
	}
	return append(options, kgo.Balancers(balancer(s.inputs)))
}

func (s *session) tell(list []news) {
	s.bulletin.post(list...)
	s.nudge()
}

// assigned is called with the offsets of every assignment, before anything is fetched from there: the partitions stay
// paused until their state stands at that offset.
func (s *session) assigned(ctx context.Context, all map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	select {
	case <-s.connected:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	found := map[int32]offsets{}
	for i, topic := range s.inputs {
		for p, o := range all[topic] {
			if found[p] == nil {
				found[p] = s.untold()
			}
			found[p][i] = max(none, o.EpochOffset().Offset)
		}
	}
	var list []news
	for p, at := range found {
		s.client.PauseFetchPartitions(s.everyInput(p))
		list = append(list, news{kind: newsAssigned, partition: p, at: at})
	}
	if len(list) > 0 {
		s.tell(list)
	}
	return all, nil
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
	at        offsets // newsAssigned: untold of inputs that the assignment did not name
}

func (n news) same(m news) bool { return n.kind == m.kind && n.partition == m.partition }

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

// poll waits for records, or for news.
func (s *session) poll(ctx context.Context) kgo.Fetches {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.wake.Store(&cancel)
	if s.nudged.Load() {
		cancel()
	}
	s.bytes.Store(0)
	fetches := s.tx.PollRecords(ctx, s.room(0))
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

// committedOffsets asks the coordinator, by partition. Offsets in an open transaction are waited for.
func (s *session) committedOffsets(ctx context.Context, parts []*partition) (map[int32]offsets, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		found, err := s.committedNow(ctx, parts)
		if err == nil || !errors.Is(err, kerr.UnstableOffsetCommit) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// committedNow names the partitions: among all of a group's offsets the coordinator does not list one that has none but in
// an open transaction.
func (s *session) committedNow(ctx context.Context, parts []*partition) (map[int32]offsets, error) {
	if len(parts) == 0 {
		return nil, nil
	}
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group = s.cfg.Group
	for i, name := range s.inputs {
		topic := kmsg.NewOffsetFetchRequestGroupTopic()
		topic.Topic, topic.TopicID = name, s.inputIDs[i]
		for _, p := range parts {
			topic.Partitions = append(topic.Partitions, p.id)
		}
		group.Topics = append(group.Topics, topic)
	}
	request := kmsg.NewPtrOffsetFetchRequest()
	request.RequireStable, request.Groups = true, []kmsg.OffsetFetchRequestGroup{group}
	response, err := request.RequestWith(ctx, s.client)
	if err != nil {
		return nil, fmt.Errorf("fetching committed offsets: %w", err)
	}
	found := make(map[int32]offsets, len(parts))
	for _, p := range parts {
		found[p.id] = s.untold()
	}
	told := 0
	for _, g := range response.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			return nil, fmt.Errorf("fetching committed offsets: %w", err)
		}
		for _, t := range g.Topics {
			input := s.inputOf(t.Topic, t.TopicID)
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("fetching committed offset of partition %d: %w", p.Partition, err)
				}
				if at := found[p.Partition]; input >= 0 && at != nil {
					at[input] = max(none, p.Offset)
					told++
				}
			}
		}
	}
	if told != len(parts)*len(s.inputs) {
		return nil, fmt.Errorf("fetching committed offsets: the broker told %d of %d", told, len(parts)*len(s.inputs))
	}
	return found, nil
}

// releaseName takes the place of a dead predecessor: where the broker assigns it would keep the name for the member that had
// it until that one's session is over. A living one is put out, as it is where the members assign.
func (s *session) releaseName(ctx context.Context, client *kgo.Client) error {
	described, err := s.describe(ctx, client)
	if err != nil {
		return fmt.Errorf("looking for the predecessor in group %s: %w", s.cfg.Group, err)
	}
	for _, g := range described.Groups { // none in a group that is not there yet
		for _, m := range g.Members {
			if m.InstanceID == nil || *m.InstanceID != s.cfg.InstanceID {
				continue
			}
			if err := s.endMember(ctx, client, m.MemberID, epochAway); err != nil {
				return fmt.Errorf("taking over the name %s: %w", s.cfg.InstanceID, err)
			}
		}
	}
	return nil
}

// describe asks until there is a coordinator: a cluster makes the topic of its groups when the first is named.
func (s *session) describe(ctx context.Context, client *kgo.Client) (*kmsg.ConsumerGroupDescribeResponse, error) {
	describe := kmsg.NewPtrConsumerGroupDescribeRequest()
	describe.Groups = []string{s.cfg.Group}
	for {
		described, err := describe.RequestWith(ctx, client)
		if err == nil && len(described.Groups) == 1 && kerr.IsRetriable(kerr.ErrorForCode(described.Groups[0].ErrorCode)) {
			err = kerr.ErrorForCode(described.Groups[0].ErrorCode)
		}
		if err == nil || !kerr.IsRetriable(err) {
			return described, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// What a static member says with its last heartbeat.
const (
	epochGone = -1 // it does not come back
	epochAway = -2 // its place is kept for the next one of its name
)

func (s *session) endMember(ctx context.Context, client *kgo.Client, member string, epoch int32) error {
	request := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	request.Group, request.MemberID, request.MemberEpoch, request.InstanceID = s.cfg.Group, member, epoch, &s.cfg.InstanceID
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	err = kerr.ErrorForCode(response.ErrorCode)
	if errors.Is(err, kerr.UnknownMemberID) {
		return nil // its session has ended
	}
	return err
}

// leave tells the group that this member does not come back. A static member is not taken out by its client's end: its
// partitions would lie still until its session is over.
func (s *session) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	member, _ := s.client.GroupMetadata()
	s.tx.AllowRebalance()
	// This ends the membership on our side; but not while a rebalance waits for somebody else.
	local, cancelLocal := context.WithTimeout(ctx, leaveTimeout/10)
	defer cancelLocal()
	_ = s.client.LeaveGroupContext(local)
	var err error
	if s.cfg.BrokerAssigns {
		err = s.endMember(ctx, s.client, member, epochGone)
	} else {
		_, err = kadm.NewClient(s.client).LeaveGroup(ctx, kadm.LeaveGroup(s.cfg.Group).InstanceIDs(s.cfg.InstanceID))
	}
	if err != nil {
		s.cfg.Logger.Warn("did not leave the group; its partitions wait for the end of the session", "error", err)
	}
}

// close ends the client. A join or a sync that waits for a member that is dead or asleep would hold it for as long as a
// rebalance may take.
func (s *session) close() {
	cut := time.AfterFunc(leaveTimeout, s.cut)
	s.tx.CloseAllowingRebalance()
	cut.Stop()
	s.cut()
}

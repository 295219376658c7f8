package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/caudalpay/caudal/streams/engine"
)

// swept is a request of the engine and what a broker may answer to it.
type swept struct {
	key   kmsg.Key
	where kfake.Fault // what selects it, and not the requests of the test
	// entities: the errors are those of the things that the request names, not of the request as a whole.
	entities      bool
	brokerAssigns bool
	// often is how many times it is sent at least; what is done and refused, or cut, is one of the first that many.
	often int
	// refusedOnly: what is done and refused hits all that a request names, and another row has it already.
	refusedOnly bool
	workOnly    bool // not sent at a start
	doneOnly    bool // refused without being done it would be a lie
	errs        []*kerr.Error
}

func sweepTable() []swept {
	coordinator := []*kerr.Error{kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator}
	with := func(more ...*kerr.Error) []*kerr.Error {
		return append(append(slices.Clone(coordinator), kerr.UnknownServerError), more...)
	}
	partition := []*kerr.Error{
		kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.KafkaStorageError,
		kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.TopicAuthorizationFailed, kerr.UnknownServerError,
	}
	producing := append([]*kerr.Error{
		kerr.CorruptMessage, kerr.RequestTimedOut, kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.NotEnoughReplicas,
		kerr.NotEnoughReplicasAfterAppend, kerr.NetworkException, kerr.UnsupportedForMessageFormat, kerr.PolicyViolation, kerr.InvalidTimestamp,
		kerr.InvalidRecord, kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch,
		kerr.ProducerFenced, kerr.InvalidProducerIDMapping, kerr.InvalidTxnState, kerr.ConcurrentTransactions, kerr.TransactionAbortable,
		kerr.CoordinatorNotAvailable, kerr.TransactionalIDAuthorizationFailed,
	}, partition...)
	fetching := append([]*kerr.Error{
		kerr.OffsetOutOfRange, kerr.ReplicaNotAvailable, kerr.CorruptMessage, kerr.InconsistentTopicID, kerr.OffsetNotAvailable,
	}, partition...)
	listing := append([]*kerr.Error{kerr.OffsetNotAvailable, kerr.ReplicaNotAvailable, kerr.UnsupportedForMessageFormat}, partition...)
	requests := []swept{
		{key: kmsg.InitProducerID, where: kfake.Fault{When: transactional}, often: 1, errs: with(kerr.ConcurrentTransactions, kerr.RequestTimedOut,
			kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidTransactionTimeout, kerr.TransactionalIDAuthorizationFailed,
			kerr.TransactionAbortable)},
		{key: kmsg.TxnOffsetCommit, where: kfake.Fault{Group: group}, often: 3, entities: true, errs: with(kerr.RequestTimedOut, kerr.IllegalGeneration,
			kerr.UnknownMemberID, kerr.FencedInstanceID, kerr.RebalanceInProgress, kerr.StaleMemberEpoch, kerr.InvalidProducerEpoch, kerr.ProducerFenced,
			kerr.InvalidTxnState, kerr.InvalidProducerIDMapping, kerr.ConcurrentTransactions, kerr.TransactionAbortable, kerr.UnknownTopicOrPartition,
			kerr.OffsetMetadataTooLarge, kerr.InvalidCommitOffsetSize, kerr.GroupAuthorizationFailed, kerr.TopicAuthorizationFailed,
			kerr.TransactionalIDAuthorizationFailed, kerr.UnsupportedForMessageFormat)},
		{key: kmsg.EndTxn, often: 3, errs: with(kerr.ConcurrentTransactions, kerr.RequestTimedOut, kerr.ProducerFenced,
			kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.InvalidTxnState, kerr.TransactionAbortable,
			kerr.TransactionalIDAuthorizationFailed)},
		{key: kmsg.OffsetFetch, where: kfake.Fault{Group: group}, often: 3, errs: with(kerr.GroupAuthorizationFailed, kerr.UnknownMemberID, kerr.StaleMemberEpoch)},
		{key: kmsg.OffsetFetch, where: kfake.Fault{Topic: input}, often: 3, entities: true, errs: []*kerr.Error{
			kerr.UnstableOffsetCommit, kerr.UnknownTopicOrPartition, kerr.TopicAuthorizationFailed, kerr.UnknownServerError,
		}},
		{key: kmsg.JoinGroup, where: kfake.Fault{Group: group}, often: 2, errs: with(kerr.UnknownMemberID, kerr.FencedInstanceID, kerr.RebalanceInProgress,
			kerr.InconsistentGroupProtocol, kerr.InvalidSessionTimeout, kerr.GroupMaxSizeReached, kerr.GroupAuthorizationFailed, kerr.InvalidGroupID)},
		{key: kmsg.SyncGroup, where: kfake.Fault{Group: group}, often: 2, errs: with(kerr.UnknownMemberID, kerr.FencedInstanceID, kerr.RebalanceInProgress,
			kerr.IllegalGeneration, kerr.InconsistentGroupProtocol, kerr.GroupAuthorizationFailed)},
		{key: kmsg.Heartbeat, where: kfake.Fault{Group: group}, often: 3, errs: with(kerr.UnknownMemberID, kerr.FencedInstanceID, kerr.RebalanceInProgress,
			kerr.IllegalGeneration, kerr.GroupAuthorizationFailed)},
		{key: kmsg.LeaveGroup, where: kfake.Fault{Group: group}, often: 1, errs: with(kerr.UnknownMemberID, kerr.FencedInstanceID, kerr.GroupAuthorizationFailed)},
		{key: kmsg.ConsumerGroupHeartbeat, where: kfake.Fault{Group: group}, often: 3, brokerAssigns: true, errs: with(kerr.UnknownMemberID,
			kerr.FencedMemberEpoch, kerr.UnreleasedInstanceID, kerr.FencedInstanceID, kerr.GroupMaxSizeReached, kerr.GroupAuthorizationFailed)},
		{key: kmsg.ConsumerGroupDescribe, where: kfake.Fault{Group: group}, often: 1, entities: true, brokerAssigns: true, errs: with(kerr.GroupIDNotFound,
			kerr.GroupAuthorizationFailed)},
		{key: kmsg.FindCoordinator, where: kfake.Fault{Group: group}, often: 1, entities: true, errs: with(kerr.GroupAuthorizationFailed, kerr.InvalidGroupID)},
		{key: kmsg.FindCoordinator, where: kfake.Fault{When: transactional}, often: 1, entities: true, errs: with(kerr.TransactionalIDAuthorizationFailed)},
		{key: kmsg.Fetch, where: kfake.Fault{TopLevel: true}, often: 3, errs: []*kerr.Error{
			kerr.FetchSessionIDNotFound, kerr.InvalidFetchSessionEpoch, kerr.FetchSessionTopicIDError, kerr.UnknownServerError,
		}},
		{key: kmsg.OffsetForLeaderEpoch, where: kfake.Fault{Topic: input}, entities: true, often: 1, workOnly: true, errs: partition},
		{key: kmsg.ApiVersions, often: 2, errs: []*kerr.Error{
			kerr.UnknownServerError,
		}},
	}
	for i, topic := range []string{output, table, side} {
		requests = append(requests, swept{key: kmsg.Produce, where: kfake.Fault{Topic: topic}, entities: true, often: 3, refusedOnly: i > 0, errs: producing})
	}
	// It says that the broker has the batch already, so it is an answer to what is done only.
	requests = append(requests, swept{key: kmsg.Produce, entities: true, often: 3, doneOnly: true, errs: []*kerr.Error{kerr.DuplicateSequenceNumber}})
	for i, topic := range []string{input, side, rates} {
		requests = append(requests, swept{key: kmsg.Fetch, where: kfake.Fault{Topic: topic}, entities: true, often: 3, refusedOnly: i > 0, errs: fetching})
	}
	for i, topic := range []string{input, output, rates} {
		requests = append(requests,
			swept{key: kmsg.Metadata, where: kfake.Fault{Topic: topic}, entities: true, often: 3, refusedOnly: i > 0, errs: append(slices.Clone(partition), kerr.InvalidTopicException)},
			swept{key: kmsg.ListOffsets, where: kfake.Fault{Topic: topic}, entities: true, often: 3, refusedOnly: i > 0, errs: listing})
	}
	return requests
}

// transactional tells requests for a member's transactions from those for the test's own producer and for the group.
func transactional(r kmsg.Request) bool {
	switch r := r.(type) {
	case *kmsg.InitProducerIDRequest:
		return r.TransactionalID != nil
	case *kmsg.FindCoordinatorRequest:
		return r.CoordinatorType == 1
	default:
		return false
	}
}

// trial is one fault of the sweep.
type trial struct {
	swept
	doom    doom // of the request, when the broker itself is not to blame
	running bool // not at the start, but when everybody works
	nth     int  // of its kind, from 0
}

func (x trial) String() string {
	when := "start"
	if x.running {
		when = "work"
	}
	name := x.key.Name()
	if x.where.Topic != "" {
		name += " of " + x.where.Topic
	}
	switch x.doom.fate {
	case cutBefore:
		return fmt.Sprintf("%s, at %s: cut before", name, when)
	case cutAfter:
		return fmt.Sprintf("%s, at %s: cut after", name, when)
	case misanswered:
		return fmt.Sprintf("%s, at %s: done and %s", x.key.Name(), when, x.doom.err.Message)
	default:
		return fmt.Sprintf("%s, at %s: %s", name, when, x.where.Err.Message)
	}
}

func (s swept) trials() (trials []trial) {
	for _, running := range []bool{false, true} {
		if !running && (s.workOnly || s.refusedOnly) {
			continue
		}
		for i, err := range s.errs {
			x := trial{swept: s, running: running}
			if !s.doneOnly {
				x.where.Err = err
				trials = append(trials, x)
			}
			if !s.refusedOnly {
				x.doom = doom{fate: misanswered, err: err, entities: s.entities}
				x.nth = i % s.often
				trials = append(trials, x)
			}
		}
		for i, cut := range []fate{cutBefore, cutAfter} {
			if !s.refusedOnly {
				trials = append(trials, trial{swept: s, running: running, doom: doom{fate: cut}, nth: i % s.often})
			}
		}
	}
	return trials
}

// outcome of a trial.
type outcome struct {
	hit      bool
	sent     map[kmsg.Key]int
	restarts int
	why      error // of the first restart
	wrong    []string
}

func (o outcome) String() string {
	switch {
	case len(o.wrong) > 0:
		return fmt.Sprintf("WRONG: %q", o.wrong)
	case !o.hit:
		return "NOT REACHED"
	case o.restarts > 0:
		why, _, _ := strings.Cut(o.why.Error(), "\n")
		return fmt.Sprintf("restarted (%d): %.150s", o.restarts, why)
	}
	return "went on"
}

func (x trial) run(t *testing.T, spoil func(*engine.Engine)) (o outcome) {
	inBubble(t, func(t *testing.T) {
		l := newLab(t)
		l.spoil = spoil
		l.change = func(cfg *engine.Config) {
			cfg.RecordsMax, cfg.BrokerAssigns, cfg.HeartbeatInterval = 20, x.brokerAssigns, 100*time.Millisecond
		}
		l.c.Produce(inputs(60, 12)...)
		var hit func() bool
		if !x.running {
			hit = x.arm(l)
		}
		l.start(0)
		if x.running {
			l.drain()
			hit = x.arm(l)
		}
		l.c.Produce(inputs(60, 12)...)
		l.start(1)
		time.Sleep(time.Second)
		l.c.Produce(inputs(60, 12)...)
		time.Sleep(100 * time.Millisecond)
		l.leave(1)
		l.c.Produce(inputs(60, 12)...)
		o.wrong = l.finish()
		o.hit, o.sent = hit(), l.sent
		if o.restarts = len(l.ends); o.restarts > 0 {
			o.why = l.ends[0]
		}
	})
	return o
}

// arm prepares the fault and returns what tells whether it struck.
func (x trial) arm(l *lab) (hit func() bool) {
	seen, struck := 0, false
	if x.doom.fate == delivered {
		fault := x.where
		fault.Keys, fault.Count = []kmsg.Key{x.key}, 1
		handle := l.c.Fault(fault)
		return func() bool { return handle.Hits() == 1 }
	}
	l.fates(func(_ *member, key kmsg.Key) doom {
		if key != x.key || struck {
			return doom{}
		}
		if seen++; seen <= x.nth {
			return doom{}
		}
		struck = true
		return x.doom
	})
	return func() bool { return struck }
}

// TestSweep puts every error that Kafka may answer into every kind of request that the engine sends, refused or done in spite
// of it, and cuts the connection before and after; while the engine starts, and while two members work. Each time nothing
// may be lost or doubled, and the members must come to the end, by themselves or started again.
func TestSweep(t *testing.T) {
	if !inVirtualTime(t) {
		return
	}
	var (
		mu    sync.Mutex
		lines []string
		sent  = map[kmsg.Key]int{}
	)
	t.Run("trials", func(t *testing.T) {
		for _, s := range sweepTable() {
			t.Run(s.key.Name()+" "+s.where.Topic, func(t *testing.T) {
				t.Parallel()
				for _, x := range s.trials() {
					o := x.run(t, func(*engine.Engine) {})
					mu.Lock()
					lines = append(lines, fmt.Sprintf("%-90s %s", x, o))
					for key, n := range o.sent {
						sent[key] += n
					}
					mu.Unlock()
					if !o.hit || len(o.wrong) > 0 {
						t.Errorf("%s: %s", x, o)
					}
				}
			})
		}
	})
	slices.Sort(lines)
	t.Logf("%d trials\n%s", len(lines), strings.Join(lines, "\n"))
	for key := range sent {
		if !slices.ContainsFunc(sweepTable(), func(s swept) bool { return s.key == key }) {
			t.Errorf("the engine sends %s (%d times), which is not swept", key.Name(), sent[key])
		}
	}
}

// TestSweepNoticesALie: a broker that answers that it has a batch already, and does not, loses it.
func TestSweepNoticesALie(t *testing.T) {
	if !inVirtualTime(t) {
		return
	}
	for _, topic := range []string{output, table, side} {
		x := trial{swept: swept{key: kmsg.Produce, where: kfake.Fault{Topic: topic, Err: kerr.DuplicateSequenceNumber}}, running: true}
		o := x.run(t, func(*engine.Engine) {})
		t.Log(x, o)
		if len(o.wrong) == 0 {
			t.Errorf("nobody noticed what is missing in %s", topic)
		}
	}
}

// TestSweepHasTeeth: it fails an engine that keeps what an aborted transaction wrote, and one that takes doubt for success.
func TestSweepHasTeeth(t *testing.T) {
	if !inVirtualTime(t) {
		return
	}
	for name, mutant := range map[string]struct {
		spoil func(*engine.Engine)
		key   kmsg.Key
	}{
		"no overlay rollback":  {(*engine.Engine).KeepOverlayOnAbort, kmsg.TxnOffsetCommit},
		"doubt counts as done": {(*engine.Engine).TrustDoubt, kmsg.EndTxn},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var trials []trial
			for _, s := range sweepTable() {
				if s.key == mutant.key {
					trials = append(trials, s.trials()...)
				}
			}
			for _, x := range trials {
				if o := x.run(t, mutant.spoil); len(o.wrong) > 0 {
					t.Logf("%s: %s", x, o)
					return
				}
			}
			t.Errorf("%d trials, and nobody noticed", len(trials))
		})
	}
}

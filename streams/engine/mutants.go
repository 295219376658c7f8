//go:build mutants

package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Mutants are engines that are wrong on purpose, one guarantee each, to show that an attack from outside notices. They
// exist only in builds with the tag mutants, where MutantEnv chooses one.

// MutantEnv names the mutant; empty: none.
const MutantEnv = "CAUDAL_MUTANT"

// The mutants.
const (
	MutantNoRollback      = "no-rollback"      // what an aborted transaction wrote stays in memory
	MutantOffsetsOutside  = "offsets-outside"  // offsets are committed after the transaction, not in it
	MutantNoFence         = "no-fence"         // neither epoch nor generation stops a member that was replaced
	MutantShortRestore    = "short-restore"    // a restore ends at the first fence it meets
	MutantEmitTwice       = "emit-twice"       // after an abort the emissions of the first try are sent beside those of the second
	MutantAppliedUnminded = "applied-unminded" // state counts as good for any assignment
)

func (e *Engine) mutate() error {
	switch name := os.Getenv(MutantEnv); name {
	case "":
	case MutantNoRollback:
		e.rollback = keepWritten
	case MutantOffsetsOutside:
		e.end = (&lateOffsets{}).end
	case MutantNoFence:
		e.cfg.TransactionalID += "-" + rand.Text()
		e.cfg.TransactionTimeout = time.Minute // longer than a member is missed
		e.end = endUnfenced
	case MutantShortRestore:
		e.reaches = func(string, string) bool { return true }
	case MutantEmitTwice:
		(&echo{of: map[int32]*echoed{}}).into(e)
	case MutantAppliedUnminded:
		e.retained = func(*partition, offsets) bool { return true }
		e.believed = e.retained
	default:
		return fmt.Errorf("%s is %q, which is no mutant", MutantEnv, name)
	}
	return nil
}

// keepWritten takes back the offset, as it should be, and nothing else.
func keepWritten(p *partition) {
	p.cells.commit()
	p.side.commit()
	copy(p.next, p.applied)
}

// lateOffsets commits offsets the way consumers do by default: by themselves, now and then.
type lateOffsets struct{ last time.Time }

func (l *lateOffsets) end(ctx context.Context, s *session, try kgo.TransactionEndTry) (bool, error) {
	if !try {
		return s.tx.End(ctx, try)
	}
	if err := s.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return false, err
	}
	if time.Since(l.last) < 200*time.Millisecond {
		return true, nil
	}
	l.last = time.Now()
	var failed error
	s.client.CommitOffsetsSync(ctx, s.client.UncommittedOffsets(), func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
		failed = err
	})
	return true, failed
}

// endUnfenced names neither member nor generation with the offsets, so that the group cannot refuse them.
func endUnfenced(ctx context.Context, s *session, try kgo.TransactionEndTry) (bool, error) {
	if !try {
		return s.tx.End(ctx, try)
	}
	id, epoch, err := s.client.ProducerID(ctx)
	if err != nil {
		return false, err
	}
	request := kmsg.NewPtrTxnOffsetCommitRequest()
	request.TransactionalID, request.Group, request.ProducerID, request.ProducerEpoch = s.cfg.TransactionalID, s.cfg.Group, id, epoch
	request.Generation = -1
	offsets := kadm.Offsets{}
	for t, ps := range s.client.UncommittedOffsets() {
		for p, o := range ps {
			offsets.AddOffset(t, p, o.Offset, o.Epoch)
		}
	}
	for t, ps := range offsets {
		topic := kmsg.NewTxnOffsetCommitRequestTopic()
		topic.Topic, topic.TopicID = t, s.inputIDs[slices.Index(s.inputs, t)]
		for p, o := range ps {
			partition := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			partition.Partition, partition.Offset = p, o.At
			topic.Partitions = append(topic.Partitions, partition)
		}
		request.Topics = append(request.Topics, topic)
	}
	response, err := request.RequestWith(ctx, s.client)
	if err != nil {
		return false, err
	}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			err = errors.Join(err, kerr.ErrorForCode(p.ErrorCode))
		}
	}
	if err != nil {
		return false, err
	}
	return true, s.client.EndTransaction(ctx, kgo.TryCommit)
}

// echo sends what an aborted transaction emitted again, beside what the second try emits.
type echo struct {
	mu sync.Mutex
	of map[int32]*echoed
}

type echoed struct {
	applied offsets // by the state that the transaction began with
	emits   []emission
	again   []emission
}

func (x *echo) into(e *Engine) {
	callback := e.callback
	e.callback = func(ctx *Context, value []byte) error {
		if err := callback(ctx, value); err != nil {
			return err
		}
		t := x.at(ctx.part)
		if !slices.Equal(t.applied, ctx.part.applied) {
			t.applied, t.emits = slices.Clone(ctx.part.applied), nil
		}
		t.emits = append(t.emits, ctx.emits...)
		ctx.emits, t.again = append(ctx.emits, t.again...), nil
		return nil
	}
	e.rollback = func(p *partition) {
		p.rollback()
		t := x.at(p)
		if slices.Equal(t.applied, p.applied) {
			t.again, t.emits = t.emits, nil
		}
	}
}

func (x *echo) at(p *partition) *echoed {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.of[p.id]
	if t == nil {
		t = &echoed{}
		x.of[p.id] = t
	}
	return t
}

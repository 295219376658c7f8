package producer

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/door"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// replyVersion is the format of a Reply this package reads.
const replyVersion = 1

// clocksApart is how far ahead of this process's clock a decision may be dated before that is counted. A decision has the time of the
// latest door that wrote to its account: where one runs ahead, the others see it here.
const clocksApart = time.Minute

// replies holds who waits for which decision. Ids count up from a random start, so that an answer to an earlier
// process on the same partition wakes nobody.
type replies struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan *paymentsv1.Decision
}

func newReplies() (*replies, error) {
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("choosing reply ids: %w", err)
	}
	return &replies{last: binary.LittleEndian.Uint64(seed[:]), waiting: make(map[uint64]chan *paymentsv1.Decision)}, nil
}

// expect makes a place to wait at; leave gives it back.
func (w *replies) expect() (uint64, <-chan *paymentsv1.Decision) {
	answer := make(chan *paymentsv1.Decision, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last++; w.last == 0 {
		w.last++ // 0 is no id on the wire
	}
	w.waiting[w.last] = answer
	return w.last, answer
}

func (w *replies) leave(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, id)
}

func (w *replies) claim(id uint64) (chan<- *paymentsv1.Decision, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	answer, ok := w.waiting[id]
	delete(w.waiting, id)
	return answer, ok
}

// deliver wakes the caller a reply is for. A request that is forwarded (open account, KYC level) is answered by the
// decision that ends it: the first key's word that it was passed on wakes nobody.
func (p *Producer) deliver(r *kgo.Record) {
	reply := &paymentsv1.Reply{}
	if err := proto.Unmarshal(r.Value, reply); err != nil || reply.GetVersion() != replyVersion || reply.GetDecision() == nil {
		p.metrics.garbled.Inc()
		p.cfg.Log.Error("decoding reply", "partition", r.Partition, "offset", r.Offset, "version", reply.GetVersion(), "error", err)
		return
	}
	if reply.GetDecision().GetAcceptedAtUs() > time.Now().Add(clocksApart).UnixMicro() {
		p.metrics.ahead.Inc()
	}
	answer, ok := p.replies.claim(reply.GetReplyId())
	if !ok {
		p.metrics.unclaimed.Inc()
		return
	}
	p.metrics.delivered.Inc()
	answer <- reply.GetDecision()
}

// await returns the decision, or ErrPending when the time or the caller's patience is over first.
func (p *Producer) await(ctx context.Context, answer <-chan *paymentsv1.Decision, since, deadline time.Time) (*paymentsv1.Decision, error) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case decision := <-answer:
		p.metrics.replySeconds.Observe(time.Since(since).Seconds())
		return decision, nil
	default:
	}
	select {
	case decision := <-answer:
		p.metrics.replySeconds.Observe(time.Since(since).Seconds())
		return decision, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, door.ErrPending
}

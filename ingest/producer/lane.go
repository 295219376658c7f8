package producer

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/ingest/door"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// laneOptions are those of the client of Begin. It waits for nobody: what comes while a request is on its way to the broker
// goes with the next one, so that batches grow with the load and a lone command never waits for one.
func laneOptions(cfg Config) []kgo.Opt {
	return append(clientOptions(cfg), kgo.ProducerLinger(0), kgo.MaxProduceRequestsInflightPerBroker(1))
}

// Begin hands a command over and does not wait.
func (p *Producer) Begin(key string, cmd *paymentsv1.Command) (door.Ticket, error) {
	t := &ticket{p: p, start: time.Now()}
	cmd.ReplyPartition = new(p.cfg.ReplyPartition)
	t.id, t.decision = p.replies.expect()
	cmd.ReplyId = t.id
	records, err := p.admit([]door.Item{{Key: key, Command: cmd}})
	if err != nil {
		t.Leave()
		return nil, err
	}
	t.flight = p.launch(p.lane, records)
	return t, nil
}

// ticket implements door.Ticket.
type ticket struct {
	p        *Producer
	id       uint64
	start    time.Time
	flight   *flight
	decision <-chan *paymentsv1.Decision
}

// Acked returns once the broker has acknowledged.
func (t *ticket) Acked(ctx context.Context) error {
	select {
	case <-t.flight.landed:
		return t.flight.errs[0]
	default:
	}
	select {
	case <-t.flight.landed:
		return t.flight.errs[0]
	case <-ctx.Done():
		return fmt.Errorf("producing command: %w: %w", door.ErrUnavailable, ctx.Err())
	}
}

// Decision returns the decision. One that comes before the acknowledgement says as much.
func (t *ticket) Decision(ctx context.Context) (*paymentsv1.Decision, error) {
	landed := t.flight.landed
	for {
		select {
		case d := <-t.decision:
			t.p.metrics.replySeconds.Observe(time.Since(t.start).Seconds())
			return d, nil
		case <-landed:
			if err := t.flight.errs[0]; err != nil {
				return nil, err
			}
			landed = nil
		case <-ctx.Done():
			if err := t.Acked(ctx); err != nil {
				return nil, err
			}
			return nil, door.ErrPending
		}
	}
}

// Times are when it was begun and acknowledged.
func (t *ticket) Times() (begun, acked time.Time) {
	select {
	case <-t.flight.landed:
		return t.start, t.flight.at
	default:
		return t.start, t.start
	}
}

// Leave gives up waiting.
func (t *ticket) Leave() { t.p.replies.leave(t.id) }

// Package producer takes commands to the log: it returns when the broker has acknowledged them (acks=all, idempotent),
// and wakes callers that wait with the decision the engine wrote to this process's reply partition.
// It refuses at once what its bounded buffer has no room for, and never says that a command is in the log when the
// broker has not said so.
package producer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/ingest/follow"
	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

const (
	pingEvery   = time.Second
	pingTimeout = 2 * time.Second
)

// Producer implements door.Commands and door.Lane. Safe for concurrent use.
type Producer struct {
	cfg      Config
	client   *kgo.Client
	lane     *kgo.Client     // of Begin
	lifetime context.Context // of the records, which outlive the requests that brought them
	end      context.CancelFunc
	buffer   *buffer
	replies  *replies
	follower *follow.Follower
	metrics  metrics
	broker   atomic.Pointer[error] // what the last ping said
}

var (
	_ door.Commands = (*Producer)(nil)
	_ door.Lane     = (*Producer)(nil)
)

// New makes a producer; commands can be submitted while Run runs.
func New(cfg Config, reg prometheus.Registerer) (*Producer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuring producer: %w", err)
	}
	p := &Producer{cfg: cfg, buffer: &buffer{recordsMax: int64(cfg.RecordsMax), bytesMax: int64(cfg.BytesMax)}}
	var err error
	if p.replies, err = newReplies(); err != nil {
		return nil, err
	}
	if p.client, err = kgo.NewClient(append(clientOptions(cfg), kgo.ProducerLinger(cfg.Linger))...); err != nil {
		return nil, fmt.Errorf("configuring producer: %w", err)
	}
	if p.lane, err = kgo.NewClient(laneOptions(cfg)...); err != nil {
		p.client.Close()
		return nil, fmt.Errorf("configuring producer: %w", err)
	}
	p.follower, err = follow.New(follow.Config{
		Brokers: cfg.Brokers, Tail: &follow.Tail{Topic: topics.Replies, Partition: cfg.ReplyPartition}, Log: cfg.Log,
	}, p.deliver)
	if err != nil {
		p.client.Close()
		p.lane.Close()
		return nil, err
	}
	p.lifetime, p.end = context.WithCancel(context.Background())
	p.noteBroker(errors.New("not started"))
	p.metrics = newMetrics(reg, p.buffer)
	return p, nil
}

// clientOptions are those of both clients.
func clientOptions(cfg Config) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.DefaultProduceTopic(topics.Commands),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
			return func(r *kgo.Record, n int) int { return int(topics.Partition(r.Key, int32(n))) } //nolint:gosec // a partition count
		})),
		kgo.ProducerBatchCompression(kgo.SnappyCompression()),
		kgo.RecordDeliveryTimeout(cfg.DeliveryTimeout),
		// The bound is the buffer's; the client's own must never be the one that is met.
		kgo.MaxBufferedRecords(2 * cfg.RecordsMax),
		kgo.MaxBufferedBytes(2 * cfg.BytesMax),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}
}

// Run follows the replies and watches the broker until ctx ends; then it gives what is buffered one delivery timeout
// to be acknowledged.
func (p *Producer) Run(ctx context.Context) error {
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { return p.follower.Run(inner) })
	group.Go(func() error { return p.watch(inner) })
	err := group.Wait()
	p.noteBroker(errors.New("stopped"))
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.DeliveryTimeout)
	defer cancel()
	for _, c := range [...]*kgo.Client{p.client, p.lane} {
		if ferr := c.Flush(flush); ferr != nil {
			err = errors.Join(err, fmt.Errorf("flushing commands: %w", ferr))
		}
	}
	p.end()
	p.client.Close()
	p.lane.Close()
	return err
}

// Ready is nil while the broker answers and the reply partition is followed.
func (p *Producer) Ready() error {
	if err := *p.broker.Load(); err != nil {
		return fmt.Errorf("producing commands: %w", err)
	}
	return p.follower.Ready()
}

func (p *Producer) noteBroker(err error) { p.broker.Store(&err) }

func (p *Producer) watch(ctx context.Context) error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		ping, cancel := context.WithTimeout(ctx, pingTimeout)
		p.noteBroker(p.client.Ping(ping))
		cancel()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Submit returns after the broker's acknowledgement.
func (p *Producer) Submit(ctx context.Context, key string, cmd *paymentsv1.Command) error {
	return p.SubmitBatch(ctx, []door.Item{{Key: key, Command: cmd}})[0]
}

// SubmitBatch hands all items over at once, in order: items of one key reach the log in that order. Where one of them
// times out, the client fails all that is queued behind it on its partition too.
func (p *Producer) SubmitBatch(ctx context.Context, items []door.Item) []error {
	records, err := p.admit(items)
	if err != nil {
		return each(len(items), err)
	}
	return p.launch(p.client, records).wait(ctx, p.cfg.DeliveryTimeout)
}

// SubmitAndWait returns the decision. It sets the command's reply address.
func (p *Producer) SubmitAndWait(ctx context.Context, key string, cmd *paymentsv1.Command, wait time.Duration) (*paymentsv1.Decision, error) {
	result := p.SubmitBatchAndWait(ctx, []door.Item{{Key: key, Command: cmd}}, wait)[0]
	return result.Decision, result.Err
}

// SubmitBatchAndWait is SubmitBatch, and waits for the decisions of what was acknowledged, one deadline for all.
func (p *Producer) SubmitBatchAndWait(ctx context.Context, items []door.Item, wait time.Duration) []door.Result {
	start := time.Now()
	results := make([]door.Result, len(items))
	answers := make([]<-chan *paymentsv1.Decision, len(items))
	for i, item := range items {
		item.Command.ReplyPartition = new(p.cfg.ReplyPartition)
		item.Command.ReplyId, answers[i] = p.replies.expect()
	}
	defer func() {
		for _, item := range items {
			p.replies.leave(item.Command.GetReplyId())
		}
	}()
	for i, err := range p.SubmitBatch(ctx, items) {
		if results[i].Err = err; err == nil {
			results[i].Decision, results[i].Err = p.await(ctx, answers[i], start, start.Add(wait))
		}
	}
	return results
}

// commandBytesUsual is what a command and its key take, more or less.
const commandBytesUsual = 448

// admit encodes items, all into one piece of memory, and reserves room for all of them, or for none.
func (p *Producer) admit(items []door.Item) ([]kgo.Record, error) {
	records := make([]kgo.Record, len(items))
	b := make([]byte, 0, commandBytesUsual*len(items))
	var bytes int64
	for i, item := range items {
		// Where b has to grow, what stands in the old piece stays there, for the records before.
		from := len(b)
		b = append(b, item.Key...)
		to := len(b)
		var err error
		if b, err = codec.AppendCommand(b, item.Command); err != nil {
			return nil, fmt.Errorf("encoding command: %w", err)
		}
		records[i].Key, records[i].Value = b[from:to:to], b[to:len(b):len(b)]
		bytes += weight(&records[i])
	}
	if !p.buffer.reserve(int64(len(records)), bytes) {
		p.metrics.busy.Add(float64(len(records)))
		return nil, door.ErrBusy
	}
	return records, nil
}

func each(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

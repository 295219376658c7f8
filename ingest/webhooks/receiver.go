package webhooks

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/http"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/rails/ownref"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

const formatVersion = 1

// Receiver implements http.Webhooks. Safe for concurrent use.
type Receiver struct {
	cfg        Config
	client     *kgo.Client
	processors map[string]*processor
	recent     *recent
	metrics    *prometheus.CounterVec
}

var _ http.Webhooks = (*Receiver)(nil)

// processor is one that may tell something, with its limits.
type processor struct {
	Processor

	name       string
	read       reader
	rate       *bucket
	complaints *bucket // lines of the log about it: a forger must not fill the disk
}

// New makes a receiver. It takes notifications until Run ends.
func New(cfg Config) (*Receiver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuring webhooks: %w", err)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.DefaultProduceTopic(topics.RailsNotifications),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(cfg.RecordsMax),
		kgo.RecordDeliveryTimeout(cfg.DeliveryTimeout),
		kgo.MetadataMinAge(100*time.Millisecond),
	)
	if err != nil {
		return nil, fmt.Errorf("configuring webhooks: %w", err)
	}
	r := &Receiver{
		cfg: cfg, client: client, processors: map[string]*processor{}, recent: newRecent(cfg.RecentMax),
		metrics: newMetrics(cfg.Registry, cfg.Processors),
	}
	for name, p := range cfg.Processors {
		r.processors[name] = &processor{Processor: p, name: name, read: readers()[p.Dialect], rate: newBucket(p.PerSecond), complaints: newBucket(1)}
	}
	return r, nil
}

// Run lets notifications be taken until ctx ends; then it gives what is buffered one delivery timeout.
func (r *Receiver) Run(ctx context.Context) error {
	<-ctx.Done()
	defer r.client.Close()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.DeliveryTimeout)
	defer cancel()
	if err := r.client.Flush(last); err != nil {
		return fmt.Errorf("flushing notifications: %w", err)
	}
	return nil
}

// Receive returns nil when the broker has the notification, or had it before. It keeps nothing of body.
func (r *Receiver) Receive(ctx context.Context, name string, header func(string) []string, body []byte) error {
	p := r.processors[name]
	if p == nil {
		return http.ErrNotFound
	}
	what, err := r.receive(ctx, p, header, body)
	r.metrics.WithLabelValues(name, string(what)).Inc()
	if err != nil && p.complaints.take(r.cfg.Now()) {
		r.cfg.Log.Warn("notification refused", "processor", name, "outcome", string(what), "bytes", len(body))
	}
	return err
}

func (r *Receiver) receive(ctx context.Context, p *processor, header Header, body []byte) (outcome, error) {
	now := r.cfg.Now()
	eventID, err := p.Verifier.verify(header, body, now)
	switch {
	case errors.Is(err, errReplay):
		return outcomeReplay, http.ErrForged
	case err != nil:
		return outcomeForged, http.ErrForged
	case !p.rate.take(now):
		return outcomeLimited, http.ErrLimited
	case !jsontext.Value(body).IsValid():
		return outcomeMalformed, http.ErrMalformed
	}
	n, understood := p.understand(body)
	if eventID != "" {
		n.EventId = eventID
	}
	id := recentOf(p.name, n.GetEventId())
	if n.GetEventId() != "" && r.recent.has(id) {
		return outcomeDuplicate, nil
	}
	n.Processor, n.ReceivedAtUs = p.name, now.UnixMicro()
	if what, err := r.write(ctx, n, body); err != nil {
		return what, err
	}
	if n.GetEventId() != "" {
		r.recent.add(id)
	}
	if !understood {
		return outcomeNotUnderstood, nil
	}
	return outcomeAccepted, nil
}

// understand reads what a body says. What nobody here knows is kept all the same: it is the processor's, and may matter later.
func (p *processor) understand(body []byte) (n *railsv1.Notification, understood bool) {
	n = &railsv1.Notification{}
	if err := p.read(body, n); err != nil || n.GetKind() == railsv1.NotificationKind_NOTIFICATION_KIND_UNSPECIFIED {
		return &railsv1.Notification{Kind: railsv1.NotificationKind_NOTIFICATION_KIND_OTHER}, false
	}
	tidy(n)
	return n, true
}

// write returns when all replicas have the notification.
func (r *Receiver) write(ctx context.Context, n *railsv1.Notification, body []byte) (outcome, error) {
	record, err := r.record(n, body)
	if err != nil {
		return outcomeMalformed, err
	}
	acked := make(chan error, 1)
	// The client's context, not the caller's: what was begun may be in the log already.
	r.client.TryProduce(context.WithoutCancel(ctx), record, func(_ *kgo.Record, err error) { acked <- err })
	limit := time.NewTimer(r.cfg.DeliveryTimeout)
	defer limit.Stop()
	select {
	case err = <-acked:
	case <-limit.C:
		err = context.DeadlineExceeded
	}
	switch {
	case err == nil:
		return outcomeAccepted, nil
	case errors.Is(err, kgo.ErrMaxBuffered):
		return outcomeBusy, http.ErrBusy
	default:
		return outcomeUnavailable, fmt.Errorf("producing notification: %w: %w", http.ErrUnavailable, err)
	}
}

func (r *Receiver) record(n *railsv1.Notification, body []byte) (*kgo.Record, error) {
	sum := sha256.Sum256(body)
	n.Version, n.BodySha256, n.Sealed = formatVersion, sum[:], &paymentsv1.Sealed{}
	if _, err := r.cfg.Sealer.SealInto(n.GetSealed(), &paymentsv1.Personal{Notification: string(body)}); err != nil {
		return nil, fmt.Errorf("sealing notification: %w", err)
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("encoding notification: %w", err)
	}
	key := []byte(n.GetProcessor() + "/" + about(n))
	partition, ours := ownref.Partition(n.GetOwnReference(), r.cfg.Partitions)
	if !ours {
		partition = topics.Partition(key, r.cfg.Partitions)
	}
	return &kgo.Record{Partition: partition, Key: key, Value: value}, nil
}

// about is what a notification is about: all of one transaction are in one partition, in the order in which they came.
func about(n *railsv1.Notification) string {
	switch {
	case n.GetReference() != "":
		return n.GetReference()
	case n.GetDispute().GetId() != "":
		return n.GetDispute().GetId()
	default:
		return n.GetEventId()
	}
}

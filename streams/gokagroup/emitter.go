package gokagroup

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// NewEmitter makes a goka.Emitter whose producer is franz-go's: every in-sync replica has a record before its promise is
// kept, and a retry neither doubles nor reorders. Keys go where Kafka's default partitioner puts them, which the engine
// needs. Options of Goka may follow; a client with TLS or SASL is goka.WithEmitterProducerBuilder(ProducerBuilder(...)).
//
// What an emitter writes is outside of any transaction: who emits again after a failure may have written twice.
func NewEmitter(brokers []string, topic goka.Stream, codec goka.Codec, options ...goka.EmitterOption) (*goka.Emitter, error) {
	own := []goka.EmitterOption{
		goka.WithEmitterProducerBuilder(ProducerBuilder()),
		goka.WithEmitterHasher(Hasher),
		goka.WithEmitterTopicManagerBuilder(func([]string) (goka.TopicManager, error) {
			return nil, errors.New("an emitter of franz-go has no topic manager")
		}),
	}
	return goka.NewEmitter(brokers, topic, codec, append(own, options...)...)
}

// deliveryTimeout is Kafka's own default: without one a record waits for its broker for ever.
const deliveryTimeout = 2 * time.Minute

// ProducerBuilder builds producers of franz-go for Goka. Options are appended to the client's.
func ProducerBuilder(options ...kgo.Opt) goka.ProducerBuilder {
	return func(brokers []string, clientID string, newHash func() hash.Hash32) (goka.Producer, error) {
		client, err := kgo.NewClient(append([]kgo.Opt{
			kgo.SeedBrokers(brokers...), kgo.ClientID(clientID), kgo.RequiredAcks(kgo.AllISRAcks()),
			kgo.MetadataMinAge(100 * time.Millisecond), kgo.DisableClientMetrics(),
			kgo.RecordDeliveryTimeout(deliveryTimeout), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(byHash(newHash))),
		}, options...)...)
		if err != nil {
			return nil, fmt.Errorf("opening producer: %w", err)
		}
		return &producer{client}, nil
	}
}

// byHash partitions as Goka's own producer does with the same hash.
func byHash(newHash func() hash.Hash32) kgo.PartitionerHasher {
	return func(key []byte, partitions int) int {
		h := newHash()
		_, _ = h.Write(key)                            // a hash never fails
		return abs(int(int32(h.Sum32())) % partitions) //nolint:gosec // the sign is meant
	}
}

func abs(n int) int { return max(n, -n) }

// producer is a goka.Producer.
type producer struct{ client *kgo.Client }

func (p *producer) Emit(topic, key string, value []byte) *goka.Promise {
	return p.EmitWithHeaders(topic, key, value, nil)
}

func (p *producer) EmitWithHeaders(topic, key string, value []byte, headers goka.Headers) *goka.Promise {
	promise, finish := goka.NewPromiseWithFinisher()
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: value, Headers: recordHeaders(headers)}
	p.client.Produce(context.Background(), r, func(r *kgo.Record, err error) {
		finish(&sarama.ProducerMessage{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp}, err)
	})
	return promise
}

// Close waits for what was emitted.
func (p *producer) Close() error {
	defer p.client.Close()
	return p.client.Flush(context.Background())
}

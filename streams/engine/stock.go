package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"net"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/storage"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// stock runs callbacks of this package on an unmodified Goka processor with sarama under it: the same attack on what the
// engine replaces. State is Goka's table, side records and emissions are Goka's emits, offsets are Goka's marks. It gets
// what configuration can give it: acks of all replicas, input from the start, static membership. It is a yardstick, and
// carries no money: it loses and doubles.
type stock struct {
	engine *Engine
	dial   Dial
	parts  []*partition
	stale  []bool // side records that are to be restored before the next record
}

// Dial opens a connection to a broker.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// NewStock is New with stock Goka underneath. Options of the config reach only the clients that follow lookups; dial may be
// nil.
func NewStock(cfg Config, cb Callback, dial Dial) (*Engine, error) {
	e, err := New(cfg, cb)
	if err != nil {
		return nil, err
	}
	if e.cfg.Sessions > 1 {
		return nil, errors.New("validating engine config: stock Goka has one session")
	}
	e.work = (&stock{engine: e, dial: dial}).run
	return e, nil
}

// partitionHeader tells the producer the partition of an emission that does not follow its key.
const partitionHeader = EnginePrefix + "partition"

func (s *stock) run(ctx context.Context, m *member) error {
	s.parts, s.stale = m.parts, make([]bool, len(m.parts))
	for _, p := range s.parts {
		p.bind(ctx, nil)
	}
	cfg := &s.engine.cfg
	bytes := new(codec.Bytes)
	edges := []goka.Edge{goka.Input(goka.Stream(cfg.Input), bytes, s.process), goka.Persist(bytes)}
	for _, t := range append([]string{cfg.Side, cfg.DeadLetters}, cfg.Outputs...) {
		edges = append(edges, goka.Output(goka.Stream(t), bytes))
	}
	processor, err := goka.NewProcessor(cfg.Brokers, goka.DefineGroup(goka.Group(cfg.Group), edges...), s.options(ctx)...)
	if err != nil {
		return fmt.Errorf("building stock goka processor: %w", err)
	}
	if err := processor.Run(ctx); err != nil {
		return fmt.Errorf("running stock goka: %w", err)
	}
	return nil
}

func (s *stock) options(ctx context.Context) []goka.ProcessorOption {
	cfg := &s.engine.cfg
	config := func() *sarama.Config {
		c := goka.DefaultConfig()
		c.Version = sarama.V2_4_0_0
		c.Consumer.Offsets.Initial = sarama.OffsetOldest
		c.Consumer.Group.InstanceId = cfg.InstanceID
		c.Consumer.Group.Session.Timeout = cfg.SessionTimeout
		c.Consumer.Group.Heartbeat.Interval = cfg.SessionTimeout / 10
		c.Producer.RequiredAcks = sarama.WaitForAll
		if s.dial != nil {
			c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, dialer{ctx, s.dial}
		}
		return c
	}
	return []goka.ProcessorOption{
		goka.WithClientID(cfg.TransactionalID),
		goka.WithHasher(cfg.Hasher),
		goka.WithNilHandling(goka.NilProcess),
		goka.WithLogger(gokaLog{cfg.Logger}),
		goka.WithStorageBuilder(storage.MemoryBuilder()),
		goka.WithConsumerGroupBuilder(goka.ConsumerGroupBuilderWithConfig(config())),
		goka.WithConsumerSaramaBuilder(goka.SaramaConsumerBuilderWithConfig(config())),
		goka.WithTopicManagerBuilder(goka.TopicManagerBuilderWithConfig(config(), goka.NewTopicManagerConfig())),
		goka.WithProducerBuilder(func(brokers []string, id string, hasher func() hash.Hash32) (goka.Producer, error) {
			c := config()
			c.ClientID = id
			byKey := sarama.NewCustomHashPartitioner(hasher)
			c.Producer.Partitioner = func(topic string) sarama.Partitioner { return headed{byKey(topic)} }
			return goka.NewProducer(brokers, c)
		}),
		// A partition may have been worked on elsewhere between two generations.
		goka.WithRebalanceCallback(func(goka.Assignment) {
			for i := range s.stale {
				s.stale[i] = true
			}
			s.engine.settle()
		}),
	}
}

type dialer struct {
	ctx  context.Context // sarama's interface has none
	dial Dial
}

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.dial(d.ctx, network, address)
}

// headed takes the partition that the emission names.
type headed struct{ sarama.Partitioner }

func (h headed) RequiresConsistency() bool { return true }
func (h headed) Partition(m *sarama.ProducerMessage, n int32) (int32, error) {
	for _, header := range m.Headers {
		if string(header.Key) == partitionHeader {
			return int32(binary.BigEndian.Uint32(header.Value)), nil //nolint:gosec // written from a partition
		}
	}
	return h.Partitioner.Partition(m, n) //nolint:wrapcheck // sarama's own
}

// process is Goka's callback.
func (s *stock) process(ctx goka.Context, message any) {
	p := s.parts[ctx.Partition()]
	if s.stale[p.id] {
		p.reset()
		if err := s.restoreSide(ctx.Context(), p); err != nil {
			ctx.Fail(err)
		}
		s.stale[p.id] = false
	}
	value, _ := message.([]byte) // nil is a null record
	key := ctx.Key()
	r := &kgo.Record{
		Topic: string(ctx.Topic()), Partition: p.id, Offset: ctx.Offset(), Timestamp: ctx.Timestamp(), Key: []byte(key), Value: value,
	}
	for k, v := range ctx.Headers() {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: k, Value: v})
	}
	if cell, ok := ctx.Value().([]byte); ok && cell != nil {
		p.cells.base.set(key, cell)
	}
	p.next[0] = r.Offset // it may come again
	p.produce = func(r *kgo.Record) { emit(ctx, r) }
	if err := p.handle(r, key); err != nil {
		ctx.Fail(err)
	}
	if cell, changed := p.cells.overlay[key]; changed {
		ctx.SetValue(cell)
	}
	for k, v := range p.side.overlay {
		emit(ctx, &kgo.Record{Topic: s.engine.cfg.Side, Partition: p.id, Key: []byte(k), Value: v})
	}
	if err := p.commit(ctx.Timestamp()); err != nil {
		ctx.Fail(err)
	}
}

func emit(ctx goka.Context, r *kgo.Record) {
	headers := goka.Headers{}
	for _, h := range r.Headers {
		headers[h.Key] = h.Value
	}
	if r.Partition != byKey {
		headers[partitionHeader] = binary.BigEndian.AppendUint32(nil, uint32(r.Partition)) //nolint:gosec // not negative
	}
	var value any
	if r.Value != nil {
		value = r.Value
	}
	ctx.Emit(goka.Stream(r.Topic), string(r.Key), value, goka.WithCtxEmitHeaders(headers))
}

// restoreSide reads what is on the changelog now.
func (s *stock) restoreSide(ctx context.Context, p *partition) error {
	cfg := &s.engine.cfg
	client, err := kgo.NewClient(append(cfg.clientOptions(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		cfg.Side: {p.id: kgo.NewOffset().AtStart()},
	}))...)
	if err != nil {
		return fmt.Errorf("opening restore client: %w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, cfg.Side)
	if err != nil {
		return fmt.Errorf("restoring side records: %w", err)
	}
	end, _ := ends.Lookup(cfg.Side, p.id)
	for at := int64(0); at < end.Offset; {
		fetches := client.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), pollError(fetches)); err != nil {
			return fmt.Errorf("restoring side records: %w", err)
		}
		for _, r := range fetches.Records() {
			if err := p.restoreSide(r); err != nil {
				return err
			}
			at = r.Offset + 1
		}
	}
	return nil
}

// gokaLog keeps Goka's chatter at debug level.
type gokaLog struct{ log *slog.Logger }

func (l gokaLog) Print(v ...any)                 { l.log.Debug(fmt.Sprint(v...)) }
func (l gokaLog) Println(v ...any)               { l.log.Debug(fmt.Sprint(v...)) }
func (l gokaLog) Printf(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

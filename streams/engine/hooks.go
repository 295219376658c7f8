package engine

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"log/slog"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/storage"
)

// This file is all that stands under Goka's hooks. None of it reaches for a network: the session does that.

var errNotOurs = errors.New("not available under the exactly-once engine")

// wrapped carries the engine's context through Goka's. Embedding goka.Context itself would hide its method Context.
type wrapped struct {
	gokaContext
	part *partition
}

type gokaContext = goka.Context

// graph is the group as Goka sees it: bytes everywhere, decoding belongs to the callback.
func (s *session) graph() *goka.GroupGraph {
	edges := []goka.Edge{goka.Input(goka.Stream(s.cfg.Input), new(codec.Bytes), s.process), goka.Persist(new(codec.Bytes))}
	for _, t := range s.cfg.Outputs {
		edges = append(edges, goka.Output(goka.Stream(t), new(codec.Bytes)))
	}
	return goka.DefineGroup(goka.Group(s.cfg.Group), edges...)
}

// process is Goka's callback: it takes the record that belongs to this message and hands it to the partition.
func (s *session) process(ctx goka.Context, _ any) {
	w, ok := ctx.(*wrapped)
	if !ok {
		s.fail(errors.New("goka did not hand back the wrapped context"))
		return
	}
	if s.stopping.Load() {
		return // nothing of this transaction will be kept
	}
	c := s.claims[w.part.id]
	r := c.nextRecord()
	if r.Offset != ctx.Offset() {
		s.fail(fmt.Errorf("goka handed over offset %d of partition %d, expected %d", ctx.Offset(), w.part.id, r.Offset))
		return
	}
	w.part.handling.Store(r.Offset + 1)
	if err := w.part.handle(r, ctx.Key()); err != nil {
		s.fail(err)
	}
	w.part.handling.Store(0)
}

func (s *session) options() []goka.ProcessorOption {
	wrappers := make([]wrapped, len(s.parts))
	return []goka.ProcessorOption{
		goka.WithClientID(s.cfg.TransactionalID),
		goka.WithHasher(s.cfg.Hasher),
		goka.WithNilHandling(goka.NilProcess),
		goka.WithPartitionChannelSize(claimBuffer),
		goka.WithLogger(gokaLog{s.cfg.Logger}),
		goka.WithContextWrapper(func(ctx goka.Context) goka.Context {
			w := &wrappers[ctx.Partition()] // one goroutine per partition uses it
			w.gokaContext, w.part = ctx, s.parts[ctx.Partition()]
			return w
		}),
		goka.WithStorageBuilder(func(_ string, p int32) (storage.Storage, error) { return cells{s.parts[p]}, nil }),
		goka.WithProducerBuilder(func([]string, string, func() hash.Hash32) (goka.Producer, error) { return noProducer{}, nil }),
		goka.WithConsumerGroupBuilder(func([]string, string, string) (sarama.ConsumerGroup, error) { return group{session: s}, nil }),
		goka.WithConsumerSaramaBuilder(func([]string, string) (sarama.Consumer, error) { return noConsumer{}, nil }),
		goka.WithTopicManagerBuilder(func([]string) (goka.TopicManager, error) { return topicManager{s.cfg.Partitions}, nil }),
	}
}

// cells shows a partition's store to Goka. It outlives Goka's generation, so Close does nothing.
type cells struct{ p *partition }

func (c cells) Open() error                         { return nil }
func (c cells) Close() error                        { return nil }
func (c cells) Has(key string) (bool, error)        { return c.p.cells.get(key) != nil, nil }
func (c cells) Get(key string) ([]byte, error)      { return c.p.cells.get(key), nil }
func (c cells) Set(string, []byte) error            { return errNotOurs }
func (c cells) Delete(string) error                 { return errNotOurs }
func (c cells) SetOffset(int64) error               { return nil }
func (c cells) MarkRecovered() error                { return nil }
func (c cells) GetOffset(int64) (int64, error)      { return 0, nil } // with high-water mark 1 Goka takes the table as recovered
func (c cells) Iterator() (storage.Iterator, error) { return nil, errNotOurs }
func (c cells) IteratorWithRange(_, _ []byte) (storage.Iterator, error) {
	return nil, errNotOurs
}

// topicManager answers from what the start has checked already.
type topicManager struct{ partitions int32 }

func (topicManager) EnsureTableExists(string, int) error                         { return nil }
func (topicManager) EnsureStreamExists(string, int) error                        { return nil }
func (topicManager) EnsureTopicExists(string, int, int, map[string]string) error { return nil }
func (topicManager) Close() error                                                { return nil }
func (topicManager) GetOffset(_ string, _ int32, at int64) (int64, error) {
	if at == sarama.OffsetOldest {
		return 0, nil
	}
	return 1, nil
}

func (t topicManager) Partitions(string) ([]int32, error) { return numbers(t.partitions), nil }

func numbers(n int32) []int32 {
	ps := make([]int32, n)
	for i := range ps {
		ps[i] = int32(i)
	}
	return ps
}

// noProducer refuses: the engine produces from the overlay and from the callback's buffer.
type noProducer struct{}

func (p noProducer) Emit(topic, key string, value []byte) *goka.Promise {
	return p.EmitWithHeaders(topic, key, value, nil)
}

func (noProducer) EmitWithHeaders(string, string, []byte, goka.Headers) *goka.Promise {
	promise, finish := goka.NewPromiseWithFinisher()
	finish(nil, errNotOurs)
	return promise
}
func (noProducer) Close() error { return nil }

// noConsumer refuses: the engine restores tables itself.
type noConsumer struct{}

func (noConsumer) Topics() ([]string, error)          { return nil, errNotOurs }
func (noConsumer) Partitions(string) ([]int32, error) { return nil, errNotOurs }
func (noConsumer) ConsumePartition(string, int32, int64) (sarama.PartitionConsumer, error) {
	return nil, errNotOurs
}
func (noConsumer) HighWaterMarks() map[string]map[int32]int64 { return nil }
func (noConsumer) Close() error                               { return nil }
func (noConsumer) Pause(map[string][]int32)                   {}
func (noConsumer) Resume(map[string][]int32)                  {}
func (noConsumer) PauseAll()                                  {}
func (noConsumer) ResumeAll()                                 {}

// group gives Goka the session as a consumer group.
type group struct{ session *session }

func (g group) Consume(ctx context.Context, _ []string, h sarama.ConsumerGroupHandler) error {
	return g.session.consume(ctx, h)
}
func (group) Errors() <-chan error      { return nil } // errors end the session by themselves
func (group) Close() error              { return nil }
func (group) Pause(map[string][]int32)  {}
func (group) Resume(map[string][]int32) {}
func (group) PauseAll()                 {}
func (group) ResumeAll()                {}

// generation is the consumer group session of the only generation that Goka sees: all partitions, whoever works on them.
type generation struct {
	session *session
	ctx     context.Context // sarama's interface asks for it
}

func (g *generation) Claims() map[string][]int32 {
	return map[string][]int32{g.session.cfg.Input: numbers(g.session.cfg.Partitions)}
}
func (g *generation) MemberID() string         { return g.session.cfg.InstanceID }
func (g *generation) GenerationID() int32      { return 1 }
func (g *generation) Context() context.Context { return g.ctx }
func (g *generation) Commit()                  {}

// MarkOffset only counts: which offsets commit is decided by what was polled, all of it being done.
func (g *generation) MarkOffset(string, int32, int64, string)     { g.session.done() }
func (g *generation) MarkMessage(*sarama.ConsumerMessage, string) { g.session.done() }
func (g *generation) ResetOffset(string, int32, int64, string)    {}

// gokaLog keeps Goka's chatter at debug level.
type gokaLog struct{ log *slog.Logger }

func (l gokaLog) Print(v ...any)                 { l.log.Debug(fmt.Sprint(v...)) }
func (l gokaLog) Println(v ...any)               { l.log.Debug(fmt.Sprint(v...)) }
func (l gokaLog) Printf(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

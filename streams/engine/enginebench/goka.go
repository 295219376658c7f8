package enginebench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/storage"

	"github.com/caudalpay/caudal/schemas/topics"
)

// stock is Goka v1.1.16 as it comes, on sarama. Two defaults cannot stand: new groups would skip the backlog, and keys would
// not lie where Kafka's own clients put them.
type stock struct {
	disk, tuned bool
}

func gokas() map[string]contestant {
	return map[string]contestant{
		GokaMemory:  stock{}.work,
		GokaLevelDB: stock{disk: true}.work,
		GokaTuned:   stock{tuned: true}.work,
	}
}

func (s stock) work(ctx context.Context, w Work, r *runtimeOf) error {
	goka.ReplaceGlobalConfig(s.sarama())
	manager := goka.NewTopicManagerConfig()
	manager.NoCreate = true // the topics are there
	options := []goka.ProcessorOption{
		goka.WithHasher(topics.Hasher), goka.WithStorageBuilder(s.storage(w.Dir)), goka.WithLogger(log.New(io.Discard, "", 0)),
		goka.WithTopicManagerBuilder(goka.TopicManagerBuilderWithTopicManagerConfig(manager)),
	}
	if s.tuned {
		options = append(options, goka.WithPartitionChannelSize(1024))
	}
	output := goka.Stream(w.Output())
	group := goka.DefineGroup(goka.Group(w.Group), goka.Input(goka.Stream(w.Input), new(codec.Bytes), func(c goka.Context, value any) {
		n := uint64(0)
		if v, ok := c.Value().([]byte); ok {
			n = binary.BigEndian.Uint64(v)
		}
		c.SetValue(binary.BigEndian.AppendUint64(nil, n+1))
		c.Emit(output, c.Key(), value)
	}), goka.Persist(new(codec.Bytes)), goka.Output(output, new(codec.Bytes)))
	processor, err := goka.NewProcessor(w.Brokers, group, options...)
	if err != nil {
		return fmt.Errorf("building goka: %w", err)
	}
	r.ready(nil)
	if err := processor.Run(ctx); err != nil {
		return fmt.Errorf("running goka: %w", err)
	}
	return nil
}

func (s stock) storage(dir string) storage.Builder {
	if s.disk {
		return storage.DefaultBuilder(dir)
	}
	return storage.MemoryBuilder()
}

func (s stock) sarama() *sarama.Config {
	c := goka.DefaultConfig()
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	if s.tuned {
		c.ChannelBufferSize = 8192
		c.Producer.Flush.Frequency, c.Producer.Flush.Bytes = 10*time.Millisecond, 1<<20
		c.Producer.RequiredAcks = sarama.WaitForAll
		c.Version = sarama.V2_8_0_0
		c.Producer.Idempotent, c.Net.MaxOpenRequests = true, 1
	}
	return c
}

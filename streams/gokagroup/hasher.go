package gokagroup

import (
	"encoding/binary"
	"hash"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Hasher puts keys where Kafka's default partitioner puts them; it is also for goka.WithHasher, WithViewHasher and
// WithEmitterHasher, whose default is another. A partition is the hash modulo the count.
func Hasher() hash.Hash32 { return &hasher{kafka: kgo.StickyKeyPartitioner(nil).ForTopic("")} }

// hasher asks franz-go's own partitioner among as many partitions as there are hashes.
type hasher struct {
	kafka kgo.TopicPartitioner
	key   kgo.Record
}

const hashes = 1 << 31 // the top bit is masked

func (h *hasher) Write(p []byte) (int, error) {
	h.key.Key = append(h.key.Key, p...)
	return len(p), nil
}

func (h *hasher) Sum32() uint32 {
	if h.key.Key == nil {
		h.key.Key = []byte{}
	}
	return uint32(h.kafka.Partition(&h.key, hashes)) //nolint:gosec // below hashes
}

func (h *hasher) Reset()              { h.key.Key = h.key.Key[:0] }
func (h *hasher) Size() int           { return 4 }
func (h *hasher) BlockSize() int      { return 4 }
func (h *hasher) Sum(b []byte) []byte { return binary.BigEndian.AppendUint32(b, h.Sum32()) }

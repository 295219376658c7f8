package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
)

// keySpace are keys and where Kafka's default puts them.
type keySpace struct {
	text      [][]byte
	partition []int32
}

const keyPrefix = "key-"

func newKeySpace(keys int, partitions int32) keySpace {
	s := keySpace{text: make([][]byte, keys), partition: make([]int32, keys)}
	for i := range keys {
		s.text[i] = fmt.Appendf(nil, keyPrefix+"%d", i)
		s.partition[i] = topics.Partition(s.text[i], partitions)
	}
	return s
}

// keyNumber is the place of a key in its space, -1 if it is none of ours.
func keyNumber(key []byte) int {
	digits, ok := bytes.CutPrefix(key, []byte(keyPrefix))
	if !ok {
		return -1
	}
	n, err := strconv.Atoi(string(digits))
	if err != nil {
		return -1
	}
	return n
}

// backlog is an input topic, and which key each of its records has: what must come of it follows.
type backlog struct {
	topic      string
	partitions int32
	space      keySpace
	sequence   [][]uint32 // keys by partition, in the order of the log
	total      int64
}

func (c *contest) newBacklog(ctx context.Context, name string, keys int, partitions int32) (*backlog, error) {
	b := &backlog{topic: "bench." + name, partitions: partitions, space: newKeySpace(keys, partitions), sequence: make([][]uint32, partitions)}
	return b, c.createTopics(ctx, partitions, b.topic)
}

// add notes the next record and gives it, without its value. It must be produced in this order.
func (b *backlog) add(key int) *kgo.Record {
	p := b.space.partition[key]
	b.sequence[p] = append(b.sequence[p], uint32(key)) //nolint:gosec // keys are far fewer
	b.total++
	return &kgo.Record{Topic: b.topic, Partition: p, Key: b.space.text[key]}
}

// expected is how often each key occurs before the given offsets: its counter, and its share of the output.
func (b *backlog) expected(done map[int32]int64) ([]uint64, error) {
	counts := make([]uint64, len(b.space.text))
	for p, end := range done {
		if end > int64(len(b.sequence[p])) {
			return nil, fmt.Errorf("offset %d of partition %d is committed, and it holds %d records", end, p, len(b.sequence[p]))
		}
		for _, key := range b.sequence[p][:end] {
			counts[key]++
		}
	}
	return counts, nil
}

// chooser says which key the next record has.
type chooser func(n int64) int

// uniform chooses among keys by a seed.
func uniform(keys int) chooser {
	rng := rand.New(rand.NewPCG(7, uint64(keys))) //nolint:gosec // data, no secrets
	return func(int64) int { return rng.IntN(keys) }
}

// hotShare is the part of all records that the hot key has.
const hotShare = 0.7

// hot chooses the first key for hotShare, and any otherwise.
func hot(keys int) chooser {
	rng := rand.New(rand.NewPCG(8, uint64(keys))) //nolint:gosec // data, no secrets
	return func(int64) int {
		if rng.Float64() < hotShare {
			return 0
		}
		return rng.IntN(keys)
	}
}

// each takes one key after the other.
func each(n int64) int { return int(n) }

// fill makes a topic and writes n records into it.
func (c *contest) fill(ctx context.Context, name string, partitions int32, keys int, choose chooser, n int64) (*backlog, error) {
	b, err := c.newBacklog(ctx, name, keys, partitions)
	if err != nil {
		return nil, err
	}
	c.say("writing %d records over %d keys and %d partitions to %s", n, keys, partitions, b.topic)
	client, err := c.producer()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var failed atomic.Pointer[error]
	for i := range n {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r := b.add(choose(i))
		r.Value = c.samples.values[i%recordValues]
		client.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return nil, fmt.Errorf("filling %s: %w", b.topic, err)
	}
	if err := failed.Load(); err != nil {
		return nil, fmt.Errorf("filling %s: %w", b.topic, *err)
	}
	return b, nil
}

// producer writes to explicit partitions: acks=all, idempotent, snappy.
func (c *contest) producer() (*kgo.Client, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(200_000), kgo.ProducerLinger(0), kgo.MetadataMinAge(metadataMinAge))
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return client, nil
}

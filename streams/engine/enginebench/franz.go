package enginebench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const pollRecords = 10_000

// passThrough consumes and produces, at least once: flush and commit every 100 ms.
func passThrough(ctx context.Context, w Work, r *runtimeOf) error {
	from := map[int32]kgo.Offset{}
	for p := range w.Partitions {
		from[p] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(w.Brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{w.Input: from}),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(200_000), kgo.FetchMaxBytes(16<<20))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer client.Close()
	r.ready(nil)
	admin, last := kadm.NewClient(client), context.WithoutCancel(ctx)
	for ctx.Err() == nil {
		offsets := kadm.Offsets{}
		err := pollFor(ctx, client, 100*time.Millisecond, func(out []kgo.Record, in *kgo.Record) {
			out[0] = kgo.Record{Topic: w.Output(), Partition: in.Partition, Key: in.Key, Value: in.Value}
			client.Produce(last, &out[0], r.produced)
			offsets.AddOffset(w.Input, in.Partition, in.Offset+1, -1)
		})
		if err == nil {
			err = client.Flush(last)
		}
		if err == nil && len(offsets) > 0 {
			err = admin.CommitAllOffsets(last, w.Group, offsets)
		}
		if err = errors.Join(err, r.produceError()); err != nil {
			return fmt.Errorf("passing through: %w", err)
		}
	}
	return nil
}

// pollFor hands over what comes within a time, with room for one record to be sent for each; it returns early when ctx ends.
func pollFor(ctx context.Context, client *kgo.Client, span time.Duration, f func(out []kgo.Record, in *kgo.Record)) error {
	timed, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	for timed.Err() == nil {
		fetches := client.PollRecords(timed, pollRecords)
		if timed.Err() == nil && fetches.Err() != nil {
			return fetches.Err()
		}
		room := make([]kgo.Record, fetches.NumRecords()) // one allocation for all
		fetches.EachRecord(func(in *kgo.Record) {
			f(room[:1:1], in)
			room = room[1:]
		})
	}
	return nil
}

// loop is what an engineer would write by hand who knows the client and has one process: a transaction for each commit
// interval, counters in maps, of each key only the last counter of a transaction in the changelog. It restores nothing, so
// it can only start afresh, and it gives up where a transaction does not commit.
func loop(ctx context.Context, w Work, r *runtimeOf) error {
	session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(w.Brokers...), kgo.TransactionalID(w.Group), kgo.ConsumerGroup(w.Group),
		kgo.ConsumeTopics(w.Input), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(100*time.Millisecond), kgo.MaxBufferedRecords(200_000))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer session.Close()
	r.ready(nil)
	client, last := session.Client(), context.WithoutCancel(ctx)
	counters := make([]map[string]*counter, w.Partitions)
	for p := range counters {
		counters[p] = map[string]*counter{}
	}
	var dirty []*counter
	for ctx.Err() == nil {
		open := false
		err := pollFor(ctx, client, w.CommitInterval, func(out []kgo.Record, in *kgo.Record) {
			if !open { // an empty transaction takes half a second to end
				r.note(session.Begin())
				open = true
			}
			c := counters[in.Partition][string(in.Key)]
			if c == nil {
				c = &counter{key: in.Key, partition: in.Partition}
				counters[in.Partition][string(in.Key)] = c
			}
			if !c.dirty {
				c.dirty, dirty = true, append(dirty, c)
			}
			c.n++
			out[0] = kgo.Record{Topic: w.Output(), Partition: in.Partition, Key: in.Key, Value: in.Value}
			client.Produce(last, &out[0], r.produced)
		})
		if err == nil && open {
			for _, c := range dirty {
				c.dirty = false
				client.Produce(last, &kgo.Record{Topic: w.Table(), Partition: c.partition, Key: c.key, Value: binary.BigEndian.AppendUint64(nil, c.n)}, r.produced)
			}
			dirty = dirty[:0]
			var committed bool
			if committed, err = session.End(last, kgo.TryCommit); err == nil && !committed {
				err = errors.New("the transaction was aborted")
			}
		}
		if err = errors.Join(err, r.produceError()); err != nil {
			return fmt.Errorf("looping: %w", err)
		}
	}
	return nil
}

type counter struct {
	key       []byte
	partition int32
	n         uint64
	dirty     bool
}

// consume reads the group's changelogs, committed records only, to their end, says how many records there were, and waits.
func consume(ctx context.Context, w Work, r *runtimeOf) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(w.Brokers...), kgo.ConsumeTopics(w.Table(), w.Side()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, w.Table(), w.Side())
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("asking for ends: %w", err)
	}
	type place struct {
		topic     string
		partition int32
	}
	left, records := map[place]int64{}, 0
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[place{o.Topic, o.Partition}] = o.Offset
		}
	})
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading changelogs: %w", err)
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, in := range p.Records {
				if !in.Attrs.IsControl() {
					records++
				}
			}
			if n := len(p.Records); n > 0 && p.Records[n-1].Offset+1 >= left[place{p.Topic, p.Partition}] {
				delete(left, place{p.Topic, p.Partition})
			}
		})
	}
	r.ready(map[string]string{"records": strconv.Itoa(records)})
	<-ctx.Done()
	return nil
}

// promises collects the first thing that went wrong behind a promise.
type promises struct{ failed atomic.Pointer[error] }

func (p *promises) produced(_ *kgo.Record, err error) { p.note(err) }

func (p *promises) note(err error) {
	if err != nil {
		p.failed.CompareAndSwap(nil, &err)
	}
}

func (p *promises) produceError() error {
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

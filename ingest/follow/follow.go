// Package follow reads topics into an ingress process: whole compacted topics from their start, or one partition of
// replies from its end. It reads committed records only, in the order of each partition, and tells when it has caught
// up with what stood there at its start. It refuses to be ready before that, and never joins a consumer group.
package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	retryMin = 50 * time.Millisecond
	retryMax = 2 * time.Second
)

// Config names what to follow.
type Config struct {
	Brokers []string
	Topics  []string // each whole, from its start
	// Tail, where set, is the one partition to follow from its end instead.
	Tail *Tail
	Log  *slog.Logger
}

// Tail is one partition, of which only what is written from now on matters.
type Tail struct {
	Topic     string
	Partition int32
}

// Validate refuses a configuration that follows nothing or two things at once.
func (c Config) Validate() error {
	switch {
	case len(c.Brokers) == 0:
		return errors.New("no brokers")
	case (len(c.Topics) > 0) == (c.Tail != nil):
		return errors.New("exactly one of topics and tail must be set")
	case c.Log == nil:
		return errors.New("no logger")
	}
	return nil
}

// Follower hands every record to one function, from one goroutine.
type Follower struct {
	cfg    Config
	client *kgo.Client
	apply  func(*kgo.Record)
	state  atomic.Pointer[string] // why not ready; nil: ready
}

// New makes a follower; Run makes it read. A record handed to apply may have a nil value: a tombstone.
func New(cfg Config, apply func(*kgo.Record)) (*Follower, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuring follower: %w", err)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // the end of a topic is often a transaction's marker: without them it is never reached
		kgo.MetadataMinAge(100*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return retryMin }),
	)
	if err != nil {
		return nil, fmt.Errorf("configuring follower: %w", err)
	}
	f := &Follower{cfg: cfg, client: client, apply: apply}
	f.behind("not started")
	return f, nil
}

// Ready is nil once everything that stood in the topics at the start has been applied.
func (f *Follower) Ready() error {
	if why := f.state.Load(); why != nil {
		return fmt.Errorf("following %s: %s", f.name(), *why)
	}
	return nil
}

// Run follows until ctx ends. It waits for topics and brokers that are not there yet.
func (f *Follower) Run(ctx context.Context) error {
	defer f.behind("stopped")
	defer f.client.Close()
	targets := f.locate(ctx)
	if ctx.Err() != nil {
		return nil
	}
	pending := make(map[place]int64)
	offsets := make(map[string]map[int32]kgo.Offset)
	for at, t := range targets {
		if offsets[at.topic] == nil {
			offsets[at.topic] = make(map[int32]kgo.Offset)
		}
		from := t.start
		if f.cfg.Tail != nil {
			from = t.end
		}
		offsets[at.topic][at.partition] = kgo.NewOffset().At(from)
		if from < t.end {
			pending[at] = t.end
		}
	}
	f.progress(pending, len(targets))
	f.client.AddConsumePartitions(offsets)
	for {
		fetches := f.client.PollFetches(ctx)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return nil
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			f.cfg.Log.Error("fetching", "topic", topic, "partition", partition, "error", err)
		})
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				f.apply(r)
			}
			if at := (place{r.Topic, r.Partition}); len(pending) > 0 && r.Offset+1 >= pending[at] {
				delete(pending, at)
			}
		})
		f.progress(pending, len(targets))
	}
}

type place struct {
	topic     string
	partition int32
}

type span struct{ start, end int64 }

// locate finds where each partition starts and ends now, however long the brokers take to answer.
func (f *Follower) locate(ctx context.Context) map[place]span {
	admin := kadm.NewClient(f.client)
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		spans, err := f.spans(ctx, admin)
		if err == nil || ctx.Err() != nil {
			return spans
		}
		f.behind(err.Error())
		f.cfg.Log.Warn("locating", "topic", f.name(), "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (f *Follower) spans(ctx context.Context, admin *kadm.Client) (map[place]span, error) {
	topics := f.cfg.Topics
	if f.cfg.Tail != nil {
		topics = []string{f.cfg.Tail.Topic}
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing start offsets: %w", err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing end offsets: %w", err)
	}
	spans := make(map[place]span)
	for _, topic := range topics {
		if len(ends[topic]) == 0 {
			return nil, fmt.Errorf("listing end offsets of %s: %w", topic, kerr.UnknownTopicOrPartition)
		}
		for partition, end := range ends[topic] {
			if f.cfg.Tail == nil || partition == f.cfg.Tail.Partition {
				start, _ := starts.Lookup(topic, partition)
				spans[place{topic, partition}] = span{start.Offset, end.Offset}
			}
		}
	}
	if len(spans) == 0 {
		return nil, fmt.Errorf("%s has no partition %d: %w", f.cfg.Tail.Topic, f.cfg.Tail.Partition, kerr.UnknownTopicOrPartition)
	}
	return spans, nil
}

func (f *Follower) name() string {
	if f.cfg.Tail != nil {
		return fmt.Sprintf("%s/%d", f.cfg.Tail.Topic, f.cfg.Tail.Partition)
	}
	if len(f.cfg.Topics) == 1 {
		return f.cfg.Topics[0]
	}
	return fmt.Sprint(f.cfg.Topics)
}

func (f *Follower) behind(why string) { f.state.Store(&why) }

func (f *Follower) progress(pending map[place]int64, all int) {
	switch {
	case len(pending) > 0:
		f.behind(fmt.Sprintf("%d of %d partitions behind", len(pending), all))
	case f.state.Load() != nil:
		f.state.Store(nil)
		f.cfg.Log.Info("caught up", "topic", f.name())
	}
}

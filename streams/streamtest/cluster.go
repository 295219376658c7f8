// Package streamtest gives tests an embedded broker, kfake, on free ports of the loopback. It is a test double: one node, no
// replication, and killing it may tear a commit. What depends on a broker's death belongs on Apache Kafka.
package streamtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Cluster is a running broker; it ends with the test.
type Cluster struct {
	*kfake.Cluster
	Addrs []string
	tb    testing.TB
}

// Start starts one broker without topics.
func Start(tb testing.TB, options ...kfake.Opt) *Cluster {
	tb.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(1),
		kfake.BrokerConfigs(map[string]string{
			"group.initial.rebalance.delay.ms": "0",
			// Where the broker assigns, members learn of it by heartbeats at the broker's interval: 5 s unless told.
			"group.consumer.heartbeat.interval.ms": "100", "group.consumer.session.timeout.ms": "1500",
		}),
		kfake.GroupMinSessionTimeout(100 * time.Millisecond),
	}, options...)...)
	if err != nil {
		tb.Fatalf("starting broker: %v", err)
	}
	tb.Cleanup(c.Close)
	return &Cluster{Cluster: c, Addrs: c.ListenAddrs(), tb: tb}
}

// Topics creates topics with a partition count.
func (c *Cluster) Topics(partitions int32, names ...string) {
	c.tb.Helper()
	for _, name := range names {
		if err := c.CreateTopic(name, partitions, nil); err != nil {
			c.tb.Fatalf("creating topic %s: %v", name, err)
		}
	}
}

// Client opens a client that ends with the test. Records with Partition -1 go where Kafka's default puts their key.
func (c *Cluster) Client(options ...kgo.Opt) *kgo.Client {
	c.tb.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.Addrs...), kgo.RecordPartitioner(partitioner{kgo.StickyKeyPartitioner(nil)}),
	}, options...)...)
	if err != nil {
		c.tb.Fatalf("opening client: %v", err)
	}
	c.tb.Cleanup(client.Close)
	return client
}

// Produce writes records and waits for them. Partition -1 means: by key.
func (c *Cluster) Produce(records ...*kgo.Record) {
	c.tb.Helper()
	client := c.Client()
	defer client.Close()
	if err := client.ProduceSync(c.tb.Context(), records...).FirstErr(); err != nil {
		c.tb.Fatalf("producing: %v", err)
	}
}

// ReadCommitted reads a topic from its start to its last stable offset as of now.
func (c *Cluster) ReadCommitted(topic string) []*kgo.Record {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.tb.Context()), 30*time.Second)
	defer cancel()
	client := c.Client(kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond))
	defer client.Close()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		c.tb.Fatalf("listing the end of %s: %v", topic, err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	var found []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			c.tb.Fatalf("reading %s, partitions left %v: %v", topic, left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, open := left[r.Partition]
			if !open {
				return
			}
			if r.Offset+1 >= end {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				found = append(found, r)
			}
		})
	}
	return found
}

type partitioner struct{ hash kgo.Partitioner }

func (p partitioner) ForTopic(t string) kgo.TopicPartitioner {
	return topicPartitioner{p.hash.ForTopic(t)}
}

type topicPartitioner struct{ kgo.TopicPartitioner }

func (topicPartitioner) RequiresConsistency(*kgo.Record) bool { return true }
func (p topicPartitioner) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return p.TopicPartitioner.Partition(r, n)
}

// Lag is how many offsets a group has not committed of a topic, up to its last stable offset. Control records at the end
// of a partition count: a group never commits past the last record it was given.
func (c *Cluster) Lag(group, topic string) int64 {
	c.tb.Helper()
	end, committed := c.progress(group, topic)
	return end - committed
}

// Applied is the sum of the offsets a group has committed of a topic.
func (c *Cluster) Applied(group, topic string) int64 {
	c.tb.Helper()
	_, committed := c.progress(group, topic)
	return committed
}

// Committed is what a group has committed of a topic, by partition.
func (c *Cluster) Committed(group, topic string) map[int32]int64 {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
	defer cancel()
	client := c.Client()
	defer client.Close()
	offsets, err := kadm.NewClient(client).FetchOffsets(ctx, group)
	if err != nil {
		c.tb.Fatalf("fetching offsets of %s: %v", group, err)
	}
	committed := map[int32]int64{}
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Topic == topic {
			committed[o.Partition] = o.At
		}
	})
	return committed
}

// Context outlives the test's own, for its cleanups.
func (c *Cluster) Context() context.Context { return context.WithoutCancel(c.tb.Context()) }

func (c *Cluster) progress(group, topic string) (end, committed int64) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.tb.Context()), 10*time.Second)
	defer cancel()
	client := c.Client()
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListCommittedOffsets(ctx, topic)
	if err != nil {
		c.tb.Fatalf("listing the end of %s: %v", topic, err)
	}
	offsets, err := admin.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // a group that never joined has committed nothing
		c.tb.Fatalf("fetching offsets of %s: %v", group, err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		end += o.Offset
		if at, ok := offsets.Lookup(topic, o.Partition); ok {
			committed += max(0, at.At)
		}
	})
	return end, committed
}

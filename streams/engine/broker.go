package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// clientOptions are common to all clients. franz-go refreshes metadata at most every 5 s unless told otherwise, and a
// produce that meets the markers of the last commit is only retried after a refresh.
func (c *Config) clientOptions() []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.MetadataMinAge(100 * time.Millisecond), kgo.DisableClientMetrics(),
		// A broker may miss waking a fetch (kfake does at times, just after a start): then this is how long input lies there.
		kgo.FetchMaxWait(100 * time.Millisecond),
	}, c.Options...)
}

// checkBroker refuses what exactly-once cannot stand on.
func (c *Config) checkBroker(ctx context.Context) error {
	client, err := kgo.NewClient(c.clientOptions()...)
	if err != nil {
		return fmt.Errorf("opening client: %w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.checkVersions(ctx, client); err != nil {
		return err
	}
	return c.checkTopics(ctx, kadm.NewClient(client))
}

// checkVersions: before KIP-890 the protocol itself loses and tears transactions. A broker that does not assign partitions
// leaves that to the members.
func (c *Config) checkVersions(ctx context.Context, client *kgo.Client) error {
	request := kmsg.NewPtrApiVersionsRequest()
	request.ClientSoftwareName, request.ClientSoftwareVersion = "caudal", "1"
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return fmt.Errorf("asking the broker for its features: %w", err)
	}
	assigns := func(k kmsg.ApiVersionsResponseApiKey) bool { return k.ApiKey == int16(kmsg.ConsumerGroupHeartbeat) }
	if c.BrokerAssigns && !slices.ContainsFunc(response.ApiKeys, assigns) {
		c.Logger.Warn("the broker does not assign partitions (KIP-848): the members do", "group", c.Group)
		c.BrokerAssigns = false
	}
	for _, f := range response.FinalizedFeatures {
		if f.Name == "transaction.version" && f.MaxVersionLevel >= 2 {
			return nil
		}
	}
	return errors.New("the broker has not finalized transaction.version 2: use Apache Kafka 4.0 or later and run " +
		"`kafka-features.sh upgrade --feature transaction.version=2`")
}

// checkTopics waits until every topic has leaders (creation is asynchronous) and compares partition counts.
func (c *Config) checkTopics(ctx context.Context, admin *kadm.Client) error {
	partitioned := slices.Concat(c.inputs(), []string{c.Table, c.Side, c.DeadLetters}, c.Outputs, c.Joins)
	all := append(append([]string{}, partitioned...), c.Lookups...)
	for {
		details, err := admin.ListTopics(ctx, all...)
		if err == nil {
			err = c.compareTopics(details, partitioned)
			if _, wrong := errors.AsType[*partitionCountError](err); wrong {
				return err
			}
		}
		if err == nil {
			var ends kadm.ListedOffsets
			if ends, err = admin.ListEndOffsets(ctx, all...); err == nil {
				err = ends.Error()
			}
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the topics of group %s (are they created?): %w", c.Group, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

type partitionCountError struct {
	topic     string
	has, want int32
}

func (e *partitionCountError) Error() string {
	return fmt.Sprintf("topic %s has %d partitions but this installation was set up with %d: start with the recorded count; "+
		"it cannot change, since keys would move away from their state", e.topic, e.has, e.want)
}

func (c *Config) compareTopics(details kadm.TopicDetails, partitioned []string) error {
	for _, d := range details {
		if d.Err != nil {
			return fmt.Errorf("topic %s: %w", d.Topic, d.Err)
		}
	}
	for _, t := range partitioned {
		if has := int32(len(details[t].Partitions)); has != c.Partitions { //nolint:gosec // a partition count
			return &partitionCountError{topic: t, has: has, want: c.Partitions}
		}
	}
	return nil
}

// partitioner takes the record's partition, or its key's where that is byKey. franz-go's zero Partition means partition 0.
type partitioner struct{ hash kgo.Partitioner }

func newPartitioner() kgo.Partitioner { return partitioner{kgo.StickyKeyPartitioner(nil)} }

func (p partitioner) ForTopic(t string) kgo.TopicPartitioner {
	return topicPartitioner{p.hash.ForTopic(t)}
}

type topicPartitioner struct{ kgo.TopicPartitioner }

func (topicPartitioner) RequiresConsistency(*kgo.Record) bool { return true }
func (p topicPartitioner) Partition(r *kgo.Record, n int) int {
	if r.Partition != byKey {
		return int(r.Partition)
	}
	return p.TopicPartitioner.Partition(r, n)
}

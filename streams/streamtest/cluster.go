// Package streamtest gives tests a broker on free ports of the loopback that ends with the test. It is kfake, a test double:
// one node, no replication, and killing it may tear a commit. With CAUDAL_TEST_KAFKA=1 or 3 in the environment it is
// Apache Kafka of that many brokers, but for tests that need kfake's hooks.
package streamtest

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/streamtest/kafkad"
)

// KafkaEnv is the variable that chooses Apache Kafka and how many brokers of it.
const KafkaEnv = "CAUDAL_TEST_KAFKA"

// Cluster is running brokers; they end with the test.
type Cluster struct {
	*kfake.Cluster                 // nil on Apache Kafka: who needs its hooks asks for Fake
	Kafka          *kafkad.Cluster // nil on kfake
	Addrs          []string
	// Dial reaches a cluster that is InMemory; nil where sockets do.
	Dial func(ctx context.Context, network, host string) (net.Conn, error)
	tb   testing.TB

	// Clients for all of the test: each costs Kafka some hundred milliseconds before its first answer.
	producing, asking sync.Once
	producer          *kgo.Client
	admin             *kadm.Client
}

// Start starts a broker, or brokers, without topics: kfake, or what KafkaEnv says.
func Start(tb testing.TB) *Cluster {
	tb.Helper()
	switch choice := os.Getenv(KafkaEnv); choice {
	case "":
		return fake(tb)
	case "1", "3":
		n, _ := strconv.Atoi(choice) // it is one of the two
		return Kafka(tb, n)
	default:
		tb.Fatalf("%s is %q: choose 1 or 3 brokers, or leave it out for kfake", KafkaEnv, choice)
		return nil
	}
}

// CountAccepted makes kfake count the connections it accepts.
func CountAccepted(n *atomic.Int64) kfake.Opt {
	return kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address) //nolint:noctx // on loopback, for as long as the broker
		return counting{l, n}, err
	})
}

type counting struct {
	net.Listener
	n *atomic.Int64
}

func (c counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// Fake starts kfake whatever the environment says, for what only it can do: why names that.
func Fake(tb testing.TB, why string, options ...kfake.Opt) *Cluster {
	tb.Helper()
	if os.Getenv(KafkaEnv) != "" {
		tb.Logf("STAYS ON KFAKE: %s", why)
	}
	return fake(tb, options...)
}

func fake(tb testing.TB, options ...kfake.Opt) *Cluster {
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

// Kafka starts Apache Kafka: one broker, or three.
func Kafka(tb testing.TB, brokers int) *Cluster {
	tb.Helper()
	_, measured := tb.(*testing.B)
	c, err := kafkad.Start(tb.Context(), kafkad.Config{
		Dir: filepath.Join(tb.TempDir(), "kafka"), Brokers: brokers, ShortLived: !measured, Progress: os.Stderr,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Kill) // its folder goes with the test
	return &Cluster{Kafka: c, Addrs: c.Addrs(), tb: tb}
}

// Topics creates topics with a partition count, on as many brokers as there are.
func (c *Cluster) Topics(partitions int32, names ...string) {
	c.tb.Helper()
	client := c.Client()
	defer client.Close()
	admin := kadm.NewClient(client)
	made, err := admin.CreateTopics(c.tb.Context(), partitions, int16(len(c.Addrs)), nil, names...) //nolint:gosec // 1 or 3
	if err == nil {
		err = made.Error()
	}
	if err != nil {
		c.tb.Fatalf("creating topics %v: %v", names, err)
	}
	// Kafka creates behind its answer: for a while partitions have no leader.
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ends, err := admin.ListEndOffsets(c.tb.Context(), names...)
		if err == nil {
			err = ends.Error()
		}
		answering := 0
		ends.Each(func(kadm.ListedOffset) { answering++ })
		if err == nil && answering == int(partitions)*len(names) {
			return
		}
		if time.Now().After(until) {
			c.tb.Fatalf("%d of %d partitions of %v answer: %v", answering, int(partitions)*len(names), names, err)
		}
	}
}

// Client opens a client that ends with the test. Records with Partition -1 go where Kafka's default puts their key.
func (c *Cluster) Client(options ...kgo.Opt) *kgo.Client {
	c.tb.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.Addrs...), kgo.RecordPartitioner(partitioner{kgo.StickyKeyPartitioner(nil)}),
		kgo.DisableClientMetrics(), kgo.MetadataMinAge(100 * time.Millisecond), // else whatever meets a broker's change waits 5 s
	}, append(c.dialer(), options...)...)...)
	if err != nil {
		c.tb.Fatalf("opening client: %v", err)
	}
	c.tb.Cleanup(client.Close)
	return client
}

// Produce writes records and waits for them. Partition -1 means: by key.
func (c *Cluster) Produce(records ...*kgo.Record) {
	c.tb.Helper()
	c.producing.Do(func() { c.producer = c.Client() })
	if err := c.producer.ProduceSync(c.tb.Context(), records...).FirstErr(); err != nil {
		c.tb.Fatalf("producing: %v", err)
	}
}

// ReadCommitted reads a topic from its start to its end as of now. Transactions that are open there must end first: Kafka
// answers a commit before it has marked it in every partition, so that the last of one may still be hidden for a moment.
func (c *Cluster) ReadCommitted(topic string) []*kgo.Record {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.tb.Context()), 30*time.Second)
	defer cancel()
	client := c.Client(kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond))
	defer client.Close()
	ends := c.settled(ctx, kadm.NewClient(client), topic)
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

// Settle waits until no transaction is open in a topic.
func (c *Cluster) Settle(topic string) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.tb.Context()), 30*time.Second)
	defer cancel()
	c.asking.Do(func() { c.admin = kadm.NewClient(c.Client()) })
	c.settled(ctx, c.admin, topic)
}

// settled is the end of a topic, once no transaction is open before it.
func (c *Cluster) settled(ctx context.Context, admin *kadm.Client, topic string) kadm.ListedOffsets {
	c.tb.Helper()
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	for open := true; open && err == nil; {
		var stable kadm.ListedOffsets
		if stable, err = admin.ListCommittedOffsets(ctx, topic); err != nil {
			break
		}
		open, err = false, stable.Error()
		stable.Each(func(o kadm.ListedOffset) {
			end, _ := ends.Lookup(topic, o.Partition)
			open = open || o.Offset < end.Offset
		})
		if open {
			select {
			case <-ctx.Done():
				err = errors.New("a transaction stays open")
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	if err != nil {
		c.tb.Fatalf("listing the end of %s: %v", topic, err)
	}
	return ends
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

// Lag is how many offsets a group has not committed of a topic, those of open transactions among them. Control records at the
// end of a partition count: a group never commits past the last record it was given.
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.tb.Context()), time.Minute)
	defer cancel()
	return c.progressBy(ctx, group, topic)
}

func (c *Cluster) progressBy(ctx context.Context, group, topic string) (end, committed int64) {
	c.tb.Helper()
	c.asking.Do(func() { c.admin = kadm.NewClient(c.Client()) })
	ends, err := c.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	var offsets kadm.OffsetResponses
	if err == nil {
		offsets, err = c.admin.FetchOffsets(ctx, group)
	}
	if errors.Is(err, kerr.GroupIDNotFound) { // a group that never joined has committed nothing
		err = nil
	}
	if err != nil && ctx.Err() == nil { // Kafka makes the topic of its groups when the first is named, and brokers may be away
		time.Sleep(50 * time.Millisecond)
		return c.progressBy(ctx, group, topic)
	}
	if err != nil {
		c.tb.Fatalf("asking how far group %s is in %s: %v", group, topic, err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		end += o.Offset
		if at, ok := offsets.Lookup(topic, o.Partition); ok {
			committed += max(0, at.At)
		}
	})
	return end, committed
}

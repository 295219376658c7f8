package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
	"github.com/caudalpay/caudal/cmd/caudal/installation"
	"github.com/caudalpay/caudal/ingest/reference"
	sample "github.com/caudalpay/caudal/schemas/reference"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/streamtest/kafkad"
)

// cluster is the brokers of a run and a client for asking them.
type cluster struct {
	addrs []string
	what  string
	kafka *kafkad.Cluster // nil: not ours
	fake  *broker.Server  // nil: not ours

	client *kgo.Client
	admin  *kadm.Client
}

// prepareLimit is how long brokers may take to make the topics.
const prepareLimit = 2 * time.Minute

// openCluster starts what the options ask for, makes the topics and publishes the sample's reference data.
func openCluster(ctx context.Context, o *Options, log *slog.Logger, progress io.Writer) (_ *cluster, err error) {
	c := &cluster{addrs: o.Brokers, what: "brokers as given"}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close(ctx))
		}
	}()
	replication := int16(1)
	switch {
	case o.Kafka > 0:
		c.what = fmt.Sprintf("Apache Kafka, %d", o.Kafka)
		replication = int16(o.Kafka) //nolint:gosec // 1 or 3
		if c.kafka, err = kafkad.Start(ctx, kafkad.Config{Dir: filepath.Join(o.Work, "kafka"), Brokers: o.Kafka, Progress: progress}); err != nil {
			return c, fmt.Errorf("starting brokers: %w", err)
		}
		c.addrs = c.kafka.Addrs()
	case len(o.Brokers) == 0:
		c.what = "embedded broker (kfake)"
		if c.fake, err = broker.Start(ctx, broker.Config{Data: filepath.Join(o.Work, "broker"), Logger: log}); err != nil {
			return c, fmt.Errorf("starting the broker: %w", err)
		}
		c.addrs = c.fake.Addrs()
	}
	if c.client, err = kgo.NewClient(kgo.SeedBrokers(c.addrs...), kgo.MetadataMinAge(100*time.Millisecond)); err != nil {
		return c, fmt.Errorf("connecting to the brokers: %w", err)
	}
	c.admin = kadm.NewClient(c.client)
	ctx, cancel := context.WithTimeout(ctx, prepareLimit)
	defer cancel()
	if err := installation.Ensure(ctx, c.admin, installation.Size{Partitions: o.Partitions, Replication: replication}, log); err != nil {
		return c, fmt.Errorf("preparing topics: %w", err)
	}
	ends, err := c.admin.ListEndOffsets(ctx, topics.Commands, topics.Decisions)
	if err != nil {
		return c, fmt.Errorf("looking at the log: %w", err)
	}
	used := false
	ends.Each(func(e kadm.ListedOffset) { used = used || e.Offset > 0 })
	switch {
	case o.Again && !used:
		return c, errors.New("the log holds no commands: --work must name the folder that a run with the same --partitions kept")
	case o.Again:
		return c, nil
	case used:
		return c, errors.New("the log holds commands already: chaos wants one of its own (or --again, to judge them)")
	}
	list, err := sample.Sample()
	if err != nil {
		return c, fmt.Errorf("reading reference data: %w", err)
	}
	if _, err := reference.Publish(ctx, reference.Config{Brokers: c.addrs, Log: log}, list); err != nil {
		return c, fmt.Errorf("publishing reference data: %w", err)
	}
	return c, nil
}

func (c *cluster) close(ctx context.Context) error {
	if c.client != nil {
		c.client.Close()
	}
	if c.kafka != nil {
		c.kafka.Kill() // its folder goes
	}
	if c.fake == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := c.fake.Stop(ctx); err != nil {
		return fmt.Errorf("stopping the broker: %w", err)
	}
	return nil
}

// assignment tells which input partitions each worker has, all its sessions together, by the worker's instance id; nil while
// the group is rebalancing.
func (c *cluster) assignment(ctx context.Context) (map[string][]int32, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	groups, err := c.admin.DescribeGroups(ctx, topics.AccountsGroup)
	if err != nil {
		return nil, fmt.Errorf("describing the group: %w", err)
	}
	g := groups[topics.AccountsGroup]
	if g.Err != nil {
		return nil, fmt.Errorf("describing the group: %w", g.Err)
	}
	if g.State != "Stable" {
		return nil, nil //nolint:nilnil // there is none now
	}
	held := map[string][]int32{}
	for _, m := range g.Members {
		assigned, ok := m.Assigned.AsConsumer()
		if !ok || m.InstanceID == nil {
			continue
		}
		for _, t := range assigned.Topics {
			if t.Topic == topics.Commands {
				worker, _, _ := strings.Cut(*m.InstanceID, ".")
				held[worker] = append(held[worker], t.Partitions...)
			}
		}
	}
	return held, nil
}

// inSync tells whether every partition has all its replicas in sync: only then another broker may be killed.
func (c *cluster) inSync(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	details, err := c.admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return false
	}
	for _, t := range details {
		for _, p := range t.Partitions {
			if len(p.ISR) < len(p.Replicas) {
				return false
			}
		}
	}
	return true
}

// positions logs where the group stands in each partition of its input, and what is stable of input and output.
func (c *cluster) positions(ctx context.Context, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	committed, err := c.admin.FetchOffsets(ctx, topics.AccountsGroup)
	if err != nil {
		return fmt.Errorf("asking for offsets: %w", err)
	}
	stable, err := c.admin.ListCommittedOffsets(ctx, topics.Commands, topics.Decisions)
	if err != nil {
		return fmt.Errorf("asking for stable offsets: %w", err)
	}
	ends, err := c.admin.ListEndOffsets(ctx, topics.Commands, topics.Decisions)
	if err != nil {
		return fmt.Errorf("asking for ends: %w", err)
	}
	ends.Each(func(e kadm.ListedOffset) {
		at, _ := committed.Lookup(e.Topic, e.Partition)
		s, _ := stable.Lookup(e.Topic, e.Partition)
		log.Info("position", "topic", e.Topic, "partition", e.Partition, "committed", at.At, "stable", s.Offset, "end", e.Offset)
	})
	return nil
}

// openTransactions counts partitions that readers of what is committed cannot read to the end.
func (c *cluster) openTransactions(ctx context.Context) (int64, error) {
	names := make([]string, 0, len(topics.Catalogue()))
	for _, t := range topics.Catalogue() {
		names = append(names, t.Name)
	}
	ends, err := c.admin.ListEndOffsets(ctx, names...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("listing ends: %w", err)
	}
	stable, err := c.admin.ListCommittedOffsets(ctx, names...)
	if err == nil {
		err = stable.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("listing stable offsets: %w", err)
	}
	var open int64
	ends.Each(func(e kadm.ListedOffset) {
		if at, ok := stable.Lookup(e.Topic, e.Partition); !ok || at.Offset < e.Offset {
			open++
		}
	})
	return open, nil
}

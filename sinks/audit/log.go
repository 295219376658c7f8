package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// stallTimeout is how long a partition may answer nothing before its end, while the broker is there.
const stallTimeout = 5 * time.Second

// errStalled marks a log that gives no more records although its end is not reached.
var errStalled = errors.New("the log gives no more records before its end")

// bounds is how far one partition of a topic is read.
type bounds struct {
	stable int64 // last stable offset: nothing from here on is committed
	high   int64 // high-water mark
}

// extent gives the bounds of all partitions of the topics.
func extent(ctx context.Context, adm *kadm.Client, names ...string) (map[string]map[int32]bounds, error) {
	high, err := adm.ListEndOffsets(ctx, names...)
	if err == nil {
		err = high.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing end offsets: %w", err)
	}
	stable, err := adm.ListCommittedOffsets(ctx, names...)
	if err == nil {
		err = stable.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing stable offsets: %w", err)
	}
	found := map[string]map[int32]bounds{}
	high.Each(func(o kadm.ListedOffset) {
		if found[o.Topic] == nil {
			found[o.Topic] = map[int32]bounds{}
		}
		s, _ := stable.Lookup(o.Topic, o.Partition)
		found[o.Topic][o.Partition] = bounds{stable: s.Offset, high: o.Offset}
	})
	return found, nil
}

// cursor reads one partition of a topic in order, committed records only, up to a bound.
type cursor struct {
	client *kgo.Client
	end    int64
	at     int64 // next offset
	buffer []*kgo.Record
}

func openCursor(cfg Config, topic string, partition int32, b bounds) (*cursor, error) {
	opts := append([]kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // a log may end in a marker: without it the end would never be seen
		kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.FetchMaxPartitionBytes(4 << 20),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}, cfg.Options...)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("opening %s partition %d: %w", topic, partition, err)
	}
	return &cursor{client: client, end: b.stable}, nil
}

func (c *cursor) close() { c.client.Close() }

// next gives the next record of data, nil at the end.
func (c *cursor) next(ctx context.Context) (*kgo.Record, error) {
	for {
		for len(c.buffer) > 0 {
			r := c.buffer[0]
			c.buffer = c.buffer[1:]
			if r.Offset >= c.end {
				c.at, c.buffer = c.end, nil
				return nil, nil //nolint:nilnil // the end is no error
			}
			c.at = r.Offset + 1
			if !r.Attrs.IsControl() {
				return r, nil
			}
		}
		if c.at >= c.end {
			return nil, nil //nolint:nilnil // the end is no error
		}
		if err := c.poll(ctx); err != nil {
			return nil, err
		}
	}
}

func (c *cursor) poll(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, stallTimeout)
	defer cancel()
	for {
		fetches := c.client.PollFetches(wait)
		if ctx.Err() != nil {
			return fmt.Errorf("reading the log: %w", ctx.Err())
		}
		c.buffer = fetches.Records()
		switch {
		case len(c.buffer) > 0:
			return nil
		case wait.Err() != nil:
			return fmt.Errorf("reading from %d to %d: %w", c.at, c.end, errStalled)
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
	}
}

// each hands every record of a partition to a function. A compacted topic may hold nothing at its end, so a stall ends it too.
func each(ctx context.Context, cfg Config, topic string, partition int32, b bounds, f func(*kgo.Record) error) error {
	if b.stable == 0 {
		return nil
	}
	c, err := openCursor(cfg, topic, partition, b)
	if err != nil {
		return err
	}
	defer c.close()
	for {
		r, err := c.next(ctx)
		switch {
		case errors.Is(err, errStalled):
			return nil
		case err != nil:
			return err
		case r == nil:
			return nil
		}
		if err := f(r); err != nil {
			return err
		}
	}
}

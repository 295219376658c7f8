// Package extent reads what a topic holds at one moment, for commands that look at a log and end. It follows nothing.
package extent

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// stall is how long a topic may give nothing before its end: what lies there is aborted, or compacted away.
const stall = 3 * time.Second

// Range is where to read in each partition: from an offset up to, and without, another one.
type Range struct {
	From map[int32]kgo.Offset
	End  map[int32]int64
}

// Whole is all of one topic up to its listed ends.
func Whole(ends kadm.ListedOffsets) Range {
	all := Range{From: map[int32]kgo.Offset{}, End: map[int32]int64{}}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			all.From[o.Partition], all.End[o.Partition] = kgo.NewOffset().AtStart(), o.Offset
		}
	})
	return all
}

// Read hands over the committed records of a topic's range, in order per partition, until nothing is left or nothing comes.
// It hands over the markers of transactions too: without them the end of a topic may never be reached. The options are those
// that name the brokers.
func Read(ctx context.Context, topic string, of Range, f func(*kgo.Record) error, options ...kgo.Opt) error {
	left := maps.Clone(of.End)
	if len(left) == 0 {
		return nil
	}
	client, err := kgo.NewClient(append(options, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: of.From}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("reading %s: %w", topic, err)
	}
	defer client.Close()
	for len(left) > 0 {
		wait, cancel := context.WithTimeout(ctx, stall)
		fetches := client.PollFetches(wait)
		stalled := wait.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return ctx.Err() //nolint:wrapcheck // the caller ended it
		}
		if stalled {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading %s: %w", topic, err)
		}
		if err := hand(fetches, left, f); err != nil {
			return err
		}
	}
	return nil
}

// hand gives what lies before the ends to f, and takes from left what has been reached.
func hand(fetches kgo.Fetches, left map[int32]int64, f func(*kgo.Record) error) (failed error) {
	fetches.EachRecord(func(r *kgo.Record) {
		end, open := left[r.Partition]
		if !open || failed != nil {
			return
		}
		if r.Offset+1 >= end {
			delete(left, r.Partition)
		}
		if r.Offset < end {
			failed = f(r)
		}
	})
	return failed
}

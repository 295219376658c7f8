package dlq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/extent"
	"github.com/caudalpay/caudal/cmd/caudal/progress"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
)

// everyPartition reads all partitions of a topic.
const everyPartition = -1

// read hands over the committed records of a topic, or of one partition of it, in order per partition up to its end as of
// now.
func (in *installation) read(ctx context.Context, draw io.Writer, topic string, partition int32, f func(*kgo.Record) error) error {
	client, err := in.client()
	if err != nil {
		return err
	}
	defer client.Close()
	ends, err := in.ends(ctx, client, topic)
	if err != nil {
		return err
	}
	maps.DeleteFunc(ends[topic], func(p int32, _ kadm.ListedOffset) bool { return partition != everyPartition && partition != p })
	all, total := extent.Whole(ends), int64(0)
	for _, end := range all.End {
		total += end
	}
	if total == 0 {
		return nil
	}
	bar := progress.New(draw, "reading "+topic, "records", total)
	defer bar.Finish()
	return extent.Read(ctx, topic, all, func(r *kgo.Record) error {
		bar.Add(1)
		if r.Attrs.IsControl() {
			return nil
		}
		return f(r)
	}, kgo.SeedBrokers(in.brokers...))
}

// answerLimit is how long a broker may be silent before it is taken for not there.
const answerLimit = 15 * time.Second

// ends says how far each partition of a topic can be read.
func (in *installation) ends(ctx context.Context, client *kgo.Client, topic string) (kadm.ListedOffsets, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking %v for the ends of %s (is it the broker of this installation, and up?): %w", in.brokers, topic, err)
	}
	if n := len(ends[topic]); n != int(in.partitions) {
		return nil, fmt.Errorf("topic %s has %d partitions, not %d: name their number with --partitions", topic, n, in.partitions)
	}
	return ends, nil
}

// place is where a record stands on the command log.
type place struct {
	partition int32
	offset    int64
}

func (p place) String() string { return fmt.Sprintf("%d/%d", p.partition, p.offset) }

// waiting is a parked record in short: a key may have a million of them.
type waiting struct {
	at     time.Time
	reason string
}

// parkedState is what the engine has parked: by key, by offset.
type parkedState struct {
	records  map[string]map[int64]waiting
	underWay map[place]engine.Act
}

// readParked reads the engine's side table, of one partition or of all.
func (in *installation) readParked(ctx context.Context, draw io.Writer, partition int32) (*parkedState, error) {
	s := &parkedState{records: map[string]map[int64]waiting{}, underWay: map[place]engine.Act{}}
	return s, in.read(ctx, draw, topics.AccountsSide, partition, s.take)
}

func (s *parkedState) take(r *kgo.Record) error {
	k, err := engine.DecodeSideKey(r.Key)
	if errors.Is(err, engine.ErrFence) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", r.Topic, err)
	}
	offset, err := engine.ParkedOffset(k.ID)
	switch {
	case k.Kind != engine.ParkedKind && k.Kind != engine.WaitingKind:
		return nil
	case err != nil:
		return fmt.Errorf("reading %s: %w", r.Topic, err)
	case k.Kind == engine.WaitingKind:
		return s.takeAct(place{r.Partition, offset}, r.Value)
	case r.Value == nil:
		delete(s.records[k.Key], offset)
		if len(s.records[k.Key]) == 0 {
			delete(s.records, k.Key)
		}
		return nil
	}
	if s.records[k.Key] == nil {
		s.records[k.Key] = map[int64]waiting{}
	}
	p, err := engine.DecodeParked(r.Value)
	if err != nil { // it can still be discarded
		p.Timestamp, p.Reason = r.Timestamp, err.Error()
	}
	s.records[k.Key][offset] = waiting{p.Timestamp, p.Reason}
	return nil
}

func (s *parkedState) takeAct(at place, value []byte) error {
	if value == nil {
		delete(s.underWay, at)
		return nil
	}
	a, err := engine.DecodeAct(value)
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	s.underWay[at] = a
	return nil
}

// letter is a dead letter in short.
type letter struct {
	place
	key, reason string
	at          time.Time
	by, why     string // of a discarded one
}

func newLetter(r *kgo.Record) (letter, error) {
	h := map[string]string{}
	for _, header := range r.Headers {
		if _, first := h[header.Key]; !first { // the record's own ones come after
			h[header.Key] = string(header.Value)
		}
	}
	partition, err := strconv.ParseInt(h[engine.DeadPartition], 10, 32)
	offset, offsetErr := strconv.ParseInt(h[engine.DeadOffset], 10, 64)
	if err := errors.Join(err, offsetErr); err != nil {
		return letter{}, fmt.Errorf("reading the dead letter at %d/%d of %s: %w", r.Partition, r.Offset, r.Topic, err)
	}
	return letter{
		place: place{int32(partition), offset}, key: string(r.Key), reason: h[engine.DeadReason], at: r.Timestamp,
		by: h[engine.DeadBy], why: h[engine.DeadWhy],
	}, nil
}

// countMax is how far behind a worker may be for its lag to be counted. Beyond, offsets tell it: they count the markers of
// transactions, too.
const countMax = 10_000

// lag is how many records of each partition the worker has not handled.
func (in *installation) lag(ctx context.Context) (map[int32]int64, error) {
	client, err := in.client()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ends, err := in.ends(ctx, client, topics.Commands)
	if err != nil {
		return nil, err
	}
	committed, err := kadm.NewClient(client).FetchOffsets(ctx, topics.AccountsGroup)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // a worker that never ran has handled nothing
		return nil, fmt.Errorf("fetching the offsets of group %s: %w", topics.AccountsGroup, err)
	}
	behind, unread := map[int32]int64{}, extent.Range{From: map[int32]kgo.Offset{}, End: map[int32]int64{}}
	ends.Each(func(o kadm.ListedOffset) {
		next := int64(0)
		if at, ok := committed.Lookup(topics.Commands, o.Partition); ok {
			next = at.At
		}
		behind[o.Partition] = max(0, o.Offset-next)
		if n := behind[o.Partition]; n > 0 && n <= countMax {
			unread.From[o.Partition], unread.End[o.Partition], behind[o.Partition] = kgo.NewOffset().At(next), o.Offset, 0
		}
	})
	return behind, extent.Read(ctx, topics.Commands, unread, func(r *kgo.Record) error {
		if !r.Attrs.IsControl() {
			behind[r.Partition]++
		}
		return nil
	}, kgo.SeedBrokers(in.brokers...))
}

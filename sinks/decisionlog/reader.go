package decisionlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// What ends a run for good, because waiting does not mend it.
var (
	// ErrUndecodable: a record is not a decision this program knows.
	ErrUndecodable = errors.New("undecodable decision")
	// ErrLogShort: the store remembers a position that the log does not have.
	ErrLogShort = errors.New("the log does not reach the store's position")
)

const decisionVersion = 1

// Entry is one decision and where it stands.
type Entry struct {
	Partition int32
	Offset    int64
	Written   time.Time // by the engine: the record's own time
	*paymentsv1.Decision
}

// Batch is a piece of the log: per partition that moved, everything from First up to Next. Entries of a partition are
// in order. There may be none, where only markers passed.
type Batch struct {
	Entries     []Entry
	First, Next map[int32]int64
	Newest      time.Time // of the last record
}

// Split parts a batch before its n-th entry.
func (b *Batch) Split(n int) (*Batch, *Batch) {
	if n >= len(b.Entries) {
		return b, nil
	}
	head := &Batch{Entries: b.Entries[:n], First: map[int32]int64{}, Next: map[int32]int64{}, Newest: b.Newest}
	tail := &Batch{Entries: b.Entries[n:], First: maps.Clone(b.First), Next: b.Next, Newest: b.Newest}
	for _, e := range head.Entries {
		head.First[e.Partition], head.Next[e.Partition] = b.First[e.Partition], e.Offset+1
		tail.First[e.Partition] = e.Offset + 1
	}
	return head, tail
}

// reader follows the log.
type reader struct {
	cfg      Config
	client   *kgo.Client
	progress *progress
	chunks   chan Batch
	cancel   context.CancelFunc
	fetched  chan struct{} // closed when the fetcher has ended
	watched  chan struct{}
	failed   error // of the fetcher; read after fetched is closed
}

// chunkRecords is how much is decoded at a time, so that decoding runs beside the store's work.
const chunkRecords = 2048

// open begins at the positions given and follows until ctx ends. close joins what it started.
func open(ctx context.Context, cfg Config, at map[int32]int64, progress *progress) (*reader, error) {
	client, err := kgo.NewClient(cfg.clientOptions(at)...)
	if err != nil {
		return nil, fmt.Errorf("opening the decision log: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &reader{
		cfg: cfg, client: client, progress: progress, cancel: cancel,
		chunks: make(chan Batch, 4), fetched: make(chan struct{}), watched: make(chan struct{}),
	}
	go r.fetch(ctx, at)
	go r.watch(ctx)
	return r, nil
}

// close ends the reader and joins what it started.
func (r *reader) close() {
	r.cancel()
	<-r.fetched
	<-r.watched
	r.client.Close()
}

// idle is after how long without records next comes back empty-handed, so that its caller can look after the store.
const idle = time.Second

// next waits for records, then for more of them until the batch is full or linger has passed. It returns nil without an
// error where nothing came for a while.
func (r *reader) next(ctx context.Context, linger time.Duration) (*Batch, error) {
	quiet := time.NewTimer(idle)
	defer quiet.Stop()
	batch, err := r.chunk(ctx, quiet.C)
	if err != nil || batch == nil {
		return nil, err
	}
	enough := time.NewTimer(linger)
	defer enough.Stop()
	for len(batch.Entries) < r.cfg.RecordsMax {
		more, err := r.chunk(ctx, enough.C)
		if err != nil {
			return nil, err
		}
		if more == nil {
			break
		}
		batch.append(more)
	}
	return batch, nil
}

// chunk returns nil without an error when the timer fires first.
func (r *reader) chunk(ctx context.Context, timer <-chan time.Time) (*Batch, error) {
	select { // what is there comes first, whatever the timer says
	case c, ok := <-r.chunks:
		return r.received(c, ok)
	default:
	}
	select {
	case c, ok := <-r.chunks:
		return r.received(c, ok)
	case <-timer:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *reader) received(c Batch, ok bool) (*Batch, error) {
	if !ok {
		<-r.fetched
		return nil, r.failed
	}
	return &c, nil
}

func (b *Batch) append(more *Batch) {
	b.Entries = append(b.Entries, more.Entries...)
	for partition, first := range more.First {
		if _, ok := b.First[partition]; !ok {
			b.First[partition] = first
		}
		b.Next[partition] = more.Next[partition]
	}
	b.Newest = more.Newest
}

// fetch polls and decodes until it is cancelled or fails.
func (r *reader) fetch(ctx context.Context, at map[int32]int64) {
	defer close(r.fetched)
	defer close(r.chunks)
	position := make(map[int32]int64, len(at))
	maps.Copy(position, at)
	for {
		fetches := r.client.PollRecords(ctx, chunkRecords)
		if ctx.Err() != nil {
			r.failed = ctx.Err()
			return
		}
		if err := fetchError(fetches); err != nil {
			r.failed = err
			return
		}
		chunk, err := decode(fetches, position)
		if err != nil {
			r.failed = err
			return
		}
		if len(chunk.Next) == 0 {
			continue
		}
		select {
		case r.chunks <- chunk:
		case <-ctx.Done():
			r.failed = ctx.Err()
			return
		}
	}
}

// fetchError is the first partition's, but one that waiting does not mend goes before those that it does.
func fetchError(fetches kgo.Fetches) error {
	var first error
	for _, e := range fetches.Errors() {
		var loss *kgo.ErrDataLoss
		if errors.As(e.Err, &loss) || errors.Is(e.Err, kerr.OffsetOutOfRange) {
			return fmt.Errorf("%w: partition %d: %w", ErrLogShort, e.Partition, e.Err)
		}
		if first == nil {
			first = fmt.Errorf("fetching decisions of partition %d: %w", e.Partition, e.Err)
		}
	}
	return first
}

// decode turns fetches into a batch and moves position.
func decode(fetches kgo.Fetches, position map[int32]int64) (Batch, error) {
	b := Batch{First: map[int32]int64{}, Next: map[int32]int64{}}
	b.Entries = make([]Entry, 0, fetches.NumRecords())
	for iter := fetches.RecordIter(); !iter.Done(); {
		record := iter.Next()
		if record.Offset < position[record.Partition] {
			continue
		}
		if _, ok := b.First[record.Partition]; !ok {
			b.First[record.Partition] = position[record.Partition]
		}
		position[record.Partition] = record.Offset + 1
		b.Next[record.Partition] = record.Offset + 1
		b.Newest = record.Timestamp
		if record.Attrs.IsControl() {
			continue
		}
		d := new(paymentsv1.Decision)
		if err := proto.Unmarshal(record.Value, d); err != nil {
			return b, fmt.Errorf("%w: partition %d offset %d: %w", ErrUndecodable, record.Partition, record.Offset, err)
		}
		if d.GetVersion() != decisionVersion {
			return b, fmt.Errorf("%w: partition %d offset %d: version %d", ErrUndecodable, record.Partition, record.Offset, d.GetVersion())
		}
		b.Entries = append(b.Entries, Entry{Partition: record.Partition, Offset: record.Offset, Written: record.Timestamp, Decision: d})
	}
	return b, nil
}

const watchEvery = time.Second

// watch asks for the log's ends: that is the lag, and whether the broker answers at all.
func (r *reader) watch(ctx context.Context) {
	defer close(r.watched)
	admin := kadm.NewClient(r.client)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, 3*watchEvery)
		ends, err := committedEnds(asking, admin)
		cancel()
		if ctx.Err() != nil {
			return
		}
		r.progress.brokerState(err)
		if err == nil {
			r.progress.lag(ends)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Ends are those of the log's committed part, per partition, as the brokers tell them.
func Ends(ctx context.Context, brokers []string) (map[int32]int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return nil, fmt.Errorf("connecting to the broker: %w", err)
	}
	defer client.Close()
	return committedEnds(ctx, kadm.NewClient(client))
}

func committedEnds(ctx context.Context, admin *kadm.Client) (map[int32]int64, error) {
	listed, err := admin.ListCommittedOffsets(ctx, topics.Decisions)
	if err != nil {
		return nil, fmt.Errorf("listing the log's ends: %w", err)
	}
	if err := listed.Error(); err != nil {
		return nil, fmt.Errorf("listing the log's ends: %w", err)
	}
	ends := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends, nil
}

// Range reads exactly the piece of the log between two positions: what a recorded batch held.
func Range(ctx context.Context, cfg Config, first, next map[int32]int64) (*Batch, error) {
	at := map[int32]int64{}
	for partition := range next {
		if first[partition] < next[partition] {
			at[partition] = first[partition]
		}
	}
	whole := &Batch{First: map[int32]int64{}, Next: map[int32]int64{}}
	if len(at) == 0 {
		return whole, nil
	}
	client, err := kgo.NewClient(cfg.clientOptions(at)...)
	if err != nil {
		return nil, fmt.Errorf("opening the decision log: %w", err)
	}
	defer client.Close()
	missing := len(at)
	for missing > 0 {
		fetches := client.PollRecords(ctx, chunkRecords)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := fetchError(fetches); err != nil {
			return nil, err
		}
		before := maps.Clone(at)
		piece, err := decode(fetches, at)
		if err != nil {
			return nil, err
		}
		for partition := range piece.Next {
			if before[partition] < next[partition] && at[partition] >= next[partition] {
				missing--
				client.PauseFetchPartitions(map[string][]int32{topics.Decisions: {partition}})
			}
		}
		for _, e := range piece.Entries {
			if e.Offset < next[e.Partition] {
				whole.Entries = append(whole.Entries, e)
			}
		}
		whole.Newest = piece.Newest
	}
	for partition := range at {
		whole.First[partition], whole.Next[partition] = first[partition], next[partition]
	}
	return whole, nil
}

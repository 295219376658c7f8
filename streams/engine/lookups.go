package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// lookups follows compacted topics, read_committed, and holds their rows for all partitions of the process.
type lookups struct {
	client *kgo.Client // nil without tables
	tables map[string]*followed
}

// followed is one table.
type followed struct {
	mu       sync.RWMutex
	rows     map[string][]byte
	position map[int32]int64 // next offset, control records counted
	advanced chan struct{}   // closed and replaced when position changes
}

func newLookups(topics []string) *lookups {
	l := &lookups{tables: make(map[string]*followed, len(topics))}
	for _, t := range topics {
		l.tables[t] = newFollowed()
	}
	return l
}

func newFollowed() *followed {
	return &followed{rows: map[string][]byte{}, position: map[int32]int64{}, advanced: make(chan struct{})}
}

func (t *followed) get(key string) ([]byte, bool) {
	t.mu.RLock()
	v, ok := t.rows[key]
	t.mu.RUnlock()
	return v, ok
}

func (l *lookups) table(name string) *followed {
	t := l.tables[name]
	if t == nil {
		panic(fmt.Sprintf("engine: table %q is not among the lookups", name))
	}
	return t
}

func (l *lookups) get(table, key string) ([]byte, bool) { return l.table(table).get(key) }

// open makes the client; follow must run for catchUp to end.
func (l *lookups) open(options []kgo.Opt) error {
	if len(l.tables) == 0 {
		return nil
	}
	topics := make([]string, 0, len(l.tables))
	for t := range l.tables {
		topics = append(topics, t)
	}
	client, err := kgo.NewClient(append(append(options, followOptions()...), kgo.ConsumeTopics(topics...))...)
	if err != nil {
		return fmt.Errorf("opening lookup client: %w", err)
	}
	l.client = client
	return nil
}

func (l *lookups) close() {
	if l.client != nil {
		l.client.Close()
	}
}

// followOptions are those of a client that follows tables from their start.
func followOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The marker that ends a transaction takes an offset: without seeing it the end of a table is never reached.
		kgo.KeepControlRecords(),
	}
}

func (l *lookups) follow(ctx context.Context) error {
	return followAll(ctx, l.client, func(fp kgo.FetchTopicPartition) { l.tables[fp.Topic].apply(fp) })
}

// followAll reads until ctx ends; without a client there is nothing to read.
func followAll(ctx context.Context, client *kgo.Client, apply func(kgo.FetchTopicPartition)) error {
	if client == nil {
		return nil
	}
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var failed error
		fetches.EachError(func(topic string, p int32, err error) {
			failed = errors.Join(failed, fmt.Errorf("following %s partition %d: %w", topic, p, err))
		})
		if failed != nil {
			return failed
		}
		fetches.EachPartition(apply)
	}
}

func (t *followed) apply(fp kgo.FetchTopicPartition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range fp.Records {
		t.position[r.Partition] = r.Offset + 1
		switch {
		case r.Attrs.IsControl():
		case r.Value == nil:
			delete(t.rows, string(r.Key))
		default:
			t.rows[string(r.Key)] = append(make([]byte, 0, len(r.Value)), r.Value...)
		}
	}
	close(t.advanced)
	t.advanced = make(chan struct{})
}

// reach returns when the table is known up to an offset in each partition.
func (t *followed) reach(ctx context.Context, ends map[int32]int64) error {
	for {
		t.mu.RLock()
		advanced, behind := t.advanced, false
		for p, end := range ends {
			behind = behind || t.position[p] < end
		}
		t.mu.RUnlock()
		if !behind {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // whoever waits says for what
		}
	}
}

// committedEnds are the last stable offsets of a topic's partitions that hold anything.
func committedEnds(ctx context.Context, admin *kadm.Client, topic string) (map[int32]int64, error) {
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing start offsets of %s: %w", topic, err)
	}
	listed, err := admin.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing end offsets of %s: %w", topic, err)
	}
	ends := map[int32]int64{}
	listed.Each(func(end kadm.ListedOffset) {
		if start, _ := starts.Lookup(topic, end.Partition); start.Offset < end.Offset {
			ends[end.Partition] = end.Offset
		}
	})
	return ends, nil
}

// catchUp returns when the table is known up to its last stable offset as of now.
func (l *lookups) catchUp(ctx context.Context, table string) error {
	t := l.table(table)
	ends, err := committedEnds(ctx, kadm.NewClient(l.client), table)
	if err != nil {
		return err
	}
	return t.reach(ctx, ends)
}

// start waits until every table is known up to its end.
func (l *lookups) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for name := range l.tables {
		if err := l.catchUp(ctx, name); err != nil {
			return fmt.Errorf("following %s to its end: %w", name, err)
		}
	}
	return nil
}

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
		l.tables[t] = &followed{rows: map[string][]byte{}, position: map[int32]int64{}, advanced: make(chan struct{})}
	}
	return l
}

func (l *lookups) table(name string) *followed {
	t := l.tables[name]
	if t == nil {
		panic(fmt.Sprintf("engine: table %q is not among the lookups", name))
	}
	return t
}

func (l *lookups) get(table, key string) ([]byte, bool) {
	t := l.table(table)
	t.mu.RLock()
	v, ok := t.rows[key]
	t.mu.RUnlock()
	return v, ok
}

// open makes the client; follow must run for catchUp to end.
func (l *lookups) open(options []kgo.Opt) error {
	if len(l.tables) == 0 {
		return nil
	}
	topics := make([]string, 0, len(l.tables))
	for t := range l.tables {
		topics = append(topics, t)
	}
	client, err := kgo.NewClient(append(options,
		kgo.ConsumeTopics(topics...), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The marker that ends a transaction takes an offset: without seeing it the end of a table is never reached.
		kgo.KeepControlRecords())...)
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

// follow reads until ctx ends.
func (l *lookups) follow(ctx context.Context) error {
	if l.client == nil {
		return nil
	}
	for {
		fetches := l.client.PollFetches(ctx)
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
		fetches.EachTopic(func(ft kgo.FetchTopic) { l.tables[ft.Topic].apply(ft) })
	}
}

func (t *followed) apply(ft kgo.FetchTopic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ft.EachRecord(func(r *kgo.Record) {
		t.position[r.Partition] = r.Offset + 1
		switch {
		case r.Attrs.IsControl():
		case r.Value == nil:
			delete(t.rows, string(r.Key))
		default:
			t.rows[string(r.Key)] = append(make([]byte, 0, len(r.Value)), r.Value...)
		}
	})
	close(t.advanced)
	t.advanced = make(chan struct{})
}

// catchUp returns when the table is known up to its last stable offset as of now.
func (l *lookups) catchUp(ctx context.Context, table string) error {
	t := l.table(table)
	admin := kadm.NewClient(l.client)
	starts, err := admin.ListStartOffsets(ctx, table)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("listing start offsets: %w", err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, table)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("listing end offsets: %w", err)
	}
	for {
		t.mu.RLock()
		advanced, behind := t.advanced, false
		ends.Each(func(end kadm.ListedOffset) {
			if start, _ := starts.Lookup(table, end.Partition); start.Offset < end.Offset && t.position[end.Partition] < end.Offset {
				behind = true
			}
		})
		t.mu.RUnlock()
		if !behind {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
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

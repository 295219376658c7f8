package directory

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/ingest/follow"
)

// Config of a directory.
type Config struct {
	Brokers []string
	Log     *slog.Logger
}

// followed is a compacted topic in memory: what stands under each key, and who waits for what is not there yet.
type followed[V any] struct {
	log      *slog.Logger
	follower *follow.Follower
	refused  prometheus.Counter
	take     func(*kgo.Record) error

	mu      sync.RWMutex
	entries map[digest]V
	waiting map[digest][]chan struct{}
}

// what a directory is called in its metrics, and what in their help.
type names struct{ topic, refused, known, noun string }

func (f *followed[V]) init(cfg Config, n names, take func(*kgo.Record) error, reg prometheus.Registerer) (err error) {
	f.log, f.take = cfg.Log, take
	f.entries, f.waiting = make(map[digest]V), make(map[digest][]chan struct{})
	f.follower, err = follow.New(follow.Config{Brokers: cfg.Brokers, Topics: []string{n.topic}, Log: cfg.Log}, f.apply)
	if err != nil {
		return err
	}
	auto := promauto.With(reg)
	f.refused = auto.NewCounter(prometheus.CounterOpts{
		Name: n.refused, Help: "Directory records that could not be read; their " + n.noun + " are refused.",
	})
	auto.NewGaugeFunc(prometheus.GaugeOpts{Name: n.known, Help: "Known " + n.noun + "."}, func() float64 {
		f.mu.RLock()
		defer f.mu.RUnlock()
		return float64(len(f.entries))
	})
	return nil
}

// Run follows the directory until ctx ends.
func (f *followed[V]) Run(ctx context.Context) error { return f.follower.Run(ctx) }

// Ready is nil once everything that stood in the topic at the start is known.
func (f *followed[V]) Ready() error { return f.follower.Ready() }

func (f *followed[V]) get(key digest) (V, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	v, ok := f.entries[key]
	return v, ok
}

// wait returns when the entry is there and enough, or with ctx's error.
func (f *followed[V]) wait(ctx context.Context, key digest, enough func(V) bool) error {
	for {
		changed := make(chan struct{})
		f.mu.Lock()
		if v, ok := f.entries[key]; ok && enough(v) {
			f.mu.Unlock()
			return nil
		}
		f.waiting[key] = append(f.waiting[key], changed)
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			f.forget(key, changed)
			return ctx.Err()
		}
	}
}

// forget drops a waiter that left, so that entries that never come hold no memory.
func (f *followed[V]) forget(key digest, changed chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var rest []chan struct{}
	for _, other := range f.waiting[key] {
		if other != changed {
			rest = append(rest, other)
		}
	}
	if f.waiting[key] = rest; rest == nil {
		delete(f.waiting, key)
	}
}

// apply takes one record in. One that cannot be read leaves its entry as it was known, and says so.
func (f *followed[V]) apply(r *kgo.Record) {
	if err := f.take(r); err != nil {
		f.refused.Inc()
		f.log.Error("reading directory record", "topic", r.Topic, "key", string(r.Key), "partition", r.Partition, "offset", r.Offset, "error", err)
	}
}

// put is called under the lock.
func (f *followed[V]) put(key digest, v V) {
	f.entries[key] = v
	for _, changed := range f.waiting[key] {
		close(changed)
	}
	delete(f.waiting, key)
}

// unknown is what a wait that ended in vain says.
func unknown(noun, id string, err error) error {
	return fmt.Errorf("waiting for %s %s: %w", noun, id, err)
}

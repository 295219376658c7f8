package decisionlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// ErrNotReady says that a sink has not reached its store or its broker, or lost one of them.
var ErrNotReady = errors.New("sink is not ready")

// progress is what a sink tells about itself while sessions with store and broker come and go: the positions its store
// holds durably, and what stands between it and its work.
type progress struct {
	metrics *metrics

	mu       sync.Mutex
	position map[int32]int64
	store    error
	broker   error
	moved    chan struct{} // closed and replaced at each step
}

// newProgress starts not ready.
func newProgress(metrics *metrics) *progress {
	return &progress{
		metrics: metrics, position: map[int32]int64{},
		store: errors.New("not connected yet"), broker: errors.New("not connected yet"),
		moved: make(chan struct{}),
	}
}

// Position is, per partition, the next offset the store does not hold.
func (p *progress) Position() map[int32]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.position)
}

// Ready is nil while store and broker both answer.
func (p *progress) Ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.store != nil {
		return fmt.Errorf("%w: store: %w", ErrNotReady, p.store)
	}
	if p.broker != nil {
		return fmt.Errorf("%w: broker: %w", ErrNotReady, p.broker)
	}
	return nil
}

// Drained returns when the store holds everything below the ends given, or with ctx's error.
func (p *progress) Drained(ctx context.Context, ends map[int32]int64) error {
	for {
		p.mu.Lock()
		behind := int64(0)
		for partition, end := range ends {
			behind += max(0, end-p.position[partition])
		}
		moved := p.moved
		p.mu.Unlock()
		if behind == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d records: %w", behind, ctx.Err())
		case <-moved:
		}
	}
}

// start records the positions a session begins at.
func (p *progress) start(position map[int32]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.position, position)
	p.store = nil
	p.step()
}

// done records that the store holds a batch durably.
func (p *progress) done(b *Batch, rows int, took time.Duration) {
	p.metrics.batchSeconds.Observe(took.Seconds())
	p.metrics.decisions.Add(float64(len(b.Entries)))
	p.metrics.rows.Add(float64(rows))
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.position, b.Next)
	p.store = nil
	p.metrics.lagSeconds.Set(time.Since(b.Newest).Seconds())
	p.step()
}

// storeLost says why the store cannot be written to.
func (p *progress) storeLost(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.store = err
}

func (p *progress) brokerState(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broker = err
}

func (p *progress) step() {
	close(p.moved)
	p.moved = make(chan struct{})
}

// lag sets the gauges against the ends of the log.
func (p *progress) lag(ends map[int32]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	behind := int64(0)
	for partition, next := range p.position {
		behind += max(0, ends[partition]-next)
	}
	p.metrics.lagRecords.Set(float64(behind))
	if behind == 0 {
		p.metrics.lagSeconds.Set(0)
	}
}

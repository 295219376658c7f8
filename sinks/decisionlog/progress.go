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

// Progress is what a sink tells about itself while sessions with store and broker come and go: the positions its store
// holds durably, and what stands between it and its work.
type Progress struct {
	metrics *Metrics

	mu       sync.Mutex
	position map[int32]int64
	store    error
	broker   error
	moved    chan struct{} // closed and replaced at each step
}

// NewProgress starts not ready.
func NewProgress(metrics *Metrics) *Progress {
	return &Progress{
		metrics: metrics, position: map[int32]int64{},
		store: errors.New("not connected yet"), broker: errors.New("not connected yet"),
		moved: make(chan struct{}),
	}
}

// Position is, per partition, the next offset the store does not hold.
func (p *Progress) Position() map[int32]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.position)
}

// Ready is nil while store and broker both answer.
func (p *Progress) Ready() error {
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
func (p *Progress) Drained(ctx context.Context, ends map[int32]int64) error {
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

// Start records the positions a session begins at.
func (p *Progress) Start(position map[int32]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.position, position)
	p.store = nil
	p.step()
}

// Done records that the store holds a batch durably.
func (p *Progress) Done(b *Batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.position, b.Next)
	p.store = nil
	p.metrics.LagSeconds.Set(time.Since(b.Newest).Seconds())
	p.step()
}

// StoreLost says why the store cannot be written to.
func (p *Progress) StoreLost(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.store = err
}

func (p *Progress) brokerState(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broker = err
}

func (p *Progress) step() {
	close(p.moved)
	p.moved = make(chan struct{})
}

// lag sets the gauges against the ends of the log.
func (p *Progress) lag(ends map[int32]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	behind := int64(0)
	for partition, next := range p.position {
		behind += max(0, ends[partition]-next)
	}
	p.metrics.LagRecords.Set(float64(behind))
	if behind == 0 {
		p.metrics.LagSeconds.Set(0)
	}
}

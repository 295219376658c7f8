package reference

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/ingest/follow"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/reference"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
)

// Follower implements door.Pins. Safe for concurrent use.
type Follower struct {
	log      *slog.Logger
	follower *follow.Follower

	mu      sync.RWMutex
	library *library
	pinned  map[string]*paymentsv1.Pins // by policy id; emptied by every new document
}

var _ door.Pins = (*Follower)(nil)

// NewFollower makes an empty follower; Run fills it.
func NewFollower(cfg Config) (*Follower, error) {
	f := &Follower{log: cfg.Log, library: newLibrary(), pinned: make(map[string]*paymentsv1.Pins)}
	var err error
	f.follower, err = follow.New(follow.Config{Brokers: cfg.Brokers, Topics: reference.Topics(), Log: cfg.Log}, f.apply)
	return f, err
}

// Run follows the reference topics until ctx ends.
func (f *Follower) Run(ctx context.Context) error { return f.follower.Run(ctx) }

// Ready is nil once everything that was published at the start is known.
func (f *Follower) Ready() error { return f.follower.Ready() }

// Policy is the newest version of a policy. The caller does not change it.
func (f *Follower) Policy(id string) (*referencev1.Policy, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.library.policy(id)
}

// Pin names the newest versions of a policy and of what it refers to. The caller does not change the value.
func (f *Follower) Pin(policyID string) (*paymentsv1.Pins, error) {
	f.mu.RLock()
	pins, ok := f.pinned[policyID]
	f.mu.RUnlock()
	if ok {
		return pins, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.library.policy(policyID)
	if !ok {
		return nil, fmt.Errorf("pinning policy %q: %w", policyID, door.ErrPolicyUnknown)
	}
	pins, err := f.library.pins(p)
	if err != nil {
		return nil, fmt.Errorf("pinning: %w", err)
	}
	f.pinned[policyID] = pins
	return pins, nil
}

func (f *Follower) apply(r *kgo.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.library.take(r); err != nil {
		f.log.Error("reading reference data", "topic", r.Topic, "offset", r.Offset, "error", err)
		return
	}
	clear(f.pinned)
}

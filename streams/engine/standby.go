package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// standby follows the changelogs of partitions that other members work on, so that one that arrives has little left to read.
// It decides nothing: the partition is restored as ever, behind a fence, from where its standby stands instead of from the
// start. What speaks against that is what speaks against state on disk (mark.check).
//
// A partition enters held by the goroutine that polls, between two polls: else what was polled before it left could be taken
// for what comes after it came back. Whoever holds mu may touch the partitions that are held.
type standby struct {
	s      *session
	client *kgo.Client
	keeps  time.Duration // how long it may have been without news
	wake   atomic.Pointer[context.CancelFunc]
	count  share
	behind share

	mu       sync.Mutex
	entering []*partition
	leaving  []int32
	held     map[int32]*kept
}

// kept is a partition on standby.
type kept struct {
	*partition
	next [changelogs]int64 // offsets, control records counted
	at   time.Time         // everything before then is in it
}

const (
	standbyBackoff = time.Second // doubled by each failure that follows soon
	standbyLook    = time.Second // how often look is due
)

func newStandby(s *session) *standby {
	if !s.cfg.Standby {
		return nil
	}
	return &standby{
		s: s, held: map[int32]*kept{},
		count: share{of: s.metrics.standbys}, behind: share{of: s.metrics.standbyLag},
	}
}

// keep takes a partition that nobody else touches until it is released.
func (b *standby) keep(p *partition) {
	b.mu.Lock()
	b.entering = append(b.entering, p)
	b.mu.Unlock()
	b.nudge()
}

// release hands a partition back, and tells whether its state is good to be continued from its positions on.
func (b *standby) release(p *partition, logs [changelogs]extent) bool {
	if b == nil {
		return false
	}
	defer b.nudge()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entering = slices.DeleteFunc(b.entering, func(q *partition) bool { return q == p })
	k := b.held[p.id]
	if k == nil {
		return false
	}
	b.drop(k)
	m := mark{at: k.at, positions: p.positions}
	if err := m.check(time.Now(), b.keeps, logs); err != nil {
		p.log.Info("standby not taken over", "reason", err)
		return false
	}
	p.local, p.expected = true, p.positions
	return true
}

// drop ends the reading for a partition; mu is held.
func (b *standby) drop(k *kept) {
	delete(b.held, k.id)
	b.leaving = append(b.leaving, k.id)
}

// again begins with a partition anew, because of what was found in it; mu is held.
func (b *standby) again(k *kept, why error) {
	k.wipe(why)
	b.drop(k)
	b.entering = append(b.entering, k.partition)
}

func (b *standby) nudge() {
	if cancel := b.wake.Load(); cancel != nil {
		(*cancel)()
	}
}

// run follows until ctx ends. What goes wrong costs only what is on standby: it begins anew.
func (b *standby) run(ctx context.Context) {
	if b == nil {
		return
	}
	defer b.count.set(0)
	defer b.behind.set(0)
	backoff := standbyBackoff
	for {
		began := time.Now()
		err := b.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			backoff = standbyBackoff
		}
		b.s.cfg.Logger.Warn("standby begins anew", "group", b.s.cfg.Group, "error", err, "in", backoff)
		b.mu.Lock()
		for _, k := range b.held {
			b.entering = append(b.entering, k.partition)
		}
		clear(b.held)
		b.leaving = nil
		b.mu.Unlock()
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return
		}
		backoff = min(2*backoff, time.Minute)
	}
}

func (b *standby) follow(ctx context.Context) (err error) {
	cfg := b.s.cfg
	b.client, err = kgo.NewClient(append(cfg.clientOptions(), followOptions()...)...)
	if err != nil {
		return fmt.Errorf("opening standby client: %w", err)
	}
	defer b.client.Close()
	keeps, err := cfg.deletionsKept(ctx, kadm.NewClient(b.client))
	if keeps == 0 {
		return errors.Join(errors.New("the changelogs do not tell their delete.retention.ms"), err)
	}
	b.mu.Lock()
	b.keeps = keeps
	b.mu.Unlock()
	for looked := time.Now(); ; {
		if b.turns() {
			if err := b.turnOver(ctx); err != nil {
				return err
			}
			looked = time.Time{}
		}
		if time.Since(looked) >= standbyLook {
			looked = time.Now()
			b.look(ctx)
		}
		fetches := b.poll(ctx)
		if ctx.Err() != nil {
			return nil
		}
		failed := pollError(fetches)
		fetches.EachPartition(func(fp kgo.FetchTopicPartition) { failed = errors.Join(failed, b.apply(fp)) })
		if failed != nil {
			return failed
		}
	}
}

// poll waits for records, for partitions that come or go, and for the next look.
func (b *standby) poll(ctx context.Context) kgo.Fetches {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer time.AfterFunc(standbyLook, cancel).Stop()
	b.wake.Store(&cancel)
	if b.turns() {
		cancel()
	}
	return b.client.PollRecords(ctx, b.s.cfg.RecordsMax)
}

// turnOver lets go what was released, and begins with what came.
func (b *standby) turnOver(ctx context.Context) error {
	for b.turns() {
		began := time.Now()
		logs, err := b.s.extents(ctx)
		if err != nil {
			return err
		}
		if err := b.turn(logs, began); err != nil {
			return err
		}
	}
	return nil
}

func (b *standby) turns() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.entering)+len(b.leaving) > 0
}

// turn begins with one partition at most: reading what is on disk of it may take a while.
func (b *standby) turn(logs map[changelog]extent, began time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	table, side := b.s.cfg.Table, b.s.cfg.Side
	for _, id := range b.leaving {
		b.client.RemoveConsumePartitions(map[string][]int32{table: {id}, side: {id}})
	}
	b.leaving = nil
	if len(b.entering) > 0 {
		p := b.entering[0]
		if err := p.fetch(p.extents(logs)); err != nil {
			return err
		}
		b.entering = b.entering[1:]
		b.s.joins.begin([]*partition{p})
		from := p.readFrom()
		b.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{table: {p.id: from[tableLog]}, side: {p.id: from[sideLog]}})
		k := &kept{partition: p, at: began}
		if p.local {
			k.at = p.marked
		}
		for log, offset := range from {
			k.next[log] = max(0, offset.EpochOffset().Offset)
		}
		b.held[p.id] = k
	}
	b.count.set(float64(len(b.held)))
	return nil
}

// apply takes in what was read of a changelog.
func (b *standby) apply(fp kgo.FetchTopicPartition) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.held[fp.Partition]
	if k == nil || len(fp.Records) == 0 {
		return nil
	}
	log := k.logOf(fp.Topic)
	k.compare(log, fp.Records[0])
	for _, r := range fp.Records {
		k.next[log] = r.Offset + 1
		if r.Attrs.IsControl() {
			continue
		}
		if err := b.s.engine.follows(k.partition, log, r); err != nil {
			return err
		}
	}
	b.s.metrics.standbyRead.Add(float64(len(fp.Records)))
	k.reach()
	if k.disk != nil {
		k.disk.relieve()
	}
	if err := k.doubts(); err != nil {
		b.again(k, err)
	}
	return nil
}

// look tells how far what is held is behind its changelogs, and stores how far it is. What is at their ends has everything
// from before the look; what has not been there for too long may have missed deletions, and begins anew.
func (b *standby) look(ctx context.Context) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	admin := kadm.NewClient(b.client)
	var ends [changelogs]map[int32]int64
	for log, topic := range [changelogs]string{tableLog: b.s.cfg.Table, sideLog: b.s.cfg.Side} {
		var err error
		if ends[log], err = committedEnds(ctx, admin, topic); err != nil {
			b.s.cfg.Logger.Warn("standby does not know how far behind it is", "group", b.s.cfg.Group, "error", err)
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	sum := int64(0)
	for id, k := range b.held {
		behind := int64(0)
		for log, end := range ends {
			behind += max(0, end[id]-k.next[log])
		}
		sum += behind
		if began.Sub(k.at) > b.keeps {
			b.again(k, fmt.Errorf("%w: it has not been at the ends of its changelogs for %v", errDoubt, began.Sub(k.at)))
			continue
		}
		if behind == 0 {
			k.at = began
		}
		if err := k.save(k.at); err != nil {
			b.again(k, err)
		}
	}
	b.behind.set(float64(sum))
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
type standby struct {
	s      *session
	client *kgo.Client
	wake   atomic.Pointer[context.CancelFunc]
	count  share
	behind share
	memory share
	disk   share

	// mu is held for moments only: the session's loop must not wait for a disk. Who holds a partition's may take it, not the
	// other way round.
	mu       sync.Mutex
	keeps    time.Duration // for how long the changelogs may have been out of sight
	entering []*partition
	leaving  []int32
	held     map[int32]*kept
}

// kept is a partition on standby. Only who holds mu touches the partition, and nobody once it was released.
type kept struct {
	*partition
	mu       sync.Mutex
	released bool
	next     [changelogs]int64 // offsets, control records counted
	at       time.Time         // of what was deleted later nothing is missing
	goal     goal
}

// goal is where the changelogs ended when that was asked. What has been read up to there misses nothing of before: under
// load the ends of now are never reached.
type goal struct {
	ends  [changelogs]int64
	asked time.Time
}

const (
	standbyBackoff = time.Second // doubled by each failure that follows soon
	standbyLook    = time.Second // how often look is due
)

func newStandby(s *session) *standby {
	if !s.cfg.Standby {
		return nil
	}
	m := s.metrics
	return &standby{
		s: s, held: map[int32]*kept{}, count: share{of: m.standbys}, behind: share{of: m.standbyLag},
		memory: share{of: m.stateBytes.WithLabelValues("memory")}, disk: share{of: m.stateBytes.WithLabelValues("disk")},
	}
}

// keep takes a partition that nobody else touches until it is released.
func (b *standby) keep(p *partition) {
	b.mu.Lock()
	b.entering = append(b.entering, p)
	b.mu.Unlock()
	b.nudge()
}

// release hands partitions back, those with a state by their numbers. It must come before the fence of their restore: who
// has read past that would wait for it for ever.
func (b *standby) release(parts []*partition) map[int32]*kept {
	if b == nil {
		return nil
	}
	released := map[int32]*kept{}
	b.mu.Lock()
	for _, p := range parts {
		b.entering = slices.DeleteFunc(b.entering, func(q *partition) bool { return q == p })
		if k := b.held[p.id]; k != nil {
			b.drop(k)
			released[p.id] = k
		}
	}
	b.mu.Unlock()
	b.nudge()
	for _, k := range released {
		k.mu.Lock() // whoever is at it ends
		k.released = true
		k.mu.Unlock()
	}
	return released
}

// resume tells whether a released state is good to be continued from its positions on.
func (b *standby) resume(k *kept, logs [changelogs]extent) bool {
	if k == nil {
		return false
	}
	b.mu.Lock()
	m := mark{at: k.at, positions: k.positions}
	err := m.check(wallClock(), b.keeps, logs)
	b.mu.Unlock()
	if err != nil {
		k.log.Info("standby not taken over", "reason", err)
		return false
	}
	k.local, k.expected = true, k.positions
	return true
}

// wallClock goes on while the machine sleeps, as the brokers' clocks do; Go's other clock does not.
func wallClock() time.Time { return time.Now().Round(0) }

// drop ends the reading for a partition; mu is held.
func (b *standby) drop(k *kept) {
	delete(b.held, k.id)
	b.leaving = append(b.leaving, k.id)
}

// again begins with a partition anew, because of what was found in it; its mu is held.
func (b *standby) again(k *kept, why error) {
	k.wipe(why)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[k.id] == k { // else it was asked back just now
		b.drop(k)
		b.entering = append(b.entering, k.partition)
	}
}

// giveUp leaves a partition to its restore, which will say the same of it, where that matters; its mu is held.
func (b *standby) giveUp(k *kept, why error) {
	k.log.Warn("standby given up", "error", why)
	b.s.metrics.standbyFails.Inc()
	k.reset()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[k.id] == k {
		b.drop(k)
	}
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
	backoff := standbyBackoff
	for {
		began := time.Now()
		err := b.follow(ctx)
		for _, s := range []*share{&b.count, &b.behind, &b.memory, &b.disk} {
			s.set(0)
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			backoff = standbyBackoff
		}
		b.s.cfg.Logger.Warn("standby begins anew", "group", b.s.cfg.Group, "error", err, "in", backoff)
		b.s.metrics.standbyFails.Inc()
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
		if err := pollError(fetches); err != nil {
			return err
		}
		fetches.EachPartition(b.apply)
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

func (b *standby) turns() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.entering)+len(b.leaving) > 0
}

// turnOver lets go what was released, and begins with what came. Between two polls: what was polled before a partition left
// must not be taken for what comes after it came back.
func (b *standby) turnOver(ctx context.Context) error {
	for b.turns() {
		asked := wallClock()
		logs, err := b.s.extents(ctx)
		if err != nil {
			return err
		}
		if k := b.turn(); k != nil {
			err := b.begin(k, k.extents(logs), asked)
			k.mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// turn takes in one partition at most, and returns it locked.
func (b *standby) turn() (k *kept) {
	for {
		b.mu.Lock()
		leaving := b.leaving
		b.leaving = nil
		if len(leaving) == 0 {
			defer b.mu.Unlock()
			break
		}
		b.mu.Unlock() // the client ends the fetches under way first, and a restore waits for what mu guards
		for _, id := range leaving {
			b.client.RemoveConsumePartitions(map[string][]int32{b.s.cfg.Table: {id}, b.s.cfg.Side: {id}})
		}
	}
	if len(b.entering) > 0 {
		k = &kept{partition: b.entering[0]}
		k.mu.Lock()
		b.held[k.id] = k
		b.entering = b.entering[1:]
	}
	return k
}

// begin follows a partition, from where it stands on disk or from the start.
func (b *standby) begin(k *kept, logs [changelogs]extent, asked time.Time) error {
	if err := k.fetch(logs); err != nil {
		return err
	}
	b.s.joins.begin([]*partition{k.partition})
	if k.at = asked; k.local {
		k.at = k.marked
	}
	from := k.readFrom()
	for log, offset := range from {
		k.next[log] = max(0, offset.EpochOffset().Offset)
		k.goal.ends[log] = logs[log].end
	}
	k.goal.asked = asked
	b.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{
		b.s.cfg.Table: {k.id: from[tableLog]}, b.s.cfg.Side: {k.id: from[sideLog]},
	})
	return nil
}

// apply takes in what was read of a changelog.
func (b *standby) apply(fp kgo.FetchTopicPartition) {
	b.mu.Lock()
	k := b.held[fp.Partition]
	b.mu.Unlock()
	if k == nil || len(fp.Records) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.released {
		return
	}
	log := k.logOf(fp.Topic)
	k.compare(log, fp.Records[0])
	for _, r := range fp.Records {
		k.next[log] = r.Offset + 1
		if r.Attrs.IsControl() {
			continue
		}
		if err := b.s.engine.follows(k.partition, log, r); err != nil {
			b.giveUp(k, err)
			return
		}
	}
	b.s.metrics.standbyRead.Add(float64(len(fp.Records)))
	k.reach()
	k.tidy()
	if err := k.doubts(); err != nil {
		b.again(k, err)
	}
}

// look tells how far what is held is behind its changelogs, and stores how far it is. What has been out of sight of their ends
// for too long may have missed deletions, and begins anew.
func (b *standby) look(ctx context.Context) {
	now := goal{asked: wallClock()}
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
	all, keeps := slices.Collect(maps.Values(b.held)), b.keeps
	b.mu.Unlock()
	behind, memory, disk := int64(0), 0, int64(0)
	for _, k := range all {
		for log := range ends {
			now.ends[log] = ends[log][k.id]
		}
		k.mu.Lock()
		if !k.released {
			if err := k.look(now, keeps); err != nil {
				b.again(k, err)
			}
			behind += k.behind(now)
			memory += k.cells.base.held() + k.side.base.held()
			if k.disk != nil {
				disk += k.disk.bytes()
			}
		}
		k.mu.Unlock()
	}
	b.behind.set(float64(behind)) // before the count: who sees a partition sees how far behind it is
	b.count.set(float64(len(all)))
	b.memory.set(float64(memory))
	b.disk.set(float64(disk))
}

// look moves on the time from which on nothing is missing, and stores how far the state is.
func (k *kept) look(now goal, keeps time.Duration) error {
	if gap := now.asked.Sub(k.at); gap > keeps {
		return fmt.Errorf("%w: it has not been at the ends of its changelogs for %v", errDoubt, gap)
	}
	for _, g := range []goal{k.goal, now} {
		if k.behind(g) == 0 {
			k.at, k.goal = g.asked, now
		}
	}
	return k.save(k.at)
}

// behind is how many offsets are missing to a goal.
func (k *kept) behind(g goal) (n int64) {
	for log, end := range g.ends {
		n += max(0, end-k.next[log])
	}
	return n
}

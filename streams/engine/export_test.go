package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// KeepOverlayOnAbort makes an engine wrong on purpose: what an aborted transaction wrote stays. Offsets are taken back as they
// should be, so that only an audit of the state can notice.
func (e *Engine) KeepOverlayOnAbort() { e.rollback = keepOverlay }

func keepOverlay(p *partition) {
	p.cells.commit()
	p.side.commit()
	copy(p.next, p.applied)
}

// SpoilOnAbort leaves memory in a state that was never committed, as if the abort had been a commit after all.
func (e *Engine) SpoilOnAbort() {
	e.rollback = func(p *partition) {
		p.rollback()
		p.cells.base.set("acc-0", []byte("spoilt!!"))
		p.applied[0] = 1 << 40
	}
}

// OnCommit is called with the duration of each commit, between two transactions.
func (e *Engine) OnCommit(took func(time.Duration)) {
	e.metrics.commitTime = observed{e.metrics.commitTime, took}
}

type observed struct {
	prometheus.Histogram
	took func(time.Duration)
}

func (o observed) Observe(seconds float64) {
	o.took(time.Duration(seconds * float64(time.Second)))
	o.Histogram.Observe(seconds)
}

// TrustCallbacks makes an engine wrong on purpose: state that was here once counts as that of any later assignment.
func (e *Engine) TrustCallbacks() {
	e.retained = func(*partition, offsets) bool { return true }
}

// StopAtAnyFence makes an engine wrong on purpose: a restore ends at the first fence.
func (e *Engine) StopAtAnyFence() {
	e.reaches = func(string, string) bool { return true }
}

// LoseOnStandby makes an engine wrong on purpose: its standby passes over cells.
func (e *Engine) LoseOnStandby() {
	e.follows = func(p *partition, log int, r *kgo.Record) error {
		if log == tableLog {
			p.last[log] = r
			return nil
		}
		return p.restoreRecord(log, r)
	}
}

// StoreUnconfirmed makes an engine wrong on purpose: the state on disk takes a transaction in before its commit is confirmed,
// here one that is then aborted.
func (e *Engine) StoreUnconfirmed() {
	e.rollback = func(p *partition) {
		applied := slices.Clone(p.applied)
		_ = p.commit(time.Now())
		copy(p.applied, applied)
		copy(p.next, applied)
	}
}

// TrustAnything makes an engine wrong on purpose: it takes any state for what the group has committed.
func (e *Engine) TrustAnything() {
	e.believed = func(p *partition, committed offsets) bool {
		copy(p.applied, committed)
		copy(p.next, committed)
		return true
	}
}

// StoredState is what one partition of an ended process left on disk, to be spoilt.
type StoredState struct {
	disk *disk
	mark mark
	err  error
}

// OpenStored opens what is in a member's folder of a partition. Save closes it.
func OpenStored(dir string, partition int32) (*StoredState, error) {
	f, err := openFolder(&Config{Dir: dir, CacheBytes: 8 << 20, Partitions: 1, Logger: slog.New(slog.DiscardHandler)}, vfs.Default)
	if err != nil {
		return nil, err
	}
	defer f.close() // its databases may go on
	s := &StoredState{}
	if s.disk, err = openDisk(f.of(partition), f); err != nil {
		return nil, err
	}
	s.mark, s.err = decodeMark(s.disk.read([]byte(markKey)))
	return s, s.err
}

// Age moves the time of the state.
func (s *StoredState) Age(by time.Duration) { s.mark.at = s.mark.at.Add(-by) }

// Origin makes it the state of something else.
func (s *StoredState) Origin(other string) { s.mark.origin = other }

// Positions are the offsets in table and side.
func (s *StoredState) Positions() (table, side int64) {
	return s.mark.positions[tableLog].offset, s.mark.positions[sideLog].offset
}

// Shift moves the positions, which leaves them with the record that was at the old ones.
func (s *StoredState) Shift(by int64) {
	for i := range s.mark.positions {
		s.mark.positions[i].offset += by
	}
}

// ClaimTable makes the state say that it has the table up to a record, as an engine would that stores its position too early.
func (s *StoredState) ClaimTable(r *kgo.Record) { s.mark.positions[tableLog] = positionOf(r) }

// ClaimSide is the same for the side records.
func (s *StoredState) ClaimSide(r *kgo.Record) { s.mark.positions[sideLog] = positionOf(r) }

// Put changes a side record.
func (s *StoredState) Put(k SideKey, value []byte) {
	space{s.disk, sideSpace}.set(string(k.Encode()), value)
}

// Unmark takes the mark away, as a restore that was interrupted leaves it.
func (s *StoredState) Unmark() { s.disk.remove([]byte(markKey)); s.err = errDoubt }

// Save writes it back.
func (s *StoredState) Save() error {
	if s.err == nil {
		s.disk.write([]byte(markKey), s.mark.encode())
	}
	s.disk.apply()
	return errors.Join(s.disk.err(), s.disk.close())
}

// TrustDoubt makes an engine wrong on purpose: what it wrote in a transaction whose outcome is unknown counts as committed. The
// client refuses to go on from there by itself: the engine makes it.
func (e *Engine) TrustDoubt() {
	e.doubt = func(s *session, _ error) error {
		for _, p := range s.running {
			keepOverlay(p)
		}
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		_, err := s.tx.End(ctx, kgo.TryAbort)
		return err
	}
}

// FenceKey is the key of fence records.
const FenceKey = fenceKey

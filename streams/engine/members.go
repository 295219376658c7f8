package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Which partitions this process works on follows from the offsets that the group's coordinator hands out with each
// assignment, never from the callbacks of the client alone: a revocation may go unreported (the client's session reports
// none until the next transaction ended). A partition works on when its state has applied exactly the offset at which it
// was assigned; whatever happened to it meanwhile, nobody else has committed then. Else it is restored first.

const (
	assessTries   = 20 // restores of one assignment, before the disagreement counts as an error
	assessBackoff = 200 * time.Millisecond

	// Where the offsets of an assignment are in an open transaction, the client asks again only after a second.
	hurryAfter = 100 * time.Millisecond
	hurryTimes = 4
)

type stage uint8

const (
	away     stage = iota // not ours
	arriving              // announced, or assigned and without its state
	running               // its records are handled
)

// place is where a partition stands in this process. Only the loop touches it.
type place struct {
	stage     stage
	at        offsets // the group's when it was assigned
	unplaced  int     // announced, and its offset is not known yet: how often that was hurried, plus one
	since     time.Time
	known     bool // its state is in memory
	restoring bool // the restorer has it: nobody else may touch its state
	standby   bool // it was given to the standby, and is not back
	tries     int
	leftAt    time.Time
}

// assess takes what happened to the assignment and to restores. No transaction is open. It tells whether all reading was
// set back to the committed offsets: then what was polled must be dropped.
func (s *session) assess(ctx context.Context) (rewound bool, err error) {
	list := s.bulletin.take()
	var queue []*partition
	for _, n := range list {
		switch n.kind {
		case newsJoined:
			s.joined = true
		case newsBlocked: // the transaction has ended on it
		case newsExpected:
			if pl := &s.places[n.partition]; pl.stage == away {
				pl.stage, pl.unplaced, pl.since = arriving, 1, time.Now()
				time.AfterFunc(hurryAfter+time.Millisecond, s.nudge)
			}
		case newsLost:
			s.lose(n.partition)
			rewound = true
		case newsAssigned:
			rewound = rewound || s.places[n.partition].stage == running
			if s.take(n.partition, n.at) {
				queue = append(queue, s.parts[n.partition])
			}
		}
	}
	again, err := s.takeRestored()
	if err != nil {
		return false, err
	}
	if rewound {
		// The client's session would abort the next transaction, and hide the next revocation, until an end; and what was
		// polled of a lost partition would be committed as read.
		if _, err := s.tx.End(ctx, kgo.TryAbort); err != nil {
			return false, fmt.Errorf("setting back to the committed offsets: %w", err)
		}
	}
	s.restoreLater(append(queue, again...))
	s.hurry(ctx)
	if len(list) > 0 {
		s.reportGeneration()
	}
	if !s.settled && s.joined && s.count(arriving) == 0 {
		s.settled = true
		if !s.begun {
			s.begun = true
			s.engine.settle()
		}
	}
	s.forgetAway()
	return rewound, nil
}

// lose stops the work on a partition. Its state stays for a while: the partition may come back as it was left.
func (s *session) lose(p int32) {
	pl := &s.places[p]
	if pl.stage == running {
		s.metrics.forget(p)
	}
	if pl.stage != away {
		pl.leftAt = time.Now()
		time.AfterFunc(s.cfg.SessionTimeout+time.Millisecond, s.nudge)
	}
	pl.stage, pl.unplaced, pl.at = away, 0, nil
	s.listRunning()
}

// take notes an assignment and tells whether the partition must be restored first. Until the offsets of all inputs are known
// there is nothing to restore to.
func (s *session) take(p int32, at offsets) bool {
	pl := &s.places[p]
	for i := range at {
		if at[i] == untold && pl.at != nil {
			at[i] = pl.at[i]
		}
	}
	pl.at, pl.tries = at, 0
	if !at.told() {
		pl.stage = arriving
		s.listRunning()
		return false
	}
	pl.unplaced = 0
	if pl.restoring { // for an assignment before this one; its result will be measured against this
		pl.stage = arriving
		return false
	}
	if pl.known && s.engine.retained(s.parts[p], at) {
		s.admit(p)
		return false
	}
	s.client.PauseFetchPartitions(s.everyInput(p)) // it may have been admitted since it was paused
	pl.stage = arriving
	s.listRunning()
	return true
}

func (s *session) admit(p int32) {
	s.places[p].stage = running
	s.listRunning()
	s.client.ResumeFetchPartitions(s.everyInput(p))
}

// expel stops a running partition whose state is not what the group committed; it comes back when it is restored.
func (s *session) expel(p int32, at offsets) {
	s.client.PauseFetchPartitions(s.everyInput(p))
	for i, topic := range s.inputs {
		if at[i] >= 0 {
			s.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {p: {Epoch: -1, Offset: at[i]}}})
		}
	}
	pl := &s.places[p]
	pl.stage, pl.at, pl.known, pl.tries = arriving, at, false, 0
	s.listRunning()
	s.restoreLater([]*partition{s.parts[p]})
}

// takeRestored admits what is restored and returns what must be restored again.
func (s *session) takeRestored() (again []*partition, err error) {
	for {
		select {
		case r := <-s.restored:
			pl := &s.places[r.part.id]
			pl.restoring = false
			pl.known = r.err == nil
			switch {
			case errors.Is(r.err, errMoved) && pl.stage == away:
			case errors.Is(r.err, errMoved):
				if pl.tries++; pl.tries > assessTries {
					return nil, r.err
				}
				again = append(again, r.part)
			case r.err != nil:
				return nil, r.err
			case pl.stage == arriving && !pl.at.told(): // and its offsets will follow
			case pl.stage == arriving && !s.engine.retained(r.part, pl.at): // it was assigned anew meanwhile
				again = append(again, r.part)
			case pl.stage == arriving:
				s.admit(r.part.id)
			}
		default:
			return again, nil
		}
	}
}

func (s *session) restoreLater(parts []*partition) {
	if len(parts) == 0 {
		return
	}
	batch := make([]arrival, len(parts))
	for i, p := range parts {
		pl := &s.places[p.id]
		pl.restoring, pl.known, pl.standby = true, false, false
		batch[i] = arrival{part: p, at: pl.at}
	}
	s.queue <- batch // has room for every partition once
}

// forgetAway frees the state of what has not come back for as long as a member may be silent, or keeps it on standby.
func (s *session) forgetAway() {
	for i := range s.places {
		pl := &s.places[i]
		if pl.stage != away || pl.restoring || pl.standby || time.Since(pl.leftAt) <= s.cfg.SessionTimeout {
			continue
		}
		if s.standby != nil && s.settled {
			pl.known, pl.standby = false, true
			s.standby.keep(s.parts[i])
			continue
		}
		if !pl.known {
			continue
		}
		pl.known = false
		s.joins.drop(s.parts[i])
		if s.folder == nil {
			s.parts[i].reset()
			continue
		}
		pl.restoring = true // closing a database may take a while
		s.queue <- []arrival{{part: s.parts[i], leaves: true}}
	}
	if s.folder != nil && time.Since(s.swept) > sweepEvery {
		s.swept = time.Now()
		s.folder.sweep(s.inUse)
	}
}

// sweepEvery is how often state on disk that is too old is looked for.
const sweepEvery = 10 * time.Minute

func (s *session) inUse(dir string) bool {
	for i, pl := range s.places {
		if s.folder.of(int32(i)) == dir {
			return pl.stage != away || pl.known || pl.restoring || pl.standby
		}
	}
	return false
}

// hurry makes the client ask for the offsets of announced partitions again, once they are out of the transaction that held
// them: a member that rejoins without news gets its assignment confirmed, and a new look at the offsets with it.
func (s *session) hurry(ctx context.Context) {
	var late []*partition
	for i := range s.places {
		pl := &s.places[i]
		if pl.unplaced == 0 || pl.unplaced > hurryTimes || time.Since(pl.since) < hurryAfter {
			continue
		}
		pl.since = time.Now()
		late = append(late, s.parts[i])
		time.AfterFunc(hurryAfter+time.Millisecond, s.nudge)
	}
	if len(late) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, hurryAfter)
	defer cancel()
	if _, err := s.committedNow(ctx, late); err != nil {
		return
	}
	for _, p := range late {
		s.places[p.id].unplaced++
	}
	s.client.ForceRebalance()
}

func (s *session) listRunning() {
	before := len(s.running)
	s.running = s.running[:0]
	for i := range s.places {
		if s.places[i].stage == running {
			s.running = append(s.running, s.parts[i])
		}
	}
	s.told.partitions.set(float64(len(s.running)))
	s.tellParked()
	s.engine.holding.Add(int32(len(s.running) - before)) //nolint:gosec // a partition count
}

func (s *session) count(st stage) (n int) {
	for i := range s.places {
		if s.places[i].stage == st {
			n++
		}
	}
	return n
}

func (s *session) reportGeneration() {
	_, generation := s.client.GroupMetadata()
	if generation == s.generation {
		return
	}
	s.generation = generation
	s.metrics.rebalances.Inc()
	s.cfg.Logger.Info("generation", "group", s.cfg.Group, "instance", s.cfg.InstanceID, "generation", generation,
		"running", len(s.running), "arriving", s.count(arriving))
}

package http

import (
	"encoding/binary"
	"sync"
)

// recent is this process's short memory of the keys it has seen: an early word for callers that do not wait, and the
// 409 for a key whose first request still waits. It decides nothing: the log does. What it forgets costs nobody
// anything but that word.
type recent struct {
	shards [recentShards]recentShard
}

const recentShards = 16

type recentShard struct {
	mu      sync.Mutex
	entries map[string]recentEntry
	ring    []string // ids in the order they came; the oldest is overwritten
	next    int
}

type recentEntry struct {
	hash   uint64 // of the body
	open   bool   // a caller waits at this moment
	acked  bool   // the log has it
	holder uint64 // who set open, so that only he ends it
}

// standing is what the memory knows about a key.
type standing uint8

const (
	standingNew standing = iota
	standingRepeated
	standingConflict
	standingOpen
)

func newRecent(capacity int) *recent {
	r := &recent{}
	for i := range r.shards {
		r.shards[i].entries = make(map[string]recentEntry)
		r.shards[i].ring = make([]string, max(1, capacity/recentShards))
	}
	return r
}

func (r *recent) shard(id string) *recentShard { return &r.shards[id[len(id)-1]%recentShards] }

// begin notes that a request of this id is on its way. waiting says whether its caller waits for the decision.
func (r *recent) begin(id string, bodyHash []byte, holder uint64, waiting bool) standing {
	hash := binary.BigEndian.Uint64(bodyHash)
	s := r.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, known := s.entries[id]
	switch {
	case !known:
		delete(s.entries, s.ring[s.next])
		s.ring[s.next] = id
		s.next = (s.next + 1) % len(s.ring)
		s.entries[id] = recentEntry{hash: hash, open: waiting, holder: holder}
		return standingNew
	case e.open && waiting:
		return standingOpen
	case e.hash != hash:
		return standingConflict
	case e.acked:
		return standingRepeated
	default:
		return standingNew
	}
}

// end notes what became of it: acknowledged or not. What is not in the log is forgotten, unless another request of the
// same id has been acknowledged meanwhile.
func (r *recent) end(id string, holder uint64, acked bool) {
	s := r.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, known := s.entries[id]
	if !known {
		return
	}
	if e.holder == holder {
		e.open = false
	}
	e.acked = e.acked || acked
	if !e.acked && !e.open {
		// The ring keeps the id; that its slot names an entry that is gone, or a newer one, only shortens the memory.
		delete(s.entries, id)
		return
	}
	s.entries[id] = e
}

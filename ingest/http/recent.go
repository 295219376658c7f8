package http

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"sync"
)

// recent is this process's short memory of the keys it has seen: an early word for callers that do not wait, and the
// 409 for a key whose first request still waits. It decides nothing: the log does. What it forgets costs nobody
// anything but that word.
//
// Each shard is a ring of slots in the order the keys came, found by chains through them: memory is taken once, holds
// nothing that the garbage collector has to follow, and a key costs one look at one slot.
type recent struct {
	seed   maphash.Seed // strangers choose the keys
	shards [recentShards]recentShard
}

const (
	recentShards = 16
	// recentHeads per slot keep chains so short that a new key seldom meets an old one: each is a miss of the cache.
	recentHeads = 4
)

type recentShard struct {
	mu    sync.Mutex
	heads []uint32 // by hash, a power of two of them: a slot's number plus one; 0 ends a chain
	slots []recentSlot
	next  int // the oldest slot, which the next key takes
}

// recentSlot is a key in 64 bytes, a line of the processor's cache.
type recentSlot struct {
	id     identity
	body   uint64 // first bytes of the body's hash
	holder uint64 // who set open, so that only he ends it
	chain  uint32 // the next slot of its chain, as in heads
	state  recentState
}

type recentState uint8

const (
	recentUsed  recentState = 1 << iota
	recentOpen              // a caller waits at this moment
	recentAcked             // the log has it
)

// identity is what makes two requests the same: the last 40 characters of the command's id.
type identity [40]byte

func identityOf(commandID string) (id identity) {
	copy(id[:], commandID[len(commandID)-len(id):])
	return id
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
	r := &recent{seed: maphash.MakeSeed()}
	for i := range r.shards {
		slots := max(1, capacity/recentShards)
		r.shards[i].slots, r.shards[i].heads = make([]recentSlot, slots), make([]uint32, 1<<bits.Len(uint(slots*recentHeads-1)))
	}
	return r
}

// shard finds the shard of a key, and the head of its chain there.
func (r *recent) shard(id *identity) (*recentShard, *uint32) {
	h := maphash.Bytes(r.seed, id[:])
	s := &r.shards[h%recentShards]
	return s, s.head(h)
}

func (s *recentShard) head(h uint64) *uint32 {
	return &s.heads[h/recentShards&uint64(len(s.heads)-1)] //nolint:gosec // one at least
}

func (s *recentShard) find(head uint32, id *identity) *recentSlot {
	for n := head; n != 0; n = s.slots[n-1].chain {
		if s.slots[n-1].id == *id {
			return &s.slots[n-1]
		}
	}
	return nil
}

// drop takes a slot out of its chain.
func (s *recentShard) drop(head *uint32, slot *recentSlot) {
	link := head
	for at := &s.slots[*link-1]; at != slot; at = &s.slots[*link-1] {
		link = &at.chain
	}
	*link = slot.chain
	slot.state = 0
}

// begin notes that a request of this id is on its way. waiting says whether its caller waits for the decision.
func (r *recent) begin(id *identity, bodyHash []byte, holder uint64, waiting bool) standing {
	body := binary.BigEndian.Uint64(bodyHash)
	s, head := r.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := s.find(*head, id); {
	case e == nil:
		e = &s.slots[s.next]
		if e.state != 0 {
			_, old := r.shard(&e.id)
			s.drop(old, e)
		}
		*e = recentSlot{id: *id, body: body, holder: holder, chain: *head, state: recentUsed}
		if waiting {
			e.state |= recentOpen
		}
		*head = uint32(s.next) + 1 //nolint:gosec // a capacity is far below 4 billion
		s.next = (s.next + 1) % len(s.slots)
		return standingNew
	case e.state&recentOpen != 0 && waiting:
		return standingOpen
	case e.body != body:
		return standingConflict
	case e.state&recentAcked != 0:
		return standingRepeated
	default:
		return standingNew
	}
}

// end notes what became of it: acknowledged or not. What is not in the log is forgotten, unless another request of the
// same id has been acknowledged meanwhile.
func (r *recent) end(id *identity, holder uint64, acked bool) {
	s, head := r.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(*head, id)
	if e == nil {
		return
	}
	if e.holder == holder {
		e.state &^= recentOpen
	}
	if acked {
		e.state |= recentAcked
	}
	if e.state == recentUsed {
		s.drop(head, e) // the slot stays empty until its turn comes, which only shortens the memory
	}
}

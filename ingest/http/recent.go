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
// It is a ring of slots in the order the keys came, found by chains through them: memory is taken once, and holds nothing
// that the garbage collector has to follow. A batch takes the lock once, and fetches what it will look at before it
// looks: the memory is larger than a cache, and waiting for one line at a time is most of what a key would cost.
type recent struct {
	seed maphash.Seed // strangers choose the keys

	mu      sync.Mutex
	heads   []uint32 // by hash, a power of two of them: a slot's number plus one; 0 ends a chain
	slots   []recentSlot
	next    int // the oldest slot, which the next key takes
	fetched uint32
}

// recentHeads per slot keep chains so short that a new key seldom meets an old one.
const recentHeads = 4

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
	return &recent{
		seed: maphash.MakeSeed(), slots: make([]recentSlot, capacity),
		heads: make([]uint32, 1<<bits.Len(uint(capacity*recentHeads-1))),
	}
}

func (r *recent) head(id *identity) *uint32 {
	return &r.heads[maphash.Bytes(r.seed, id[:])&uint64(len(r.heads)-1)] //nolint:gosec // one at least
}

func (r *recent) find(head uint32, id *identity) *recentSlot {
	for n := head; n != 0; n = r.slots[n-1].chain {
		if r.slots[n-1].id == *id {
			return &r.slots[n-1]
		}
	}
	return nil
}

// drop takes a slot out of its chain.
func (r *recent) drop(head *uint32, slot *recentSlot) {
	link := head
	for at := &r.slots[*link-1]; at != slot; at = &r.slots[*link-1] {
		link = &at.chain
	}
	*link = slot.chain
	slot.state = 0
}

// fetch reads the heads of keys, and of the oldest slots where they will be taken: reads that do not wait for each other.
func (r *recent) fetch(ids []*identity, oldest int) {
	for _, id := range ids {
		r.fetched += *r.head(id)
	}
	for i := range min(oldest, len(r.slots)) {
		r.fetched += *r.head(&r.slots[(r.next+i)%len(r.slots)].id)
	}
}

// begin notes that a request of this id is on its way. waiting says whether its caller waits for the decision.
func (r *recent) begin(id *identity, bodyHash []byte, holder uint64, waiting bool) standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.note(id, bodyHash, holder, waiting)
}

// beginAll is begin for a batch whose caller does not wait; it appends to known.
func (r *recent) beginAll(known []standing, ids []*identity, items []Item, holder uint64) []standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetch(ids, len(ids))
	for i, id := range ids {
		known = append(known, r.note(id, items[i].Command.GetBodyHash(), holder, false))
	}
	return known
}

func (r *recent) note(id *identity, bodyHash []byte, holder uint64, waiting bool) standing {
	body, head := binary.BigEndian.Uint64(bodyHash), r.head(id)
	switch e := r.find(*head, id); {
	case e == nil:
		e = &r.slots[r.next]
		if e.state != 0 {
			r.drop(r.head(&e.id), e)
		}
		*e = recentSlot{id: *id, body: body, holder: holder, chain: *head, state: recentUsed}
		if waiting {
			e.state |= recentOpen
		}
		*head = uint32(r.next) + 1 //nolint:gosec // a capacity is far below 4 billion
		r.next = (r.next + 1) % len(r.slots)
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
	r.mu.Lock()
	defer r.mu.Unlock()
	r.close(id, holder, acked)
}

// endAll is end for a batch.
func (r *recent) endAll(ids []*identity, holder uint64, acked func(i int) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetch(ids, 0)
	for i, id := range ids {
		r.close(id, holder, acked(i))
	}
}

func (r *recent) close(id *identity, holder uint64, acked bool) {
	head := r.head(id)
	e := r.find(*head, id)
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
		r.drop(head, e) // the slot stays empty until its turn comes, which only shortens the memory
	}
}

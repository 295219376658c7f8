package http

import (
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// remembered is the memory as a map and a list: what recent is held against.
type remembered struct {
	entries map[identity]*rememberedEntry
	order   []identity
}

type rememberedEntry struct {
	body, holder uint64
	open, acked  bool
}

// Invariant: a shard remembers the last keys it was given, in the order they came, and never more.
func TestRecentAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(1, 6).Draw(t, "capacity")
		r := newRecent(capacity * recentShards)
		var models [recentShards]remembered
		for i := range models {
			models[i] = remembered{entries: map[identity]*rememberedEntry{}, order: make([]identity, capacity)}
		}
		next := [recentShards]int{}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			id := identityOf(fmt.Sprintf("%040d", rapid.IntRange(0, 60).Draw(t, "key")))
			body, holder := rapid.Uint64Range(1, 2).Draw(t, "body"), rapid.Uint64Range(1, 3).Draw(t, "holder")
			shard, _ := r.shard(&id)
			at := 0
			for &r.shards[at] != shard {
				at++
			}
			m := &models[at]
			e := m.entries[id]
			if rapid.Bool().Draw(t, "end") {
				acked := rapid.Bool().Draw(t, "acked")
				r.end(&id, holder, acked)
				if e != nil {
					e.open = e.open && e.holder != holder
					if e.acked = e.acked || acked; !e.acked && !e.open {
						delete(m.entries, id)
					}
				}
				continue
			}
			waiting := rapid.Bool().Draw(t, "waiting")
			want := standingNew
			switch {
			case e == nil:
				oldest := &m.order[next[at]]
				if old := m.entries[*oldest]; old != nil && slotOf(m, *oldest) == next[at] {
					delete(m.entries, *oldest)
				}
				*oldest, next[at] = id, (next[at]+1)%capacity
				for i := range m.order { // an empty slot that named the same key before names nothing
					if m.order[i] == id && &m.order[i] != oldest {
						m.order[i] = identity{}
					}
				}
				m.entries[id] = &rememberedEntry{body: body, holder: holder, open: waiting}
			case e.open && waiting:
				want = standingOpen
			case e.body != body:
				want = standingConflict
			case e.acked:
				want = standingRepeated
			}
			if got := r.begin(&id, binary.BigEndian.AppendUint64(nil, body), holder, waiting); got != want {
				t.Fatalf("standing %d, want %d", got, want)
			}
		}
	})
}

func slotOf(m *remembered, id identity) int {
	for i := range m.order {
		if m.order[i] == id {
			return i
		}
	}
	return -1
}

func TestRecentAllocatesNothing(t *testing.T) {
	r := newRecent(1024)
	n := 0
	if allocs := testing.AllocsPerRun(5000, func() {
		n++
		var id identity
		binary.BigEndian.PutUint64(id[32:], uint64(n))
		var body [8]byte
		r.begin(&id, body[:], 1, false)
		r.end(&id, 1, true)
	}); allocs > 0 {
		t.Fatalf("%v allocations a key", allocs)
	}
}

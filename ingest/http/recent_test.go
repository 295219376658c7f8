package http

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// remembered is the memory as a map and a list: what recent is held against.
type remembered struct {
	entries map[identity]*rememberedEntry
	ring    []identity
	next    int
}

type rememberedEntry struct {
	slot         int
	body, holder uint64
	open, acked  bool
}

func (m *remembered) begin(id identity, body, holder uint64, waiting bool) standing {
	e := m.entries[id]
	switch {
	case e == nil:
		if old := m.entries[m.ring[m.next]]; old != nil && old.slot == m.next {
			delete(m.entries, m.ring[m.next])
		}
		m.entries[id] = &rememberedEntry{slot: m.next, body: body, holder: holder, open: waiting}
		m.ring[m.next], m.next = id, (m.next+1)%len(m.ring)
		return standingNew
	case e.open && waiting:
		return standingOpen
	case e.body != body:
		return standingConflict
	case e.acked:
		return standingRepeated
	default:
		return standingNew
	}
}

func (m *remembered) end(id identity, holder uint64, acked bool) {
	e := m.entries[id]
	if e == nil {
		return
	}
	e.open = e.open && e.holder != holder
	if e.acked = e.acked || acked; !e.acked && !e.open {
		delete(m.entries, id)
	}
}

// Invariant: recent remembers the last keys it was given, in the order they came, and never more; a batch is as many
// single requests.
func TestRecentAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(1, 20).Draw(t, "capacity")
		r, m := newRecent(capacity), &remembered{entries: map[identity]*rememberedEntry{}, ring: make([]identity, capacity)}
		key := rapid.Custom(func(t *rapid.T) identity {
			return identityOf(fmt.Sprintf("%040d", rapid.IntRange(0, 40).Draw(t, "key")))
		})
		body := rapid.Custom(func(t *rapid.T) []byte {
			return binary.BigEndian.AppendUint64(nil, rapid.Uint64Range(1, 2).Draw(t, "body"))
		})
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			holder, acked, waiting := rapid.Uint64Range(1, 3).Draw(t, "holder"), rapid.Bool().Draw(t, "acked"), rapid.Bool().Draw(t, "waiting")
			id := key.Draw(t, "id")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				b := body.Draw(t, "of")
				if got, want := r.begin(&id, b, holder, waiting), m.begin(id, binary.BigEndian.Uint64(b), holder, waiting); got != want {
					t.Fatalf("standing %d, want %d", got, want)
				}
			case 1:
				r.end(&id, holder, acked)
				m.end(id, holder, acked)
			case 2:
				var ids []*identity
				var items []Item
				var want []standing
				for _, id := range rapid.SliceOfN(key, 1, 30).Draw(t, "ids") {
					b := body.Draw(t, "of")
					ids, items = append(ids, &id), append(items, Item{Command: &paymentsv1.Command{BodyHash: b}})
					want = append(want, m.begin(id, binary.BigEndian.Uint64(b), holder, false))
				}
				if got := r.beginAll(nil, ids, items, holder); !slices.Equal(got, want) {
					t.Fatalf("standings %v, want %v", got, want)
				}
			default:
				var ids []*identity
				for i, id := range rapid.SliceOfN(key, 1, 30).Draw(t, "ids") {
					ids = append(ids, &id)
					m.end(id, holder, acked != (i%2 == 0))
				}
				r.endAll(ids, holder, func(i int) bool { return acked != (i%2 == 0) })
			}
		}
	})
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

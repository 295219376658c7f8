package engine

import (
	"slices"
	"strings"

	"github.com/tidwall/btree"
)

// store holds the records of one changelog partition: what is committed, and over it what the open transaction wrote.
// A nil value in the overlay is a deletion. During a transaction only the partition's goroutine touches it, between
// transactions only the commit loop; so it has no lock.
type store struct {
	base    *arena
	overlay map[string][]byte
	peak    int    // records the overlay has had room for
	undo    []undo // what the running callback changed in the overlay
	// indexes keeps keys in order, for the groups of keys that were scanned once. Invariant: an index has every key of its
	// group that is in base or overlay; it may have deleted ones until the transaction ends.
	indexes map[string]*btree.Set[string]
	group   func(key string) string
}

type undo struct {
	key    string
	before []byte
	had    bool
}

func newStore(group func(key string) string) *store {
	return &store{
		base: newArena(), overlay: map[string][]byte{},
		indexes: map[string]*btree.Set[string]{}, group: group,
	}
}

func (s *store) get(key string) []byte {
	if len(s.overlay) > 0 {
		if v, ok := s.overlay[key]; ok {
			return v
		}
	}
	return s.base.get(key)
}

// put writes into the overlay; nil deletes.
func (s *store) put(key string, value []byte) {
	before, had := s.overlay[key]
	s.undo = append(s.undo, undo{key: key, before: before, had: had})
	s.overlay[key] = value
	if value != nil {
		s.index(key)
	}
}

func (s *store) index(key string) {
	if len(s.indexes) == 0 {
		return
	}
	if ix := s.indexes[s.group(key)]; ix != nil {
		ix.Insert(key)
	}
}

// keep ends a callback that succeeded.
func (s *store) keep() { s.undo = s.undo[:0] }

// revert takes back what the callback wrote since keep.
func (s *store) revert() {
	for _, u := range slices.Backward(s.undo) {
		if u.had {
			s.overlay[u.key] = u.before
		} else {
			delete(s.overlay, u.key)
			if !s.base.has(u.key) {
				s.unindex(u.key)
			}
		}
	}
	s.undo = s.undo[:0]
}

// commit makes the overlay the base.
func (s *store) commit() {
	for k, v := range s.overlay {
		if v == nil {
			s.base.delete(k)
			s.unindex(k)
		} else {
			s.base.set(k, v)
		}
	}
	s.base.tidy()
	s.empty()
}

// overlaySparse is how much emptier than its room an overlay may be before it is made anew.
const overlaySparse = 8

// empty readies the overlay for the next transaction. A map keeps the room it once needed, and going through it costs what
// the largest transaction cost: after a peak, small ones get a small map.
func (s *store) empty() {
	n := len(s.overlay)
	if s.peak = max(s.peak, n); n >= s.peak/overlaySparse {
		clear(s.overlay)
		return
	}
	s.overlay, s.peak = make(map[string][]byte, n), n
}

// rollback drops the overlay.
func (s *store) rollback() {
	for k := range s.overlay {
		if !s.base.has(k) {
			s.unindex(k)
		}
	}
	s.empty()
	s.undo = s.undo[:0]
}

func (s *store) unindex(key string) {
	if len(s.indexes) == 0 {
		return
	}
	if ix := s.indexes[s.group(key)]; ix != nil {
		ix.Delete(key)
	}
}

// order keeps the group of an empty store's key sorted from now on.
func (s *store) order(key []byte) { s.indexes[s.group(string(key))] = &btree.Set[string]{} }

// reindex follows a key of an ordered group that was restored past put.
func (s *store) reindex(key string) {
	if len(s.indexes) == 0 {
		return
	}
	if s.base.has(key) {
		s.index(key)
	} else {
		s.unindex(key)
	}
}

type scanRange struct {
	prefix       string // all of the key but the id
	fromID, toID string
	limit        int // 0: all
}

// scan reads in order. The first scan of a group sorts its keys once; from then on they are kept sorted.
func (s *store) scan(r scanRange) []Entry {
	group := s.group(r.prefix)
	ix := s.indexes[group]
	if ix == nil {
		ix = &btree.Set[string]{}
		for k := range s.base.all() {
			if s.group(k) == group {
				ix.Insert(k)
			}
		}
		for k := range s.overlay {
			if s.group(k) == group {
				ix.Insert(k)
			}
		}
		s.indexes[group] = ix
	}
	var found []Entry
	end := r.prefix + r.toID
	ix.Ascend(r.prefix+r.fromID, func(k string) bool {
		if !strings.HasPrefix(k, r.prefix) || (r.toID != "" && k >= end) {
			return false
		}
		if v := s.get(k); v != nil {
			found = append(found, Entry{ID: k[len(r.prefix):], Value: v})
		}
		return r.limit == 0 || len(found) < r.limit
	})
	return found
}

// sideGroup names the scope and kind of an encoded side key: the unit of an index.
func sideGroup(key string) string {
	if len(key) == 0 {
		return ""
	}
	rest := key[1:]
	if Scope(key[0]) == ScopeKey {
		_, after, err := cutField(rest)
		if err != nil {
			return ""
		}
		rest = after
	}
	kind, _, err := cutField(rest)
	if err != nil {
		return ""
	}
	return key[:1] + kind
}

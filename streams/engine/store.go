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
	base    base
	overlay map[string][]byte
	peak    int    // records the overlay has had room for
	undo    []undo // what the running callback changed in the overlay
	// written keeps the keys of the overlay in order, for the groups of keys that were scanned once.
	written map[string]*btree.Set[string]
	group   func(key string) string
}

// base holds the committed records.
type base interface {
	// get returns nil where there is no such key. What it gave out never changes.
	get(key string) []byte
	has(key string) bool
	// ascend hands out the records of a range in the order of their keys, until yield returns false.
	ascend(r scanRange, yield func(key string, value []byte) bool)
	// set copies the value, which is not nil.
	set(key string, value []byte)
	delete(key string)
	// tidy is called after each transaction.
	tidy()
	// held is how many bytes it keeps in memory.
	held() int
}

type undo struct {
	key    string
	before []byte
	had    bool
}

func newStore(b base, group func(key string) string) *store {
	return &store{base: b, overlay: map[string][]byte{}, written: map[string]*btree.Set[string]{}, group: group}
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
	if !had && len(s.written) > 0 {
		if w := s.written[s.group(key)]; w != nil {
			w.Insert(key)
		}
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
			if w := s.written[s.group(u.key)]; w != nil {
				w.Delete(u.key)
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
	for _, w := range s.written {
		w.Clear()
	}
	n := len(s.overlay)
	if s.peak = max(s.peak, n); n >= s.peak/overlaySparse {
		clear(s.overlay)
		return
	}
	s.overlay, s.peak = make(map[string][]byte, n), n
}

// rollback drops the overlay.
func (s *store) rollback() {
	s.empty()
	s.undo = s.undo[:0]
}

type scanRange struct {
	prefix       string // all of the key but the id
	fromID, toID string
	limit        int // 0: all
}

// scan reads in order.
func (s *store) scan(r scanRange) []Entry {
	var found []Entry
	take := func(key string, value []byte) bool {
		if value != nil {
			found = append(found, Entry{ID: key[len(r.prefix):], Value: value})
		}
		return r.limit == 0 || len(found) < r.limit
	}
	over := s.overlaid(r)
	more := true
	s.base.ascend(r, func(key string, value []byte) bool {
		for more && over.ok && over.key < key {
			more = take(over.key, s.overlay[over.key])
			over.next()
		}
		if over.ok && over.key == key {
			value = s.overlay[key]
			over.next()
		}
		more = more && take(key, value)
		return more
	})
	for ; more && over.ok; over.next() {
		more = take(over.key, s.overlay[over.key])
	}
	return found
}

// overlaid goes through the keys of a range that the transaction wrote. The first scan of a group sorts them once; from then
// on the group's are kept sorted.
func (s *store) overlaid(r scanRange) *keyCursor {
	group := s.group(r.prefix)
	w := s.written[group]
	if w == nil {
		w = &btree.Set[string]{}
		for k := range s.overlay {
			if s.group(k) == group {
				w.Insert(k)
			}
		}
		s.written[group] = w
	}
	if w.Len() == 0 {
		return &keyCursor{}
	}
	c := &keyCursor{within: r, iter: w.Iter()}
	c.see(c.iter.Seek(r.prefix + r.fromID))
	return c
}

// keyCursor stands on a key of a range, unless ok is false.
type keyCursor struct {
	within scanRange
	iter   btree.SetIter[string]
	key    string
	ok     bool
}

func (c *keyCursor) next() { c.see(c.iter.Next()) }

func (c *keyCursor) see(found bool) {
	c.ok = false
	if found {
		c.key = c.iter.Key()
		c.ok = c.within.has(c.key)
	}
}

// has tells of a key that is not before the range whether it is in it.
func (r *scanRange) has(key string) bool {
	id, ok := strings.CutPrefix(key, r.prefix)
	return ok && (r.toID == "" || id < r.toID)
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

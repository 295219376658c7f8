package engine

import "github.com/tidwall/btree"

// memory is the base that lies in an arena.
type memory struct {
	*arena
	// indexes keeps keys in order, for the groups of keys that were scanned once. Invariant: an index has exactly the keys of
	// its group that are in the arena.
	indexes map[string]*btree.Set[string]
	group   func(key string) string
}

func newMemory(group func(key string) string) *memory {
	return &memory{arena: newArena(), indexes: map[string]*btree.Set[string]{}, group: group}
}

// order keeps the group of an empty base's key sorted from now on.
func (m *memory) order(key []byte) { m.indexes[m.group(string(key))] = &btree.Set[string]{} }

func (m *memory) set(key string, value []byte) {
	m.arena.set(key, value)
	if ix := m.index(key); ix != nil {
		ix.Insert(key)
	}
}

func (m *memory) delete(key string) {
	m.arena.delete(key)
	if ix := m.index(key); ix != nil {
		ix.Delete(key)
	}
}

// index is that of the key's group, nil if nobody scans there.
func (m *memory) index(key string) *btree.Set[string] {
	if len(m.indexes) == 0 {
		return nil
	}
	return m.indexes[m.group(key)]
}

// ascend sorts the keys of a group once, when it is first asked for.
func (m *memory) ascend(r scanRange, yield func(key string, value []byte) bool) {
	group := m.group(r.prefix)
	ix := m.indexes[group]
	if ix == nil {
		ix = &btree.Set[string]{}
		for k := range m.all() {
			if m.group(k) == group {
				ix.Insert(k)
			}
		}
		m.indexes[group] = ix
	}
	ix.Ascend(r.prefix+r.fromID, func(k string) bool { return r.has(k) && yield(k, m.get(k)) })
}

func (m *memory) held() int { return m.used }

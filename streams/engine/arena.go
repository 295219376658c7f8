package engine

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"slices"
)

// arena holds records where the garbage collector does not look: keys and values lie in a few large blocks, and the index
// has no pointers. A map of slices would be gone through at every collection, so that a record cost more the more of them
// there were. Blocks are only appended to: a value once given out never changes.
type arena struct {
	hash  func(key string) uint64
	index map[uint64]spot
	spill map[string][]byte // keys whose hash another key has
	block []arenaBlock
	most  int // bytes of a block; a record larger than that has a block of its own
	last  int // the block that is appended to, -1 at the start
	used  int // bytes in all blocks
	live  int // bytes of the newest entry of each key
}

// spot is a block's number and the offset of an entry in it.
type spot struct{ block, offset uint32 }

type arenaBlock struct {
	bytes []byte // nil: free to be used again
	live  int
}

const (
	entryHeader   = 8       // lengths of key and value
	blockLeast    = 4 << 10 // an empty store is small
	blockMost     = 1 << 20 // the room of a large store's
	tidyPerCommit = 2       // blocks: what keeps a commit short
)

func newArena() *arena {
	seed := maphash.MakeSeed()
	return &arena{
		hash:  func(key string) uint64 { return maphash.String(seed, key) },
		index: map[uint64]spot{}, spill: map[string][]byte{}, most: blockMost, last: -1,
	}
}

// get returns nil where there is no such key.
func (a *arena) get(key string) []byte {
	if p, ok := a.index[a.hash(key)]; ok {
		if k, v := a.entry(p); string(k) == key {
			return v
		}
	}
	if len(a.spill) > 0 {
		return a.spill[key]
	}
	return nil
}

func (a *arena) has(key string) bool { return a.get(key) != nil }

// set copies the value, which is not nil.
func (a *arena) set(key string, value []byte) {
	h := a.hash(key)
	if p, ok := a.index[h]; ok {
		k, v := a.entry(p)
		if string(k) != key {
			a.spill[key] = append([]byte{}, value...)
			return
		}
		a.drop(p, len(k)+len(v))
	}
	delete(a.spill, key)
	a.index[h] = a.write(key, value)
}

func (a *arena) delete(key string) {
	h := a.hash(key)
	if p, ok := a.index[h]; ok {
		if k, v := a.entry(p); string(k) == key {
			a.drop(p, len(k)+len(v))
			delete(a.index, h)
			return
		}
	}
	delete(a.spill, key)
}

// all come in no order.
func (a *arena) all() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, p := range a.index {
			if k, v := a.entry(p); !yield(string(k), v) {
				return
			}
		}
		for k, v := range a.spill {
			if !yield(k, v) {
				return
			}
		}
	}
}

func (a *arena) entry(p spot) (key, value []byte) {
	b := a.block[p.block].bytes[p.offset:]
	k := entryHeader + int(binary.LittleEndian.Uint32(b))
	v := k + int(binary.LittleEndian.Uint32(b[4:]))
	return b[entryHeader:k:k], b[k:v:v]
}

func (a *arena) write(key string, value []byte) spot {
	size := entryHeader + len(key) + len(value)
	if a.last < 0 || cap(a.block[a.last].bytes)-len(a.block[a.last].bytes) < size {
		a.grow(size)
	}
	b := &a.block[a.last]
	p := spot{uint32(a.last), uint32(len(b.bytes))}                         //nolint:gosec // a block is far below 4 GB, and so is their number
	b.bytes = binary.LittleEndian.AppendUint32(b.bytes, uint32(len(key)))   //nolint:gosec // a record is far below 4 GB
	b.bytes = binary.LittleEndian.AppendUint32(b.bytes, uint32(len(value))) //nolint:gosec // a record is far below 4 GB
	b.bytes = append(append(b.bytes, key...), value...)
	b.live += size
	a.used, a.live = a.used+size, a.live+size
	return p
}

// grow opens a block. Small stores have small ones.
func (a *arena) grow(size int) {
	fresh := arenaBlock{bytes: make([]byte, 0, max(size, min(max(a.used, blockLeast), a.most)))}
	if a.last >= 0 {
		a.free(a.last)
	}
	a.last = slices.IndexFunc(a.block, func(b arenaBlock) bool { return b.bytes == nil })
	if a.last < 0 {
		a.last = len(a.block)
		a.block = append(a.block, fresh)
		return
	}
	a.block[a.last] = fresh
}

// drop forgets an entry.
func (a *arena) drop(p spot, bytes int) {
	b := &a.block[p.block]
	b.live -= entryHeader + bytes
	a.live -= entryHeader + bytes
	if int(p.block) != a.last {
		a.free(int(p.block))
	}
}

// free gives back a block where nothing lives.
func (a *arena) free(block int) {
	if b := &a.block[block]; b.live == 0 {
		a.used -= len(b.bytes)
		b.bytes = nil
	}
}

// tidy moves what lives in the emptiest blocks to the end where more than half of all is dead, a little at a time.
func (a *arena) tidy() {
	for range tidyPerCommit {
		if a.used <= 2*a.live+a.most {
			return
		}
		emptiest := -1
		for i, b := range a.block {
			if i != a.last && b.bytes != nil && (emptiest < 0 || b.live*len(a.block[emptiest].bytes) < a.block[emptiest].live*len(b.bytes)) {
				emptiest = i
			}
		}
		if emptiest < 0 {
			return
		}
		a.move(emptiest)
	}
}

// move writes a block's living entries anew; the last of them gives the block back.
func (a *arena) move(block int) {
	bytes := a.block[block].bytes
	for offset := 0; offset < len(bytes) && a.block[block].bytes != nil; {
		p := spot{uint32(block), uint32(offset)} //nolint:gosec // a block is far below 4 GB, and so is their number
		key, value := a.entry(p)
		offset += entryHeader + len(key) + len(value)
		k := string(key)
		h := a.hash(k)
		if at, ok := a.index[h]; ok && at == p {
			a.index[h] = a.write(k, value)
			a.drop(p, len(key)+len(value))
		}
	}
}

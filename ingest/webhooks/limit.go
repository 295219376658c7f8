package webhooks

import (
	"crypto/sha256"
	"sync"
	"time"
)

// bucket lets so many through a second, and twice as many at once. Safe for concurrent use.
type bucket struct {
	every time.Duration // one more
	most  time.Duration // how far behind the clock full may lie

	mu   sync.Mutex
	full time.Time // when it was, or will be, full again
}

func newBucket(perSecond int) *bucket {
	every := time.Second / time.Duration(perSecond)
	return &bucket{every: every, most: 2 * time.Second}
}

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.full
	if next.Before(now) {
		next = now
	}
	if next = next.Add(b.every); next.Sub(now) > b.most {
		return false
	}
	b.full = next
	return true
}

// recent remembers the last ids, in bounded memory: two generations, the older of which is dropped whole. Safe for concurrent
// use.
type recent struct {
	most int // of one generation

	mu       sync.Mutex
	now, old map[recentID]struct{}
}

type recentID [16]byte

func newRecent(most int) *recent {
	return &recent{most: max(1, most/2), now: map[recentID]struct{}{}, old: map[recentID]struct{}{}}
}

// recentOf is an event of a processor. Lengths keep "a"+"bc" and "ab"+"c" apart.
func recentOf(processor, eventID string) recentID {
	sum := sha256.Sum256(append(append([]byte{byte(len(processor))}, processor...), eventID...)) //nolint:gosec // its low byte is enough
	return recentID(sum[:16])
}

func (r *recent) has(id recentID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, is := r.now[id]
	if !is {
		_, is = r.old[id]
	}
	return is
}

func (r *recent) add(id recentID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.now) >= r.most {
		r.now, r.old = map[recentID]struct{}{}, r.now
	}
	r.now[id] = struct{}{}
}

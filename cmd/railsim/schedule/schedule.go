// Package schedule says what is due when. It has no clock, no goroutine and no lock: its owner has them.
package schedule

import (
	"container/heap"
	"time"
)

// Heap holds keys with the moment they are due.
type Heap struct{ h dueHeap }

type due struct {
	at  time.Time
	key string
	seq int // keys due at one moment come in the order they were added
}

type dueHeap struct {
	items []due
	seq   int
}

func (h *dueHeap) Len() int { return len(h.items) }
func (h *dueHeap) Less(i, j int) bool {
	a, b := h.items[i], h.items[j]
	return a.at.Before(b.at) || a.at.Equal(b.at) && a.seq < b.seq
}
func (h *dueHeap) Swap(i, j int) { h.items[i], h.items[j] = h.items[j], h.items[i] }
func (h *dueHeap) Push(x any)    { h.items = append(h.items, x.(due)) }
func (h *dueHeap) Pop() any {
	last := h.items[len(h.items)-1]
	h.items = h.items[:len(h.items)-1]
	return last
}

// Add lets key be due at a moment, besides those it is due at already.
func (t *Heap) Add(at time.Time, key string) {
	t.h.seq++
	heap.Push(&t.h, due{at, key, t.h.seq})
}

// Next takes a key that is due, or says how long to wait.
func (t *Heap) Next(now time.Time) (key string, wait time.Duration, ok bool) {
	if len(t.h.items) == 0 {
		return "", time.Hour, false
	}
	if first := t.h.items[0]; first.at.After(now) {
		return "", first.at.Sub(now), false
	}
	return heap.Pop(&t.h).(due).key, 0, true
}

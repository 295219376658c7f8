package engine

import (
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Invariant: an arena is a map, whatever hashes collide and however often its blocks are made anew; it holds no more than
// twice what lives and a block; and what it gave out stays as it was.
func TestArenaIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, m := newArena(), map[string]string{}
		hashes := rapid.Uint64Range(1, 12).Draw(t, "hashes")
		a.hash = func(key string) uint64 { return uint64(len(key)) % hashes }
		a.most = 8 << 10
		seen := map[string][]byte{}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for range rapid.IntRange(1, 500).Draw(t, "steps") {
			key := strings.Repeat("k", rng.IntN(16))
			switch rng.IntN(8) {
			case 0, 1, 2, 3:
				value := strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(2500))
				a.set(key, []byte(value))
				m[key] = value
				seen[value] = a.get(key)
			case 4, 5, 6:
				a.delete(key)
				delete(m, key)
			default:
				for range 1 + a.used/blockLeast {
					a.tidy()
				}
				if a.used > 2*a.live+a.most {
					t.Fatalf("%d bytes are kept for %d", a.used, a.live)
				}
			}
			sameAsMap(t, a, m)
		}
		for value, got := range seen {
			if got == nil || string(got) != value {
				t.Fatalf("%q became %q", value, got)
			}
		}
	})
}

func sameAsMap(t *rapid.T, a *arena, m map[string]string) {
	live, used := 0, 0
	for k, v := range m {
		if got := a.get(k); got == nil || string(got) != v {
			t.Fatalf("%q is %q, want %q", k, got, v)
		}
		if _, spilt := a.spill[k]; !spilt {
			live += entryHeader + len(k) + len(v)
		}
	}
	for _, b := range a.block {
		used += len(b.bytes)
	}
	var keys []string
	for k := range a.all() {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if got, want := keys, slices.Sorted(maps.Keys(m)); !slices.Equal(got, want) || a.live != live || a.used != used {
		t.Fatalf("keys %q, want %q; %d bytes live, want %d; %d used, want %d", got, want, a.live, live, a.used, used)
	}
}

// A record costs the collector nothing, however many there are.
func TestArenaHoldsFewObjects(t *testing.T) {
	a := newArena()
	value := make([]byte, 200)
	const records = 100_000
	before := objects()
	for i := range records {
		a.set(string(ParkedID(int64(i))), value)
	}
	if made := objects() - before; made > records/100 {
		t.Errorf("%d objects for %d records", made, records)
	}
	if a.get(string(ParkedID(7))) == nil {
		t.Error("a record is gone")
	}
}

func BenchmarkArenaSet(b *testing.B) {
	a, value := newArena(), make([]byte, 600)
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = "acc_" + string(ParkedID(int64(i)))
	}
	for i := 0; b.Loop(); i++ {
		a.set(keys[i%len(keys)], value)
		if i%100 == 0 {
			a.tidy()
		}
	}
	b.ReportMetric(float64(a.used)/float64(a.live), "used/live")
}

func BenchmarkArenaGet(b *testing.B) {
	a, value := newArena(), make([]byte, 200)
	keys := make([]string, 1_000_000)
	for i := range keys {
		keys[i] = "acc_" + string(ParkedID(int64(i)))
		a.set(keys[i], value)
	}
	for i := 0; b.Loop(); i++ {
		a.get(keys[(i*7919)%len(keys)])
	}
}

// objects are what the heap holds once everything dead is gone.
func objects() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapObjects)
}

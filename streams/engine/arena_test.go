package engine

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Invariant: an arena is a map, whatever hashes collide and however often its blocks are made anew; and it holds no more
// than twice what lives and a block.
func TestArenaIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, m := newArena(), map[string]string{}
		hashes := rapid.Uint64Range(1, 12).Draw(t, "hashes")
		a.hash = func(key string) uint64 { return uint64(len(key)) % hashes }
		a.most = 8 << 10
		seen := map[string][]byte{} // given out: must stay as it was
		key := rapid.Custom(func(t *rapid.T) string { return strings.Repeat("k", rapid.IntRange(0, 15).Draw(t, "length")) })
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				k, v := key.Draw(t, "k"), rapid.StringN(0, 2000, 3000).Draw(t, "v")
				a.set(k, []byte(v))
				m[k] = v
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "k")
				a.delete(k)
				delete(m, k)
			},
			"tidy": func(*rapid.T) {
				for range 1 + a.used/blockLeast {
					a.tidy()
				}
				if a.used > 2*a.live+a.most {
					t.Fatalf("%d bytes are kept for %d", a.used, a.live)
				}
			},
			"": func(t *rapid.T) {
				live := 0
				for k, v := range m {
					got := a.get(k)
					if got == nil || string(got) != v {
						t.Fatalf("%q is %q, want %q", k, got, v)
					}
					if seen[v] == nil {
						seen[v] = got
					}
					if _, spilt := a.spill[k]; !spilt {
						live += entryHeader + len(k) + len(v)
					}
				}
				for v, got := range seen {
					if string(got) != v {
						t.Fatalf("%q became %q", v, got)
					}
				}
				if got, want := slices.Sorted(a.keys()), slices.Sorted(maps.Keys(m)); !slices.Equal(got, want) || a.live != live {
					t.Fatalf("keys %q, want %q; %d bytes live, want %d", got, want, a.live, live)
				}
				used := 0
				for _, b := range a.block {
					used += len(b.bytes)
				}
				if a.used != used {
					t.Fatalf("%d bytes counted, %d in blocks", a.used, used)
				}
			},
		})
	})
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

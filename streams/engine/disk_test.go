package engine

import (
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/schemas/topics"
)

// memFolder is a folder on a disk that is none, for as long as the test.
func memFolder(t *rapid.T) *folder {
	cfg := Config{Dir: "state", CacheBytes: 8 << 20, Partitions: 1, Logger: slog.New(slog.DiscardHandler)}
	f, err := openFolder(&cfg, vfs.NewCrashableMem())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	f.origin, f.keeps = "a cluster", time.Hour
	return f
}

func (p *played) now() time.Time {
	if f := p.part.folder; f != nil {
		return f.now()
	}
	return time.Now()
}

// backUp keeps a copy of the files now and then, for somebody to put it back.
func (p *played) backUp() {
	if f := p.part.folder; f != nil && rapid.IntRange(0, 3).Draw(p.t, "backup") == 0 {
		if files, ok := f.fs.(*vfs.MemFS); ok {
			p.older = files.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
		}
	}
}

// crash ends the process, or the machine: then some of what was not synced is gone. It may take long until the next start.
func (p *played) crash() {
	f := p.part.folder
	if f == nil {
		p.part.reset()
		return
	}
	if p.late = rapid.IntRange(0, 5).Draw(p.t, "absence") == 5; p.late {
		before := f.now
		f.now = func() time.Time { return before().Add((retentionShare + 1) * f.keeps) }
	}
	files, ok := f.fs.(*vfs.MemFS)
	if !ok {
		p.t.Fatal("not a disk that can crash")
	}
	switch kept := rapid.SampledFrom([]int{-2, -1, 100, 50, 0}).Draw(p.t, "per cent kept of what was not synced"); {
	case kept == -2 && p.older != nil:
		files = p.older
		p.older = nil
	case kept >= 0:
		files = files.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rand.New(rand.NewPCG(rapid.Uint64().Draw(p.t, "seed"), 1))})
	}
	p.part.reset()
	f.fs = files
}

// everything in a base, in no order.
func everything(b base) iter.Seq2[string, []byte] {
	switch b := b.(type) {
	case *memory:
		return b.all()
	case mirrored:
		return b.all()
	case space:
		return func(yield func(string, []byte) bool) {
			b.walk([]byte{b.name}, []byte{b.name + 1}, func(k, v []byte) bool { return yield(string(k[1:]), v) })
		}
	}
	panic("a base that is not known")
}

// partitionOn is one with nothing but its state.
func partitionOn(t *rapid.T, f *folder) *partition {
	p := newPartition(0, &Config{Table: "t", Side: "s", Partitions: 1, Hasher: topics.Hasher, Logger: slog.New(slog.DiscardHandler)}, nil, nil)
	p.folder = f
	if err := p.fetch([changelogs]extent{{0, 1 << 40}, {0, 1 << 40}}); err != nil {
		t.Fatal(err)
	}
	return p
}

// Invariant: a database is taken over only if it has all batches up to some point. Its own list of files tells whether one
// is gone only as long as that list is whole, so here it is not asked.
func TestGapsAreNoticed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := memFolder(t)
		p := partitionOn(t, f)
		value := make([]byte, 3_000)
		transactions := rapid.IntRange(60, 120).Draw(t, "transactions") // some 5 to a link
		for i := range transactions {
			p.next[0] = int64(i)
			p.side.put("\x01\x01k"+strconv.Itoa(i), value)
			p.side.keep()
			if err := p.commit(time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		last := p.disk.link
		// What a table that is no longer listed held is gone, up to the end or not.
		from := rapid.Uint64Range(1, last).Draw(t, "from")
		to := rapid.Uint64Range(from, last).Draw(t, "to")
		for link := from; link <= to; link++ {
			p.disk.remove(linkKey(link))
		}
		if err := p.disk.batch.Commit(pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		p.reset()
		p = partitionOn(t, f)
		defer p.reset()
		if older := to == last && from > 1; p.local != older {
			t.Fatalf("links %d to %d of %d are gone: taken over is %v", from, to, last, p.local)
		}
	})
}

// TestLinksAreBounded: a database that ran for long is whole with the last of its links.
func TestLinksAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := memFolder(t)
		p := partitionOn(t, f)
		for range linksKept + rapid.IntRange(-1, 3).Draw(t, "over") {
			p.disk.linked = linkBytes
			if err := p.save(time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		links := 0
		p.disk.walkSpace(linkSpace, func(string, []byte) { links++ })
		p.reset()
		p = partitionOn(t, f)
		defer p.reset()
		if !p.local || links > linksKept {
			t.Fatalf("%d links, taken over is %v", links, p.local)
		}
	})
}

// TestOldStateIsSwept: what nobody will take over any more goes, what is in use stays.
func TestOldStateIsSwept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := memFolder(t)
		for _, p := range []int32{1, 2} {
			if err := f.fs.MkdirAll(f.of(p), 0o750); err != nil {
				t.Fatal(err)
			}
			file, err := f.fs.Create(f.fs.PathJoin(f.of(p), "x"), vfs.WriteCategoryUnspecified)
			if err == nil {
				_, err = file.Write([]byte("x"))
			}
			if err == nil {
				err = file.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		age := rapid.SampledFrom([]time.Duration{0, f.keeps - time.Minute, f.keeps + time.Minute}).Draw(t, "age")
		f.now = func() time.Time { return time.Now().Add(age) }
		f.sweep(func(dir string) bool { return dir == f.of(1) })
		left, err := f.fs.List(f.dir)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(left)
		want := []string{"LOCK", "partition-1", "partition-2"}
		if age > f.keeps {
			want = want[:2]
		}
		if !slices.Equal(left, want) {
			t.Fatalf("at the age of %v there is %q, want %q", age, left, want)
		}
	})
}

func TestMarkRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := mark{at: time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "at")), origin: field().Draw(t, "origin")}
		for i := range m.positions {
			m.positions[i] = position{rapid.Int64Min(0).Draw(t, "offset"), rapid.Uint64().Draw(t, "sum")}
		}
		got, err := decodeMark(m.encode())
		if err != nil || !got.at.Equal(m.at) || got.positions != m.positions || got.origin != m.origin {
			t.Fatalf("%+v became %+v: %v", m, got, err)
		}
	})
}

func FuzzDecodeMark(f *testing.F) {
	m := mark{at: time.UnixMilli(1), origin: "o"}
	f.Add(m.encode())
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = decodeMark(b) }) // must not panic, whatever lies on the disk
}

// TestDeletionsThatWereCompactedAway: an older state has a record whose deletion is in no changelog any more.
func TestDeletionsThatWereCompactedAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := memFolder(t)
		files, ok := f.fs.(*vfs.MemFS)
		if !ok {
			t.Fatal("not a disk that can be copied")
		}
		p := partitionOn(t, f)
		const key = "\x01\x01kgone"
		p.side.put(key, []byte("old"))
		if err := p.commit(f.now()); err != nil {
			t.Fatal(err)
		}
		p.reset() // so that all is in the files
		older := files.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
		p = partitionOn(t, f)
		p.side.put(key, nil)
		if err := p.commit(f.now()); err != nil {
			t.Fatal(err)
		}
		p.reset()
		f.fs = older
		late := rapid.Bool().Draw(t, "late") // then compaction took the deletion
		if late {
			f.now = func() time.Time { return time.Now().Add(retentionShare*f.keeps + time.Minute) }
		}
		p = partitionOn(t, f)
		defer p.reset()
		if gone := p.side.get(key) == nil; gone != late {
			t.Fatalf("late is %v, the record is gone: %v", late, gone)
		}
	})
}

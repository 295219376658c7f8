package engine

import (
	"iter"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
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

// crash ends the process, or the machine: then some of what was not synced is gone.
func (p *played) crash() {
	f := p.part.folder
	if f == nil {
		p.part.reset()
		return
	}
	files, ok := f.fs.(*vfs.MemFS)
	if !ok {
		p.t.Fatal("not a disk that can crash")
	}
	lost := rapid.SampledFrom([]int{-1, -1, 100, 50, 0}).Draw(p.t, "per cent kept of what was not synced")
	if lost >= 0 {
		files = files.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: lost, RNG: rand.New(rand.NewPCG(rapid.Uint64().Draw(p.t, "seed"), 1))})
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

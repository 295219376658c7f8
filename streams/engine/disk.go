package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the database of one partition: its committed records, and how far into its changelogs they reach. Changes are
// gathered in a batch, which takes effect as a whole or not at all, and none of it is synced: a database that lost its last
// batches is one of an earlier commit, and the changelogs hold the rest.
type disk struct {
	dir    string
	fs     vfs.FS
	db     *pebble.DB
	batch  *pebble.Batch // what is not applied yet
	key    []byte        // room for the key in work
	link   uint64        // see apply
	linked int           // bytes of the batches since the link began
	failed atomic.Pointer[error]
}

// The spaces of a database are told apart by the first byte of its keys.
const (
	cellSpace   = 'c'
	sideSpace   = 's'
	parkedSpace = 'p' // key; value: how many of its records are parked, uvarint
	linkSpace   = 'l' // number, 8 bytes big endian; see apply
	markKey     = "m" // see mark
)

// Links are small beside what the database writes at once to a file.
const (
	linkBytes = 16 << 10
	linksKept = 4_096
)

// batchBytesMost is the size at which a restore applies its changes.
const batchBytesMost = 1 << 20

// openDisk opens the database of a folder, or makes one. Whatever lies there must not be able to end the process.
func openDisk(dir string, shared *folder) (d *disk, err error) {
	defer func() {
		if v := recover(); v != nil {
			d, err = nil, fmt.Errorf("opening %s: panic: %v", dir, v)
		}
	}()
	if err := shared.fs.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the folder of a partition: %w", err)
	}
	d = &disk{dir: dir, fs: shared.fs}
	options := &pebble.Options{
		FS:                 shared.fs,
		FormatMajorVersion: pebble.FormatNewest, // an older release that cannot read it restores in full
		Cache:              shared.cache, FileCache: shared.files,
		MemTableSize: shared.writeBuffer,
		Logger:       diskLog{shared.log, dir},
		EventListener: &pebble.EventListener{
			BackgroundError: d.fail,
			DataCorruption:  func(info pebble.DataCorruptionInfo) { d.fail(errors.Join(pebble.ErrCorruption, info.Details)) },
		},
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // most reads are of ids that are not there
	}
	if d.db, err = pebble.Open(dir, options); err != nil {
		return nil, fmt.Errorf("opening %s: %w", dir, err)
	}
	d.batch = d.db.NewBatch()
	return d, nil
}

// fail keeps the first error. Reads then find nothing, so nothing that was decided since may be committed.
func (d *disk) fail(err error) {
	err = fmt.Errorf("state on disk, %s: %w", d.dir, err)
	d.failed.CompareAndSwap(nil, &err)
}

func (d *disk) err() error {
	if e := d.failed.Load(); e != nil {
		return *e
	}
	return nil
}

// broken tells whether the files themselves are at fault.
func broken(err error) bool {
	return err != nil && (pebble.IsCorruptionError(err) || errors.Is(err, pebble.ErrCorruption) || errors.Is(err, fs.ErrNotExist))
}

// close gives up what is not applied. A database whose files are broken is removed.
func (d *disk) close() error {
	err := errors.Join(d.batch.Close(), d.db.Close())
	if broken(d.err()) {
		return d.fs.RemoveAll(d.dir)
	}
	return err
}

// apply makes the changes take effect. Batches form a chain of numbered links: a database that has lost what it wrote last
// is an earlier state and good, one that has lost something else has a gap in the chain (if its list of files was cut, it
// would not notice itself).
func (d *disk) apply() {
	if d.batch.Empty() {
		return
	}
	if d.link == 0 || d.linked+d.batch.Len() > linkBytes {
		d.link++
		d.linked = 0
		if d.link > linksKept {
			d.remove(linkKey(d.link - linksKept))
		}
	}
	d.linked += d.batch.Len()
	d.write(linkKey(d.link), nil)
	if err := d.batch.Commit(pebble.NoSync); err != nil {
		d.fail(err)
	}
	d.batch.Reset()
}

func linkKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{linkSpace}, n) }

// chain finds the last link of a database that was just opened, and whether one is missing before it.
func (d *disk) chain() error {
	first, found := uint64(0), uint64(0)
	d.walkSpace(linkSpace, func(key string, _ []byte) {
		if len(key) == 8 {
			d.link = binary.BigEndian.Uint64([]byte(key))
		}
		if found == 0 {
			first = d.link
		}
		found++
	})
	d.linked = linkBytes // what comes now is a link of its own
	if d.link-first+1 != found || (first > 1 && found < linksKept) {
		return fmt.Errorf("%w: of the links %d to %d there are %d", errDoubt, first, d.link, found)
	}
	return nil
}

// relieve applies the changes of a restore once they are many.
func (d *disk) relieve() {
	if d.batch.Len() >= batchBytesMost {
		d.apply()
	}
}

func (d *disk) bytes() int64 {
	return int64(d.db.Metrics().DiskSpaceUsage()) //nolint:gosec // bytes of a disk
}

// read sees what is not applied yet by applying it: only a restore ever does that, and its batches need no borders.
func (d *disk) read(key []byte) []byte {
	d.apply()
	v, closer, err := d.db.Get(key)
	if err != nil {
		if !errors.Is(err, pebble.ErrNotFound) {
			d.fail(err)
		}
		return nil
	}
	value := append(make([]byte, 0, len(v)), v...)
	if err := closer.Close(); err != nil {
		d.fail(err)
	}
	return value
}

func (d *disk) write(key, value []byte) {
	if err := d.batch.Set(key, value, nil); err != nil {
		d.fail(err)
	}
}

func (d *disk) remove(key []byte) {
	if err := d.batch.Delete(key, nil); err != nil {
		d.fail(err)
	}
}

// walk hands out the records from lower to before upper. The key is only good until yield returns.
func (d *disk) walk(lower, upper []byte, yield func(key, value []byte) bool) {
	d.apply()
	it, err := d.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		d.fail(err)
		return
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			d.fail(err)
			break
		}
		if !yield(it.Key(), append(make([]byte, 0, len(v)), v...)) {
			break
		}
	}
	if err := it.Close(); err != nil {
		d.fail(err)
	}
}

// walkSpace goes through all of a space.
func (d *disk) walkSpace(name byte, yield func(key string, value []byte)) {
	d.walk([]byte{name}, []byte{name + 1}, func(key, value []byte) bool {
		yield(string(key[1:]), value)
		return true
	})
}

// space is the base that lies on disk alone.
type space struct {
	*disk
	name byte
}

// in is the key with its space, until the next call.
func (s space) in(key string) []byte {
	s.key = append(append(s.key[:0], s.name), key...)
	return s.key
}

func (s space) get(key string) []byte        { return s.read(s.in(key)) }
func (s space) has(key string) bool          { return s.get(key) != nil }
func (s space) set(key string, value []byte) { s.write(s.in(key), value) }
func (s space) delete(key string)            { s.remove(s.in(key)) }
func (s space) tidy()                        {}
func (s space) held() int                    { return 0 }

func (s space) ascend(r scanRange, yield func(key string, value []byte) bool) {
	lower := append([]byte{s.name}, r.prefix...)
	// Bounded where the prefix ends: what was deleted behind it would be gone through for nothing.
	upper := successor(lower)
	if r.toID != "" {
		upper = append(slices.Clip(lower), r.toID...)
	}
	lower = append(slices.Clip(lower), r.fromID...)
	if bytes.Compare(lower, upper) < 0 {
		s.walk(lower, upper, func(key, value []byte) bool { return yield(string(key[1:]), value) })
	}
}

// successor is the first key behind all that begin with b, which begins with the name of a space.
func successor(b []byte) []byte {
	end := bytes.TrimRight(b, "\xff")
	end = slices.Clone(end)
	end[len(end)-1]++
	return end
}

// mirrored is the base that is read in memory and kept on disk as well.
type mirrored struct {
	*memory
	on space
}

func (m mirrored) set(key string, value []byte) {
	m.memory.set(key, value)
	m.on.set(key, value)
}

func (m mirrored) delete(key string) {
	m.memory.delete(key)
	m.on.delete(key)
}

// load reads all of it into memory.
func (m mirrored) load() { m.on.walkSpace(m.on.name, m.memory.set) }

// diskLog keeps Pebble's chatter out.
type diskLog struct {
	log *slog.Logger
	dir string
}

func (diskLog) Infof(string, ...any) {}

func (l diskLog) Errorf(format string, args ...any) {
	l.log.Error("state on disk", "dir", l.dir, "error", fmt.Sprintf(format, args...))
}

// Fatalf ends the process: Pebble calls it where it could not write, and cannot go on. The next start finds the state of an
// earlier commit.
func (l diskLog) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf("engine: state on disk, %s: %s", l.dir, fmt.Sprintf(format, args...)))
}

package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A partition whose state is on disk is restored from there and from what its changelogs hold behind it. The changelogs are
// the truth: what is on disk is taken only if it provably is an earlier state of theirs, else it is removed and everything
// read from the start. What is required:
//
//   - It was kept by this group, of the same topics (by their ids, not their names) of the same cluster.
//   - Its positions lie inside the changelogs, and the record at each, where compaction has left one, is the one that was
//     written there: a log that lost its end and grew again is another log.
//   - It is younger than the changelogs keep deletions. An older one may hold a record whose deletion was compacted away.
//   - Nothing is missing in the middle of it: losing its end only makes it older.
//   - After the rest is applied, state and committed offset agree as they must after any restore; else it is removed and
//     the partition restored once more, before that counts as a torn commit.

// errDoubt means that what is on disk, or on standby, is not to be trusted.
var errDoubt = errors.New("the state that was kept is in doubt")

// folder is Config.Dir: a database for each partition that was here.
type folder struct {
	dir         string
	fs          vfs.FS
	lock        io.Closer
	cache       *pebble.Cache
	files       *pebble.FileCache
	writeBuffer uint64
	log         *slog.Logger

	origin string        // cluster and topics
	keeps  time.Duration // how old state may be
	now    func() time.Time
}

const (
	filesOpenMost = 1_000
	// writeBufferLeast and Most bound what a partition gathers in memory before it is written in order.
	writeBufferLeast = 1 << 20
	writeBufferMost  = 32 << 20
	// retentionShare of the time for which deletions are kept is how old a state may be: clocks differ, and a restore takes
	// its time.
	retentionShare = 2
	markVersion    = 1
)

// openFolder takes the folder for this process.
func openFolder(cfg *Config, files vfs.FS) (*folder, error) {
	if cfg.Dir == "" {
		return nil, nil
	}
	if err := files.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the folder of the state: %w", err)
	}
	lock, err := files.Lock(files.PathJoin(cfg.Dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("the folder %s is in use: every member of a group needs a Dir of its own; "+
			"give this one another, or end the process that holds it: %w", cfg.Dir, err)
	}
	f := &folder{
		dir: cfg.Dir, fs: files, lock: lock, cache: pebble.NewCache(cfg.CacheBytes), log: cfg.Logger, now: time.Now,
		// What is gathered counts as a part of the cache.
		writeBuffer: uint64(min(max(cfg.CacheBytes/4/int64(cfg.Partitions), writeBufferLeast), writeBufferMost)),
	}
	f.files = pebble.NewFileCache(1, filesOpenMost)
	return f, nil
}

func (f *folder) close() {
	if f == nil {
		return
	}
	f.files.Unref()
	f.cache.Unref()
	if err := f.lock.Close(); err != nil {
		f.log.Warn("unlocking the folder of the state", "dir", f.dir, "error", err)
	}
}

// partitionFolder begins the name of a partition's folder; its number follows.
const partitionFolder = "partition-"

func (f *folder) of(p int32) string {
	return f.fs.PathJoin(f.dir, partitionFolder+strconv.Itoa(int(p)))
}

// identify learns what state must be of to be taken, and for how long the changelogs keep deletions.
func (f *folder) identify(ctx context.Context, cfg *Config, client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	admin := kadm.NewClient(client)
	topics := append(cfg.inputs(), cfg.Table, cfg.Side)
	meta, err := admin.Metadata(ctx, topics...)
	if err != nil {
		return fmt.Errorf("asking for the ids of the topics: %w", err)
	}
	f.origin = strconv.Quote(meta.Cluster) + " " + strconv.Quote(cfg.Group)
	for _, t := range topics {
		f.origin += fmt.Sprintf(" %q %v", t, meta.Topics[t].ID)
	}
	if f.keeps, err = cfg.deletionsKept(ctx, admin); f.keeps == 0 {
		f.log.Warn("the changelogs do not tell their delete.retention.ms: state on disk is not taken over", "group", cfg.Group, "error", err)
	}
	f.sweep(func(string) bool { return false }) // none is in use yet
	return nil
}

// deletionsKept is how old a state may be to be continued from the changelogs, 0 where that cannot be learned.
func (c *Config) deletionsKept(ctx context.Context, admin *kadm.Client) (time.Duration, error) {
	configs, err := admin.DescribeTopicConfigs(ctx, c.Table, c.Side)
	return min(deletionsKept(configs, c.Table), deletionsKept(configs, c.Side)) / retentionShare, err //nolint:wrapcheck // for a log line
}

// deletionsKept is 0 where it cannot be learned.
func deletionsKept(configs kadm.ResourceConfigs, topic string) time.Duration {
	found, err := configs.On(topic, nil)
	if err != nil || found.Err != nil {
		return 0
	}
	for _, c := range found.Configs {
		if c.Key == "delete.retention.ms" {
			ms, err := strconv.ParseInt(c.MaybeValue(), 10, 64)
			if err != nil || ms < 0 {
				return 0
			}
			return time.Duration(min(ms, int64(100*365*24*time.Hour/time.Millisecond))) * time.Millisecond
		}
	}
	return 0
}

// sweep removes what is too old to be taken when its partition comes back. That bounds what partitions that moved away leave.
func (f *folder) sweep(inUse func(dir string) bool) {
	names, err := f.fs.List(f.dir)
	for _, name := range names {
		dir := f.fs.PathJoin(f.dir, name)
		if !strings.HasPrefix(name, partitionFolder) || inUse(dir) || f.now().Sub(f.written(dir)) <= f.keeps {
			continue
		}
		f.log.Info("state on disk removed", "dir", dir, "reason", "its partition has been away for too long")
		err = errors.Join(err, f.fs.RemoveAll(dir))
	}
	if err != nil {
		f.log.Warn("removing old state", "dir", f.dir, "error", err)
	}
}

// written is when something was last written in a database's folder, as far as that can be told.
func (f *folder) written(dir string) (last time.Time) {
	names, _ := f.fs.List(dir)
	for _, name := range names {
		if info, err := f.fs.Stat(f.fs.PathJoin(dir, name)); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}

// The changelogs of a partition.
const (
	tableLog = iota
	sideLog
	changelogs
)

// position is the last record of a changelog that is in the state: everything before it is too. A restore reads from it on,
// so that it sees whether it still is the one that was written.
type position struct {
	offset int64
	sum    uint64
}

func positionOf(r *kgo.Record) position {
	h := fnv.New64a()
	_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(r.Key)))) // a hash never fails
	_, _ = h.Write(r.Key)
	_, _ = h.Write(r.Value)
	return position{offset: r.Offset, sum: h.Sum64()}
}

// mark is what a database tells of itself, written in the same batch as the records.
type mark struct {
	at        time.Time // when everything before the positions was known to be in it, milliseconds
	positions [changelogs]position
	origin    string // cluster, group, topics
}

// encode gives the value under markKey:
//
//	version 1, 1 byte | ms, varint | for table and side: offset, uvarint; sum, uvarint | origin to the end
func (m *mark) encode() []byte {
	b := binary.AppendVarint([]byte{markVersion}, m.at.UnixMilli())
	for _, p := range m.positions {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(p.offset)), p.sum) //nolint:gosec // offsets are not negative
	}
	return append(b, m.origin...)
}

func decodeMark(b []byte) (m mark, err error) {
	if len(b) == 0 || b[0] != markVersion {
		return mark{}, fmt.Errorf("%w: no mark of version %d", errDoubt, markVersion)
	}
	r := fieldReader{rest: string(b[1:])}
	m.at = time.UnixMilli(r.varint())
	for i := range m.positions {
		m.positions[i] = position{offset: int64(r.uvarint()), sum: r.uvarint()} //nolint:gosec // written from an offset
	}
	m.origin = r.rest
	if r.err != nil {
		return mark{}, fmt.Errorf("%w: mark: %w", errDoubt, r.err)
	}
	return m, nil
}

// extent is from where to where a changelog goes.
type extent struct{ start, end int64 }

// extents asks for those of both changelogs.
func (s *session) extents(ctx context.Context) (map[changelog]extent, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	admin := kadm.NewClient(s.client)
	starts, err := admin.ListStartOffsets(ctx, s.cfg.Table, s.cfg.Side)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking where the changelogs start: %w", err)
	}
	ends, err := admin.ListEndOffsets(ctx, s.cfg.Table, s.cfg.Side)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking where the changelogs end: %w", err)
	}
	found := map[changelog]extent{}
	starts.Each(func(o kadm.ListedOffset) {
		end, _ := ends.Lookup(o.Topic, o.Partition)
		found[changelog{o.Topic, o.Partition}] = extent{o.Offset, end.Offset}
	})
	return found, nil
}

// extents are those of the partition.
func (p *partition) extents(all map[changelog]extent) (own [changelogs]extent) {
	for log, topic := range p.logs {
		own[log] = all[changelog{topic, p.id}]
	}
	return own
}

// check tells what speaks against continuing a state of these changelogs.
func (m *mark) check(now time.Time, keeps time.Duration, logs [changelogs]extent) error {
	if age := now.Sub(m.at); age.Abs() > keeps {
		return fmt.Errorf("%w: it is %v old, and deletions are only kept for some %v", errDoubt, age, retentionShare*keeps)
	}
	for i, p := range m.positions {
		if p.offset < logs[i].start || p.offset >= logs[i].end {
			return fmt.Errorf("%w: it stands at %d of a changelog that goes from %d to %d", errDoubt, p.offset, logs[i].start, logs[i].end)
		}
	}
	return nil
}

// fetch begins with what is on disk of a partition, if nothing speaks against it. Otherwise, and where there is none, the
// partition begins with an empty database.
func (p *partition) fetch(logs [changelogs]extent) error {
	p.reset()
	if p.folder == nil {
		return nil
	}
	d, err := openDisk(p.folder.of(p.id), p.folder)
	if err == nil {
		cells := p.store(d)
		if d.fresh() {
			return nil
		}
		if err = p.takeOver(cells, logs); err == nil {
			p.local = true
			return nil
		}
		if d.err() != nil {
			err = d.err()
		}
	}
	p.wipe(err)
	if d, err = openDisk(p.folder.of(p.id), p.folder); err != nil {
		return fmt.Errorf("beginning anew: %w", err)
	}
	p.store(d)
	return nil
}

// fresh tells that nothing was ever stored. A restore that did not come to its end leaves records without a mark.
func (d *disk) fresh() bool {
	empty := true
	d.walk(nil, nil, func(_, _ []byte) bool {
		empty = false
		return false
	})
	return empty && d.err() == nil
}

// wipe forgets the state, and removes what is on disk of it.
func (p *partition) wipe(why error) {
	p.log.Warn("state removed", "reason", why)
	p.reset()
	if p.folder == nil {
		return
	}
	if err := p.folder.fs.RemoveAll(p.folder.of(p.id)); err != nil {
		p.log.Warn("removing state", "error", err)
	}
}

// store puts a database under the partition. Cells are read for every record, so they stay in memory too.
func (p *partition) store(d *disk) mirrored {
	cells := mirrored{p.cellMemory(), space{d, cellSpace}}
	p.disk, p.cells, p.side = d, newStore(cells, oneGroup), newStore(space{d, sideSpace}, sideGroup)
	return cells
}

// takeOver reads what is not read from disk when needed.
func (p *partition) takeOver(cells mirrored, logs [changelogs]extent) error {
	m, err := decodeMark(p.disk.read([]byte(markKey)))
	if err != nil {
		return err
	}
	if m.origin != p.folder.origin {
		return fmt.Errorf("%w: it is of %s, this is %s", errDoubt, m.origin, p.folder.origin)
	}
	if err := errors.Join(m.check(p.folder.now(), p.folder.keeps, logs), p.disk.chain()); err != nil {
		return err
	}
	p.positions, p.expected, p.marked = m.positions, m.positions, m.at
	cells.load()
	p.disk.walkSpace(parkedSpace, func(key string, value []byte) {
		n, _ := binary.Uvarint(value)
		p.parked[key] = int(n) //nolint:gosec // written from an int
	})
	for i, key := range p.appliedKeys {
		if v := p.side.base.get(key); v != nil {
			if err := p.readApplied(p.inputs[i], v); err != nil {
				return err
			}
		}
	}
	p.graph = string(p.side.base.get(p.graphKey))
	return p.disk.err()
}

// compare holds the first record that is read of a changelog against the position that it was read from. Where compaction
// took that record there is nothing to compare.
func (p *partition) compare(log int, r *kgo.Record) {
	want := p.expected[log]
	p.expected[log] = position{}
	if want.sum != 0 && want.offset == r.Offset && want != positionOf(r) {
		p.doubt = fmt.Errorf("%w: offset %d of %s is not the record that was written there", errDoubt, r.Offset, r.Topic)
	}
}

// keepParked puts how many records of a key are parked beside the change of them: counting them all anew would take a walk
// through all side records.
func (p *partition) keepParked(key string) {
	if p.disk == nil {
		return
	}
	parked := space{p.disk, parkedSpace}
	if n := p.parked[key]; n > 0 {
		parked.set(key, binary.AppendUvarint(nil, uint64(n)))
	} else {
		parked.delete(key)
	}
}

// acked notes the last record of a changelog that the broker has.
func (p *partition) acked(log int, r *kgo.Record) {
	if r.Offset >= 0 { // not known of a batch that the broker had already: then the position stays behind, which is safe
		p.last[log] = r
	}
}

// reach moves the positions on to the last records.
func (p *partition) reach() {
	for i, r := range p.last {
		if r != nil && r.Offset > p.positions[i].offset {
			p.positions[i] = positionOf(r)
		}
	}
	p.last = [changelogs]*kgo.Record{}
}

// save makes the changes since the last call take effect on disk, with the positions that they reach.
//
// Invariant: what is on disk is a state that was committed. So this is only called after a confirmed commit, when all
// changelog records of the transaction are acknowledged, and at the end of a restore; at is a time before which nobody else
// wrote what is not in it. (A standby stores more often, what may lie between two of these states; what its changelogs hold
// behind its positions makes one of it.)
func (p *partition) save(at time.Time) error {
	p.reach()
	if p.disk == nil {
		return nil
	}
	m := mark{at: at, positions: p.positions, origin: p.folder.origin}
	p.disk.write([]byte(markKey), m.encode())
	p.disk.apply()
	return p.disk.err()
}

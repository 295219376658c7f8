package gokagroup

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/lovoo/goka"

	"github.com/caudalpay/caudal/streams/engine"
)

// Side gives the side records of the record in work: of its key, or of its partition. It is valid during the callback. It
// panics where the context is another's, as in goka/tester.
func Side(ctx goka.Context, scope engine.Scope) engine.Side { return Engine(ctx).Side(scope) }

// Table is the side records of one kind with typed values: a keyed table beside the group table, in the same transaction. It
// serves callbacks of Goka and of the engine alike, and costs nothing to make:
//
//	payments := gokagroup.Table[Payment]{Side: gokagroup.Side(ctx, engine.ScopeKey), Kind: "payment", Codec: new(paymentCodec)}
//
// An error of the codec panics, so that the record is parked like after any other failure of the callback.
type Table[T any] struct {
	Side  engine.Side
	Kind  string // part of the stored key: changing it loses what stands under it
	Codec goka.Codec
}

// Row is a row of a side table.
type Row[T any] struct {
	ID    string
	Value T
}

// Get tells whether there is a row.
func (t Table[T]) Get(id string) (value T, ok bool) {
	data := t.Side.Get(t.Kind, id)
	if data == nil {
		return value, false
	}
	return t.decode(id, data), true
}

// Put stores a row.
func (t Table[T]) Put(id string, value T) {
	data, err := t.Codec.Encode(value)
	if err != nil {
		panic(fmt.Errorf("encoding %s %q: %w", t.Kind, id, err))
	}
	t.Side.Put(t.Kind, id, data)
}

// Delete removes a row; it may not exist.
func (t Table[T]) Delete(id string) { t.Side.Delete(t.Kind, id) }

// Scan returns up to limit rows with from <= id < to in the byte order of their ids; an empty to has no upper bound, limit 0
// means all.
func (t Table[T]) Scan(from, to string, limit int) []Row[T] {
	entries := t.Side.Scan(t.Kind, from, to, limit)
	rows := make([]Row[T], len(entries))
	for i, e := range entries {
		rows[i] = Row[T]{ID: e.ID, Value: t.decode(e.ID, e.Value)}
	}
	return rows
}

// ScanPrefix returns up to limit rows whose id starts with prefix, in the byte order of their ids; limit 0 means all.
func (t Table[T]) ScanPrefix(prefix string, limit int) []Row[T] {
	return t.Scan(prefix, prefixEnd(prefix), limit)
}

func (t Table[T]) decode(id string, data []byte) T {
	decoded, err := t.Codec.Decode(data)
	if err != nil {
		panic(fmt.Errorf("decoding %s %q: %w", t.Kind, id, err))
	}
	value, ok := owned(decoded).(T)
	if !ok {
		panic(fmt.Errorf("decoding %s %q: the codec made a %T, not a %T", t.Kind, id, decoded, value))
	}
	return value
}

// prefixEnd is the first string above all that start with prefix, empty if there is none.
func prefixEnd(prefix string) string {
	end := []byte(prefix)
	for len(end) > 0 && end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	if len(end) == 0 {
		return ""
	}
	end[len(end)-1]++
	return string(end)
}

// Due is an index of what falls due when. Its time is that of the records, never a clock: whoever asks what has expired says
// until when, usually the timestamp of the record in work. So the same log expires the same entries at the same records,
// however late it is read. A partition's entries are best kept in engine.ScopePartition, and asked for by every record or by
// a tick sent to each partition; what concerns another key is emitted to the input under that key. A record that a callback
// emits has the time of its emission, so its timestamp is a clock's: ask with times that came from outside.
//
// Times are kept to the microsecond. Entries stay until they are deleted.
type Due struct {
	Side engine.Side
	Kind string // part of the stored key: changing it loses what stands under it
}

// DueEntry is an id and when it falls due.
type DueEntry struct {
	At time.Time
	ID string
}

// The ids of a due index: microseconds since 1970 as 8 bytes big endian with the top bit turned, so that they sort by time
// and so do those before 1970, then the caller's id.
const (
	dueTimeLen = 8
	dueTopBit  = 1 << 63
)

// dueFormat is the version of an entry's value.
const dueFormat = 1

// Put adds an entry. An id may have several times; to move it, delete it at its old one.
func (d Due) Put(at time.Time, id string) {
	d.Side.Put(d.Kind, dueID(at.UnixMicro(), id), []byte{dueFormat})
}

// Delete removes an entry; it may not exist.
func (d Due) Delete(at time.Time, id string) { d.Side.Delete(d.Kind, dueID(at.UnixMicro(), id)) }

// Expired returns up to limit entries that fall due at now or before, the earliest first and then by id; limit 0 means all.
func (d Due) Expired(now time.Time, limit int) []DueEntry {
	entries := d.Side.Scan(d.Kind, "", dueID(now.UnixMicro()+1, ""), limit)
	due := make([]DueEntry, len(entries))
	for i, e := range entries {
		us := int64(binary.BigEndian.Uint64([]byte(e.ID[:dueTimeLen])) ^ dueTopBit) //nolint:gosec // dueID turned the bit
		due[i] = DueEntry{At: time.UnixMicro(us).UTC(), ID: e.ID[dueTimeLen:]}
	}
	return due
}

func dueID(us int64, id string) string {
	b := make([]byte, 0, dueTimeLen+len(id))
	return string(append(binary.BigEndian.AppendUint64(b, uint64(us)^dueTopBit), id...)) //nolint:gosec // the bits are what is meant
}

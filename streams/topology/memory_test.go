package topology

import (
	"slices"
	"strings"
	"time"

	"github.com/caudalpay/caudal/streams/engine"
)

// memory is one partition's state without an engine, for tests and benchmarks of the shell alone.
type memory struct {
	partition int32
	cells     map[string][]byte
	own       map[string]map[string][]byte // by record key
	shared    map[string][]byte
	lookups   map[string][]byte
}

func newMemory(partition int32, lookups map[string][]byte) *memory {
	return &memory{
		partition: partition, cells: map[string][]byte{}, own: map[string]map[string][]byte{}, shared: map[string][]byte{}, lookups: lookups,
	}
}

// memoryRecord is one record on its way through the shell.
type memoryRecord struct {
	*memory
	key    string
	offset int64
	emits  []emitted
}

type emitted struct {
	topic, key string
	partition  int32 // -1: by key
	value      []byte
}

func (r *memoryRecord) Key() string       { return r.key }
func (r *memoryRecord) Topic() string     { return "payments.commands.v1" }
func (r *memoryRecord) Partition() int32  { return r.partition }
func (r *memoryRecord) Offset() int64     { return r.offset }
func (r *memoryRecord) Value() []byte     { return r.cells[r.key] }
func (r *memoryRecord) SetValue(v []byte) { r.cells[r.key] = v }

func (r *memoryRecord) ByKey() side {
	m := r.own[r.key]
	if m == nil {
		m = map[string][]byte{}
		r.own[r.key] = m
	}
	return memorySide(m)
}

func (r *memoryRecord) ByPartition() side { return memorySide(r.shared) }

func (r *memoryRecord) LookupWait(table, key string, _ time.Duration) ([]byte, bool, error) {
	v, ok := r.lookups[table+"/"+key]
	return v, ok, nil
}

func (r *memoryRecord) Emit(topic, key string, v []byte) { r.EmitTo(topic, -1, key, v) }
func (r *memoryRecord) EmitTo(topic string, p int32, key string, v []byte) {
	r.emits = append(r.emits, emitted{topic, key, p, v})
}

type memorySide map[string][]byte

func (s memorySide) Get(kind, id string) []byte    { return s[kind+"\x00"+id] }
func (s memorySide) Put(kind, id string, v []byte) { s[kind+"\x00"+id] = v }
func (s memorySide) Delete(kind, id string)        { delete(s, kind+"\x00"+id) }

func (s memorySide) Scan(kind, from, to string, limit int) []engine.Entry {
	var out []engine.Entry
	for k, v := range s {
		if id, ok := strings.CutPrefix(k, kind+"\x00"); ok && id >= from && (to == "" || id < to) {
			out = append(out, engine.Entry{ID: id, Value: v})
		}
	}
	slices.SortFunc(out, func(a, b engine.Entry) int { return strings.Compare(a.ID, b.ID) })
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out
}

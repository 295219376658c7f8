package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Callback handles one input record. value is nil for a null record. Writes and emissions take effect only if it returns
// nil. It must not keep the Context, nor hand it to other goroutines.
type Callback func(ctx *Context, value []byte) error

// Context is what a callback sees of its record and its state. Misuse (an undeclared output, a cell of another partition)
// panics, which parks or dead-letters the record like any other failure of the callback.
type Context struct {
	run    context.Context // one per partition, ends with the engine
	part   *partition
	log    *slog.Logger
	record *kgo.Record
	key    string
	emits  []emission
}

type emission struct {
	topic, key string
	partition  int32
	value      []byte
	headers    []kgo.RecordHeader
}

// byKey is the partition of an emission that follows its key.
const byKey = int32(-1)

// Key of the record.
func (c *Context) Key() string { return c.key }

// Topic of the record.
func (c *Context) Topic() string { return c.record.Topic }

// Partition of the record, which is also the partition of all state it reaches.
func (c *Context) Partition() int32 { return c.record.Partition }

// Offset of the record.
func (c *Context) Offset() int64 { return c.record.Offset }

// Timestamp of the record, as its producer or the broker set it.
func (c *Context) Timestamp() time.Time { return c.record.Timestamp }

// Header returns the value of the first header of that name, nil if there is none.
func (c *Context) Header(name string) []byte {
	for i := range c.record.Headers {
		if c.record.Headers[i].Key == name {
			return c.record.Headers[i].Value
		}
	}
	return nil
}

// Context ends when the engine stops.
func (c *Context) Context() context.Context { return c.run }

// Logger is the engine's.
func (c *Context) Logger() *slog.Logger { return c.log }

// Value is the cell of the record's key, nil if there is none. The bytes must not be changed.
func (c *Context) Value() []byte { return c.part.cells.get(c.key) }

// SetValue replaces the cell; the engine keeps value, which must not be nil nor be changed afterwards. It panics when the
// key belongs to another partition: the cell would be restored there, not here.
func (c *Context) SetValue(value []byte) {
	if value == nil {
		panic("engine: SetValue with nil; DeleteValue deletes")
	}
	c.ownKey("SetValue")
	limitBytes("cell", len(c.key)+len(value))
	c.part.cells.put(c.key, value)
}

// DeleteValue removes the cell. It panics when the key belongs to another partition.
func (c *Context) DeleteValue() {
	c.ownKey("DeleteValue")
	c.part.cells.put(c.key, nil)
}

func (c *Context) ownKey(what string) {
	if home := c.part.home(c.record.Key); home != c.part.id {
		panic(fmt.Sprintf("engine: %s under key %q, which belongs to partition %d, not %d", what, c.key, home, c.part.id))
	}
	if c.key == fenceKey {
		panic("engine: " + what + " under the fence's key")
	}
}

// Side gives the side records of the record's key or of its partition.
func (c *Context) Side(scope Scope) Side {
	switch scope {
	case ScopeKey:
		return Side{part: c.part, scope: scope, key: c.key}
	case ScopePartition:
		return Side{part: c.part, scope: scope}
	default:
		panic(fmt.Sprintf("engine: scope %d is unknown", scope))
	}
}

// Emit sends a record to the partition of its key. The engine keeps value; nil is a null record.
func (c *Context) Emit(topic, key string, value []byte, headers ...kgo.RecordHeader) {
	c.emit(emission{topic: topic, key: key, partition: byKey, value: value, headers: headers})
}

// EmitTo sends a record to a partition, whatever its key.
func (c *Context) EmitTo(topic string, partition int32, key string, value []byte, headers ...kgo.RecordHeader) {
	if partition < 0 || partition >= c.part.count {
		panic(fmt.Sprintf("engine: EmitTo partition %d of %d", partition, c.part.count))
	}
	c.emit(emission{topic: topic, key: key, partition: partition, value: value, headers: headers})
}

func (c *Context) emit(e emission) {
	if !slices.Contains(c.part.outputs, e.topic) {
		panic(fmt.Sprintf("engine: topic %q is not among the outputs", e.topic))
	}
	limitBytes("emission", len(e.key)+len(e.value))
	for i := range e.headers {
		if strings.HasPrefix(e.headers[i].Key, EnginePrefix) {
			panic(fmt.Sprintf("engine: header %q belongs to the engine", e.headers[i].Key))
		}
	}
	c.emits = append(c.emits, e)
}

func limitBytes(what string, n int) {
	if n > recordBytesMax {
		panic(fmt.Sprintf("engine: %s of %d bytes, at most %d fit", what, n, recordBytesMax))
	}
}

// Lookup reads a followed table as far as it is known in this process; false may mean "not yet". The bytes must not be changed.
func (c *Context) Lookup(table, key string) ([]byte, bool) { return c.part.lookups.get(table, key) }

// Join reads the row of the record's key in a co-partitioned table as far as it is known in this process, nil if there is
// none. When a partition arrives its tables are read to their ends before its first record; afterwards they are followed.
// The bytes must not be changed.
func (c *Context) Join(table string) []byte {
	t := c.part.joined[table]
	if t == nil {
		panic(fmt.Sprintf("engine: table %q is not among the joins", table))
	}
	v, _ := t.get(c.key)
	return v
}

// LookupWait is Lookup for a key that must not be missed: when it is not there, it waits until the follower has read the
// table up to its end as of this call. Then false means that the key was not there. An error (the broker does not
// answer within the timeout) is best returned as Retry(err).
func (c *Context) LookupWait(table, key string, timeout time.Duration) ([]byte, bool, error) {
	if v, ok := c.part.lookups.get(table, key); ok {
		return v, true, nil
	}
	ctx, cancel := context.WithTimeout(c.run, timeout)
	defer cancel()
	if err := c.part.lookups.catchUp(ctx, table); err != nil {
		return nil, false, fmt.Errorf("following %s to its end: %w", table, err)
	}
	v, ok := c.part.lookups.get(table, key)
	return v, ok, nil
}

// Entry is a side record found by Scan.
type Entry struct {
	ID    string
	Value []byte
}

// Side reaches the side records of one scope. It is valid during the callback.
type Side struct {
	part  *partition
	scope Scope
	key   string
}

// Get returns nil if there is no such record. The bytes must not be changed.
func (s Side) Get(kind, id string) []byte { return s.part.side.get(s.encode(kind, id)) }

// Put stores a record; the engine keeps v, which must not be nil nor be changed afterwards.
func (s Side) Put(kind, id string, v []byte) {
	if v == nil {
		panic("engine: Put with nil; Delete deletes")
	}
	s.write(kind, id, v)
}

// Delete removes a record; it may not exist.
func (s Side) Delete(kind, id string) { s.write(kind, id, nil) }

// Scan returns up to limit records of a kind with fromID <= id < toID in the byte order of their ids; an empty toID has no
// upper bound. limit 0 means all.
func (s Side) Scan(kind, fromID, toID string, limit int) []Entry {
	prefix := s.encode(kind, "")
	return s.part.side.scan(scanRange{prefix: prefix, fromID: fromID, toID: toID, limit: limit})
}

func (s Side) write(kind, id string, v []byte) {
	if strings.HasPrefix(kind, EnginePrefix) {
		panic(fmt.Sprintf("engine: kind %q belongs to the engine", kind))
	}
	key := s.encode(kind, id)
	limitBytes("side record", len(key)+len(v))
	s.part.side.put(key, v)
}

// encode uses the partition's scratch buffer, so that a lookup allocates one string.
func (s Side) encode(kind, id string) string {
	b := append(appendPrefix(s.part.scratch[:0], s.scope, s.key, kind), id...)
	s.part.scratch = b
	return string(b)
}

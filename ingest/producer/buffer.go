package producer

import "sync/atomic"

// recordOverhead is what a buffered record weighs beside its key and value.
const recordOverhead = 256

// buffer counts what waits for the broker. A batch gets room for all its items or for none: with room for some, a
// later item of an account could enter the log and an earlier one not.
type buffer struct {
	records, bytes       atomic.Int64
	recordsMax, bytesMax int64
}

func (b *buffer) reserve(records, bytes int64) bool {
	held, weight := b.records.Add(records), b.bytes.Add(bytes)
	if held > b.recordsMax || weight > b.bytesMax {
		b.release(records, bytes)
		return false
	}
	return true
}

func (b *buffer) release(records, bytes int64) {
	b.records.Add(-records)
	b.bytes.Add(-bytes)
}

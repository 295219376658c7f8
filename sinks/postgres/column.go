package postgres

import (
	"encoding/binary"
	"strings"
)

// OIDs of the element types, from Postgres's catalogue.
const (
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidDate        = 1082
	oidTimestamptz = 1184
)

const (
	columnHeader = 20
	epochUS      = 946_684_800_000_000 // 2000-01-01 in Unix microseconds: Postgres counts from there
	epochDays    = 10_957
)

// values are binary values of Postgres one behind the other, each with its length before it: what array parameters and
// the rows of COPY have in common. They are written again for the next batch, so that a value costs no allocation and
// no reflection.
type values struct {
	buf          []byte
	count, nulls uint32
}

// column is an array parameter.
type column struct {
	values
	oid uint32
}

func (c *column) reset() {
	if cap(c.buf) < columnHeader {
		c.buf = make([]byte, columnHeader, 4096)
	}
	c.buf, c.count, c.nulls = c.buf[:columnHeader], 0, 0
}

// encoded is the finished parameter.
func (c *column) encoded() []byte {
	binary.BigEndian.PutUint32(c.buf[0:], 1) // dimensions
	binary.BigEndian.PutUint32(c.buf[4:], min(c.nulls, 1))
	binary.BigEndian.PutUint32(c.buf[8:], c.oid)
	binary.BigEndian.PutUint32(c.buf[12:], c.count)
	binary.BigEndian.PutUint32(c.buf[16:], 1) // lower bound
	return c.buf
}

func (v *values) null() {
	v.buf = binary.BigEndian.AppendUint32(v.buf, 0xffffffff)
	v.count++
	v.nulls++
}

func (v *values) int2(n int16) {
	v.buf = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(v.buf, 2), uint16(n)) //nolint:gosec // two's complement
	v.count++
}

// word is a smallint of a small number of the wire format: an enum's, a level, a score, a count of a decision's lines.
func (v *values) word(n int) { v.int2(int16(n)) } //nolint:gosec // all are far below 2^15

func (v *values) int4(n int32) {
	v.buf = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(v.buf, 4), uint32(n)) //nolint:gosec // two's complement
	v.count++
}

func (v *values) int8(n int64) {
	v.buf = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(v.buf, 8), uint64(n)) //nolint:gosec // two's complement
	v.count++
}

// sequence is an account's count of its decisions.
func (v *values) sequence(n uint64) { v.int8(int64(n)) } //nolint:gosec // counts by ones

// nullable takes a bigint or, where there is none, nothing.
func (v *values) nullable(n int64, there bool) {
	if there {
		v.int8(n)
	} else {
		v.null()
	}
}

// day takes days since 1970. Dates Postgres cannot hold become the nearest it can: the log keeps the exact one.
func (v *values) day(days int32) { v.int4(clampDay(days) - epochDays) }

// time takes Unix microseconds.
func (v *values) time(us int64) { v.int8(us - epochUS) }

// text replaces NUL, the one character Postgres cannot hold: the log keeps the exact text.
func (v *values) text(s string) {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	v.buf = append(binary.BigEndian.AppendUint32(v.buf, uint32(len(s))), s...) //nolint:gosec // a record is far below 4 GB
	v.count++
}

func (v *values) bytes(b []byte) {
	v.buf = append(binary.BigEndian.AppendUint32(v.buf, uint32(len(b))), b...) //nolint:gosec // a record is far below 4 GB
	v.count++
}

// The years 1 to 9999: what every client of Postgres reads back.
const (
	dayMin = -719_162
	dayMax = 2_932_896
)

func clampDay(days int32) int32 { return min(max(days, dayMin), dayMax) }

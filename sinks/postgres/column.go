package postgres

import (
	"encoding/binary"
	"strings"
)

// OIDs of the element types, from Postgres's catalogue.
const (
	oidBytea       = 17
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

// column is an array parameter in Postgres's binary format, written row by row and used again for the next batch, so
// that a row costs no allocation and no reflection.
type column struct {
	buf   []byte
	rows  uint32
	nulls uint32
	oid   uint32
}

func (c *column) reset() {
	if cap(c.buf) < columnHeader {
		c.buf = make([]byte, columnHeader, 4096)
	}
	c.buf, c.rows, c.nulls = c.buf[:columnHeader], 0, 0
}

// encoded is the finished parameter.
func (c *column) encoded() []byte {
	binary.BigEndian.PutUint32(c.buf[0:], 1) // dimensions
	binary.BigEndian.PutUint32(c.buf[4:], min(c.nulls, 1))
	binary.BigEndian.PutUint32(c.buf[8:], c.oid)
	binary.BigEndian.PutUint32(c.buf[12:], c.rows)
	binary.BigEndian.PutUint32(c.buf[16:], 1) // lower bound
	return c.buf
}

func (c *column) null() {
	c.buf = binary.BigEndian.AppendUint32(c.buf, 0xffffffff)
	c.rows++
	c.nulls++
}

func (c *column) int2(v int16) {
	c.buf = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(c.buf, 2), uint16(v)) //nolint:gosec // two's complement
	c.rows++
}

// word is a smallint of a small number of the wire format: an enum's, a level, a score, a count of a decision's lines.
func (c *column) word(n int) { c.int2(int16(n)) } //nolint:gosec // all are far below 2^15

func (c *column) int4(v int32) {
	c.buf = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(c.buf, 4), uint32(v)) //nolint:gosec // two's complement
	c.rows++
}

func (c *column) int8(v int64) {
	c.buf = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(c.buf, 8), uint64(v)) //nolint:gosec // two's complement
	c.rows++
}

// sequence is an account's count of its decisions.
func (c *column) sequence(n uint64) { c.int8(int64(n)) } //nolint:gosec // counts by ones

// nullable takes a bigint or, where there is none, nothing.
func (c *column) nullable(v int64, there bool) {
	if there {
		c.int8(v)
	} else {
		c.null()
	}
}

// day takes days since 1970. Dates Postgres cannot hold become the nearest it can: the log keeps the exact one.
func (c *column) day(days int32) { c.int4(clampDay(days) - epochDays) }

// time takes Unix microseconds.
func (c *column) time(us int64) { c.int8(us - epochUS) }

// text replaces NUL, the one character Postgres cannot hold: the log keeps the exact text.
func (c *column) text(s string) {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	c.buf = append(binary.BigEndian.AppendUint32(c.buf, uint32(len(s))), s...) //nolint:gosec // a record is far below 4 GB
	c.rows++
}

func (c *column) bytes(b []byte) {
	c.buf = append(binary.BigEndian.AppendUint32(c.buf, uint32(len(b))), b...) //nolint:gosec // a record is far below 4 GB
	c.rows++
}

// The years 1 to 9999: what every client of Postgres reads back.
const (
	dayMin = -719_162
	dayMax = 2_932_896
)

func clampDay(days int32) int32 { return min(max(days, dayMin), dayMax) }

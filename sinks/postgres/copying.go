package postgres

import (
	"encoding/binary"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// copying is one table's new rows of a batch in the binary format of COPY, which costs Postgres a third of an INSERT: it
// fills whole pages, and no row is looked for before it is written.
type copying struct {
	values
	table string
	names []string
	rows  int
}

const copyHeader = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00" // no flags, no extension

func newCopying(table string, names ...string) *copying {
	return &copying{table: table, names: names, values: values{types: pgtype.NewMap()}}
}

func (c *copying) reset() { c.buf, c.rows = append(c.buf[:0], copyHeader...), 0 }

// row begins a row; a value for each name follows, in their order.
func (c *copying) row() {
	c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(len(c.names))) //nolint:gosec // dozens
	c.rows++
}

// encoded is the finished stream.
func (c *copying) encoded() []byte { return append(c.buf, 0xff, 0xff) }

// into is the statement that takes the rows into a table of these columns.
func (c *copying) into(table string) string {
	return "COPY " + table + " (" + strings.Join(c.names, ", ") + ") FROM STDIN BINARY"
}

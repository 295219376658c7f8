package postgres

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// copying is one table's new rows of a batch in the binary format of COPY, which costs Postgres a third of an INSERT: it
// fills whole pages, and no row is looked for before it is written.
type copying struct {
	values
	table string
	names []string
	rows  int
	types *pgtype.Map // for library
}

const copyHeader = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00" // no flags, no extension

func newCopying(table string, names ...string) *copying {
	return &copying{table: table, names: names, types: pgtype.NewMap()}
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

// decimal is the numeric unscaled x 10^-scale, exactly.
func (c *copying) decimal(unscaled int64, scale uint32) error {
	n := pgtype.Numeric{Int: big.NewInt(unscaled), Exp: -int32(scale), Valid: true} //nolint:gosec // at most 18
	return c.library(pgtype.NumericOID, n)
}

// words is a smallint[].
func (c *copying) words(reasons []paymentsv1.Reason) error {
	list := make([]int16, len(reasons))
	for i, r := range reasons {
		list[i] = int16(r) //nolint:gosec // far below 2^15
	}
	return c.library(pgtype.Int2ArrayOID, list)
}

// library encodes what is too rare or too intricate to be written by hand.
func (c *copying) library(oid uint32, value any) error {
	at := len(c.buf)
	buf, err := c.types.Encode(oid, pgtype.BinaryFormatCode, value, append(c.buf, 0, 0, 0, 0))
	if err != nil {
		return fmt.Errorf("encoding %v: %w", value, err)
	}
	binary.BigEndian.PutUint32(buf[at:], uint32(len(buf)-at-4)) //nolint:gosec // a record is far below 4 GB
	c.buf = buf
	c.count++
	return nil
}

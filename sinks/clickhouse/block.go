package clickhouse

import (
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/proto"
)

// word is a LowCardinality(String) column.
type word = proto.ColLowCardinality[string]

func newWord() *word { return proto.NewLowCardinality[string](&proto.ColStr{}) }

func newMoment() *proto.ColDateTime64 {
	return (&proto.ColDateTime64{}).WithPrecision(proto.PrecisionMicro).WithLocation(time.UTC)
}

// block is one insert: columns in ClickHouse's Native format, used again for the next batch, so that a row costs no
// reflection. clickhouse-go's own columns box each LowCardinality value.
type block struct {
	table   string
	columns proto.Input
	buffer  proto.Buffer
}

func (b *block) add(name string, data proto.ColInput) {
	b.columns = append(b.columns, proto.InputColumn{Name: name, Data: data})
}

func (b *block) reset() {
	for _, c := range b.columns {
		if r, ok := c.Data.(proto.Resettable); ok {
			r.Reset()
		}
	}
}

func (b *block) rows() int { return b.columns[0].Data.Rows() }

func (b *block) statement() string {
	names := make([]string, len(b.columns))
	for i, c := range b.columns {
		names[i] = c.Name
	}
	return "INSERT INTO " + b.table + " (" + strings.Join(names, ", ") + ")"
}

// encode is the block as the HTTP interface takes it: revision 0, no block info.
func (b *block) encode() ([]byte, error) {
	b.buffer.Reset()
	head := proto.Block{Columns: len(b.columns), Rows: b.rows()}
	if err := head.EncodeRawBlock(&b.buffer, 0, b.columns); err != nil {
		return nil, fmt.Errorf("encoding a block of %s: %w", b.table, err)
	}
	return b.buffer.Buf, nil
}

// Dates and times that ClickHouse cannot hold become the nearest it can: the log keeps the exact ones.
const (
	dayMin    = -25_567 // 1900-01-01
	dayMax    = 120_529 // 2299-12-31
	momentMin = dayMin * 86_400_000_000
	momentMax = dayMax * 86_400_000_000
)

func day(days int32) proto.Date32 { return proto.Date32(min(max(days, dayMin), dayMax)) }

func moment(us int64) proto.DateTime64 { return proto.DateTime64(min(max(us, momentMin), momentMax)) }

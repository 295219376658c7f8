package gokagroup

import (
	"context"
	"fmt"
	"sort"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine"
)

// View is a table in memory, all of its partitions, followed read committed: rows of transactions that are open or aborted
// are never seen. It has the methods of Goka's view, and can be read by any goroutine. Stock Goka's view of a table that is
// written in transactions waits for ever for the last record, which is a marker that it is not shown.
type View struct {
	rows  *engine.View
	table goka.Table
	codec goka.Codec
}

// NewView makes a view of a table; the table of a group is goka.GroupTable. Options are those of franz-go's client: TLS, SASL, dialer.
func NewView(brokers []string, table goka.Table, codec goka.Codec, options ...kgo.Opt) (*View, error) {
	if codec == nil {
		return nil, fmt.Errorf("making view of %s: no codec", table)
	}
	rows, err := engine.NewView(engine.ViewConfig{Brokers: brokers, Topic: string(table), Options: options})
	if err != nil {
		return nil, fmt.Errorf("making view of %s: %w", table, err)
	}
	return &View{rows: rows, table: table, codec: codec}, nil
}

// Run follows the table until ctx ends, then it returns nil. After an error it may be called again.
func (v *View) Run(ctx context.Context) error { return v.rows.Run(ctx) }

// Topic is the table's.
func (v *View) Topic() string { return string(v.table) }

// Recovered tells whether the view can be read: it runs and has read the table to what was its end when it began.
func (v *View) Recovered() bool { return v.Ready() == nil }

// Ready returns nil while the view can be read.
func (v *View) Ready() error { return v.rows.Ready() }

// CatchUp returns when the view knows all that was committed before the call.
func (v *View) CatchUp(ctx context.Context) error { return v.rows.CatchUp(ctx) }

// Get returns the value of a key as far as the view knows, nil if there is none. It is an error while the view is not ready.
func (v *View) Get(key string) (any, error) {
	row, err := v.rows.Get(key)
	if err != nil || row == nil {
		return nil, err
	}
	return decodeRow(v.codec, engine.Row{Key: key, Value: row})
}

// Has tells whether there is a value. It is an error while the view is not ready.
func (v *View) Has(key string) (bool, error) {
	row, err := v.rows.Get(key)
	return row != nil, err
}

// Iterator goes through the view in the order of its keys, as it stands now: what happens meanwhile does not show.
func (v *View) Iterator() (goka.Iterator, error) { return v.IteratorWithRange("", "") }

// IteratorWithRange is Iterator for start <= key < limit; an empty limit has no upper bound.
func (v *View) IteratorWithRange(start, limit string) (goka.Iterator, error) {
	rows, err := v.rows.Rows(start, limit)
	if err != nil {
		return nil, err
	}
	return &iterator{rows: rows, at: -1, codec: v.codec}, nil
}

func decodeRow(codec goka.Codec, row engine.Row) (any, error) {
	value, err := codec.Decode(row.Value)
	if err != nil {
		return nil, fmt.Errorf("decoding row %q: %w", row.Key, err)
	}
	return owned(value), nil
}

// iterator is a goka.Iterator over rows in order.
type iterator struct {
	rows  []engine.Row
	at    int
	codec goka.Codec
}

func (i *iterator) Next() bool {
	i.at = min(i.at+1, len(i.rows))
	return i.at < len(i.rows)
}

func (i *iterator) Seek(key string) bool {
	i.at = sort.Search(len(i.rows), func(n int) bool { return i.rows[n].Key >= key })
	return i.at < len(i.rows)
}

func (i *iterator) Key() string         { return i.rows[i.at].Key }
func (i *iterator) Value() (any, error) { return decodeRow(i.codec, i.rows[i.at]) }
func (i *iterator) Err() error          { return nil }
func (i *iterator) Release()            { i.rows = nil }

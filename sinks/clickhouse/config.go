// Package clickhouse takes decisions into the reporting store exactly once.
//
// The range of each batch is recorded in the store itself before the batch is inserted, and a restart compares the
// recorded range with the log and inserts what is missing, also in the per-minute aggregates, under the same insert
// token: the store drops it if an earlier attempt comes in late. A range's number can be taken once only, so of two
// sinks one stops. ReplacingMergeTree by identity is the second net. A store has one sink; shards have one each.
// It refuses asynchronous inserts, and to skip a record.
package clickhouse

import (
	"errors"
	"time"

	chdriver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/caudalpay/caudal/sinks/decisionlog"
)

// Config says what to read and where to write.
type Config struct {
	decisionlog.Config // each batch is one insert per table

	// ClickHouse must speak HTTP. An empty database or "default" means schemas/sql/clickhouse.Database.
	ClickHouse chdriver.Options
}

// The defaults. The store remembers 10,000 tokens per table: at one batch a second that is hours.
const (
	DefaultRecordsMax = 20_000
	DefaultLinger     = time.Second
)

// Validate refuses what cannot run.
func (c Config) Validate() error {
	switch {
	case len(c.ClickHouse.Addr) == 0:
		return errors.New("no clickhouse address")
	case c.ClickHouse.Protocol != chdriver.HTTP:
		return errors.New("clickhouse must be reached over http")
	default:
		return c.Config.Validate()
	}
}

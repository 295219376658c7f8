// Package postgres takes decisions into the Postgres stores exactly once: the rows of a batch and the offsets reached
// are one SQL transaction, and a compare on the offsets ends whoever does not own them any more. A restart resumes
// from the database. It refuses to skip a record, and to run on a schema it does not know.
package postgres

import (
	"errors"
	"time"

	"github.com/caudalpay/caudal/sinks/decisionlog"
)

// Config says what to read and where to write.
type Config struct {
	decisionlog.Config

	DSN string
}

// The defaults, measured in docs/adr/0008-postgres-row-budget.md. A batch is a transaction: the larger it is, the more
// often accounts repeat inside one, and the fewer rows a payment costs.
const (
	DefaultRecordsMax = 10_000
	DefaultLinger     = 25 * time.Millisecond
)

// Validate refuses what cannot run.
func (c Config) Validate() error {
	if c.DSN == "" {
		return errors.New("no postgres address")
	}
	return c.Config.Validate()
}

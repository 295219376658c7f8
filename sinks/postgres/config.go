// Package postgres takes decisions into the Postgres stores exactly once: the rows of a batch and the offsets reached
// are one SQL transaction, and a compare on the offsets ends whoever does not own them any more. A restart resumes
// from the database. It refuses to skip a record, and to run on a schema it does not know.
package postgres

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/sinks/decisionlog"
)

// Config says what to read and where to write.
type Config struct {
	DSN        string
	Brokers    []string
	Client     []kgo.Opt // further Kafka client options
	Partitions []int32
	// RecordsMax bounds a transaction. The larger it is, the more often accounts repeat inside one, and the fewer rows
	// a payment costs.
	RecordsMax int
	// Linger is how long a transaction that is not full waits for more decisions.
	Linger   time.Duration
	Logger   *slog.Logger
	Registry prometheus.Registerer
}

// The defaults, measured in docs/adr/0008-postgres-row-budget.md.
const (
	DefaultRecordsMax = 10_000
	DefaultLinger     = 25 * time.Millisecond
)

// Validate refuses what cannot run.
func (c Config) Validate() error {
	switch {
	case c.DSN == "":
		return errors.New("no postgres address")
	case c.Logger == nil || c.Registry == nil:
		return errors.New("no logger or metrics registry")
	default:
		return c.log().Validate()
	}
}

func (c Config) log() decisionlog.Config {
	return decisionlog.Config{
		Brokers: c.Brokers, Client: c.Client, Partitions: c.Partitions, RecordsMax: c.RecordsMax, Linger: c.Linger,
	}
}

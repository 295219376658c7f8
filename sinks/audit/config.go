package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Config says what to compare with what.
type Config struct {
	Brokers    []string
	Partitions int32 // of the installation

	// PostgresDSN and ClickHouse may be missing: then that store is not compared, and the report says so.
	PostgresDSN string
	ClickHouse  *clickhouse.Options

	// AllowLag accepts a store, or the engine, that has not taken everything in yet; what it has must be right all the same.
	AllowLag bool
	// Settle is how long to wait for the log to come to rest before reading; 0: 5 s.
	Settle time.Duration

	Progress func(done, total int64) // records read; may be nil
	Logger   *slog.Logger            // slog.Default()
	Options  []kgo.Opt               // appended to every client's options: TLS, SASL, dialer
}

func (c Config) withDefaults() Config {
	if c.Settle == 0 {
		c.Settle = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Progress == nil {
		c.Progress = func(int64, int64) {}
	}
	return c
}

// Validate says what is missing; it asks no broker.
func (c Config) Validate() error {
	if len(c.Brokers) == 0 {
		return errors.New("validating audit config: no brokers")
	}
	if c.Partitions < 1 {
		return fmt.Errorf("validating audit config: %d partitions", c.Partitions)
	}
	return nil
}

package postgres

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
)

// Config of a server.
type Config struct {
	Home    string            // installation: Home/bin/postgres, Home/lib, Home/share
	Data    string            // folder of everything the server keeps; made if missing
	LogFile string            // default: Data/postgres.log
	Params  map[string]string // server settings over the defaults
	Logger  *slog.Logger
}

func (c *Config) setDefaults() (err error) {
	if c.Home == "" || c.Data == "" {
		return errors.New("embedded Postgres: Home and Data are required")
	}
	if c.Home, err = filepath.Abs(c.Home); err != nil {
		return fmt.Errorf("resolving Home: %w", err)
	}
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return fmt.Errorf("resolving Data: %w", err)
	}
	if c.LogFile == "" {
		c.LogFile = filepath.Join(c.Data, "postgres.log")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// defaultParams keep every acknowledged row through a power cut (the ledger's sink counts on it) and suit
// one machine that also runs a broker and ClickHouse. The wide WAL limits spare checkpoints during loads;
// wal_compression halves the full-page images after each. The buffers hold the indexes of a few million payments, whose ids
// are random: with 256 MB each payment cost Postgres four times as much after 1.4 million of them as at the start.
func defaultParams() map[string]string {
	return map[string]string{
		"fsync":                        "on",
		"synchronous_commit":           "on",
		"full_page_writes":             "on",
		"max_connections":              "50",
		"shared_buffers":               "1GB",
		"work_mem":                     "16MB",
		"maintenance_work_mem":         "128MB",
		"effective_cache_size":         "2GB",
		"max_wal_size":                 "4GB",
		"min_wal_size":                 "256MB",
		"wal_compression":              "on",
		"wal_buffers":                  "16MB",
		"checkpoint_timeout":           "15min",
		"checkpoint_completion_target": "0.9",
		"random_page_cost":             "1.1",
		"jit":                          "off",
		"ssl":                          "off",
		"logging_collector":            "off",
		"log_timezone":                 "UTC",
		"timezone":                     "UTC",
		"unix_socket_permissions":      "0700",
	}
}

func (c *Config) arguments() []string {
	params := defaultParams()
	maps.Copy(params, c.Params)
	var args []string
	for _, name := range slices.Sorted(maps.Keys(params)) {
		args = append(args, "-c", name+"="+params[name])
	}
	return args
}

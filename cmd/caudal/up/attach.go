package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// lockFile is held by the process that runs an installation.
const lockFile = "up.lock"

// Attach gives access to an installation's parts, for commands that only read. Where `caudal up` runs, they are its parts;
// where it does not, the embedded servers are started for the time of the command. No role runs in that case, so nothing
// changes. The caller stops the parts.
func Attach(ctx context.Context, data string, progress io.Writer, log *slog.Logger) (*Parts, error) {
	data, err := filepath.Abs(data)
	if err != nil {
		return nil, fmt.Errorf("resolving --data: %w", err)
	}
	addresses, err := readAddresses(data)
	if err != nil {
		return nil, err
	}
	lock, err := child.Lock(ctx, filepath.Join(data, lockFile), 0)
	if err != nil { // it is up
		return attached(addresses)
	}
	defer func() { _ = lock.Close() }() // released by the kernel anyway
	o := Options{Data: data, Partitions: addresses.Partitions, ClickHouseHTTP: "127.0.0.1:0"}
	for part, external := range map[string]*string{"postgres": &o.Postgres, "clickhouse": &o.ClickHouse} {
		if _, err := os.Stat(filepath.Join(data, part)); errors.Is(err, os.ErrNotExist) {
			*external = map[string]string{"postgres": addresses.Postgres, "clickhouse": addresses.ClickHouse}[part]
		}
	}
	if _, err := os.Stat(filepath.Join(data, "broker")); errors.Is(err, os.ErrNotExist) {
		o.Brokers = addresses.Brokers
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return startParts(ctx, o, progress, log)
}

func attached(a Addresses) (*Parts, error) {
	options, err := ch.ParseDSN(a.ClickHouse)
	if err != nil {
		return nil, fmt.Errorf("reading the ClickHouse address: %w", err)
	}
	return &Parts{Addresses: a, ClickHouseOptions: options}, nil
}

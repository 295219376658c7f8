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
	data, addresses, err := known(data)
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

// known is an installation's folder in full, and where its parts were last.
func known(data string) (string, Addresses, error) {
	full, err := filepath.Abs(data)
	if err != nil {
		return "", Addresses{}, fmt.Errorf("resolving --data: %w", err)
	}
	addresses, err := readAddresses(full)
	return full, addresses, err
}

func attached(a Addresses) (*Parts, error) {
	options, err := ch.ParseDSN(a.ClickHouse)
	if err != nil {
		return nil, fmt.Errorf("reading the ClickHouse address: %w", err)
	}
	return &Parts{Addresses: a, ClickHouseOptions: options}, nil
}

// OwnedBroker is the log of an installation that is not up, in exclusive use.
type OwnedBroker struct {
	Brokers    []string
	Partitions int32

	parts *Parts
	lock  io.Closer
}

// OwnBroker takes an installation that must not be up, and starts its broker alone if that is the embedded one.
func OwnBroker(ctx context.Context, data string, log *slog.Logger) (*OwnedBroker, error) {
	data, addresses, err := known(data)
	if err != nil {
		return nil, err
	}
	lock, err := child.Lock(ctx, filepath.Join(data, lockFile), time.Second)
	if err != nil {
		return nil, fmt.Errorf("the installation is up; stop it first: %w", err)
	}
	own := &OwnedBroker{Brokers: addresses.Brokers, Partitions: addresses.Partitions, parts: &Parts{}, lock: lock}
	if _, err := os.Stat(filepath.Join(data, "broker")); err == nil {
		if err := own.parts.startBroker(ctx, Options{Data: data}, log); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		own.Brokers = own.parts.Brokers
	}
	return own, nil
}

// Stop ends the broker and lets go of the folder.
func (o *OwnedBroker) Stop(ctx context.Context) error {
	return errors.Join(o.parts.Stop(context.WithoutCancel(ctx)), o.lock.Close())
}

package up

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/clickhouse"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/fetch"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/postgres"
)

// Database is the ClickHouse database of an installation.
const Database = "caudal"

// Addresses say where the parts of an installation answer. They stand in addresses.json (mode 0600: passwords inside).
type Addresses struct {
	Brokers    []string `json:"brokers"`
	Partitions int32    `json:"partitions"`
	Postgres   string   `json:"postgres"`   // DSN
	ClickHouse string   `json:"clickhouse"` // DSN, HTTP protocol
	HTTP       string   `json:"http,omitempty"`
	CardFeed   string   `json:"iso8583,omitempty"` // HOST:PORT
}

// Parts are the servers of an installation: embedded ones run as children of this process, external ones are only named.
type Parts struct {
	Addresses
	ClickHouseOptions *ch.Options

	broker     *broker.Server
	postgres   *postgres.Server
	clickhouse *clickhouse.Server
}

// Owned tells whether these parts were started for their caller: then no role runs, and what lags does not catch up.
func (p *Parts) Owned() bool { return p.broker != nil || p.postgres != nil || p.clickhouse != nil }

// startParts starts what is not external, side by side, and writes down where everything is.
func startParts(ctx context.Context, o Options, progress io.Writer, log *slog.Logger) (_ *Parts, err error) {
	p := &Parts{Addresses: Addresses{Brokers: o.Brokers, Partitions: o.Partitions, Postgres: o.Postgres, ClickHouse: o.ClickHouse}}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Stop(context.WithoutCancel(ctx)))
		}
	}()
	var binaries fetch.Binaries
	if o.Postgres == "" || o.ClickHouse == "" {
		if binaries, err = fetch.Ensure(ctx, fetch.Options{Progress: progress}); err != nil {
			return nil, err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	if len(o.Brokers) == 0 {
		g.Go(func() (err error) { return p.startBroker(gctx, o, log) })
	}
	if o.Postgres == "" {
		g.Go(func() (err error) { return p.startPostgres(gctx, o, binaries, log) })
	}
	g.Go(func() (err error) { return p.startClickHouse(gctx, o, binaries, log) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Parts) startBroker(ctx context.Context, o Options, log *slog.Logger) (err error) {
	config := broker.Config{Data: filepath.Join(o.Data, "broker"), LogFile: logFile(o, "broker"), Logger: log}
	if o.Pprof != "" {
		config.Profiles = brokerProfiles(o)
	}
	p.broker, err = broker.Start(ctx, config)
	if err != nil {
		return fmt.Errorf("starting the embedded broker: %w", err)
	}
	p.Brokers = p.broker.Addrs()
	return nil
}

func (p *Parts) startPostgres(ctx context.Context, o Options, b fetch.Binaries, log *slog.Logger) (err error) {
	p.postgres, err = postgres.Start(ctx, postgres.Config{Home: b.PostgresHome, Data: filepath.Join(o.Data, "postgres"), LogFile: logFile(o, "postgres"), Logger: log})
	if err != nil {
		return fmt.Errorf("starting the embedded Postgres: %w", err)
	}
	p.Postgres = p.postgres.DSN()
	return nil
}

func (p *Parts) startClickHouse(ctx context.Context, o Options, b fetch.Binaries, log *slog.Logger) (err error) {
	if o.ClickHouse != "" {
		if p.ClickHouseOptions, err = ch.ParseDSN(o.ClickHouse); err != nil {
			return fmt.Errorf("reading --clickhouse: %w", err)
		}
		return nil
	}
	config := clickhouse.Config{
		Library: b.ClickHouseLibrary, Data: filepath.Join(o.Data, "clickhouse"), HTTPAddr: o.ClickHouseHTTP, LogFile: logFile(o, "clickhouse"), Logger: log,
	}
	p.clickhouse, err = clickhouse.Start(ctx, config)
	if errors.Is(err, syscall.EADDRINUSE) && o.ClickHouseAnyPort {
		log.Warn("the usual address of ClickHouse is taken, using a free port", "address", o.ClickHouseHTTP)
		config.HTTPAddr = "127.0.0.1:0"
		p.clickhouse, err = clickhouse.Start(ctx, config)
	}
	if err != nil {
		return fmt.Errorf("starting the embedded ClickHouse engine: %w", err)
	}
	p.ClickHouseOptions = p.clickhouse.Options(Database)
	p.ClickHouse = p.clickhouse.DSN(Database)
	return nil
}

// Stop ends the embedded parts, stores first: they lose nothing, the broker has what they have not.
func (p *Parts) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	var errs []error
	if p.clickhouse != nil {
		errs = append(errs, p.clickhouse.Stop(ctx))
	}
	if p.postgres != nil {
		errs = append(errs, p.postgres.Stop(ctx))
	}
	if p.broker != nil {
		errs = append(errs, p.broker.Stop(ctx))
	}
	return errors.Join(errs...)
}

func logFile(o Options, part string) string { return filepath.Join(o.Data, "logs", part+".log") }

func (a Addresses) write(data string) error {
	body, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding addresses: %w", err)
	}
	if err := writeFile(filepath.Join(data, addressesFile), append(body, '\n')); err != nil {
		return fmt.Errorf("writing addresses: %w", err)
	}
	return nil
}

// readAddresses of an installation that is or was up.
func readAddresses(data string) (Addresses, error) {
	var a Addresses
	body, err := os.ReadFile(filepath.Join(data, addressesFile)) //nolint:gosec // the operator names the folder
	if err != nil {
		return a, fmt.Errorf("reading where the parts are (was `caudal up --data %s` ever run?): %w", data, err)
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return a, fmt.Errorf("reading %s: %w", addressesFile, err)
	}
	return a, nil
}

// analyst is the address that people read ClickHouse at.
func (p *Parts) analyst() string {
	if p.clickhouse == nil {
		return "as given"
	}
	return fmt.Sprintf("http://%s/?user=analyst&database=%s", p.clickhouse.HTTPAddr(), Database)
}

// Package embedtest gives tests the real Postgres, ClickHouse and embedded broker.
//
// The engines are children of the test binary, which also is their program:
//
//	func TestMain(m *testing.M) { embedtest.Main(m) }
//
// Postgres and ClickHouse are started at most once per test binary and shared by its tests, each of which
// gets a database of its own. A test that kills or stops a server starts its own (StartPostgres and its
// siblings). Nothing is faked, and nothing is skipped: what cannot start fails the test.
package embedtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	chdriver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/jackc/pgx/v5"

	"github.com/caudalpay/caudal/cmd/caudal/embedded"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/clickhouse"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/fetch"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/postgres"
	schema "github.com/caudalpay/caudal/schemas/sql/postgres"
)

// startLimit covers a first fetch of the binaries as well.
const startLimit = 10 * time.Minute

// parts are the servers of this test binary. They are package state because Main and the tests have
// nothing else in common.
type parts struct {
	mu         sync.Mutex
	dir        string
	postgres   *postgres.Server
	clickhouse *clickhouse.Server
	serial     atomic.Int64
}

var shared parts //nolint:gochecknoglobals // see parts

// Main is the body of TestMain: it is the child if this process was started as one, else it runs the
// tests, stops what they started and ends the process.
func Main(m *testing.M) {
	if embedded.RunChild(os.Args) {
		return
	}
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "embedtest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func (p *parts) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	if p.postgres != nil {
		errs = append(errs, p.postgres.Stop(ctx))
	}
	if p.clickhouse != nil {
		errs = append(errs, p.clickhouse.Stop(ctx))
	}
	if p.dir != "" {
		errs = append(errs, os.RemoveAll(p.dir))
	}
	return errors.Join(errs...)
}

// folder is for the shared servers; the caller holds the lock.
func (p *parts) folder() (string, error) {
	if p.dir == "" {
		dir, err := os.MkdirTemp("", "caudal-test-")
		if err != nil {
			return "", err
		}
		p.dir = dir
	}
	return p.dir, nil
}

// Binaries fetches the engines, or finds them in the cache.
func Binaries(t testing.TB) fetch.Binaries {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	bins, err := fetch.Ensure(ctx, fetch.Options{Progress: os.Stderr})
	if err != nil {
		t.Fatalf("fetching the embedded engines: %v", err)
	}
	return bins
}

// Postgres returns the data source name of a new, empty database, dropped when the test ends.
func Postgres(t testing.TB) string {
	t.Helper()
	server := SharedPostgres(t)
	name := fmt.Sprintf("t%d", shared.serial.Add(1))
	admin := func(statement string) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		conn, err := pgx.Connect(ctx, server.DSN())
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, statement)
		return err
	}
	if err := admin("CREATE DATABASE " + name); err != nil {
		t.Fatalf("creating test database: %v", err)
	}
	t.Cleanup(func() {
		if err := admin("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("dropping test database: %v", err)
		}
	})
	dsn, err := url.Parse(server.DSN())
	if err != nil {
		t.Fatalf("parsing DSN: %v", err)
	}
	dsn.Path = "/" + name
	return dsn.String()
}

// Migrated returns the data source name of a new database with this program's schema and no rows, dropped when the test ends.
func Migrated(t testing.TB) string {
	t.Helper()
	dsn := Postgres(t)
	if err := schema.Migrate(t.Context(), dsn, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatalf("bringing the test database to its schema: %v", err)
	}
	return dsn
}

// Connect opens a connection to a database of Postgres or Migrated, closed when the test ends.
func Connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatalf("connecting to the test database: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // the database is dropped
	return conn
}

// SharedPostgres is the server that Postgres takes databases from. Tests must not stop it.
func SharedPostgres(t testing.TB) *postgres.Server {
	t.Helper()
	bins := Binaries(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.postgres == nil {
		dir, err := shared.folder()
		if err == nil {
			shared.postgres, err = postgres.Start(context.Background(),
				postgres.Config{Home: bins.PostgresHome, Data: filepath.Join(dir, "postgres")})
		}
		if err != nil {
			t.Fatalf("starting Postgres: %v", err)
		}
	}
	return shared.postgres
}

// StartPostgres starts a server for this test alone, in the folder data, and stops it when the test ends.
func StartPostgres(t testing.TB, data string) *postgres.Server {
	t.Helper()
	server, err := postgres.Start(t.Context(), postgres.Config{Home: Binaries(t).PostgresHome, Data: data})
	if err != nil {
		t.Fatalf("starting Postgres: %v", err)
	}
	stopAtEnd(t, server)
	return server
}

// ClickHouse returns options for a new, empty database, dropped when the test ends.
func ClickHouse(t testing.TB) *chdriver.Options {
	t.Helper()
	server := SharedClickHouse(t)
	name := fmt.Sprintf("t%d", shared.serial.Add(1))
	CreateClickHouseDatabase(t, server, name)
	t.Cleanup(func() {
		if err := adminClickHouse(server, "DROP DATABASE "+name+" SYNC"); err != nil {
			t.Errorf("dropping test database: %v", err)
		}
	})
	return server.Options(name)
}

// CreateClickHouseDatabase makes an Atomic database, the kind tables belong into.
func CreateClickHouseDatabase(t testing.TB, server *clickhouse.Server, name string) {
	t.Helper()
	if err := adminClickHouse(server, "CREATE DATABASE "+name+" ENGINE = Atomic"); err != nil {
		t.Fatalf("creating test database: %v", err)
	}
}

func adminClickHouse(server *clickhouse.Server, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := chdriver.Open(server.Options("default"))
	if err != nil {
		return err
	}
	return errors.Join(conn.Exec(ctx, statement), conn.Close())
}

// SharedClickHouse is the server that ClickHouse takes databases from. Tests must not stop it.
func SharedClickHouse(t testing.TB) *clickhouse.Server {
	t.Helper()
	bins := Binaries(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.clickhouse == nil {
		dir, err := shared.folder()
		if err == nil {
			shared.clickhouse, err = clickhouse.Start(context.Background(),
				clickhouse.Config{Library: bins.ClickHouseLibrary, Data: filepath.Join(dir, "clickhouse")})
		}
		if err != nil {
			t.Fatalf("starting ClickHouse: %v", err)
		}
	}
	return shared.clickhouse
}

// StartClickHouse starts an engine for this test alone, in the folder data, and stops it when the test
// ends.
func StartClickHouse(t testing.TB, data string) *clickhouse.Server {
	t.Helper()
	server, err := clickhouse.Start(t.Context(), clickhouse.Config{Library: Binaries(t).ClickHouseLibrary, Data: data})
	if err != nil {
		t.Fatalf("starting ClickHouse: %v", err)
	}
	stopAtEnd(t, server)
	return server
}

// Broker returns the seed brokers of a new, empty broker for this test alone.
func Broker(t testing.TB) []string {
	t.Helper()
	return StartBroker(t, t.TempDir()).Addrs()
}

// StartBroker starts a broker for this test alone, in the folder data, and stops it when the test ends.
func StartBroker(t testing.TB, data string) *broker.Server {
	t.Helper()
	server, err := broker.Start(t.Context(), broker.Config{Data: data})
	if err != nil {
		t.Fatalf("starting broker: %v", err)
	}
	stopAtEnd(t, server)
	return server
}

func stopAtEnd(t testing.TB, server interface{ Stop(context.Context) error }) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
}

// Package clickhouse holds the shape of the reporting store and brings a server to it.
// It refuses a database whose shape is newer than this program.
package clickhouse

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Database is where everything lives, unless the options name another. It is Atomic: the engine's own default is not
// on every server.
const Database = "caudal"

// InDatabase is opts with the database filled in.
func InDatabase(opts clickhouse.Options) clickhouse.Options {
	if opts.Auth.Database == "" || opts.Auth.Database == "default" {
		opts.Auth.Database = Database
	}
	return opts
}

// ErrNewer says that the database was written by a newer program.
var ErrNewer = errors.New("the database has a newer schema than this program")

// Migrate brings the server behind opts to this program's schema.
func Migrate(ctx context.Context, opts clickhouse.Options, logger *slog.Logger) error {
	opts = InDatabase(opts)
	if err := createDatabase(ctx, opts); err != nil {
		return err
	}
	db := clickhouse.OpenDB(&opts)
	err := migrate(ctx, db, logger)
	return errors.Join(err, db.Close())
}

func createDatabase(ctx context.Context, opts clickhouse.Options) error {
	name := opts.Auth.Database
	opts.Auth.Database = "default"
	db := clickhouse.OpenDB(&opts)
	_, err := db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS `"+strings.ReplaceAll(name, "`", "")+"` ENGINE = Atomic")
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("creating the clickhouse database: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, db *sql.DB, logger *slog.Logger) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectClickHouse, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithSlog(logger))
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating clickhouse: %w", err)
	}
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	if current > target {
		return fmt.Errorf("%w: %d, known is %d", ErrNewer, current, target)
	}
	return nil
}

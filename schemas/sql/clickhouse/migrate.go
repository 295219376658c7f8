// Package clickhouse holds the shape of the reporting store and brings a server to it.
// It refuses a database whose shape is newer than this program.
package clickhouse

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pressly/goose/v3"

	schema "github.com/caudalpay/caudal/schemas/sql"
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

// Migrate brings the server behind opts to this program's schema.
func Migrate(ctx context.Context, opts clickhouse.Options, logger *slog.Logger) error {
	opts = InDatabase(opts)
	if err := createDatabase(ctx, opts); err != nil {
		return err
	}
	db := clickhouse.OpenDB(&opts)
	err := schema.Migrate(ctx, goose.DialectClickHouse, db, migrations, logger)
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

// Package sql brings a database to this program's schema. The schemas themselves are in the folders below.
// It refuses a database whose schema is newer than this program.
package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"
)

// ErrNewer says that the database was written by a newer program.
var ErrNewer = errors.New("the database has a newer schema than this program")

// Migrate applies what the folder "migrations" of files has and db has not.
func Migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB, files fs.FS, logger *slog.Logger, options ...goose.ProviderOption) error {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	options = append(options, goose.WithDisableGlobalRegistry(true), goose.WithSlog(logger))
	provider, err := goose.NewProvider(dialect, db, migrations, options...)
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating %s: %w", dialect, err)
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

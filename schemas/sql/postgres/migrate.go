// Package postgres holds the shape of the Postgres stores and brings a database to it.
// It refuses a database whose shape is newer than this program.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"log/slog"

	_ "github.com/jackc/pgx/v5/stdlib" // goose speaks database/sql
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	schema "github.com/caudalpay/caudal/schemas/sql"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the database behind dsn to this program's schema. Several processes may do so at once.
func Migrate(ctx context.Context, dsn string, logger *slog.Logger) (err error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return fmt.Errorf("opening postgres: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return fmt.Errorf("making the migration lock: %w", err)
	}
	return schema.Migrate(ctx, goose.DialectPostgres, db, migrations, logger, goose.WithSessionLocker(locker))
}

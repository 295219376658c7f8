package bench

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Temperature says how fast the machine was at one moment.
type Temperature struct {
	At              time.Time `json:"at"`
	ProducePerS     float64   `json:"raw_produce_per_second"`
	PostgresCommits float64   `json:"postgres_commits_per_second"` // one connection, flushed to disk
	Load            string    `json:"load_average"`
}

func (b *bench) measureTemperature(ctx context.Context) error {
	t := Temperature{At: time.Now().UTC(), Load: "unknown"}
	if body, err := os.ReadFile("/proc/loadavg"); err == nil {
		t.Load = strings.TrimSpace(string(body))
	}
	var err error
	if t.ProducePerS, err = b.samples.produceFor(ctx, b.house.Brokers, rawOut, time.Second, 1<<40); err != nil {
		return err
	}
	if err := b.askPostgres(ctx, &t); err != nil {
		return err
	}
	b.report.Temperatures = append(b.report.Temperatures, t)
	b.say("thermometer: %.0f raw records/s, %.0f Postgres commits/s, load %s", t.ProducePerS, t.PostgresCommits, t.Load)
	return nil
}

// askPostgres counts commits of a second and asks for the settings that make them durable.
func (b *bench) askPostgres(ctx context.Context, t *Temperature) error {
	conn, err := pgx.Connect(ctx, b.house.Postgres)
	if err != nil {
		return fmt.Errorf("connecting to Postgres: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // only read
	var fsync, commit string
	if err := conn.QueryRow(ctx, `SELECT current_setting('fsync'), current_setting('synchronous_commit')`).Scan(&fsync, &commit); err != nil {
		return fmt.Errorf("asking Postgres for its settings: %w", err)
	}
	b.report.Durability = fmt.Sprintf("acks=all; Postgres fsync %s, synchronous_commit %s; ClickHouse fsync_after_insert on", fsync, commit)
	began, n := time.Now(), 0
	for time.Since(began) < time.Second {
		if _, err := conn.Exec(ctx, `SELECT pg_logical_emit_message(true, 'caudal-bench', repeat('x', 100))`); err != nil {
			return fmt.Errorf("committing in Postgres: %w", err)
		}
		n++
	}
	t.PostgresCommits = float64(n) / time.Since(began).Seconds()
	return nil
}

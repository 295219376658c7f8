package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/sinks/decisionlog/logtest"
	"github.com/caudalpay/caudal/sinks/postgres"
)

const (
	benchDecisions = 100_000
	benchAccounts  = 5_000
)

// BenchmarkDrain drains a backlog into an empty database: target P7, beside BenchmarkBareInsert of as many rows.
func BenchmarkDrain(b *testing.B) {
	brokers := embedtest.Broker(b)
	logtest.Create(b, brokers, partitions)
	logtest.Fill(b, logtest.NewWriter(b, brokers, partitions), logtest.New(1, benchAccounts), benchDecisions)
	server := embedtest.SharedPostgres(b)
	for b.Loop() {
		b.StopTimer()
		dsn := embedtest.Postgres(b)
		cfg := config(dsn, brokers, postgres.DefaultRecordsMax)
		cfg.Linger = postgres.DefaultLinger
		b.StartTimer()
		began, own, theirs := time.Now(), logtest.OwnCPU(b), logtest.FamilyCPU(b, server.PID())
		sink, stop := start(b, cfg)
		drain(b, sink, brokers)
		took := time.Since(began)
		own, theirs = logtest.OwnCPU(b)-own, logtest.FamilyCPU(b, server.PID())-theirs
		b.StopTimer()
		if err := stop(); err != nil {
			b.Fatal(err)
		}
		rows := countRows(b, dsn)
		b.ReportMetric(float64(rows)/took.Seconds(), "rows/s")
		b.ReportMetric(float64(rows)/benchDecisions, "rows/decision")
		b.ReportMetric(benchDecisions/took.Seconds(), "decisions/s")
		b.ReportMetric(float64(own.Microseconds())/benchDecisions, "sink-us/decision")
		b.ReportMetric(float64(theirs.Microseconds())/benchDecisions, "postgres-us/decision")
		b.StartTimer()
	}
}

// BenchmarkBareInsert is the yardstick: rows of the shape of a posting, 10,000 at a time, nothing else.
func BenchmarkBareInsert(b *testing.B) {
	const rows, batch = 240_000, 10_000
	for b.Loop() {
		b.StopTimer()
		conn, err := pgx.Connect(b.Context(), embedtest.Postgres(b))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Exec(b.Context(), `CREATE TABLE bare (log_offset bigint, amount_minor bigint, log_partition integer, line smallint,
			account text COLLATE "C", currency text, PRIMARY KEY (log_partition, log_offset, line))`); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		began := time.Now()
		for first := 0; first < rows; first += batch {
			offsets, amounts, parts, lines := make([]int64, batch), make([]int64, batch), make([]int32, batch), make([]int16, batch)
			accounts, currencies := make([]string, batch), make([]string, batch)
			for i := range batch {
				n := first + i
				offsets[i], amounts[i], parts[i], lines[i] = int64(n/4), int64(n), int32(n/4%partitions), int16(n%4)
				accounts[i], currencies[i] = fmt.Sprintf("acc_%020d", n%benchAccounts), "BRL"
			}
			if _, err := conn.Exec(b.Context(), `INSERT INTO bare SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::smallint[],
				$5::text[], $6::text[]) ON CONFLICT DO NOTHING`, offsets, amounts, parts, lines, accounts, currencies); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(rows/time.Since(began).Seconds(), "rows/s")
		b.StopTimer()
		if err := conn.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func countRows(t testing.TB, dsn string) (n int64) {
	t.Helper()
	conn := embedtest.Connect(t, dsn)
	defer func() { _ = conn.Close(t.Context()) }() // one test opens many
	if err := conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM payments.payments) + (SELECT count(*) FROM ledger.journals)
		+ (SELECT count(*) FROM ledger.postings) + (SELECT count(*) FROM payments.events)`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

package clickhouse_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	chdriver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/sinks/clickhouse"
	"github.com/caudalpay/caudal/sinks/decisionlog/logtest"
)

const benchDecisions = 100_000

// BenchmarkDrain drains a backlog into an empty store: target P7, beside BenchmarkBareInsert.
func BenchmarkDrain(b *testing.B) {
	brokers := embedtest.Broker(b)
	logtest.Create(b, brokers, partitions)
	logtest.Fill(b, logtest.NewWriter(b, brokers, partitions), logtest.New(1, 5_000), benchDecisions)
	server := embedtest.SharedClickHouse(b)
	for b.Loop() {
		b.StopTimer()
		opts := *embedtest.ClickHouse(b)
		b.StartTimer()
		cfg := config(opts, brokers, clickhouse.DefaultRecordsMax)
		cfg.Linger = clickhouse.DefaultLinger
		began, own, theirs := time.Now(), logtest.OwnCPU(b), logtest.FamilyCPU(b, server.PID())
		sink, stop := start(b, cfg)
		drain(b, sink, brokers)
		took := time.Since(began)
		own, theirs = logtest.OwnCPU(b)-own, logtest.FamilyCPU(b, server.PID())-theirs
		b.StopTimer()
		if err := stop(); err != nil {
			b.Fatal(err)
		}
		rows := len(lines(b, opts, `SELECT concat(log_partition, ' ', log_offset), '' FROM payment_facts`)) +
			len(lines(b, opts, `SELECT concat(log_partition, ' ', log_offset, ' ', line), '' FROM postings`))
		b.ReportMetric(float64(rows)/took.Seconds(), "rows/s")
		b.ReportMetric(benchDecisions/took.Seconds(), "decisions/s")
		b.ReportMetric(float64(own.Microseconds())/benchDecisions, "sink-us/decision")
		b.ReportMetric(float64(theirs.Microseconds())/benchDecisions, "clickhouse-us/decision")
		b.StartTimer()
	}
}

// BenchmarkBareInsert inserts rows that lie ready in the same tables' shape, as many at a time as the sink does, with
// the aggregates behind them: what the store and its client alone take.
func BenchmarkBareInsert(b *testing.B) {
	brokers, source := embedtest.Broker(b), *embedtest.ClickHouse(b)
	logtest.Create(b, brokers, partitions)
	logtest.Fill(b, logtest.NewWriter(b, brokers, partitions), logtest.New(1, 5_000), clickhouse.DefaultRecordsMax)
	sink, stop := start(b, config(source, brokers, clickhouse.DefaultRecordsMax))
	drain(b, sink, brokers)
	if err := stop(); err != nil {
		b.Fatal(err)
	}
	conn, err := chdriver.Open(&source)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // it has answered
	tables := []string{"payment_facts", "postings"}
	var rows uint64
	for _, table := range tables {
		var n uint64
		if err := conn.QueryRow(b.Context(), "SELECT count() FROM "+table).Scan(&n); err != nil {
			b.Fatal(err)
		}
		rows += n
	}
	ready := map[string][]byte{}
	for _, table := range tables {
		data, err := conn.QueryFormat(b.Context(), "Native", "SELECT * FROM "+table)
		if err != nil {
			b.Fatal(err)
		}
		if ready[table], err = io.ReadAll(data); err != nil {
			b.Fatal(err)
		}
		if err := data.Close(); err != nil {
			b.Fatal(err)
		}
	}
	ctx := chdriver.Context(b.Context(), chdriver.WithSettings(chdriver.Settings{"insert_deduplicate": 0, "async_insert": 0}))
	for b.Loop() {
		began := time.Now()
		for range benchDecisions / clickhouse.DefaultRecordsMax {
			for _, table := range tables {
				if err := conn.InsertFormat(ctx, "Native", "INSERT INTO "+table, bytes.NewReader(ready[table])); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(benchDecisions/clickhouse.DefaultRecordsMax*float64(rows)/time.Since(began).Seconds(), "rows/s")
	}
}

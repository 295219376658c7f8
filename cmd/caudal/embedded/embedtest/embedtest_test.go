package embedtest_test

import (
	"testing"
	"time"

	chdriver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
)

func TestMain(m *testing.M) { embedtest.Main(m) }

func TestPostgresGivesEmptyDatabases(t *testing.T) {
	for range 2 {
		conn, err := pgx.Connect(t.Context(), embedtest.Postgres(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "CREATE TABLE once (id bigint PRIMARY KEY)"); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClickHouseGivesEmptyDatabases(t *testing.T) {
	for range 2 {
		conn, err := chdriver.Open(embedtest.ClickHouse(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Exec(t.Context(), "CREATE TABLE once (id UInt64) ENGINE = MergeTree ORDER BY id"); err != nil {
			t.Fatal(err)
		}
		batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO once")
		if err != nil {
			t.Fatal(err)
		}
		for id := range uint64(1000) {
			if err := batch.Append(id); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Send(); err != nil {
			t.Fatal(err)
		}
		var sum uint64
		if err := conn.QueryRow(t.Context(), "SELECT sum(id) FROM once").Scan(&sum); err != nil || sum != 499_500 {
			t.Fatalf("sum %d, %v", sum, err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBroker(t *testing.T) {
	client, err := kgo.NewClient(kgo.SeedBrokers(embedtest.Broker(t)...), kgo.DialTimeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
}

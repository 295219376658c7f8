package clickhouse_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	chdriver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	schema "github.com/caudalpay/caudal/schemas/sql/clickhouse"
	"github.com/caudalpay/caudal/sinks/decisionlog/logtest"
)

// TestTornStore: the store writes an insert's token before it has the rows, and never syncs the file it is in. So its
// own death leaves tokens without rows, and a power cut leaves rows without tokens. A full disk leaves
// parts with empty files, acknowledged all the same. Here each is made by hand, in each table, and whoever begins again mends it.
func TestTornStore(t *testing.T) {
	for _, table := range []string{"payment_facts", "postings", "payments_by_minute", "sink_ranges"} {
		t.Run("token without rows/"+table, func(t *testing.T) {
			torn(t, func(t *testing.T, conn chdriver.Conn) string {
				if table == "sink_ranges" {
					claimNext(t, conn)
				}
				return lastPart(t, conn, table)
			})
		})
		t.Run("rows without token/"+table, func(t *testing.T) {
			torn(t, func(t *testing.T, conn chdriver.Conn) string {
				// lastPart is <table>/<part>/
				return filepath.Join(filepath.Dir(filepath.Clean(lastPart(t, conn, table))), "deduplication_logs")
			})
		})
	}
	for _, table := range []string{"payment_facts", "postings", "payments_by_minute", "sink_ranges"} {
		t.Run("a part that a full disk has spoilt/"+table, func(t *testing.T) {
			torn(t, func(t *testing.T, conn chdriver.Conn) string {
				return filepath.Join(lastPart(t, conn, table), "columns.txt")
			})
		})
	}
	t.Run("token without rows/all tables", func(t *testing.T) {
		torn(t, func(t *testing.T, conn chdriver.Conn) string { return lastPart(t, conn, "payment_facts") },
			func(t *testing.T, conn chdriver.Conn) string { return lastPart(t, conn, "postings") },
			func(t *testing.T, conn chdriver.Conn) string { return lastPart(t, conn, "payments_by_minute") })
	})
}

// torn fills a store, stops it, removes what the functions name from its disk, and lets a sink go on with it.
func torn(t *testing.T, lost ...func(*testing.T, chdriver.Conn) string) {
	brokers, data := embedtest.Broker(t), t.TempDir()
	server := embedtest.StartClickHouse(t, data)
	embedtest.CreateClickHouseDatabase(t, server, "torn")
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(5, 100)
	opts := *server.Options("torn")
	conn, err := chdriver.Open(&opts)
	if err == nil {
		err = schema.Migrate(t.Context(), opts, slog.New(slog.DiscardHandler))
	}
	if err == nil { // each insert stays a part of its own
		err = conn.Exec(t.Context(), "SYSTEM STOP MERGES")
	}
	if err != nil {
		t.Fatal(err)
	}
	sink, stop := start(t, config(opts, brokers, 300))
	for range 3 {
		logtest.Fill(t, w, g, 400)
		drain(t, sink, brokers)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, path := range lost {
		paths = append(paths, path(t, conn))
	}
	_ = conn.Close() // it has answered
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil || !strings.HasPrefix(path, data) {
			t.Fatalf("%s is none of the store's: %v", path, err)
		}
		spoil := os.RemoveAll
		if filepath.Ext(path) != "" {
			spoil = func(file string) error { return os.Truncate(file, 0) }
		}
		if err := spoil(path); err != nil {
			t.Fatal(err)
		}
	}
	opts = *embedtest.StartClickHouse(t, data).Options("torn")
	sink, _ = start(t, config(opts, brokers, 300))
	drain(t, sink, brokers)
	mustEqual(t, logtest.Read(t, brokers), opts)
	logtest.Fill(t, w, g, 500)
	drain(t, sink, brokers)
	mustEqual(t, logtest.Read(t, brokers), opts)
}

// TestMendWaitsForInsertsUnderWay: an insert that its sender has left reaches one table after the other, so what it has
// not written yet is not missing.
func TestMendWaitsForInsertsUnderWay(t *testing.T) {
	brokers, server := embedtest.Broker(t), embedtest.SharedClickHouse(t)
	opts := *embedtest.ClickHouse(t)
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(6, 50)
	sink, stop := start(t, config(opts, brokers, 300))
	logtest.Fill(t, w, g, 400)
	drain(t, sink, brokers)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	body, more := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		fmt.Sprintf("http://%s/?database=%s&query=%s", server.HTTPAddr(), opts.Auth.Database, url.QueryEscape("INSERT INTO postings (line) FORMAT TSV")), body)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(opts.Auth.Username, opts.Auth.Password)
	answered := make(chan error, 1)
	go func() {
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			err = answer.Body.Close()
		}
		answered <- err
	}()
	if _, err := io.WriteString(more, "7\n"); err != nil {
		t.Fatal(err)
	}
	for len(lines(t, opts, `SELECT query_id, query FROM system.processes WHERE query_kind = 'Insert'`)) == 0 {
		time.Sleep(time.Millisecond)
	}
	sink, _ = start(t, config(opts, brokers, 300))
	time.Sleep(500 * time.Millisecond)
	if sink.Ready() == nil {
		t.Error("the sink did not wait")
	}
	if err := more.CloseWithError(errors.New("its sender has left")); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err == nil {
		t.Fatal("half an insert was accepted")
	}
	drain(t, sink, brokers)
	mustEqual(t, logtest.Read(t, brokers), opts)
}

// lastPart is the folder of the newest part of a table.
func lastPart(t *testing.T, conn chdriver.Conn, table string) (path string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `SELECT path FROM system.parts WHERE database = 'torn' AND table = ? AND active
		ORDER BY max_block_number DESC LIMIT 1`, table).Scan(&path); err != nil {
		t.Fatal(err)
	}
	return path
}

// claimNext takes the number of the next range as a sink does that dies right behind it.
func claimNext(t *testing.T, conn chdriver.Conn) {
	t.Helper()
	var next uint64
	err := conn.QueryRow(t.Context(), `SELECT max(seq) + 1 FROM sink_ranges`).Scan(&next)
	if err == nil {
		err = conn.Exec(chdriver.Context(t.Context(), chdriver.WithSettings(chdriver.Settings{
			"insert_deduplicate": 1, "async_insert": 0, "insert_deduplication_token": fmt.Sprint("range/all/", next),
		})), `INSERT INTO sink_ranges (sink, seq, owner, partitions, first, next) VALUES ('all', ?, 'dead', [0], [0], [0])`, next)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestWaitsForRoom: on a disk that is almost full nothing is taken that might be acknowledged and not be there.
func TestWaitsForRoom(t *testing.T) {
	if !embedtest.MayMount(t) {
		return
	}
	disk := embedtest.SmallDisk(t, "size=300m,mode=0755")
	server := embedtest.StartClickHouse(t, filepath.Join(disk, "data"))
	embedtest.CreateClickHouseDatabase(t, server, "room")
	brokers, opts := embedtest.Broker(t), *server.Options("room")
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(8, 100)
	sink, _ := start(t, config(opts, brokers, 100))
	logtest.Fill(t, w, g, 400)
	drain(t, sink, brokers)
	free, err := child.FreeBytes(disk)
	if err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, free-20<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	logtest.Fill(t, w, g, 1000)
	time.Sleep(2 * time.Second)
	if why := sink.Ready(); why == nil || !strings.Contains(why.Error(), "almost full") {
		t.Errorf("with 20 MB of room: ready is %v", why)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	drain(t, sink, brokers)
	mustEqual(t, logtest.Read(t, brokers), opts)
}

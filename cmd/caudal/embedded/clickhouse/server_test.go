package clickhouse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	chdriver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/clickhouse"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
)

func TestMain(m *testing.M) { embedtest.Main(m) }

func open(t *testing.T, options *chdriver.Options) driver.Conn {
	t.Helper()
	conn, err := chdriver.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func exec(t *testing.T, conn driver.Conn, statement string) {
	t.Helper()
	if err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func count(t *testing.T, conn driver.Conn, statement string) (n uint64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), statement).Scan(&n); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return n
}

// answer is what an HTTP client without clickhouse-go gets.
func answer(t *testing.T, server *clickhouse.Server, query url.Values, head http.Header, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+server.HTTPAddr()+"/?"+query.Encode(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = head
	if host := head.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestRowsOfAllKindsComeBack(t *testing.T) {
	for name, method := range map[string]chdriver.CompressionMethod{
		"plain": chdriver.CompressionNone, "lz4": chdriver.CompressionLZ4, "zstd": chdriver.CompressionZSTD, "gzip": chdriver.CompressionGZIP,
	} {
		t.Run(name, func(t *testing.T) {
			options := embedtest.ClickHouse(t)
			options.Compression = &chdriver.Compression{Method: method}
			conn := open(t, options)
			exec(t, conn, `CREATE TABLE kinds (id UInt64, minor Int64, amount Decimal(38, 10), at DateTime64(3, 'UTC'),
				currency LowCardinality(String), payment UUID, note Nullable(String), tags Map(String, String), codes Array(UInt16))
				ENGINE = MergeTree ORDER BY id`)
			batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO kinds")
			if err != nil {
				t.Fatal(err)
			}
			const rows = 20_000
			at, payment := time.UnixMilli(1_790_000_000_123).UTC(), uuid.MustParse("018f2b1e-0000-7000-8000-000000000001")
			amount := decimal.RequireFromString("12345678901234567890.0123456789")
			for id := range uint64(rows) {
				var note *string
				if text := fmt.Sprintf("note\n'%d'\x00é", id); id%2 == 0 {
					note = &text
				}
				err := batch.Append(id, -int64(id)*1e9, amount, at, "BRL", payment, note, map[string]string{"k": "v"}, []uint16{1, 2, 3})
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := batch.Send(); err != nil {
				t.Fatal(err)
			}
			var (
				minor     int64
				gotAmount decimal.Decimal
				gotAt     time.Time
				currency  string
				id        uuid.UUID
				note      *string
				tags      map[string]string
				codes     []uint16
			)
			row := conn.QueryRow(t.Context(), "SELECT minor, amount, at, currency, payment, note, tags, codes FROM kinds WHERE id = {id:UInt64}",
				chdriver.Named("id", 19_998))
			if err := row.Scan(&minor, &gotAmount, &gotAt, &currency, &id, &note, &tags, &codes); err != nil {
				t.Fatal(err)
			}
			if minor != -19_998e9 || !gotAmount.Equal(amount) || !gotAt.Equal(at) || currency != "BRL" || id != payment ||
				note == nil || *note != "note\n'19998'\x00é" || tags["k"] != "v" || len(codes) != 3 {
				t.Errorf("got %v %v %v %v %v %v %v %v", minor, gotAmount, gotAt, currency, id, note, tags, codes)
			}
			if n := count(t, conn, "SELECT count() FROM kinds"); n != rows {
				t.Errorf("%d rows, want %d", n, rows)
			}
			if rows, err := conn.Query(t.Context(), "SELECT id, note FROM kinds WHERE id > 1000000"); err != nil || len(rows.Columns()) != 2 || rows.Next() {
				t.Errorf("empty result: %v", err)
			}
		})
	}
}

func TestErrorsAreTyped(t *testing.T) {
	conn := open(t, embedtest.ClickHouse(t))
	for statement, code := range map[string]int32{"SELECT * FROM nowhere": 60, "SELEC 1": 62, "SELECT throwIf(number = 100000) FROM numbers(200000)": 395} {
		rows, err := conn.Query(t.Context(), statement)
		for err == nil && rows.Next() { // the last one fails after rows have been sent
		}
		if err == nil {
			err = rows.Err()
		}
		var exception *chdriver.Exception
		if !errors.As(err, &exception) || exception.Code != code {
			t.Errorf("%s: %v, want code %d", statement, err, code)
		}
	}
	if n := count(t, conn, "SELECT toUInt64(1)"); n != 1 {
		t.Error("the connection is of no use after errors")
	}
}

// TestSettingsDoNotLeak: pooled engine connections are shared by requests with different settings.
func TestSettingsDoNotLeak(t *testing.T) {
	conn := open(t, embedtest.ClickHouse(t))
	for i := range 30 {
		ctx := t.Context()
		want := uint64(65409) // the engine's default
		if i%3 == 0 {
			ctx, want = chdriver.Context(ctx, chdriver.WithSettings(chdriver.Settings{"max_block_size": 1234})), 1234
		}
		var got uint64
		if err := conn.QueryRow(ctx, "SELECT toUInt64(getSetting('max_block_size'))").Scan(&got); err != nil || got != want {
			t.Fatalf("request %d: max_block_size %d, %v; want %d", i, got, err, want)
		}
		if i%5 == 0 {
			exec(t, conn, "SET max_block_size = 77")
		}
	}
}

func TestTokenDeduplicates(t *testing.T) {
	conn := open(t, embedtest.ClickHouse(t))
	exec(t, conn, "CREATE TABLE once (id UInt64) ENGINE = MergeTree ORDER BY id")
	for _, token := range []string{"a", "a", "b"} {
		ctx := chdriver.Context(t.Context(), chdriver.WithSettings(chdriver.Settings{"insert_deduplication_token": token}))
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO once")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(batch.Append(uint64(1)), batch.Send()); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, conn, "SELECT count() FROM once"); n != 2 {
		t.Errorf("%d rows after tokens a, a, b; want 2", n)
	}
}

func TestDurableSettingsHold(t *testing.T) {
	conn := open(t, embedtest.ClickHouse(t))
	n := count(t, conn, "SELECT count() FROM system.merge_tree_settings WHERE (name, value) IN "+
		"(('fsync_after_insert', '1'), ('fsync_part_directory', '1'), ('non_replicated_deduplication_window', '1000'))")
	if n != 3 {
		t.Errorf("%d of 3 durable settings hold", n)
	}
}

// TestIdleEngineIsQuiet counts what was most of an idle engine's work: looking at its memory.
func TestIdleEngineIsQuiet(t *testing.T) {
	conn := open(t, embedtest.ClickHouse(t))
	looks := func() uint64 {
		return count(t, conn, "SELECT toUInt64(sum(value)) FROM system.events WHERE event = 'MemoryWorkerRun'")
	}
	before := looks()
	time.Sleep(2 * time.Second)
	if n := looks() - before; n == 0 || n > 6 {
		t.Errorf("%d looks at the memory in two seconds", n)
	}
}

func TestCurlReadsWithoutPassword(t *testing.T) {
	server := embedtest.SharedClickHouse(t)
	options := embedtest.ClickHouse(t)
	conn := open(t, options)
	exec(t, conn, "CREATE TABLE payments (id UInt64, source String) ENGINE = MergeTree ORDER BY id")
	exec(t, conn, "INSERT INTO payments VALUES (7, 'file'), (8, 'api')")
	table := options.Auth.Database + ".payments"
	for statement, want := range map[string]string{
		"SELECT sum(id) FROM " + table:                                                        "15\n",
		"SELECT id FROM " + table + " WHERE source = 'file' FORMAT JSONEachRow":               "{\"id\":7}\n",
		"SELECT * FROM " + table + " ORDER BY id FORMAT CSVWithNames":                         "\"id\",\"source\"\n7,\"file\"\n8,\"api\"\n",
		"SHOW TABLES FROM " + options.Auth.Database:                                           "payments\n",
		"SELECT toInt64(number) FROM numbers(200000) ORDER BY number DESC LIMIT 1 FORMAT CSV": "199999\n",
	} {
		if status, got := answer(t, server, nil, nil, statement); status != http.StatusOK || got != want {
			t.Errorf("%s: %d %q, want %q", statement, status, got, want)
		}
	}
	if _, got := answer(t, server, url.Values{"query": {"SELECT {x:UInt8} + 1"}, "param_x": {"7"}}, nil, ""); got != "8\n" {
		t.Errorf("parameter: %q", got)
	}
	if status, got := answer(t, server, nil, nil, "SELECT * FROM "+table+" FORMAT Parquet"); status != http.StatusOK || !strings.HasPrefix(got, "PAR1") {
		t.Errorf("Parquet: %d %.20q", status, got)
	}
}

func TestAnalystCanOnlyRead(t *testing.T) {
	server := embedtest.SharedClickHouse(t)
	options := embedtest.ClickHouse(t)
	db := options.Auth.Database
	exec(t, open(t, options), "CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id")
	secret := filepath.Join(t.TempDir(), "secret.csv")
	if err := os.WriteFile(secret, []byte("personal,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	stolen := secret + ".out"
	for _, statement := range []string{
		"INSERT INTO " + db + ".t VALUES (1)", "DROP TABLE " + db + ".t", "CREATE DATABASE x", "ALTER TABLE " + db + ".t DELETE WHERE 1",
		"TRUNCATE TABLE " + db + ".t", "SYSTEM SHUTDOWN", "KILL QUERY WHERE 1", "SET readonly = 0", "SELECT 1 SETTINGS readonly = 0",
		"SELECT 1 SETTINGS max_execution_time = 0", "OPTIMIZE TABLE " + db + ".t", "USE " + db, "SELECT 1; DROP TABLE " + db + ".t",
		"SELECT * FROM file('" + secret + "')", "SELECT * FROM `" + secret + "`", "SELECT file('" + secret + "')",
		"SELECT `file`('" + secret + "')", `SELECT "\x66ile"('` + secret + "')", "SELECT FILE /**/ ('" + secret + "')",
		"SELECT * APPLY (file) FROM (SELECT '" + secret + "')", "EXPLAIN SELECT file('" + secret + "')", "DESCRIBE file('" + secret + "')",
		"DESC TABLE (SELECT 1)", "WITH 1 AS x SELECT x INTO OUTFILE '" + stolen + "'", "SELECT 1 into/**/outfile '" + stolen + "'",
		"SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')", "SELECT * FROM remote('127.0.0.1:1', 'a.b')",
		"SELECT * FROM s3('http://127.0.0.1:1/bucket/x', 'CSV', 'a String')", "SELECT * FROM executable('id', 'CSV', 'a String')",
	} {
		status, text := answer(t, server, nil, nil, statement)
		if status == http.StatusOK || strings.Contains(text, "personal") {
			t.Errorf("%s: %d %q", statement, status, text)
		}
	}
	status, text := answer(t, server, url.Values{"query": {"SELECT {f:Identifier}('" + secret + "')"}, "param_f": {"file"}}, nil, "")
	if status == http.StatusOK {
		t.Errorf("function by parameter: %q", text)
	}
	if _, err := os.Stat(stolen); err == nil {
		t.Error("an analyst wrote a file")
	}
	if n := count(t, open(t, options), "SELECT count() FROM t"); n != 0 {
		t.Errorf("an analyst wrote %d rows", n)
	}
}

func TestAuthentication(t *testing.T) {
	server := embedtest.SharedClickHouse(t)
	for name, c := range map[string]struct {
		user, password, host, site string
		status                     int
	}{
		"nobody":             {status: 200},
		"analyst":            {user: "analyst", status: 200},
		"customary default":  {user: "default", status: 200},
		"owner":              {user: "caudal", password: server.Password(), status: 200},
		"default as owner":   {user: "default", password: server.Password(), status: 200},
		"wrong default":      {user: "default", password: "x", status: 403},
		"wrong password":     {user: "caudal", password: "x", status: 403},
		"no password":        {user: "caudal", status: 403},
		"analyst's password": {user: "analyst", password: "x", status: 403},
		"stranger":           {user: "root", status: 403},
		"rebound name":       {host: "evil.example", status: 403},
		"foreign page":       {site: "cross-site", status: 403},
	} {
		head := http.Header{}
		for key, value := range map[string]string{"X-ClickHouse-User": c.user, "X-ClickHouse-Key": c.password, "Host": c.host, "Sec-Fetch-Site": c.site} {
			if value != "" {
				head.Set(key, value)
			}
		}
		if status, text := answer(t, server, nil, head, "SELECT 1"); status != c.status {
			t.Errorf("%s: %d %q, want %d", name, status, text, c.status)
		}
	}
}

// TestCutInsertCommitsNothing: a client that dies inside its body must not leave half of it.
func TestCutInsertCommitsNothing(t *testing.T) {
	server := embedtest.SharedClickHouse(t)
	options := embedtest.ClickHouse(t)
	conn := open(t, options)
	exec(t, conn, "CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id")
	tcp, err := net.Dial("tcp", server.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	query := url.Values{
		"query": {"INSERT INTO t FORMAT RowBinary"}, "database": {options.Auth.Database},
		"user": {"caudal"}, "password": {server.Password()},
	}
	head := fmt.Sprintf("POST /?%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000\r\n\r\n", query.Encode())
	if _, err := tcp.Write(append([]byte(head), bytes.Repeat([]byte{1}, 4000)...)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if err := tcp.Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if n := count(t, conn, "SELECT count() FROM t"); n != 0 {
		t.Errorf("%d rows of a cut body were committed", n)
	}
}

// TestLeavingClientEndsItsStatement: else a few impatient callers would occupy all connections.
func TestLeavingClientEndsItsStatement(t *testing.T) {
	conn := open(t, embedtest.ClickHouse(t))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := conn.Exec(ctx, "SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 1 SETTINGS max_threads = 1"); err == nil {
		t.Fatal("the endless statement ended")
	}
	deadline := time.Now().Add(15 * time.Second)
	for count(t, conn, "SELECT count() FROM system.processes WHERE query LIKE '%sipHash64(number) = 1%' AND query NOT LIKE '%system.processes%'") > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the statement still runs")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestKilledEngineIsBack: after kill -9 in the middle of inserts the same address and password serve
// again, and every acknowledged batch is there.
func TestKilledEngineIsBack(t *testing.T) {
	server := embedtest.StartClickHouse(t, t.TempDir())
	embedtest.CreateClickHouseDatabase(t, server, "k")
	conn := open(t, server.Options("k"))
	exec(t, conn, "CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id")
	for round := range uint64(3) {
		first := server.PID()
		var took time.Duration
		for id := range uint64(20) {
			if id == 10 {
				if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				took = -time.Duration(time.Now().UnixNano())
			}
			insertUntilAcknowledged(t, conn, round*20+id)
			if id == 10 {
				took += time.Duration(time.Now().UnixNano())
			}
		}
		t.Logf("killed engine acknowledged the next insert after %v", took.Round(time.Millisecond))
		if server.PID() == first {
			t.Fatal("the engine was not killed")
		}
		if n := count(t, conn, "SELECT count() FROM t"); n != (round+1)*20 {
			t.Fatalf("%d rows, want %d", n, (round+1)*20)
		}
	}
}

func insertUntilAcknowledged(t *testing.T, conn driver.Conn, id uint64) {
	t.Helper()
	ctx := chdriver.Context(t.Context(), chdriver.WithSettings(chdriver.Settings{"insert_deduplication_token": fmt.Sprint(id)}))
	deadline := time.Now().Add(30 * time.Second)
	for {
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO t")
		if err == nil {
			if err = batch.Append(id); err == nil {
				err = batch.Send()
			}
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no insert acknowledged: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestDSNServesOtherProcesses(t *testing.T) {
	server := embedtest.SharedClickHouse(t)
	options, err := chdriver.ParseDSN(server.DSN(embedtest.ClickHouse(t).Auth.Database))
	if err != nil {
		t.Fatal(err)
	}
	exec(t, open(t, options), "CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id")
}

func TestSecondStartContinues(t *testing.T) {
	data := filepath.Join(t.TempDir(), strings.Repeat("long", 30)) // its socket needs a shorter path
	bins := embedtest.Binaries(t)
	var password string
	for round := range uint64(2) {
		server, err := clickhouse.Start(t.Context(), clickhouse.Config{Library: bins.ClickHouseLibrary, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			embedtest.CreateClickHouseDatabase(t, server, "k")
			password = server.Password()
			exec(t, open(t, server.Options("k")), "CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id")
		}
		conn := open(t, server.Options("k"))
		exec(t, conn, fmt.Sprintf("INSERT INTO t VALUES (%d)", round))
		if n := count(t, conn, "SELECT count() FROM t"); n != round+1 || server.Password() != password {
			t.Errorf("start %d: %d rows, same password: %v", round, n, server.Password() == password)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if _, err := clickhouse.Start(ctx, clickhouse.Config{Library: bins.ClickHouseLibrary, Data: data}); err == nil {
			t.Error("two servers started on one folder")
		}
		cancel()
		if err := server.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

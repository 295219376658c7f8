package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	chdriver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/broker"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/clickhouse"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/fetch"
	"github.com/caudalpay/caudal/cmd/caudal/embedded/postgres"
)

func TestMain(m *testing.M) {
	parents := map[string]func(string) error{"__inserter": insertForEver, "__transactor": commitForEver}
	if len(os.Args) == 3 && parents[os.Args[1]] != nil {
		if err := parents[os.Args[1]](os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	embedtest.Main(m)
}

// insertForEver starts all parts in one folder, says so, and inserts until it is killed. Each number is printed
// once both databases have acknowledged it.
func insertForEver(data string) error {
	ctx := context.Background()
	bins, err := fetch.Ensure(ctx, fetch.Options{})
	if err != nil {
		return err
	}
	pg, err := postgres.Start(ctx, postgres.Config{Home: bins.PostgresHome, Data: filepath.Join(data, "postgres")})
	if err != nil {
		return err
	}
	ch, err := clickhouse.Start(ctx, clickhouse.Config{Library: bins.ClickHouseLibrary, Data: filepath.Join(data, "clickhouse")})
	if err != nil {
		return err
	}
	kafka, err := broker.Start(ctx, broker.Config{Data: filepath.Join(data, "broker")})
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, pg.DSN())
	if err != nil {
		return err
	}
	house, err := chdriver.Open(ch.Options("default"))
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS t (id bigint PRIMARY KEY)"); err != nil {
		return err
	}
	for _, ddl := range []string{"CREATE DATABASE IF NOT EXISTS k ENGINE = Atomic", "CREATE TABLE IF NOT EXISTS k.t (id UInt64) ENGINE = MergeTree ORDER BY id"} {
		if err := house.Exec(ctx, ddl); err != nil {
			return err
		}
	}
	var last int64
	if err := conn.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM t").Scan(&last); err != nil {
		return err
	}
	var stored uint64
	if err := house.QueryRow(ctx, "SELECT max(id) FROM k.t").Scan(&stored); err != nil {
		return err
	}
	fmt.Println("up", pg.PID(), ch.PID(), kafka.PID(), last, stored)
	for id := last + 1; ; id++ {
		if _, err := conn.Exec(ctx, "INSERT INTO t VALUES ($1)", id); err != nil {
			return err
		}
		if err := house.Exec(ctx, fmt.Sprintf("INSERT INTO k.t VALUES (%d)", id)); err != nil {
			return err
		}
		fmt.Println("acknowledged", id)
	}
}

// TestKilledParentTakesAllWithIt: after each kill -9 of the parent in mid-insert no process is left, and
// the next start on the same folder has every acknowledged row.
func TestKilledParentTakesAllWithIt(t *testing.T) {
	data := t.TempDir()
	acknowledged := 0
	for range 3 {
		acknowledged = runAndKill(t, data, acknowledged)
	}
}

// startParent runs this test binary as a parent of parts, up to its line that says that they are up.
func startParent(t *testing.T, how, data string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, how, data)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "up ") {
		t.Fatalf("the parts did not start: %q, %v", lines.Text(), cmd.Wait())
	}
	return cmd, lines
}

func runAndKill(t *testing.T, data string, acknowledged int) int {
	t.Helper()
	cmd, lines := startParent(t, "__inserter", data)
	words := strings.Fields(lines.Text())[1:]
	for i, engine := range []string{"Postgres", "ClickHouse"} {
		if last, err := strconv.Atoi(words[3+i]); err != nil || last < acknowledged || last > acknowledged+1 {
			t.Errorf("%s has rows up to %s, acknowledged up to %d", engine, words[3+i], acknowledged)
		}
	}
	time.AfterFunc(300*time.Millisecond, func() { _ = cmd.Process.Kill() })
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "acknowledged %d", &acknowledged); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Wait() // killed
	killed := time.Now()
	for left := []int{0}; len(left) > 0; time.Sleep(5 * time.Millisecond) {
		left = processesOf(t, data, words[:3])
		if time.Since(killed) > 20*time.Second {
			t.Fatalf("processes %v outlive their parent", left)
		}
	}
	t.Logf("all parts gone %v after the kill, %d rows acknowledged", time.Since(killed).Round(time.Millisecond), acknowledged)
	return acknowledged
}

// processesOf lists what is still there: the three parts, and whoever works in the data folder (the
// backends of Postgres have pids of their own).
func processesOf(t *testing.T, data string, pids []string) (left []int) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		pid := filepath.Base(filepath.Dir(link))
		cwd, err := os.Readlink(link)
		if err != nil {
			continue
		}
		named := pid == pids[0] || pid == pids[1] || pid == pids[2]
		if named || strings.HasPrefix(cwd, data) {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			left = append(left, n)
		}
	}
	return left
}

const transactionPartitions = 16

// commitForEver starts a broker and commits transactions with one record in each partition until it is
// killed, printing the number of each that was acknowledged.
func commitForEver(data string) error {
	ctx := context.Background()
	kafka, err := broker.Start(ctx, broker.Config{Data: data})
	if err != nil {
		return err
	}
	// The same id each time: its first use ends what the killed one left open.
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.Addrs()...), kgo.TransactionalID("x"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return err
	}
	created, err := kadm.NewClient(client).CreateTopics(ctx, transactionPartitions, 1, nil, "t")
	if err == nil {
		err = created.Error()
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return err
	}
	fmt.Println("up", kafka.PID())
	for n := 0; ; n++ {
		if err := client.BeginTransaction(); err != nil {
			return err
		}
		for p := range int32(transactionPartitions) {
			client.Produce(ctx, &kgo.Record{Topic: "t", Partition: p, Value: fmt.Append(nil, os.Getpid(), " ", n)}, nil)
		}
		if err := errors.Join(client.Flush(ctx), client.EndTransaction(ctx, kgo.TryCommit)); err != nil {
			return err
		}
		fmt.Println("acknowledged", os.Getpid(), n)
	}
}

// TestKilledParentTearsNoTransaction: the broker finishes the commit it is in when its parent is killed.
func TestKilledParentTearsNoTransaction(t *testing.T) {
	data := t.TempDir()
	acknowledged := map[string]bool{}
	for round := range 6 {
		cmd, lines := startParent(t, "__transactor", data)
		time.AfterFunc(time.Duration(150+37*round)*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
			acknowledged[strings.TrimPrefix(lines.Text(), "acknowledged ")] = true
		}
		_ = cmd.Wait() // killed
	}
	server := embedtest.StartBroker(t, data)
	fence, err := kgo.NewClient(kgo.SeedBrokers(server.Addrs()...), kgo.TransactionalID("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer fence.Close()
	if _, _, err := fence.ProducerID(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(server.Addrs()...), kgo.ConsumeTopics("t"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	seen := map[string]int{}
	for quiet := 0; quiet < 3; {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		fetches := client.PollFetches(ctx)
		cancel()
		if fetches.NumRecords() == 0 {
			quiet++
			continue
		}
		quiet = 0
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
	}
	for value, partitions := range seen {
		if partitions != transactionPartitions {
			t.Errorf("transaction %s is in %d of %d partitions", value, partitions, transactionPartitions)
		}
	}
	for value := range acknowledged {
		if seen[value] == 0 {
			t.Errorf("acknowledged transaction %s is lost", value)
		}
	}
	if len(acknowledged) < 6 {
		t.Fatalf("only %d transactions", len(acknowledged))
	}
	t.Logf("%d transactions acknowledged, %d committed", len(acknowledged), len(seen))
}

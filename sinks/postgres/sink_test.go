package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/decisionlog"
	"github.com/caudalpay/caudal/sinks/decisionlog/logtest"
	"github.com/caudalpay/caudal/sinks/postgres"
)

const partitions = 4

// The child of a kill test is this binary again.
const (
	childDSN     = "CAUDAL_TEST_SINK_DSN"
	childBrokers = "CAUDAL_TEST_SINK_BROKERS"
)

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childDSN); dsn != "" {
		sink, err := postgres.New(config(dsn, strings.Split(os.Getenv(childBrokers), ","), 300))
		if err == nil {
			err = sink.Run(context.Background())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	embedtest.Main(m)
}

func config(dsn string, brokers []string, recordsMax int) postgres.Config {
	return postgres.Config{
		DSN: dsn,
		Config: decisionlog.Config{
			Brokers: brokers, Partitions: []int32{0, 1, 2, 3}, RecordsMax: recordsMax, Linger: 5 * time.Millisecond,
			Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), Registry: prometheus.NewRegistry(),
		},
	}
}

func start(t testing.TB, cfg postgres.Config) (*postgres.Sink, func() error) {
	t.Helper()
	sink, err := postgres.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sink.Run(ctx) }()
	stop := func() error {
		cancel()
		select {
		case err := <-ended:
			ended <- err
			return err
		case <-time.After(20 * time.Second):
			return errors.New("the sink does not stop")
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil && !errors.Is(err, postgres.ErrNotOwner) {
			t.Error(err)
		}
	})
	return sink, stop
}

func drain(t testing.TB, sink *postgres.Sink, brokers []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := sink.Drained(ctx, logtest.Ends(t, brokers)); err != nil {
		t.Fatal(err)
	}
	for err := sink.Ready(); err != nil; err = sink.Ready() {
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
}

// TestWordsOfOneInstantInTwoBatches: a fact told in the instant in which its record was made may be the first word about it or a
// later one, and which it is only the row says that an earlier batch wrote. Here the
// words of one instant stand in batches of their own.
func TestWordsOfOneInstantInTwoBatches(t *testing.T) {
	brokers, dsn := embedtest.Broker(t), embedtest.Postgres(t)
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(7, 12)
	sink, _ := start(t, config(dsn, brokers, 500))
	met := 0
	write := func(ds ...*paymentsv1.Decision) {
		t.Helper()
		if err := w.Write(t.Context(), ds); err != nil {
			t.Fatal(err)
		}
	}
	for met < 12 {
		ds := g.Step()
		if len(ds) == 1 || ds[0].GetCreatedAtUs() != ds[0].GetAcceptedAtUs() || ds[1].GetPaymentId() != ds[0].GetPaymentId() ||
			ds[1].GetOutcome() != paymentsv1.Outcome_OUTCOME_APPLIED {
			write(ds...)
			continue
		}
		met++
		for _, d := range ds {
			write(d)
			drain(t, sink, brokers)
		}
	}
	mustEqual(t, logtest.Read(t, brokers), dsn)
}

func TestStoreEqualsLog(t *testing.T) {
	brokers, dsn := embedtest.Broker(t), embedtest.Postgres(t)
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(1, 300)
	g.Old = 5
	sink, stop := start(t, config(dsn, brokers, 500))
	for range 5 { // batches small and large, with pauses between
		logtest.Fill(t, w, g, 1500)
		drain(t, sink, brokers)
	}
	mustEqual(t, logtest.Read(t, brokers), dsn)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	logtest.Fill(t, w, g, 1000)
	again, _ := start(t, config(dsn, brokers, 10_000))
	drain(t, again, brokers)
	mustEqual(t, logtest.Read(t, brokers), dsn)
}

func TestKilledSinkLosesAndDoublesNothing(t *testing.T) {
	brokers, dsn := embedtest.Broker(t), embedtest.Postgres(t)
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(2, 200)
	logtest.Fill(t, w, g, 500)
	before := int64(0)
	for kill := range 6 {
		child := spawn(t, dsn, brokers)
		filled := make(chan error, 1)
		go func() { filled <- logtest.Write(t.Context(), w, g, 4000) }()
		// Not before it has taken something, and while there is more to take: in the middle of its work.
		for until := time.Now().Add(30 * time.Second); held(t, dsn) <= before; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatal("the sink takes nothing")
			}
		}
		time.Sleep(time.Duration(kill) * time.Millisecond)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
		before = held(t, dsn)
		if err := <-filled; err != nil {
			t.Fatal(err)
		}
		t.Logf("killed at %d of %d", before, total(logtest.Ends(t, brokers)))
	}
	sink, _ := start(t, config(dsn, brokers, 1000))
	drain(t, sink, brokers)
	mustEqual(t, logtest.Read(t, brokers), dsn)
}

func total(ends map[int32]int64) (sum int64) {
	for _, end := range ends {
		sum += end
	}
	return sum
}

// held is how much of the log the database says it holds, -1 before it has a schema.
func held(t testing.TB, dsn string) (sum int64) {
	t.Helper()
	conn := embedtest.Connect(t, dsn)
	defer func() { _ = conn.Close(t.Context()) }() // one test opens many
	if err := conn.QueryRow(t.Context(), `SELECT coalesce(sum(next_offset), 0) FROM sink.offsets`).Scan(&sum); err != nil {
		return -1
	}
	return sum
}

func spawn(t testing.TB, dsn string, brokers []string) *exec.Cmd {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDSN+"="+dsn, childBrokers+"="+strings.Join(brokers, ","))
	child.Stderr = os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	return child
}

func TestSecondSinkIsShutOut(t *testing.T) {
	brokers, dsn := embedtest.Broker(t), embedtest.Postgres(t)
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(3, 100)
	one, _ := start(t, config(dsn, brokers, 200))
	logtest.Fill(t, w, g, 400)
	drain(t, one, brokers)
	two, _ := start(t, config(dsn, brokers, 100))
	// Both believe to own everything: one of them must end with ErrNotOwner, and the other go on.
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) && !errors.Is(one.Ready(), postgres.ErrNotOwner) && !errors.Is(two.Ready(), postgres.ErrNotOwner) {
		logtest.Fill(t, w, g, 200)
		time.Sleep(50 * time.Millisecond) // a slow machine must not be left with a log it cannot drain in time
	}
	left := one
	if errors.Is(one.Ready(), postgres.ErrNotOwner) {
		left = two
	} else if !errors.Is(two.Ready(), postgres.ErrNotOwner) {
		t.Fatal("two sinks write the same partitions")
	}
	logtest.Fill(t, w, g, 200)
	drain(t, left, brokers)
	mustEqual(t, logtest.Read(t, brokers), dsn)
}

func TestStoreOutage(t *testing.T) {
	brokers, server := embedtest.Broker(t), embedtest.StartPostgres(t, t.TempDir())
	dsn := server.DSN()
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(4, 100)
	sink, _ := start(t, config(dsn, brokers, 300))
	logtest.Fill(t, w, g, 600)
	drain(t, sink, brokers)
	if err := syscall.Kill(server.PID(), syscall.SIGKILL); err != nil { // with nothing to write, it is noticed all the same
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); sink.Ready() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("ready without its store")
			break
		}
	}
	for range 3 {
		logtest.Fill(t, w, g, 600)
		if err := syscall.Kill(server.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		logtest.Fill(t, w, g, 600)
		drain(t, sink, brokers)
	}
	mustEqual(t, logtest.Read(t, brokers), dsn)
}

// TestRedeliveryIsRefused hands the sink a log position that lies behind the rows it has written.
func TestRedeliveryIsRefused(t *testing.T) {
	brokers, dsn := embedtest.Broker(t), embedtest.Postgres(t)
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(5, 50)
	sink, _ := start(t, config(dsn, brokers, 300))
	logtest.Fill(t, w, g, 600)
	drain(t, sink, brokers)
	conn := embedtest.Connect(t, dsn)
	// Another owner takes the partition over, and the sink still delivers from where it stands.
	if _, err := conn.Exec(t.Context(), `UPDATE sink.offsets SET next_offset = next_offset - 1 WHERE partition = 2`); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for !errors.Is(sink.Ready(), postgres.ErrNotOwner) {
		if time.Now().After(deadline) {
			t.Fatalf("the sink goes on: %v", sink.Ready())
		}
		logtest.Fill(t, w, g, 50)
	}
}

func TestBookedRowsAreImmutable(t *testing.T) {
	brokers, dsn := embedtest.Broker(t), embedtest.Postgres(t)
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(6, 20)
	sink, _ := start(t, config(dsn, brokers, 300))
	logtest.Fill(t, w, g, 300)
	drain(t, sink, brokers)
	conn := embedtest.Connect(t, dsn)
	role := fmt.Sprintf("clerk%d", os.Getpid())
	for _, sql := range []string{
		"CREATE ROLE " + role, "GRANT USAGE ON SCHEMA ledger TO " + role, "GRANT ALL ON ALL TABLES IN SCHEMA ledger TO " + role, "SET ROLE " + role,
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{"UPDATE ledger.postings SET amount_minor = amount_minor + 1", "DELETE FROM ledger.journals"} {
		if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "immutable") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	for _, sql := range []string{"RESET ROLE", "DROP OWNED BY " + role, "DROP ROLE " + role} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnbookableDecisionIsNamed lets the ledger hold a foreign row where a decision will come to stand.
func TestUnbookableDecisionIsNamed(t *testing.T) {
	brokers, dsn := embedtest.Broker(t), embedtest.Postgres(t)
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(7, 50)
	logtest.Fill(t, w, g, 300)
	sink, stop := start(t, config(dsn, brokers, 10_000))
	drain(t, sink, brokers)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	logtest.Fill(t, w, g, 1000)
	var books []logtest.Logged // of partition 2, not yet taken in
	for _, d := range logtest.Read(t, brokers) {
		if d.Partition == 2 && d.Offset > held(t, dsn)/2 && len(d.GetJournals()) > 0 {
			books = append(books, d)
		}
	}
	bad := books[len(books)/2]
	conn := embedtest.Connect(t, dsn)
	if _, err := conn.Exec(t.Context(), `INSERT INTO ledger.journals SELECT (jsonb_populate_record(j, jsonb_build_object('log_offset', $1::bigint,
		'log_partition', 2, 'booking_month', date_trunc('month', date '1970-01-01' + $2::integer)::date))).* FROM ledger.journals j LIMIT 1`,
		bad.Offset, bad.GetEffectiveDate()); err != nil {
		t.Fatal(err)
	}
	again, err := postgres.New(config(dsn, brokers, 10_000))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = again.Run(ctx)
	if want := fmt.Sprintf("partition 2 offset %d", bad.Offset); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "journals") {
		t.Errorf("the sink says %v, not %s", err, want)
	}
	var next int64
	if err := conn.QueryRow(t.Context(), `SELECT next_offset FROM sink.offsets WHERE partition = 2`).Scan(&next); err != nil || next != bad.Offset {
		t.Errorf("booked to offset %d, not to the decision at %d: %v", next, bad.Offset, err)
	}
}

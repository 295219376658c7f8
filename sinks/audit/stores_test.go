package audit_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	chdriver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	chschema "github.com/caudalpay/caudal/schemas/sql/clickhouse"
	"github.com/caudalpay/caudal/sinks/audit"
	"github.com/caudalpay/caudal/sinks/audit/audittest"
	chsink "github.com/caudalpay/caudal/sinks/clickhouse"
	"github.com/caudalpay/caudal/sinks/decisionlog"
	pgsink "github.com/caudalpay/caudal/sinks/postgres"
)

func TestMain(m *testing.M) { embedtest.Main(m) }

// sink is what both sinks are.
type sink interface {
	Run(ctx context.Context) error
	Drained(ctx context.Context, ends map[int32]int64) error
}

// ends is how far the decisions of a house go.
func ends(h *audittest.House) map[int32]int64 {
	all := map[int32]int64{}
	for p := range int32(audittest.Partitions) {
		all[p] = int64(len(h.Decisions[p]))
	}
	return all
}

// fill runs a sink until it holds the whole log.
func fill(t *testing.T, ends map[int32]int64, s sink) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(run) }()
	if err := s.Drained(ctx, ends); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func postgres(t *testing.T, ends map[int32]int64, brokers []string) string {
	t.Helper()
	dsn := embedtest.Migrated(t)
	s, err := pgsink.New(pgsink.Config{
		DSN: dsn,
		Config: decisionlog.Config{
			Brokers: brokers, Partitions: []int32{0, 1, 2, 3}, RecordsMax: 500, Linger: 5 * time.Millisecond,
			Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, ends, s)
	return dsn
}

func clickhouse(t *testing.T, ends map[int32]int64, brokers []string) *chdriver.Options {
	t.Helper()
	server := embedtest.StartClickHouse(t, t.TempDir())
	opts := server.Options(chschema.Database)
	if err := chschema.Migrate(t.Context(), *opts, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	s, err := chsink.New(chsink.Config{
		ClickHouse: *opts,
		Config: decisionlog.Config{
			Brokers: brokers, Partitions: []int32{0, 1, 2, 3}, RecordsMax: 1000, Linger: 5 * time.Millisecond,
			Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, ends, s)
	return opts
}

func played(t *testing.T, seed uint64) (*audittest.House, []string) {
	t.Helper()
	h := audittest.New(t, seed)
	h.Open(20)
	h.Play(2000)
	return h, h.Publish()
}

// booked is a house whose decisions stand in Postgres.
func booked(t *testing.T) (*audittest.House, *pgx.Conn, audit.Config) {
	t.Helper()
	h, brokers := played(t, 6)
	dsn := postgres(t, ends(h), brokers)
	return h, embedtest.Connect(t, dsn), audit.Config{Brokers: brokers, PostgresDSN: dsn}
}

// TestPostgresIsComparedToTheByte: an equal database passes; each change of one value is found and named.
func TestPostgresIsComparedToTheByte(t *testing.T) {
	h, conn, cfg := booked(t)
	r := verify(t, cfg)
	if r.Err() != nil || r.PostgresEqual == nil || !*r.PostgresEqual || r.ClickHouseEqual != nil {
		t.Fatalf("%v\n%s", r.Err(), table(t, r))
	}
	p, i := h.Find(posted)
	account := h.Decision(p, i).GetAccount()
	at := fmt.Sprintf("log_partition = %d AND log_offset = %d", p, i)
	payment := h.Decision(p, i).GetPaymentId()
	type change struct{ check, do, undo, names string }
	changes := []change{
		{
			audit.CheckPGPostings, "UPDATE ledger.postings SET amount_minor = amount_minor + 1 WHERE line = 1 AND " + at,
			"UPDATE ledger.postings SET amount_minor = amount_minor - 1 WHERE line = 1 AND " + at, "ledger.postings, line 1, column amount_minor",
		},
		{
			audit.CheckPGPostings, "UPDATE ledger.postings SET account = account || 'x' WHERE line = 1 AND " + at,
			"UPDATE ledger.postings SET account = rtrim(account, 'x') WHERE line = 1 AND " + at, "column account",
		},
		{
			audit.CheckPGJournals, "UPDATE ledger.journals SET posted_minor = posted_minor + 1 WHERE " + at,
			"UPDATE ledger.journals SET posted_minor = posted_minor - 1 WHERE " + at, "column posted_minor",
		},
		{
			audit.CheckPGPayments, "UPDATE payments.payments SET status = 4 WHERE payment_id = '" + payment + "'", "", "column status",
		},
		{
			audit.CheckPGPayments, "UPDATE payments.payments SET sealed = set_byte(sealed, 3, 255 - get_byte(sealed, 3)) WHERE payment_id = '" + payment + "'", "", "column sealed",
		},
		{
			audit.CheckPGAccounts, "UPDATE accounts.accounts SET account_seq = account_seq + 1 WHERE account = '" + account + "'",
			"UPDATE accounts.accounts SET account_seq = account_seq - 1 WHERE account = '" + account + "'", "column account_seq",
		},
		{
			audit.CheckPGBalances, "UPDATE ledger.balances SET held_minor = held_minor + 1 WHERE currency = 'BRL' AND account = '" + account + "'",
			"UPDATE ledger.balances SET held_minor = held_minor - 1 WHERE currency = 'BRL' AND account = '" + account + "'", "ledger.account_balances, BRL",
		},
		{audit.CheckPGPostings, "DELETE FROM ledger.postings WHERE line = 1 AND " + at, "", "line 1 is missing"},
	}
	for _, c := range changes {
		exec := func(statement string) {
			t.Helper()
			if tag, err := conn.Exec(t.Context(), statement); err != nil || tag.RowsAffected() != 1 {
				t.Fatalf("%s: %d rows, %v", statement, tag.RowsAffected(), err)
			}
		}
		exec(c.do)
		r := verify(t, cfg)
		found(t, r, c.check, account, p, c.names)
		if !r.Balanced || *r.PostgresEqual {
			t.Fatalf("%s\n%s", c.do, table(t, r))
		}
		switch {
		case c.undo != "":
			exec(c.undo)
		case strings.Contains(c.do, "status"):
			exec(fmt.Sprintf("UPDATE payments.payments SET status = %d WHERE payment_id = '%s'", latest(h, payment), payment))
		case strings.Contains(c.do, "sealed"):
			exec(c.do)
		}
	}
}

// Invariant: a row that names a partition or a log that is not there is found: who reads by account or payment sees it.
func TestRowsOfNoLogAreFound(t *testing.T) {
	_, conn, cfg := booked(t)
	for _, c := range []struct{ check, table, stray string }{
		{audit.CheckPGPostings, "ledger.postings", `"log_partition": 99`},
		{audit.CheckPGPostings, "ledger.postings", `"log_partition": -1`},
		{audit.CheckPGPostings, "ledger.postings", `"topic": 7`},
		{audit.CheckPGJournals, "ledger.journals", `"log_partition": 99`},
		{audit.CheckPGPayments, "payments.payments", `"log_partition": 99, "payment_id": "pi_of_nobody"`},
		{audit.CheckPGEvents, "payments.events", `"log_partition": 99`},
	} {
		forged := fmt.Sprintf("INSERT INTO %s SELECT (jsonb_populate_record(r, '{%s}')).* FROM %s r LIMIT 1", c.table, c.stray, c.table)
		if _, err := conn.Exec(t.Context(), forged); err != nil {
			t.Fatal(err)
		}
		found(t, verify(t, cfg), c.check, "", 0, "table "+c.table+": 1 rows of no partition")
		where := "log_partition NOT IN (0, 1, 2, 3)"
		if strings.Contains(c.stray, "topic") {
			where = "topic = 7"
		}
		if _, err := conn.Exec(t.Context(), fmt.Sprintf("DELETE FROM %s WHERE %s", c.table, where)); err != nil {
			t.Fatal(err)
		}
	}
	if r := verify(t, cfg); r.Err() != nil {
		t.Fatal(r.Err())
	}
}

// latest is a payment's status at the end of the log.
func latest(h *audittest.House, payment string) paymentsv1.PaymentStatus {
	var status paymentsv1.PaymentStatus
	for p := range int32(audittest.Partitions) {
		for i := range h.Decisions[p] {
			d := h.Decision(p, i)
			if d.GetPaymentId() == payment && d.GetStatus() != 0 && d.GetOutcome() != paymentsv1.Outcome_OUTCOME_REPEATED {
				status = d.GetStatus()
			}
			granted := d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED || d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPLIED
			if d.GetRelatedPaymentId() == payment && d.GetRelatedStatus() != 0 && granted {
				status = d.GetRelatedStatus()
			}
		}
	}
	return status
}

// found checks that one difference of a check is reported where it is.
func found(t *testing.T, r audit.Report, check, account string, p int32, names string) {
	t.Helper()
	i := slices.IndexFunc(r.Checks, func(c audit.Check) bool { return c.Name == check })
	c := r.Checks[i]
	if c.Differences != 1 || c.First == nil || c.First.Account != account || c.First.Partition != p || !strings.Contains(c.First.Detail, names) {
		t.Fatalf("want one difference of %s, account %s, partition %d, %q; got %+v\n%s", check, account, p, names, c.First, table(t, r))
	}
}

// TestLaggingPostgresIsNotEqual: what a sink has not taken in yet is lag, not a difference, and only then.
func TestLaggingPostgresIsNotEqual(t *testing.T) {
	h, brokers := played(t, 8)
	dsn := postgres(t, ends(h), brokers)
	commands, decisions := h.Commands, h.Decisions // the arrays of before
	h.Play(50)
	for p := range int32(audittest.Partitions) {
		audittest.Produce(t, brokers, h.Commands[p][len(commands[p]):]...)
		audittest.Produce(t, brokers, h.Decisions[p][len(decisions[p]):]...)
	}
	audittest.Produce(t, brokers, h.Cells()...)
	cfg := audit.Config{Brokers: brokers, PostgresDSN: dsn}
	r := verify(t, cfg)
	if r.Err() == nil || *r.PostgresEqual || !r.Balanced {
		t.Fatal(table(t, r))
	}
	for _, c := range r.Checks {
		if c.Differences > 0 {
			t.Fatal(table(t, r))
		}
	}
	if !r.Behind() {
		t.Fatal("what only lags may come")
	}
	cfg.AllowLag = true
	if r := verify(t, cfg); r.Err() != nil || *r.PostgresEqual || r.Behind() {
		t.Fatal(table(t, r))
	}
	conn := embedtest.Connect(t, dsn)
	for _, statement := range []string{"SET session_replication_role = replica", `UPDATE ledger.postings SET amount_minor = amount_minor + 1
		WHERE (log_partition, log_offset, line) = (SELECT log_partition, log_offset, line FROM ledger.postings ORDER BY 1, 2, 3 LIMIT 1)`} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	cfg.AllowLag = false
	r = verify(t, cfg)
	if r.Behind() || r.FirstDifference == nil || r.FirstDifference.Check != audit.CheckPGPostings || !strings.Contains(r.FirstDifference.Detail, "amount_minor") {
		t.Fatalf("a difference hides behind what lags: %+v\n%s", r.FirstDifference, table(t, r))
	}
}

// TestClickHouseIsComparedToTheByte: as for Postgres.
func TestClickHouseIsComparedToTheByte(t *testing.T) {
	h, brokers := played(t, 7)
	opts := clickhouse(t, ends(h), brokers)
	conn, err := chdriver.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the server is stopped
	cfg := audit.Config{Brokers: brokers, ClickHouse: opts}
	r := verify(t, cfg)
	if r.Err() != nil || r.ClickHouseEqual == nil || !*r.ClickHouseEqual || r.PostgresEqual != nil {
		t.Fatalf("%v\n%s", r.Err(), table(t, r))
	}
	p, i := h.Find(posted)
	account := h.Decision(p, i).GetAccount()
	at := fmt.Sprintf("log_partition = %d AND log_offset = %d", p, i)
	for _, c := range []struct{ check, do, undo, names, account string }{
		{
			audit.CheckCHPostings, "ALTER TABLE postings UPDATE amount_minor = amount_minor + 1 WHERE line = 1 AND " + at,
			"ALTER TABLE postings UPDATE amount_minor = amount_minor - 1 WHERE line = 1 AND " + at, "postings, line 1, column amount_minor", account,
		},
		{
			audit.CheckCHFacts, "ALTER TABLE payment_facts UPDATE outcome = 'declined' WHERE " + at,
			"ALTER TABLE payment_facts UPDATE outcome = 'approved' WHERE " + at, "column outcome: want approved, got declined", account,
		},
		{audit.CheckCHFacts, "ALTER TABLE payment_facts DELETE WHERE " + at, "", "line 0 is missing", account},
	} {
		exec := func(statement string) {
			t.Helper()
			if err := conn.Exec(t.Context(), statement+" SETTINGS mutations_sync = 2"); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		exec(c.do)
		r := verify(t, cfg)
		found(t, r, c.check, c.account, p, c.names)
		if !r.Balanced || *r.ClickHouseEqual {
			t.Fatalf("%s\n%s", c.do, table(t, r))
		}
		if c.undo != "" {
			exec(c.undo)
		}
	}
}

// TestDoubledClickHouseRowsAreFound: the exact views hide a row that was inserted twice; the counts and aggregates show it.
func TestDoubledClickHouseRowsAreFound(t *testing.T) {
	h, brokers := played(t, 9)
	opts := clickhouse(t, ends(h), brokers)
	conn, err := chdriver.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the server is stopped
	if err := conn.Exec(t.Context(), "SYSTEM STOP MERGES payment_facts"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec(t.Context(), "INSERT INTO payment_facts SELECT * FROM payment_facts WHERE log_partition = 1 AND log_offset = 20"); err != nil {
		t.Fatal(err)
	}
	r := verify(t, audit.Config{Brokers: brokers, ClickHouse: opts})
	for _, check := range []string{audit.CheckCHCounts, audit.CheckCHAggregates} {
		i := slices.IndexFunc(r.Checks, func(c audit.Check) bool { return c.Name == check })
		if r.Checks[i].Differences != 1 {
			t.Fatalf("%s\n%s", check, table(t, r))
		}
	}
}

package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	chdriver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit"
	"github.com/caudalpay/caudal/sinks/audit/audittest"
	"github.com/caudalpay/caudal/sinks/decisionlog/logtest"
)

// drawn is a log of decisions of all kinds that nobody decided: it has no commands and no chain, so only the stores can be
// compared with it.
func drawn(t *testing.T, seed uint64) (brokers []string, log []logtest.Logged) {
	t.Helper()
	brokers = embedtest.Broker(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, topic := range topics.Catalogue() {
		n := int32(1)
		if topic.Partitioned {
			n = audittest.Partitions
		}
		if topic.Name == topics.Decisions {
			continue
		}
		if _, err := kadm.NewClient(client).CreateTopic(t.Context(), n, 1, nil, topic.Name); err != nil {
			t.Fatal(err)
		}
	}
	logtest.Create(t, brokers, audittest.Partitions)
	logtest.Fill(t, logtest.NewWriter(t, brokers, audittest.Partitions), logtest.New(seed, 60), 4000)
	return brokers, logtest.Read(t, brokers)
}

// equal checks that no check of the stores found anything, and that each had something to compare.
func equal(t *testing.T, r audit.Report, prefix string) {
	t.Helper()
	n := 0
	for _, c := range r.Checks {
		if !strings.HasPrefix(c.Name, prefix) {
			continue
		}
		n++
		if c.Differences != 0 || c.Compared == 0 {
			t.Errorf("%s: %d compared, %d differ: %+v", c.Name, c.Compared, c.Differences, c.First)
		}
	}
	if n == 0 {
		t.Fatalf("no check is called %s", prefix)
	}
}

// captured is a card payment that something was captured of.
func captured(t *testing.T, log []logtest.Logged) logtest.Logged {
	t.Helper()
	i := slices.IndexFunc(log, func(d logtest.Logged) bool {
		return d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER && d.GetCapturedMinor() > 0 && d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPLIED &&
			d.GetRelatedPaymentId() != ""
	})
	if i < 0 {
		t.Fatal("nothing was captured")
	}
	return log[i]
}

// TestPaymentsByRailsAreComparedInPostgres: rows that the sink wrote of payments by rails are what the audit expects by rules
// of its own, and a changed amount, reference or deadline of one is found.
func TestPaymentsByRailsAreComparedInPostgres(t *testing.T) {
	brokers, log := drawn(t, 11)
	dsn := postgres(t, logtest.Ends(t, brokers), brokers)
	conn := embedtest.Connect(t, dsn)
	cfg := audit.Config{Brokers: brokers, PostgresDSN: dsn}
	equal(t, verify(t, cfg), "postgres ")
	d := captured(t, log)
	for _, c := range []struct{ column, changed string }{
		{"captured_minor", "captured_minor + 1"},
		{"authorized_minor", "authorized_minor + 1"},
		{"connector", "connector || 'x'"},
		{"rail_reference", "rail_reference || 'x'"},
		{"deadline_at", "now()"},
	} {
		var before any
		if err := conn.QueryRow(t.Context(), "SELECT "+c.column+" FROM payments.payments WHERE payment_id = $1", d.GetRelatedPaymentId()).Scan(&before); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), fmt.Sprintf("UPDATE payments.payments SET %s = %s WHERE payment_id = $1", c.column, c.changed), d.GetRelatedPaymentId()); err != nil {
			t.Fatal(err)
		}
		found(t, verify(t, cfg), audit.CheckPGPayments, d.GetAccount(), d.Partition, "column "+c.column)
		if _, err := conn.Exec(t.Context(), fmt.Sprintf("UPDATE payments.payments SET %s = $2 WHERE payment_id = $1", c.column), d.GetRelatedPaymentId(), before); err != nil {
			t.Fatal(err)
		}
	}
	exec := func(statement string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	at := fmt.Sprintf(" WHERE log_partition = %d AND log_offset = %d", d.Partition, d.Offset)
	for _, c := range []struct{ do, undo, names string }{
		{"UPDATE payments.events SET rail_code = rail_code || 'x'" + at, "UPDATE payments.events SET rail_code = rtrim(rail_code, 'x')" + at, "column rail_code"},
		{"UPDATE payments.events SET rail_tid = rail_tid || 'x'" + at, "UPDATE payments.events SET rail_tid = rtrim(rail_tid, 'x')" + at, "column rail_tid"},
		{"UPDATE payments.events SET payment_status = payment_status + 1" + at, "UPDATE payments.events SET payment_status = payment_status - 1" + at, "column payment_status"},
		{"UPDATE payments.events SET written_at = written_at + interval '1 millisecond'" + at, "UPDATE payments.events SET written_at = written_at - interval '1 millisecond'" + at, "column written_at"},
		{"CREATE TEMP TABLE gone AS SELECT * FROM payments.events" + at + "; DELETE FROM payments.events" + at, "INSERT INTO payments.events SELECT * FROM gone", "line 0 is missing"},
	} {
		exec(c.do)
		found(t, verify(t, cfg), audit.CheckPGEvents, d.GetAccount(), d.Partition, c.names)
		exec(c.undo)
	}
	equal(t, verify(t, cfg), "postgres ")

	// A database that was written before there were events has none of that time, and is right.
	exec("UPDATE sink.offsets SET events_from = next_offset - 10")
	exec("DELETE FROM payments.events e USING sink.offsets o WHERE o.partition = e.log_partition AND e.log_offset < o.events_from")
	exec("UPDATE payments.payments p SET created_offset = NULL, created_written_at = NULL, command_offset = NULL, command_partition = NULL " +
		"FROM sink.offsets o WHERE o.partition = p.log_partition AND p.created_offset < o.events_from")
	equal(t, verify(t, cfg), "postgres ")
}

// TestPaymentsByRailsAreComparedInClickHouse: as for Postgres.
func TestPaymentsByRailsAreComparedInClickHouse(t *testing.T) {
	brokers, log := drawn(t, 12)
	opts := clickhouse(t, logtest.Ends(t, brokers), brokers)
	conn, err := chdriver.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the server is stopped
	cfg := audit.Config{Brokers: brokers, ClickHouse: opts}
	equal(t, verify(t, cfg), "clickhouse ")
	d := captured(t, log)
	for column, change := range map[string][2]string{
		"captured_minor": {"captured_minor + 1", "captured_minor - 1"}, "order_id": {"concat(order_id, 'x')", "trimRight(order_id, 'x')"},
	} {
		for i, value := range change {
			if err := conn.Exec(t.Context(), fmt.Sprintf("ALTER TABLE payment_facts UPDATE %s = %s WHERE log_partition = %d AND log_offset = %d SETTINGS mutations_sync = 2",
				column, value, d.Partition, d.Offset)); err != nil {
				t.Fatal(err)
			}
			if r := verify(t, cfg); i == 0 {
				found(t, r, audit.CheckCHFacts, d.GetAccount(), d.Partition, "column "+column)
			} else {
				equal(t, r, "clickhouse ")
			}
		}
	}
}

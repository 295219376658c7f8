package sagas

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/processors/payment"
)

func TestMain(m *testing.M) { embedtest.Main(m) }

// fill writes many payments of a kind and status that were decided a while ago.
func fill(t *testing.T, conn *pgx.Conn, prefix string, count int, kind payment.Kind, method string, status payment.Status, ago, deadline string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), `
INSERT INTO payments.payments (payment_id, created_month, effective_date, created_at, decided_at, deadline_at, created_seq, account_seq,
  log_offset, amount_minor, target_amount_minor, fee_minor, limit_amount_minor, refunded_minor, log_partition, kind, outcome, status,
  fraud_score, currency, target_currency, limit_currency, method, tenant, merchant, customer, account, to_account, related_payment_id,
  instrument, counterparty_country, sealed_key_id, sealed, reasons)
SELECT $1 || n, date_trunc('month', now()), now(), now(), now() - $6::text::interval, now() + nullif($7, '')::interval, n, n, n, 100, 100, 0, 0, 0, 0, $3, 1, $5, 0, 'BRL', 'BRL', '', $4,
  't', 'm', 'c', 'acc', '', '', '', '', '', '', '{}' FROM generate_series(1, $2::int) n`, prefix, count, int16(kind), method, int16(status), ago, deadline)
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T) (string, *pgx.Conn) {
	t.Helper()
	dsn := embedtest.Migrated(t)
	conn := embedtest.Connect(t, dsn)
	return dsn, conn
}

// Invariant: what is stuck is found by the index of what waits, however many payments there are. A status that a step newly
// waits in has to come into the index: with one it lacks, the index serves no longer.
func TestStuckIsFoundByItsIndex(t *testing.T) {
	_, conn := open(t)
	fill(t, conn, "done", 50_000, payment.KindPayIn, "book", payment.StatusSucceeded, "100 days", "")
	fill(t, conn, "quote", 1_000, payment.KindFXQuote, "", payment.StatusCreated, "100 days", "-100 days")
	fill(t, conn, "wait", 2_000, payment.KindPayIn, "card", payment.StatusRequiresCapture, "1 day", "6 days")
	fill(t, conn, "stuck", 3, payment.KindPayIn, "card", payment.StatusUnknown, "3 hours", "")
	fill(t, conn, "late", 2, payment.KindPayIn, "card", payment.StatusRequiresCapture, "9 days", "-3 hours")
	if _, err := conn.Exec(t.Context(), "ANALYZE payments.payments"); err != nil {
		t.Fatal(err)
	}
	where, args := stuck("", time.Now())
	rows, err := conn.Query(t.Context(), "EXPLAIN "+columns+"WHERE ($1 = '' OR account = $1) AND "+where, args...)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(plan, "\n"); strings.Contains(text, "Seq Scan on payments_default") || !strings.Contains(text, "kind_status_decided_at") {
		t.Errorf("%s", text)
	}
	lines, err := Read(t.Context(), conn, Filter{Stuck: true}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != 5 || lines[0].Payment != "late1" || lines[4].Step != "collect" {
		t.Errorf("%+v", lines)
	}
}

// Invariant: reading what is stuck alone finds what reading all that waits and looking at each finds.
func TestStuckIsWhatAllWhoWaitSay(t *testing.T) {
	_, conn := open(t)
	now := time.Now()
	n := 0
	for _, step := range payment.Sagas() {
		for _, s := range step.Waits {
			for _, ago := range []string{"1 minute", "6 minutes", "3 hours", "2 days", "4 days", "61 days", "121 days"} {
				for _, deadline := range []string{"", "1 hour", "-10 minutes", "-20 minutes", "-3 hours"} {
					n++
					method := map[bool]string{true: "card", false: "bank"}[strings.HasPrefix(step.Saga, "card")]
					fill(t, conn, fmt.Sprint("p", n, "."), 1, step.Record, method, s, ago, deadline)
				}
			}
		}
	}
	all, err := Read(t.Context(), conn, Filter{}, now)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, l := range all {
		if l.Stuck {
			want[l.Payment] = true
		}
	}
	got, err := Read(t.Context(), conn, Filter{Stuck: true}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range got {
		if !want[l.Payment] {
			t.Errorf("%+v is not stuck", l)
		}
		delete(want, l.Payment)
	}
	if len(want) > 0 || len(got) < 50 || len(got) == len(all) {
		t.Errorf("%d of %d are stuck, and not found: %v", len(got), len(all), want)
	}
}

// The figures follow what is stuck, down to 0 again, and the log says what it is.
func TestWatcher(t *testing.T) {
	dsn, conn := open(t)
	fill(t, conn, "stuck", 3, payment.KindPayIn, "card", payment.StatusUnknown, "3 hours", "")
	fill(t, conn, "fine", 3, payment.KindPayIn, "card", payment.StatusUnknown, "1 hour", "")
	var log locked
	w, err := NewWatcher(Config{DSN: dsn, Every: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	stuck := func() float64 {
		var m dto.Metric
		if err := w.stuck.WithLabelValues("card_payin", "collect").Write(&m); err != nil {
			t.Fatal(err)
		}
		return m.GetGauge().GetValue()
	}
	if stuck() != 0 {
		t.Error("told before it was counted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	until := func(want float64) {
		t.Helper()
		for by := time.Now().Add(20 * time.Second); stuck() != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(by) {
				t.Fatalf("%v are stuck, want %v: %s", stuck(), want, log.String())
			}
		}
	}
	until(3)
	if _, err := conn.Exec(t.Context(), "UPDATE payments.payments SET status = $1 WHERE payment_id LIKE 'stuck%'", int16(payment.StatusSucceeded)); err != nil {
		t.Fatal(err)
	}
	until(0)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), `msg="sagas are stuck" saga=card_payin step=collect count=3 payment_id=stuck1`); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
	if _, err := NewWatcher(Config{Every: time.Second}); err == nil {
		t.Error("a watcher of nothing")
	}
}

type locked struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p) //nolint:wrapcheck // never fails
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

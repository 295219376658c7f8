package clickhouse_test

import (
	"log/slog"
	"os"
	"testing"

	chdriver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pressly/goose/v3"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	schema "github.com/caudalpay/caudal/schemas/sql/clickhouse"
)

// TestRowsOfBeforeHaveNothingOfARail: a store whose rows were written before there were rails reads as ever, and its views
// know the columns that came.
func TestRowsOfBeforeHaveNothingOfARail(t *testing.T) {
	opts := *embedtest.ClickHouse(t)
	db := chdriver.OpenDB(&opts)
	defer func() { _ = db.Close() }() // it has answered
	before, err := goose.NewProvider(goose.DialectClickHouse, db, os.DirFS("../../schemas/sql/clickhouse/migrations"), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	insert := func(columns, values string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), "INSERT INTO payment_facts (log_offset, kind, outcome, status, payment_id, amount_minor"+columns+") VALUES ("+values+")"); err != nil {
			t.Fatal(err)
		}
	}
	insert(", related_payment_id, related_status, refunded_minor", "1, 'payin', 'approved', 'succeeded', 'pi_old', 100, '', '', 0")
	insert(", related_payment_id, related_status, refunded_minor", "2, 'refund', 'approved', 'succeeded', 're_old', 30, 'pi_old', 'partially_refunded', 30")
	for range 2 { // the second time there is nothing to do
		if err := schema.Migrate(t.Context(), opts, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	insert(", captured_minor, authorized_minor, connector, rail_reference", "3, 'rail_answer', 'applied', 'succeeded', 'pi_new', 50, 50, 50, 'cielo', 'r1'")
	insert("", "0, 'payin', 'approved', 'processing', 'pi_new', 50")
	same(t, "payments", map[string]string{
		"pi_old": "partially_refunded 100 30 0 0  ", "re_old": "succeeded 30 0 0 0  ", "pi_new": "succeeded 50 0 50 50 cielo r1",
	}, lines(t, opts, `SELECT payment_id, concat(status, ' ', amount_minor, ' ', refunded_minor, ' ', captured_minor, ' ', authorized_minor, ' ', connector, ' ', rail_reference) FROM payments`))
	same(t, "payment_facts_exact", map[string]string{"1": "0  ", "2": "0  ", "3": "50 cielo ", "0": "0  "},
		lines(t, opts, "SELECT toString(log_offset), concat(captured_minor, ' ', connector, ' ', rail_code) FROM payment_facts_exact"))
	if _, err := before.DownTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	same(t, "payments as before", map[string]string{"pi_old": "partially_refunded", "re_old": "succeeded", "pi_new": "succeeded"},
		lines(t, opts, "SELECT payment_id, toString(status) FROM payments"))
}

package postgres_test

import (
	"database/sql"
	"log/slog"
	"os"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // goose speaks database/sql
	"github.com/pressly/goose/v3"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	schema "github.com/caudalpay/caudal/schemas/sql/postgres"
)

// TestRowsOfBeforeHaveNothingOfARail: a database whose rows were written before there were rails reads as ever, and its
// listing has the columns that came.
func TestRowsOfBeforeHaveNothingOfARail(t *testing.T) {
	dsn := embedtest.Postgres(t)
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // it has answered
	before, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS("../../schemas/sql/postgres/migrations"), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `SELECT sink.ensure_months('payments', 'payments', '{2026-09-01}');
		INSERT INTO payments.payments SELECT (jsonb_populate_record(NULL::payments.payments, jsonb_build_object('payment_id', 'pi_old', 'created_month', '2026-09-01',
		'effective_date', '2026-09-21', 'created_at', now(), 'decided_at', now(), 'created_seq', 2, 'account_seq', 2, 'log_offset', 1, 'amount_minor', 100,
		'target_amount_minor', 100, 'fee_minor', 1, 'limit_amount_minor', 100, 'refunded_minor', 30, 'log_partition', 1, 'kind', 10, 'outcome', 1, 'status', 5,
		'fraud_score', 0, 'currency', 'BRL', 'target_currency', 'BRL', 'limit_currency', 'BRL', 'method', 'book', 'tenant', 't', 'merchant', 'm', 'customer', 'c',
		'account', 'acc_old', 'to_account', '', 'related_payment_id', '', 'instrument', '', 'counterparty_country', '', 'sealed_key_id', '', 'sealed', '',
		'reasons', '{}'::smallint[]))).*`); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to do
		if err := schema.Migrate(t.Context(), dsn, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	const want = "payin approved partially_refunded 100 30 0 0  "
	if got := query(t, dsn, `SELECT payment_id, concat_ws(' ', kind, outcome, status, amount_minor, refunded_minor, captured_minor, authorized_minor, connector,
		rail_reference) FROM payments.listing`)["pi_old"]; got != want {
		t.Errorf("the listing says %q, want %q", got, want)
	}
	if _, err := before.DownTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if got := query(t, dsn, "SELECT payment_id, refunded_minor::text FROM payments.listing")["pi_old"]; got != "30" {
		t.Errorf("after the way back the listing says %q", got)
	}
}

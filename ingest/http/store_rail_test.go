package http_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
)

const railEventSQL = `INSERT INTO payments.events (payment_id, decided_month, accepted_at, written_at, account_seq, log_offset, command_offset, amount_minor,
	rail_amount_minor, log_partition, command_partition, kind, outcome, status, payment_status, rail_result, currency, operation_id, other_account, order_id,
	given_order_id, connector, rail_reference, rail_code, reasons, rail_tid)
	VALUES ($1, '2026-11-01', now(), now(), 1, 1, 1, 1, 0, 0, 0, 50, 4, 5, 5, 2, 'BRL', '', '', '', '', $2, '', '', '{}', $3)`

// storeFindsByRail finds pay-ins by what their processors call them, and nothing else that bears the same name.
func storeFindsByRail(t *testing.T, conn *pgx.Conn, store *http.PostgresStore, account payment.AccountID) {
	t.Helper()
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	insert := func(key string, kind payment.Kind, connector, reference string) payment.ID {
		t.Helper()
		id := payment.IDFrom(kind, account, "shop", key)
		exec(contestSQL, string(id), "2026-11-01", time.Now(), nil, int16(kind), int16(payment.StatusSucceeded), "shop", string(account), "")
		exec("UPDATE payments.payments SET connector = $2, rail_reference = $3 WHERE payment_id = $1", string(id), connector, reference)
		return id
	}
	one := insert("rail-one", payment.KindPayIn, "cielo", "ref-1")
	insert("rail-capture", payment.KindCapture, "cielo", "ref-1")
	other := insert("rail-other", payment.KindPayIn, "rede", "ref-1")
	insert("rail-twice-1", payment.KindPayIn, "rede", "ref-2")
	insert("rail-twice-2", payment.KindPayIn, "rede", "ref-2")
	insert("rail-none", payment.KindPayIn, "", "")
	for _, told := range []string{"tid-1", "tid-1", ""} { // the answer, its repeat, and one that tells none
		exec(railEventSQL, string(one), "cielo", told)
	}
	for _, c := range []struct {
		name http.RailName
		want payment.ID
		err  error
	}{
		{http.RailName{Connector: "cielo", Reference: "ref-1"}, one, nil},
		{http.RailName{Connector: "rede", Reference: "ref-1"}, other, nil},
		{http.RailName{Connector: "cielo", TID: "tid-1"}, one, nil},
		{http.RailName{Connector: "rede", TID: "tid-1"}, "", http.ErrNotFound},
		{http.RailName{Connector: "rede", Reference: "ref-2"}, "", http.ErrAmbiguous},
		{http.RailName{Connector: "rede", Reference: "ref-3"}, "", http.ErrNotFound},
		{http.RailName{Connector: "cielo"}, "", http.ErrNotFound},
		{http.RailName{Connector: "cielo", Reference: "ref\x00-1"}, "", http.ErrNotFound}, // Postgres takes no such text, and has none
		{http.RailName{}, "", http.ErrNotFound},
	} {
		got, err := store.PayInByRail(t.Context(), c.name)
		if got.ID != c.want || !errors.Is(err, c.err) || c.want != "" && got.Currency != "BRL" {
			t.Errorf("%+v: %+v, %v", c.name, got, err)
		}
	}
}

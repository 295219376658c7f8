package audit_test

import (
	"testing"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/sinks/audit"
	"github.com/caudalpay/caudal/sinks/decisionlog/logtest"
)

// TestContestsAreComparedInPostgres: whatever is changed of a quote, a dispute, its evidence, a card or what it paid is found.
func TestContestsAreComparedInPostgres(t *testing.T) {
	brokers, _ := drawn(t, 12)
	dsn := postgres(t, logtest.Ends(t, brokers), brokers)
	conn := embedtest.Connect(t, dsn)
	cfg := audit.Config{Brokers: brokers, PostgresDSN: dsn}
	equal(t, verify(t, cfg), "postgres ")
	for _, c := range []struct{ table, rows, column, check string }{
		{"payments.payments", "kind = 17 AND status = 3", "related_payment_id", audit.CheckPGPayments},
		{"payments.payments", "quote <> ''", "quote", audit.CheckPGPayments},
		{"payments.payments", "kind = 70", "reason_code", audit.CheckPGPayments},
		{"payments.payments", "kind = 60", "card", audit.CheckPGPayments},
		{"payments.payments", "kind = 63", "mcc", audit.CheckPGPayments},
		{"payments.payments", "kind = 60", "acquirer", audit.CheckPGPayments},
		{"payments.payments", "kind = 60", "card_acceptor", audit.CheckPGPayments},
		{"payments.payments", "kind = 60", "rrn", audit.CheckPGPayments},
		{"payments.evidence", "true", "sha256", audit.CheckPGPayments},
		{"payments.evidence", "true", "reference", audit.CheckPGPayments},
		{"accounts.cards", "true", "account", audit.CheckPGAccounts},
		{"accounts.cards", "true", "last4", audit.CheckPGAccounts},
	} {
		var account, place, before string
		var partition int32
		columns := "'', 0"
		switch c.table {
		case "payments.payments":
			columns = "account, log_partition"
		case "payments.evidence":
			columns = "'', log_partition"
		}
		if err := conn.QueryRow(t.Context(), "SELECT "+columns+", ctid::text, "+c.column+" FROM "+c.table+" WHERE "+c.rows+" LIMIT 1").
			Scan(&account, &partition, &place, &before); err != nil {
			t.Fatalf("%s: %v", c.rows, err)
		}
		// The row's place changes with it, so it is found by what it has become.
		change := "UPDATE " + c.table + " SET " + c.column + " = 'changed' WHERE " + c.rows + " AND " + c.column + " = $1 AND ctid = $2::tid"
		if tag, err := conn.Exec(t.Context(), change, before, place); err != nil || tag.RowsAffected() == 0 {
			t.Fatalf("%s: %v %v", change, tag, err)
		}
		names := "column " + c.column
		if c.table != "payments.payments" {
			names = "table " + c.table
		}
		found(t, verify(t, cfg), c.check, account, partition, names)
		if _, err := conn.Exec(t.Context(), "UPDATE "+c.table+" SET "+c.column+" = $1 WHERE "+c.column+" = 'changed'", before); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Exec(t.Context(), "DELETE FROM accounts.cards WHERE card = (SELECT min(card) FROM accounts.cards)"); err != nil {
		t.Fatal(err)
	}
	found(t, verify(t, cfg), audit.CheckPGAccounts, "", 0, "no row")
}

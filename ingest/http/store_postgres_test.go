package http_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

func TestMain(m *testing.M) { embedtest.Main(m) }

// storeReadsRails reads payments by a rail and the operations on them, in the statuses that they come through.
func storeReadsRails(t *testing.T, conn *pgx.Conn, store *http.PostgresStore, account payment.AccountID) {
	t.Helper()
	pi := payment.IDFrom(payment.KindPayIn, account, "shop", "card")
	due := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	amount := func(n int64) *int64 { return &n }
	for i, c := range []struct {
		kind                  payment.Kind
		method                string
		status                payment.Status
		authorized, captured  int64
		related               payment.ID
		due                   bool
		want                  string
		review, expires       time.Time
		wantAuthorized        *int64
		wantCaptured          *int64
		wantRefund, wantAbout string
	}{
		{payment.KindPayIn, "card", payment.StatusInReview, 0, 0, "", true, "in_review", due, time.Time{}, amount(0), amount(0), "", ""},
		{payment.KindPayIn, "card", payment.StatusProcessing, 0, 0, "", true, "processing", time.Time{}, time.Time{}, amount(0), amount(0), "", ""},
		{payment.KindPayIn, "card", payment.StatusUnknown, 0, 0, "", false, "unknown", time.Time{}, time.Time{}, amount(0), amount(0), "", ""},
		{payment.KindPayIn, "card", payment.StatusRequiresCapture, 1000, 0, "", true, "requires_capture", time.Time{}, due, amount(1000), amount(0), "", ""},
		{payment.KindPayIn, "card", payment.StatusRequiresCapture, 1000, 0, "", false, "requires_capture", time.Time{}, time.Time{}, amount(1000), amount(0), "", ""},
		{payment.KindPayIn, "card", payment.StatusPartiallyCaptured, 1000, 400, "", true, "partially_captured", time.Time{}, due, amount(1000), amount(400), "", ""},
		{payment.KindPayIn, "card", payment.StatusSucceeded, 1000, 1100, "", true, "succeeded", time.Time{}, time.Time{}, amount(1000), amount(1100), "", ""},
		{payment.KindPayIn, "card", payment.StatusCancelled, 1000, 0, "", false, "cancelled", time.Time{}, time.Time{}, amount(1000), amount(0), "", ""},
		{payment.KindPayIn, "cash", payment.StatusSucceeded, 0, 0, "", false, "succeeded", time.Time{}, time.Time{}, nil, nil, "", ""},
		{payment.KindPayOut, "bank", payment.StatusSent, 0, 0, "", false, "sent", time.Time{}, time.Time{}, nil, nil, "", ""},
		{payment.KindPayOut, "bank", payment.StatusReturned, 0, 0, "", false, "returned", time.Time{}, time.Time{}, nil, nil, "", ""},
		{payment.KindCapture, "card", payment.StatusProcessing, 1000, 400, pi, false, "processing", time.Time{}, time.Time{}, nil, nil, "", string(pi)},
		{payment.KindVoid, "card", payment.StatusFailed, 0, 0, pi, false, "failed", time.Time{}, time.Time{}, nil, nil, "", string(pi)},
		{payment.KindIncrement, "card", payment.StatusSucceeded, 0, 0, pi, false, "succeeded", time.Time{}, time.Time{}, nil, nil, "", string(pi)},
		{payment.KindRefund, "card", payment.StatusUnknown, 0, 0, pi, false, "unknown", time.Time{}, time.Time{}, nil, nil, string(pi), ""},
	} {
		id := payment.IDFrom(c.kind, account, "shop", fmt.Sprint("rail-", i))
		var deadline *time.Time
		if c.due {
			deadline = &due
		}
		if _, err := conn.Exec(t.Context(), `INSERT INTO payments.payments (payment_id, created_month, effective_date, created_at, decided_at, deadline_at, created_seq, account_seq, log_offset,
			amount_minor, target_amount_minor, fee_minor, limit_amount_minor, refunded_minor, log_partition, kind, outcome, status, fraud_score, currency,
			target_currency, limit_currency, method, tenant, merchant, customer, account, to_account, related_payment_id, instrument, counterparty_country,
			sealed_key_id, sealed, reasons, authorized_minor, captured_minor)
			VALUES ($1, '2026-11-01', '2026-11-22', '2026-11-22 08:00:01+00', '2026-11-22 08:00:02+00', $2, 2, 3, 11,
			1000, 1000, 10, 1000, 0, 5, $3, 1, $4, 0, 'BRL', 'BRL', 'BRL', $5, 'sample', 'shop', 'c1', $6, '', $7, '', '', '', '', '{}', $8, $9)`,
			string(id), deadline, int16(c.kind), int16(c.status), c.method, string(account), string(c.related), c.authorized, c.captured); err != nil {
			t.Fatal(err)
		}
		v, err := store.Payment(t.Context(), http.Owner{Tenant: "sample", Merchant: "shop"}, id)
		if err != nil {
			t.Fatal(err)
		}
		if v.Status != c.want || v.Kind != c.kind.String() || v.Method != c.method || !v.ReviewDeadline.Equal(c.review) || !v.ExpiresAt.Equal(c.expires) ||
			!reflect.DeepEqual(v.AuthorizedAmount, c.wantAuthorized) || !reflect.DeepEqual(v.CapturedAmount, c.wantCaptured) ||
			v.RefundedPaymentID != c.wantRefund || v.RelatedPaymentID != c.wantAbout {
			t.Errorf("%s by %s, %s: %+v", c.kind, c.method, c.want, v)
		}
	}
}

// TestPostgresStore reads rows as the sink writes them.
func TestPostgresStore(t *testing.T) {
	dsn := embedtest.Migrated(t)
	conn := embedtest.Connect(t, dsn)
	// What the rails' columns are where the schema does not have them yet.
	for _, column := range []string{"authorized_minor", "captured_minor"} {
		if _, err := conn.Exec(t.Context(), `ALTER TABLE payments.payments ADD COLUMN IF NOT EXISTS `+column+` bigint NOT NULL DEFAULT 0`); err != nil {
			t.Fatal(err)
		}
	}
	account := payment.AccountIDFrom("sample", "shop", "a1")
	id := payment.IDFrom(payment.KindPayIn, account, "shop", "k1")
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`INSERT INTO accounts.accounts (account, account_seq, opened_at, kind, status, kyc_level, tenant, merchant, customer, external_id, policy, currencies, overdraft_limit_minor)
		VALUES ($1, 7, '2026-11-22 08:00:00+00', 1, 1, 2, 'sample', 'shop', 'c1', 'a1', 'standard', '{BRL,USD}', 50)`, string(account))
	exec(`INSERT INTO accounts.accounts (account, account_seq) VALUES ('acc_nobody', 3)`)
	exec(`INSERT INTO ledger.balances VALUES ($1, 'BRL', 900, 100, 20)`, string(account))
	for month, status := range map[string]int{"2026-01-01": 4, "2026-11-01": 1} {
		exec(`INSERT INTO payments.payments (payment_id, created_month, effective_date, created_at, decided_at, deadline_at, created_seq, account_seq, log_offset,
			amount_minor, target_amount_minor, fee_minor, limit_amount_minor, refunded_minor, log_partition, fx_spread_bp, kind, outcome, status, fraud_score, currency,
			target_currency, limit_currency, method, tenant, merchant, customer, account, to_account, related_payment_id, instrument, counterparty_country,
			sealed_key_id, sealed, fx_rate, fx_mid, reasons)
			VALUES ($1, $2::date, '1993-01-05', '2026-11-22 08:00:01.000002+00', '2026-11-22 08:00:02+00', '2026-11-23 08:00:00+00', 2, 3, 11,
			1000, 198, 10, 1000, 0, 5, 100, 10, 3, $3, 650, 'BRL', 'USD', 'BRL', 'cash', 'sample', 'shop', 'c1', $4, '', '', 'tok', 'BR', 'k1', '\x0102', 0.1980000, 0.200, '{60}')`,
			string(id), month, status, string(account))
	}
	for line, amount := range []int64{-1000, 700, -10, 310} {
		holder := string(account)
		if line == 0 || line == 3 {
			holder = "sys_clearing_cash"
		}
		exec(`INSERT INTO ledger.postings VALUES (11, $1, 5, '1993-01-01', 1, $2, 2, 1, $3, 'BRL')`, amount, line, holder)
	}
	exec(`INSERT INTO ledger.postings VALUES (11, 5, 5, '1993-01-01', 1, 9, 1, 2, $1, 'BRL')`, string(account)) // pending: no line of a statement
	exec(`INSERT INTO ledger.journals VALUES (11, 3, 40, '2026-11-22 08:00:02+00', 690, 0, 0, 5, 5, '1993-01-01', '1993-01-05', 1, 10, 1, 4, $1, $2, 'BRL')`, string(account), string(id))

	store, err := http.OpenPostgresStore(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Ready(); err != nil {
		t.Fatal(err)
	}
	mine, other := http.Owner{Tenant: "sample", Merchant: "shop"}, http.Owner{Tenant: "sample", Merchant: "rival"}
	p, err := store.Payment(t.Context(), mine, id)
	want := &http.PaymentView{
		PaymentID: string(id), AccountID: string(account), Kind: "payin", Decision: "review", Status: "in_review", Reasons: []string{"fraud_score"},
		Amount: 1000, Currency: "BRL", TargetAmount: 198, TargetCurrency: "USD", Fee: 10, FX: &http.FXView{Rate: "0.198", Mid: "0.2", SpreadBP: 100},
		Method: "cash", Instrument: "tok", FraudScore: 650, EffectiveDate: "1993-01-05",
		CreatedAt: time.Date(2026, 11, 22, 8, 0, 1, 2000, time.UTC), UpdatedAt: time.Date(2026, 11, 22, 8, 0, 2, 0, time.UTC),
		ReviewDeadline: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), AccountSeq: 3, CounterpartyCountry: "BR",
		Sealed: &paymentsv1.Sealed{KeyId: "k1", Ciphertext: []byte{1, 2}},
	}
	if err != nil || !reflect.DeepEqual(p, want) {
		t.Errorf("payment %+v, %v\nwant    %+v", p, err, want)
	}
	t.Run("rails", func(t *testing.T) { storeReadsRails(t, conn, store, account) })
	t.Run("contests", func(t *testing.T) { storeReadsContests(t, conn, store, account) })
	t.Run("by rail", func(t *testing.T) { storeFindsByRail(t, conn, store, account) })
	a, err := store.Account(t.Context(), mine, account)
	if err != nil || a.Kind != "person" || a.Status != "open" || a.OverdraftLimit != 50 || a.AccountSeq != 7 || a.KYCLevel != 2 || len(a.Currencies) != 2 {
		t.Errorf("account %+v, %v", a, err)
	}
	b, err := store.Balances(t.Context(), mine, account)
	if err != nil || !reflect.DeepEqual(b, &http.BalancesView{AccountSeq: 7, Balances: []http.BalanceView{{"BRL", 900, 100, 800}, {"USD", 0, 0, 0}}}) {
		t.Errorf("balances %+v, %v", b, err)
	}
	page, err := store.Statement(t.Context(), mine, http.StatementQuery{Account: account, Limit: 1})
	if err != nil || len(page.Lines) != 1 || !page.HasMore || page.Lines[0].Amount != 700 || page.Lines[0].Journal != "post" || page.Lines[0].EffectiveDate != "1993-01-05" {
		t.Errorf("statement %+v, %v", page, err)
	}
	page, err = store.Statement(t.Context(), mine, http.StatementQuery{Account: account, Limit: 5, After: http.StatementCursor{AccountSeq: 3, Line: 1}})
	if err != nil || len(page.Lines) != 1 || page.HasMore || page.Lines[0].Amount != -10 {
		t.Errorf("statement behind a cursor %+v, %v", page, err)
	}
	for name, read := range map[string]func() error{
		"payment of another":  func() error { _, err := store.Payment(t.Context(), other, id); return err },
		"account of another":  func() error { _, err := store.Account(t.Context(), other, account); return err },
		"balances of another": func() error { _, err := store.Balances(t.Context(), other, account); return err },
		"statement of another": func() error {
			_, err := store.Statement(t.Context(), other, http.StatementQuery{Account: account, Limit: 1})
			return err
		},
		"never opened": func() error { _, err := store.Account(t.Context(), http.Owner{}, "acc_nobody"); return err },
	} {
		if err := read(); !errors.Is(err, http.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := store.WaitSeq(ctx, account, 7); err != nil {
		t.Error(err)
	}
	if err := store.WaitSeq(ctx, account, 8); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

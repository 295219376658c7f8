package http_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/payment"
)

const contestSQL = `INSERT INTO payments.payments (payment_id, created_month, effective_date, created_at, decided_at, deadline_at, created_seq, account_seq, log_offset,
	amount_minor, target_amount_minor, fee_minor, limit_amount_minor, refunded_minor, log_partition, kind, outcome, status, fraud_score, currency,
	target_currency, limit_currency, method, tenant, merchant, customer, account, to_account, related_payment_id, instrument, counterparty_country,
	sealed_key_id, sealed, reasons, connector, rail_reference, reason_code, fx_rate, fx_mid, fx_spread_bp, card, mcc, authorized_minor)
	VALUES ($1, $2, '2026-11-22', $3, '2026-11-22 08:00:02+00', $4, 2, 3, 11, 1000, 190, 25, 0, 0, 5, $5, 4, $6, 0, 'BRL', 'USD', '', 'card', 'sample', $7, 'c1', $8, '',
	$9, '', '', '', '', '{}', 'cielo', 'CB-1', '10.4', 0.1900000, 0.200, 500, 'crd_1', '5411', 900)`

// storeReadsContests reads quotes, disputes and what a card has paid.
func storeReadsContests(t *testing.T, conn *pgx.Conn, store *http.PostgresStore, account payment.AccountID) {
	t.Helper()
	mine, other := http.Owner{Tenant: "sample", Merchant: "shop"}, http.Owner{Tenant: "sample", Merchant: "rival"}
	base := time.Date(2026, 11, 22, 8, 0, 1, 5000, time.UTC)
	due := base.Add(time.Hour)
	insert := func(id payment.ID, merchant string, at time.Time, deadline *time.Time, status payment.Status, related payment.ID) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), contestSQL, string(id), at.Format("2006-01")+"-01", at, deadline, int16(id.Kind()), int16(status), merchant,
			string(id.Account()), string(related)); err != nil {
			t.Fatal(err)
		}
	}
	pi := payment.IDFrom(payment.KindPayIn, account, "shop", "disputed")
	quote := payment.IDFrom(payment.KindFXQuote, account, "shop", "q")
	insert(quote, "shop", base, &due, payment.StatusCreated, "")
	q, err := store.Quote(t.Context(), mine, quote)
	if err != nil || q.Status != "created" || !q.ExpiresAt.Equal(due) || q.FX == nil || q.FX.Rate != "0.19" || q.TargetAmount != 190 || q.PaymentID != "" || q.AccountSeq != 3 || q.Reasons == nil {
		t.Errorf("quote %+v, %v", q, err)
	}
	used := payment.IDFrom(payment.KindFXQuote, account, "shop", "used")
	insert(used, "shop", base, nil, payment.StatusSucceeded, pi)
	if q, err = store.Quote(t.Context(), mine, used); err != nil || q.Status != "succeeded" || !q.ExpiresAt.IsZero() || q.PaymentID != string(pi) {
		t.Errorf("used quote %+v, %v", q, err)
	}
	au := payment.IDFrom(payment.KindAuthorization, account, "shop", "au")
	insert(au, "shop", base, &due, payment.StatusRequiresCapture, "")
	if v, err := store.Payment(t.Context(), mine, au); err != nil || v.Kind != "authorization" || v.Card != "crd_1" || v.MCC != "5411" || !v.ExpiresAt.Equal(due) || *v.AuthorizedAmount != 900 {
		t.Errorf("authorization %+v, %v", v, err)
	}

	// Seven disputes, of which three are of one instant; one lies in the month before, one is another account's, one another merchant's.
	neighbour := payment.AccountIDFrom("sample", "shop", "a2")
	at := []time.Time{base.AddDate(0, -1, 0), base, base, base, base.Add(time.Second), base.Add(2 * time.Second), base.Add(3 * time.Second)}
	var ids []payment.ID
	for i := range at {
		of, merchant, status := account, "shop", payment.StatusDispute
		switch i {
		case 4:
			of = neighbour
		case 5:
			merchant = "rival"
		case 6:
			status = payment.StatusWon
		}
		ids = append(ids, payment.DisputeIDFrom(of, "cielo", fmt.Sprint("CB-", i)))
		insert(ids[i], merchant, at[i], &due, status, pi)
	}
	ties := ids[1:4]
	slices.SortFunc(ties, func(a, b payment.ID) int { return strings.Compare(string(b), string(a)) })
	newest := []payment.ID{ids[6], ids[4], ties[0], ties[1], ties[2], ids[0]}
	for name, c := range map[string]struct {
		query http.DisputesQuery
		want  []payment.ID
	}{
		"all":        {http.DisputesQuery{}, newest},
		"open":       {http.DisputesQuery{Status: payment.StatusDispute}, newest[1:]},
		"won":        {http.DisputesQuery{Status: payment.StatusWon}, newest[:1]},
		"neighbour":  {http.DisputesQuery{Account: neighbour}, newest[1:2]},
		"won by him": {http.DisputesQuery{Account: neighbour, Status: payment.StatusWon}, nil},
	} {
		for _, limit := range []int{1, 2, 500} {
			var got []payment.ID
			for q, more := c.query, true; more; {
				q.Limit = limit
				page, err := store.Disputes(t.Context(), mine, q)
				if err != nil || len(page.Disputes) > limit {
					t.Fatalf("%s: %+v, %v", name, page, err)
				}
				for _, d := range page.Disputes {
					got = append(got, payment.ID(d.DisputeID))
					q.After = http.DisputesCursor{CreatedAtUS: d.CreatedAt.UnixMicro(), ID: payment.ID(d.DisputeID)}
				}
				more = page.HasMore
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, %d at once: %v, want %v", name, limit, got, c.want)
			}
		}
	}
	for i, told := range []time.Time{base.Add(-time.Hour), base.Add(time.Minute), base.Add(2 * time.Minute)} { // the first is of a dispute that had left
		for line := range 2 {
			if _, err := conn.Exec(t.Context(), `INSERT INTO payments.evidence VALUES ($1, $2, $3, 5, $4, $5, 'aa', 'receipt')`,
				string(ties[0]), told, 20+i, line, fmt.Sprint("file ", i, "/", line)); err != nil {
				t.Fatal(err)
			}
		}
	}
	d, err := store.Dispute(t.Context(), mine, ties[0])
	if err != nil || d.PaymentID != string(pi) || d.AccountID != string(account) || d.Status != "dispute" || d.Fee != 25 || d.TargetAmount != 190 || d.ReasonCode != "10.4" ||
		d.Connector != "cielo" || d.Reference != "CB-1" || !d.EvidenceUntil.Equal(due) || !d.CreatedAt.Equal(base) || d.AccountSeq != 3 || len(d.Evidence) != 4 ||
		d.Evidence[0] != (http.EvidenceFile{Reference: "file 1/0", SHA256: "aa", Kind: "receipt"}) || d.Evidence[3].Reference != "file 2/1" {
		t.Errorf("dispute %+v, %v", d, err)
	}
	if d, err = store.Dispute(t.Context(), mine, ids[4]); err != nil || d.Evidence == nil || len(d.Evidence) != 0 {
		t.Errorf("dispute without evidence %+v, %v", d, err)
	}
	for name, read := range map[string]func() error{
		"quote of another":   func() error { _, err := store.Quote(t.Context(), other, quote); return err },
		"dispute of another": func() error { _, err := store.Dispute(t.Context(), other, ties[0]); return err },
		"no dispute":         func() error { _, err := store.Dispute(t.Context(), mine, pi); return err },
	} {
		if err := read(); !errors.Is(err, http.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if page, err := store.Disputes(t.Context(), http.Owner{Tenant: "elsewhere", Merchant: "shop"}, http.DisputesQuery{Limit: 5}); err != nil || page.Disputes == nil || len(page.Disputes) != 0 {
		t.Errorf("disputes of a stranger %+v, %v", page, err)
	}
}

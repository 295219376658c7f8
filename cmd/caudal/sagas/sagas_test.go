package sagas_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/cmd/caudal/sagas"
	"github.com/caudalpay/caudal/processors/payment"
	reading "github.com/caudalpay/caudal/sinks/sagas"
)

func TestMain(m *testing.M) { embedtest.Main(m) }

// waiting is a payment in the store.
type waiting struct {
	key, method, target string
	kind                payment.Kind
	status              payment.Status
	ago                 time.Duration // since its last decision
	deadline            time.Duration // from now; 0: none
}

var (
	alice = payment.AccountIDFrom("t", "m", "alice")
	bob   = payment.AccountIDFrom("t", "m", "bob")
)

func (w *waiting) id() string {
	account := alice
	if strings.HasPrefix(w.key, "bob") {
		account = bob
	}
	return string(payment.IDFrom(w.kind, account, "m", w.key))
}

func store(t *testing.T, rows []waiting) (dsn string) {
	t.Helper()
	dsn = embedtest.Migrated(t)
	conn := embedtest.Connect(t, dsn)
	now := time.Now()
	for _, w := range rows {
		var deadline *time.Time
		if w.deadline != 0 {
			deadline = new(now.Add(w.deadline))
		}
		account := payment.ID(w.id()).Account()
		_, err := conn.Exec(t.Context(), `
INSERT INTO payments.payments (payment_id, created_month, effective_date, created_at, decided_at, deadline_at, created_seq, account_seq,
  log_offset, amount_minor, target_amount_minor, fee_minor, limit_amount_minor, refunded_minor, log_partition, kind, outcome, status,
  fraud_score, currency, target_currency, limit_currency, method, tenant, merchant, customer, account, to_account, related_payment_id,
  instrument, counterparty_country, sealed_key_id, sealed, reasons)
VALUES ($1, date_trunc('month', $2::timestamptz), $2::timestamptz, $2::timestamptz, $2, $3, 1, 1, 1, 100, 100, 0, 0, 0, 0, $4, 1, $5, 0, 'BRL', $6, '', $7, 't', 'm', 'c', $8, '', '', '', '',
  '', '', '{}')`,
			w.id(), now.Add(-w.ago), deadline, int16(w.kind), int16(w.status), w.target, w.method, string(account))
		if err != nil {
			t.Fatalf("%s: %v", w.key, err)
		}
	}
	return dsn
}

const day = 24 * time.Hour

// rows are payments that wait, the longest first, and some that do not.
func rows() []waiting {
	return []waiting{
		{"dispute", "card", "BRL", payment.KindDispute, payment.StatusDispute, 100 * day, -90 * day},
		{"sent", "bank", "USD", payment.KindPayOut, payment.StatusSent, 4 * day, 0},
		{"uncaptured", "card", "BRL", payment.KindPayIn, payment.StatusRequiresCapture, 3 * day, day},
		{"late", "card", "BRL", payment.KindPayIn, payment.StatusPartiallyCaptured, 2 * day, -3 * time.Hour},
		{"bob's review", "book", "BRL", payment.KindPayIn, payment.StatusInReview, day, -time.Minute},
		{"unknown", "card", "BRL", payment.KindPayIn, payment.StatusUnknown, 3 * time.Hour, 0},
		{"refund", "card", "BRL", payment.KindRefund, payment.StatusProcessing, time.Hour, 0},
		{"bob's transfer", "book", "BRL", payment.KindTransfer, payment.StatusProcessing, 6 * time.Minute, 0},
		{"done", "book", "BRL", payment.KindPayIn, payment.StatusSucceeded, 100 * day, 0},
		{"paid", "bank", "BRL", payment.KindPayOut, payment.StatusPaid, 100 * day, 0},
		{"lost", "card", "BRL", payment.KindDispute, payment.StatusLost, 200 * day, 0},
	}
}

// run is the command with its output.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := sagas.New()
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&out)
	c.SilenceUsage, c.SilenceErrors = true, true
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestList(t *testing.T) {
	all := rows()
	dsn := store(t, all)
	names := map[string]string{}
	for _, w := range all {
		names[w.id()] = w.key
	}
	for _, c := range []struct {
		args string
		want string // key, saga, step; a star where it is stuck
	}{
		{"list", "dispute dispute.contest, sent cross_border_payout.confirm*, uncaptured card_authorization.take, late card_authorization.take*, " +
			"bob's review review.verdict, unknown card_payin.collect*, refund card_refund.return, bob's transfer transfer.counter_leg*"},
		{"list --stuck", "sent cross_border_payout.confirm*, late card_authorization.take*, unknown card_payin.collect*, bob's transfer transfer.counter_leg*"},
		{"list --saga card_authorization", "uncaptured card_authorization.take, late card_authorization.take*"},
		{"list --account " + string(bob), "bob's review review.verdict, bob's transfer transfer.counter_leg*"},
		{"list --stuck --saga dispute", ""},
	} {
		out, err := run(t, append(strings.Fields(c.args), "--postgres", dsn, "-o", "ndjson")...)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(out) {
			var l reading.Line
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			text := names[l.Payment] + " " + l.Saga + "." + l.Step
			if l.Stuck {
				text += "*"
			}
			got = append(got, text)
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.args, text, c.want)
		}
	}
	if out, err := run(t, "list", "--postgres", dsn); err != nil || !strings.Contains(out, "the answer to RETURN") || !strings.Contains(out, string(bob)) {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := run(t, "list", "--postgres", dsn, "-o", "json", "--saga", "fx_quote"); err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestFail: a script asks whether anything is stuck.
func TestFail(t *testing.T) {
	dsn := store(t, rows()[:1])
	if out, err := run(t, "list", "--stuck", "--fail", "--postgres", dsn); err != nil {
		t.Errorf("nothing is stuck: %v\n%s", err, out)
	}
	dsn = store(t, rows()[:2])
	if out, err := run(t, "list", "--stuck", "--fail", "--postgres", dsn); !errors.Is(err, sagas.ErrStuck) || !strings.Contains(out, "cross_border_payout") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, args := range []string{"list --fail", "list --saga nothing", "list --account bob", "list -o xml", "list --data x"} {
		if _, err := run(t, append(strings.Fields(args), "--postgres", dsn)...); err == nil || errors.Is(err, sagas.ErrStuck) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestShow(t *testing.T) {
	all := rows()
	dsn := store(t, all)
	out, err := run(t, "show", all[1].id(), "--postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "here since") != strings.Contains(line, " confirm ") {
			t.Errorf("%s", out)
		}
	}
	if out, err := run(t, "show", all[8].id(), "--postgres", dsn); err != nil || strings.Contains(out, "here") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := run(t, "show", "pi_nothing", "--postgres", dsn); err == nil {
		t.Error("a payment that is not there was shown")
	}
}

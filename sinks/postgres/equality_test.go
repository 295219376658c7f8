package postgres_test

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/decisionlog/logtest"
)

// books are what the stores must hold, each row as one line of text: made from the log decision by decision, without
// batches and without netting.
type books struct {
	accounts, payments, events, journals, postings, balances map[string]string
	cards, evidence                                          map[string]string
}

func rowsOf(log []logtest.Logged) books {
	b := books{map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}}
	payments := map[string]*pay{}
	states := map[string]logtest.Logged{}
	seqs := map[string]uint64{}
	sums := map[string]*[3]big.Int{}
	for _, d := range log {
		kind := d.GetKind().String()[len("COMMAND_KIND_"):]
		if kind == "TICK" || strings.HasPrefix(d.GetAccount(), "cus_") {
			continue
		}
		if strings.HasPrefix(d.GetAccount(), "crd_") {
			if c := d.GetCardState(); d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPLIED {
				b.cards[d.GetAccount()] = fmt.Sprint(c.GetAccount(), d.GetMerchant(), d.GetAccountSeq(), " ", int(c.GetStatus()), c.GetFirst6(), c.GetLast4(), c.GetExpiry(), c.GetIssuedAtUs())
			}
			continue
		}
		if d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED {
			for i, f := range d.GetEvidence() {
				b.evidence[fmt.Sprint(d.GetPaymentId(), d.Offset, " ", i)] = fmt.Sprintf("%d %s %x %s %d", d.GetAcceptedAtUs(), f.GetReference(), f.GetSha256(), f.GetKind(), d.Partition)
			}
		}
		seqs[d.GetAccount()] = max(seqs[d.GetAccount()], d.GetAccountSeq())
		if d.GetAccountState() != nil {
			states[d.GetAccount()] = d
		}
		pays(payments, d, kind)
		if line := history(d, kind); line != "" {
			b.events[fmt.Sprint(d.Partition, " ", d.Offset)] = line
		}
		n, own := 0, &paymentsv1.Balance{} // a journal of the house alone has no balance beside it
		for _, j := range d.GetJournals() {
			for _, p := range j.GetPostings() {
				if p.GetAccount() == d.GetAccount() {
					own = d.GetBalances()[0]
				}
				key := fmt.Sprint(d.Partition, " ", d.Offset, " ", n)
				b.postings[key] = fmt.Sprint(d.GetEffectiveDate(), int(j.GetKind()), int(p.GetLayer()), p.GetAccount(), p.GetCurrency(), p.GetAmountMinor())
				n++
				sum := sums[p.GetAccount()+" "+p.GetCurrency()]
				if sum == nil {
					sum = &[3]big.Int{}
					sums[p.GetAccount()+" "+p.GetCurrency()] = sum
				}
				amount := big.NewInt(p.GetAmountMinor())
				debit := (p.GetAmountMinor() < 0) == (j.GetKind() == paymentsv1.JournalKind_JOURNAL_KIND_HOLD)
				switch {
				case p.GetLayer() == paymentsv1.Layer_LAYER_POSTED:
					sum[0].Add(&sum[0], amount)
				case debit:
					sum[1].Sub(&sum[1], amount)
				default:
					sum[2].Add(&sum[2], amount)
				}
			}
		}
		if n > 0 {
			b.journals[fmt.Sprint(d.Partition, " ", d.Offset)] = fmt.Sprint(d.GetAccount(), d.GetAccountSeq(), d.GetEffectiveDate(), " ",
				d.GetCommandPartition(), " ", d.GetCommandOffset(), len(d.GetJournals()), n, int(d.GetKind()), d.GetPaymentId(),
				own.GetCurrency(), own.GetPostedMinor(), own.GetHeldMinor(), own.GetIncomingMinor())
		}
	}
	for account, seq := range seqs {
		d := states[account]
		s := d.GetAccountState()
		if d.Decision == nil {
			b.accounts[account] = fmt.Sprint(seq, " 0")
			continue
		}
		b.accounts[account] = fmt.Sprint(seq, int(s.GetStatus()), int(s.GetKind()), s.GetKycLevel(), s.GetOverdraftLimitMinor(),
			d.GetTenant(), d.GetMerchant(), d.GetCustomer(), s.GetExternalId(), s.GetPolicy(), strings.Join(s.GetCurrencies(), ","))
	}
	for id, p := range payments {
		d := p.d
		rate := ""
		if fx := d.GetFx(); fx != nil {
			rate = "0.1980000 0.200 100"
		}
		b.payments[id] = fmt.Sprintf("%s %s %d %d %d %s %s %d %d %d %d %d %d %d %s %d %s %d %d %s %s %s %s %s %s %x %s %d %d %d %d %d %d %s%s%s%s%s%s %s", p.status, p.reasons, p.refunded,
			p.captured, p.authorized, p.connector, p.reference, p.seq, p.offset, p.decided, p.deadline, d.GetCreatedAtUs(), d.GetEffectiveDate(),
			d.GetAmountMinor(), d.GetCurrency(), p.target, d.GetTargetCurrency(), p.fee, int(d.GetOutcome()), d.GetMethod(), d.GetTenant(),
			d.GetMerchant(), d.GetAccount(), d.GetToAccount(), p.related, d.GetSealed().GetCiphertext(), rate, d.GetFraudScore(),
			d.Offset, d.Written.UnixMicro(), d.GetCommandOffset(), d.GetCommandPartition(),
			p.kind, d.GetQuote(), d.GetCard(), d.GetMcc(), d.GetAcquirer(), d.GetCardAcceptor(), d.GetRrn(), p.code)
	}
	for key, sum := range sums {
		b.balances[key] = fmt.Sprint(sum[0].String(), " ", sum[1].String(), " ", sum[2].String())
	}
	return b
}

// pay is a payment's row, with all that may change behind it.
type pay struct {
	d                              logtest.Logged
	status, reasons                string
	refunded, seq, offset, decided int64
	deadline                       int64
	captured, authorized           int64
	fee, target                    int64
	connector, reference           string
	related, code                  string
	kind                           int
}

// pays takes a decision into the payments that it is about.
func pays(payments map[string]*pay, d logtest.Logged, kind string) {
	reasons := ""
	for _, r := range d.GetReasons() {
		reasons += fmt.Sprintf("%d;", r)
	}
	set := func(id string, status paymentsv1.PaymentStatus) *pay {
		p := payments[id]
		p.status, p.seq, p.offset, p.decided = fmt.Sprint(int(status)), int64(d.GetAccountSeq()), d.Offset, d.GetAcceptedAtUs()
		if d.GetAuthorizedMinor() > 0 && (p.d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_PAY_IN || p.kind == 60) {
			p.captured, p.authorized = d.GetCapturedMinor(), d.GetAuthorizedMinor()
		}
		return p
	}
	about := func() { // of an operation: what it is about
		if p := set(d.GetRelatedPaymentId(), d.GetRelatedStatus()); true {
			p.refunded = d.GetRefundedMinor()
			if p.status != "9" && p.status != "10" { // nothing more can be captured
				p.deadline = 0
			}
		}
	}
	moves := d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED || d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPLIED
	pays := kind == "AUTHORIZATION" || kind == "AUTHORIZATION_ADVICE" || kind == "REVERSAL"
	made := func() {
		p := &pay{
			d: d, status: fmt.Sprint(int(d.GetStatus())), reasons: reasons, seq: int64(d.GetAccountSeq()), offset: d.Offset, kind: int(d.GetKind()),
			decided: d.GetAcceptedAtUs(), deadline: d.GetDeadlineUs(), fee: d.GetFeeMinor(), target: d.GetTargetAmountMinor(),
			related: d.GetRelatedPaymentId(), code: d.GetReasonCode(),
		}
		if pays {
			p.kind, p.captured, p.authorized = 60, d.GetCapturedMinor(), d.GetAuthorizedMinor()
		}
		if kind == "DISPUTE" {
			p.connector, p.reference = d.GetConnector(), d.GetRailReference()
		}
		payments[d.GetPaymentId()] = p
	}
	changes := func() {
		p := set(d.GetPaymentId(), d.GetStatus())
		if p.deadline = d.GetDeadlineUs(); reasons != "" {
			p.reasons = reasons
		}
		if d.GetReasonCode() != "" {
			p.code = d.GetReasonCode()
		}
		if pays {
			p.captured, p.authorized = d.GetCapturedMinor(), d.GetAuthorizedMinor()
		} else {
			p.fee = d.GetFeeMinor() // a dispute's
		}
	}
	switch kind {
	case "AUTHORIZATION_ADVICE", "REVERSAL", "CLEARING", "DISPUTE":
		if !moves || d.GetStatus() == 0 {
			return
		}
		if p := payments[d.GetPaymentId()]; p != nil {
			changes()
		} else {
			made()
		}
		if kind == "CLEARING" || kind == "DISPUTE" {
			about()
		}
	case "DISPUTE_EVIDENCE", "DISPUTE_ACCEPT":
		if moves {
			changes()
		}
	case "PAY_IN", "PAY_OUT", "TRANSFER", "REFUND", "CAPTURE", "VOID", "INCREMENT", "FX_QUOTE", "AUTHORIZATION":
		if d.GetOutcome() > paymentsv1.Outcome_OUTCOME_REVIEW {
			return
		}
		made()
		if q := payments[d.GetQuote()]; q != nil && d.GetOutcome() != paymentsv1.Outcome_OUTCOME_DECLINED {
			q.status, q.seq, q.offset, q.decided, q.related, q.deadline = "3", int64(d.GetAccountSeq()), d.Offset, d.GetAcceptedAtUs(), d.GetPaymentId(), 0
		}
		if moves && (kind == "REFUND" || kind == "CAPTURE" || kind == "VOID" || kind == "INCREMENT") {
			about()
		}
	case "APPROVE", "DECLINE", "EXPIRE", "LEG_RESULT", "RAIL_ANSWER":
		if !moves || d.GetStatus() == 0 {
			return
		}
		p := set(d.GetPaymentId(), d.GetStatus())
		p.deadline = d.GetDeadlineUs()
		if reasons != "" {
			p.reasons = reasons
		}
		if kind != "RAIL_ANSWER" {
			return
		}
		if p.reference == "" && !strings.HasSuffix(d.GetOrderId(), ".expire") && d.GetConnector()+d.GetRailReference() != "" {
			p.connector, p.reference = d.GetConnector(), d.GetRailReference()
		}
		if d.GetRelatedPaymentId() == "" {
			return
		}
		if p.d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_CAPTURE && d.GetTargetAmountMinor()+d.GetFeeMinor() > 0 {
			p.fee, p.target = d.GetFeeMinor(), d.GetTargetAmountMinor()
		}
		about()
	}
}

// history is the line of a payment's history that a decision is, empty where it is none.
func history(d logtest.Logged, kind string) string {
	of, operation, stands, other := d.GetPaymentId(), "", d.GetStatus(), ""
	switch kind {
	case "OPEN_ACCOUNT", "SET_KYC_LEVEL":
		return ""
	case "PAY_IN", "PAY_OUT", "TRANSFER", "FX_QUOTE":
		if status := d.GetStatus().String(); d.GetOutcome() <= paymentsv1.Outcome_OUTCOME_DECLINED && (strings.HasSuffix(status, "_SUCCEEDED") || strings.HasSuffix(status, "_FAILED")) {
			return ""
		}
	case "COUNTER_LEG":
		other = d.GetAccount()
	case "REFUND", "CAPTURE", "VOID", "INCREMENT", "RAIL_ANSWER", "EXPIRE", "CLEARING", "DISPUTE", "DISPUTE_EVIDENCE", "DISPUTE_ACCEPT":
		if d.GetRelatedPaymentId() != "" {
			of, operation, stands = d.GetRelatedPaymentId(), d.GetPaymentId(), d.GetRelatedStatus()
		}
	}
	reasons := ""
	for _, r := range d.GetReasons() {
		if kind != "COUNTER_LEG" && (r == paymentsv1.Reason_REASON_OWNER_MISMATCH || r == paymentsv1.Reason_REASON_ACCOUNT_UNKNOWN) {
			return ""
		}
		reasons += fmt.Sprintf("%d;", r)
	}
	return fmt.Sprintf("%s %s %s %d %d %d %d %d %d %d %d %d %d %d %d %s %s %s %s %s %s %s %s", of, operation, other, d.GetAcceptedAtUs(), d.Written.UnixMicro(),
		d.GetAccountSeq(), d.GetCommandPartition(), d.GetCommandOffset(), d.GetAmountMinor(), d.GetRailAmountMinor(), int(d.GetKind()), int(d.GetOutcome()),
		int(d.GetStatus()), int(stands), int(d.GetRailResult()), d.GetCurrency(), d.GetOrderId(), d.GetGivenOrderId(), d.GetConnector(), d.GetRailReference(), d.GetRailCode(), d.GetRailTid(), reasons)
}

// stored reads the same lines from the database.
func stored(t testing.TB, dsn string) books {
	t.Helper()
	read := func(sql string) map[string]string {
		conn := embedtest.Connect(t, dsn)
		defer func() { _ = conn.Close(t.Context()) }() // one test opens many
		rows, err := conn.Query(t.Context(), sql)
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]string{}
		for rows.Next() {
			var key, value string
			if err := rows.Scan(&key, &value); err != nil {
				t.Fatal(err)
			}
			if _, ok := m[key]; ok {
				t.Fatalf("two rows of %s", key)
			}
			m[key] = value
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return m
	}
	const us = `(extract(epoch FROM %s) * 1000000)::bigint`
	return books{
		accounts: read(`SELECT account, CASE WHEN status = 0 THEN account_seq || ' 0' ELSE account_seq || ' ' || status || ' ' || kind || ' ' || kyc_level
			|| ' ' || overdraft_limit_minor || tenant || ' ' || merchant || ' ' || customer || ' ' || external_id || ' ' || policy || ' '
			|| array_to_string(currencies, ',') END FROM accounts.accounts`),
		payments: read(`SELECT payment_id, concat_ws(' ', status, (SELECT coalesce(string_agg(r || ';', '' ORDER BY n), '') FROM unnest(reasons) WITH ORDINALITY x(r, n)),
			refunded_minor, captured_minor, authorized_minor, connector, rail_reference, account_seq, log_offset, ` + fmt.Sprintf(us, "decided_at") + `, coalesce(` + fmt.Sprintf(us, "deadline_at") + `, 0),
			` + fmt.Sprintf(us, "created_at") + `, effective_date - DATE '1970-01-01', amount_minor, currency, target_amount_minor, target_currency,
			fee_minor, outcome, method, tenant, merchant, account, to_account, related_payment_id, encode(sealed, 'hex'),
			coalesce(fx_rate || ' ' || fx_mid || ' ' || fx_spread_bp, ''), fraud_score, created_offset, ` + fmt.Sprintf(us, "created_written_at") + `, command_offset, command_partition,
			kind, quote || card || mcc || acquirer || card_acceptor || rrn, reason_code) FROM payments.payments`),
		events: read(`SELECT log_partition || ' ' || log_offset, concat_ws(' ', payment_id, operation_id, other_account, ` + fmt.Sprintf(us, "accepted_at") + `,
			` + fmt.Sprintf(us, "written_at") + `, account_seq, command_partition, command_offset, amount_minor, rail_amount_minor, kind, outcome, status,
			payment_status, rail_result, currency, order_id, given_order_id, connector, rail_reference, rail_code, rail_tid,
			(SELECT coalesce(string_agg(r || ';', '' ORDER BY n), '') FROM unnest(reasons) WITH ORDINALITY x(r, n)))
			FROM payments.events WHERE decided_month = date_trunc('month', accepted_at AT TIME ZONE 'UTC')::date`),
		cards:    read(`SELECT card, account || merchant || card_seq || ' ' || status || first6 || last4 || expiry || ' ' || ` + fmt.Sprintf(us, "issued_at") + ` FROM accounts.cards`),
		evidence: read(`SELECT dispute_id || log_offset || ' ' || line, concat_ws(' ', ` + fmt.Sprintf(us, "told_at") + `, reference, sha256, kind, log_partition) FROM payments.evidence`),
		journals: read(`SELECT log_partition || ' ' || log_offset, account || account_seq || ' ' || (booking_date - DATE '1970-01-01') || ' ' || command_partition || ' ' || command_offset
			|| ' ' || journals || ' ' || postings || ' ' || kind || payment_id || currency || posted_minor || ' ' || held_minor || ' ' || incoming_minor
			FROM ledger.journals WHERE booking_month = date_trunc('month', booking_date)::date`),
		postings: read(`SELECT p.log_partition || ' ' || p.log_offset || ' ' || p.line, (j.booking_date - DATE '1970-01-01') || ' ' || p.journal_kind || ' ' || p.layer
			|| p.account || ' ' || p.currency || p.amount_minor FROM ledger.postings p JOIN ledger.journals j USING (topic, log_partition, log_offset, booking_month)`),
		balances: read(`SELECT account || ' ' || currency, posted_minor || ' ' || held_minor || ' ' || incoming_minor FROM ledger.account_balances`),
	}
}

// mustEqual compares row by row, up to blanks: fmt.Sprint and SQL put them differently.
func mustEqual(t testing.TB, log []logtest.Logged, dsn string) {
	t.Helper()
	want, got := rowsOf(log), stored(t, dsn)
	for _, table := range []struct {
		name      string
		want, got map[string]string
	}{
		{"accounts", want.accounts, got.accounts},
		{"payments", want.payments, got.payments},
		{"events", want.events, got.events},
		{"journals", want.journals, got.journals},
		{"postings", want.postings, got.postings},
		{"balances", want.balances, got.balances},
		{"cards", want.cards, got.cards},
		{"evidence", want.evidence, got.evidence},
	} {
		if len(table.want) == 0 && len(log) > 4000 { // a short one need not come to everything
			t.Fatalf("%s: the log has none", table.name)
		}
		shown := 0
		for _, key := range slices.Sorted(maps.Keys(table.want)) {
			if w, g := table.want[key], table.got[key]; squeeze(w) != squeeze(g) && shown < 3 {
				t.Errorf("%s %s\nlog   %s\nstore %s", table.name, key, w, g)
				shown++
			}
		}
		if len(table.want) != len(table.got) {
			t.Errorf("%s: log %d, store %d", table.name, len(table.want), len(table.got))
		}
	}
}

func squeeze(s string) string { return strings.ReplaceAll(s, " ", "") }

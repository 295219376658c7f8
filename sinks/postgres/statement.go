package postgres

import (
	"cmp"
	"fmt"
	"strings"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// field is one column of a statement: its name and the SQL type of one element.
type field struct {
	name string
	kind string
}

// statement is one set-based write of a batch.
type statement struct {
	name    string
	sql     string
	columns []column
}

func newStatement(name, sqlFormat string, fields []field) *statement {
	s := &statement{name: name, columns: make([]column, len(fields))}
	names, arrays := make([]string, len(fields)), make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
		arrays[i] = fmt.Sprintf("$%d::%s[]", i+1, f.kind)
		s.columns[i].oid = oidOf(f.kind)
	}
	s.sql = strings.NewReplacer(
		"{names}", strings.Join(names, ", "),
		"{rows}", "unnest("+strings.Join(arrays, ", ")+") AS u("+strings.Join(names, ", ")+")",
	).Replace(sqlFormat)
	return s
}

func oidOf(kind string) uint32 {
	switch kind {
	case "bigint":
		return oidInt8
	case "integer":
		return oidInt4
	case "smallint":
		return oidInt2
	case "date":
		return oidDate
	case "timestamptz":
		return oidTimestamptz
	default:
		return oidText
	}
}

func (s *statement) reset() {
	for i := range s.columns {
		s.columns[i].reset()
	}
}

func (s *statement) rows() int { return int(s.columns[0].count) }

func (s *statement) parameters() [][]byte {
	values := make([][]byte, len(s.columns))
	for i := range s.columns {
		values[i] = s.columns[i].encoded()
	}
	return values
}

// The rows and statements. The order of columns is the order in which rows.go writes.
func newPaymentsCopying() *copying {
	return newCopying("payments.payments",
		"payment_id", "created_month", "effective_date", "created_at", "decided_at", "deadline_at", "created_seq",
		"account_seq", "log_offset", "amount_minor", "target_amount_minor", "fee_minor", "limit_amount_minor",
		"refunded_minor", "captured_minor", "authorized_minor", "log_partition",
		"created_offset", "created_written_at", "command_offset", "command_partition", "fx_spread_bp", "kind", "outcome", "status",
		"fraud_score", "currency", "target_currency", "limit_currency", "method", "tenant", "merchant", "customer", "account",
		"to_account", "related_payment_id", "instrument", "counterparty_country", "connector", "rail_reference",
		"quote", "card", "mcc", "acquirer", "card_acceptor", "rrn", "reason_code", "sealed_key_id", "sealed", "fx_rate", "fx_mid", "reasons",
	)
}

// replacePayments takes staged rows where the id of a payment stands already: it was declined without a record, or its
// record has left, and is used anew. But where a fact told from outside was taken for the first word about a record that an
// earlier batch has made in the same instant, it changes what changeState would.
func replacePayments(names []string) string {
	changed := map[string]string{
		"status": "EXCLUDED.status", "account_seq": "EXCLUDED.account_seq", "log_offset": "EXCLUDED.log_offset", "decided_at": "EXCLUDED.decided_at",
		"deadline_at": "EXCLUDED.deadline_at", "captured_minor": "EXCLUDED.captured_minor", "authorized_minor": "EXCLUDED.authorized_minor",
		"reasons":        "CASE WHEN EXCLUDED.reasons = '{}' THEN p.reasons ELSE EXCLUDED.reasons END",
		"reason_code":    "coalesce(nullif(EXCLUDED.reason_code, ''), p.reason_code)",
		"fee_minor":      "EXCLUDED.fee_minor", // of disputes: no other fact tells one
		"refunded_minor": "greatest(EXCLUDED.refunded_minor, p.refunded_minor)",
	}
	sets := make([]string, len(names))
	for i, n := range names {
		sets[i] = fmt.Sprintf("%s = CASE WHEN EXCLUDED.outcome = %d AND p.created_at = EXCLUDED.created_at THEN %s ELSE EXCLUDED.%s END",
			n, paymentsv1.Outcome_OUTCOME_APPLIED, cmp.Or(changed[n], "p."+n), n)
	}
	return strings.NewReplacer("{names}", strings.Join(names, ", "), "{set}", strings.Join(sets, ", ")).Replace(`
INSERT INTO payments.payments AS p ({names}) SELECT {names} FROM pg_temp.staged
ON CONFLICT (payment_id, created_month) DO UPDATE SET {set} WHERE p.account_seq < EXCLUDED.account_seq`)
}

// changeState ends the transaction where a payment is not there: the log and the database would differ.
const changeState = `
WITH {found}changed AS (UPDATE payments.payments p SET status = u.status, reasons = coalesce(u.reasons::smallint[], p.reasons),
    refunded_minor = coalesce(u.refunded_minor, p.refunded_minor), captured_minor = coalesce(u.captured_minor, p.captured_minor),
    authorized_minor = coalesce(u.authorized_minor, p.authorized_minor), fee_minor = coalesce(u.fee_minor, p.fee_minor),
    target_amount_minor = coalesce(u.target_amount_minor, p.target_amount_minor),
    connector = CASE WHEN p.rail_reference <> '' OR u.connector = '' AND u.rail_reference = '' THEN p.connector ELSE u.connector END,
    rail_reference = CASE WHEN p.rail_reference <> '' THEN p.rail_reference ELSE u.rail_reference END,
    related_payment_id = coalesce(nullif(u.related_payment_id, ''), p.related_payment_id), reason_code = coalesce(nullif(u.reason_code, ''), p.reason_code),
    account_seq = u.account_seq, log_offset = u.log_offset, decided_at = u.decided_at, deadline_at = {deadline}
FROM {from} WHERE p.payment_id = u.payment_id AND p.account_seq < u.account_seq AND p.created_month = {month} RETURNING 1)
SELECT sink.expect(count(*), cardinality($1), 'payments') FROM changed`

// newStatesStatement changes payments that earlier batches wrote, by decisions on themselves.
func newStatesStatement() *statement {
	return newStatement("states", strings.NewReplacer(
		"{found}", "", "{from}", "{rows}", "{month}", "u.created_month", "{deadline}", "u.deadline_at",
	).Replace(changeState), stateFields())
}

// findMonth looks for a payment's newest row in the months where it should be, and in all where it is not there: each month is
// a partition, and to ask all of two years took eight times as long. Apart from the update, so that this asks one partition.
const findMonth = `u AS MATERIALIZED (SELECT r.*, coalesce(
    (SELECT max(q.created_month) FROM payments.payments q WHERE q.payment_id = r.payment_id AND q.created_month >= r.created_month),
    (SELECT max(q.created_month) FROM payments.payments q WHERE q.payment_id = r.payment_id)) AS month FROM (SELECT * FROM {rows}) r), `

// newRelatedStatement changes payments of which only operations were decided: these know neither when it was created nor its
// deadline, which stands as long as something may be captured.
func newRelatedStatement() *statement {
	return newStatement("related", strings.NewReplacer(
		"{found}", findMonth, "{from}", "u", "{month}", "u.month",
		"{deadline}", fmt.Sprintf("CASE WHEN u.status IN (%d, %d) THEN p.deadline_at END",
			paymentsv1.PaymentStatus_PAYMENT_STATUS_REQUIRES_CAPTURE, paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_CAPTURED),
	).Replace(changeState), stateFields())
}

// stateFields are in the order in which writeState writes.
func stateFields() []field {
	return []field{
		{"payment_id", "text"},
		{"created_month", "date"},
		{"decided_at", "timestamptz"},
		{"account_seq", "bigint"},
		{"log_offset", "bigint"},
		{"refunded_minor", "bigint"},
		{"captured_minor", "bigint"},
		{"authorized_minor", "bigint"},
		{"fee_minor", "bigint"},
		{"target_amount_minor", "bigint"},
		{"status", "smallint"},
		{"reasons", "text"},
		{"deadline_at", "timestamptz"},
		{"connector", "text"},
		{"rail_reference", "text"},
		{"related_payment_id", "text"},
		{"reason_code", "text"},
	}
}

func newEventsCopying() *copying {
	return newCopying("payments.events",
		"payment_id", "decided_month", "accepted_at", "written_at", "account_seq", "log_offset", "command_offset", "amount_minor",
		"rail_amount_minor", "log_partition", "command_partition", "kind", "outcome", "status", "payment_status", "rail_result",
		"currency", "operation_id", "other_account", "order_id", "given_order_id", "connector", "rail_reference", "rail_code", "rail_tid",
		"reasons",
	)
}

func newJournalsCopying() *copying {
	return newCopying("ledger.journals",
		"log_offset", "account_seq", "command_offset", "accepted_at", "posted_minor", "held_minor", "incoming_minor",
		"log_partition", "command_partition", "booking_month", "booking_date", "topic", "kind", "journals", "postings",
		"account", "payment_id", "currency",
	)
}

func newPostingsCopying() *copying {
	return newCopying("ledger.postings",
		"log_offset", "amount_minor", "log_partition", "booking_month", "topic", "line", "journal_kind", "layer",
		"account", "currency",
	)
}

func newBalancesStatement() *statement {
	return newStatement("balances", `
INSERT INTO ledger.balances AS b ({names}) SELECT {names} FROM {rows}
ON CONFLICT (account, currency) DO UPDATE SET posted_minor = b.posted_minor + EXCLUDED.posted_minor,
    held_minor = b.held_minor + EXCLUDED.held_minor, incoming_minor = b.incoming_minor + EXCLUDED.incoming_minor`, []field{
		{"account", "text"},
		{"currency", "text"},
		{"posted_minor", "bigint"},
		{"held_minor", "bigint"},
		{"incoming_minor", "bigint"},
	})
}

// newSystemBalancesStatement takes several rows per account, because a batch's sum may leave bigint.
func newSystemBalancesStatement() *statement {
	return newStatement("system_balances", `
INSERT INTO ledger.system_balances AS b (account, currency, shard, posted_minor, held_minor, incoming_minor)
SELECT u.account, u.currency, u.shard, sum(u.posted_minor), sum(u.held_minor), sum(u.incoming_minor)
FROM {rows} GROUP BY 1, 2, 3
ON CONFLICT (account, currency, shard) DO UPDATE SET posted_minor = b.posted_minor + EXCLUDED.posted_minor,
    held_minor = b.held_minor + EXCLUDED.held_minor, incoming_minor = b.incoming_minor + EXCLUDED.incoming_minor`, []field{
		{"account", "text"},
		{"currency", "text"},
		{"shard", "integer"},
		{"posted_minor", "bigint"},
		{"held_minor", "bigint"},
		{"incoming_minor", "bigint"},
	})
}

func newSequencesStatement() *statement {
	return newStatement("sequences", `
INSERT INTO accounts.accounts AS a (account, account_seq) SELECT {names} FROM {rows}
ON CONFLICT (account) DO UPDATE SET account_seq = EXCLUDED.account_seq WHERE a.account_seq < EXCLUDED.account_seq`, []field{
		{"account", "text"}, {"account_seq", "bigint"},
	})
}

func newEvidenceStatement() *statement {
	return newStatement("evidence", `INSERT INTO payments.evidence ({names}) SELECT {names} FROM {rows}`, []field{
		{"dispute_id", "text"},
		{"told_at", "timestamptz"},
		{"log_offset", "bigint"},
		{"log_partition", "integer"},
		{"line", "smallint"},
		{"reference", "text"},
		{"sha256", "text"},
		{"kind", "text"},
	})
}

// newCardsStatement writes what a card is now.
func newCardsStatement() *statement {
	return newStatement("cards", `
INSERT INTO accounts.cards AS c ({names}) SELECT {names} FROM {rows}
ON CONFLICT (card) DO UPDATE SET account = EXCLUDED.account, tenant = EXCLUDED.tenant, merchant = EXCLUDED.merchant, card_seq = EXCLUDED.card_seq,
    issued_at = EXCLUDED.issued_at, status = EXCLUDED.status, expiry = EXCLUDED.expiry, first6 = EXCLUDED.first6, last4 = EXCLUDED.last4
WHERE c.card_seq < EXCLUDED.card_seq`, []field{
		{"card", "text"},
		{"account", "text"},
		{"tenant", "text"},
		{"merchant", "text"},
		{"card_seq", "bigint"},
		{"issued_at", "timestamptz"},
		{"status", "smallint"},
		{"expiry", "integer"},
		{"first6", "text"},
		{"last4", "text"},
	})
}

// newAccountsStatement runs behind the sequences, so every account has a row.
func newAccountsStatement() *statement {
	return newStatement("accounts", `
UPDATE accounts.accounts a SET opened_at = u.opened_at, overdraft_limit_minor = u.overdraft_limit_minor, kind = u.kind,
    status = u.status, kyc_level = u.kyc_level, tenant = u.tenant, merchant = u.merchant, customer = u.customer,
    external_id = u.external_id, policy = u.policy, currencies = string_to_array(u.currencies, ',')
FROM {rows} WHERE a.account = u.account`, []field{
		{"account", "text"},
		{"opened_at", "timestamptz"},
		{"overdraft_limit_minor", "bigint"},
		{"kind", "smallint"},
		{"status", "smallint"},
		{"kyc_level", "smallint"},
		{"tenant", "text"},
		{"merchant", "text"},
		{"customer", "text"},
		{"external_id", "text"},
		{"policy", "text"},
		{"currencies", "text"},
	})
}

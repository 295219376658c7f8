package http

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// timelineSQL numbers the decisions about a payment (of $2, where that is an operation on it). A payment that ended when it was
// made has no event of that: its own row tells it. What the payee's account decided about a transfer stands before the result
// that it led to; the rest is in the order of the payment's account. An id may have been used before: that is not this payment.
const timelineSQL = `
WITH told AS MATERIALIZED (
    SELECT accepted_at, written_at, account_seq, log_partition, log_offset, command_partition, command_offset, amount_minor, rail_amount_minor,
           kind, outcome, status, payment_status, rail_result, currency, operation_id, other_account, order_id, given_order_id,
           connector, rail_reference, rail_code, reasons
    FROM payments.events
    WHERE payment_id = $1 AND decided_month >= $3 AND (other_account <> '' OR account_seq >= $4) AND ($2 = '' OR operation_id = $2)
), lines AS (
    SELECT * FROM told
    UNION ALL
    SELECT created_at, created_written_at, created_seq, log_partition, created_offset, command_partition, command_offset, amount_minor, 0,
           kind, outcome, CASE outcome WHEN 1 THEN 3 ELSE 4 END, CASE outcome WHEN 1 THEN 3 ELSE 4 END, 0, currency, '', '', '', '', '', '', '',
           CASE outcome WHEN 1 THEN '{}' ELSE reasons END
    FROM payments.payments
    WHERE payment_id = $1 AND created_month = $3 AND $2 = '' AND created_offset IS NOT NULL
      AND NOT EXISTS (SELECT FROM told WHERE account_seq = $4 AND other_account = '')
), numbered AS (
    SELECT *, row_number() OVER log AS number, lag(written_at) OVER log AS before FROM lines
    WINDOW log AS (ORDER BY CASE WHEN other_account = '' THEN account_seq
        WHEN kind = 40 THEN coalesce((SELECT min(account_seq) FROM told WHERE kind = 41 AND other_account = ''), 9223372036854775807)
        ELSE 9223372036854775807 END, other_account = '', log_partition, log_offset)
)
SELECT number, before, accepted_at, written_at, account_seq, log_partition, command_partition, log_offset, command_offset, amount_minor, rail_amount_minor,
       kind, outcome, status, payment_status, rail_result, currency, operation_id, other_account, order_id, given_order_id, connector, rail_reference,
       rail_code, reasons, (SELECT array_agg(p.journal_kind ORDER BY p.line) FROM ledger.postings p
           WHERE p.topic = 1 AND p.log_partition = numbered.log_partition AND p.log_offset = numbered.log_offset)
FROM numbered WHERE number > $5 ORDER BY number LIMIT $6`

// Timeline reads a page of what became of a payment. One more than asked for tells whether there are more.
func (s *PostgresStore) Timeline(ctx context.Context, owner Owner, q TimelineQuery) (*TimelinePage, error) {
	page := &TimelinePage{PaymentID: string(q.Payment), Events: []TimelineEvent{}}
	var status int16
	var created int64
	var month time.Time
	var of string
	err := s.pool.QueryRow(ctx, `SELECT status, account_seq, created_seq, created_month, related_payment_id
FROM payments.payments WHERE payment_id = $1 AND tenant = $2 AND merchant = $3 ORDER BY created_month DESC LIMIT 1`,
		string(q.Payment), owner.Tenant, owner.Merchant).Scan(&status, &page.AccountSeq, &created, &month, &of)
	if err != nil {
		return nil, readError("payment", err)
	}
	page.Status = statusWord(status)
	operation := string(q.Payment)
	if of == "" || q.Payment.Kind() == payment.KindFXQuote { // a quote is no operation on the payment that has used it
		of, operation = operation, ""
	}
	rows, err := s.pool.Query(ctx, timelineSQL, of, operation, month, created, int64(q.After), q.Limit+1) //nolint:gosec // a number counts from 1
	if err != nil {
		return nil, readError("timeline", err)
	}
	lines, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r timelineRow, err error) {
		err = row.Scan(&r.number, &r.before, &r.accepted, &r.written, &r.seq, &r.partition, &r.commandPartition, &r.offset, &r.commandOffset,
			&r.amount, &r.railAmount, &r.kind, &r.outcome, &r.status, &r.stands, &r.result, &r.currency, &r.operation, &r.otherAccount,
			&r.answered, &r.given, &r.connector, &r.reference, &r.code, &r.reasons, &r.journals)
		return r, err
	})
	if err != nil {
		return nil, readError("timeline", err)
	}
	if len(lines) > q.Limit {
		lines, page.HasMore = lines[:q.Limit], true
	}
	for i := range lines {
		page.Events, page.Last = lines[i].append(page.Events), lines[i].number
	}
	return page, nil
}

// railSQL reads what the rail last said that counted: the answer to the record's own order that moved it, or that told another
// amount than was ordered. Repeats, contradictions and what came too late change neither.
const railSQL = `
SELECT rail_code, CASE WHEN $4 = ANY (reasons) THEN rail_amount_minor ELSE 0 END
FROM (SELECT *, lag(stands) OVER (ORDER BY account_seq) AS before
      FROM (SELECT *, CASE $2 WHEN '' THEN payment_status ELSE status END AS stands FROM payments.events
            WHERE payment_id = $1 AND ($2 = '' OR operation_id = $2) AND decided_month >= $3 AND account_seq >= $5
              AND other_account = '' AND payment_status <> 0 AND outcome < 5) told) moves
WHERE rail_result <> 0 AND operation_id = $2 AND order_id NOT LIKE '%.expire' AND (stands IS DISTINCT FROM before OR $4 = ANY (reasons))
ORDER BY account_seq DESC LIMIT 1`

// rail adds what the rail said of a payment or an operation, where one executes it.
func (s *PostgresStore) rail(ctx context.Context, v *PaymentView, of string, month time.Time, created int64) error {
	if v.Method != methodCard && v.Method != methodBank {
		return nil
	}
	operation := v.PaymentID
	if of == "" {
		of, operation = operation, ""
	}
	rows, err := s.pool.Query(ctx, railSQL, of, operation, month, int16(payment.ReasonRailAmount), created)
	if err != nil {
		return fmt.Errorf("reading answers of a rail: %w", err)
	}
	if _, err := pgx.ForEachRow(rows, []any{&v.RailCode, &v.RailAmount}, func() error { return nil }); err != nil {
		return fmt.Errorf("reading answers of a rail: %w", err)
	}
	return nil
}

func statusWord(s int16) string {
	if s == 0 {
		return "" // a decision that tells none
	}
	return payment.Status(s).String() //nolint:gosec // the enum's numbers fit a byte
}

// reasonWords is never nil.
func reasonWords(reasons []int16) []string {
	words := make([]string, len(reasons))
	for i, r := range reasons {
		words[i] = payment.Reason(r).String() //nolint:gosec // the enum's numbers fit a byte
	}
	return words
}

// journalWords names the journals of a decision, of which each line is given, in their order. Two of one kind are told as one.
func journalWords(lines []int16) []string {
	var words []string
	for _, kind := range slices.Compact(lines) {
		words = append(words, ledger.JournalKind(kind).String()) //nolint:gosec // the enum's numbers fit a byte
	}
	return words
}

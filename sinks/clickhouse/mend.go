package clickhouse

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/caudalpay/caudal/sinks/decisionlog"
)

// attemptsMost bounds how often an insert is repeated under a token of its own. One repeat is enough unless the store
// dies again in between.
const attemptsMost = 10

// identity is where a decision stands in the log.
type identity struct {
	partition int32
	offset    int64
}

// mend makes the store hold a range once. Nothing says whether its rows came in, and the token alone does not: the store
// writes an insert's token to disk before it has the rows, so its death can leave a token that drops every repeat of
// rows that are not there, and it never syncs the tokens, so a power cut can leave rows that a repeat would double.
// What the log has and the store has not is inserted, until nothing is missing; tokens still stand between this and an
// earlier attempt that reaches the store late.
func (s *Sink) mend(ctx context.Context, conn driver.Conn, c claim, batch *decisionlog.Batch) error {
	within, some := extentOf(batch)
	if !some {
		return nil
	}
	if err := settled(ctx, conn); err != nil {
		return err
	}
	for attempt := range attemptsMost {
		facts, err := held(ctx, conn, s.facts.table, within.rows())
		if err != nil {
			return err
		}
		postings, err := held(ctx, conn, s.lines.table, within.rows())
		if err != nil {
			return err
		}
		s.fill(batch, facts, postings)
		if s.facts.rows()+s.lines.rows() == 0 {
			return s.mendMinutes(ctx, conn, c.seq, within)
		}
		s.cfg.Logger.Info("repeating what the store has not of its last range", "range", c.seq, "attempt", attempt,
			"decisions", s.facts.rows(), "postings", s.lines.rows())
		if err := s.insert(ctx, conn, token("batch", c.seq, attempt)); err != nil {
			return err
		}
	}
	return fmt.Errorf("repeating range %d: rows are missing after %d inserts", c.seq, attemptsMost)
}

// settled waits until the store has ended the inserts of a sink that is gone: their rows reach one table after the other.
func settled(ctx context.Context, conn driver.Conn) error {
	for {
		var running uint64
		if err := conn.QueryRow(ctx, `SELECT count() FROM system.processes
WHERE current_database = currentDatabase() AND match(query, '^INSERT INTO (payment_facts|postings|payments_by_minute)\\s')`).Scan(&running); err != nil {
			return fmt.Errorf("looking for inserts under way: %w", err)
		}
		if running == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settledEvery):
		}
	}
}

const settledEvery = 20 * time.Millisecond

// extent is where a batch's rows are: when they were accepted, in microseconds, and where they stand in the log.
type extent struct {
	first, last int64
	offsets     string // a condition
}

func extentOf(batch *decisionlog.Batch) (x extent, some bool) {
	x.first, x.last = momentMax, momentMin
	for _, e := range batch.Entries {
		if stored(e) {
			at := int64(moment(e.GetAcceptedAtUs()))
			x.first, x.last, some = min(x.first, at), max(x.last, at), true
		}
	}
	var ranges []string
	for _, p := range slices.Sorted(maps.Keys(batch.Next)) {
		ranges = append(ranges, fmt.Sprintf("log_partition = %d AND log_offset >= %d AND log_offset < %d", p, batch.First[p], batch.Next[p]))
	}
	x.offsets = strings.Join(ranges, " OR ")
	return x, some
}

// accepted is a condition on times, by which the store skips what is older; widened by some microseconds on each side.
func (x extent) accepted(wider int64) string {
	return fmt.Sprintf("accepted_at >= fromUnixTimestamp64Micro(%d, 'UTC') AND accepted_at <= fromUnixTimestamp64Micro(%d, 'UTC')",
		x.first-wider, x.last+wider)
}

// rows is the condition on the batch's rows of payment_facts and postings.
func (x extent) rows() string { return x.accepted(0) + " AND (" + x.offsets + ")" }

// held lists the decisions that a table has rows of. The rows of one decision are in one part: all are there, or none. All
// columns are read, so that a part a full disk has spoilt fails here and does not pass for rows that are there.
func held(ctx context.Context, conn driver.Conn, table, within string) (map[identity]bool, error) {
	rows, err := conn.Query(ctx, "SELECT DISTINCT log_partition, log_offset FROM "+table+" WHERE NOT ignore(*) AND "+within)
	if err != nil {
		return nil, fmt.Errorf("looking for rows of %s: %w", table, err)
	}
	defer func() { _ = rows.Close() }() // read to the end, or failed
	all := map[identity]bool{}
	for rows.Next() {
		var at identity
		if err := rows.Scan(&at.partition, &at.offset); err != nil {
			return nil, fmt.Errorf("reading rows of %s: %w", table, err)
		}
		all[at] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading rows of %s: %w", table, err)
	}
	return all, nil
}

// difference is what payments_by_minute lacks of the facts: a row of it, with the numbers as text. What it has too much
// is a negative number, which its sums take off; decisions are unsigned there and wrap.
type difference struct {
	Minute    string `json:"minute"`
	Tenant    string `json:"tenant"`
	Merchant  string `json:"merchant"`
	Currency  string `json:"currency"`
	Kind      string `json:"kind"`
	Outcome   string `json:"outcome"`
	Decisions string `json:"decisions"`
	Amount    string `json:"amount_minor"`
	Fee       string `json:"fee_minor"`
	Score     uint16 `json:"fraud_score"`
}

// mendMinutes makes the minutes that a range touches what the facts say. Nobody else writes while it runs.
func (s *Sink) mendMinutes(ctx context.Context, conn driver.Conn, seq uint64, within extent) error {
	for attempt := range attemptsMost {
		missing, err := differences(ctx, conn, within)
		if err != nil || len(missing) == 0 {
			return err
		}
		s.cfg.Logger.Info("mending minutes of the last range", "range", seq, "attempt", attempt, "rows", len(missing))
		var body bytes.Buffer
		rows := json.NewEncoder(&body)
		for _, d := range missing {
			if err := rows.Encode(d); err != nil {
				return fmt.Errorf("encoding what minutes lack: %w", err)
			}
		}
		if err := conn.InsertFormat(exactlyOnce(ctx, token("minutes", seq, attempt)), "JSONEachRow", `INSERT INTO payments_by_minute
(minute, tenant, merchant, currency, kind, outcome, decisions, amount_minor, fee_minor, fraud_score)`, &body); err != nil {
			return fmt.Errorf("mending payments_by_minute: %w", err)
		}
	}
	return fmt.Errorf("repeating range %d: minutes are wrong after %d inserts", seq, attemptsMost)
}

func differences(ctx context.Context, conn driver.Conn, within extent) ([]difference, error) {
	rows, err := conn.Query(ctx, `WITH touched AS (SELECT DISTINCT toStartOfMinute(accepted_at) FROM payment_facts WHERE `+within.rows()+`)
SELECT toString(minute), tenant, merchant, currency, kind, outcome, toString(toUInt64(sum(n))), toString(sum(amount)), toString(sum(fee)), max(score)
FROM
(
    SELECT toStartOfMinute(accepted_at) AS minute, tenant, merchant, currency, kind, outcome,
           toInt64(1) AS n, toInt128(amount_minor) AS amount, toInt128(fee_minor) AS fee, fraud_score AS score
    FROM payment_facts FINAL WHERE `+within.accepted(60_000_000)+` AND toStartOfMinute(accepted_at) IN (touched)
    UNION ALL
    SELECT minute, tenant, merchant, currency, kind, outcome, -toInt64(decisions), -amount_minor, -fee_minor, 0
    FROM payments_by_minute WHERE minute IN (touched)
)
GROUP BY minute, tenant, merchant, currency, kind, outcome
HAVING sum(n) != 0 OR sum(amount) != 0 OR sum(fee) != 0
ORDER BY ALL`)
	if err != nil {
		return nil, fmt.Errorf("comparing payments_by_minute: %w", err)
	}
	defer func() { _ = rows.Close() }() // read to the end, or failed
	var all []difference
	for rows.Next() {
		var d difference
		if err := rows.Scan(&d.Minute, &d.Tenant, &d.Merchant, &d.Currency, &d.Kind, &d.Outcome, &d.Decisions, &d.Amount, &d.Fee, &d.Score); err != nil {
			return nil, fmt.Errorf("reading what minutes lack: %w", err)
		}
		all = append(all, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading what minutes lack: %w", err)
	}
	return all, nil
}

package audit

import (
	"context"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"sync"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/twmb/franz-go/pkg/kgo"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

func clickhouseChecks() []string {
	return []string{CheckCHFacts, CheckCHPostings, CheckCHAggregates, CheckCHCounts}
}

// clickhouseDatabase is where the tables live unless the options say otherwise.
const clickhouseDatabase = "caudal"

// clickhouseStore compares the tables of schemas/sql/clickhouse. Rows behind the newest one of a partition are behind, a
// row missing before it is a difference.
type clickhouseStore struct {
	*auditor
	conn   driver.Conn
	newest map[string]map[int32]int64 // the last offset in a table, by partition, when the audit began

	mu      sync.Mutex
	minutes map[minute]*total
	behind  int64
	facts   int64 // decisions that must be there
	lines   int64
}

// minute is one row of payments_by_minute.
type minute struct {
	at                                        int64 // Unix seconds
	tenant, merchant, currency, kind, outcome string
}

type total struct {
	decisions   int64
	amount, fee big.Int
	score       uint32
}

func openClickHouse(ctx context.Context, a *auditor) (*clickhouseStore, error) {
	opts := *a.cfg.ClickHouse
	if opts.Auth.Database == "" || opts.Auth.Database == "default" {
		opts.Auth.Database = clickhouseDatabase
	}
	conn, err := clickhouse.Open(&opts)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	if err := conn.Ping(ctx); err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	s := &clickhouseStore{auditor: a, conn: conn, minutes: map[minute]*total{}, newest: map[string]map[int32]int64{}}
	for _, table := range []string{"payment_facts", "postings"} {
		if s.newest[table], err = s.reach(ctx, table); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// reach says how far a table goes in each partition.
func (s *clickhouseStore) reach(ctx context.Context, table string) (map[int32]int64, error) {
	rows, err := s.conn.Query(ctx, "SELECT log_partition, max(log_offset) FROM "+table+" GROUP BY log_partition")
	if err != nil {
		return nil, fmt.Errorf("querying %s: %w", table, err)
	}
	defer func() { _ = rows.Close() }() // all was read, or the error is reported
	newest := map[int32]int64{}
	for p := range s.cfg.Partitions {
		newest[p] = -1
	}
	for rows.Next() {
		var partition int32
		var offset int64
		if err := rows.Scan(&partition, &offset); err != nil {
			return nil, fmt.Errorf("scanning %s: %w", table, err)
		}
		newest[partition] = offset
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", table, err)
	}
	return newest, nil
}

// before is the condition that leaves out what came after the audit began.
func (s *clickhouseStore) before(table string) string {
	var parts []string
	for p, offset := range s.newest[table] {
		parts = append(parts, fmt.Sprintf("(log_partition = %d AND log_offset <= %d)", p, offset))
	}
	return strings.Join(parts, " OR ")
}

func (s *clickhouseStore) name() string     { return "clickhouse" }
func (s *clickhouseStore) checks() []string { return clickhouseChecks() }

func (s *clickhouseStore) close() {
	if err := s.conn.Close(); err != nil {
		s.cfg.Logger.Warn("closing clickhouse", "error", err)
	}
}

// chColumn is a column and how it is read: as Int64 or as String.
type chColumn struct {
	name, expression string
	text             bool
}

func chInt(name string) chColumn  { return chColumn{name, "toInt64(" + name + ")", false} }
func chText(name string) chColumn { return chColumn{name, "toString(" + name + ")", true} }
func chTime(name string) chColumn {
	return chColumn{name, "toUnixTimestamp64Micro(" + name + ")", false}
}
func chDay(name string) chColumn { return chColumn{name, "toInt64(toInt32(" + name + "))", false} }
func chList(name string) chColumn {
	return chColumn{name, "arrayStringConcat(arrayMap(x -> toString(x), " + name + "), ',')", true}
}

func chFactColumns() []chColumn {
	return []chColumn{
		chTime("accepted_at"), chText("tenant"), chText("merchant"), chText("customer"), chText("account"), chInt("account_seq"), chText("kind"),
		chText("outcome"), chText("status"), chList("reasons"), chText("command_id"), chText("payment_id"), chInt("command_partition"),
		chInt("command_offset"), chTime("created_at"), chDay("effective_date"), chInt("amount_minor"), chText("currency"),
		chInt("target_amount_minor"), chText("target_currency"), chInt("fee_minor"), chInt("fx_rate_unscaled"), chInt("fx_rate_scale"),
		chInt("fx_mid_unscaled"), chInt("fx_mid_scale"), chInt("fx_spread_bp"), chInt("limit_amount_minor"), chText("limit_currency"),
		chText("method"), chText("to_account"), chText("related_payment_id"), chText("related_status"), chInt("refunded_minor"),
		chInt("fraud_score"), chList("rule_hits"), chList("rule_weights"), chText("policy"), chText("fees"), chText("rates"), chText("rules"),
		chText("blocklist"), chText("counterparty_country"), chInt("postings"), chInt("captured_minor"), chInt("authorized_minor"),
		chText("order_id"), chText("rail_code"), chText("connector"), chText("rail_reference"),
		chText("card"), chText("mcc"), chText("acquirer"), chText("card_acceptor"), chText("rrn"), chText("reason_code"), chText("quote"), chList("evidence"),
	}
}

// chFact is the row of a decision, in the order of chFactColumns.
func chFact(d *paymentsv1.Decision) []any {
	reasons, hits, weights, files := make([]string, 0), make([]string, 0), make([]string, 0), make([]string, 0)
	for _, f := range d.GetEvidence() {
		files = append(files, f.GetKind())
	}
	for _, r := range d.GetReasons() {
		reasons = append(reasons, chWord(r, "REASON_"))
	}
	for _, h := range d.GetRuleHits() {
		hits, weights = append(hits, h.GetRule()), append(weights, fmt.Sprint(h.GetWeight()))
	}
	lines := 0
	for _, j := range d.GetJournals() {
		lines += len(j.GetPostings())
	}
	fx, pins := d.GetFx(), d.GetPins()
	return []any{
		d.GetAcceptedAtUs(), d.GetTenant(), d.GetMerchant(), d.GetCustomer(), d.GetAccount(), int64(d.GetAccountSeq()), chKind(d.GetKind()), //nolint:gosec // a count
		chWord(d.GetOutcome(), "OUTCOME_"), chWord(d.GetStatus(), "PAYMENT_STATUS_"), strings.Join(reasons, ","), d.GetCommandId(), d.GetPaymentId(),
		int64(d.GetCommandPartition()), d.GetCommandOffset(), d.GetCreatedAtUs(), int64(d.GetEffectiveDate()), d.GetAmountMinor(), d.GetCurrency(),
		d.GetTargetAmountMinor(), d.GetTargetCurrency(), d.GetFeeMinor(), fx.GetRateUnscaled(), int64(fx.GetRateScale()),
		fx.GetMidUnscaled(), int64(fx.GetMidScale()), int64(fx.GetSpreadBp()), d.GetLimitAmountMinor(), d.GetLimitCurrency(),
		d.GetMethod(), d.GetToAccount(), d.GetRelatedPaymentId(), chWord(d.GetRelatedStatus(), "PAYMENT_STATUS_"), d.GetRefundedMinor(),
		int64(d.GetFraudScore()), strings.Join(hits, ","), strings.Join(weights, ","), pins.GetPolicy(), pins.GetFees(), pins.GetRates(), pins.GetRules(),
		pins.GetBlocklist(), d.GetCounterpartyCountry(), int64(lines), d.GetCapturedMinor(), d.GetAuthorizedMinor(),
		d.GetOrderId(), d.GetRailCode(), d.GetConnector(), d.GetRailReference(),
		d.GetCard(), d.GetMcc(), d.GetAcquirer(), d.GetCardAcceptor(), d.GetRrn(), d.GetReasonCode(), d.GetQuote(), strings.Join(files, ","),
	}
}

func chPostingColumns() []chColumn {
	return []chColumn{
		chTime("accepted_at"), chText("journal_kind"), chText("layer"), chText("account"), chText("currency"), chInt("amount_minor"),
		chDay("booking_date"), chText("kind"), chText("tenant"), chText("merchant"), chText("payment_id"),
	}
}

// chWord is an enumeration's word as the tables have it; empty where nothing is said.
func chWord(v fmt.Stringer, prefix string) string {
	word := strings.ToLower(strings.TrimPrefix(v.String(), prefix))
	if word == "unspecified" {
		return ""
	}
	return word
}

func chKind(k paymentsv1.CommandKind) string {
	switch k {
	case paymentsv1.CommandKind_COMMAND_KIND_PAY_IN:
		return "payin"
	case paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT:
		return "payout"
	default:
		return chWord(k, "COMMAND_KIND_")
	}
}

// chMirror is one partition: two streams of rows.
type chMirror struct {
	*clickhouseStore
	partition int32
	facts     *rowStream
	postings  *rowStream
	minutes   map[minute]*total
	missing   int64
	count     struct{ facts, lines int64 }
}

func (s *clickhouseStore) open(ctx context.Context, partition int32) (mirror, error) {
	return &chMirror{
		clickhouseStore: s, partition: partition, minutes: map[minute]*total{},
		facts:    s.stream(ctx, chTable{CheckCHFacts, "payment_facts", "payment_facts_exact", "0", chFactColumns(), 4}, partition),
		postings: s.stream(ctx, chTable{CheckCHPostings, "postings", "postings_exact", "line", chPostingColumns(), 3}, partition),
	}, nil
}

// chTable is what is read of a table.
type chTable struct {
	check, name, from, line string
	columns                 []chColumn
	account                 int
}

// chunk is how many offsets one query covers: a stream that waits for the log would run into the server's timeouts.
const chunk = 50_000

func (s *clickhouseStore) stream(ctx context.Context, t chTable, partition int32) *rowStream {
	newest := s.newest[t.name][partition]
	names, expressions := make([]string, len(t.columns)), make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i], expressions[i] = c.name, c.expression
	}
	query := fmt.Sprintf("SELECT log_offset AS at, toInt64(%s) AS nth, %s FROM %s WHERE log_partition = ? AND log_offset >= ? AND log_offset < ? ORDER BY at, nth",
		t.line, strings.Join(expressions, ", "), t.from)
	from, buffer := int64(0), [][]any(nil)
	return &rowStream{
		findings: s.findings, check: t.check, table: t.name, partition: partition, columns: names, account: t.account, behind: true,
		fetch: func() (place, []any, bool, error) {
			for len(buffer) == 0 {
				if from > newest {
					return place{}, nil, false, nil
				}
				var err error
				if buffer, err = s.rows(ctx, t.columns, query, partition, from, min(from+chunk, newest+1)); err != nil {
					return place{}, nil, false, err
				}
				from += chunk
			}
			row := buffer[0]
			buffer = buffer[1:]
			return place{row[0].(int64), row[1].(int64)}, row[2:], true, nil //nolint:forcetypeassert // read as Int64
		},
	}
}

func (s *clickhouseStore) rows(ctx context.Context, columns []chColumn, query string, args ...any) ([][]any, error) {
	rows, err := s.conn.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("querying: %w", err)
	}
	defer func() { _ = rows.Close() }() // all was read, or the error is reported
	numbers, texts := make([]int64, len(columns)+2), make([]string, len(columns)+2)
	into := []any{&numbers[0], &numbers[1]}
	for i, c := range columns {
		if c.text {
			into = append(into, &texts[i+2])
		} else {
			into = append(into, &numbers[i+2])
		}
	}
	var found [][]any
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, fmt.Errorf("scanning: %w", err)
		}
		row := make([]any, len(into))
		for i := range row {
			if i >= 2 && columns[i-2].text {
				row[i] = texts[i]
			} else {
				row[i] = numbers[i]
			}
		}
		found = append(found, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	return found, nil
}

func (m *chMirror) decision(r *kgo.Record, d *paymentsv1.Decision) error {
	if d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_TICK {
		return nil
	}
	if r.Offset > m.newest["payment_facts"][m.partition] {
		m.missing++
	}
	m.count.facts++
	if err := m.facts.expect(place{r.Offset, 0}, d.GetAccount(), chFact(d)); err != nil {
		return err
	}
	m.aggregate(d)
	line := int64(0)
	for _, j := range d.GetJournals() {
		for _, p := range j.GetPostings() {
			if err := m.postings.expect(place{r.Offset, line}, p.GetAccount(), []any{
				d.GetAcceptedAtUs(), chWord(j.GetKind(), "JOURNAL_KIND_"), chWord(p.GetLayer(), "LAYER_"), p.GetAccount(), p.GetCurrency(),
				p.GetAmountMinor(), int64(d.GetEffectiveDate()), chKind(d.GetKind()), d.GetTenant(), d.GetMerchant(), d.GetPaymentId(),
			}); err != nil {
				return err
			}
			line++
		}
	}
	m.count.lines += line
	return nil
}

func (m *chMirror) aggregate(d *paymentsv1.Decision) {
	key := minute{
		at: floorMinute(d.GetAcceptedAtUs()), tenant: d.GetTenant(), merchant: d.GetMerchant(), currency: d.GetCurrency(),
		kind: chKind(d.GetKind()), outcome: chWord(d.GetOutcome(), "OUTCOME_"),
	}
	t := m.minutes[key]
	if t == nil {
		t = &total{}
		m.minutes[key] = t
	}
	t.add(&total{decisions: 1, amount: *big.NewInt(d.GetAmountMinor()), fee: *big.NewInt(d.GetFeeMinor()), score: d.GetFraudScore()})
}

func (t *total) add(o *total) {
	t.decisions += o.decisions
	t.amount.Add(&t.amount, &o.amount)
	t.fee.Add(&t.fee, &o.fee)
	t.score = max(t.score, o.score)
}

func (t *total) String() string {
	return fmt.Sprintf("decisions %d amount %s fee %s score %d", t.decisions, &t.amount, &t.fee, t.score)
}

func floorMinute(us int64) int64 {
	m := us / 60_000_000
	if us%60_000_000 < 0 {
		m--
	}
	return m * 60
}

func (m *chMirror) finish() error {
	for _, s := range []*rowStream{m.facts, m.postings} {
		if err := s.finish(); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, t := range m.minutes {
		if all := m.clickhouseStore.minutes[k]; all != nil {
			all.add(t)
		} else {
			m.clickhouseStore.minutes[k] = t
		}
	}
	m.behind += m.missing
	m.clickhouseStore.facts += m.count.facts
	m.lines += m.count.lines
	return nil
}

func (m *chMirror) close() {}

// finish compares what spans partitions: the aggregates, and the bare counts of rows, which show doubles that the exact views hide.
func (s *clickhouseStore) finish(ctx context.Context) error {
	if s.behind > 0 {
		d := Difference{Topic: topics.Decisions, Detail: fmt.Sprintf("%d decisions are not in payment_facts yet", s.behind)}
		for _, check := range []string{CheckCHAggregates, CheckCHCounts} {
			d.Check = check
			s.findings.behind(d, s.behind)
		}
		return nil
	}
	for _, table := range []string{"payment_facts", "postings"} {
		if now, err := s.reach(ctx, table); err != nil {
			return err
		} else if !maps.Equal(now, s.newest[table]) {
			s.findings.skip(CheckCHAggregates, "the store went on during the audit, and sums have no offsets")
			return s.counts(ctx)
		}
	}
	if err := s.compareMinutes(ctx); err != nil {
		return err
	}
	return s.counts(ctx)
}

func (s *clickhouseStore) counts(ctx context.Context) error {
	for _, t := range []struct {
		name, identity string
		want           int64
	}{{"payment_facts", "log_partition, log_offset", s.facts}, {"postings", "log_partition, log_offset, line", s.lines}} {
		var rows, distinct uint64
		query := fmt.Sprintf("SELECT count(), uniqExact(%s) FROM %s WHERE %s", t.identity, t.name, s.before(t.name))
		if err := s.conn.QueryRow(ctx, query).Scan(&rows, &distinct); err != nil {
			return fmt.Errorf("counting %s: %w", t.name, err)
		}
		s.findings.count(CheckCHCounts, 1)
		if rows != distinct || int64(rows) != t.want {
			s.findings.differ(Difference{
				Check: CheckCHCounts, Topic: topics.Decisions,
				Detail: fmt.Sprintf("table %s: want %d rows, got %d, of which %d are distinct", t.name, t.want, rows, distinct),
			})
		}
	}
	return nil
}

func (s *clickhouseStore) compareMinutes(ctx context.Context) error {
	rows, err := s.conn.Query(ctx, `SELECT toInt64(toUnixTimestamp(minute)) AS at, toString(tenant), toString(merchant), toString(currency), toString(kind),
		toString(outcome), toInt64(sum(decisions)), toString(sum(amount_minor)), toString(sum(fee_minor)), toUInt32(max(fraud_score))
		FROM payments_by_minute GROUP BY minute, tenant, merchant, currency, kind, outcome`)
	if err != nil {
		return fmt.Errorf("querying payments_by_minute: %w", err)
	}
	defer func() { _ = rows.Close() }() // all was read, or the error is reported
	seen := map[minute]bool{}
	for rows.Next() {
		var k minute
		var decisions int64
		var amount, fee string
		var score uint32
		if err := rows.Scan(&k.at, &k.tenant, &k.merchant, &k.currency, &k.kind, &k.outcome, &decisions, &amount, &fee, &score); err != nil {
			return fmt.Errorf("scanning payments_by_minute: %w", err)
		}
		seen[k] = true
		want := s.minutes[k]
		if want == nil {
			want = &total{}
		}
		s.minute(k, want, fmt.Sprintf("decisions %d amount %s fee %s score %d", decisions, amount, fee, score))
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading payments_by_minute: %w", err)
	}
	for k, want := range s.minutes {
		if !seen[k] {
			s.minute(k, want, "no row")
		}
	}
	return nil
}

func (s *clickhouseStore) minute(k minute, want *total, got string) {
	s.findings.count(CheckCHAggregates, 1)
	if want.String() == got {
		return
	}
	s.findings.differ(Difference{
		Check: CheckCHAggregates, Topic: topics.Decisions,
		Detail: fmt.Sprintf("table payments_by_minute, minute %d, %s/%s %s %s %s: want %s, got %s", k.at, k.tenant, k.merchant, k.currency, k.kind, k.outcome, want, got),
	})
}

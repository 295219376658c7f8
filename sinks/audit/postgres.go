package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

func postgresChecks() []string {
	return []string{CheckPGOffsets, CheckPGJournals, CheckPGPostings, CheckPGPayments, CheckPGEvents, CheckPGBalances, CheckPGAccounts}
}

// postgresStore compares the tables of schemas/sql/postgres. All its connections look at one snapshot of the database, so
// rows and offsets belong together even while the sink goes on.
type postgresStore struct {
	*auditor
	pool     *pgxpool.Pool
	main     pgx.Tx // keeps the snapshot
	snapshot string
	next     map[int32]int64
	from     map[int32]int64 // where events begin: decisions of before left none

	mu       sync.Mutex
	balances map[entry]*money
	accounts map[string]*pgAccount
	at       map[string]Difference // the last decision of an account
	cards    map[string]string
}

// pgAccount is what accounts.accounts must say.
type pgAccount struct {
	seq   uint64
	state *paymentsv1.Decision // the last that told the account's state
}

func openPostgres(ctx context.Context, a *auditor) (_ *postgresStore, err error) {
	cfg, err := pgxpool.ParseConfig(a.cfg.PostgresDSN)
	if err != nil {
		return nil, fmt.Errorf("parsing the data source name: %w", err)
	}
	cfg.MaxConns = 12 // the snapshot, and a row stream each or a table of two partitions at a time
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	s := &postgresStore{
		auditor: a, pool: pool, next: map[int32]int64{}, from: map[int32]int64{}, balances: map[entry]*money{}, accounts: map[string]*pgAccount{}, at: map[string]Difference{},
		cards: map[string]string{},
	}
	if s.main, err = pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		pool.Close()
		return nil, fmt.Errorf("beginning: %w", err)
	}
	if err := s.begin(ctx); err != nil {
		s.close() //nolint:contextcheck // ends a read, also a cancelled one
		return nil, err
	}
	return s, nil
}

func (s *postgresStore) begin(ctx context.Context) error {
	if err := s.main.QueryRow(ctx, "SELECT pg_export_snapshot()").Scan(&s.snapshot); err != nil {
		return fmt.Errorf("exporting the snapshot: %w", err)
	}
	rows, err := s.main.Query(ctx, "SELECT partition, next_offset, events_from FROM sink.offsets WHERE topic = $1", topics.Decisions)
	if err != nil {
		return fmt.Errorf("reading sink.offsets: %w", err)
	}
	var partition int32
	var next, from int64
	if _, err := pgx.ForEachRow(rows, []any{&partition, &next, &from}, func() error {
		s.next[partition], s.from[partition] = next, from
		return nil
	}); err != nil {
		return fmt.Errorf("reading sink.offsets: %w", err)
	}
	return nil
}

func (s *postgresStore) name() string     { return "postgres" }
func (s *postgresStore) checks() []string { return postgresChecks() }

func (s *postgresStore) close() {
	// The snapshot was only read: a failed end of it changes nothing.
	_ = s.main.Rollback(context.Background())
	s.pool.Close()
}

// look begins a transaction on the snapshot.
func (s *postgresStore) look(ctx context.Context) (pgx.Tx, error) {
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("beginning: %w", err)
	}
	if _, err := tx.Exec(ctx, "SET TRANSACTION SNAPSHOT '"+s.snapshot+"'"); err != nil {
		return nil, errors.Join(fmt.Errorf("taking the snapshot: %w", err), tx.Rollback(ctx))
	}
	return tx, nil
}

// pgMirror is one partition: two streams of rows, and what the mutable tables must come to.
type pgMirror struct {
	*postgresStore
	partition int32
	limit     int64
	txs       []pgx.Tx
	rows      []pgx.Rows
	ctx       context.Context //nolint:containedctx // lives as long as one partition's comparison
	journals  *rowStream
	postings  *rowStream
	events    *rowStream

	payments map[pgPaymentKey]*pgPayment
	newest   map[string]pgPaymentKey // by payment id
	sums     map[entry]*money
	cells    map[string]*pgAccount
	places   map[string]Difference
	cards    map[string]string
	evidence map[string]string
}

func (s *postgresStore) open(ctx context.Context, partition int32) (mirror, error) {
	m := &pgMirror{
		postgresStore: s, partition: partition, limit: s.next[partition], ctx: ctx,
		payments: map[pgPaymentKey]*pgPayment{}, newest: map[string]pgPaymentKey{}, sums: map[entry]*money{},
		cells: map[string]*pgAccount{}, places: map[string]Difference{},
		cards: map[string]string{}, evidence: map[string]string{},
	}
	var err error
	m.journals, err = m.stream(CheckPGJournals, "ledger.journals", 5, []string{
		"account_seq", "command_partition", "command_offset", "accepted_at", "booking_month", "account", "booking_date", "kind", "journals",
		"postings", "payment_id", "currency", "posted_minor", "held_minor", "incoming_minor",
	}, `SELECT log_offset, 0::bigint, account_seq, command_partition::bigint, command_offset, (extract(epoch FROM accepted_at) * 1000000)::bigint,
		(booking_month - DATE '1970-01-01')::bigint, account, (booking_date - DATE '1970-01-01')::bigint, kind::bigint, journals::bigint,
		postings::bigint, payment_id, currency, posted_minor, held_minor, incoming_minor
		FROM ledger.journals JOIN sink.topics USING (topic) WHERE name = $1 AND log_partition = $2 ORDER BY log_offset, booking_month`)
	if err == nil {
		m.postings, err = m.stream(CheckPGPostings, "ledger.postings", 4, []string{
			"amount_minor", "booking_month", "journal_kind", "layer", "account", "currency",
		}, `SELECT log_offset, line::bigint, amount_minor, (booking_month - DATE '1970-01-01')::bigint, journal_kind::bigint, layer::bigint, account, currency
		FROM ledger.postings JOIN sink.topics USING (topic) WHERE name = $1 AND log_partition = $2 ORDER BY log_offset, line, booking_month`)
	}
	if err == nil {
		m.events, err = m.stream(CheckPGEvents, "payments.events", 0, pgEventColumns(), pgEventQuery())
	}
	if err != nil {
		m.close() //nolint:contextcheck // ends a read, also a cancelled one
		return nil, err
	}
	return m, nil
}

// stream opens a query in the order of the log; account is the index of the account among the columns.
func (m *pgMirror) stream(check, table string, account int, columns []string, query string) (*rowStream, error) {
	tx, err := m.look(m.ctx)
	if err != nil {
		return nil, err
	}
	m.txs = append(m.txs, tx)
	rows, err := tx.Query(m.ctx, query, topics.Decisions, m.partition)
	if err != nil {
		return nil, fmt.Errorf("querying %s: %w", table, err)
	}
	m.rows = append(m.rows, rows)
	return &rowStream{
		findings: m.findings, check: check, table: table, partition: m.partition, columns: columns, account: account,
		fetch: func() (place, []any, bool, error) {
			if !rows.Next() {
				return place{}, nil, false, rows.Err()
			}
			values, err := rows.Values()
			if err != nil {
				return place{}, nil, false, err
			}
			return place{values[0].(int64), values[1].(int64)}, values[2:], true, nil //nolint:forcetypeassert // cast in the query
		},
	}, nil
}

func (m *pgMirror) decision(r *kgo.Record, d *paymentsv1.Decision) error {
	if d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_TICK || strings.HasPrefix(d.GetAccount(), "cus_") {
		return nil // leaves no row
	}
	if r.Offset >= m.limit {
		m.findings.behind(Difference{
			Check: CheckPGOffsets, Account: d.GetAccount(), Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
			Detail: fmt.Sprintf("sink.offsets is at %d", m.limit),
		}, 1)
		return nil
	}
	if strings.HasPrefix(d.GetAccount(), "crd_") {
		m.trackCard(d)
		return nil
	}
	m.track(r, d)
	m.trackPayment(r, d)
	if err := m.event(r, d); err != nil {
		return err
	}
	if len(d.GetJournals()) == 0 {
		return nil
	}
	return m.books(r, d)
}

// books compares the immutable rows.
func (m *pgMirror) books(r *kgo.Record, d *paymentsv1.Decision) error {
	month := monthOf(d.GetEffectiveDate())
	line, own := int64(0), ""
	for _, j := range d.GetJournals() {
		for _, p := range j.GetPostings() {
			if p.GetAccount() == d.GetAccount() {
				own = p.GetCurrency()
			}
			e := entry{p.GetAccount(), p.GetCurrency()}
			if m.sums[e] == nil {
				m.sums[e] = &money{}
			}
			m.sums[e].add(j.GetKind(), p)
			if err := m.postings.expect(place{r.Offset, line}, p.GetAccount(), []any{
				p.GetAmountMinor(), month, int64(j.GetKind()), int64(p.GetLayer()), p.GetAccount(), p.GetCurrency(),
			}); err != nil {
				return err
			}
			line++
		}
	}
	balance := &paymentsv1.Balance{}
	for _, b := range d.GetBalances() {
		if b.GetCurrency() == own {
			balance = b
		}
	}
	return m.journals.expect(place{r.Offset, 0}, d.GetAccount(), []any{
		int64(d.GetAccountSeq()), int64(d.GetCommandPartition()), d.GetCommandOffset(), d.GetAcceptedAtUs(), month, d.GetAccount(), //nolint:gosec // a count
		int64(d.GetEffectiveDate()), int64(d.GetKind()), int64(len(d.GetJournals())), line, pgText(d.GetPaymentId()), own,
		balance.GetPostedMinor(), balance.GetHeldMinor(), balance.GetIncomingMinor(),
	})
}

// track follows the account's row.
func (m *pgMirror) track(r *kgo.Record, d *paymentsv1.Decision) {
	a := m.cells[d.GetAccount()]
	if a == nil {
		a = &pgAccount{}
		m.cells[d.GetAccount()] = a
	}
	a.seq = max(a.seq, d.GetAccountSeq())
	if d.GetAccountState() != nil {
		a.state = d
	}
	m.places[d.GetAccount()] = Difference{Account: d.GetAccount(), Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
}

// finish compares the partition's payments, and hands the sums over.
func (m *pgMirror) finish() error {
	m.findings.count(CheckPGOffsets, 1)
	if end := m.extents[topics.Decisions][m.partition].stable; m.limit > end {
		m.findings.differ(Difference{
			Check: CheckPGOffsets, Topic: topics.Decisions, Partition: m.partition, Offset: m.limit,
			Detail: fmt.Sprintf("sink.offsets is at %d, the log ends at %d", m.limit, end),
		})
	}
	for _, s := range []*rowStream{m.journals, m.postings, m.events} {
		if err := s.finish(); err != nil {
			return err
		}
	}
	if err := m.comparePayments(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for e, sum := range m.sums {
		all := m.balances[e]
		if all == nil {
			all = &money{}
			m.balances[e] = all
		}
		all.posted.Add(&all.posted, &sum.posted)
		all.held.Add(&all.held, &sum.held)
		all.incoming.Add(&all.incoming, &sum.incoming)
	}
	maps.Copy(m.accounts, m.cells)
	maps.Copy(m.postgresStore.cards, m.cards)
	maps.Copy(m.at, m.places)
	return nil
}

func (m *pgMirror) close() {
	for _, r := range m.rows {
		r.Close()
	}
	for _, tx := range m.txs {
		_ = tx.Rollback(context.Background()) // only read
	}
}

// finish compares balances and accounts, over all partitions, and looks for what is of none.
func (s *postgresStore) finish(ctx context.Context) error {
	if err := s.strays(ctx); err != nil {
		return err
	}
	if err := s.compareBalances(ctx); err != nil {
		return err
	}
	if err := s.compareTable(ctx, s.main, pgTable{CheckPGAccounts, "accounts.cards", cardRows, 0, nil, s.cards}); err != nil {
		return err
	}
	return s.compareAccounts(ctx)
}

// strays finds rows that name another log, or a partition it does not have. No comparison of a partition meets them, and
// whoever reads an account or a payment does.
func (s *postgresStore) strays(ctx context.Context) error {
	const elsewhere = " WHERE log_partition NOT BETWEEN 0 AND $1 - 1"
	const another = " OR topic NOT IN (SELECT topic FROM sink.topics WHERE name = '" + topics.Decisions + "')"
	for _, t := range []struct{ check, name, of string }{
		{CheckPGJournals, "ledger.journals", elsewhere + another},
		{CheckPGPostings, "ledger.postings", elsewhere + another},
		{CheckPGPayments, "payments.payments", elsewhere},
		{CheckPGEvents, "payments.events", elsewhere},
		{CheckPGPayments, "payments.evidence", elsewhere},
	} {
		var rows int64
		if err := s.main.QueryRow(ctx, "SELECT count(*) FROM "+t.name+t.of, s.cfg.Partitions).Scan(&rows); err != nil {
			return fmt.Errorf("counting strays of %s: %w", t.name, err)
		}
		if rows > 0 {
			s.findings.differ(Difference{
				Check: t.check, Topic: topics.Decisions, Detail: fmt.Sprintf("table %s: %d rows of no partition of the log", t.name, rows),
			})
		}
	}
	return nil
}

func (s *postgresStore) compareBalances(ctx context.Context) error {
	rows, err := s.main.Query(ctx, "SELECT account, currency, posted_minor::text, held_minor::text, incoming_minor::text FROM ledger.account_balances")
	if err != nil {
		return fmt.Errorf("querying ledger.account_balances: %w", err)
	}
	seen := map[entry]bool{}
	var e entry
	var posted, held, incoming string
	_, err = pgx.ForEachRow(rows, []any{&e.account, &e.currency, &posted, &held, &incoming}, func() error {
		seen[e] = true
		want := s.balances[e]
		if want == nil {
			want = &money{}
		}
		s.balance(e, want, fmt.Sprintf("posted %s held %s incoming %s", integral(posted), integral(held), integral(incoming)))
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading ledger.account_balances: %w", err)
	}
	for e, want := range s.balances {
		if !seen[e] && want.String() != new(money).String() {
			s.balance(e, want, "no row")
		}
	}
	return nil
}

func (s *postgresStore) balance(e entry, want *money, got string) {
	s.findings.count(CheckPGBalances, 1)
	if want.String() == got {
		return
	}
	d := s.at[e.account]
	d.Check, d.Account = CheckPGBalances, e.account
	d.Detail = fmt.Sprintf("view ledger.account_balances, %s: want %s, got %s", e.currency, want, got)
	s.findings.differ(d)
}

// integral writes a numeric without its scale.
func integral(s string) string {
	if r, ok := new(big.Rat).SetString(s); ok && r.IsInt() {
		return r.Num().String()
	}
	return s
}

func (s *postgresStore) compareAccounts(ctx context.Context) error {
	rows, err := s.main.Query(ctx, `SELECT account, account_seq::text, coalesce((extract(epoch FROM opened_at) * 1000000)::bigint, 0)::text, overdraft_limit_minor::text,
		kind::text, status::text, kyc_level::text, tenant, merchant, customer, external_id, policy, array_to_string(currencies, ',') FROM accounts.accounts`)
	if err != nil {
		return fmt.Errorf("querying accounts.accounts: %w", err)
	}
	names := []string{"account_seq", "opened_at", "overdraft_limit_minor", "kind", "status", "kyc_level", "tenant", "merchant", "customer", "external_id", "policy", "currencies"}
	var account string
	got := make([]string, len(names))
	into := []any{&account}
	for i := range got {
		into = append(into, &got[i])
	}
	seen := map[string]bool{}
	_, err = pgx.ForEachRow(rows, into, func() error {
		seen[account] = true
		a := s.accounts[account]
		if a == nil {
			s.account(account, "the log has no decision of it")
			return nil
		}
		for i, want := range a.row() {
			if got[i] != want {
				s.account(account, fmt.Sprintf("column %s: want %s, got %s", names[i], want, got[i]))
				return nil
			}
		}
		s.account(account, "")
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading accounts.accounts: %w", err)
	}
	for account := range s.accounts {
		if !seen[account] {
			s.account(account, "no row")
		}
	}
	return nil
}

func (s *postgresStore) account(account, detail string) {
	s.findings.count(CheckPGAccounts, 1)
	if detail == "" {
		return
	}
	d := s.at[account]
	d.Check, d.Account, d.Detail = CheckPGAccounts, account, "table accounts.accounts, "+detail
	s.findings.differ(d)
}

// row is the account's row as text; one that was never opened has nothing but its number.
func (a *pgAccount) row() []string {
	state := a.state.GetAccountState()
	return []string{
		fmt.Sprint(a.seq), fmt.Sprint(state.GetOpenedAtUs()), fmt.Sprint(state.GetOverdraftLimitMinor()), fmt.Sprint(int32(state.GetKind())),
		fmt.Sprint(int32(state.GetStatus())), fmt.Sprint(state.GetKycLevel()), pgText(a.state.GetTenant()), pgText(a.state.GetMerchant()),
		pgText(a.state.GetCustomer()), pgText(state.GetExternalId()), pgText(state.GetPolicy()), strings.Join(state.GetCurrencies(), ","),
	}
}

// pgText is a text as Postgres can hold it: without NUL.
func pgText(s string) string { return strings.ReplaceAll(s, "\x00", "\uFFFD") }

// monthOf gives the first day of a day's month, both as days since 1970. Days outside the years 1 to 9999 count as the nearest inside.
func monthOf(day int32) int64 {
	t := time.Unix(0, 0).UTC().AddDate(0, 0, int(min(max(day, -719_162), 2_932_896)))
	return floorDay(time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC).Unix())
}

func floorDay(seconds int64) int64 {
	d := seconds / 86_400
	if seconds%86_400 < 0 {
		d--
	}
	return d
}

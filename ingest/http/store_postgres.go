package http

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// PostgresStore reads what the Postgres sink wrote. It never writes.
type PostgresStore struct{ pool *pgxpool.Pool }

// OpenPostgresStore makes a pool; it connects when it is first used. Close it.
func OpenPostgresStore(ctx context.Context, dsn string) (*PostgresStore, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("reading the postgres address: %w", err)
	}
	cfg.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	cfg.ConnConfig.RuntimeParams["application_name"] = "caudal-api"
	cfg.ConnConfig.RuntimeParams["TimeZone"] = "UTC"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening the postgres pool: %w", err)
	}
	return &PostgresStore{pool: pool}, nil
}

// Close ends the pool's connections.
func (s *PostgresStore) Close() { s.pool.Close() }

// Ready is nil while Postgres answers.
func (s *PostgresStore) Ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.pool.Ping(ctx); err != nil {
		return fmt.Errorf("reaching postgres: %w", err)
	}
	return nil
}

// An id may have been used anew after its record left: the newest payment is meant.
const paymentSQL = `
SELECT account, kind, outcome, status, reasons, amount_minor, currency, target_amount_minor, target_currency, fee_minor,
       trim_scale(fx_rate)::text, trim_scale(fx_mid)::text, coalesce(fx_spread_bp, 0), method, to_account, related_payment_id,
       refunded_minor, authorized_minor, captured_minor, instrument, fraud_score, effective_date::text, created_at, decided_at, deadline_at, account_seq,
       counterparty_country, sealed_key_id, sealed, connector, rail_reference, quote, card, mcc, acquirer, card_acceptor, rrn, created_month, created_seq
FROM payments.payments WHERE payment_id = $1 AND tenant = $2 AND merchant = $3 ORDER BY created_month DESC LIMIT 1`

// Payment reads the latest state of a payment.
func (s *PostgresStore) Payment(ctx context.Context, owner Owner, id payment.ID) (*PaymentView, error) {
	v := &PaymentView{PaymentID: string(id), Sealed: &paymentsv1.Sealed{}}
	var kind, outcome, status, score int16
	var reasons []int16
	var rate, mid *string
	var spread int32
	var deadline *time.Time
	var related string
	var authorized, captured, created int64
	var month time.Time
	err := s.pool.QueryRow(ctx, paymentSQL, string(id), owner.Tenant, owner.Merchant).Scan(
		&v.AccountID, &kind, &outcome, &status, &reasons, &v.Amount, &v.Currency, &v.TargetAmount, &v.TargetCurrency, &v.Fee,
		&rate, &mid, &spread, &v.Method, &v.ToAccountID, &related, &v.RefundedAmount, &authorized, &captured, &v.Instrument, &score, &v.EffectiveDate,
		&v.CreatedAt, &v.UpdatedAt, &deadline, &v.AccountSeq, &v.CounterpartyCountry, &v.Sealed.KeyId, &v.Sealed.Ciphertext,
		&v.Connector, &v.RailReference, &v.Quote, &v.Card, &v.MCC, &v.Acquirer, &v.CardAcceptor, &v.RRN, &month, &created)
	if err == nil {
		err = s.rail(ctx, v, related, month, created)
	}
	if err != nil {
		return nil, readError("payment", err)
	}
	v.Kind, v.Decision = payment.Kind(kind).String(), payment.Outcome(outcome).String() //nolint:gosec // the enums' numbers fit a byte
	v.Status, v.FraudScore = payment.Status(status).String(), uint32(score)             //nolint:gosec // fits a byte; 0 to 1000
	v.Reasons = reasonWords(reasons)
	if rate != nil && mid != nil {
		v.FX = &FXView{Rate: *rate, Mid: *mid, SpreadBP: spread}
	}
	switch k := payment.Kind(kind); { //nolint:gosec // the enum's numbers fit a byte
	case k == payment.KindRefund:
		v.RefundedPaymentID = related
	case k.Operation(), k == payment.KindClearing, k == payment.KindDispute, k == payment.KindFXQuote:
		v.RelatedPaymentID = related
	case k == payment.KindPayIn && v.Method == methodCard, k == payment.KindAuthorization:
		v.AuthorizedAmount, v.CapturedAmount = &authorized, &captured
	}
	if deadline != nil {
		v.due(payment.Status(status), deadline.UTC()) //nolint:gosec // the enum's numbers fit a byte
	}
	v.CreatedAt, v.UpdatedAt = v.CreatedAt.UTC(), v.UpdatedAt.UTC()
	if v.Sealed.GetKeyId() == "" {
		v.Sealed = nil
	}
	return v, nil
}

// due says what a deadline is for. One that has passed its purpose is not shown.
func (v *PaymentView) due(status payment.Status, at time.Time) {
	switch status {
	case payment.StatusInReview:
		v.ReviewDeadline = at
	case payment.StatusRequiresCapture, payment.StatusPartiallyCaptured:
		v.ExpiresAt = at
	case payment.StatusCreated: // of a quote: payouts have no deadline
		v.ExpiresAt = at
	default:
	}
}

const quoteSQL = `
SELECT account, status, reasons, amount_minor, currency, target_amount_minor, target_currency, trim_scale(fx_rate)::text, trim_scale(fx_mid)::text,
       coalesce(fx_spread_bp, 0), created_at, deadline_at, related_payment_id, account_seq
FROM payments.payments WHERE payment_id = $1 AND tenant = $2 AND merchant = $3 ORDER BY created_month DESC LIMIT 1`

// Quote reads where a quote stands.
func (s *PostgresStore) Quote(ctx context.Context, owner Owner, id payment.ID) (*QuoteView, error) {
	v := &QuoteView{QuoteID: string(id)}
	var status int16
	var reasons []int16
	var rate, mid *string
	var spread int32
	var deadline *time.Time
	err := s.pool.QueryRow(ctx, quoteSQL, string(id), owner.Tenant, owner.Merchant).Scan(&v.AccountID, &status, &reasons, &v.Amount, &v.Currency,
		&v.TargetAmount, &v.TargetCurrency, &rate, &mid, &spread, &v.CreatedAt, &deadline, &v.PaymentID, &v.AccountSeq)
	if err != nil {
		return nil, readError("quote", err)
	}
	v.Status, v.Reasons, v.CreatedAt = payment.Status(status).String(), reasonWords(reasons), v.CreatedAt.UTC() //nolint:gosec // fits a byte
	if rate != nil && mid != nil {
		v.FX = &FXView{Rate: *rate, Mid: *mid, SpreadBP: spread}
	}
	if deadline != nil {
		v.ExpiresAt = deadline.UTC()
	}
	return v, nil
}

const disputeSQL = `
SELECT payment_id, related_payment_id, account, status, reasons, amount_minor, currency, target_amount_minor, target_currency, fee_minor, reason_code,
       connector, rail_reference, deadline_at, created_at, decided_at, account_seq
FROM payments.payments WHERE kind = 70 AND tenant = $1 AND merchant = $2 AND `

func scanDispute(row pgx.CollectableRow) (DisputeView, error) {
	v := DisputeView{Evidence: []EvidenceFile{}}
	var status int16
	var reasons []int16
	var deadline *time.Time
	err := row.Scan(&v.DisputeID, &v.PaymentID, &v.AccountID, &status, &reasons, &v.Amount, &v.Currency, &v.TargetAmount, &v.TargetCurrency, &v.Fee,
		&v.ReasonCode, &v.Connector, &v.Reference, &deadline, &v.CreatedAt, &v.UpdatedAt, &v.AccountSeq)
	v.Status, v.Reasons = payment.Status(status).String(), reasonWords(reasons) //nolint:gosec // fits a byte
	v.CreatedAt, v.UpdatedAt = v.CreatedAt.UTC(), v.UpdatedAt.UTC()
	if deadline != nil {
		v.EvidenceUntil = deadline.UTC()
	}
	return v, err
}

// Dispute reads where a dispute stands, with its evidence.
func (s *PostgresStore) Dispute(ctx context.Context, owner Owner, id payment.ID) (*DisputeView, error) {
	rows, err := s.pool.Query(ctx, disputeSQL+`payment_id = $3 ORDER BY created_month DESC LIMIT 1`, owner.Tenant, owner.Merchant, string(id))
	if err != nil {
		return nil, readError("dispute", err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, scanDispute)
	if err != nil {
		return nil, readError("dispute", err)
	}
	rows, err = s.pool.Query(ctx, `SELECT reference, sha256, kind FROM payments.evidence WHERE dispute_id = $1 AND told_at >= $2 ORDER BY log_offset, line`,
		string(id), v.CreatedAt)
	if err != nil {
		return nil, readError("evidence", err)
	}
	if v.Evidence, err = pgx.CollectRows(rows, pgx.RowToStructByPos[EvidenceFile]); err != nil {
		return nil, readError("evidence", err)
	}
	return &v, nil
}

// Disputes reads a page. One more than asked for tells whether there are more.
func (s *PostgresStore) Disputes(ctx context.Context, owner Owner, q DisputesQuery) (*DisputesPage, error) {
	sql, args := disputeSQL+"true", []any{owner.Tenant, owner.Merchant}
	where := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(args)), 1)
		}
		sql += " AND " + condition
	}
	if q.Account != "" {
		where("account = ?", string(q.Account))
	}
	if q.Status != payment.StatusNone {
		where("status = ?", int16(q.Status))
	}
	if q.After != (DisputesCursor{}) {
		where("(created_at, payment_id) < (?, ?)", time.UnixMicro(q.After.CreatedAtUS), string(q.After.ID))
	}
	args = append(args, q.Limit+1)
	rows, err := s.pool.Query(ctx, sql+" ORDER BY created_at DESC, payment_id DESC LIMIT $"+strconv.Itoa(len(args)), args...)
	if err != nil {
		return nil, readError("disputes", err)
	}
	page := &DisputesPage{}
	if page.Disputes, err = pgx.CollectRows(rows, scanDispute); err != nil {
		return nil, readError("disputes", err)
	}
	if len(page.Disputes) > q.Limit {
		page.Disputes, page.HasMore = page.Disputes[:q.Limit], true
	}
	return page, nil
}

// Account reads an account. A key that was addressed and never opened is not one.
func (s *PostgresStore) Account(ctx context.Context, owner Owner, id payment.AccountID) (*AccountView, error) {
	v := &AccountView{AccountID: string(id)}
	var kind, status, level int16
	err := s.pool.QueryRow(ctx, `
SELECT external_id, customer, kind, status, currencies, kyc_level, overdraft_limit_minor, policy, opened_at, account_seq
FROM accounts.accounts WHERE account = $1 AND tenant = $2 AND merchant = $3 AND status <> 0`,
		string(id), owner.Tenant, owner.Merchant).Scan(&v.ExternalID, &v.CustomerID, &kind, &status, &v.Currencies, &level,
		&v.OverdraftLimit, &v.Policy, &v.OpenedAt, &v.AccountSeq)
	if err != nil {
		return nil, readError("account", err)
	}
	v.Kind, v.Status = AccountKindWord(paymentsv1.AccountKind(kind)), accountStatusWord(paymentsv1.AccountStatus(status))
	v.KYCLevel, v.OpenedAt = uint32(level), v.OpenedAt.UTC() //nolint:gosec // 0 to 3
	return v, nil
}

func accountStatusWord(s paymentsv1.AccountStatus) string {
	switch s {
	case paymentsv1.AccountStatus_ACCOUNT_STATUS_OPEN:
		return "open"
	case paymentsv1.AccountStatus_ACCOUNT_STATUS_BLOCKED:
		return "blocked"
	case paymentsv1.AccountStatus_ACCOUNT_STATUS_CLOSED:
		return "closed"
	default:
		return "unknown"
	}
}

// Balances reads all currencies and the sequence in one statement, so that they belong together.
func (s *PostgresStore) Balances(ctx context.Context, owner Owner, id payment.AccountID) (*BalancesView, error) {
	rows, err := s.pool.Query(ctx, `
SELECT a.account_seq, c.currency, coalesce(b.posted_minor, 0), coalesce(b.held_minor, 0)
FROM accounts.accounts a CROSS JOIN unnest(a.currencies) WITH ORDINALITY c(currency, n)
LEFT JOIN ledger.balances b ON b.account = a.account AND b.currency = c.currency
WHERE a.account = $1 AND a.tenant = $2 AND a.merchant = $3 AND a.status <> 0 ORDER BY c.n`,
		string(id), owner.Tenant, owner.Merchant)
	if err != nil {
		return nil, readError("balances", err)
	}
	v := &BalancesView{}
	v.Balances, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (BalanceView, error) {
		b := BalanceView{}
		err := row.Scan(&v.AccountSeq, &b.Currency, &b.Posted, &b.Held)
		b.Available = b.Posted - b.Held
		return b, err
	})
	if err != nil {
		return nil, readError("balances", err)
	}
	if len(v.Balances) == 0 {
		return nil, readError("balances", pgx.ErrNoRows)
	}
	return v, nil
}

const statementSQL = `
SELECT j.account_seq, p.line, j.payment_id, j.kind, p.journal_kind, p.currency, p.amount_minor, j.booking_date::text, j.accepted_at
FROM ledger.journals j
JOIN ledger.postings p USING (topic, log_partition, log_offset, booking_month)
WHERE j.account = $1 AND j.account_seq >= $2 AND (j.account_seq > $2 OR p.line > $3) AND p.account = $1 AND p.layer = $4
ORDER BY j.account_seq, p.line LIMIT $5`

// Statement reads a page of posted lines. One more than asked for tells whether there are more.
func (s *PostgresStore) Statement(ctx context.Context, owner Owner, q StatementQuery) (*StatementPage, error) {
	account, err := s.Account(ctx, owner, q.Account)
	if err != nil {
		return nil, err
	}
	after := q.After
	if after == (StatementCursor{}) {
		after.Line = -1 // lines begin at 0, sequences at 1
	}
	rows, err := s.pool.Query(ctx, statementSQL, string(q.Account), int64(after.AccountSeq), after.Line, int16(ledger.LayerPosted), q.Limit+1) //nolint:gosec // a sequence counts from 1
	if err != nil {
		return nil, readError("statement", err)
	}
	page := &StatementPage{AccountSeq: account.AccountSeq}
	page.Lines, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (StatementLine, error) {
		l := StatementLine{}
		var kind, journal int16
		err := row.Scan(&l.AccountSeq, &l.Line, &l.PaymentID, &kind, &journal, &l.Currency, &l.Amount, &l.EffectiveDate, &l.DecidedAt)
		l.Kind, l.Journal, l.DecidedAt = payment.Kind(kind).String(), ledger.JournalKind(journal).String(), l.DecidedAt.UTC() //nolint:gosec // numbers of the wire format
		return l, err
	})
	if err != nil {
		return nil, readError("statement", err)
	}
	if len(page.Lines) > q.Limit {
		page.Lines, page.HasMore = page.Lines[:q.Limit], true
	}
	return page, nil
}

const (
	seqPollFirst = 5 * time.Millisecond
	seqPollMost  = 100 * time.Millisecond
)

// WaitSeq asks again and again: the sink commits some times a second, and few callers wait.
func (s *PostgresStore) WaitSeq(ctx context.Context, account payment.AccountID, seq uint64) error {
	for pause := seqPollFirst; ; pause = min(2*pause, seqPollMost) {
		var there uint64
		err := s.pool.QueryRow(ctx, `SELECT account_seq FROM accounts.accounts WHERE account = $1`, string(account)).Scan(&there)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("reading the account's sequence: %w", err)
		}
		if there >= seq {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func readError(what string, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("reading %s: %w", what, ErrNotFound)
	}
	return fmt.Errorf("reading %s: %w", what, err)
}

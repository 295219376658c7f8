package http

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/caudalpay/caudal/processors/payment"
)

// ErrAmbiguous says that several are meant, and that none may be taken for the one.
var ErrAmbiguous = errors.New("ambiguous")

// RailName is what a processor calls a pay-in by card: by its own reference, or by the number under which the card network knows
// the transaction too. One of the two is enough.
type RailName struct{ Connector, Reference, TID string }

// RailPayIn is a pay-in by card that a processor has named.
type RailPayIn struct {
	ID            payment.ID
	Currency      string // ISO 4217
	CapturedMinor int64  // in Currency
}

// The conditions beside the parameters are those of the partial indexes.
const (
	byReferenceSQL = `SELECT payment_id, currency, max(captured_minor) FROM payments.payments
WHERE connector = $1 AND rail_reference = $2 AND kind = 10 AND rail_reference <> '' GROUP BY payment_id, currency LIMIT 2`
	byTIDSQL = `SELECT p.payment_id, p.currency, max(p.captured_minor) FROM payments.events e JOIN payments.payments p ON p.payment_id = e.payment_id AND p.kind = 10
WHERE e.connector = $1 AND e.rail_tid = $2 AND e.rail_tid <> '' GROUP BY p.payment_id, p.currency LIMIT 2`
	takenSQL = `SELECT coalesce(sum(amount_minor) FILTER (WHERE payment_id <> $2 AND status IN (18, 19, 21)), 0)::bigint, coalesce(bool_or(payment_id = $2), false)
FROM payments.payments WHERE related_payment_id = $1 AND kind = 70`
)

// PayInByRail finds the pay-in that a processor names, whoever owns it: it is for what the processor tells, not for callers.
// ErrNotFound: none, or none yet; ErrAmbiguous: more than one.
func (s *PostgresStore) PayInByRail(ctx context.Context, name RailName) (RailPayIn, error) {
	query, text := byReferenceSQL, name.Reference
	if text == "" {
		query, text = byTIDSQL, name.TID
	}
	if text == "" || strings.ContainsRune(text, 0) { // which Postgres neither takes nor has
		return RailPayIn{}, fmt.Errorf("reading pay-in of %s: %w", name.Connector, ErrNotFound)
	}
	rows, err := s.pool.Query(ctx, query, name.Connector, text)
	if err != nil {
		return RailPayIn{}, readError("pay-in by rail", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct {
		ID, Currency  string
		CapturedMinor int64
	}])
	switch {
	case err != nil:
		return RailPayIn{}, readError("pay-in by rail", err)
	case len(found) == 0:
		return RailPayIn{}, fmt.Errorf("reading pay-in of %s: %w", name.Connector, ErrNotFound)
	case len(found) > 1:
		return RailPayIn{}, fmt.Errorf("reading pay-in %s of %s: %w", text, name.Connector, ErrAmbiguous)
	}
	id, err := payment.ParseID(found[0].ID)
	if err != nil {
		return RailPayIn{}, fmt.Errorf("reading pay-in by rail: %w", err)
	}
	return RailPayIn{ID: id, Currency: found[0].Currency, CapturedMinor: found[0].CapturedMinor}, nil
}

// TakenByOthers is what disputes other than this one have taken of a pay-in and not given back, in its currency, and whether this
// one has a record.
func (s *PostgresStore) TakenByOthers(ctx context.Context, payIn, dispute payment.ID) (takenMinor int64, recorded bool, err error) {
	if err := s.pool.QueryRow(ctx, takenSQL, string(payIn), string(dispute)).Scan(&takenMinor, &recorded); err != nil {
		return 0, false, readError("disputes of a pay-in", err)
	}
	return takenMinor, recorded, nil
}

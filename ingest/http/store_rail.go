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
	ID       payment.ID
	Currency string // ISO 4217
}

// The conditions beside the parameters are those of the partial indexes.
const (
	byReferenceSQL = `SELECT DISTINCT payment_id, currency FROM payments.payments
WHERE connector = $1 AND rail_reference = $2 AND kind = 10 AND rail_reference <> '' LIMIT 2`
	byTIDSQL = `SELECT DISTINCT p.payment_id, p.currency FROM payments.events e JOIN payments.payments p ON p.payment_id = e.payment_id AND p.kind = 10
WHERE e.connector = $1 AND e.rail_tid = $2 AND e.rail_tid <> '' LIMIT 2`
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
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ ID, Currency string }])
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
	return RailPayIn{ID: id, Currency: found[0].Currency}, nil
}

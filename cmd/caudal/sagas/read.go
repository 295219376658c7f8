package sagas

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caudalpay/caudal/processors/payment"
)

// Filter chooses among what waits.
type Filter struct {
	Stuck         bool
	Saga, Account string // empty: any
}

// Line is a payment, or an operation on one, that waits at a step.
type Line struct {
	Saga     string     `json:"saga"`
	Step     string     `json:"step"`
	Payment  string     `json:"payment_id"`
	Account  string     `json:"account"`
	Status   string     `json:"status"`
	Since    time.Time  `json:"since"` // of the decision that set the status
	WaitsFor string     `json:"waits_for"`
	Deadline *time.Time `json:"deadline"` // the record's own
	StuckAt  *time.Time `json:"stuck_at"` // null: never
	Stuck    bool       `json:"stuck"`
}

// row is what Postgres knows of a payment.
type row struct {
	ID        string
	Kind      int16
	Status    int16
	Method    string
	Converted bool
	Account   string
	DecidedAt time.Time
	Deadline  *time.Time
}

const columns = `SELECT payment_id, kind, status, method, currency <> target_currency, account, decided_at, deadline_at FROM payments.payments `

// Read lists what waits, the longest first.
func Read(ctx context.Context, conn *pgx.Conn, f Filter, now time.Time) ([]Line, error) {
	rows, err := conn.Query(ctx, columns+`WHERE status = ANY($1) AND ($2 = '' OR account = $2) ORDER BY decided_at, payment_id`, statuses(), f.Account)
	if err != nil {
		return nil, fmt.Errorf("reading payments: %w", err)
	}
	lines := []Line{}
	for rows.Next() {
		r, err := pgx.RowToStructByPos[row](rows)
		if err != nil {
			rows.Close()
			return nil, fmt.Errorf("reading payments: %w", err)
		}
		if l, waits := r.line(now); waits && (f.Saga == "" || f.Saga == l.Saga) && (!f.Stuck || l.Stuck) {
			lines = append(lines, l)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading payments: %w", err)
	}
	return lines, nil
}

// statuses are those in which anything waits.
func statuses() (all []int16) {
	for _, step := range payment.Sagas() {
		for _, s := range step.Waits {
			all = append(all, int16(s))
		}
	}
	return all
}

// saga is the row's. That a card payment is captured by command shows in its status alone.
func (r *row) saga() string {
	capture := payment.CaptureUnspecified
	if s := payment.Status(r.Status); s == payment.StatusRequiresCapture || s == payment.StatusPartiallyCaptured { //nolint:gosec // written from one
		capture = payment.CaptureManual
	}
	return payment.SagaName(payment.Kind(r.Kind), r.Method, capture, r.Converted) //nolint:gosec // written from one
}

// line says where the row waits; false where it does not.
func (r *row) line(now time.Time) (Line, bool) {
	status := payment.Status(r.Status)                                      //nolint:gosec // written from one
	step, ok := payment.StepWaiting(r.saga(), payment.Kind(r.Kind), status) //nolint:gosec // written from one
	if !ok {
		return Line{}, false
	}
	l := Line{
		Saga: step.Saga, Step: step.Name, Payment: r.ID, Account: r.Account, Status: status.String(), Since: r.DecidedAt.UTC(),
		WaitsFor: waitsFor(&step),
	}
	deadlineUS := int64(0)
	if r.Deadline != nil {
		at := r.Deadline.UTC()
		l.Deadline, deadlineUS = &at, at.UnixMicro()
	}
	if atUS, some := step.StuckAtUS(r.DecidedAt.UnixMicro(), deadlineUS); some {
		at := time.UnixMicro(atUS).UTC()
		l.StuckAt, l.Stuck = &at, now.After(at)
	}
	return l, true
}

func waitsFor(step *payment.SagaStep) string {
	switch {
	case step.Order != payment.OrderUnknown:
		return "the answer to " + step.Asks
	case step.Asks != "":
		return step.Asks
	default:
		return "its rail"
	}
}

// state is a payment and the steps of its saga.
type state struct {
	Saga    string      `json:"saga"`
	Payment string      `json:"payment_id"`
	Account string      `json:"account"`
	Status  string      `json:"status"`
	Since   time.Time   `json:"since"`
	Steps   []stateStep `json:"steps"`
}

type stateStep struct {
	Step   string `json:"step"`
	Record string `json:"record"`
	Asks   string `json:"asks"`
	Waits  string `json:"waits"`
	Undone string `json:"undone"`
	Here   bool   `json:"here"`
}

// read is a payment and where it stands in its saga.
func read(ctx context.Context, conn *pgx.Conn, id string) (state, error) {
	rows, err := conn.Query(ctx, columns+`WHERE payment_id = $1`, id)
	if err != nil {
		return state{}, fmt.Errorf("reading payment %s: %w", id, err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[row])
	if errors.Is(err, pgx.ErrNoRows) {
		return state{}, fmt.Errorf("payment %s is not in the store", id)
	}
	if err != nil {
		return state{}, fmt.Errorf("reading payment %s: %w", id, err)
	}
	status := payment.Status(r.Status) //nolint:gosec // written from one
	s := state{Saga: r.saga(), Payment: r.ID, Account: r.Account, Status: status.String(), Since: r.DecidedAt.UTC()}
	here, waits := payment.StepWaiting(s.Saga, payment.Kind(r.Kind), status) //nolint:gosec // written from one
	for _, step := range payment.Sagas() {
		if step.Saga != s.Saga {
			continue
		}
		words := make([]string, len(step.Waits))
		for i, w := range step.Waits {
			words[i] = w.String()
		}
		undone := ""
		if step.Undoable {
			undone = step.Undone.String()
		}
		s.Steps = append(s.Steps, stateStep{
			Step: step.Name, Record: step.Record.String(), Asks: step.Asks, Waits: strings.Join(words, ", "), Undone: undone,
			Here: waits && step.Name == here.Name && step.Record == here.Record,
		})
	}
	return s, nil
}

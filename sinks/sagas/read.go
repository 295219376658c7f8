// Package sagas reads from the Postgres store which payments wait at which step of what takes more than one decision, and counts
// those that have waited too long. What the steps are is processors/payment's to say; it changes nothing.
package sagas

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	where, args := `status = ANY($2)`, []any{f.Account, statuses()}
	if f.Stuck {
		where, args = stuck(f.Account, now)
	}
	rows, err := conn.Query(ctx, columns+`WHERE ($1 = '' OR account = $1) AND `+where+` ORDER BY decided_at, payment_id`, args...)
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

// stuck is the condition of what may be stuck, so put that the index payments_waiting serves it: its own predicate in full, and
// then for each kind and status what the index holds behind them. Whether a row is stuck in its saga is line's to say.
func stuck(account string, now time.Time) (where string, args []any) {
	args = []any{account}
	var statuses, steps []string
	seen := map[string]bool{}
	for _, step := range payment.Sagas() {
		if step.StuckAfterUS == 0 {
			continue
		}
		since := "decided_at"
		if step.FromDeadline {
			since = "deadline_at"
		}
		for _, s := range step.Waits {
			statuses = append(statuses, fmt.Sprint(uint8(s)))
			key := fmt.Sprintf("kind = %d AND status = %d AND %s < $", step.Record, s, since)
			unique := fmt.Sprint(key, step.StuckAfterUS)
			if seen[unique] {
				continue
			}
			seen[unique] = true
			args = append(args, now.Add(-time.Duration(step.StuckAfterUS)*time.Microsecond))
			steps = append(steps, fmt.Sprint(key, len(args)))
		}
	}
	slices.Sort(statuses)
	return fmt.Sprintf("status IN (%s) AND kind <> %d AND (%s)", strings.Join(slices.Compact(statuses), ", "), payment.KindFXQuote, strings.Join(steps, " OR ")), args
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

// State is a payment and the steps of its saga.
type State struct {
	Saga    string      `json:"saga"`
	Payment string      `json:"payment_id"`
	Account string      `json:"account"`
	Status  string      `json:"status"`
	Since   time.Time   `json:"since"`
	Steps   []StateStep `json:"steps"`
}

// StateStep is one step, and whether the payment waits there.
type StateStep struct {
	Step   string `json:"step"`
	Record string `json:"record"`
	Asks   string `json:"asks"`
	Waits  string `json:"waits"`
	Undone string `json:"undone"`
	Here   bool   `json:"here"`
}

// ReadOne is a payment and where it stands in its saga.
func ReadOne(ctx context.Context, conn *pgx.Conn, id string) (State, error) {
	rows, err := conn.Query(ctx, columns+`WHERE payment_id = $1`, id)
	if err != nil {
		return State{}, fmt.Errorf("reading payment %s: %w", id, err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[row])
	if errors.Is(err, pgx.ErrNoRows) {
		return State{}, fmt.Errorf("payment %s is not in the store", id)
	}
	if err != nil {
		return State{}, fmt.Errorf("reading payment %s: %w", id, err)
	}
	status := payment.Status(r.Status) //nolint:gosec // written from one
	s := State{Saga: r.saga(), Payment: r.ID, Account: r.Account, Status: status.String(), Since: r.DecidedAt.UTC()}
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
		s.Steps = append(s.Steps, StateStep{
			Step: step.Name, Record: step.Record.String(), Asks: step.Asks, Waits: strings.Join(words, ", "), Undone: undone,
			Here: waits && step.Name == here.Name && step.Record == here.Record,
		})
	}
	return s, nil
}

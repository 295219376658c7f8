package rails

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caudalpay/caudal/ingest/disputes"
	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/ingest/http"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/sinks/rails/cards"
)

// decisionWait is how long an account has to decide about a dispute. A worker that is started again takes about a second.
const decisionWait = 5 * time.Second

// PayIns find the pay-in that a processor names. Their errors are those of http.PostgresStore.
type PayIns interface {
	PayInByRail(ctx context.Context, name http.RailName) (http.RailPayIn, error)
}

// Teller takes what processors notify of disputes to the log, as the door takes what an operator tells. It implements
// cards.Disputes: connectors and door do not know each other.
type Teller struct {
	PayIns   PayIns
	Commands door.Commands
	Accounts door.Accounts
	Pins     door.Pins
	Hash     func(b, canonical []byte) []byte // the keyed hash of bodies
	Now      func() time.Time
}

var _ cards.Disputes = (*Teller)(nil)

// findWait is how long the store may take: one that hangs must not hold up the notifications behind a dispute.
const findWait = 5 * time.Second

func (t *Teller) find(ctx context.Context, name http.RailName) (http.RailPayIn, error) {
	ctx, cancel := context.WithTimeout(ctx, findWait)
	defer cancel()
	return t.PayIns.PayInByRail(ctx, name) //nolint:wrapcheck // Tell says what it was doing
}

// Tell implements cards.Disputes.
func (t *Teller) Tell(ctx context.Context, n *railsv1.Notification) (*paymentsv1.Decision, error) {
	found, err := t.find(ctx, http.RailName{Connector: n.GetProcessor(), Reference: n.GetReference(), TID: n.GetDispute().GetTid()})
	switch {
	case errors.Is(err, http.ErrNotFound):
		return nil, fmt.Errorf("%w: %w", cards.ErrNoPayIn, err)
	case errors.Is(err, http.ErrAmbiguous):
		return nil, fmt.Errorf("%w: %w", cards.ErrContradicted, err)
	case err != nil:
		return nil, fmt.Errorf("looking for the pay-in: %w", err)
	}
	if told := n.GetDispute().GetCurrency(); told != "" && told != found.Currency {
		return nil, fmt.Errorf("%w: a dispute in %s of a pay-in in %s", cards.ErrContradicted, told, found.Currency)
	}
	id := found.ID.Account()
	account, ok := t.Accounts.Account(id)
	if !ok {
		return nil, fmt.Errorf("account %s is not in the directory yet", id)
	}
	pins, err := t.Pins.Pin(account.Policy)
	if err != nil {
		return nil, fmt.Errorf("pinning reference data: %w", err)
	}
	told := disputes.Notified(n, found.ID)
	decision, err := t.Commands.SubmitAndWait(ctx, string(id), told.Command(&account, pins, t.Now(), t.Hash), decisionWait)
	if errors.Is(err, door.ErrPending) {
		return nil, fmt.Errorf("%w: %w", cards.ErrUndecided, err)
	}
	if err != nil {
		return nil, fmt.Errorf("submitting: %w", err)
	}
	return decision, nil
}

package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/caudalpay/caudal/cmd/railsim/cards"
	"github.com/caudalpay/caudal/cmd/railsim/faults"
	"github.com/caudalpay/caudal/cmd/railsim/wire"
)

// disputed is POST /disputes: a holder's bank says something of a charge, and the acquirer tells it by webhook.
type disputed struct {
	Connector string      `json:"connector"` // cielo, rede, pagarme
	Charge    string      `json:"charge"`    // the connector's own id: PaymentId, tid, charge
	Stage     cards.Stage `json:"stage"`
	Amount    int64       `json:"amount"` // minor units; 0: all that was captured
	Reason    string      `json:"reason"` // the network's code
}

// disputeView answers it.
type disputeView struct {
	ID          string      `json:"id"`
	Stage       cards.Stage `json:"stage"`
	AmountMinor int64       `json:"amount_minor"`
}

// contestant is an acquirer whose charges may be disputed.
type contestant struct {
	vault *cards.Vault
	tells func(cards.Stage) bool // by webhook
}

func (s *Server) dispute(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, format string, args ...any) {
		faults.Write(w, faults.Answer{Status: status, Body: wire.Marshal(struct {
			Error string `json:"error"`
		}{fmt.Sprintf(format, args...)})})
	}
	var q disputed
	if _, err := wire.Read(w, r, &q); err != nil {
		refuse(http.StatusBadRequest, "%v", err)
		return
	}
	of, known := s.contestants[q.Connector]
	switch {
	case !known:
		refuse(http.StatusBadRequest, "connector %q: choose cielo, rede or pagarme", q.Connector)
		return
	case !slices.Contains(cards.Stages(), q.Stage):
		refuse(http.StatusBadRequest, "stage %q: choose from %v", q.Stage, cards.Stages())
		return
	case !of.tells(q.Stage):
		refuse(http.StatusUnprocessableEntity, "%s tells no stage %q by webhook", q.Connector, q.Stage)
		return
	case q.Amount < 0:
		refuse(http.StatusBadRequest, "amount %d: above zero, or 0 for all that was captured", q.Amount)
		return
	}
	c, err := of.vault.Dispute(q.Charge, q.Stage, q.Amount, q.Reason)
	switch {
	case errors.Is(err, cards.ErrUnknown):
		refuse(http.StatusNotFound, "%s has no charge %q", q.Connector, q.Charge)
	case errors.Is(err, cards.ErrState):
		refuse(http.StatusConflict, "nothing of charge %q was captured", q.Charge)
	case errors.Is(err, cards.ErrAmount):
		refuse(http.StatusUnprocessableEntity, "amount %d: %d was captured", q.Amount, c.CapturedMinor)
	case err != nil:
		refuse(http.StatusInternalServerError, "%v", err)
	default:
		faults.Write(w, faults.Answer{Status: http.StatusCreated, Body: wire.Marshal(disputeView{ID: c.Dispute.ID, Stage: c.Dispute.Stage, AmountMinor: c.Dispute.AmountMinor})})
	}
}

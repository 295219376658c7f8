package webhooks

import (
	"cmp"
	"strings"

	"github.com/go-json-experiment/json"

	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// pagarmeBody is an event of Pagar.me's API v5 (docs.pagar.me, "Exemplo de webhook"; connect-v2.stone.com.br, "Retorno
// webhook"): an envelope around the charge or order as a query tells it. It comes with HTTP Basic, where that is switched on,
// and is not signed. That a holder contests is an event of the charge (charge.chargedback), without an id of its own.
//
// Not checked: the shape of what a gateway's customer is told of a chargeback, who does not get that event; how much is taken of a
// charge that was given back in part; what is told when it is won or lost.
type pagarmeBody struct {
	ID        string        `json:"id"`
	Type      string        `json:"type"`
	CreatedAt string        `json:"created_at"`
	Data      pagarmeCharge `json:"data"`
}

// pagarmeCharge is a charge, or an order, which has charges.
type pagarmeCharge struct {
	ID             string `json:"id"`
	Code           string `json:"code"`
	Status         string `json:"status"`
	Amount         minor  `json:"amount"`
	PaidAmount     minor  `json:"paid_amount"`
	CanceledAmount minor  `json:"canceled_amount"`
	Currency       string `json:"currency"`
	ReasonCode     text   `json:"reason_code"`
	Order          struct {
		Code string `json:"code"`
	} `json:"order"`
	Last struct {
		Status string `json:"status"`
	} `json:"last_transaction"`
	Charges []struct {
		ID string `json:"id"`
	} `json:"charges"`
}

func readPagarme(body []byte, n *railsv1.Notification) error {
	var b pagarmeBody
	if err := json.Unmarshal(body, &b); err != nil || b.ID == "" || b.Type == "" {
		return errNotUnderstood
	}
	n.EventId, n.Type, n.Kind = b.ID, b.Type, other
	c := b.Data
	switch subject, what, _ := strings.Cut(b.Type, "."); {
	case subject == "charge":
		n.Kind, n.Reference, n.OwnReference = payment, c.ID, cmp.Or(c.Order.Code, c.Code)
		c.claim(n)
		if what == "chargedback" {
			n.Kind, n.Dispute = dispute, &railsv1.NotifiedDispute{
				Id: c.ID, Stage: railsv1.DisputeStage_DISPUTE_STAGE_DISPUTE, StageWord: what,
				AmountMinor: int64(cmp.Or(c.PaidAmount, c.Amount)), Currency: c.Currency, ReasonCode: string(c.ReasonCode), OccurredAtUs: moment(b.CreatedAt),
			}
		}
	case subject == "order" && c.Code != "":
		n.Kind, n.OwnReference = payment, c.Code
		if len(c.Charges) == 1 {
			n.Reference = c.Charges[0].ID
		}
	}
	return nil
}

// claim is how the charge is said to stand, read as the connector reads a query.
func (c pagarmeCharge) claim(n *railsv1.Notification) {
	n.AuthorizedMinor, n.CapturedMinor, n.ReturnedMinor = int64(c.Amount), int64(c.PaidAmount), int64(c.CanceledAmount)
	switch c.Status {
	case "paid", "overpaid", "underpaid", "chargedback":
		n.State = railsv1.NotifiedState_NOTIFIED_STATE_CAPTURED
	case "canceled":
		n.State = railsv1.NotifiedState_NOTIFIED_STATE_VOIDED
	case "failed":
		n.State = railsv1.NotifiedState_NOTIFIED_STATE_DECLINED
	case "pending", "processing":
		n.State = railsv1.NotifiedState_NOTIFIED_STATE_PENDING
		if c.Last.Status == "authorized_pending_capture" || c.Last.Status == "waiting_capture" {
			n.State = railsv1.NotifiedState_NOTIFIED_STATE_AUTHORIZED
		}
	}
}

package webhooks

import (
	"strings"

	"github.com/go-json-experiment/json"

	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// redeBody is a notification of Rede. Its developers' portal is not public: the envelope (companyNumber, events, data) is from
// integrations that are, the members of data are the simulator's, and so is Standard Webhooks as its signature. Who connects
// Rede checks both against the portal first.
type redeBody struct {
	Company text     `json:"companyNumber"`
	Events  []string `json:"events"`
	Data    struct {
		ID             text   `json:"id"` // tid
		Reference      string `json:"reference"`
		Status         string `json:"status"`
		Amount         minor  `json:"amount"` // authorised, captured or cancelled, by status
		RefundedAmount minor  `json:"refundedAmount"`
		Chargeback     struct {
			ID            text   `json:"id"`
			Stage         string `json:"stage"` // PRE_DISPUTE, DISPUTE, PRE_ARBITRATION, WON, LOST
			Amount        minor  `json:"amount"`
			ReasonCode    text   `json:"reasonCode"`
			OccurredAt    string `json:"occurredAt"`
			EvidenceUntil string `json:"evidenceUntil"` // a day
		} `json:"chargeback"`
	} `json:"data"`
}

func readRede(body []byte, n *railsv1.Notification) error {
	var b redeBody
	if err := json.Unmarshal(body, &b); err != nil || len(b.Events) == 0 || b.Data.ID == "" {
		return errNotUnderstood
	}
	d := b.Data
	n.Kind, n.Type, n.Reference, n.OwnReference = payment, b.Events[0], string(d.ID), d.Reference
	if strings.Contains(n.GetType(), "CHARGEBACK") {
		c := d.Chargeback
		n.Kind, n.Dispute = dispute, &railsv1.NotifiedDispute{
			Id: string(c.ID), Stage: railsv1.DisputeStage(railsv1.DisputeStage_value["DISPUTE_STAGE_"+c.Stage]), StageWord: c.Stage, AmountMinor: int64(c.Amount),
			Currency: "BRL", DeadlineUs: endOfDay(c.EvidenceUntil), ReasonCode: string(c.ReasonCode), OccurredAtUs: moment(c.OccurredAt),
		}
		if c.ID == "" { // nothing but that a holder contests it
			n.Dispute.Id, n.Dispute.Stage, n.Dispute.StageWord = string(d.ID), railsv1.DisputeStage_DISPUTE_STAGE_DISPUTE, n.GetType()
			n.Dispute.AmountMinor = int64(d.Amount)
		}
		return nil
	}
	switch d.Status {
	case "Pending": // authorised, and its capture pending
		n.State, n.AuthorizedMinor = railsv1.NotifiedState_NOTIFIED_STATE_AUTHORIZED, int64(d.Amount)
	case "Approved":
		n.State, n.CapturedMinor, n.ReturnedMinor = railsv1.NotifiedState_NOTIFIED_STATE_CAPTURED, int64(d.Amount), int64(d.RefundedAmount)
	case "Canceled":
		n.State, n.ReturnedMinor = railsv1.NotifiedState_NOTIFIED_STATE_VOIDED, int64(d.Amount)
	case "Denied":
		n.State = railsv1.NotifiedState_NOTIFIED_STATE_DECLINED
	}
	return nil
}

package webhooks

import (
	"github.com/go-json-experiment/json"

	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// transfersBody is an event of the bank that takes transfers over HTTP, as sinks/rails/bank speaks to it. No bank's API is
// public enough to follow: the shape is the simulator's.
type transfersBody struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	Data struct {
		ID         string `json:"id"`
		EndToEndID string `json:"end_to_end_id"`
		Amount     minor  `json:"amount"`
		Status     string `json:"status"`
	} `json:"data"`
}

func readTransfers(body []byte, n *railsv1.Notification) error {
	var b transfersBody
	if err := json.Unmarshal(body, &b); err != nil || b.Data.ID == "" {
		return errNotUnderstood
	}
	n.Kind, n.EventId, n.Type, n.Reference, n.OwnReference = payment, b.ID, b.Type, b.Data.ID, b.Data.EndToEndID
	n.CapturedMinor = int64(b.Data.Amount)
	switch b.Data.Status {
	case "pending":
		n.State = railsv1.NotifiedState_NOTIFIED_STATE_ACCEPTED
	case "sent":
		n.State = railsv1.NotifiedState_NOTIFIED_STATE_SENT
	case "paid":
		n.State = railsv1.NotifiedState_NOTIFIED_STATE_PAID
	case "failed":
		n.State = railsv1.NotifiedState_NOTIFIED_STATE_FAILED
	case "returned":
		n.State = railsv1.NotifiedState_NOTIFIED_STATE_RETURNED
	}
	return nil
}

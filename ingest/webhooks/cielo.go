package webhooks

import (
	"strings"

	"github.com/go-json-experiment/json"

	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// cieloBody is either of two: the Notification Post of API E-commerce 3.0 (docs.cielo.com.br/ecommerce-cielo-en, "Notification
// Post": an id and what kind of change, nothing of what changed), and the webhook of the Chargeback API
// (docs.cielo.com.br/pix-can-cbk, "Webhooks"). Cielo signs neither; it sends along up to three headers with fixed values.
//
// Not checked: whether the amount of a chargeback is told apart from that of its sale, and all words of process.
type cieloBody struct {
	PaymentID  string `json:"PaymentId"`
	ChangeType text   `json:"ChangeType"`

	Case              text   `json:"idCase"`
	Process           string `json:"process"`
	TreatmentDeadline string `json:"treatmentDeadline"`
	TransactionAmount text   `json:"transactionAmount"` // reais
	Reason            text   `json:"cdReason"`
	Details           struct {
		TID      text   `json:"tid"`
		Currency string `json:"currency"`
	} `json:"transactionDetails"`
}

// The kinds of change that are not one of the payment.
const (
	changeChargeback = "7"
	changeFraudAlert = "8"
)

func readCielo(body []byte, n *railsv1.Notification) error {
	var b cieloBody
	if err := json.Unmarshal(body, &b); err != nil {
		return errNotUnderstood
	}
	switch {
	case b.PaymentID != "":
		n.Kind, n.Reference, n.Type = payment, b.PaymentID, "ChangeType "+string(b.ChangeType)
		switch b.ChangeType {
		case changeChargeback:
			n.Kind, n.Dispute = dispute, &railsv1.NotifiedDispute{Stage: railsv1.DisputeStage_DISPUTE_STAGE_DISPUTE}
		case changeFraudAlert:
			n.Kind, n.Dispute = dispute, &railsv1.NotifiedDispute{Stage: railsv1.DisputeStage_DISPUTE_STAGE_PRE_DISPUTE}
		}
	case b.Case != "":
		n.Kind, n.Type, n.Dispute = dispute, "chargeback", b.dispute()
	}
	return nil
}

func (b cieloBody) dispute() *railsv1.NotifiedDispute {
	d := &railsv1.NotifiedDispute{
		Id: string(b.Case), StageWord: b.Process, DeadlineUs: endOfDay(b.TreatmentDeadline), ReasonCode: string(b.Reason),
		Tid: string(b.Details.TID), Currency: b.Details.Currency, // a word that nobody here knows is no pay-in's currency
	}
	if b.Details.Currency == "REAL" {
		d.Currency = "BRL"
	}
	if amount, ok := centavos(string(b.TransactionAmount)); ok {
		d.AmountMinor = amount
	}
	switch {
	case b.Process == "PRIMEIRO_CHARGEBACK":
		d.Stage = railsv1.DisputeStage_DISPUTE_STAGE_DISPUTE
	case b.Process == "SEGUNDO_CHARGEBACK", strings.HasPrefix(b.Process, "PRE_ARBITRA"):
		d.Stage = railsv1.DisputeStage_DISPUTE_STAGE_PRE_ARBITRATION
	}
	return d
}

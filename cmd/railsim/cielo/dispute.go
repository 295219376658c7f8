package cielo

import (
	"encoding/json"
	"fmt"

	"github.com/caudalpay/caudal/cmd/railsim/cards"
	"github.com/caudalpay/caudal/cmd/railsim/faults"
	"github.com/caudalpay/caudal/cmd/railsim/journal"
	"github.com/caudalpay/caudal/cmd/railsim/wire"
)

// chargeback is the webhook of the Chargeback API (docs.cielo.com.br/pix-can-cbk, "Webhooks"), as far as the public page shows it. It
// names the transaction by the tid alone, and tells amounts in reais.
type chargeback struct {
	TreatmentDeadline string             `json:"treatmentDeadline"`
	Case              json.RawMessage    `json:"idCase"` // a number
	Process           string             `json:"process"`
	TransactionAmount json.RawMessage    `json:"transactionAmount"` // reais
	Reason            string             `json:"cdReason"`
	Details           transactionDetails `json:"transactionDetails"`
}

type transactionDetails struct {
	Currency string `json:"currency"`
	Tid      string `json:"tid"`
}

// processes are Cielo's words for stages. Of the others none is public.
func processes() map[cards.Stage]string {
	return map[cards.Stage]string{cards.StageDispute: "PRIMEIRO_CHARGEBACK", cards.StagePreArbitration: "SEGUNDO_CHARGEBACK"}
}

// Tells says whether there is a webhook of a stage.
func (s *Server) Tells(stage cards.Stage) bool { return processes()[stage] != "" }

// contested is the notification of a dispute. Its number is that of the case, so that the same case has it again.
func contested(e journal.Entry, lie faults.Kind, wrong func(int64) int64) (body []byte, ok bool) {
	var c cards.Charge
	if json.Unmarshal(e.State, &c) != nil || c.Dispute == nil {
		return nil, false // not ours
	}
	d, transaction := c.Dispute.Told(lie, wrong), tid(c)
	if d == nil || processes()[d.Stage] == "" {
		return nil, false
	}
	if lie == faults.HookLieUnknown {
		transaction = cards.Digits(cards.Digest(0, Name, c.ID, 0, "unknown"), 20)
	}
	return wire.Marshal(chargeback{
		TreatmentDeadline: d.EvidenceUntil(), Case: number("1" + d.ID[:8]), Process: processes()[d.Stage],
		TransactionAmount: number(fmt.Sprintf("%d.%02d", d.AmountMinor/100, d.AmountMinor%100)), Reason: d.Reason,
		Details: transactionDetails{Currency: "REAL", Tid: transaction},
	}), true
}

func number(digits string) json.RawMessage { return json.RawMessage(digits) }

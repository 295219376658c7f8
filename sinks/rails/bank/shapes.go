package bank

import (
	"regexp"
	"strings"

	"github.com/caudalpay/caudal/sinks/rails/cards"
	"github.com/caudalpay/caudal/sinks/rails/cards/rest"
)

// transferRequest is the body of POST /transfers.
type transferRequest struct {
	EndToEndID string  `json:"end_to_end_id"`
	OrderID    string  `json:"order_id"`
	Amount     int64   `json:"amount"` // minor units
	Currency   string  `json:"currency"`
	Account    account `json:"account"`
}

// account is one that the bank keeps under a token, or institution, branch and number.
type account struct {
	Token    string `json:"token,omitempty"`
	ISPB     string `json:"ispb,omitempty"`
	Branch   string `json:"branch,omitempty"`
	Number   string `json:"number,omitempty"`
	Name     string `json:"name,omitempty"`
	Document string `json:"document,omitempty"`
}

// transferReply is a transfer as the bank tells it.
type transferReply struct {
	ID         string `json:"id"`
	EndToEndID string `json:"end_to_end_id"`
	Amount     int64  `json:"amount"`
	Status     string `json:"status"`
	Reason     string `json:"reason"`
}

// turnedDown tells that the bank itself turned a call down: it says why.
func turnedDown(reply rest.Reply) bool { return reply.TurnedDown() && failureCode(reply) != "" }

// failureCode is what a refusal says; empty where it is none of the bank's.
func failureCode(reply rest.Reply) string {
	var f struct {
		Code string `json:"code"`
	}
	if !reply.Decode(&f) {
		return ""
	}
	return f.Code
}

// result of a transfer. A status that is new to this program tells nothing.
func (t transferReply) result() cards.Result {
	outcomes := map[string]cards.Outcome{
		"pending": cards.OutcomeAccepted, "sent": cards.OutcomeSent, "paid": cards.OutcomeConfirmed, "failed": cards.OutcomeRefused,
		"returned": cards.OutcomeReturned,
	}
	return cards.Result{Outcome: outcomes[t.Status], Code: t.Reason, Reference: t.ID, AmountMinor: t.Amount}
}

// accountOf reads a destination: ISPB/branch/number, else the token of an account that the bank knows. False: it is neither.
func accountOf(d cards.Destination, instrument string) (account, bool) {
	text := strings.TrimSpace(d.Account)
	if text == "" {
		text = instrument
	}
	a := account{Name: d.Name, Document: d.Document}
	if parts := regexp.MustCompile(`^([0-9A-Z]{8})/([0-9]{1,4})/([0-9A-Z]{1,19}-?[0-9A-Z])$`).FindStringSubmatch(strings.ToUpper(text)); parts != nil {
		a.ISPB, a.Branch, a.Number = parts[1], parts[2], parts[3]
		return a, true
	}
	a.Token = text
	return a, regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`).MatchString(text)
}

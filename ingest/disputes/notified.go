package disputes

import (
	"fmt"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// Notified is what a processor's notification tells of a dispute about a pay-in. The message is the processor's own event; where it
// gives none, what it says of the dispute is. A case that is told again because something else of it has changed takes nothing that
// was won back meanwhile.
func Notified(n *railsv1.Notification, id payment.ID) Told {
	d := n.GetDispute()
	event := "event " + n.GetEventId()
	if n.GetEventId() == "" {
		event = fmt.Sprintf("said %d %q %d %d", d.GetAmountMinor(), d.GetReasonCode(), d.GetDeadlineUs(), d.GetOccurredAtUs())
	}
	return Told{
		Payment: id, Stage: stageOf(d.GetStage()), AmountMinor: d.GetAmountMinor(), ReasonCode: d.GetReasonCode(), Connector: n.GetProcessor(),
		Reference: d.GetId(), DeadlineUS: d.GetDeadlineUs(), OccurredAtUS: d.GetOccurredAtUs(),
		// No merchant: a caller has one, so that no key of his is a processor's message.
		MessageID: payment.CommandIDFrom(string(id.Account()), "", fmt.Sprintf("notified dispute %q %q %s %q", n.GetProcessor(), d.GetId(), d.GetStage(), event)),
	}
}

// stageOf is the stage of the same name: what is notified and what is decided have enumerations of their own.
func stageOf(s railsv1.DisputeStage) paymentsv1.DisputeStage {
	return paymentsv1.DisputeStage(paymentsv1.DisputeStage_value[s.String()])
}

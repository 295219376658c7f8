package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// pgEventColumns are read as text, as those of payments are.
func pgEventColumns() []string {
	return []string{
		"other_account", "payment_id", "operation_id", "decided_month", "accepted_at", "written_at", "account_seq", "command_partition", "command_offset",
		"amount_minor", "rail_amount_minor", "kind", "outcome", "status", "payment_status", "rail_result", "currency", "order_id", "given_order_id",
		"connector", "rail_reference", "rail_code", "rail_tid", "reasons",
	}
}

func pgEventQuery() string {
	var selected []string
	for _, c := range pgEventColumns() {
		switch c {
		case "decided_month":
			c = "(decided_month - DATE '1970-01-01')"
		case "accepted_at", "written_at":
			c = "(extract(epoch FROM " + c + ") * 1000000)::bigint"
		}
		selected = append(selected, c+"::text")
	}
	return "SELECT log_offset, 0::bigint, " + strings.Join(selected, ", ") +
		" FROM payments.events JOIN sink.topics ON name = $1 WHERE log_partition = $2 ORDER BY log_offset"
}

// event compares the line of a payment's history that a decision is, if it is one.
func (m *pgMirror) event(r *kgo.Record, d *paymentsv1.Decision) error {
	if r.Offset < m.from[m.partition] || !pgEvent(d) {
		return nil
	}
	of, operation, stands := d.GetPaymentId(), "", d.GetStatus()
	if about := d.GetRelatedPaymentId(); about != "" && about != of {
		of, operation, stands = about, of, d.GetRelatedStatus()
	}
	other := d.GetAccount()
	if len(of) == 43 && len(other) == 24 && of[3:23] == other[4:] || len(of) != 43 { // an id carries its account's characters
		other = ""
	}
	reasons := make([]string, len(d.GetReasons()))
	for i, reason := range d.GetReasons() {
		reasons[i] = fmt.Sprint(int32(reason))
	}
	row := []any{other, of, operation}
	for _, n := range []int64{
		monthOf(dayOf(d.GetAcceptedAtUs())), d.GetAcceptedAtUs(), r.Timestamp.UnixMicro(), int64(d.GetAccountSeq()), int64(d.GetCommandPartition()), //nolint:gosec // a count
		d.GetCommandOffset(), d.GetAmountMinor(), d.GetRailAmountMinor(), int64(d.GetKind()), int64(d.GetOutcome()), int64(d.GetStatus()), int64(stands),
		int64(d.GetRailResult()),
	} {
		row = append(row, fmt.Sprint(n))
	}
	for _, text := range []string{
		d.GetCurrency(), d.GetOrderId(), d.GetGivenOrderId(), d.GetConnector(), d.GetRailReference(), d.GetRailCode(), d.GetRailTid(),
	} {
		row = append(row, pgText(text))
	}
	return m.events.expect(place{r.Offset, 0}, d.GetAccount(), append(row, "{"+strings.Join(reasons, ",")+"}"))
}

// pgEvent holds for a decision that names a payment, but for what made one and ended it at once, and for a stranger's.
func pgEvent(d *paymentsv1.Decision) bool {
	stranger := slices.Contains(d.GetReasons(), paymentsv1.Reason_REASON_ACCOUNT_UNKNOWN) ||
		slices.Contains(d.GetReasons(), paymentsv1.Reason_REASON_OWNER_MISMATCH)
	final := d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED || d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED
	first := d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED || d.GetOutcome() == paymentsv1.Outcome_OUTCOME_DECLINED
	switch {
	case d.GetPaymentId() == "":
		return false
	case pgInstruction(d.GetKind()):
		return !final || !first
	default:
		return !stranger || d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_COUNTER_LEG
	}
}

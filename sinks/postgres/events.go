package postgres

import (
	"fmt"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/decisionlog"
)

// addEvent writes the line of a payment's history that a decision is.
func (r *rows) addEvent(e decisionlog.Entry) error {
	if !isEvent(e.Decision) {
		return nil
	}
	of, operation, status := e.GetPaymentId(), "", e.GetStatus()
	if related := e.GetRelatedPaymentId(); related != "" && related != of {
		of, operation, status = related, of, e.GetRelatedStatus()
	}
	month, c := monthOfUS(e.GetAcceptedAtUs()), r.event
	r.eventMonths[month] = struct{}{}
	c.row()
	c.text(of)
	c.day(month)
	c.time(e.GetAcceptedAtUs())
	c.time(e.Written.UnixMicro())
	c.sequence(e.GetAccountSeq())
	c.int8(e.Offset)
	c.int8(e.GetCommandOffset())
	c.int8(e.GetAmountMinor())
	c.int8(e.GetRailAmountMinor())
	c.int4(e.Partition)
	c.int4(e.GetCommandPartition())
	c.word(int(e.GetKind()))
	c.word(int(e.GetOutcome()))
	c.word(int(e.GetStatus()))
	c.word(int(status))
	c.word(int(e.GetRailResult()))
	for _, text := range []string{
		e.GetCurrency(), operation, otherAccount(of, e.GetAccount()), e.GetOrderId(), e.GetGivenOrderId(),
		e.GetConnector(), e.GetRailReference(), e.GetRailCode(), e.GetRailTid(),
	} {
		c.text(text)
	}
	if err := c.words(e.GetReasons()); err != nil {
		return fmt.Errorf("writing an event: %w", err)
	}
	return nil
}

// isEvent tells the decisions that are a line of a payment's history. The row of a payment tells what made it where that was
// its end as well: nearly all payments by book and cash cost no line. A stranger's request leaves no line either, in what is not his.
func isEvent(d *paymentsv1.Decision) bool {
	if d.GetPaymentId() == "" {
		return false
	}
	switch d.GetKind() {
	case paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT, paymentsv1.CommandKind_COMMAND_KIND_TRANSFER,
		paymentsv1.CommandKind_COMMAND_KIND_FX_QUOTE:
		made := d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED || d.GetOutcome() == paymentsv1.Outcome_OUTCOME_DECLINED
		ended := d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED || d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED
		return !made || !ended
	case paymentsv1.CommandKind_COMMAND_KIND_COUNTER_LEG:
		return true // its reasons are the payee's, and the payer is told them
	default:
	}
	for _, reason := range d.GetReasons() {
		if reason == paymentsv1.Reason_REASON_ACCOUNT_UNKNOWN || reason == paymentsv1.Reason_REASON_OWNER_MISMATCH {
			return false
		}
	}
	return true
}

// otherAccount is who decided, where that is not the account that the payment lives under.
func otherAccount(of, account string) string {
	if id, err := payment.ParseID(of); err != nil || string(id.Account()) == account {
		return ""
	}
	return account
}

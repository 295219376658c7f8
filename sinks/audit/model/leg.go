package model

import (
	"slices"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// counterLeg is the payee's side of a transfer.
func (c *call) counterLeg() {
	leg, d := c.cmd.GetCounterLeg(), c.out.Decision
	lines := []line{{"sys_transit", leg.GetCurrency(), -leg.GetAmountMinor()}, {c.acct.key, leg.GetCurrency(), leg.GetAmountMinor()}}
	switch {
	case !slices.Contains(c.acct.state.GetCurrencies(), leg.GetCurrency()):
		c.decline(paymentsv1.Reason_REASON_CURRENCY_NOT_HELD)
		c.refuseLeg(paymentsv1.Reason_REASON_CURRENCY_NOT_HELD)
	case !c.fits(paymentsv1.Layer_LAYER_POSTED, lines):
		c.decline(reasonOverflow)
		c.refuseLeg(reasonOverflow)
	default:
		d.Outcome = paymentsv1.Outcome_OUTCOME_APPROVED
		c.journal(paymentsv1.JournalKind_JOURNAL_KIND_POST, lines)
		c.answerLeg(true, 0)
	}
}

// taken is a counter-leg that was taken or refused: which of the payer's decisions asked, and when it may be forgotten.
type taken struct {
	asked  uint64
	leaves int64
}

// took tells whether this very asking was answered. The same transfer id can be asked for again once the payer has forgotten it.
func (a *account) took(leg *paymentsv1.CounterLeg) bool {
	before, ok := a.legs[leg.GetTransferId()]
	return ok && before.asked == leg.GetPayerSeq()
}

// refuseLeg tells the payer why; for other commands it does nothing.
func (c *call) refuseLeg(reason paymentsv1.Reason) {
	if c.cmd.GetKind() != paymentsv1.CommandKind_COMMAND_KIND_COUNTER_LEG {
		return
	}
	c.answerLeg(false, reason)
}

func (c *call) answerLeg(accepted bool, reason paymentsv1.Reason) {
	leg, d := c.cmd.GetCounterLeg(), c.out.Decision
	d.RelatedPaymentId, d.AmountMinor, d.Currency = leg.GetTransferId(), leg.GetAmountMinor(), leg.GetCurrency()
	if c.acct.state != nil {
		c.acct.legs[leg.GetTransferId()] = taken{asked: leg.GetPayerSeq(), leaves: c.retain(leg.GetTransferId())}
	}
	c.emit(leg.GetPayerAccount(), &paymentsv1.Command{
		Kind: paymentsv1.CommandKind_COMMAND_KIND_LEG_RESULT, PaymentId: leg.GetTransferId(),
		Body: &paymentsv1.Command_LegResult{LegResult: &paymentsv1.LegResult{
			TransferId: leg.GetTransferId(), PayeeAccount: c.acct.key, Accepted: accepted, Reason: reason,
		}},
	})
}

// legResult ends a transfer: final, or everything back.
func (c *call) legResult() {
	result, d := c.cmd.GetLegResult(), c.out.Decision
	d.Outcome = paymentsv1.Outcome_OUTCOME_APPLIED
	d.RelatedPaymentId = result.GetTransferId()
	p := c.acct.payments[identity(result.GetTransferId())]
	if p == nil {
		return
	}
	switch {
	case p.status != paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING:
	case result.GetAccepted():
		p.status = paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED
	default:
		back := reversed(p.post)
		if c.acct.state.GetStatus() == paymentsv1.AccountStatus_ACCOUNT_STATUS_CLOSED || !c.fits(paymentsv1.Layer_LAYER_POSTED, back) {
			for i := range back {
				if back[i].account == c.acct.key {
					back[i].account = "sys_suspense"
				}
			}
		}
		c.journal(paymentsv1.JournalKind_JOURNAL_KIND_COMPENSATION, back)
		c.acct.unreserve(p)
		p.status = paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED
		d.Reasons = []paymentsv1.Reason{result.GetReason()}
	}
	d.Status = p.status
	c.amounts(p)
	d.RelatedPaymentId, d.RelatedStatus = result.GetTransferId(), p.status
}

package model

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const (
	kindIssueCard     = paymentsv1.CommandKind_COMMAND_KIND_ISSUE_CARD
	kindSetCardStatus = paymentsv1.CommandKind_COMMAND_KIND_SET_CARD_STATUS
)

// aboutCard tells the kinds that are decided on a card's key.
func (c *call) aboutCard() bool {
	return c.cmd.GetKind() == kindIssueCard || c.cmd.GetKind() == kindSetCardStatus
}

// cardCommand: a card's key knows which account pays with the card.
func (c *call) cardCommand() {
	a := c.acct
	foreign := a.card != nil && (a.tenant != c.cmd.GetTenant() || a.merchant != c.cmd.GetMerchant())
	switch {
	case foreign:
		c.decline(paymentsv1.Reason_REASON_OWNER_MISMATCH)
	case c.cmd.GetKind() == kindIssueCard:
		c.issueCard()
	case a.card == nil:
		c.decline(paymentsv1.Reason_REASON_PAYMENT_UNKNOWN)
	case c.cmd.GetSetCardStatus().GetOnce():
		c.setCardStatusOnce()
	default:
		c.setCardStatus()
	}
}

// setCardStatusOnce answers what was asked before, else remembers the answer.
func (c *call) setCardStatusOnce() {
	d, first := c.out.Decision, c.acct.answers[c.cmd.GetCommandId()]
	switch {
	case first == nil:
		c.setCardStatus()
		c.acct.answers[c.cmd.GetCommandId()] = &answer{hash: c.cmd.GetBodyHash(), reasons: d.GetReasons()}
	case !bytes.Equal(first.hash, c.cmd.GetBodyHash()):
		d.Outcome = paymentsv1.Outcome_OUTCOME_CONFLICT
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_IDEMPOTENCY_CONFLICT}
	default:
		d.Outcome, d.Reasons = paymentsv1.Outcome_OUTCOME_REPEATED, first.reasons
		c.tellCardState()
	}
}

// setCardStatus: what is closed stays closed.
func (c *call) setCardStatus() {
	to := c.cmd.GetSetCardStatus().GetStatus()
	if c.acct.card.GetStatus() == paymentsv1.CardStatus_CARD_STATUS_CLOSED && to != paymentsv1.CardStatus_CARD_STATUS_CLOSED {
		c.decline(paymentsv1.Reason_REASON_PAYMENT_STATE)
	} else {
		c.acct.card.Status = to
		c.out.Decision.Outcome = paymentsv1.Outcome_OUTCOME_APPLIED
	}
	c.tellCardState()
}

func (c *call) issueCard() {
	a, d, body := c.acct, c.out.Decision, c.cmd.GetIssueCard()
	switch {
	case a.card == nil:
		d.Outcome = paymentsv1.Outcome_OUTCOME_APPLIED
		a.tenant, a.merchant = c.cmd.GetTenant(), c.cmd.GetMerchant()
		a.card = &paymentsv1.CardState{
			Account: c.cmd.GetAccount(), Status: paymentsv1.CardStatus_CARD_STATUS_ACTIVE, First6: body.GetFirst6(), Last4: body.GetLast4(),
			Expiry: body.GetExpiry(), IssuedAtUs: d.GetAcceptedAtUs(),
		}
	case a.card.GetAccount() != c.cmd.GetAccount():
		c.decline(paymentsv1.Reason_REASON_CARD_TAKEN)
		return
	case a.card.GetFirst6() != body.GetFirst6() || a.card.GetLast4() != body.GetLast4() || a.card.GetExpiry() != body.GetExpiry():
		d.Outcome = paymentsv1.Outcome_OUTCOME_CONFLICT
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_IDEMPOTENCY_CONFLICT}
		return
	default:
		d.Outcome = paymentsv1.Outcome_OUTCOME_REPEATED
	}
	c.tellCardState()
}

// tellCardState: a card's requests are answered with the whole card.
func (c *call) tellCardState() { c.out.Decision.CardState = c.acct.cloneCard() }

// cloneCard keeps a card apart from what is changed later.
func (a *account) cloneCard() *paymentsv1.CardState {
	if a.card == nil {
		return nil
	}
	return proto.CloneOf(a.card)
}

// tellCard repeats which card a command is about, and where it was used.
func (c *call) tellCard() {
	d := c.out.Decision
	switch c.cmd.GetKind() {
	case kindIssueCard, kindSetCardStatus:
		d.Card = c.rec.Key
	case kindAuthorization, kindAdvice:
		t := c.cmd.GetCardTransaction()
		d.Card, d.Mcc, d.Acquirer, d.CardAcceptor, d.Rrn = t.GetCard(), t.GetMcc(), t.GetAcquirer(), t.GetCardAcceptor(), t.GetRrn()
	case kindReversal:
		r := c.cmd.GetReversal()
		d.Card, d.ReasonCode, d.Acquirer, d.Rrn = r.GetCard(), r.GetReasonCode(), r.GetAcquirer(), r.GetRrn()
	case kindClearing:
		x := c.cmd.GetClearing()
		d.Card, d.Mcc, d.Acquirer, d.CardAcceptor, d.Rrn = x.GetCard(), x.GetMcc(), x.GetAcquirer(), x.GetCardAcceptor(), x.GetRrn()
	default:
	}
}

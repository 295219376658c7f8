package accounts

import "github.com/caudalpay/caudal/processors/payment"

// CardState is a card that an account pays with.
type CardState struct {
	Account       payment.AccountID
	Status        payment.CardStatus
	First6, Last4 string
	Expiry        int32 // YYMM
	IssuedAtUS    int64
}

// CardEntry is what every ingress knows of a card.
type CardEntry struct {
	Card             payment.CardKey
	Tenant, Merchant string
	State            CardState
	AccountSeq       uint64 // of the card's key
}

// card decides on a card's key whose card it is, and whether it may pay.
func (r *reducer) card() {
	c := &r.cell
	r.d.Card = payment.CardKey(r.key)
	switch {
	case c.Card == nil && r.cmd.Kind == payment.KindIssueCard:
		c.Tenant, c.Merchant = r.cmd.Tenant, r.cmd.Merchant
		in := r.cmd.IssueCard
		r.publishCard(CardState{
			Account: r.cmd.Account, Status: payment.CardStatusActive, First6: in.First6, Last4: in.Last4, Expiry: in.Expiry,
			IssuedAtUS: r.d.AcceptedAtUS,
		})
	case c.Card == nil:
		r.decline(payment.ReasonPaymentUnknown)
	case r.cmd.Tenant != c.Tenant || r.cmd.Merchant != c.Merchant:
		r.decline(payment.ReasonOwnerMismatch)
	case r.cmd.Kind == payment.KindIssueCard:
		r.issueAgain()
	case r.s.Command != nil:
		r.cardStatusAgain()
	default:
		r.setCardStatus()
	}
}

// issueAgain answers for a number that is a card already.
func (r *reducer) issueAgain() {
	in, card := r.cmd.IssueCard, r.cell.Card
	switch {
	case card.Account != r.cmd.Account:
		r.decline(payment.ReasonCardTaken)
	case card.First6 != in.First6 || card.Last4 != in.Last4 || card.Expiry != in.Expiry:
		r.conflict()
	default:
		r.d.Outcome, r.d.CardState = payment.OutcomeRepeated, card
	}
}

// cardStatusAgain answers a retry. What was asked for since stands: a late retry of an unblock opens no card that was blocked
// after it.
func (r *reducer) cardStatusAgain() {
	first := r.s.Command
	if first.BodyHash != r.cmd.BodyHash {
		r.conflict()
		return
	}
	r.d.Outcome, r.d.Reasons, r.d.CardState = payment.OutcomeRepeated, first.FirstReasons, r.cell.Card
}

func (r *reducer) setCardStatus() {
	card := *r.cell.Card
	r.d.CardState = &card
	if card.Status == payment.CardStatusClosed && r.cmd.CardStatus.Status != payment.CardStatusClosed {
		r.decline(payment.ReasonPaymentState)
		return
	}
	card.Status = r.cmd.CardStatus.Status
	r.publishCard(card)
}

// publishCard tells every ingress what the card is now.
func (r *reducer) publishCard(card CardState) {
	r.cell.Card, r.d.CardState = &card, &card
	r.out = append(r.out, Emission{Card: &CardEntry{
		Card: payment.CardKey(r.key), Tenant: r.cell.Tenant, Merchant: r.cell.Merchant, State: card, AccountSeq: r.cell.Seq,
	}})
}

// tellCard copies what is told of a card payment into the decision about it.
func (d *Decision) tellCard(cmd *payment.Command) {
	switch {
	case cmd.CardTransaction != nil:
		t := cmd.CardTransaction
		d.Card, d.MCC, d.Acquirer, d.CardAcceptor, d.RRN = t.Card, t.MCC, t.Acquirer, t.CardAcceptor, t.RRN
	case cmd.Reversal != nil:
		d.Card, d.Acquirer, d.RRN, d.ReasonCode = cmd.Reversal.Card, cmd.Reversal.Acquirer, cmd.Reversal.RRN, cmd.Reversal.ReasonCode
	case cmd.Clearing != nil:
		c := cmd.Clearing
		d.Card, d.MCC, d.Acquirer, d.CardAcceptor, d.RRN = c.Card, c.MCC, c.Acquirer, c.CardAcceptor, c.RRN
	}
}

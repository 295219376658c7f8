package topology

import (
	"fmt"
	"slices"
	"testing"

	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	"github.com/caudalpay/caudal/schemas/topics"
)

func (t *traffic) cardOf(name string) payment.CardKey { return payment.CardKeyFrom([]byte(name)) }

// onCard issues the account's card, or sets its status.
func (t *traffic) onCard(name string) command {
	kind := []payment.Kind{payment.KindIssueCard, payment.KindSetCardStatus}[t.rand.IntN(2)]
	cmd := t.command(kind, t.account(t.names[t.rand.IntN(len(t.names))]), t.number)
	key := string(t.cardOf(name))
	cmd.CommandID = payment.CommandIDFrom(key, merchant, fmt.Sprint("key", t.number))
	if kind == payment.KindIssueCard {
		cmd.IssueCard = &payment.IssueCard{First6: "445566", Last4: "1234", Expiry: 3012}
	} else {
		cmd.CardStatus = &payment.SetCardStatus{Status: payment.CardStatus(1 + t.rand.IntN(3)), Once: t.rand.IntN(4) > 0}
	}
	return t.record(key, cmd)
}

// acquirer is what comes by the network about a card of the account.
func (t *traffic) acquirer(name string) command {
	kind := []payment.Kind{
		payment.KindAuthorization, payment.KindAuthorization, payment.KindAuthorizationAdvice, payment.KindReversal, payment.KindClearing,
	}[t.rand.IntN(5)]
	cmd := t.command(kind, t.account(name), t.number)
	cmd.PaymentID = payment.CardIDFrom(payment.KindAuthorization, cmd.Account, fmt.Sprint("match", t.number/8))
	cmd.CommandID = string(cmd.PaymentID)
	amountMinor, currency := 1+t.rand.Int64N(200_00), []string{"BRL", "BRL", "USD", "EUR"}[t.rand.IntN(4)]
	switch kind {
	case payment.KindReversal:
		cmd.CommandID = payment.CommandIDFrom(string(cmd.Account), "", fmt.Sprint("key", t.number))
		cmd.Reversal = &payment.Reversal{
			LeftMinor: t.rand.Int64N(3) * 1_00, Currency: []string{"", currency}[t.rand.IntN(2)], Card: t.cardOf(name), ReasonCode: "17", RRN: "r",
			StandIn: t.rand.IntN(2) == 0,
		}
	case payment.KindClearing:
		cmd.CommandID = string(payment.CardIDFrom(kind, cmd.Account, fmt.Sprint("match", t.number)))
		cmd.Clearing = &payment.Clearing{
			AmountMinor: amountMinor, Currency: currency, Credit: t.rand.IntN(4) == 0, Final: t.rand.IntN(2) == 0, Card: t.cardOf(name), MCC: "5411",
		}
	default:
		cmd.CardTransaction = &payment.CardTransaction{
			AmountMinor: amountMinor, Currency: currency, Financial: t.rand.IntN(3) == 0, Card: t.cardOf(name), MCC: "5411", Acquirer: "123456",
			CardAcceptor: "shop", RRN: "r", STAN: "000417", Counterparty: payment.Counterparty{Digest: []byte(party(t.rand.IntN(8)))},
		}
		if kind == payment.KindAuthorizationAdvice {
			cmd.CardTransaction.StandIn, cmd.CardTransaction.Refused = t.rand.IntN(2) == 0, t.rand.IntN(4) == 0
		}
	}
	return t.record(string(cmd.Account), cmd)
}

// authorize asks whether the account's card may pay.
func (t *traffic) authorize(name string, ask payment.CardTransaction) command {
	cmd := t.command(payment.KindAuthorization, t.account(name), ask)
	cmd.PaymentID = payment.CardIDFrom(cmd.Kind, cmd.Account, fmt.Sprint("match", t.number))
	cmd.CommandID = string(cmd.PaymentID)
	cmd.CardTransaction = &ask
	return t.record(string(cmd.Account), cmd)
}

// Invariant: a card's key can be parked like any other, and the directory has the card as it stands.
func TestCardsAreKeysOfTheirOwn(t *testing.T) {
	d, traffic := newDecided(t, 4), newTraffic(t, 1, 1, 4)
	key := string(traffic.cardOf("visa"))
	if !attributable([]byte(key)) || attributable([]byte(key[:len(key)-1])) {
		t.Errorf("%s is attributable: %t", key, attributable([]byte(key)))
	}
	for range 20 {
		d.run(t, traffic.onCard("visa"))
	}
	cell, err := codec.DecodeCell(d.memory[topics.Partition([]byte(key), 4)].cells[key])
	if err != nil || cell.Card == nil || cell.Seq != 20 {
		t.Fatalf("cell %+v, %v", cell, err)
	}
	entries := slices.DeleteFunc(slices.Clone(d.emits), func(e emitted) bool { return e.topic != topics.Cards })
	if len(entries) == 0 {
		t.Fatal("the directory was told nothing")
	}
	last := entries[len(entries)-1]
	if e, err := codec.DecodeCardEntry(last.key, last.value); err != nil || last.key != key || e.State != *cell.Card || e.Tenant != tenant {
		t.Errorf("the directory has %+v, %v; the cell %+v", e, err, cell.Card)
	}
}

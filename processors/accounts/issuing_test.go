package accounts_test

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/caudalpay/caudal/processors/payment"
)

func cardOf(name string) payment.CardKey { return payment.CardKeyFrom(digest(name)) }

// transact is what an acquirer asks or tells of a card of the account.
func (c *caller) transact(kind payment.Kind, name, matchKey string, t payment.CardTransaction) (key string, cmd payment.Command) {
	id := payment.AccountIDFrom(tenant, merchant, name)
	told := t
	told.StandIn, told.Refused = false, false // what is asked is the same, whoever answers it
	cmd = c.command(kind, id, "")
	cmd.BodyHash = [32]byte(digest(fmt.Sprint(told)))
	cmd.PaymentID = payment.CardIDFrom(payment.KindAuthorization, id, matchKey)
	cmd.CommandID = string(cmd.PaymentID)
	cmd.CardTransaction = &t
	return string(id), cmd
}

func (c *caller) reverse(name, matchKey string, v payment.Reversal) (key string, cmd payment.Command) {
	id := payment.AccountIDFrom(tenant, merchant, name)
	cmd = c.command(payment.KindReversal, id, fmt.Sprint(matchKey, v))
	cmd.PaymentID = payment.CardIDFrom(payment.KindAuthorization, id, matchKey)
	cmd.CommandID = payment.CommandIDFrom(string(id), "", fmt.Sprint("reversal/", matchKey, c.now))
	cmd.Reversal = &v
	return string(id), cmd
}

// clear collects; of is the match key of the authorization, empty for none.
func (c *caller) clear(name, matchKey, of string, l payment.Clearing) (key string, cmd payment.Command) {
	id := payment.AccountIDFrom(tenant, merchant, name)
	cmd = c.command(payment.KindClearing, id, fmt.Sprint(of, l))
	cmd.CommandID = string(payment.CardIDFrom(payment.KindClearing, id, matchKey))
	if of != "" {
		cmd.PaymentID = payment.CardIDFrom(payment.KindAuthorization, id, of)
	}
	cmd.Clearing = &l
	return string(id), cmd
}

// onCard is a request on a card's key.
func (c *caller) onCard(kind payment.Kind, card, name string) (key string, cmd payment.Command) {
	cmd = c.command(kind, payment.AccountIDFrom(tenant, merchant, name), "")
	key = string(cardOf(card))
	cmd.CommandID = payment.CommandIDFrom(key, merchant, fmt.Sprint(c.now))
	return key, cmd
}

func (x *table) parseCard(t *testing.T, d *datadriven.TestData) (string, payment.Command) {
	t.Helper()
	name := option(d, "on", x.account)
	switch d.Cmd {
	case "issue":
		x.names[string(cardOf(word(d, 0)))] = word(d, 0)
		key, cmd := x.onCard(payment.KindIssueCard, word(d, 0), word(d, 1))
		cmd.IssueCard = &payment.IssueCard{First6: "445566", Last4: option(d, "last4", "1234"), Expiry: 3012}
		return key, cmd
	case "card":
		key, cmd := x.onCard(payment.KindSetCardStatus, word(d, 0), x.account)
		cmd.CardStatus = &payment.SetCardStatus{}
		for cmd.CardStatus.Status.String() != word(d, 1) {
			cmd.CardStatus.Status++
		}
		return key, cmd
	case "authorize", "advise":
		kind := map[string]payment.Kind{"authorize": payment.KindAuthorization, "advise": payment.KindAuthorizationAdvice}[d.Cmd]
		ask := payment.CardTransaction{
			AmountMinor: minor(t, word(d, 1), word(d, 2)), Currency: word(d, 2), Card: cardOf("card"), Financial: set(d, "financial"),
			StandIn: set(d, "standin"), Refused: set(d, "refused"),
		}
		ask.Counterparty.Country = option(d, "country", "")
		if p := option(d, "party", ""); p != "" {
			ask.Counterparty.Digest = digest(p)
		}
		key, cmd := x.transact(kind, name, word(d, 0), ask)
		cmd.Pins = x.pins()
		return key, cmd
	case "reverse":
		key, cmd := x.reverse(name, word(d, 0), payment.Reversal{LeftMinor: minor(t, option(d, "left", "#0"), "BRL"), StandIn: set(d, "standin")})
		cmd.Pins = x.pins()
		return key, cmd
	case "clear":
		key, cmd := x.clear(name, word(d, 0), option(d, "of", ""), payment.Clearing{
			AmountMinor: minor(t, word(d, 1), word(d, 2)), Currency: word(d, 2), Final: set(d, "final"), Credit: set(d, "credit"),
		})
		cmd.Pins = x.pins()
		return key, cmd
	default:
		t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
		return "", payment.Command{}
	}
}

func set(d *datadriven.TestData, name string) bool { return option(d, name, "") != "" }

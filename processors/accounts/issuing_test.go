package accounts_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
)

func cardOf(name string) payment.CardKey { return payment.CardKeyFrom(digest(name)) }

// transact is what an acquirer asks or tells of a card of the account.
func (c *caller) transact(kind payment.Kind, name, matchKey string, t payment.CardTransaction) (key string, cmd payment.Command) {
	id := payment.AccountIDFrom(tenant, merchant, name)
	told := t
	told.StandIn, told.Refused, told.AskedAtUS = false, false, 0 // what is asked is the same, whoever answers it
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
		if k := option(d, "key", ""); k != "" {
			cmd.CommandID, cmd.CardStatus.Once = payment.CommandIDFrom(key, merchant, k), true
			cmd.BodyHash = [32]byte(digest(word(d, 1)))
		}
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
		if asking := x.asking(d); asking != nil && set(d, "asked") {
			ask.AskedAtUS = asking.AcceptedAtUS + int64(number(option(d, "later", "0")))*second
		}
		key, cmd := x.transact(kind, name, word(d, 0), ask)
		x.payments[word(d, 0)] = cmd.PaymentID
		if d.Cmd == "authorize" {
			x.asked[word(d, 0)] = append(x.asked[word(d, 0)], cmd)
		}
		cmd.Pins = x.pins()
		return key, cmd
	case "reverse":
		key, cmd := x.reverse(name, word(d, 0), payment.Reversal{
			LeftMinor: minor(t, option(d, "left", "#0"), "BRL"), Currency: option(d, "in", ""), StandIn: set(d, "standin"),
		})
		if asking := x.asking(d); asking != nil && cmd.Reversal.StandIn {
			cmd.BodyHash = asking.BodyHash
			if set(d, "asked") {
				cmd.Reversal.AskedAtUS = asking.AcceptedAtUS + int64(number(option(d, "later", "0")))*second
			}
		}
		cmd.Pins = x.pins()
		return key, cmd
	case "clear":
		key, cmd := x.clear(name, word(d, 0), option(d, "of", ""), payment.Clearing{
			AmountMinor: minor(t, word(d, 1), word(d, 2)), Currency: word(d, 2), Final: set(d, "final"), Credit: set(d, "credit"),
		})
		x.payments[word(d, 0)] = payment.ID(cmd.CommandID)
		cmd.Pins = x.pins()
		return key, cmd
	default:
		t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
		return "", payment.Command{}
	}
}

// asking is the authorization that a stand-in's word is about: the first of its key, or that of a number; nil: there is none.
func (x *table) asking(d *datadriven.TestData) *payment.Command {
	n := number(option(d, "asked", "1"))
	if all := x.asked[word(d, 0)]; n <= len(all) {
		return &all[n-1]
	}
	return nil
}

func set(d *datadriven.TestData, name string) bool { return option(d, name, "") != "" }

// TestAWordOfNobodyIsAnError keeps what contradicts itself or its key from becoming a decision about a card.
func TestAWordOfNobodyIsAnError(t *testing.T) {
	c := &caller{now: noon}
	alice, other := accountOf("alice"), payment.CardIDFrom(payment.KindAuthorization, accountOf("bob"), "m")
	payin := payment.IDFrom(payment.KindPayIn, alice, merchant, "m")
	words := map[string]func() (string, payment.Command){
		"authorization": func() (string, payment.Command) {
			return c.transact(payment.KindAuthorization, "alice", "m", payment.CardTransaction{Currency: "BRL"})
		},
		"advice": func() (string, payment.Command) {
			return c.transact(payment.KindAuthorizationAdvice, "alice", "m", payment.CardTransaction{Currency: "BRL"})
		},
		"reversal": func() (string, payment.Command) { return c.reverse("alice", "m", payment.Reversal{}) },
		"clearing": func() (string, payment.Command) {
			return c.clear("alice", "c", "m", payment.Clearing{AmountMinor: 1, Currency: "BRL"})
		},
		"issue": func() (string, payment.Command) {
			key, cmd := c.onCard(payment.KindIssueCard, "visa", "alice")
			cmd.IssueCard = &payment.IssueCard{}
			return key, cmd
		},
		"status": func() (string, payment.Command) {
			key, cmd := c.onCard(payment.KindSetCardStatus, "visa", "alice")
			cmd.CardStatus = &payment.SetCardStatus{Status: payment.CardStatusBlocked}
			return key, cmd
		},
	}
	bodiless := func(key *string, cmd *payment.Command) {
		cmd.IssueCard, cmd.CardStatus, cmd.CardTransaction, cmd.Reversal, cmd.Clearing = nil, nil, nil, nil, nil
	}
	for _, x := range []struct {
		word, name string
		change     func(*string, *payment.Command)
	}{
		{"authorization", "no body", bodiless},
		{"advice", "no body", bodiless},
		{"reversal", "no body", bodiless},
		{"clearing", "no body", bodiless},
		{"issue", "no body", bodiless},
		{"status", "no body", bodiless},
		{"authorization", "less than nothing", func(_ *string, cmd *payment.Command) { cmd.CardTransaction.AmountMinor = -1 }},
		{"authorization", "another account's", func(_ *string, cmd *payment.Command) { cmd.PaymentID, cmd.CommandID = other, string(other) }},
		{"authorization", "a payment's id", func(_ *string, cmd *payment.Command) { cmd.PaymentID, cmd.CommandID = payin, string(payin) }},
		{"authorization", "two ids", func(_ *string, cmd *payment.Command) { cmd.CommandID = string(payin) }},
		{"authorization", "under a card", func(key *string, _ *payment.Command) { *key = string(cardOf("visa")) }},
		{"authorization", "no id", func(_ *string, cmd *payment.Command) { cmd.PaymentID, cmd.CommandID = "", "" }},
		{"advice", "two ids", func(_ *string, cmd *payment.Command) { cmd.CommandID = "cmd_a" }},
		{"advice", "another account's", func(_ *string, cmd *payment.Command) { cmd.PaymentID, cmd.CommandID = other, string(other) }},
		{"reversal", "leaves less than nothing", func(_ *string, cmd *payment.Command) { cmd.Reversal.LeftMinor = -1 }},
		{"reversal", "of nothing", func(_ *string, cmd *payment.Command) { cmd.PaymentID = "" }},
		{"reversal", "of a payment", func(_ *string, cmd *payment.Command) { cmd.PaymentID = payin }},
		{"reversal", "another account's", func(_ *string, cmd *payment.Command) { cmd.PaymentID = other }},
		{"clearing", "of a payment", func(_ *string, cmd *payment.Command) { cmd.PaymentID = payin }},
		{"clearing", "another account's", func(_ *string, cmd *payment.Command) { cmd.PaymentID = other }},
		{"clearing", "under another's id", func(_ *string, cmd *payment.Command) {
			cmd.CommandID = string(payment.CardIDFrom(payment.KindClearing, accountOf("bob"), "c"))
		}},
		{"clearing", "under a name", func(_ *string, cmd *payment.Command) { cmd.CommandID = "cmd_c" }},
		{"clearing", "nothing", func(_ *string, cmd *payment.Command) { cmd.Clearing.AmountMinor = 0 }},
		{"issue", "under an account", func(key *string, _ *payment.Command) { *key = string(alice) }},
		{"status", "under a customer", func(key *string, _ *payment.Command) {
			*key = string(payment.CustomerKeyFrom(tenant, merchant, "alice"))
		}},
		{"status", "under nobody", func(key *string, _ *payment.Command) { *key = "7" }},
		{"status", "none", func(_ *string, cmd *payment.Command) { cmd.CardStatus.Status = 0 }},
		{"issue", "a tick under a card", func(_ *string, cmd *payment.Command) { cmd.Kind, cmd.Tick = payment.KindTick, &payment.Tick{Minute: 1} }},
		{"issue", "an account under a card", func(_ *string, cmd *payment.Command) {
			cmd.Kind, cmd.Open = payment.KindOpenAccount, &payment.OpenAccount{Currencies: []string{"BRL"}}
		}},
	} {
		key, cmd := words[x.word]()
		if _, _, err := accounts.Apply(accounts.Snapshot{}, cmd, payment.Meta{Key: key}); err != nil {
			t.Fatalf("%s itself: %v", x.word, err)
		}
		x.change(&key, &cmd)
		accounts.Reads(cmd, key) // must not panic
		if _, _, err := accounts.Apply(accounts.Snapshot{}, cmd, payment.Meta{Key: key}); !errors.Is(err, accounts.ErrMalformed) {
			t.Errorf("%s, %s: %v", x.word, x.name, err)
		}
	}
}

// TestAnotherKindsRecordIsNotTouched: an identity that is some other payment's is nobody's authorization.
func TestAnotherKindsRecordIsNotTouched(t *testing.T) {
	x := &table{house: newHouse(1), caller: caller{now: noon}, names: map[string]string{}, payments: map[string]payment.ID{}}
	key, cmd := x.open("alice", payment.OpenAccount{Currencies: []string{"BRL"}, Policy: "issuing"})
	x.deliver(key, cmd, false)
	id := payment.CardIDFrom(payment.KindAuthorization, accountOf("alice"), "m")
	there := &payment.Record{Kind: payment.KindPayIn, Status: payment.StatusSucceeded, AmountMinor: 5, Currency: "BRL", TargetCurrency: "BRL", Method: "book"}
	key = string(accountOf("alice"))
	x.house.payments[key+id.Identity()] = there
	decide := func(key string, cmd payment.Command) accounts.Decision {
		e, err := x.decide(key, cmd)
		if err != nil {
			t.Fatal(err)
		}
		return e.decision
	}
	_, advice := x.transact(payment.KindAuthorizationAdvice, "alice", "m", payment.CardTransaction{AmountMinor: 1, Currency: "BRL"})
	_, reversal := x.reverse("alice", "m", payment.Reversal{})
	for _, cmd := range []payment.Command{advice, reversal} {
		if d := decide(key, cmd); d.Outcome != payment.OutcomeDeclined || d.Reasons[0] != payment.ReasonPaymentState || d.AmountMinor != 0 || d.Status != payment.StatusNone {
			t.Errorf("%s: %+v", cmd.Kind, d)
		}
	}
	_, clearing := x.clear("alice", "c", "m", payment.Clearing{AmountMinor: 1, Currency: "BRL"})
	if d := decide(key, clearing); d.Reasons[0] != payment.ReasonPaymentUnknown || d.RelatedStatus != payment.StatusNone || d.Related != id {
		t.Errorf("clearing: %+v", d)
	}
	if x.house.payments[key+id.Identity()] != there {
		t.Error("the record was overwritten")
	}
}

// TestWhatIsToldOfACard: a decision tells what the command told, whatever is decided.
func TestWhatIsToldOfACard(t *testing.T) {
	x := &table{house: newHouse(1), caller: caller{now: noon}, names: map[string]string{}, payments: map[string]payment.ID{}}
	card := cardOf("visa")
	_, authorization := x.transact(payment.KindAuthorization, "nobody", "m", payment.CardTransaction{
		AmountMinor: 1, Currency: "BRL", Card: card, MCC: "5411", Acquirer: "1", CardAcceptor: "shop", RRN: "r",
	})
	_, reversal := x.reverse("nobody", "m", payment.Reversal{Card: card, ReasonCode: "17", RRN: "r", Acquirer: "1"})
	_, clearing := x.clear("nobody", "c", "m", payment.Clearing{AmountMinor: 1, Currency: "BRL", Card: card, MCC: "5411", Acquirer: "1", CardAcceptor: "shop", RRN: "r"})
	for _, cmd := range []payment.Command{authorization, reversal, clearing} {
		e, err := x.decide(string(accountOf("nobody")), cmd)
		if err != nil {
			t.Fatal(err)
		}
		d := e.decision
		if d.Card != card || d.Acquirer != "1" || d.RRN != "r" || (d.ReasonCode == "17") != (cmd.Reversal != nil) ||
			(d.MCC == "5411" && d.CardAcceptor == "shop") != (cmd.Reversal == nil) {
			t.Errorf("%s tells %+v", cmd.Kind, d)
		}
	}
	key, issue := x.onCard(payment.KindIssueCard, "visa", "nobody")
	issue.IssueCard = &payment.IssueCard{First6: "445566", Last4: "1234", Expiry: 3012}
	if e, err := x.decide(key, issue); err != nil || e.decision.Card != card || e.decision.Account != key || e.decision.CardState.IssuedAtUS != e.decision.AcceptedAtUS {
		t.Errorf("%v, %+v", err, e.decision)
	}
}

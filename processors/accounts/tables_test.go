package accounts_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
)

// TestTables runs histories written in a small language; every decision is printed, with those that its emissions lead to.
//
//	open NAME CUR[,CUR] [kyc=N] [overdraft=MINOR] [policy=ID] [customer=NAME] [body=TEXT]
//	payin|payout NAME AMOUNT CUR METHOD key=K [to=CUR] [party=NAME] [country=CC] [after=SECONDS] [pin=REF] [merchant=M]
//	transfer NAME PAYEE AMOUNT CUR key=K [to=CUR]
//	refund KEY [AMOUNT] key=K [as=PREFIX]      approve|decline KEY key=K [as=PREFIX]      kyc NAME LEVEL key=K
//	tick [after=SECONDS]             state NAME STATUS                balances NAME
//	any of them with hold=yes        deliver                          again
//
// hold=yes keeps what the command emits on its way, deliver decides the first of it, again decides the last delivered anew.
func TestTables(t *testing.T) {
	datadriven.Walk(t, "testdata/tables", func(t *testing.T, path string) {
		x := &table{house: newHouse(1), caller: caller{now: noon}, names: map[string]string{}, payments: map[string]payment.ID{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return x.run(t, d) })
	})
}

type table struct {
	*house
	caller
	names    map[string]string // of keys
	payments map[string]payment.ID
	currency map[string]string
	held     []accounts.CommandEmission
	last     accounts.CommandEmission
}

func (x *table) run(t *testing.T, d *datadriven.TestData) string {
	x.now += int64(number(option(d, "after", "0"))) * second
	switch d.Cmd {
	case "balances":
		var b strings.Builder
		for _, l := range x.cells[string(accountOf(word(d, 0)))].Balances {
			fmt.Fprintln(&b, balanceText(l))
		}
		return b.String()
	case "state":
		return x.setState(word(d, 0), word(d, 1))
	case "deliver":
		x.last, x.held = x.held[0], x.held[1:]
		return x.deliver(x.last.Key, x.last.Command, option(d, "hold", "") != "")
	case "again":
		return x.deliver(x.last.Key, x.last.Command, false)
	}
	key, cmd := x.parse(t, d)
	if m := option(d, "merchant", ""); m != "" {
		cmd.Merchant = m
	}
	if m := option(d, "tenant", ""); m != "" {
		cmd.Tenant = m
	}
	if pin := option(d, "pin", ""); pin != "" {
		cmd.Pins.Policy = pin
	}
	return x.deliver(key, cmd, option(d, "hold", "") != "")
}

// deliver decides a command and everything that follows from it, unless that is held.
func (x *table) deliver(key string, cmd payment.Command, hold bool) string {
	e, err := x.decide(key, cmd)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	b.WriteString(text(&e.decision, x.names))
	for _, o := range e.out {
		switch {
		case o.Command != nil && hold:
			x.held = append(x.held, *o.Command)
		case o.Command != nil:
			b.WriteString(x.deliver(o.Command.Key, o.Command.Command, false))
		case o.Directory != nil:
			fmt.Fprintf(&b, "  directory: level %d\n", o.Directory.State.KYCLevel)
		}
	}
	return b.String()
}

func (x *table) setState(name, status string) string {
	cell := *x.cells[string(accountOf(name))]
	state := *cell.State
	state.Status = map[string]accounts.AccountStatus{
		"open": accounts.AccountStatusOpen, "blocked": accounts.AccountStatusBlocked, "closed": accounts.AccountStatusClosed,
	}[status]
	cell.State = &state
	x.cells[string(accountOf(name))] = &cell
	return status
}

func (x *table) parse(t *testing.T, d *datadriven.TestData) (string, payment.Command) {
	t.Helper()
	name, k := "", option(d, "key", "")
	if len(d.CmdArgs) > 0 {
		name = word(d, 0)
		x.names[string(accountOf(name))] = name
		x.names[string(payment.CustomerKeyFrom(tenant, merchant, name))] = name + "'s customer"
	}
	switch d.Cmd {
	case "open":
		o := payment.OpenAccount{
			Currencies: strings.Split(word(d, 1), "/"), KYCLevel: uint8(number(option(d, "kyc", "3"))),
			OverdraftLimitMinor: int64(number(option(d, "overdraft", "0"))), Policy: option(d, "policy", "standard"),
		}
		key, cmd := x.open(name, o)
		if c := option(d, "customer", ""); c != "" {
			cmd.Customer = c
			key = string(payment.CustomerKeyFrom(tenant, merchant, c))
			x.names[key] = c + "'s customer"
		}
		return key, cmd
	case "payin", "payout":
		kind := map[string]payment.Kind{"payin": payment.KindPayIn, "payout": payment.KindPayOut}[d.Cmd]
		return x.pay(t, d, kind, payment.Instruction{
			AmountMinor: minor(t, word(d, 1), word(d, 2)), Currency: word(d, 2), Method: word(d, 3),
		})
	case "transfer":
		x.names[string(accountOf(word(d, 1)))] = word(d, 1)
		return x.pay(t, d, payment.KindTransfer, payment.Instruction{
			AmountMinor: minor(t, word(d, 2), word(d, 3)), Currency: word(d, 3), Method: "book", ToAccount: accountOf(word(d, 1)),
		})
	case "refund":
		amount := int64(0)
		if len(d.CmdArgs) > 1 && d.CmdArgs[1].Key != "key" {
			amount = int64(number(word(d, 1)))
		}
		key, cmd := x.refund(x.named(d), k, amount)
		x.payments[k] = payment.ID(cmd.CommandID)
		return key, cmd
	case "approve":
		return x.verdict(payment.KindApprove, x.named(d), k)
	case "decline":
		return x.verdict(payment.KindDecline, x.named(d), k)
	case "kyc":
		return x.level(name, uint8(number(word(d, 1))), k)
	case "tick":
		return x.tick(0)
	default:
		t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
		return "", payment.Command{}
	}
}

// named is the payment of a key, or the same identity under another kind's prefix.
func (x *table) named(d *datadriven.TestData) payment.ID {
	id := x.payments[word(d, 0)]
	if prefix := option(d, "as", ""); prefix != "" {
		return payment.ID(prefix + id.Identity())
	}
	return id
}

func (x *table) pay(t *testing.T, d *datadriven.TestData, kind payment.Kind, in payment.Instruction) (string, payment.Command) {
	t.Helper()
	in.TargetCurrency = option(d, "to", "")
	in.Counterparty.Country = option(d, "country", "")
	if p := option(d, "party", ""); p != "" {
		in.Counterparty.Digest = digest(p)
	}
	k := option(d, "key", "")
	key, cmd := x.instruct(kind, word(d, 0), k, in)
	x.payments[k] = cmd.PaymentID
	return key, cmd
}

func accountOf(name string) payment.AccountID { return payment.AccountIDFrom(tenant, merchant, name) }

func word(d *datadriven.TestData, i int) string {
	if i >= len(d.CmdArgs) {
		panic(d.Pos + ": too few words")
	}
	return d.CmdArgs[i].Key
}

func option(d *datadriven.TestData, name, fallback string) string {
	for _, a := range d.CmdArgs {
		if a.Key == name && len(a.Vals) == 1 {
			return a.Vals[0]
		}
	}
	return fallback
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func minor(t *testing.T, amount, currency string) int64 {
	t.Helper()
	if n, err := strconv.ParseInt(strings.TrimPrefix(amount, "#"), 10, 64); err == nil && strings.HasPrefix(amount, "#") {
		return n
	}
	n, err := money.Parse(amount, currency)
	if err != nil {
		t.Fatalf("amount %s %s: %v", amount, currency, err)
	}
	return n
}

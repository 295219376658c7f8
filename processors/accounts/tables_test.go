package accounts_test

import (
	"crypto/sha256"
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
//	payin ... card [capture=manual] [brand=B] [installments=N]
//	capture KEY [AMOUNT] key=K [final=yes]     void KEY key=K     increment KEY AMOUNT key=K
//	quote NAME AMOUNT CUR to=CUR key=K         payin|payout|transfer ... [quote=KEY]
//	dispute KEY STAGE AMOUNT key=K [code=C] [until=SECONDS] [message=M] [at=SECONDS]     evidence KEY [files=N] key=K     accept KEY key=K
//	answer KEY STEP RESULT [amount=MINOR] [closed=yes] [code=C] [connector=C] [reference=R] [of=KEY]
//	issue CARD NAME [last4=N]            card CARD STATUS [key=K]        (merchant=M)
//	authorize KEY AMOUNT CUR [on=NAME] [financial=yes] [party=NAME] [country=CC]
//	advise KEY AMOUNT CUR [financial=yes] [standin=yes [asked=N [later=SECONDS]]] [refused=yes]    reverse KEY [left=MINOR] [in=CUR] [standin=yes [asked=N [later=SECONDS]]]
//	clear KEY AMOUNT CUR [of=KEY] [final=yes] [credit=yes]
//	tick [after=SECONDS]             state NAME STATUS                balances NAME
//	any of them with hold=yes        deliver                          again
//
// hold=yes keeps what the command emits on its way, deliver decides the first of it, again decides the last delivered anew.
func TestTables(t *testing.T) {
	datadriven.Walk(t, "testdata/tables", func(t *testing.T, path string) {
		x := &table{house: newHouse(1), caller: caller{now: noon}, names: map[string]string{}, payments: map[string]payment.ID{}, asked: map[string][]payment.Command{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return x.run(t, d) })
	})
}

type table struct {
	*house
	caller
	names    map[string]string // of keys
	policy   string            // of the account opened last
	account  string            // its name
	payments map[string]payment.ID
	currency map[string]string
	asked    map[string][]payment.Command // authorizations, by the names that the file gave them
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
	switch pin := option(d, "pin", ""); pin {
	case "":
	case "none":
		cmd.Pins = payment.Pins{}
	default:
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
		case o.Order != nil:
			b.WriteString(x.order(o.Order))
		case o.Card != nil:
			fmt.Fprintf(&b, "  cards: %s\n", o.Card.State.Status)
		case o.Directory != nil:
			fmt.Fprintf(&b, "  directory: level %d\n", o.Directory.State.KYCLevel)
		}
	}
	return b.String()
}

// order prints an order by the names that the file gave to payments.
func (x *table) order(o *accounts.Order) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  order %s: kind %d, %d %s by %s", x.byName(o.OrderID), o.Kind, o.AmountMinor, o.Currency, o.Method)
	if o.PaymentID != payment.ID(o.OrderID[:len(o.PaymentID)]) {
		fmt.Fprintf(&b, " for %s", x.byName(string(o.PaymentID)))
	}
	for _, f := range [][2]string{{"brand", o.Brand}, {"connector", o.Connector}, {"reference", o.Reference}} {
		if f[1] != "" {
			fmt.Fprintf(&b, ", %s %s", f[0], f[1])
		}
	}
	if o.Final {
		b.WriteString(", final")
	}
	if o.LateAtUS != 0 {
		fmt.Fprintf(&b, ", knows what came late until %d", o.LateAtUS)
	}
	return b.String() + "\n"
}

// byName puts the names of payments in the place of their ids.
func (x *table) byName(text string) string {
	for k, id := range x.payments {
		text = strings.ReplaceAll(text, string(id), k)
	}
	return text
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
		x.policy, x.account = option(d, "policy", "standard"), name
		o := payment.OpenAccount{
			Currencies: strings.Split(word(d, 1), "/"), KYCLevel: uint8(number(option(d, "kyc", "3"))),
			OverdraftLimitMinor: int64(number(option(d, "overdraft", "0"))), Policy: x.policy,
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
		cmd.Pins = x.pins()
		x.payments[k] = payment.ID(cmd.CommandID)
		return key, cmd
	case "capture", "void", "increment":
		kind := map[string]payment.Kind{"capture": payment.KindCapture, "void": payment.KindVoid, "increment": payment.KindIncrement}[d.Cmd]
		amount := 0
		if len(d.CmdArgs) > 1 && d.CmdArgs[1].Key != "key" {
			amount = number(word(d, 1))
		}
		key, cmd := x.operate(kind, x.named(d), k, int64(amount), option(d, "final", "") != "")
		cmd.Pins = x.pins()
		x.payments[k] = payment.ID(cmd.CommandID)
		return key, cmd
	case "quote":
		key, cmd := x.quote(name, k, payment.FXQuote{
			AmountMinor: minor(t, word(d, 1), word(d, 2)), Currency: word(d, 2), TargetCurrency: option(d, "to", ""),
		})
		cmd.Pins = x.pins()
		x.payments[k] = cmd.PaymentID
		return key, cmd
	case "dispute":
		return x.disputed(d)
	case "evidence", "accept":
		key, cmd := x.contest(x.named(d), k, number(option(d, "files", "1")))
		if d.Cmd == "accept" {
			key, cmd = x.contest(x.named(d), k, 0)
		}
		cmd.Pins = x.pins()
		return key, cmd
	case "answer":
		return x.railAnswer(d)
	case "approve":
		return x.judge(payment.KindApprove, d, k)
	case "decline":
		return x.judge(payment.KindDecline, d, k)
	case "kyc":
		return x.level(name, uint8(number(word(d, 1))), k)
	case "tick":
		return x.tick(0)
	default:
		return x.parseCard(t, d)
	}
}

// disputed tells of the dispute that the file calls key: the first gives it an id by that name.
func (x *table) disputed(d *datadriven.TestData) (string, payment.Command) {
	of, k := x.named(d), option(d, "key", "")
	q := payment.Dispute{
		AmountMinor: int64(number(word(d, 2))), ReasonCode: option(d, "code", ""), Connector: "stone", Reference: k,
	}
	for q.Stage.String() != word(d, 1) {
		if q.Stage++; q.Stage > payment.DisputeStageLost {
			panic(d.Pos + ": no such stage")
		}
	}
	if until := number(option(d, "until", "0")); until != 0 {
		q.DeadlineUS = x.now + int64(until)*second
	}
	if at := number(option(d, "at", "0")); at != 0 {
		q.OccurredAtUS = noon + int64(at)*second
	}
	if m := option(d, "message", ""); m != "" {
		q.MessageID = payment.CommandIDFrom(string(of.Account()), merchant, m)
	}
	key, cmd := x.dispute(of, q)
	cmd.BodyHash = sha256.Sum256(fmt.Append(nil, q.Stage, q.AmountMinor, q.ReasonCode))
	if _, known := x.payments[k]; !known {
		x.payments[k] = payment.ID(cmd.CommandID)
	}
	cmd.CommandID = "dp_" + x.payments[k].Identity()
	cmd.Pins = x.pins()
	return key, cmd
}

func (x *table) judge(kind payment.Kind, d *datadriven.TestData, k string) (string, payment.Command) {
	key, cmd := x.verdict(kind, x.named(d), k)
	cmd.Pins = x.pins()
	return key, cmd
}

// pins are the file's: those of the policy of its last account.
func (x *table) pins() payment.Pins {
	pins := standardPins
	pins.Policy = x.policy + "@1"
	return pins
}

func (x *table) railAnswer(d *datadriven.TestData) (string, payment.Command) {
	waits := x.named(d)
	of := waits
	if k := option(d, "of", ""); k != "" {
		of = x.payments[k]
	}
	a := payment.RailAnswer{
		OrderID: accounts.OrderID(waits, word(d, 1)), Code: option(d, "code", ""), Connector: option(d, "connector", ""),
		Reference: option(d, "reference", ""), AmountMinor: int64(number(option(d, "amount", "0"))),
		Closed: option(d, "closed", "") != "", ReportedAtUS: int64(number(option(d, "reported", "0"))),
	}
	for a.Result.String() != word(d, 2) {
		if a.Result++; a.Result > payment.RailReturned {
			panic(d.Pos + ": no such result")
		}
	}
	return x.answer(of, a)
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
	if option(d, "capture", "") == "manual" {
		in.Card.Capture = payment.CaptureManual
	}
	in.Card.Brand = option(d, "brand", "")
	in.Card.Installments = uint8(number(option(d, "installments", "0")))
	if q := option(d, "quote", ""); q != "" {
		in.Quote = x.payments[q]
		if in.Quote == "" {
			in.Quote = payment.ID(q)
		}
		if prefix := option(d, "quote_as", ""); prefix != "" {
			in.Quote = payment.ID(prefix + in.Quote.Identity())
		}
	}
	k := option(d, "key", "")
	key, cmd := x.instruct(kind, word(d, 0), k, in)
	x.payments[k] = cmd.PaymentID
	cmd.Pins = x.pins()
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

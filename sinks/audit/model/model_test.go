package model_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit/model"
)

// TestHistories plays hand-written histories. Each line is a command; what it leads to was worked out from docs/domain.md.
//
//	open a BRL,USD kyc=1 policy=p overdraft=100
//	payin a 1000 BRL [to=USD] [method=cash] [key=k] [body=b] [party=x] [country=XX] [policy=p]
//	payout, transfer (with payee=b) alike; refund a of=k [amount=10]; approve a of=k [as=pi_]; decline a of=k; kyc a level=2; tick
//	capture a of=k [amount=10] [final=yes], void, increment alike: on the pay-in k; key=c is the operation's own
//	answer a of=k [op=c] step=capture result=confirmed [amount=10] [by=cielo] [ref=r] [tid=t] [code=00] [closed=yes] [reported=-1m]: to an order of k, or of its operation c
//	quote a 1000 USD to=BRL key=q; payin a 1000 USD to=BRL quote=q
//	issue c a [expiry=2912]; card c status=blocked: on the card's key
//	authorize a 1000 BRL key=k [financial=yes]; advise a 1000 BRL key=k [standin=yes] [refused=yes]; reverse a of=k [left=10] [standin=yes]
//	what the door tells: asked=-1m, or asked=+0s for now; a reversal with standin=yes has the hash of the last request of k; hash=h: the hash of that word
//	clear a 1000 BRL key=c [of=k] [final=yes] [credit=yes]
//	dispute a of=k key=d stage=lost amount=10 [deadline=+1h] [occurred=-1h] [message=w, or message_id=w as it stands] [code=10.4]; evidence a of=d files=x,y; accept a of=d
//	clock 2026-03-01T10:00:00Z | +10m
//	close a: no command does this yet
//
// A payin with method=card takes capture=manual, brand, installments and instrument.
// hold=yes keeps what a command emits on its way, deliver decides the first of it, again decides the last delivered anew.
func TestHistories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		t.Helper()
		var w *world
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			if w == nil || d.Cmd == "reset" {
				w = newWorld(t)
			}
			var out strings.Builder
			for line := range strings.Lines(d.Input) {
				w.line(&out, strings.Fields(line))
			}
			return out.String()
		})
	})
}

const tenant, merchant = "t", "m"

type world struct {
	t      *testing.T
	p      *model.Partition
	now    time.Time
	offset int64
	names  map[string]string // ids and their names
	hashes map[string][]byte // of the last request that an authorization's id came with
	kinds  map[string]string // prefixes by identity
	queue  []model.Emission
	held   []model.Emission
	last   model.Emission
}

func newWorld(t *testing.T) *world {
	t.Helper()
	refs := model.NewReferences()
	for topic, docs := range documents() {
		for key, doc := range docs {
			b, err := proto.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			if err := refs.Add(topic, key, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	return &world{t: t, p: model.NewPartition(refs), now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), names: map[string]string{}, hashes: map[string][]byte{}, kinds: map[string]string{}}
}

func documents() map[string]map[string]proto.Message {
	rules := []*referencev1.Rule{
		{Id: "minute", Version: 1, Kind: referencev1.RuleKind_RULE_KIND_VELOCITY_MINUTE, Weight: 300, Threshold: 3, Reason: "many payments in a minute"},
		{Id: "amount", Version: 2, Kind: referencev1.RuleKind_RULE_KIND_AMOUNT_HISTORY, Weight: 300, Threshold: 500, MinHistory: 3, Reason: "far above the mean"},
		{Id: "new", Version: 1, Kind: referencev1.RuleKind_RULE_KIND_NEW_COUNTERPARTY, Weight: 600, Threshold: 30_000, Reason: "first payment, high amount"},
		{Id: "night", Version: 1, Kind: referencev1.RuleKind_RULE_KIND_NIGHT, Weight: 400, Threshold: 20_000, FromMinute: 22 * 60, ToMinute: 6 * 60, Reason: "at night"},
	}
	offsets := []*referencev1.UtcOffset{{FromUs: 0, OffsetS: -3 * 3600}}
	limits := []*referencev1.KycLimit{{Level: 1, DayMinor: 100_000, MonthMinor: 150_000}, {Level: 2, DayMinor: 1_000_000, MonthMinor: 2_000_000}}
	return map[string]map[string]proto.Message{
		topics.Policies: {
			"plain@1": &referencev1.Policy{Id: "plain", Version: 1},
			"full@1": &referencev1.Policy{
				Id: "full", Version: 1, LimitCurrency: "BRL", Limits: limits, FraudMode: referencev1.FraudMode_FRAUD_MODE_ENFORCE, ReviewScore: 500,
				DeclineScore: 900, UtcOffsets: offsets, ReviewTimeoutS: 3600, RetentionDays: 90,
			},
			// Authorisations last two hours, 20 % over; fees of refunds and returns are kept, refunds are at the original rate.
			"rail@1": &referencev1.Policy{
				Id: "rail", Version: 1, Bank: &referencev1.BankPolicy{}, QuoteTtlS: 600, Card: &referencev1.CardPolicy{
					AuthorizationTtlS: 7200, OverCaptureBp: 2000, Dispute: &referencev1.DisputePolicy{Fees: []*referencev1.Charge{{Currency: "USD", AmountMinor: 300}, {Currency: "BRL", AmountMinor: 1500}}},
				},
			},
			// The other way round, and authorisations last for ever.
			"give@1": &referencev1.Policy{
				Id: "give", Version: 1,
				Card: &referencev1.CardPolicy{RefundFee: referencev1.RefundFee_REFUND_FEE_RETURNED, RefundRate: referencev1.RefundRate_REFUND_RATE_CURRENT},
				Bank: &referencev1.BankPolicy{ReturnFee: referencev1.RefundFee_REFUND_FEE_RETURNED},
			},
			"back@1": &referencev1.Policy{
				Id: "back", Version: 1, Bank: &referencev1.BankPolicy{}, Card: &referencev1.CardPolicy{
					RefundFee: referencev1.RefundFee_REFUND_FEE_RETURNED,
					Dispute:   &referencev1.DisputePolicy{Fees: []*referencev1.Charge{{Currency: "BRL", AmountMinor: 700}}, FeeReturned: true},
				},
			},
			// Cards of the account: what they were granted lasts an hour. Whoever follows "plain" has no limits, and no such part.
			"issue@1": &referencev1.Policy{Id: "issue", Version: 1, RetentionDays: 30, Issuing: &referencev1.IssuingPolicy{AuthorizationTtlS: 3600}},
			"fullissue@1": &referencev1.Policy{
				Id: "fullissue", Version: 1, LimitCurrency: "BRL", Limits: limits, FraudMode: referencev1.FraudMode_FRAUD_MODE_ENFORCE, ReviewScore: 500,
				DeclineScore: 900, UtcOffsets: offsets, ReviewTimeoutS: 3600, RetentionDays: 90, Issuing: &referencev1.IssuingPolicy{}, QuoteTtlS: 600,
			},
			"fullrail@1": &referencev1.Policy{
				Id: "fullrail", Version: 1, LimitCurrency: "BRL", Limits: limits, FraudMode: referencev1.FraudMode_FRAUD_MODE_ENFORCE, ReviewScore: 500,
				DeclineScore: 900, UtcOffsets: offsets, ReviewTimeoutS: 3600, RetentionDays: 90, Card: &referencev1.CardPolicy{AuthorizationTtlS: 7200},
				Bank: &referencev1.BankPolicy{},
			},
		},
		topics.FeeSchedules: {"fees@1": &referencev1.FeeSchedule{Id: "fees", Version: 1, Fees: []*referencev1.Fee{
			{Kind: paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, Currency: "BRL", FixedMinor: 10, RatePpm: 10_000, MinMinor: 15, MaxMinor: 500},
			{Kind: paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT, Currency: "BRL", FixedMinor: 100},
			{Kind: paymentsv1.CommandKind_COMMAND_KIND_TRANSFER, RatePpm: 5_000},
			{Kind: paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, Method: "card", Currency: "USD", FixedMinor: 30, RatePpm: 20_000},
			{Kind: paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, Method: "card", Currency: "EUR", RatePpm: 50_000},
		}}},
		topics.FXRates: {"fx@1": &referencev1.RateSheet{Id: "fx", Version: 1, ValidUntilUs: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC).UnixMicro(), Rates: []*referencev1.Rate{
			{Source: "USD", Target: "BRL", MidUnscaled: 5_25, MidScale: 2, SpreadBp: 200},
			{Source: "BRL", Target: "USD", MidUnscaled: 19, MidScale: 2, SpreadBp: 200},
			{Source: "BRL", Target: "JPY", MidUnscaled: 285, MidScale: 1, SpreadBp: 0},
			{Source: "EUR", Target: "BRL", MidUnscaled: 10, MidScale: 2, SpreadBp: 0},
		}}, "fx@2": &referencev1.RateSheet{Id: "fx", Version: 2, ValidUntilUs: time.Date(2026, 3, 2, 14, 0, 0, 0, time.UTC).UnixMicro(), Rates: []*referencev1.Rate{
			{Source: "USD", Target: "BRL", MidUnscaled: 6, SpreadBp: 100},
		}}},
		topics.Rules:      {"rules@1": &referencev1.RuleSet{Id: "rules", Version: 1, Rules: rules}},
		topics.Blocklists: {"block@1": &referencev1.Blocklist{Id: "block", Version: 1, Countries: []string{"XX"}, PartyDigests: [][]byte{[]byte("villain")}}},
	}
}

func pins(policy string) *paymentsv1.Pins {
	switch policy {
	case "none":
		return nil
	case "fullissue":
		return &paymentsv1.Pins{Policy: "fullissue@1", Rates: "fx@1", Rules: "rules@1", Blocklist: "block@1"}
	case "full":
		return &paymentsv1.Pins{Policy: "full@1", Fees: "fees@1", Rates: "fx@1", Rules: "rules@1", Blocklist: "block@1"}
	case "fullrail":
		return &paymentsv1.Pins{Policy: "fullrail@1", Fees: "fees@1", Rates: "fx@1", Rules: "rules@1", Blocklist: "block@1"}
	case "rail", "give", "back":
		return &paymentsv1.Pins{Policy: policy + "@1", Fees: "fees@1", Rates: "fx@1"}
	case "fees":
		return &paymentsv1.Pins{Policy: "plain@1", Fees: "fees@1", Rates: "fx@1"}
	default:
		return &paymentsv1.Pins{Policy: policy + "@1", Rates: "fx@1"}
	}
}

func (w *world) account(name string) string {
	id := string(payment.AccountIDFrom(tenant, merchant, name))
	w.names[id] = name
	return id
}

func (w *world) payment(kind payment.Kind, account, key string) string {
	id := string(payment.IDFrom(kind, payment.AccountID(w.account(account)), merchant, key))
	w.names[id[3:]] = "#" + key
	return id
}

// line runs one command and everything that it emits.
func (w *world) line(out *strings.Builder, words []string) {
	args := map[string]string{}
	var plain []string
	for _, word := range words[1:] {
		if name, value, ok := strings.Cut(word, "="); ok {
			args[name] = value
		} else {
			plain = append(plain, word)
		}
	}
	if words[0] == "close" {
		w.p.Close(w.account(plain[0]))
		return
	}
	if words[0] == "clock" {
		if d, err := time.ParseDuration(strings.TrimPrefix(plain[0], "+")); err == nil {
			w.now = w.now.Add(d)
		} else if w.now, err = time.Parse(time.RFC3339, plain[0]); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	var first model.Emission
	switch words[0] {
	case "deliver":
		w.last, w.held = w.held[0], w.held[1:]
		first = w.last
	case "again":
		first = w.last
	default:
		first.Key, first.Command = w.command(words[0], plain, args)
	}
	w.queue = []model.Emission{first}
	for len(w.queue) > 0 {
		if args["hold"] != "" && w.queue[0] != first {
			w.held = append(w.held, w.queue...)
			return
		}
		next := w.queue[0]
		w.queue = w.queue[1:]
		w.apply(out, next)
	}
}

func (w *world) apply(out *strings.Builder, e model.Emission) {
	w.result(out, e)
}

// result decides one command, prints the decision and the orders, and queues what it emits.
func (w *world) result(out *strings.Builder, e model.Emission) (r model.Result) {
	if e.Command.GetAcceptedAtUs() == 0 {
		e.Command.AcceptedAtUs = w.now.UnixMicro()
	}
	if e.Command.GetTenant() == "" {
		e.Command.Tenant, e.Command.Merchant = tenant, merchant
	}
	r, err := w.p.Apply(model.Record{Key: e.Key, Offset: w.offset, Command: e.Command})
	w.offset++
	if err != nil {
		fmt.Fprintf(out, "error: %v\n", err)
		return r
	}
	for _, next := range r.Emissions {
		next.Command = proto.CloneOf(next.Command)
		if next.Command.GetPins() == nil {
			next.Command.Pins = e.Command.GetPins()
		}
		w.queue = append(w.queue, next)
	}
	w.print(out, e.Command, r.Decision)
	for _, o := range r.Orders {
		w.printOrder(out, o)
	}
	return r
}

// printOrder writes an order with names in place of ids.
func (w *world) printOrder(out *strings.Builder, o *railsv1.Order) {
	record, step, _ := strings.Cut(o.GetOrderId(), ".")
	fmt.Fprintf(out, "  order %s%s.%s of %s: %s %d %s by %s", record[:3], w.names[record[3:]], step, w.names[o.GetPaymentId()[3:]],
		word(o.GetKind(), "ORDER_KIND_"), o.GetAmountMinor(), o.GetCurrency(), o.GetMethod())
	for _, f := range []struct{ name, value string }{
		{"instrument", o.GetInstrument()}, {"brand", o.GetBrand()}, {"connector", o.GetConnector()}, {"reference", o.GetReference()},
	} {
		if f.value != "" {
			fmt.Fprintf(out, " %s=%s", f.name, f.value)
		}
	}
	if n := o.GetInstallments(); n != 0 {
		fmt.Fprintf(out, " installments=%d", n)
	}
	if o.GetFinal() {
		out.WriteString(" final")
	}
	if late := o.GetLateAtUs(); late != 0 {
		fmt.Fprintf(out, " late=%s", time.UnixMicro(late).UTC().Format("02T15:04"))
	}
	out.WriteString("\n")
}

func word(v fmt.Stringer, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(v.String(), prefix))
}

// print writes a decision with names in place of ids.
func (w *world) print(out *strings.Builder, _ *paymentsv1.Command, d *paymentsv1.Decision) {
	fmt.Fprintf(out, "%s %s", word(d.GetKind(), "COMMAND_KIND_"), word(d.GetOutcome(), "OUTCOME_"))
	for _, r := range d.GetReasons() {
		out.WriteString(" " + word(r, "REASON_"))
	}
	if d.GetAccount() != "" {
		fmt.Fprintf(out, " [%s %d]", w.names[d.GetAccount()], d.GetAccountSeq())
	}
	if s := d.GetStatus(); s != 0 {
		fmt.Fprintf(out, " %s", word(s, "PAYMENT_STATUS_"))
	}
	if s := d.GetFraudScore(); s != 0 {
		fmt.Fprintf(out, " score=%d", s)
	}
	if s := d.GetRelatedStatus(); s != 0 {
		fmt.Fprintf(out, " related=%s", word(s, "PAYMENT_STATUS_"))
	}
	printRail(out, d)
	w.printRest(out, d)
	out.WriteString("\n")
	for _, j := range d.GetJournals() {
		fmt.Fprintf(out, "  %s:", word(j.GetKind(), "JOURNAL_KIND_"))
		for i, p := range j.GetPostings() {
			if i > 0 {
				out.WriteString(",")
			}
			name := p.GetAccount()
			if n := w.names[name]; n != "" {
				name = n
			}
			fmt.Fprintf(out, " %s %+d %s", name, p.GetAmountMinor(), p.GetCurrency())
		}
		out.WriteString("\n")
	}
	if len(d.GetJournals()) > 0 {
		fmt.Fprintf(out, "  = %s\n", model.Balances(d.GetBalances()))
	}
}

// printRest writes what only some kinds tell.
func (w *world) printRest(out *strings.Builder, d *paymentsv1.Decision) {
	for _, f := range []struct{ name, value string }{{"reason", d.GetReasonCode()}, {"card", d.GetCard()}, {"tid", d.GetRailTid()}} {
		if f.value != "" {
			fmt.Fprintf(out, " %s=%s", f.name, f.value)
		}
	}
	if d.GetQuote() != "" {
		out.WriteString(" at " + w.names[d.GetQuote()[3:]])
	}
	if s := d.GetCardState(); s != nil {
		fmt.Fprintf(out, " (%s's, %s, %s...%s until %d)", w.names[s.GetAccount()], word(s.GetStatus(), "CARD_STATUS_"), s.GetFirst6(), s.GetLast4(), s.GetExpiry())
	}
	for _, f := range d.GetEvidence() {
		out.WriteString(" file=" + f.GetReference())
	}
	if d.GetOrderId() == "" && d.GetConnector() != "" {
		fmt.Fprintf(out, " told by %s as %s", d.GetConnector(), d.GetRailReference())
	}
}

// printRail writes what a decision tells of a payment that a rail executes.
func printRail(out *strings.Builder, d *paymentsv1.Decision) {
	quote := d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_FX_QUOTE
	if d.GetMethod() != "card" && d.GetMethod() != "bank" && d.GetMethod() != "issuing" && d.GetQuote() == "" && !quote || d.GetStatus() == 0 {
		return
	}
	fmt.Fprintf(out, " amount=%d", d.GetAmountMinor())
	for _, f := range []struct {
		name  string
		minor int64
	}{
		{"target", d.GetTargetAmountMinor()},
		{"fee", d.GetFeeMinor()},
		{"authorized", d.GetAuthorizedMinor()},
		{"captured", d.GetCapturedMinor()},
		{"refunded", d.GetRefundedMinor()},
	} {
		if f.minor != 0 {
			fmt.Fprintf(out, " %s=%d", f.name, f.minor)
		}
	}
	if fx := d.GetFx(); fx != nil {
		fmt.Fprintf(out, " fx=%de-%d (%de-%d less %dbp)", fx.GetRateUnscaled(), fx.GetRateScale(), fx.GetMidUnscaled(), fx.GetMidScale(), fx.GetSpreadBp())
	}
	if d.GetDeadlineUs() != 0 {
		fmt.Fprintf(out, " until %s", time.UnixMicro(d.GetDeadlineUs()).UTC().Format("02T15:04"))
	}
}

// command builds what a line asks for.
func (w *world) command(verb string, plain []string, args map[string]string) (string, *paymentsv1.Command) {
	policy := args["policy"]
	if policy == "" {
		policy = "plain"
	}
	if verb == "tick" {
		return "0", &paymentsv1.Command{
			Kind: paymentsv1.CommandKind_COMMAND_KIND_TICK,
			Body: &paymentsv1.Command_Tick{Tick: &paymentsv1.Tick{Minute: w.now.Unix() / 60}},
		}
	}
	name := plain[0]
	if verb == "issue" || verb == "card" {
		return w.card(verb, plain, args)
	}
	account := w.account(name)
	id := args["key"]
	if id == "" {
		id = fmt.Sprintf("line-%d", w.offset)
	}
	hash := sha256.Sum256([]byte(verb + args["body"] + strings.Join(plain, " ")))
	cmd := &paymentsv1.Command{Account: account, CommandId: "cmd_" + id, BodyHash: hash[:], Pins: pins(policy)}
	if args["sheet"] != "" && cmd.GetPins() != nil {
		cmd.Pins.Rates = args["sheet"]
	}
	if args["merchant"] != "" {
		cmd.Tenant, cmd.Merchant = tenant, args["merchant"]
	}
	switch verb {
	case "open":
		cmd.Kind, cmd.Customer = paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, cmp.Or(args["customer"], "customer of "+name)
		cmd.Body = &paymentsv1.Command_OpenAccount{OpenAccount: &paymentsv1.OpenAccount{
			ExternalId: name, Kind: paymentsv1.AccountKind_ACCOUNT_KIND_PERSON, Currencies: strings.Split(plain[1], ","),
			KycLevel: uint32(w.number(args["kyc"])), OverdraftLimitMinor: w.number(args["overdraft"]), Policy: strings.Replace(policy, "fees", "plain", 1),
		}}
		key := string(payment.CustomerKeyFrom(tenant, merchant, cmd.GetCustomer()))
		w.names[key] = cmd.GetCustomer()
		return key, cmd
	case "kyc":
		cmd.Kind = paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL
		cmd.Body = &paymentsv1.Command_SetKycLevel{SetKycLevel: &paymentsv1.SetKycLevel{KycLevel: uint32(w.number(args["level"]))}}
		cmd.Customer = cmp.Or(args["customer"], "customer of "+name)
		key := string(payment.CustomerKeyFrom(tenant, merchant, cmd.GetCustomer()))
		w.names[key] = cmd.GetCustomer()
		return key, cmd
	case "approve", "decline":
		cmd.Kind = paymentsv1.CommandKind(paymentsv1.CommandKind_value["COMMAND_KIND_"+strings.ToUpper(verb)])
		identity := w.payment(payment.KindPayIn, name, args["of"])[3:]
		prefix := cmp.Or(args["as"], w.kinds[identity], payment.KindPayIn.Prefix())
		cmd.PaymentId = prefix + identity
		cmd.Body = &paymentsv1.Command_Verdict{Verdict: &paymentsv1.Verdict{Actor: "x"}}
	case "capture", "void", "increment":
		w.operation(cmd, verb, name, args)
	case "answer":
		w.answer(cmd, name, args)
	case "expire": // as a tick would, whenever that was
		cmd.Kind, cmd.Pins = paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, nil
		cmd.PaymentId = "au_" + w.payment(payment.KindPayIn, name, args["of"])[3:]
		cmd.Body = &paymentsv1.Command_Expire{Expire: &paymentsv1.Expire{
			Purpose: paymentsv1.ExpirePurpose_EXPIRE_PURPOSE_AUTHORIZATION, DueAtUs: w.now.Add(time.Hour).UnixMicro(),
		}}
	case "authorize", "advise", "reverse", "clear":
		w.issuing(cmd, verb, plain, args)
	case "dispute", "evidence", "accept":
		w.disputing(cmd, verb, name, args)
	case "quote":
		cmd.Kind, cmd.CommandId = paymentsv1.CommandKind_COMMAND_KIND_FX_QUOTE, w.id("fq_", name, id)
		cmd.PaymentId = cmd.GetCommandId()
		cmd.Body = &paymentsv1.Command_FxQuote{FxQuote: &paymentsv1.FxQuote{AmountMinor: w.number(plain[1]), Currency: plain[2], TargetCurrency: args["to"]}}
	case "refund":
		cmd.Kind = paymentsv1.CommandKind_COMMAND_KIND_REFUND
		cmd.CommandId, cmd.PaymentId = w.payment(payment.KindRefund, name, id), w.payment(payment.KindPayIn, name, args["of"])
		w.kinds[cmd.GetCommandId()[3:]] = prefixes["refund"]
		cmd.Body = &paymentsv1.Command_Refund{Refund: &paymentsv1.RefundInstruction{AmountMinor: w.number(args["amount"])}}
	case "payin", "payout", "transfer":
		kinds := map[string]payment.Kind{"payin": payment.KindPayIn, "payout": payment.KindPayOut, "transfer": payment.KindTransfer}
		cmd.Kind = paymentsv1.CommandKind(kinds[verb])
		cmd.CommandId = w.payment(kinds[verb], name, id)
		cmd.PaymentId = cmd.GetCommandId()
		if identity := cmd.GetPaymentId()[3:]; w.kinds[identity] == "" {
			w.kinds[identity] = kinds[verb].Prefix()
		}
		cmd.Body = &paymentsv1.Command_Instruction{Instruction: w.instruction(verb, plain, args)}
	default:
		w.t.Fatalf("unknown command %q", verb)
	}
	return account, cmd
}

// prefixes of the operations that have no constant here.
var prefixes = map[string]string{"capture": "ca_", "void": "vo_", "increment": "ic_", "refund": "re_"}

// operation names a pay-in and an id of its own.
func (w *world) operation(cmd *paymentsv1.Command, verb, name string, args map[string]string) {
	cmd.Kind = paymentsv1.CommandKind(paymentsv1.CommandKind_value["COMMAND_KIND_"+strings.ToUpper(verb)])
	identity := w.payment(payment.KindPayIn, name, strings.TrimPrefix(cmd.GetCommandId(), "cmd_"))[3:]
	cmd.CommandId, cmd.PaymentId = prefixes[verb]+identity, w.payment(payment.KindPayIn, name, args["of"])
	w.kinds[identity] = prefixes[verb]
	switch verb {
	case "capture":
		cmd.Body = &paymentsv1.Command_Capture{Capture: &paymentsv1.CaptureInstruction{AmountMinor: w.number(args["amount"]), Final: args["final"] != ""}}
	case "void":
		cmd.Body = &paymentsv1.Command_Void{Void: &paymentsv1.VoidInstruction{}}
	default:
		cmd.Body = &paymentsv1.Command_Increment{Increment: &paymentsv1.IncrementInstruction{AmountMinor: w.number(args["amount"])}}
	}
}

// answer is a rail's, to an order of a payment or of an operation on it.
func (w *world) answer(cmd *paymentsv1.Command, name string, args map[string]string) {
	of := w.payment(payment.KindPayIn, name, args["of"])[3:]
	waits := of
	if args["op"] != "" {
		waits = w.payment(payment.KindPayIn, name, args["op"])[3:]
	}
	cmd.Kind, cmd.PaymentId = paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER, cmp.Or(w.kinds[of], "pi_")+of
	if args["policy"] == "" {
		cmd.Pins = nil
	}
	cmd.Body = &paymentsv1.Command_RailAnswer{RailAnswer: &paymentsv1.RailAnswer{
		OrderId: cmp.Or(args["as"], w.kinds[waits], "pi_") + waits + "." + args["step"],
		Result:  paymentsv1.RailResult(paymentsv1.RailResult_value["RAIL_RESULT_"+strings.ToUpper(args["result"])]),
		Code:    args["code"], Connector: args["by"], Reference: args["ref"], Tid: args["tid"], AmountMinor: w.number(args["amount"]), Closed: args["closed"] != "",
		ReportedAtUs: w.after(args["reported"]),
	}}
}

func (w *world) instruction(verb string, plain []string, args map[string]string) *paymentsv1.Instruction {
	in := &paymentsv1.Instruction{AmountMinor: w.number(plain[1]), Currency: plain[2], TargetCurrency: args["to"], Method: args["method"]}
	if in.GetMethod() == "" {
		in.Method = "book"
	}
	if in.GetMethod() == "card" {
		in.Card = &paymentsv1.Card{Brand: args["brand"], Installments: uint32(w.number(args["installments"]))}
		if args["capture"] == "manual" {
			in.Card.Capture = paymentsv1.CaptureMethod_CAPTURE_METHOD_MANUAL
		}
	}
	in.Instrument = args["instrument"]
	if args["quote"] != "" {
		in.Quote = cmp.Or(args["as"], "fq_") + w.payment(payment.KindPayIn, plain[0], args["quote"])[3:]
	}
	if verb == "transfer" {
		in.ToAccount = w.account(args["payee"])
	}
	if args["party"] != "" || args["country"] != "" {
		in.Counterparty = &paymentsv1.Counterparty{Country: args["country"], Digest: []byte(args["party"])}
	}
	return in
}

func (w *world) number(s string) int64 {
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// id is a record's under its account, by a name of the history.
func (w *world) id(prefix, account, key string) string {
	identity := w.payment(payment.KindPayIn, account, key)[3:]
	w.kinds[identity] = prefix
	return prefix + identity
}

// card is a request to a card's key.
func (w *world) card(verb string, plain []string, args map[string]string) (string, *paymentsv1.Command) {
	key := "crd_" + plain[0]
	w.names[key] = plain[0]
	cmd := &paymentsv1.Command{CommandId: fmt.Sprintf("cmd_line-%d", w.offset)}
	if args["merchant"] != "" {
		cmd.Tenant, cmd.Merchant = tenant, args["merchant"]
	}
	if args["key"] != "" {
		hash := sha256.Sum256([]byte(args["body"] + args["status"]))
		cmd.CommandId, cmd.BodyHash = "cmd_"+args["key"], hash[:]
	}
	if verb == "card" {
		cmd.Kind = paymentsv1.CommandKind_COMMAND_KIND_SET_CARD_STATUS
		cmd.Body = &paymentsv1.Command_SetCardStatus{SetCardStatus: &paymentsv1.SetCardStatus{
			Status: paymentsv1.CardStatus(paymentsv1.CardStatus_value["CARD_STATUS_"+strings.ToUpper(args["status"])]),
			Once:   args["once"] != "",
		}}
	} else {
		cmd.Kind, cmd.Account = paymentsv1.CommandKind_COMMAND_KIND_ISSUE_CARD, w.account(plain[1])
		cmd.Body = &paymentsv1.Command_IssueCard{IssueCard: &paymentsv1.IssueCard{
			First6: "411111", Last4: cmp.Or(args["last4"], "1111"), Expiry: int32(w.number(cmp.Or(args["expiry"], "2912"))),
		}}
	}
	if args["on"] != "" {
		key = w.account(args["on"])
	}
	return key, cmd
}

// issuing is what an acquirer or the network says of a card of the account.
func (w *world) issuing(cmd *paymentsv1.Command, verb string, plain []string, args map[string]string) {
	name, hashed := plain[0], cmd.GetBodyHash()
	var minor int64
	var currency string
	if verb != "reverse" {
		minor, currency = w.number(plain[1]), plain[2]
	}
	of := ""
	if args["of"] != "" {
		of = cmp.Or(args["as"], "au_") + w.payment(payment.KindPayIn, name, args["of"])[3:]
	}
	switch verb {
	case "authorize", "advise":
		cmd.Kind = paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION
		cmd.CommandId = w.id("au_", name, args["key"])
		cmd.PaymentId = cmd.GetCommandId()
		t := &paymentsv1.CardTransaction{AmountMinor: minor, Currency: currency, Financial: args["financial"] != "", Card: args["card"]}
		if args["party"] != "" || args["country"] != "" {
			t.Counterparty = &paymentsv1.Counterparty{Country: args["country"], Digest: []byte(args["party"])}
		}
		if verb == "advise" {
			cmd.Kind = paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION_ADVICE
			t.StandIn, t.Refused = args["standin"] != "", args["refused"] != ""
			sum := sha256.Sum256([]byte("authorize" + args["body"] + strings.Join(plain, " "))) // of the same request
			hashed = sum[:]
		}
		t.AskedAtUs = w.after(args["asked"])
		cmd.Body = &paymentsv1.Command_CardTransaction{CardTransaction: t}
	case "reverse":
		cmd.Kind, cmd.PaymentId = paymentsv1.CommandKind_COMMAND_KIND_REVERSAL, of
		cmd.Body = &paymentsv1.Command_Reversal{Reversal: &paymentsv1.Reversal{LeftMinor: w.number(args["left"]), StandIn: args["standin"] != "", Card: args["card"], ReasonCode: args["code"], Currency: args["currency"], AskedAtUs: w.after(args["asked"])}}
		if args["standin"] != "" {
			hashed = w.hashes[of]
		}
	default:
		cmd.Kind, cmd.CommandId, cmd.PaymentId = paymentsv1.CommandKind_COMMAND_KIND_CLEARING, w.id("cl_", name, args["key"]), of
		cmd.Body = &paymentsv1.Command_Clearing{Clearing: &paymentsv1.Clearing{AmountMinor: minor, Currency: currency, Final: args["final"] != "", Credit: args["credit"] != "", Card: args["card"]}}
	}
	if args["hash"] != "" {
		sum := sha256.Sum256([]byte(args["hash"]))
		hashed = sum[:]
	}
	if (verb == "authorize" || verb == "advise") && args["standin"] == "" {
		w.hashes[cmd.GetPaymentId()] = hashed
	}
	cmd.BodyHash = hashed
}

// after is a time by its distance from now; 0 where the line does not say.
func (w *world) after(distance string) int64 {
	if distance == "" {
		return 0
	}
	after, err := time.ParseDuration(distance)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.now.Add(after).UnixMicro()
}

// commandID is a cmd_ id by a name of the history.
func commandID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "cmd_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:25]))
}

// disputing is what is said of a dispute.
func (w *world) disputing(cmd *paymentsv1.Command, verb, name string, args map[string]string) {
	of := w.payment(payment.KindPayIn, name, args["of"])[3:]
	cmd.CommandId = commandID(strings.TrimPrefix(cmd.GetCommandId(), "cmd_"))
	switch verb {
	case "dispute":
		cmd.Kind, cmd.CommandId, cmd.PaymentId = paymentsv1.CommandKind_COMMAND_KIND_DISPUTE, w.id("dp_", name, args["key"]), cmp.Or(args["as"], w.kinds[of], "pi_")+of
		told := &paymentsv1.Dispute{
			Stage:       paymentsv1.DisputeStage(paymentsv1.DisputeStage_value["DISPUTE_STAGE_"+strings.ToUpper(args["stage"])]),
			AmountMinor: w.number(args["amount"]), ReasonCode: args["code"], Connector: "cielo", Reference: args["key"],
		}
		told.DeadlineUs, told.OccurredAtUs = w.after(args["deadline"]), w.after(args["occurred"])
		told.MessageId = args["message_id"]
		if args["message"] != "" {
			told.MessageId = commandID(args["message"])
		}
		cmd.Body = &paymentsv1.Command_Dispute{Dispute: told}
	case "evidence":
		cmd.Kind, cmd.PaymentId = paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_EVIDENCE, cmp.Or(args["as"], "dp_")+of
		body := &paymentsv1.DisputeEvidence{}
		for file := range strings.SplitSeq(args["files"], ",") {
			body.Files = append(body.Files, &paymentsv1.EvidenceFile{Reference: file, Kind: "receipt"})
		}
		cmd.Body = &paymentsv1.Command_DisputeEvidence{DisputeEvidence: body}
	default:
		cmd.Kind, cmd.PaymentId = paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_ACCEPT, cmp.Or(args["as"], "dp_")+of
		cmd.Body = &paymentsv1.Command_DisputeAccept{DisputeAccept: &paymentsv1.DisputeAccept{}}
	}
}

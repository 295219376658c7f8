// Package audittest is a generator: random commands of all kinds on a few accounts, and a whole installation's log as the
// model would have decided it. Tests spoil that log, or give the commands alone to the real processor.
package audittest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit/model"
)

const (
	// Partitions of the played installation.
	Partitions = 4
	tenant     = "t"
	merchant   = "m"
)

// House is an installation played by the model: it writes commands, decides them in any order between partitions, and
// keeps the log in memory until a test has spoiled it.
type House struct {
	t         testing.TB
	rng       *rand.Rand
	now       time.Time
	refs      *model.References
	Models    [Partitions]*model.Partition
	Commands  [Partitions][]*kgo.Record
	Queue     [Partitions][]model.Record // on the log, not decided
	Decisions [Partitions][]*kgo.Record
	Orders    [Partitions][]*kgo.Record
	previous  [Partitions][]byte
	Requests  []*kgo.Record // the commands that came from outside, in order
	Accounts  []string
	payins    []string // ids
	instructs []*model.Emission
	serial    int
}

// New is an empty house; equal seeds play alike.
func New(t testing.TB, seed uint64) *House {
	t.Helper()
	h := &House{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), refs: model.NewReferences(), //nolint:gosec // a seeded test
	}
	for topic, docs := range Documents() {
		for key, doc := range docs {
			if err := h.refs.Add(topic, key, Encode(t, doc)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for p := range h.Models {
		h.Models[p] = model.NewPartition(h.refs)
	}
	return h
}

// Encode is the one encoding of a message.
func Encode(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Documents are the published reference data.
func Documents() map[string]map[string]proto.Message {
	limits := []*referencev1.KycLimit{{Level: 1, DayMinor: 300_000, MonthMinor: 2_000_000}, {Level: 2, DayMinor: 3_000_000, MonthMinor: 9_000_000}}
	return map[string]map[string]proto.Message{
		topics.Policies: {"rail@1": &referencev1.Policy{
			Id: "rail", Version: 1, RetentionDays: 1, Bank: &referencev1.BankPolicy{}, QuoteTtlS: 3600,
			Card: &referencev1.CardPolicy{AuthorizationTtlS: 3600, Dispute: &referencev1.DisputePolicy{
				Fees: []*referencev1.Charge{{Currency: "BRL", AmountMinor: 150}},
			}},
		}, "loose@1": &referencev1.Policy{
			Id: "loose", Version: 1, LimitCurrency: "BRL", Limits: limits, FraudMode: referencev1.FraudMode_FRAUD_MODE_ENFORCE, ReviewScore: 500,
			DeclineScore: 1000, ReviewTimeoutS: 1800, RetentionDays: 1,
			Card: &referencev1.CardPolicy{
				OverCaptureBp: 777, RefundFee: referencev1.RefundFee_REFUND_FEE_RETURNED, RefundRate: referencev1.RefundRate_REFUND_RATE_CURRENT,
				Dispute: &referencev1.DisputePolicy{
					Fees: []*referencev1.Charge{{Currency: "USD", AmountMinor: 30}, {Currency: "BRL", AmountMinor: 170}}, FeeReturned: true,
				},
			},
			Bank: &referencev1.BankPolicy{ReturnFee: referencev1.RefundFee_REFUND_FEE_RETURNED}, QuoteTtlS: 4 * 3600,
		}, "cards@1": &referencev1.Policy{
			Id: "cards", Version: 1, RetentionDays: 1, Issuing: &referencev1.IssuingPolicy{AuthorizationTtlS: 3600},
		}, "strict@1": &referencev1.Policy{
			Id: "strict", Version: 1, LimitCurrency: "BRL", Limits: limits, FraudMode: referencev1.FraudMode_FRAUD_MODE_ENFORCE, ReviewScore: 500,
			DeclineScore: 900, UtcOffsets: []*referencev1.UtcOffset{{OffsetS: -3 * 3600}}, RetentionDays: 2,
			Issuing: &referencev1.IssuingPolicy{AuthorizationTtlS: 1800},
		}, "full@1": &referencev1.Policy{
			Id: "full", Version: 1, LimitCurrency: "BRL", Limits: limits, FraudMode: referencev1.FraudMode_FRAUD_MODE_ENFORCE, ReviewScore: 500,
			DeclineScore: 900, UtcOffsets: []*referencev1.UtcOffset{{OffsetS: -3 * 3600}}, ReviewTimeoutS: 1800, RetentionDays: 1,
			FeesId: "fees", RatesId: "fx", RulesId: "rules", BlocklistId: "block",
		}},
		topics.FeeSchedules: {"fees@1": &referencev1.FeeSchedule{Id: "fees", Version: 1, Fees: []*referencev1.Fee{
			{Kind: paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, Currency: "BRL", FixedMinor: 10, RatePpm: 10_000, MinMinor: 15, MaxMinor: 500},
			{Kind: paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT, RatePpm: 1_234},
			{Kind: paymentsv1.CommandKind_COMMAND_KIND_TRANSFER, RatePpm: 5_000},
		}}},
		topics.FXRates: {"fx@1": &referencev1.RateSheet{
			Id: "fx", Version: 1, ValidUntilUs: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC).UnixMicro(), Rates: []*referencev1.Rate{
				{Source: "USD", Target: "BRL", MidUnscaled: 52_537, MidScale: 4, SpreadBp: 150},
				{Source: "BRL", Target: "USD", MidUnscaled: 190_331, MidScale: 6, SpreadBp: 150},
			},
		}, "fx@2": &referencev1.RateSheet{ // lower, and soon stale
			Id: "fx", Version: 2, ValidUntilUs: time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC).UnixMicro(), Rates: []*referencev1.Rate{
				{Source: "USD", Target: "BRL", MidUnscaled: 50_011, MidScale: 4, SpreadBp: 220},
				{Source: "BRL", Target: "USD", MidUnscaled: 2, MidScale: 1, SpreadBp: 0},
			},
		}},
		topics.Rules: {"rules@1": &referencev1.RuleSet{Id: "rules", Version: 1, Rules: []*referencev1.Rule{
			{Id: "minute", Version: 1, Kind: referencev1.RuleKind_RULE_KIND_VELOCITY_MINUTE, Weight: 200, Threshold: 3},
			{Id: "hour", Version: 1, Kind: referencev1.RuleKind_RULE_KIND_VELOCITY_HOUR, Weight: 100, Threshold: 20},
			{Id: "day", Version: 1, Kind: referencev1.RuleKind_RULE_KIND_VELOCITY_DAY, Weight: 100, Threshold: 100},
			{Id: "amount", Version: 1, Kind: referencev1.RuleKind_RULE_KIND_AMOUNT_HISTORY, Weight: 300, Threshold: 300, MinHistory: 5},
			{Id: "new", Version: 1, Kind: referencev1.RuleKind_RULE_KIND_NEW_COUNTERPARTY, Weight: 500, Threshold: 60_000},
			{Id: "night", Version: 1, Kind: referencev1.RuleKind_RULE_KIND_NIGHT, Weight: 300, Threshold: 30_000, FromMinute: 1320, ToMinute: 360},
		}}},
		topics.Blocklists: {"block@1": &referencev1.Blocklist{Id: "block", Version: 1, Countries: []string{"XX"}}},
	}
}

// pins are the newest of Documents.
func pins() *paymentsv1.Pins {
	return &paymentsv1.Pins{Policy: "full@1", Fees: "fees@1", Rates: "fx@1", Rules: "rules@1", Blocklist: "block@1"}
}

// put writes a command on the log and says on which partition.
func (h *House) put(key string, cmd *paymentsv1.Command) int32 {
	cmd.Version = 1
	if cmd.GetAcceptedAtUs() == 0 {
		cmd.AcceptedAtUs = h.now.UnixMicro()
	}
	p := topics.Partition([]byte(key), Partitions)
	if cmd.GetTick() != nil {
		p = h.tickPartition(key)
	}
	h.putOn(p, key, cmd)
	return p
}

func (h *House) putOn(p int32, key string, cmd *paymentsv1.Command) {
	h.Commands[p] = append(h.Commands[p], &kgo.Record{Topic: topics.Commands, Partition: p, Key: []byte(key), Value: Encode(h.t, cmd)})
	h.Queue[p] = append(h.Queue[p], model.Record{Key: key, Partition: p, Offset: int64(len(h.Commands[p]) - 1), Command: cmd})
}

func (h *House) tickPartition(key string) int32 {
	var p int32
	if _, err := fmt.Sscan(key, &p); err != nil {
		h.t.Fatal(err)
	}
	return p
}

// Step decides the next command of a partition.
func (h *House) Step(p int32) {
	rec := h.Queue[p][0]
	h.Queue[p] = h.Queue[p][1:]
	r, err := h.Models[p].Apply(rec)
	if err != nil {
		h.t.Fatal(err)
	}
	d := r.Decision
	d.Version, d.Tenant, d.Merchant, d.Customer, d.Pins = 1, rec.Command.GetTenant(), rec.Command.GetMerchant(), rec.Command.GetCustomer(), rec.Command.GetPins()
	d.BodyHash, d.Sealed = rec.Command.GetBodyHash(), rec.Command.GetSealed()
	h.decide(p, d)
	for _, o := range r.Orders {
		h.Orders[p] = append(h.Orders[p], &kgo.Record{Topic: topics.RailsOrders, Partition: p, Key: []byte(rec.Key), Value: Encode(h.t, o)})
	}
	for _, e := range r.Emissions {
		cmd := proto.CloneOf(e.Command)
		if cmd.GetTick() != nil { // nobody's, and of this partition, whatever its key
			cmd.Version = 1
			h.putOn(p, e.Key, cmd)
			continue
		}
		cmd.AcceptedAtUs, cmd.Tenant, cmd.Merchant = d.GetAcceptedAtUs(), tenant, merchant
		if cmd.GetPins() == nil {
			cmd.Pins = rec.Command.GetPins()
		}
		if cmd.GetExpire() != nil {
			cmd.CommandId = "cmd_expire_" + cmd.GetPaymentId()
		}
		if r := cmd.GetReleaseClaim(); r != nil {
			cmd.CommandId = "cmd_release_" + r.GetRefusedCommandId()
		}
		h.put(e.Key, cmd)
	}
}

// decide writes a decision behind the last one of its partition.
func (h *House) decide(p int32, d *paymentsv1.Decision) {
	d.PreviousHash = h.previous[p]
	b := Encode(h.t, d)
	sum := sha256.Sum256(b)
	h.previous[p] = sum[:]
	h.Decisions[p] = append(h.Decisions[p], &kgo.Record{Topic: topics.Decisions, Partition: p, Key: []byte(d.GetAccount()), Value: b})
}

// Drain decides everything, in any order between partitions.
func (h *House) Drain() {
	for {
		var open []int32
		for p := range int32(Partitions) {
			if len(h.Queue[p]) > 0 {
				open = append(open, p)
			}
		}
		if len(open) == 0 {
			return
		}
		h.Step(open[h.rng.IntN(len(open))])
	}
}

func (h *House) hash(parts ...any) []byte {
	sum := sha256.Sum256([]byte(fmt.Sprint(parts...)))
	return sum[:]
}

// ask writes a command that comes from outside.
func (h *House) ask(key string, cmd *paymentsv1.Command) {
	p := h.put(key, cmd)
	h.Requests = append(h.Requests, h.Commands[p][len(h.Commands[p])-1])
}

// Open makes the accounts.
func (h *House) Open(n int) {
	for i := range n {
		name := fmt.Sprintf("account-%d", i)
		id := string(payment.AccountIDFrom(tenant, merchant, name))
		h.Accounts = append(h.Accounts, id)
		h.open(i, name, name)
	}
	h.Drain()
}

// Contest lets n customers open one account at once. All but one lose it, and open one of their own.
func (h *House) Contest(n int) {
	for _, own := range []string{"", "account of "} {
		for i := range n {
			customer, name := fmt.Sprintf("rival-%d", i), "contested"
			if own != "" {
				name = own + customer
			}
			h.open(i, name, customer)
		}
		h.Drain()
	}
}

// Contend lets a customer claim the account of another, and gives what waits after so many decisions.
func (h *House) Contend(decisions int) model.Record {
	h.open(0, "account-0", "rival")
	for ; ; decisions-- {
		p := slices.IndexFunc(h.Queue[:], func(q []model.Record) bool { return len(q) > 0 })
		if p < 0 {
			h.t.Fatal("nothing follows from a claim")
		}
		if decisions == 0 {
			return h.Queue[p][0]
		}
		h.Step(int32(p)) //nolint:gosec // a partition
	}
}

// open asks for an account in the name of a customer.
func (h *House) open(i int, name, customer string) {
	currencies := []string{"BRL"}
	if i%3 > 0 {
		currencies = append(currencies, "USD")
	}
	h.ask(string(payment.CustomerKeyFrom(tenant, merchant, customer)), &paymentsv1.Command{
		Kind: paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, Tenant: tenant, Merchant: merchant, Customer: customer,
		Account: string(payment.AccountIDFrom(tenant, merchant, name)), CommandId: "cmd_open_" + name + "_" + customer,
		BodyHash: h.hash("open", name), Pins: pins(),
		Body: &paymentsv1.Command_OpenAccount{OpenAccount: &paymentsv1.OpenAccount{
			ExternalId: name, Kind: paymentsv1.AccountKind_ACCOUNT_KIND_PERSON, Currencies: currencies, KycLevel: uint32(1 + i%2),
			OverdraftLimitMinor: int64(i%5) * 1000, Policy: "full",
		}},
	})
}

// PlayRails lets one more account pay in by card, n times in two parts each, and pay out by bank. Its rail confirms everything.
func (h *House) PlayRails(n int) (account string) {
	account = string(payment.AccountIDFrom(tenant, merchant, "by rails"))
	owner, pins := payment.AccountID(account), &paymentsv1.Pins{Policy: "rail@1", Fees: "fees@1", Rates: "fx@1"}
	ask := func(kind paymentsv1.CommandKind, id, of string, cmd *paymentsv1.Command) {
		cmd.Kind, cmd.Tenant, cmd.Merchant, cmd.Account, cmd.CommandId, cmd.PaymentId = kind, tenant, merchant, account, id, of
		cmd.Pins, cmd.BodyHash = pins, h.hash(id)
		h.now = h.now.Add(time.Second)
		h.ask(account, cmd)
		h.Drain()
	}
	h.ask(string(payment.CustomerKeyFrom(tenant, merchant, "by rails")), &paymentsv1.Command{
		Kind: paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, Tenant: tenant, Merchant: merchant, Customer: "by rails", Account: account,
		CommandId: "cmd_open_by_rails", BodyHash: h.hash("by rails"), Pins: pins,
		Body: &paymentsv1.Command_OpenAccount{OpenAccount: &paymentsv1.OpenAccount{ExternalId: "by rails", Currencies: []string{"BRL"}, Policy: "rail"}},
	})
	h.Drain()
	for i := range n {
		payin := string(payment.IDFrom(payment.KindPayIn, owner, merchant, fmt.Sprint("in-", i)))
		ask(paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, payin, payin, &paymentsv1.Command{Body: &paymentsv1.Command_Instruction{Instruction: &paymentsv1.Instruction{
			AmountMinor: 10_000, Currency: "BRL", Method: "card", Card: &paymentsv1.Card{Capture: paymentsv1.CaptureMethod_CAPTURE_METHOD_MANUAL},
		}}})
		ask(paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER, "cmd_a"+payin, payin, confirmed(payin+".authorize"))
		for part := range 2 {
			id := "ca_" + string(payment.IDFrom(payment.KindPayIn, owner, merchant, fmt.Sprint("part-", i, "-", part)))[3:]
			ask(paymentsv1.CommandKind_COMMAND_KIND_CAPTURE, id, payin, &paymentsv1.Command{Body: &paymentsv1.Command_Capture{
				Capture: &paymentsv1.CaptureInstruction{AmountMinor: 5_000},
			}})
			ask(paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER, "cmd_a"+id, payin, confirmed(id+".capture"))
		}
		payout := string(payment.IDFrom(payment.KindPayOut, owner, merchant, fmt.Sprint("out-", i)))
		ask(paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT, payout, payout, &paymentsv1.Command{Body: &paymentsv1.Command_Instruction{Instruction: &paymentsv1.Instruction{
			AmountMinor: 9_000, Currency: "BRL", Method: "bank",
		}}})
		ask(paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER, "cmd_a"+payout, payout, confirmed(payout+".send"))
	}
	return account
}

func confirmed(order string) *paymentsv1.Command {
	return &paymentsv1.Command{Body: &paymentsv1.Command_RailAnswer{RailAnswer: &paymentsv1.RailAnswer{
		OrderId: order, Result: paymentsv1.RailResult_RAIL_RESULT_CONFIRMED, Connector: "sim", Reference: "ref",
	}}}
}

// Play writes n commands of all kinds and decides them, a few in flight at a time.
func (h *House) Play(n int) {
	for range n {
		h.now = h.now.Add(time.Duration(h.rng.IntN(40_000)) * time.Millisecond)
		h.Request()
		if h.rng.IntN(3) == 0 {
			h.Drain()
		}
		if h.rng.IntN(20) == 0 {
			h.Tick()
		}
	}
	h.Drain()
}

// PayIn lets one account be paid n times, of which a record each remains.
func (h *House) PayIn(account string, n int) {
	for i := range n {
		id := string(payment.IDFrom(payment.KindPayIn, payment.AccountID(account), merchant, fmt.Sprint("paid-", i)))
		h.now = h.now.Add(time.Second)
		h.ask(account, &paymentsv1.Command{
			Kind: paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, Tenant: tenant, Merchant: merchant, Account: account, CommandId: id, PaymentId: id,
			BodyHash: h.hash(id), Pins: pins(), Body: &paymentsv1.Command_Instruction{Instruction: &paymentsv1.Instruction{
				AmountMinor: 100, Currency: "BRL", Method: "book",
			}},
		})
	}
	h.Drain()
}

// Pass lets time go by, and what is due by then happen: after days, records leave by the thousand.
func (h *House) Pass(d time.Duration) {
	h.now = h.now.Add(d)
	h.Tick()
	h.Drain()
}

func (h *House) Tick() {
	for p := range Partitions {
		h.ask(fmt.Sprint(p), &paymentsv1.Command{
			Kind: paymentsv1.CommandKind_COMMAND_KIND_TICK, Body: &paymentsv1.Command_Tick{Tick: &paymentsv1.Tick{Minute: h.now.Unix() / 60}},
		})
	}
}

func (h *House) Request() {
	h.serial++
	account := h.Accounts[h.rng.IntN(len(h.Accounts))]
	owner := payment.AccountID(account)
	key := fmt.Sprintf("key-%d", h.serial)
	if h.rng.IntN(20) == 0 {
		key = fmt.Sprintf("key-%d", h.rng.IntN(h.serial)) // of something else: a conflict, or new under another account
	}
	cmd := &paymentsv1.Command{Tenant: tenant, Merchant: merchant, Account: account, BodyHash: h.hash(h.serial), Pins: pins(), Sealed: &paymentsv1.Sealed{KeyId: "k1", Ciphertext: h.hash("s", h.serial)}}
	kinds := map[int]payment.Kind{0: payment.KindPayIn, 1: payment.KindPayIn, 2: payment.KindPayOut, 3: payment.KindTransfer}
	switch roll := h.rng.IntN(16); {
	case roll < 10:
		kind := kinds[h.rng.IntN(4)]
		cmd.Kind = paymentsv1.CommandKind(kind)
		cmd.CommandId = string(payment.IDFrom(kind, owner, merchant, key))
		cmd.PaymentId = cmd.GetCommandId()
		cmd.Body = &paymentsv1.Command_Instruction{Instruction: h.instruction(kind)}
		h.instructs = append(h.instructs, &model.Emission{Key: account, Command: cmd})
		h.payins = append(h.payins, cmd.GetCommandId())
	case roll < 12 && len(h.instructs) > 0: // an exact repeat
		e := h.instructs[h.rng.IntN(len(h.instructs))]
		account, cmd = e.Key, proto.CloneOf(e.Command)
		cmd.AcceptedAtUs = 0
		if roll == 11 {
			cmd.BodyHash = h.hash("another body") // not quite
		}
	case roll < 13 && len(h.payins) > 0:
		id := payment.ID(h.payins[h.rng.IntN(len(h.payins))])
		account, cmd.Account = string(id.Account()), string(id.Account())
		cmd.Kind, cmd.PaymentId = paymentsv1.CommandKind_COMMAND_KIND_REFUND, string(id)
		cmd.CommandId = string(payment.IDFrom(payment.KindRefund, id.Account(), merchant, key))
		cmd.Body = &paymentsv1.Command_Refund{Refund: &paymentsv1.RefundInstruction{AmountMinor: int64(h.rng.IntN(3) * h.rng.IntN(20_000))}}
	case roll < 15 && len(h.payins) > 0:
		id := payment.ID(h.payins[max(0, len(h.payins)-1-h.rng.IntN(8))])
		account, cmd.Account = string(id.Account()), string(id.Account())
		cmd.Kind, cmd.PaymentId, cmd.CommandId = paymentsv1.CommandKind_COMMAND_KIND_APPROVE, string(id), "cmd_"+key
		if roll == 14 {
			cmd.Kind = paymentsv1.CommandKind_COMMAND_KIND_DECLINE
		}
		cmd.Body = &paymentsv1.Command_Verdict{Verdict: &paymentsv1.Verdict{Actor: "op"}}
	default:
		name := fmt.Sprintf("account-%d", h.rng.IntN(len(h.Accounts)))
		account, cmd.Customer = string(payment.CustomerKeyFrom(tenant, merchant, name)), name
		cmd.Kind, cmd.CommandId, cmd.Account = paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL, "cmd_"+key, ""
		cmd.Body = &paymentsv1.Command_SetKycLevel{SetKycLevel: &paymentsv1.SetKycLevel{KycLevel: uint32(h.rng.IntN(3))}} //nolint:gosec // small
	}
	h.ask(account, cmd)
}

func (h *House) instruction(kind payment.Kind) *paymentsv1.Instruction {
	in := &paymentsv1.Instruction{AmountMinor: 1 + h.rng.Int64N(50_000), Currency: "BRL", Method: "book"}
	if h.rng.IntN(10) == 0 {
		in.AmountMinor *= 5
	}
	if h.rng.IntN(6) == 0 {
		in.Currency = "USD"
	}
	if h.rng.IntN(6) == 0 {
		in.TargetCurrency = "USD"
	}
	if h.rng.IntN(4) == 0 {
		in.Method = "cash"
	}
	if h.rng.IntN(3) == 0 {
		in.Counterparty = &paymentsv1.Counterparty{Country: "BR", Digest: h.hash("party", h.rng.IntN(50))}
	}
	if h.rng.IntN(10) == 0 {
		in.EffectiveDate = 8401 + int32(h.rng.IntN(2000)) //nolint:gosec // 1993 and on
	}
	if kind == payment.KindTransfer {
		in.Method, in.ToAccount = "book", h.Accounts[h.rng.IntN(len(h.Accounts))]
		if h.rng.IntN(10) == 0 {
			in.ToAccount = string(payment.AccountIDFrom(tenant, merchant, "ghost"))
		}
	}
	return in
}

// Edit changes a stored decision and closes the chain again behind it, so that only the change itself is wrong.
func (h *House) Edit(p int32, at int, change func(*paymentsv1.Decision)) {
	h.Rechain(p, func(i int, d *paymentsv1.Decision) {
		if i == at {
			change(d)
		}
	})
}

// Rechain rewrites a partition's decisions with a chain that holds.
func (h *House) Rechain(p int32, change func(int, *paymentsv1.Decision)) {
	old := h.Decisions[p]
	h.Decisions[p], h.previous[p] = nil, nil
	for i, r := range old {
		d := &paymentsv1.Decision{}
		if err := proto.Unmarshal(r.Value, d); err != nil {
			h.t.Fatal(err)
		}
		change(i, d)
		h.decide(p, d)
	}
}

// Find gives the place of the first decision that fits.
func (h *House) Find(fits func(*paymentsv1.Decision) bool) (int32, int) {
	for p := range int32(Partitions) {
		for i, r := range h.Decisions[p] {
			d := &paymentsv1.Decision{}
			if err := proto.Unmarshal(r.Value, d); err != nil {
				h.t.Fatal(err)
			}
			if fits(d) {
				return p, i
			}
		}
	}
	h.t.Fatal("the play has no such decision")
	return 0, 0
}

// Publish writes everything to a broker of its own.
func (h *House) Publish() []string {
	h.t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(cluster.Close)
	brokers := cluster.ListenAddrs()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		h.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	for _, topic := range topics.Catalogue() {
		n := int32(1)
		if topic.Partitioned {
			n = Partitions
		}
		if _, err := kadm.NewClient(client).CreateTopic(ctx, n, 1, nil, topic.Name); err != nil {
			h.t.Fatal(err)
		}
	}
	var records []*kgo.Record
	for topic, docs := range Documents() {
		for key, doc := range docs {
			records = append(records, &kgo.Record{Topic: topic, Key: []byte(key), Value: Encode(h.t, doc)})
		}
	}
	for p := range int32(Partitions) {
		records = slices.Concat(records, h.Commands[p], h.Decisions[p], h.Orders[p])
	}
	records = append(records, h.Cells()...)
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		h.t.Fatal(err)
	}
	return brokers
}

// Decision decodes what stands at a place.
func (h *House) Decision(p int32, i int) *paymentsv1.Decision {
	d := &paymentsv1.Decision{}
	if err := proto.Unmarshal(h.Decisions[p][i].Value, d); err != nil {
		h.t.Fatal(err)
	}
	return d
}

// Produce writes records where they say.
func Produce(t testing.TB, brokers []string, records ...*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// Cells is the engine's table as it stands.
func (h *House) Cells() []*kgo.Record {
	var records []*kgo.Record
	for p := range int32(Partitions) {
		for _, key := range h.Models[p].Keys() {
			records = append(records, &kgo.Record{Topic: topics.AccountsTable, Partition: p, Key: []byte(key), Value: Encode(h.t, h.Models[p].Cell(key))})
		}
	}
	return records
}

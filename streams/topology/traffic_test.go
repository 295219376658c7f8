package topology

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/caudalpay/caudal/processors/compliance"
	"github.com/caudalpay/caudal/processors/fees"
	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/fx"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

const (
	second = int64(1_000_000)
	noon   = int64(1_795_348_800) * second // 2026-11-22T12:00:00Z
)

var pins = payment.Pins{Policy: "standard@1", Fees: "std@1", Rates: "fx@1", Rules: "rules@1", Blocklist: "block@1"}

// reference is the sample documents as they stand on their topics, by topic/key.
func reference(tb testing.TB) map[string][]byte {
	tb.Helper()
	quote := func(unscaled int64, scale uint8) fx.Quote {
		return fx.Quote{Mid: money.Rate{Unscaled: unscaled, Scale: scale}, SpreadBP: 100}
	}
	must := func(b []byte, err error) []byte {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	return map[string][]byte{
		topics.Policies + "/standard@1": must(codec.EncodePolicy(&policy.Policy{
			ID: "standard", Version: 1, LimitCurrency: "BRL",
			Limits: []policy.KYCLimit{
				{Level: 0, DayMinor: 500_00, MonthMinor: 2_000_00},
				{Level: 1, DayMinor: 5_000_00, MonthMinor: 20_000_00},
				{Level: 2, DayMinor: 50_000_00, MonthMinor: 500_000_00},
				{Level: 3, DayMinor: 500_000_00, MonthMinor: 5_000_000_00},
			},
			FraudMode: policy.FraudModeEnforce, ReviewScore: 500, DeclineScore: 900, ReviewTimeoutUS: 3600 * second, RetentionDays: 90,
			Card: &policy.Card{AuthorizationTTLUS: 86_400 * second, OverCaptureBP: 500, FeeReturned: true}, Bank: &policy.Bank{},
			Issuing: &policy.Issuing{AuthorizationTTLUS: 86_400 * second},
		}, payment.Pins{Fees: "std", Rates: "fx", Rules: "rules", Blocklist: "block"})),
		topics.FeeSchedules + "/std@1": must(codec.EncodeFees(&fees.Schedule{Ref: "std@1", Fees: []fees.Fee{
			{Kind: payment.KindPayIn, Method: "cash", Currency: "BRL", FixedMinor: 30, RatePPM: 10_000},
			{Kind: payment.KindPayOut, Currency: "BRL", FixedMinor: 50},
			{Kind: payment.KindTransfer, Currency: "BRL", RatePPM: 5_000, MinMinor: 10, MaxMinor: 5_00},
		}})),
		topics.FXRates + "/fx@1": must(codec.EncodeRates(&fx.Sheet{Ref: "fx@1", ValidUntilUS: noon + 3650*86_400*second, Rates: map[fx.Pair]fx.Quote{
			{Source: "BRL", Target: "USD"}: quote(2, 1), {Source: "USD", Target: "BRL"}: quote(5, 0),
			{Source: "BRL", Target: "JPY"}: quote(30, 0), {Source: "JPY", Target: "BRL"}: quote(33, 3),
		}})),
		topics.Rules + "/rules@1": must(codec.EncodeRules(&fraud.RuleSet{Ref: "rules@1", Rules: []fraud.Rule{
			{ID: "velocity", Version: 1, Kind: fraud.RuleVelocityMinute, Weight: 500, Threshold: 6, Reason: "many in a minute"},
			{ID: "hourly", Version: 1, Kind: fraud.RuleVelocityHour, Weight: 100, Threshold: 20, Reason: "many in an hour"},
			{ID: "daily", Version: 1, Kind: fraud.RuleVelocityDay, Weight: 50, Threshold: 40, Reason: "many in a day"},
			{ID: "stranger", Version: 1, Kind: fraud.RuleNewCounterparty, Weight: 600, Threshold: 500_00, Reason: "high to a new party"},
			{ID: "history", Version: 1, Kind: fraud.RuleAmountHistory, Weight: 400, Threshold: 500, MinHistory: 3, Reason: "above history"},
			{ID: "night", Version: 1, Kind: fraud.RuleNight, Weight: 10, Threshold: 100, FromMinute: 22 * 60, ToMinute: 6 * 60, Reason: "night"},
		}})),
		topics.Blocklists + "/block@1": must(codec.EncodeBlocklist(&compliance.Blocklist{
			Ref: "block@1", Countries: map[string]struct{}{"XX": {}}, Parties: map[string]struct{}{party(0): {}},
		})),
	}
}

func party(n int) string {
	h := sha256.Sum256([]byte(fmt.Sprint("party", n)))
	return string(h[:])
}

// command is a record for the commands topic.
type command struct {
	key       string
	partition int32 // ticks; -1: by key
	value     []byte
	kind      payment.Kind
}

// traffic makes seeded commands of all kinds, the way an ingress and a ticker do.
type traffic struct {
	tb         testing.TB
	rand       *rand.Rand
	partitions int32
	names      []string
	now        int64
	number     int
	payments   []payment.ID
	requests   []command
	repeats    int
}

func newTraffic(tb testing.TB, seed uint64, accounts int, partitions int32) *traffic {
	t := &traffic{tb: tb, rand: rand.New(rand.NewPCG(seed, seed)), partitions: partitions, now: noon}
	for i := range accounts {
		t.names = append(t.names, fmt.Sprint("account", i))
	}
	return t
}

const (
	tenant   = "t1"
	merchant = "m1"
)

func (t *traffic) account(name string) payment.AccountID {
	return payment.AccountIDFrom(tenant, merchant, name)
}

func (t *traffic) command(kind payment.Kind, account payment.AccountID, body any) payment.Command {
	t.now += t.rand.Int64N(3 * second)
	t.number++
	return payment.Command{
		Kind: kind, Tenant: tenant, Merchant: merchant, Account: account, AcceptedAtUS: t.now,
		BodyHash: sha256.Sum256(fmt.Append(nil, kind, body)), Pins: pins,
	}
}

// record encodes a command; every request waits for its answer.
func (t *traffic) record(key string, cmd payment.Command) command {
	b, err := codec.EncodeCommand(&cmd, codec.Envelope{
		Reply:  &codec.ReplyAddress{Partition: 1, ID: uint64(t.number)},
		Sealed: &paymentsv1.Sealed{KeyId: "k1", Ciphertext: fmt.Append(nil, "sealed ", t.number)},
	})
	if err != nil {
		t.tb.Fatal(err)
	}
	c := command{key, -1, b, cmd.Kind}
	t.requests = append(t.requests, c)
	return c
}

func (t *traffic) open(name string) command { return t.openFor(name, "c-"+name) }

// openFor asks for an account in the name of a customer.
func (t *traffic) openFor(name, customer string) command {
	currencies := [][]string{{"BRL"}, {"BRL", "USD"}, {"BRL", "USD", "JPY"}}[t.rand.IntN(3)]
	cmd := t.command(payment.KindOpenAccount, t.account(name), currencies)
	cmd.Customer = customer
	key := string(payment.CustomerKeyFrom(tenant, merchant, cmd.Customer))
	cmd.CommandID = payment.CommandIDFrom(key, merchant, "open")
	cmd.Open = &payment.OpenAccount{
		ExternalID: name, Kind: payment.AccountKindPerson, Currencies: currencies, KYCLevel: uint8(1 + t.rand.IntN(3)), Policy: "standard",
	}
	return t.record(key, cmd)
}

func (t *traffic) pay(kind payment.Kind, name string) command {
	in := payment.Instruction{
		AmountMinor: 1 + t.rand.Int64N(200_00), Currency: "BRL", Method: []string{"book", "book", "cash"}[t.rand.IntN(3)],
	}
	switch t.rand.IntN(10) {
	case 0:
		in.AmountMinor *= 100
	case 1:
		in.AmountMinor = 1
	case 2:
		in.AmountMinor = 1 << 62
	}
	switch t.rand.IntN(8) {
	case 0:
		in.TargetCurrency = "USD"
	case 1:
		in.Currency, in.TargetCurrency = "USD", "BRL"
	case 2:
		in.Currency = "USD"
	case 3:
		in.TargetCurrency = []string{"JPY", "EUR", "BRL"}[t.rand.IntN(3)]
	}
	if t.rand.IntN(3) == 0 {
		in.Counterparty = payment.Counterparty{Country: []string{"BR", "BR", "XX"}[t.rand.IntN(3)], Digest: []byte(party(t.rand.IntN(8)))}
	}
	switch {
	case t.rand.IntN(3) > 0:
	case kind == payment.KindPayOut:
		in.Method = "bank"
	default:
		in.Method, in.Instrument = "card", "tok_1"
		in.Card = payment.Card{Capture: payment.CaptureMethod(t.rand.IntN(3)), Brand: "visa", Installments: uint8(t.rand.IntN(13))}
	}
	if kind == payment.KindTransfer {
		in.Method = "book"
		in.ToAccount = t.account(t.names[t.rand.IntN(len(t.names))])
		if t.rand.IntN(10) == 0 {
			in.ToAccount = t.account("nobody")
		}
	}
	return t.instruct(kind, name, in)
}

func (t *traffic) instruct(kind payment.Kind, name string, in payment.Instruction) command {
	cmd := t.command(kind, t.account(name), in)
	cmd.PaymentID = payment.IDFrom(kind, cmd.Account, merchant, fmt.Sprint("key", t.number))
	cmd.CommandID = string(cmd.PaymentID)
	cmd.Instruction = &in
	t.payments = append(t.payments, cmd.PaymentID)
	return t.record(string(cmd.Account), cmd)
}

func (t *traffic) about(kind payment.Kind) command {
	of := t.payments[max(0, len(t.payments)-1-t.rand.IntN(40))]
	cmd := t.command(kind, of.Account(), of)
	cmd.PaymentID = of
	cmd.CommandID = string(payment.IDFrom(kind, cmd.Account, merchant, fmt.Sprint("key", t.number)))
	switch kind {
	case payment.KindRefund:
		cmd.Refund = &payment.RefundInstruction{AmountMinor: t.rand.Int64N(3) * 1_00}
	case payment.KindCapture:
		cmd.Capture = &payment.CaptureInstruction{AmountMinor: t.rand.Int64N(3) * 1_00, Final: t.rand.IntN(2) == 0}
	case payment.KindVoid:
		cmd.Void = &payment.VoidInstruction{}
	case payment.KindIncrement:
		cmd.Increment = &payment.IncrementInstruction{AmountMinor: 1_00}
	default:
		cmd.Verdict = &payment.Verdict{Actor: "ops"}
		cmd.CommandID = payment.CommandIDFrom(string(cmd.Account), merchant, fmt.Sprint("key", t.number))
	}
	return t.record(string(cmd.Account), cmd)
}

func (t *traffic) level(name string) command {
	cmd := t.command(payment.KindSetKYCLevel, t.account(name), t.number)
	cmd.Customer = "c-" + name
	cmd.KYCLevel = &payment.SetKYCLevel{KYCLevel: 3}
	key := string(payment.CustomerKeyFrom(tenant, merchant, cmd.Customer))
	cmd.CommandID = payment.CommandIDFrom(key, merchant, fmt.Sprint("key", t.number))
	return t.record(key, cmd)
}

// ticks is one tick for every partition.
func (t *traffic) ticks() []command {
	var out []command
	for p := range t.partitions {
		cmd := payment.Command{Kind: payment.KindTick, AcceptedAtUS: t.now, Tick: &payment.Tick{Minute: t.now/(60*second) - 1}}
		b, err := codec.EncodeCommand(&cmd, codec.Envelope{})
		if err != nil {
			t.tb.Fatal(err)
		}
		out = append(out, command{fmt.Sprint(p), p, b, payment.KindTick})
	}
	return out
}

// next is one command, sometimes a round of ticks.
func (t *traffic) next() []command {
	if t.number < len(t.names)-1 {
		return []command{t.open(t.names[t.number])}
	}
	name := t.names[t.rand.IntN(len(t.names))]
	switch n := t.rand.IntN(100); {
	case n < 4:
		return []command{t.onCard(name)}
	case n < 14:
		return []command{t.acquirer(name)}
	case n < 35:
		return []command{t.pay(payment.KindPayIn, name)}
	case n < 50:
		return []command{t.pay(payment.KindPayOut, name)}
	case n < 70:
		return []command{t.pay(payment.KindTransfer, name)}
	case n < 76 && len(t.payments) > 0:
		return []command{t.about(payment.KindRefund)}
	case n < 82 && len(t.payments) > 0:
		return []command{t.about([]payment.Kind{payment.KindCapture, payment.KindCapture, payment.KindVoid, payment.KindIncrement}[t.rand.IntN(4)])}
	case n < 86 && len(t.payments) > 0:
		return []command{t.about([]payment.Kind{payment.KindApprove, payment.KindDecline}[t.rand.IntN(2)])}
	case n < 89:
		return []command{t.level(name)}
	case n < 91:
		return []command{t.open(name)}
	case n < 97:
		t.repeats++
		return []command{t.requests[t.rand.IntN(len(t.requests))]}
	case n < 98:
		t.now += []int64{60, 3600, 86_400, 92 * 86_400}[t.rand.IntN(4)] * second
		return t.ticks()
	default:
		return t.ticks()
	}
}

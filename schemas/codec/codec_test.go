package codec_test

import (
	"bytes"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/calendar"
	"github.com/caudalpay/caudal/processors/compliance"
	"github.com/caudalpay/caudal/processors/fees"
	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/fx"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// crossing is one message both ways.
type crossing struct {
	value  any
	encode func() ([]byte, error)
	decode func([]byte) (any, error)
}

type commandWith struct {
	payment.Command
	codec.Envelope
}

type decisionWith struct {
	accounts.Decision
	codec.Seal
}

func commandCrossing(c payment.Command, e codec.Envelope) crossing {
	return crossing{
		value:  commandWith{c, e},
		encode: func() ([]byte, error) { return codec.EncodeCommand(&c, e) },
		decode: func(b []byte) (any, error) {
			c, e, err := codec.DecodeCommand(b)
			return commandWith{c, e}, err
		},
	}
}

func decisionCrossing(d accounts.Decision, s codec.Seal) crossing {
	return crossing{
		value:  decisionWith{d, s},
		encode: func() ([]byte, error) { return codec.EncodeDecision(&d, s) },
		decode: func(b []byte) (any, error) {
			d, s, err := codec.DecodeDecision(b)
			return decisionWith{d, s}, err
		},
	}
}

// crossings is a full sample of every message.
func crossings() map[string]crossing {
	all := map[string]crossing{}
	for name, c := range sampleCommands() {
		e := answer
		if c.Kind == payment.KindTick {
			e = codec.Envelope{}
		}
		all["command_"+name] = commandCrossing(c, e)
	}
	all["decision"] = decisionCrossing(sampleDecision(), codec.Seal{PreviousHash: digest("before"), Sealed: sealed})
	cell, rec, mem := sampleCell(), samplePaymentRecord(), sampleCommandRecord()
	all["cell"] = crossing{cell, func() ([]byte, error) { return codec.EncodeCell(&cell) }, func(b []byte) (any, error) { return codec.DecodeCell(b) }}
	all["payment_record"] = crossing{
		rec, func() ([]byte, error) { return codec.EncodePaymentRecord(&rec) }, func(b []byte) (any, error) { return codec.DecodePaymentRecord(b) },
	}
	byRail := sampleRailRecord()
	all["payment_record_rail"] = crossing{
		byRail, func() ([]byte, error) { return codec.EncodePaymentRecord(&byRail) }, func(b []byte) (any, error) { return codec.DecodePaymentRecord(b) },
	}
	all["decision_answered"] = decisionCrossing(sampleAnswered(), codec.Seal{PreviousHash: digest("before")})
	all["decision_result"] = decisionCrossing(sampleResult(), codec.Seal{PreviousHash: digest("before")})
	all["command_record"] = crossing{
		mem, func() ([]byte, error) { return codec.EncodeCommandRecord(&mem) }, func(b []byte) (any, error) { return codec.DecodeCommandRecord(b) },
	}
	leg := accounts.LegRecord{PayerSeq: 12, ExpiresAtUS: at}
	all["leg_record"] = crossing{leg, func() ([]byte, error) { return codec.EncodeLegRecord(&leg) }, func(b []byte) (any, error) { return codec.DecodeLegRecord(b) }}
	entry := accounts.DirectoryEntry{Account: payer, Tenant: "t1", Merchant: "m1", Customer: "c1", State: *state, AccountSeq: 3}
	all["directory_entry"] = crossing{
		entry, func() ([]byte, error) { return codec.EncodeDirectoryEntry(&entry) },
		func(b []byte) (any, error) { return codec.DecodeDirectoryEntry(string(payer), b) },
	}
	type orderWith struct {
		accounts.Order
		Sealed *paymentsv1.Sealed
	}
	order := accounts.Order{
		OrderID: "o1", Kind: accounts.OrderKindSend, Method: "pix", Tenant: "t1", Merchant: "m1", Account: payer,
		PaymentID: id(payment.KindPayOut), AmountMinor: 1, Currency: "BRL", Instrument: "tok_1", DeadlineUS: at,
	}
	all["order"] = crossing{
		orderWith{order, sealed},
		func() ([]byte, error) { return codec.EncodeOrder(&order, sealed) },
		func(b []byte) (any, error) {
			o, s, err := codec.DecodeOrder(b)
			return orderWith{o, s}, err
		},
	}
	capture := order
	capture.Kind, capture.Connector, capture.Reference, capture.Brand = accounts.OrderKindCapture, "cielo", "24bc8366", "elo"
	capture.Installments, capture.Final, capture.OrderedAtUS = 3, true, at
	capture.LateAtUS = at - 1
	all["order_capture"] = crossing{
		orderWith{capture, sealed},
		func() ([]byte, error) { return codec.EncodeOrder(&capture, sealed) },
		func(b []byte) (any, error) {
			o, s, err := codec.DecodeOrder(b)
			return orderWith{o, s}, err
		},
	}
	type replyWith struct {
		id uint64
		d  accounts.Decision
	}
	d := sampleDecision()
	told := d
	told.Journals = nil
	all["reply"] = crossing{
		replyWith{7, told},
		func() ([]byte, error) { return codec.EncodeReply(7, &d) },
		func(b []byte) (any, error) {
			id, d, err := codec.DecodeReply(b)
			return replyWith{id, d}, err
		},
	}
	addDocuments(all)
	addDisputes(all)
	addIssuing(all)
	return all
}

func addDocuments(all map[string]crossing) {
	p := &policy.Policy{
		ID: "standard", Version: 1, Tenant: "t1", LimitCurrency: "BRL", Limits: []policy.KYCLimit{{Level: 1, DayMinor: 2, MonthMinor: 3}},
		FraudMode: policy.FraudModeEnforce, ReviewScore: 500, DeclineScore: 900, ReviewTimeoutUS: 3_600_000_000, RetentionDays: 90,
		UTCOffsets: []calendar.UTCOffset{{FromUS: math.MinInt64 / 2, OffsetS: -10_800}, {FromUS: at, OffsetS: -7200}},
	}
	all["policy"] = crossing{
		p, func() ([]byte, error) {
			return codec.EncodePolicy(p, payment.Pins{Fees: "std", Rates: "fx", Rules: "rules", Blocklist: "block"})
		},
		func(b []byte) (any, error) { return codec.DecodePolicy("standard@1", b) },
	}
	rails := *p
	rails.Card = &policy.Card{AuthorizationTTLUS: 7 * 86_400_000_000, OverCaptureBP: 1000, FeeReturned: true, CurrentRate: true}
	rails.Bank = &policy.Bank{FeeReturned: true}
	all["policy_rails"] = crossing{
		&rails, func() ([]byte, error) { return codec.EncodePolicy(&rails, payment.Pins{}) },
		func(b []byte) (any, error) { return codec.DecodePolicy("standard@1", b) },
	}
	f := &fees.Schedule{Ref: "std@2", Fees: []fees.Fee{{Kind: payment.KindPayIn, Method: "cash", Currency: "BRL", FixedMinor: 30, RatePPM: 10_000, MinMinor: 1, MaxMinor: 99}}}
	all["fees"] = crossing{f, func() ([]byte, error) { return codec.EncodeFees(f) }, func(b []byte) (any, error) { return codec.DecodeFees("std@2", b) }}
	s := &fx.Sheet{Ref: "fx@3", AsOfUS: at, ValidUntilUS: at + 1, Rates: map[fx.Pair]fx.Quote{
		{Source: "BRL", Target: "USD"}: {Mid: money.Rate{Unscaled: 2, Scale: 1}, SpreadBP: 100},
		{Source: "USD", Target: "BRL"}: {Mid: money.Rate{Unscaled: 5}, SpreadBP: 0},
		{Source: "BRL", Target: "JPY"}: {Mid: money.Rate{Unscaled: 30}, SpreadBP: 1},
	}}
	all["rates"] = crossing{s, func() ([]byte, error) { return codec.EncodeRates(s) }, func(b []byte) (any, error) { return codec.DecodeRates("fx@3", b) }}
	r := &fraud.RuleSet{Ref: "rules@4", Rules: []fraud.Rule{{ID: "night", Version: 2, Kind: fraud.RuleNight, Weight: 10, Threshold: 5, MinHistory: 1, FromMinute: 1320, ToMinute: 360, Reason: "night"}}}
	all["rules"] = crossing{r, func() ([]byte, error) { return codec.EncodeRules(r) }, func(b []byte) (any, error) { return codec.DecodeRules("rules@4", b) }}
	l := &compliance.Blocklist{Ref: "block@5", Countries: map[string]struct{}{"XX": {}, "AA": {}}, Parties: map[string]struct{}{string(digest("x")): {}, string(digest("y")): {}}}
	all["blocklist"] = crossing{l, func() ([]byte, error) { return codec.EncodeBlocklist(l) }, func(b []byte) (any, error) { return codec.DecodeBlocklist("block@5", b) }}
}

// TestGoldenBytes keeps what was ever written readable, and the encoder at one output per value.
func TestGoldenBytes(t *testing.T) {
	for name, x := range crossings() {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "golden", "v1", name+".bin")
			got, err := x.encode()
			if err != nil {
				t.Fatal(err)
			}
			if *rewrite {
				if err := os.WriteFile(path, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("encoded to other bytes than before:\n%x\n%x", got, want)
			}
			back, err := x.decode(want)
			if err != nil {
				t.Fatal(err)
			}
			if !same(back, x.value) {
				t.Errorf("decoded to\n%+v\nwant\n%+v", back, x.value)
			}
		})
	}
}

// same compares values that may hold messages: those only as bytes.
func same(a, b any) bool {
	switch x := a.(type) {
	case commandWith:
		y, ok := b.(commandWith)
		return ok && proto.Equal(x.Sealed, y.Sealed) && reflect.DeepEqual(x.Reply, y.Reply) && reflect.DeepEqual(x.Command, y.Command)
	case decisionWith:
		y, ok := b.(decisionWith)
		return ok && proto.Equal(x.Sealed, y.Sealed) && bytes.Equal(x.PreviousHash, y.PreviousHash) && reflect.DeepEqual(x.Decision, y.Decision)
	default:
		va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
		if va.Kind() == reflect.Struct && va.NumField() == 2 && va.Type().Field(1).Name == "Sealed" {
			ma, _ := reflect.TypeAssert[proto.Message](va.Field(1))
			mb, _ := reflect.TypeAssert[proto.Message](vb.Field(1))
			return proto.Equal(ma, mb) && reflect.DeepEqual(va.Field(0).Interface(), vb.Field(0).Interface())
		}
		return reflect.DeepEqual(a, b)
	}
}

func TestAnyDecisionComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := decisionCrossing(drawDecision(t), codec.Seal{Sealed: sealed})
		b, err := x.encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := x.decode(b)
		if err != nil || !same(back, x.value) {
			t.Fatalf("%v: decoded to\n%+v\nwant\n%+v", err, back, x.value)
		}
	})
}

func TestAnyCellComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := sampleCell()
		for range rapid.IntRange(0, 20).Draw(t, "payments") {
			c.Fraud = c.Fraud.ObserveVelocity(at + rapid.Int64Range(0, 1<<40).Draw(t, "later")).ObserveAmount(rapid.Int64Range(0, 1<<50).Draw(t, "amount"))
		}
		c.Balances[0].PostedMinor, c.Seq = rapid.Int64().Draw(t, "posted"), rapid.Uint64().Draw(t, "seq")
		b, err := codec.EncodeCell(&c)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := codec.DecodeCell(b); err != nil || !reflect.DeepEqual(back, c) {
			t.Fatalf("%v: decoded to\n%+v\nwant\n%+v", err, back, c)
		}
	})
}

// TestALargeCellFits keeps the promise of an O(1) state: the largest account stays below the bound.
func TestALargeCellFits(t *testing.T) {
	c := sampleCell()
	big := *state
	big.ExternalID, big.Policy = string(bytes.Repeat([]byte("e"), 64)), string(bytes.Repeat([]byte("p"), 64))
	c.Tenant, c.Merchant, c.Customer = big.Policy, big.Policy, big.Policy
	big.Currencies, c.Balances = nil, nil
	for i := range 16 {
		currency := "A" + string(rune('A'+i)) + "A"
		big.Currencies = append(big.Currencies, currency)
		c.Balances = append(c.Balances, balance(currency))
	}
	c.State = &big
	for i := range 24 {
		for range 300 {
			c.Fraud = c.Fraud.ObserveVelocity(at + int64(i)*3_600_000_000)
		}
	}
	b, err := codec.EncodeCell(&c)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("largest cell: %d bytes", len(b))
	c.Customer = string(bytes.Repeat([]byte("c"), codec.CellBytesMax))
	if _, err := codec.EncodeCell(&c); !errors.Is(err, codec.ErrFormat) {
		t.Errorf("a cell beyond the bound: %v", err)
	}
}

// TestStrictCommands lists what is refused.
func TestStrictCommands(t *testing.T) {
	valid := func(kind string) *paymentsv1.Command {
		c := sampleCommands()[kind]
		return codec.CommandToProto(&c, answer)
	}
	for name, x := range map[string]struct {
		kind   string
		change func(*paymentsv1.Command)
	}{
		"version 0":              {"payin", func(m *paymentsv1.Command) { m.Version = 0 }},
		"version 2":              {"payin", func(m *paymentsv1.Command) { m.Version = 2 }},
		"kind 0":                 {"payin", func(m *paymentsv1.Command) { m.Kind = 0 }},
		"kind unknown":           {"payin", func(m *paymentsv1.Command) { m.Kind = 99 }},
		"kind beyond a byte":     {"payin", func(m *paymentsv1.Command) { m.Kind = 256 + 10 }},
		"no body":                {"payin", func(m *paymentsv1.Command) { m.Body = nil }},
		"empty body":             {"payin", func(m *paymentsv1.Command) { m.Body = &paymentsv1.Command_Instruction{} }},
		"body of another kind":   {"payin", func(m *paymentsv1.Command) { m.Kind = paymentsv1.CommandKind_COMMAND_KIND_REFUND }},
		"no account":             {"payin", func(m *paymentsv1.Command) { m.Account = "" }},
		"malformed account":      {"payin", func(m *paymentsv1.Command) { m.Account = "acc_1" }},
		"no payment id":          {"payin", func(m *paymentsv1.Command) { m.PaymentId = "" }},
		"malformed payment id":   {"payin", func(m *paymentsv1.Command) { m.PaymentId = "pi_x" }},
		"two ids":                {"payin", func(m *paymentsv1.Command) { m.CommandId = string(id(payment.KindPayOut)) }},
		"no command id":          {"approve", func(m *paymentsv1.Command) { m.CommandId = "" }},
		"no tenant":              {"payin", func(m *paymentsv1.Command) { m.Tenant = "" }},
		"no merchant":            {"payin", func(m *paymentsv1.Command) { m.Merchant = "" }},
		"no time":                {"payin", func(m *paymentsv1.Command) { m.AcceptedAtUs = 0 }},
		"time beyond reason":     {"payin", func(m *paymentsv1.Command) { m.AcceptedAtUs = math.MaxInt64 }},
		"no hash":                {"payin", func(m *paymentsv1.Command) { m.BodyHash = nil }},
		"short hash":             {"payin", func(m *paymentsv1.Command) { m.BodyHash = m.GetBodyHash()[:31] }},
		"no amount":              {"payin", func(m *paymentsv1.Command) { m.GetInstruction().AmountMinor = 0 }},
		"negative amount":        {"payin", func(m *paymentsv1.Command) { m.GetInstruction().AmountMinor = -1 }},
		"no currency":            {"payin", func(m *paymentsv1.Command) { m.GetInstruction().Currency = "" }},
		"lower-case currency":    {"payin", func(m *paymentsv1.Command) { m.GetInstruction().TargetCurrency = "usd" }},
		"no payee":               {"transfer", func(m *paymentsv1.Command) { m.GetInstruction().ToAccount = "" }},
		"long digest":            {"payin", func(m *paymentsv1.Command) { m.GetInstruction().Counterparty.Digest = make([]byte, 65) }},
		"negative refund":        {"refund", func(m *paymentsv1.Command) { m.GetRefund().AmountMinor = -1 }},
		"KYC level 4":            {"set_kyc_level", func(m *paymentsv1.Command) { m.GetSetKycLevel().KycLevel = 4 }},
		"KYC level 4 at opening": {"open_account", func(m *paymentsv1.Command) { m.GetOpenAccount().KycLevel = 4 }},
		"no currencies":          {"open_account", func(m *paymentsv1.Command) { m.GetOpenAccount().Currencies = nil }},
		"17 currencies":          {"open_account", func(m *paymentsv1.Command) { m.GetOpenAccount().Currencies = slices.Repeat([]string{"BRL"}, 17) }},
		"a currency twice":       {"open_account", func(m *paymentsv1.Command) { m.GetOpenAccount().Currencies = []string{"BRL", "BRL"} }},
		"negative overdraft":     {"open_account", func(m *paymentsv1.Command) { m.GetOpenAccount().OverdraftLimitMinor = -1 }},
		"no purpose":             {"expire", func(m *paymentsv1.Command) { m.GetExpire().Purpose = 0 }},
		"negative minute":        {"tick", func(m *paymentsv1.Command) { m.GetTick().Minute = -1 }},
		"minute beyond reason":   {"tick", func(m *paymentsv1.Command) { m.GetTick().Minute = math.MaxInt64 }},
		"leg without transfer":   {"counter_leg", func(m *paymentsv1.Command) { m.GetCounterLeg().TransferId = "" }},
		"leg without amount":     {"counter_leg", func(m *paymentsv1.Command) { m.GetCounterLeg().AmountMinor = 0 }},
		"answer to no order":     {"rail_answer", func(m *paymentsv1.Command) { m.GetRailAnswer().OrderId = "" }},
		"answer without result":  {"rail_answer", func(m *paymentsv1.Command) { m.GetRailAnswer().Result = 0 }},
		"answer unknown":         {"rail_answer", func(m *paymentsv1.Command) { m.GetRailAnswer().Result = 7 }},
		"answer of less":         {"rail_answer_told", func(m *paymentsv1.Command) { m.GetRailAnswer().AmountMinor = -1 }},
		"answer before time":     {"rail_answer_told", func(m *paymentsv1.Command) { m.GetRailAnswer().ReportedAtUs = -1 }},
		"answer in a novel":      {"rail_answer_told", func(m *paymentsv1.Command) { m.GetRailAnswer().Reference = strings.Repeat("r", 257) }},
		"tid in a novel":         {"rail_answer_tid", func(m *paymentsv1.Command) { m.GetRailAnswer().Tid = strings.Repeat("t", 257) }},
		"closed, unknown":        {"rail_answer_closed", func(m *paymentsv1.Command) { m.GetRailAnswer().Result = 0 }},
		"quote of nothing":       {"fx_quote", func(m *paymentsv1.Command) { m.GetFxQuote().AmountMinor = 0 }},
		"quote in nothing":       {"fx_quote", func(m *paymentsv1.Command) { m.GetFxQuote().TargetCurrency = "" }},
		"quote under two ids":    {"fx_quote", func(m *paymentsv1.Command) { m.PaymentId = string(id(payment.KindPayIn)) }},
		"by a malformed quote":   {"payin_quoted", func(m *paymentsv1.Command) { m.GetInstruction().Quote = "fq_1" }},
		"dispute in no stage":    {"dispute", func(m *paymentsv1.Command) { m.GetDispute().Stage = 0 }},
		"dispute in stage 6":     {"dispute", func(m *paymentsv1.Command) { m.GetDispute().Stage = 6 }},
		"dispute of nothing":     {"dispute", func(m *paymentsv1.Command) { m.GetDispute().AmountMinor = 0 }},
		"dispute before time":    {"dispute", func(m *paymentsv1.Command) { m.GetDispute().DeadlineUs = -1 }},
		"dispute in a novel":     {"dispute", func(m *paymentsv1.Command) { m.GetDispute().Reference = strings.Repeat("r", 257) }},
		"dispute before 1970":    {"dispute", func(m *paymentsv1.Command) { m.GetDispute().OccurredAtUs = -1 }},
		"dispute after all time": {"dispute", func(m *paymentsv1.Command) { m.GetDispute().OccurredAtUs = math.MaxInt64 }},
		"dispute as a pay-in's":  {"dispute", func(m *paymentsv1.Command) { m.GetDispute().MessageId = m.GetPaymentId() }},
		"dispute of no message":  {"dispute", func(m *paymentsv1.Command) { m.GetDispute().MessageId = "cmd_1" }},
		"dispute as a pay-in":    {"dispute", func(m *paymentsv1.Command) { m.CommandId = m.GetPaymentId() }},
		"no evidence":            {"dispute_evidence", func(m *paymentsv1.Command) { m.GetDisputeEvidence().Files = nil }},
		"evidence without hash":  {"dispute_evidence", func(m *paymentsv1.Command) { m.GetDisputeEvidence().GetFiles()[0].Sha256 = nil }},
		"evidence of nowhere":    {"dispute_evidence", func(m *paymentsv1.Command) { m.GetDisputeEvidence().GetFiles()[0].Reference = "" }},
		"21 files": {"dispute_evidence", func(m *paymentsv1.Command) {
			m.GetDisputeEvidence().Files = slices.Repeat(m.GetDisputeEvidence().GetFiles()[:1], 21)
		}},
		"nobody accepts":         {"dispute_accept", func(m *paymentsv1.Command) { m.Merchant = "" }},
		"release of nothing":     {"release_claim", func(m *paymentsv1.Command) { m.GetReleaseClaim().RefusedCommandId = "" }},
		"release of no account":  {"release_claim", func(m *paymentsv1.Command) { m.Account = "" }},
		"refused for no reason":  {"leg_result", func(m *paymentsv1.Command) { m.GetLegResult().Reason = 0 }},
		"accepted with a reason": {"leg_result", func(m *paymentsv1.Command) { m.GetLegResult().Accepted = true }},
		"reason unknown":         {"leg_result", func(m *paymentsv1.Command) { m.GetLegResult().Reason = 2 }},
		"unknown field":          {"payin", func(m *paymentsv1.Command) { m.ProtoReflect().SetUnknown([]byte{0xf8, 0x3f, 0x01}) }},
		"unknown field in body":  {"payin", func(m *paymentsv1.Command) { m.GetInstruction().ProtoReflect().SetUnknown([]byte{0xf8, 0x3f, 0x01}) }},
	} {
		m := valid(x.kind)
		if _, _, err := codec.CommandFromProto(m); err != nil {
			t.Fatalf("%s: the sample itself is refused: %v", name, err)
		}
		x.change(m)
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := codec.DecodeCommand(b); !errors.Is(err, codec.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, b := range [][]byte{nil, {}, []byte("noise"), {0xff}} {
		if _, _, err := codec.DecodeCommand(b); !errors.Is(err, codec.ErrFormat) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

// FuzzDecode feeds every decoder: none may panic, and what a decoder accepts must encode and come back.
func FuzzDecode(f *testing.F) {
	all := crossings()
	for _, x := range all {
		b, err := x.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, x := range all {
			_, _ = x.decode(b)
		}
		if c, e, err := codec.DecodeCommand(b); err == nil {
			x := commandCrossing(c, e)
			again, err := x.encode()
			if err != nil {
				t.Fatal(err)
			}
			if back, err := x.decode(again); err != nil || !same(back, x.value) {
				t.Fatalf("%v: decoded to\n%+v\nwant\n%+v", err, back, x.value)
			}
		}
	})
}

func BenchmarkDecodeCommand(b *testing.B) {
	c := sampleCommands()["payin"]
	data, err := codec.EncodeCommand(&c, answer)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := codec.DecodeCommand(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeDecision(b *testing.B) {
	d := sampleDecision()
	d.AccountState = nil
	seal := codec.Seal{PreviousHash: digest("before"), Sealed: sealed}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.EncodeDecision(&d, seal); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCell(b *testing.B) {
	c := sampleCell()
	data, err := codec.EncodeCell(&c)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.DecodeCell(data); err != nil {
			b.Fatal(err)
		}
		if _, err := codec.EncodeCell(&c); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLegRecordOfFormerTimes: a counter-leg was remembered by a mark once.
func TestLegRecordOfFormerTimes(t *testing.T) {
	got, err := codec.DecodeLegRecord([]byte{codec.Version})
	if err != nil || got != (accounts.LegRecord{}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := codec.DecodeLegRecord([]byte{codec.Version + 1}); err == nil {
		t.Error("a mark of another version was taken")
	}
}

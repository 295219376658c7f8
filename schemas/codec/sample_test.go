package codec_test

import (
	"crypto/sha256"
	"maps"

	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/limits"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const at = int64(1_795_348_800_000_000) // 2026-11-22T12:00:00Z

var (
	payer = payment.AccountIDFrom("t1", "m1", "payer")
	payee = payment.AccountIDFrom("t1", "m1", "payee")
	pins  = payment.Pins{Policy: "standard@1", Fees: "std@2", Rates: "fx@3", Rules: "rules@4", Blocklist: "block@5"}
	fxAt  = &payment.FX{RateUnscaled: 19_800, RateScale: 5, MidUnscaled: 2, MidScale: 1, SpreadBP: 100}
	state = &accounts.AccountState{
		ExternalID: "payer", Kind: payment.AccountKindPerson, Status: accounts.AccountStatusOpen, Currencies: []string{"BRL", "USD"},
		KYCLevel: 2, OverdraftLimitMinor: 10_000, Policy: "standard", OpenedAtUS: at,
	}
	sealed = &paymentsv1.Sealed{KeyId: "k1", Ciphertext: []byte("not to be read")}
	answer = codec.Envelope{Sealed: sealed, Reply: &codec.ReplyAddress{Partition: 0, ID: 7}}
)

func id(kind payment.Kind) payment.ID { return payment.IDFrom(kind, payer, "m1", "key") }

func hashOf(s string) [32]byte { return sha256.Sum256([]byte(s)) }

func digest(s string) []byte {
	h := hashOf(s)
	return h[:]
}

// sampleCommands is one full command of every kind.
func sampleCommands() map[string]payment.Command {
	base := func(kind payment.Kind, commandID string) payment.Command {
		return payment.Command{
			Kind: kind, Tenant: "t1", Merchant: "m1", Customer: "c1", Account: payer, CommandID: commandID, AcceptedAtUS: at,
			BodyHash: hashOf(commandID), Pins: pins,
		}
	}
	own := func(kind payment.Kind) payment.Command {
		c := base(kind, string(id(kind)))
		c.PaymentID = id(kind)
		return c
	}
	about := func(kind payment.Kind) payment.Command {
		c := base(kind, payment.CommandIDFrom(string(payer), "m1", kind.String()))
		c.PaymentID = id(payment.KindTransfer)
		return c
	}
	all := map[string]payment.Command{}
	for _, kind := range []payment.Kind{payment.KindPayIn, payment.KindPayOut, payment.KindTransfer} {
		c := own(kind)
		c.Instruction = &payment.Instruction{
			AmountMinor: 1234, Currency: "BRL", TargetCurrency: "USD", Method: "book", Instrument: "tok_1", EffectiveDate: 20_779,
			Counterparty: payment.Counterparty{
				Country: "BR", Digest: digest("a"), NameDigest: digest("b"), DocumentDigest: digest("a"), AccountDigest: digest("c"),
			},
		}
		if kind == payment.KindTransfer {
			c.Instruction.ToAccount = payee
		}
		all[kind.String()] = c
	}
	c := base(payment.KindOpenAccount, "cmd_open")
	c.Open = &payment.OpenAccount{
		ExternalID: "payer", Kind: payment.AccountKindMerchant, Currencies: []string{"BRL", "USD"}, KYCLevel: 3, OverdraftLimitMinor: 5, Policy: "standard",
	}
	all["open_account"] = c
	c = base(payment.KindSetKYCLevel, "cmd_level")
	c.KYCLevel = &payment.SetKYCLevel{KYCLevel: 3}
	all["set_kyc_level"] = c
	c = own(payment.KindRefund)
	c.PaymentID, c.Refund = id(payment.KindPayIn), &payment.RefundInstruction{AmountMinor: 100}
	all["refund"] = c
	for _, kind := range []payment.Kind{payment.KindApprove, payment.KindDecline} {
		c = about(kind)
		c.Verdict = &payment.Verdict{Actor: "ops"}
		all[kind.String()] = c
	}
	c = about(payment.KindExpire)
	c.Expire = &payment.Expire{Purpose: payment.ExpireReview, DueAtUS: at}
	all["expire"] = c
	c = about(payment.KindCounterLeg)
	c.CounterLeg = &payment.CounterLeg{TransferID: c.PaymentID, PayerAccount: payer, AmountMinor: 198, Currency: "USD", EffectiveDate: 20_779}
	all["counter_leg"] = c // as before the payer's number was told
	leg := *c.CounterLeg
	leg.PayerSeq = 12
	c.CounterLeg = &leg
	all["counter_leg_asked"] = c
	c = about(payment.KindLegResult)
	c.LegResult = &payment.LegResult{TransferID: c.PaymentID, PayeeAccount: payee, Reason: payment.ReasonCurrencyNotHeld}
	all["leg_result"] = c
	c = about(payment.KindRailAnswer)
	c.RailAnswer = &payment.RailAnswer{OrderID: "o1", Result: payment.RailRefused, Code: "AC03"}
	all["rail_answer"] = c // as before who executed the order was told
	told := *c.RailAnswer
	told.Result, told.Code, told.Connector, told.Reference = payment.RailReturned, "00", "cielo", "24bc8366-fc31-4d6c-8555-17049a836a07"
	told.AmountMinor, told.ReportedAtUS = 1234, at
	c.RailAnswer = &told
	all["rail_answer_told"] = c
	maps.Copy(all, sampleOperations(base))
	maps.Copy(all, sampleDisputes(base))
	maps.Copy(all, sampleIssuing(base))
	c = own(payment.KindPayIn)
	c.Instruction = &payment.Instruction{
		AmountMinor: 1234, Currency: "BRL", Method: "card", Instrument: "tok_1",
		Card: payment.Card{Capture: payment.CaptureManual, Brand: "elo", Installments: 3},
	}
	all["payin_card"] = c
	c = base(payment.KindReleaseClaim, "cmd_release")
	c.Release = &payment.ReleaseClaim{RefusedCommandID: "cmd_open"}
	all["release_claim"] = c
	all["tick"] = payment.Command{Kind: payment.KindTick, AcceptedAtUS: at, Tick: &payment.Tick{Minute: at / 60_000_000}}
	return all
}

func sampleOperations(base func(payment.Kind, string) payment.Command) map[string]payment.Command {
	all := map[string]payment.Command{}
	for _, kind := range []payment.Kind{payment.KindCapture, payment.KindVoid, payment.KindIncrement} {
		c := base(kind, string(id(kind)))
		c.PaymentID = id(payment.KindPayIn)
		all[kind.String()] = c
	}
	c := all["capture"]
	c.Capture = &payment.CaptureInstruction{AmountMinor: 500, Final: true}
	all["capture"] = c
	c = all["void"]
	c.Void = &payment.VoidInstruction{}
	all["void"] = c
	c = all["increment"]
	c.Increment = &payment.IncrementInstruction{AmountMinor: 100}
	all["increment"] = c
	return all
}

// sampleAnswered is a decision on what a rail said.
func sampleAnswered() accounts.Decision {
	d := sampleDecision()
	d.Kind, d.Outcome, d.Reasons, d.Status = payment.KindRailAnswer, payment.OutcomeApplied, nil, payment.StatusSucceeded
	d.CapturedMinor, d.AuthorizedMinor = 500, 1234
	d.OrderID, d.RailCode, d.Connector, d.RailReference = string(id(payment.KindCapture))+".capture", "00", "cielo", "24bc8366"
	return d
}

// sampleRailRecord is a card payment captured in part.
func sampleRailRecord() payment.Record {
	r := samplePaymentRecord()
	r.Status, r.Method = payment.StatusPartiallyCaptured, "card"
	r.Rail = &payment.Rail{
		Capture: payment.CaptureManual, Brand: "elo", Installments: 3, Connector: "cielo", Reference: "24bc8366",
		AuthorizedMinor: 1234, CapturedMinor: 500, CapturingMinor: 100, RefundingMinor: 7, HoldMinor: 120, FeeMinor: 5, FeeReturnedMinor: 1, ExpiresAtUS: at + 2,
		Ordered: true, Late: true, LateReturned: true, LateAtUS: at, OperationOpen: true, Closing: true, Final: true,
		Terms: payment.RailTerms{
			AuthorizationTTLUS: 7, OverCaptureBP: 8, FeeReturned: true, CurrentRate: true,
			Fee: payment.FeeTerms{RatePPM: 9, FixedMinor: 10, MinMinor: 11, MaxMinor: 12},
		},
	}
	return r
}

func sampleDecision() accounts.Decision {
	return accounts.Decision{
		Kind: payment.KindTransfer, Outcome: payment.OutcomeReview, Reasons: []payment.Reason{payment.ReasonFraudScore},
		Tenant: "t1", Merchant: "m1", Customer: "c1", Account: string(payer), CommandID: string(id(payment.KindTransfer)),
		PaymentID: id(payment.KindTransfer), CommandTopic: "payments.commands.v1", CommandPartition: 3, CommandOffset: 99,
		AccountSeq: 12, AcceptedAtUS: at, EffectiveDate: 20_779, Status: payment.StatusInReview, AmountMinor: 1234, Currency: "BRL",
		TargetAmountMinor: 244, TargetCurrency: "USD", FeeMinor: 10, FX: fxAt, LimitAmountMinor: 1234, LimitCurrency: "BRL",
		Method: "book", ToAccount: payee, Related: id(payment.KindPayIn), RelatedStatus: payment.StatusPartiallyRefunded, RefundedMinor: 5,
		FraudScore: 600, RuleHits: []fraud.Hit{{Rule: "stranger@1", Weight: 600, Reason: "high to a new party"}}, Pins: pins,
		Journals: []ledger.Journal{{Kind: ledger.JournalHold, Postings: []ledger.Posting{
			{Account: string(payer), Currency: "BRL", AmountMinor: -1234, Layer: ledger.LayerPending},
			{Account: string(payer), Currency: "BRL", AmountMinor: -10, Layer: ledger.LayerPending},
			{Account: ledger.SysSuspense, Currency: "BRL", AmountMinor: 1244, Layer: ledger.LayerPending},
		}}},
		Balances: []ledger.Balance{{Currency: "BRL", PostedMinor: 5000, HeldMinor: 1244, IncomingMinor: 7}}, BodyHash: hashOf("body"),
		CounterpartyCountry: "BR", CounterpartyDigest: digest("a"), AccountState: state, CreatedAtUS: at, Instrument: "tok_1", DeadlineUS: at + 1,
	}
}

func sampleCell() accounts.Cell {
	c := accounts.Cell{
		Tenant: "t1", Merchant: "m1", Customer: "c1", State: state, Seq: 12, LastAcceptedAtUS: at,
		Balances: []ledger.Balance{{Currency: "BRL", PostedMinor: 5000, HeldMinor: 1244}, {Currency: "USD", IncomingMinor: 3}},
		Limits:   limits.Windows{Day: 20_779, DayUsedMinor: 1234, Month: 682, MonthUsedMinor: 9999}, OpenHash: hashOf("open"), CustomerAccount: payer,
	}
	c.Fraud = c.Fraud.ObserveVelocity(at).ObserveVelocity(at + 1).ObserveAmount(1234)
	return c
}

func samplePaymentRecord() payment.Record {
	return payment.Record{
		Kind: payment.KindPayIn, Status: payment.StatusPartiallyRefunded, BodyHash: hashOf("body"), FirstOutcome: payment.OutcomeReview,
		FirstStatus: payment.StatusInReview, FirstReasons: []payment.Reason{payment.ReasonFraudScore, payment.ReasonLimitDay}, FirstSeq: 3,
		CreatedAtUS: at, EffectiveDate: 20_779, AmountMinor: 1234, Currency: "BRL", TargetAmountMinor: 244, TargetCurrency: "USD",
		FeeMinor: 10, FX: fxAt, LimitAmountMinor: 1234, LimitCurrency: "BRL", LimitDay: 20_779, LimitMonth: 682, Method: "cash",
		ToAccount: payee, Related: id(payment.KindPayOut), FraudScore: 600, RefundedMinor: 100, RefundedTargetMinor: 20, DeadlineUS: at + 5,
		CounterpartyCountry: "BR", CounterpartyDigest: digest("a"), Pins: pins, Instrument: "tok_1", ExpiresAtUS: at + 9,
	}
}

func sampleCommandRecord() accounts.CommandRecord {
	return accounts.CommandRecord{
		BodyHash: hashOf("body"), FirstOutcome: payment.OutcomeDeclined, FirstReasons: []payment.Reason{payment.ReasonPaymentState},
		FirstSeq: 4, Status: payment.StatusSucceeded, PaymentID: id(payment.KindPayIn), AcceptedAtUS: at,
	}
}

// drawDecision varies what the reducer varies.
func drawDecision(t *rapid.T) accounts.Decision {
	d := sampleDecision()
	d.AmountMinor, d.AccountSeq = rapid.Int64().Draw(t, "amount"), rapid.Uint64().Draw(t, "seq")
	d.Reasons = rapid.SliceOfNDistinct(rapid.SampledFrom([]payment.Reason{1, 10, 24, 50, 60, 80}), -1, -1, rapid.ID[payment.Reason]).Draw(t, "reasons")
	if len(d.Reasons) == 0 {
		d.Reasons = nil
	}
	d.Customer = rapid.String().Draw(t, "customer")
	if rapid.Bool().Draw(t, "bare") {
		d.FX, d.AccountState, d.RuleHits, d.Balances, d.CounterpartyDigest, d.Pins, d.BodyHash = nil, nil, nil, nil, nil, payment.Pins{}, [32]byte{}
	}
	d.Journals = nil
	for range rapid.IntRange(0, 4).Draw(t, "journals") {
		j := ledger.Journal{Kind: rapid.SampledFrom([]ledger.JournalKind{1, 2, 3, 4, 5}).Draw(t, "kind")}
		for range rapid.IntRange(1, 5).Draw(t, "pairs") {
			n := rapid.Int64Range(1, 1<<62).Draw(t, "n")
			j.Postings = append(j.Postings,
				ledger.Posting{Account: string(payer), Currency: "BRL", AmountMinor: n, Layer: ledger.LayerPosted},
				ledger.Posting{Account: ledger.SysFX, Currency: "BRL", AmountMinor: -n, Layer: ledger.LayerPosted})
		}
		d.Journals = append(d.Journals, j)
	}
	return d
}

// balance has the widest figures that fit.
func balance(currency string) ledger.Balance {
	return ledger.Balance{Currency: currency, PostedMinor: -1, HeldMinor: 1 << 62, IncomingMinor: 1 << 62}
}

// sampleResult is a decision on an answer, which tells what the rail said, and gives an order.
func sampleResult() accounts.Decision {
	d := sampleAnswered()
	d.RailResult, d.RailAmountMinor, d.GivenOrderID = payment.RailConfirmed, 12_345, string(d.PaymentID)+".expire"
	return d
}

package logtest

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const (
	approved = paymentsv1.Outcome_OUTCOME_APPROVED
	declined = paymentsv1.Outcome_OUTCOME_DECLINED
	review   = paymentsv1.Outcome_OUTCOME_REVIEW
	applied  = paymentsv1.Outcome_OUTCOME_APPLIED
)

func (g *Generator) open(a *account) []*paymentsv1.Decision {
	claim := g.base(a, paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, applied)
	claim.Account, claim.AccountSeq = string(payment.CustomerKeyFrom(tenant, a.merchant, a.customer)), 1
	a.seq = 0
	d := g.base(a, paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, approved)
	d.AccountState = g.state(a, 0)
	d.Balances = []*paymentsv1.Balance{{Currency: currency}, {Currency: foreign}}
	return []*paymentsv1.Decision{claim, d}
}

func (g *Generator) state(a *account, level uint32) *paymentsv1.AccountState {
	return &paymentsv1.AccountState{
		ExternalId: a.customer, Kind: paymentsv1.AccountKind_ACCOUNT_KIND_PERSON, Status: paymentsv1.AccountStatus_ACCOUNT_STATUS_OPEN,
		Currencies: []string{currency, foreign}, KycLevel: level, OverdraftLimitMinor: 100, Policy: "standard", OpenedAtUs: startUS,
	}
}

func (g *Generator) level(a *account) []*paymentsv1.Decision {
	d := g.base(a, paymentsv1.CommandKind_COMMAND_KIND_SET_KYC_LEVEL, approved)
	d.AccountState = g.state(a, uint32(g.rng.IntN(4))) //nolint:gosec // below 4
	return []*paymentsv1.Decision{d}
}

func (g *Generator) amount() int64 { return 1 + g.rng.Int64N(100_000) }

func (g *Generator) payIn(a *account) []*paymentsv1.Decision {
	switch g.rng.IntN(12) {
	case 0:
		return g.fail(g.create(a, payment.KindPayIn, declined, g.amount()), paymentsv1.Reason_REASON_BLOCKED_PARTY)
	case 1:
		d := g.create(a, payment.KindPayIn, review, g.amount())
		return g.hold(a, d, &paymentsv1.Posting{Account: a.id, Currency: currency, AmountMinor: d.GetAmountMinor(), Layer: paymentsv1.Layer_LAYER_PENDING})
	}
	d := g.create(a, payment.KindPayIn, approved, g.amount())
	d.FeeMinor = d.GetAmountMinor() / 100
	if g.rng.IntN(5) == 0 {
		g.convert(d, a)
	}
	d.Status = paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED
	a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_POST, lines(d, d.GetKind())...)
	if d.GetFx() == nil {
		a.paid = append(a.paid, d)
	}
	return []*paymentsv1.Decision{d}
}

func (g *Generator) payOut(a *account) []*paymentsv1.Decision {
	amount := g.amount()
	if b := a.balance(currency); b.GetPostedMinor()-b.GetHeldMinor() < 2*amount {
		return g.fail(g.create(a, payment.KindPayOut, declined, amount), paymentsv1.Reason_REASON_LIMIT_DAY, paymentsv1.Reason_REASON_INSUFFICIENT_FUNDS)
	}
	if g.rng.IntN(6) == 0 {
		d := g.create(a, payment.KindPayOut, review, amount)
		d.FeeMinor = 7
		pending := func(minor int64) *paymentsv1.Posting {
			return &paymentsv1.Posting{Account: a.id, Currency: currency, AmountMinor: -minor, Layer: paymentsv1.Layer_LAYER_PENDING}
		}
		return g.hold(a, d, pending(amount), pending(7))
	}
	d := g.create(a, payment.KindPayOut, approved, amount)
	d.FeeMinor = g.rng.Int64N(2) * 35
	if g.rng.IntN(5) == 0 {
		g.convert(d, a)
	}
	d.Status = paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED
	a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_POST, lines(d, d.GetKind())...)
	return []*paymentsv1.Decision{d}
}

func (g *Generator) fail(d *paymentsv1.Decision, reasons ...paymentsv1.Reason) []*paymentsv1.Decision {
	d.Reasons, d.Status = reasons, paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED
	return []*paymentsv1.Decision{d}
}

func (g *Generator) hold(a *account, d *paymentsv1.Decision, pending ...*paymentsv1.Posting) []*paymentsv1.Decision {
	d.Status, d.DeadlineUs = paymentsv1.PaymentStatus_PAYMENT_STATUS_IN_REVIEW, d.GetAcceptedAtUs()+3_600_000_000
	d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_FRAUD_SCORE}
	sum := int64(0)
	for _, p := range pending {
		sum -= p.GetAmountMinor()
	}
	pending = append(pending, &paymentsv1.Posting{Account: "sys_suspense", Currency: currency, AmountMinor: sum, Layer: paymentsv1.Layer_LAYER_PENDING})
	a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_HOLD, pending...)
	a.reviews = append(a.reviews, d)
	return []*paymentsv1.Decision{d}
}

// about makes a decision on a payment of before.
func (g *Generator) about(a *account, kind paymentsv1.CommandKind, outcome paymentsv1.Outcome, of *paymentsv1.Decision) *paymentsv1.Decision {
	d := g.base(a, kind, outcome)
	d.PaymentId, d.CreatedAtUs, d.AmountMinor, d.Currency = of.GetPaymentId(), of.GetCreatedAtUs(), of.GetAmountMinor(), of.GetCurrency()
	d.TargetAmountMinor, d.TargetCurrency, d.FeeMinor, d.Fx = of.GetTargetAmountMinor(), of.GetTargetCurrency(), of.GetFeeMinor(), of.GetFx()
	d.EffectiveDate, d.Method, d.Instrument = of.GetEffectiveDate(), of.GetMethod(), of.GetInstrument()
	return d
}

// verdict approves, declines or lets expire what is in review.
func (g *Generator) verdict(a *account) []*paymentsv1.Decision {
	if len(a.reviews) == 0 {
		d := g.base(a, paymentsv1.CommandKind_COMMAND_KIND_APPROVE, declined)
		d.PaymentId, d.Reasons = "po_unknown", []paymentsv1.Reason{paymentsv1.Reason_REASON_PAYMENT_UNKNOWN}
		return []*paymentsv1.Decision{d}
	}
	of := a.reviews[0]
	a.reviews = a.reviews[1:]
	var release []*paymentsv1.Posting
	for _, p := range of.GetJournals()[0].GetPostings() {
		back := proto.Clone(p).(*paymentsv1.Posting)
		back.AmountMinor = -p.GetAmountMinor()
		release = append(release, back)
	}
	var d *paymentsv1.Decision
	switch g.rng.IntN(3) {
	case 0:
		d = g.about(a, paymentsv1.CommandKind_COMMAND_KIND_APPROVE, approved, of)
		d.Status = paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, release...)
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_POST, lines(d, of.GetKind())...)
	case 1:
		d = g.about(a, paymentsv1.CommandKind_COMMAND_KIND_DECLINE, approved, of)
		d.Status, d.Reasons = paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED, []paymentsv1.Reason{paymentsv1.Reason_REASON_REVIEW_DECLINED}
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, release...)
	default:
		d = g.about(a, paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, applied, of)
		d.Status, d.Reasons = paymentsv1.PaymentStatus_PAYMENT_STATUS_EXPIRED, []paymentsv1.Reason{paymentsv1.Reason_REASON_REVIEW_EXPIRED}
		a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_RELEASE, release...)
	}
	return []*paymentsv1.Decision{d}
}

func (g *Generator) transfer(a *account) []*paymentsv1.Decision {
	amount := g.amount()
	to := g.accounts[g.rng.IntN(len(g.accounts))]
	if b := a.balance(currency); b.GetPostedMinor()-b.GetHeldMinor() < amount+9 || to == a || to.seq == 0 {
		return g.fail(g.create(a, payment.KindTransfer, declined, amount), paymentsv1.Reason_REASON_INSUFFICIENT_FUNDS)
	}
	d := g.create(a, payment.KindTransfer, approved, amount)
	d.ToAccount, d.FeeMinor, d.Status = to.id, 9, paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING
	if g.rng.IntN(4) == 0 {
		g.convert(d, a)
	}
	a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_POST, lines(d, d.GetKind())...)
	taken := g.rng.IntN(5) > 0
	leg := g.base(to, paymentsv1.CommandKind_COMMAND_KIND_COUNTER_LEG, declined)
	leg.Merchant, leg.PaymentId, leg.RelatedPaymentId = a.merchant, d.GetPaymentId(), d.GetPaymentId()
	leg.AmountMinor, leg.Currency, leg.EffectiveDate = d.GetTargetAmountMinor(), d.GetTargetCurrency(), d.GetEffectiveDate()
	result := g.about(a, paymentsv1.CommandKind_COMMAND_KIND_LEG_RESULT, applied, d)
	result.RelatedPaymentId, result.ToAccount = d.GetPaymentId(), to.id
	if taken {
		leg.Outcome = approved
		to.book(leg, paymentsv1.JournalKind_JOURNAL_KIND_POST,
			post("sys_transit", leg.GetCurrency(), -leg.GetAmountMinor()), post(to.id, leg.GetCurrency(), leg.GetAmountMinor()))
		result.Status = paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED
	} else {
		leg.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_ACCOUNT_BLOCKED}
		result.Status, result.Reasons = paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED, leg.GetReasons()
		var back []*paymentsv1.Posting
		for _, p := range d.GetJournals()[0].GetPostings() {
			back = append(back, post(p.GetAccount(), p.GetCurrency(), -p.GetAmountMinor()))
		}
		a.book(result, paymentsv1.JournalKind_JOURNAL_KIND_COMPENSATION, back...)
	}
	result.RelatedStatus = result.GetStatus()
	return []*paymentsv1.Decision{d, leg, result}
}

func (g *Generator) refund(a *account) []*paymentsv1.Decision {
	if len(a.paid) == 0 {
		return g.fail(g.create(a, payment.KindRefund, declined, 5), paymentsv1.Reason_REASON_PAYMENT_UNKNOWN)
	}
	n := g.rng.IntN(len(a.paid))
	of := a.paid[n]
	left := of.GetAmountMinor() - a.refunded[of.GetPaymentId()]
	amount := min(left, 1+g.rng.Int64N(of.GetAmountMinor()))
	if a.balance(currency).GetPostedMinor() < amount {
		d := g.create(a, payment.KindRefund, declined, amount)
		d.RelatedPaymentId, d.RelatedStatus = of.GetPaymentId(), paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED
		return g.fail(d, paymentsv1.Reason_REASON_INSUFFICIENT_FUNDS)
	}
	d := g.create(a, payment.KindRefund, approved, amount)
	a.refunded[of.GetPaymentId()] += amount
	d.RelatedPaymentId, d.RefundedMinor = of.GetPaymentId(), a.refunded[of.GetPaymentId()]
	d.Status, d.RelatedStatus = paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED, paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_REFUNDED
	if amount == left {
		d.RelatedStatus = paymentsv1.PaymentStatus_PAYMENT_STATUS_REFUNDED
		a.paid = slices.Delete(a.paid, n, n+1)
	}
	a.book(d, paymentsv1.JournalKind_JOURNAL_KIND_REFUND, post(a.id, currency, -amount), post("sys_clearing_book", currency, amount))
	return []*paymentsv1.Decision{d}
}

// again repeats a request, or conflicts with it.
func (g *Generator) again(a *account) []*paymentsv1.Decision {
	if a.last == nil {
		return g.level(a)
	}
	d := g.about(a, a.last.GetKind(), paymentsv1.Outcome_OUTCOME_REPEATED, a.last)
	d.Status = a.last.GetStatus()
	if g.rng.IntN(2) == 0 {
		d.Outcome, d.Reasons = paymentsv1.Outcome_OUTCOME_CONFLICT, []paymentsv1.Reason{paymentsv1.Reason_REASON_IDEMPOTENCY_CONFLICT}
	}
	return []*paymentsv1.Decision{d}
}

// unknown addresses a key that has no account, three times with one id, the last one much later: declines without a
// record may come again.
func (g *Generator) unknown() []*paymentsv1.Decision {
	name := fmt.Sprint("nobody-", g.serial)
	a := &account{id: string(payment.AccountIDFrom(tenant, "m0", name)), customer: name, merchant: "m0"}
	first := g.create(a, payment.KindPayIn, declined, 100)
	g.fail(first, paymentsv1.Reason_REASON_ACCOUNT_UNKNOWN)
	second := proto.Clone(first).(*paymentsv1.Decision)
	a.seq++
	second.AccountSeq, second.AmountMinor = a.seq, 200
	third := proto.Clone(first).(*paymentsv1.Decision)
	third.AccountSeq, third.AmountMinor = a.seq+1, 300
	late := g.late
	g.late = third
	if late == nil {
		return []*paymentsv1.Decision{first, second}
	}
	return []*paymentsv1.Decision{first, second, late}
}

func (g *Generator) tick() []*paymentsv1.Decision {
	return []*paymentsv1.Decision{{
		Version: 1, Kind: paymentsv1.CommandKind_COMMAND_KIND_TICK, Outcome: applied, CommandTopic: topicOfTicks, AcceptedAtUs: g.clockUS,
	}}
}

// Package intake is the first stage: it checks the form of an instruction against the account, pins fee and conversion, and
// computes the amount in the limit currency.
// It refuses to look at balances, limits or history: it proposes, later stages decide.
package intake

import (
	"slices"

	"github.com/caudalpay/caudal/processors/fees"
	"github.com/caudalpay/caudal/processors/fx"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
)

// Request is an instruction and what it is checked against.
type Request struct {
	Kind        payment.Kind // PAY_IN, PAY_OUT or TRANSFER
	Account     payment.AccountID
	Currencies  []string // of the account
	AtUS        int64    // clamped accepted_at
	Instruction *payment.Instruction
	Quote       *payment.Record // what stands under the id that the instruction names as a quote; nil: nothing
}

// References are the pinned documents. Everything but the policy may be nil.
type References struct {
	Policy *policy.Policy
	Fees   *fees.Schedule
	Rates  *fx.Sheet
	// Enforced tells that fraud rules act on the amount in the limit currency.
	Enforced bool
}

// Proposal is what the payment will be if nobody objects. With Reasons it is declined and evaluation ends.
type Proposal struct {
	TargetCurrency    string
	TargetAmountMinor int64
	FeeMinor          int64
	FX                *payment.FX // nil: nothing is converted
	LimitAmountMinor  int64
	LimitCurrency     string
	Reasons           []payment.Reason // ordered, without repetition
}

// Propose checks the instruction and pins its figures.
func Propose(r Request, ref References) Proposal {
	in := r.Instruction
	p := Proposal{TargetCurrency: in.TargetCurrency, LimitCurrency: ref.Policy.LimitCurrency}
	if p.TargetCurrency == "" {
		p.TargetCurrency = in.Currency
	}
	own := in.Currency
	if r.Kind == payment.KindPayIn {
		own = p.TargetCurrency
	}
	if r.Kind == payment.KindTransfer && in.ToAccount == r.Account {
		p.refuse(payment.ReasonSameAccount)
	}
	if !settlesAtOnce(in.Method) && !HasRail(ref.Policy, r.Kind, in.Method) {
		p.refuse(payment.ReasonMethodUnavailable)
	}
	if !slices.Contains(r.Currencies, own) {
		p.refuse(payment.ReasonCurrencyNotHeld)
	}
	if len(p.Reasons) > 0 {
		return p
	}
	p.charge(r, ref)
	p.limit(r, ref)
	slices.Sort(p.Reasons)
	p.Reasons = slices.Compact(p.Reasons)
	return p
}

// The methods that a rail executes.
const (
	MethodCard = "card" // pay-ins
	MethodBank = "bank" // payouts
)

// MethodIssuing is that of the cards which pay from an account.
const MethodIssuing = "issuing"

// settlesAtOnce tells which methods need no outside; the others wait for their rail.
func settlesAtOnce(method string) bool { return method == "book" || method == "cash" }

// HasRail tells whether a policy has a rail for the method; that of an issued card is the network which collects later.
func HasRail(p *policy.Policy, kind payment.Kind, method string) bool {
	return kind == payment.KindPayIn && method == MethodCard && p.Card != nil ||
		kind == payment.KindPayOut && method == MethodBank && p.Bank != nil ||
		kind == payment.KindAuthorization && method == MethodIssuing && p.Issuing != nil
}

func (p *Proposal) refuse(reason payment.Reason) { p.Reasons = append(p.Reasons, reason) }

// charge pins the fee and the converted amount.
func (p *Proposal) charge(r Request, ref References) {
	in := r.Instruction
	fee, ok := ref.Fees.Charge(r.Kind, in.Method, in.Currency, in.AmountMinor)
	if ok && r.Kind == payment.KindPayIn {
		fee = min(fee, in.AmountMinor)
	}
	if ok {
		// Both move in one decision, so their sum must be a number.
		_, ok = money.Add(in.AmountMinor, fee)
	}
	if !ok {
		p.refuse(payment.ReasonAmountOverflow)
		return
	}
	p.FeeMinor = fee
	source := in.AmountMinor
	if r.Kind == payment.KindPayIn {
		source -= fee // what is left is converted and credited
		if source == 0 {
			p.refuse(payment.ReasonAmountTooSmall)
			return
		}
	}
	if in.Quote != "" {
		p.convertAsQuoted(r, source)
		return
	}
	if p.TargetCurrency == in.Currency {
		p.TargetAmountMinor = in.AmountMinor
		return
	}
	c, reason := ref.Rates.Convert(r.AtUS, source, fx.Pair{Source: in.Currency, Target: p.TargetCurrency})
	if reason != payment.ReasonNone {
		p.refuse(reason)
		return
	}
	p.TargetAmountMinor, p.FX = c.TargetMinor, pinned(c)
}

// pinned is a conversion as a record keeps it.
func pinned(c fx.Conversion) *payment.FX {
	return &payment.FX{
		RateUnscaled: c.Rate.Unscaled, RateScale: c.Rate.Scale,
		MidUnscaled: c.Mid.Unscaled, MidScale: c.Mid.Scale, SpreadBP: c.SpreadBP,
	}
}

// limit computes the amount in the policy's limit currency. Where nothing depends on it a missing rate is no obstacle.
func (p *Proposal) limit(r Request, ref References) {
	amount, reason := LimitAmount(r, ref)
	if reason != payment.ReasonNone && (len(ref.Policy.Limits) > 0 || ref.Enforced) {
		p.refuse(reason)
	}
	p.LimitAmountMinor = amount
}

// LimitAmount is what an instruction is in the policy's limit currency, at mid; 0 where there is none, or no rate.
func LimitAmount(r Request, ref References) (int64, payment.Reason) {
	in := r.Instruction
	switch ref.Policy.LimitCurrency {
	case "":
		return 0, payment.ReasonNone
	case in.Currency:
		return in.AmountMinor, payment.ReasonNone
	}
	amount, reason := ref.Rates.AtMid(r.AtUS, in.AmountMinor, fx.Pair{Source: in.Currency, Target: ref.Policy.LimitCurrency})
	if reason != payment.ReasonNone {
		return 0, reason
	}
	return amount, payment.ReasonNone
}

package intake

import (
	"github.com/caudalpay/caudal/processors/fx"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
)

// Quoted is what a quote holds if nobody objects. With a Reason it is declined.
type Quoted struct {
	TargetAmountMinor int64
	FX                *payment.FX
	DeadlineUS        int64
	Reason            payment.Reason
}

// Quote pins the rate at which an amount would be converted, as a payment of that amount would have it now.
func Quote(atUS int64, q *payment.FXQuote, ref References) Quoted {
	if ref.Policy.QuoteTTLUS <= 0 {
		return Quoted{Reason: payment.ReasonMethodUnavailable}
	}
	if q.Currency == q.TargetCurrency {
		return Quoted{Reason: payment.ReasonRateMissing}
	}
	c, reason := ref.Rates.Convert(atUS, q.AmountMinor, fx.Pair{Source: q.Currency, Target: q.TargetCurrency})
	if reason != payment.ReasonNone {
		return Quoted{Reason: reason}
	}
	return Quoted{TargetAmountMinor: c.TargetMinor, FX: pinned(c), DeadlineUS: min(ref.Rates.ValidUntilUS, atUS+ref.Policy.QuoteTTLUS)}
}

// convertAsQuoted converts at the rate of the quote that the instruction names.
func (p *Proposal) convertAsQuoted(r Request, sourceMinor int64) {
	in, q := r.Instruction, r.Quote
	if reason := usable(r, p.TargetCurrency); reason != payment.ReasonNone {
		p.refuse(reason)
		return
	}
	rate := money.Rate{Unscaled: q.FX.RateUnscaled, Scale: q.FX.RateScale}
	target, ok := rate.Convert(sourceMinor, in.Currency, p.TargetCurrency)
	switch {
	case !ok:
		p.refuse(payment.ReasonAmountOverflow)
	case target == 0:
		p.refuse(payment.ReasonAmountTooSmall)
	default:
		p.TargetAmountMinor, p.FX = target, q.FX
	}
}

// usable says why the payment cannot have the rate of its quote.
func usable(r Request, targetCurrency string) payment.Reason {
	in, q := r.Instruction, r.Quote
	switch {
	case q == nil || in.Quote.Kind() != payment.KindFXQuote || q.Kind != payment.KindFXQuote || q.Status == payment.StatusFailed:
		return payment.ReasonQuoteUnknown
	case r.AtUS > q.DeadlineUS:
		return payment.ReasonQuoteExpired
	case q.QuotedPayment != "":
		return payment.ReasonQuoteUsed
	case q.Currency != in.Currency || q.TargetCurrency != targetCurrency || q.AmountMinor != in.AmountMinor:
		return payment.ReasonQuoteMismatch
	default:
		return payment.ReasonNone
	}
}

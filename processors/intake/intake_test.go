package intake_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/fees"
	"github.com/caudalpay/caudal/processors/fx"
	"github.com/caudalpay/caudal/processors/intake"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
)

func kindOf(word string) payment.Kind {
	for _, k := range []payment.Kind{payment.KindPayIn, payment.KindPayOut, payment.KindTransfer} {
		if k.String() == word {
			return k
		}
	}
	panic(word)
}

func references(bound bool) intake.References {
	p := &policy.Policy{LimitCurrency: "BRL"}
	if bound {
		p.Limits = []policy.KYCLimit{{Level: 0, DayMinor: 1, MonthMinor: 1}}
	}
	quote := func(unscaled int64, scale uint8) fx.Quote {
		return fx.Quote{Mid: money.Rate{Unscaled: unscaled, Scale: scale}, SpreadBP: 100}
	}
	return intake.References{
		Policy: p,
		Fees: &fees.Schedule{Fees: []fees.Fee{
			{Kind: payment.KindPayIn, Currency: "BRL", FixedMinor: 30}, {Kind: payment.KindPayOut, Currency: "BRL", FixedMinor: 50},
		}},
		Rates: &fx.Sheet{ValidUntilUS: 100, Rates: map[fx.Pair]fx.Quote{
			{Source: "BRL", Target: "USD"}: quote(2, 1), {Source: "USD", Target: "BRL"}: quote(5, 0),
		}},
	}
}

// TestTables proposes instructions of an account that holds BRL and USD:
//
//	payin|payout|transfer amount=N currency=C [target=C] [method=M] [at=US] [to=self] [bound]
func TestTables(t *testing.T) {
	datadriven.RunTest(t, "testdata/propose", func(t *testing.T, d *datadriven.TestData) string {
		in := payment.Instruction{Currency: "BRL", Method: "book", ToAccount: "other"}
		r := intake.Request{Kind: kindOf(d.Cmd), Account: "self", Currencies: []string{"BRL", "USD"}, AtUS: 1, Instruction: &in}
		d.ScanArgs(t, "amount", &in.AmountMinor)
		d.MaybeScanArgs(t, "currency", &in.Currency)
		d.MaybeScanArgs(t, "target", &in.TargetCurrency)
		d.MaybeScanArgs(t, "method", &in.Method)
		d.MaybeScanArgs(t, "at", &r.AtUS)
		to := "other"
		d.MaybeScanArgs(t, "to", &to)
		in.ToAccount = payment.AccountID(to)
		p := intake.Propose(r, references(d.HasArg("bound")))
		var b strings.Builder
		fmt.Fprintf(&b, "target %d %s, fee %d, limit amount %d %s", p.TargetAmountMinor, p.TargetCurrency, p.FeeMinor, p.LimitAmountMinor, p.LimitCurrency)
		if p.FX != nil {
			fmt.Fprintf(&b, ", rate %de-%d", p.FX.RateUnscaled, p.FX.RateScale)
		}
		for _, reason := range p.Reasons {
			fmt.Fprintf(&b, "\n%s", reason)
		}
		return b.String() + "\n"
	})
}

// TestAnyProposal holds for every amount: reasons are ordered and single, a fee never exceeds a pay-in, and whatever is
// proposed without a reason moves money.
func TestAnyProposal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		currency := rapid.SampledFrom([]string{"BRL", "USD", "EUR", "XXX"})
		in := payment.Instruction{
			AmountMinor: rapid.Int64Range(1, 1<<63-1).Draw(t, "amount"), Currency: currency.Draw(t, "currency"),
			TargetCurrency: currency.Draw(t, "target"), Method: rapid.SampledFrom([]string{"book", "cash", "pix", ""}).Draw(t, "method"),
		}
		kind := rapid.SampledFrom([]payment.Kind{payment.KindPayIn, payment.KindPayOut, payment.KindTransfer}).Draw(t, "kind")
		p := intake.Propose(intake.Request{
			Kind: kind, Account: "self", Currencies: []string{"BRL", "USD"}, AtUS: rapid.Int64Range(0, 200).Draw(t, "at"), Instruction: &in,
		}, references(rapid.Bool().Draw(t, "bound")))
		if !slices.IsSorted(p.Reasons) || len(slices.Compact(slices.Clone(p.Reasons))) != len(p.Reasons) {
			t.Fatalf("reasons %v", p.Reasons)
		}
		if p.FeeMinor < 0 || (kind == payment.KindPayIn && p.FeeMinor > in.AmountMinor) {
			t.Fatalf("fee %d of %d", p.FeeMinor, in.AmountMinor)
		}
		if len(p.Reasons) == 0 && (p.TargetAmountMinor <= 0 || (p.FX != nil) != (p.TargetCurrency != in.Currency)) {
			t.Fatalf("proposal %+v", p)
		}
	})
}

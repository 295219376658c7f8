package fx_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/fx"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
)

func integer(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A sheet's row is source, target, unscaled, scale, spread; a conversion's is amount, source, target.
func TestTables(t *testing.T) {
	var s *fx.Sheet
	datadriven.RunTest(t, "testdata/sheet", func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		var at int64
		if d.Cmd == "sheet" {
			s = &fx.Sheet{Rates: map[fx.Pair]fx.Quote{}}
			d.ScanArgs(t, "until", &s.ValidUntilUS)
		} else {
			d.ScanArgs(t, "at", &at)
		}
		for line := range strings.Lines(d.Input) {
			f := strings.Fields(line)
			if d.Cmd == "sheet" {
				s.Rates[fx.Pair{Source: f[0], Target: f[1]}] = fx.Quote{
					Mid: money.Rate{Unscaled: integer(t, f[2]), Scale: uint8(integer(t, f[3]))}, SpreadBP: int32(integer(t, f[4])),
				}
				continue
			}
			amount, p := integer(t, f[0]), fx.Pair{Source: f[1], Target: f[2]}
			fmt.Fprintf(&out, "%s: ", strings.Join(f, " "))
			if c, reason := s.Convert(at, amount, p); reason == payment.ReasonNone {
				fmt.Fprintf(&out, "%d at %d e-%d (mid %d e-%d less %d bp)", c.TargetMinor, c.Rate.Unscaled, c.Rate.Scale, c.Mid.Unscaled, c.Mid.Scale, c.SpreadBP)
			} else {
				out.WriteString(reason.String())
			}
			if mid, reason := s.AtMid(at, amount, p); reason == payment.ReasonNone {
				fmt.Fprintf(&out, ", %d at mid\n", mid)
			} else {
				fmt.Fprintf(&out, ", at mid %s\n", reason)
			}
		}
		return out.String()
	})
}

// The spread only ever takes from the customer, a larger spread takes no less, and what is told of the rate reproduces
// the amount.
func TestTheSpreadIsTakenFromTheCustomer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := fx.Pair{
			Source: rapid.SampledFrom([]string{"BRL", "USD", "JPY", "BHD", "CLF"}).Draw(t, "source"),
			Target: rapid.SampledFrom([]string{"BRL", "USD", "JPY", "BHD", "CLF"}).Draw(t, "target"),
		}
		mid := money.Rate{Unscaled: rapid.Int64Range(1, 1e12).Draw(t, "mid"), Scale: rapid.Uint8Range(0, 14).Draw(t, "scale")}
		spread := rapid.Int32Range(0, 9_998).Draw(t, "spread")
		amount := rapid.Int64Range(1, 1e13).Draw(t, "amount")
		sheet := func(bp int32) *fx.Sheet {
			return &fx.Sheet{ValidUntilUS: 5, Rates: map[fx.Pair]fx.Quote{p: {Mid: mid, SpreadBP: bp}}}
		}
		c, reason := sheet(spread).Convert(5, amount, p)
		more, reasonMore := sheet(spread+1).Convert(5, amount, p)
		atMid, reasonMid := sheet(spread).AtMid(5, amount, p)
		if reason == payment.ReasonAmountOverflow || reasonMid == payment.ReasonAmountOverflow {
			if reasonMid != payment.ReasonAmountOverflow {
				t.Fatal("an overflow that mid does not have")
			}
			return
		}
		if c.TargetMinor > atMid || more.TargetMinor > c.TargetMinor {
			t.Fatalf("%d at mid, %d less spread, %d less more", atMid, c.TargetMinor, more.TargetMinor)
		}
		if reason == payment.ReasonAmountTooSmall {
			if reasonMore != payment.ReasonAmountTooSmall {
				t.Fatalf("too small at %d bp, %s at one more", spread, reasonMore)
			}
			return
		}
		if again, ok := c.Rate.Convert(amount, p.Source, p.Target); !ok || again != c.TargetMinor || c.TargetMinor <= 0 {
			t.Fatalf("told %+v, which gives %d", c, again)
		}
	})
}

func TestConvertAllocatesNothing(t *testing.T) {
	p := fx.Pair{Source: "USD", Target: "BRL"}
	s := &fx.Sheet{ValidUntilUS: 10, Rates: map[fx.Pair]fx.Quote{p: {Mid: money.Rate{Unscaled: 54_321, Scale: 4}, SpreadBP: 100}}}
	if n := testing.AllocsPerRun(100, func() { s.Convert(1, 12_345, p); s.AtMid(1, 12_345, p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

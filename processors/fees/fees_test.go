package fees_test

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/fees"
	"github.com/caudalpay/caudal/processors/payment"
)

func kind(t *testing.T, word string) payment.Kind {
	t.Helper()
	for _, k := range []payment.Kind{payment.KindPayIn, payment.KindPayOut, payment.KindTransfer} {
		if k.String() == word {
			return k
		}
	}
	if word != "any" {
		t.Fatalf("unknown kind %q", word)
	}
	return payment.KindUnknown
}

func integer(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func open(word string) string {
	if word == "any" {
		return ""
	}
	return word
}

// A schedule's row is kind, method, currency, fixed, ppm, min, max; a charge's is kind, method, currency, amount.
func TestTables(t *testing.T) {
	var s *fees.Schedule
	datadriven.RunTest(t, "testdata/charge", func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		if d.Cmd == "schedule" {
			s = &fees.Schedule{}
		}
		for line := range strings.Lines(d.Input) {
			f := strings.Fields(line)
			switch d.Cmd {
			case "schedule":
				s.Fees = append(s.Fees, fees.Fee{
					Kind: kind(t, f[0]), Method: open(f[1]), Currency: open(f[2]), FixedMinor: integer(t, f[3]),
					RatePPM: int32(integer(t, f[4])), MinMinor: integer(t, f[5]), MaxMinor: integer(t, f[6]),
				})
			case "charge":
				fee, ok := s.Charge(kind(t, f[0]), f[1], f[2], integer(t, f[3]))
				result := fmt.Sprint(fee)
				if !ok {
					result = "overflow"
				}
				fmt.Fprintf(&out, "%s: %s\n", strings.Join(f, " "), result)
			default:
				t.Fatalf("unknown command %q", d.Cmd)
			}
		}
		return out.String()
	})
}

// The definition once more, in big.Int, for a schedule of one row that fits.
func TestChargeIsTheClampOfTheRoundedShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fees.Fee{
			FixedMinor: rapid.Int64Min(0).Draw(t, "fixed"), RatePPM: rapid.Int32Range(0, 2_000_000).Draw(t, "ppm"),
			MinMinor: rapid.Int64Range(0, 1e6).Draw(t, "min"),
		}
		if rapid.Bool().Draw(t, "capped") {
			f.MaxMinor = f.MinMinor + rapid.Int64Range(1, 1e6).Draw(t, "max")
		}
		if rapid.Bool().Draw(t, "small") {
			f.FixedMinor %= 1000
		}
		amount := rapid.Int64Range(1, 1<<62).Draw(t, "amount")
		k := rapid.SampledFrom([]payment.Kind{payment.KindPayIn, payment.KindPayOut}).Draw(t, "kind")

		million := big.NewInt(1_000_000)
		q, r := new(big.Int).DivMod(new(big.Int).Mul(big.NewInt(amount), big.NewInt(int64(f.RatePPM))), million, new(big.Int))
		if c := r.Lsh(r, 1).Cmp(million); c > 0 || c == 0 && q.Bit(0) == 1 {
			q.Add(q, big.NewInt(1))
		}
		fits := q.IsInt64()
		q.Add(q, big.NewInt(f.FixedMinor))
		fits = fits && q.IsInt64()
		want := max(q.Int64(), f.MinMinor)
		if f.MaxMinor > 0 {
			want = min(want, f.MaxMinor)
		}
		if k == payment.KindPayIn {
			want = min(want, amount)
		}
		got, ok := (&fees.Schedule{Fees: []fees.Fee{f}}).Charge(k, "book", "BRL", amount)
		if ok != fits || ok && got != want {
			t.Fatalf("got %d %t, want %d %t", got, ok, want, fits)
		}
	})
}

func TestChargeAllocatesNothing(t *testing.T) {
	s := &fees.Schedule{Fees: []fees.Fee{
		{Kind: payment.KindPayIn, Method: "cash", Currency: "BRL", FixedMinor: 10},
		{Kind: payment.KindPayOut, Method: "book", Currency: "BRL", FixedMinor: 10, RatePPM: 9_900, MinMinor: 5, MaxMinor: 5_000},
	}}
	if n := testing.AllocsPerRun(100, func() { s.Charge(payment.KindPayOut, "book", "BRL", 12_345) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzCharge(f *testing.F) {
	f.Add(int64(10_000), int64(50), int32(9_900), int64(10), int64(500), true)
	f.Fuzz(func(t *testing.T, amount, fixed int64, ppm int32, lowest, highest int64, in bool) {
		k := payment.KindPayOut
		if in {
			k = payment.KindPayIn
		}
		s := &fees.Schedule{Fees: []fees.Fee{{FixedMinor: fixed, RatePPM: ppm, MinMinor: lowest, MaxMinor: highest}}}
		fee, ok := s.Charge(k, "book", "BRL", amount)
		if ok && amount > 0 && (fee < 0 || in && fee > amount || highest > 0 && fee > highest) {
			t.Fatalf("a fee of %d", fee)
		}
	})
}

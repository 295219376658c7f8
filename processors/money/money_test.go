package money_test

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/money"
)

func TestTables(t *testing.T) {
	datadriven.Walk(t, "testdata/tables", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			for line := range strings.Lines(d.Input) {
				f := strings.Fields(line)
				fmt.Fprintf(&out, "%s: %s\n", strings.Join(f, " "), row(t, d.Cmd, f))
			}
			return out.String()
		})
	})
}

func row(t *testing.T, cmd string, f []string) string {
	t.Helper()
	switch cmd {
	case "exponents":
		e, ok := money.Exponent(f[0])
		return result(e, ok)
	case "muldiv":
		q, ok := money.MulDivHalfEven(integer(t, f[0]), integer(t, f[1]), integer(t, f[2]))
		return result(q, ok)
	case "add":
		return result(money.Add(integer(t, f[0]), integer(t, f[1])))
	case "sub":
		return result(money.Sub(integer(t, f[0]), integer(t, f[1])))
	case "neg":
		return result(money.Neg(integer(t, f[0])))
	case "parse":
		minor, err := money.Parse(strings.Trim(f[0], `"`), f[1])
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%d %s", minor, money.Format(minor, f[1]))
	case "format":
		return money.Format(integer(t, f[0]), f[1])
	case "spread":
		r, ok := rate(t, f[0], f[1]).WithSpread(int32(integer(t, f[2])))
		return result(fmt.Sprintf("%d e-%d", r.Unscaled, r.Scale), ok)
	case "convert": // amount source target unscaled scale
		return result(rate(t, f[3], f[4]).Convert(integer(t, f[0]), f[1], f[2]))
	default:
		t.Fatalf("unknown command %q", cmd)
		return ""
	}
}

func result[T any](v T, ok bool) string {
	if !ok {
		return "refused"
	}
	return fmt.Sprint(v)
}

func integer(t *testing.T, s string) int64 {
	t.Helper()
	switch s {
	case "max":
		return math.MaxInt64
	case "min":
		return math.MinInt64
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func rate(t *testing.T, unscaled, scale string) money.Rate {
	t.Helper()
	n, err := strconv.ParseUint(scale, 10, 8)
	if err != nil {
		t.Fatal(err)
	}
	return money.Rate{Unscaled: integer(t, unscaled), Scale: uint8(n)}
}

// halfEven is the rule once more, in big.Int: num/den, den > 0, and whether the result is an int64.
func halfEven(num, den *big.Int) (int64, bool) {
	q, r := new(big.Int).DivMod(num, den, new(big.Int)) // floors, r >= 0
	switch twice := r.Lsh(r, 1); twice.Cmp(den) {
	case 1:
		q.Add(q, big.NewInt(1))
	case 0:
		q.Add(q, big.NewInt(int64(q.Bit(0))))
	}
	return q.Int64(), q.IsInt64()
}

func tenTo(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

func convertBig(r money.Rate, minor int64, from, to uint8) (int64, bool) {
	num := new(big.Int).Mul(big.NewInt(minor), big.NewInt(r.Unscaled))
	return halfEven(num.Mul(num, tenTo(int(to))), tenTo(int(from)+int(r.Scale)))
}

// edges draws an int64 near the ends, near zero and near powers of two as often as anywhere.
func edges() *rapid.Generator[int64] {
	return rapid.Custom(func(t *rapid.T) int64 {
		if rapid.Bool().Draw(t, "anywhere") {
			return rapid.Int64().Draw(t, "n")
		}
		center := rapid.SampledFrom([]int64{0, math.MaxInt64, math.MinInt64, 1 << 62, -1 << 62, 1 << 32, 1e18, 1e9}).Draw(t, "center")
		return center + rapid.Int64Range(-3, 3).Draw(t, "off") // wraps on purpose
	})
}

func TestArithmeticEqualsBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, den := edges().Draw(t, "a"), edges().Draw(t, "b"), edges().Draw(t, "den")
		bigA, bigB := big.NewInt(a), big.NewInt(b)
		compare := func(op string, got int64, ok bool, want *big.Int) {
			if ok != want.IsInt64() || ok && got != want.Int64() {
				t.Fatalf("%s: got %d %t, want %s", op, got, ok, want)
			}
		}
		sum, ok := money.Add(a, b)
		compare("add", sum, ok, new(big.Int).Add(bigA, bigB))
		difference, ok := money.Sub(a, b)
		compare("sub", difference, ok, new(big.Int).Sub(bigA, bigB))
		negative, ok := money.Neg(a)
		compare("neg", negative, ok, new(big.Int).Neg(bigA))

		got, ok := money.MulDivHalfEven(a, b, den)
		if den <= 0 {
			if ok {
				t.Fatalf("muldiv by %d was not refused", den)
			}
			return
		}
		want, fits := halfEven(new(big.Int).Mul(bigA, bigB), big.NewInt(den))
		if ok != fits || ok && got != want {
			t.Fatalf("muldiv: got %d %t, want %d %t", got, ok, want, fits)
		}
	})
}

func currencies() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"BRL", "USD", "JPY", "BHD", "CLF", "EUR", "KRW"})
}

func TestConvertEqualsBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		minor, source, target := edges().Draw(t, "minor"), currencies().Draw(t, "source"), currencies().Draw(t, "target")
		r := money.Rate{Unscaled: edges().Draw(t, "unscaled"), Scale: rapid.Uint8Range(0, 19).Draw(t, "scale")}
		checkConvert(t, r, minor, source, target)
	})
}

type fataler interface{ Fatalf(string, ...any) }

func checkConvert(t fataler, r money.Rate, minor int64, source, target string) {
	from, ok := money.Exponent(source)
	to, known := money.Exponent(target)
	got, done := r.Convert(minor, source, target)
	if !ok || !known || r.Unscaled <= 0 || r.Scale > money.ScaleMax {
		if done {
			t.Fatalf("%+v %s to %s was not refused", r, source, target)
		}
		return
	}
	want, fits := convertBig(r, minor, from, to)
	if done != fits || done && got != want {
		t.Fatalf("%d %s to %s at %+v: got %d %t, want %d %t", minor, source, target, r, got, done, want, fits)
	}
}

// There and back, with rates whose product is at most one, never gives more than the two roundings can: half a minor
// unit of the target at the rate back, and half a minor unit of the source.
func TestRoundTripGainsNothingButRounding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		source, target := currencies().Draw(t, "source"), currencies().Draw(t, "target")
		amount := rapid.Int64Range(1, 1e12).Draw(t, "amount")
		there := money.Rate{Unscaled: rapid.Int64Range(1_000, 1e10).Draw(t, "mid"), Scale: 6}
		inverse := new(big.Int).Quo(tenTo(14), big.NewInt(there.Unscaled)) // floors: the product stays at most one
		back := money.Rate{Unscaled: inverse.Int64(), Scale: 8}
		spread := rapid.Int32Range(0, 500).Draw(t, "spread")
		there, ok := there.WithSpread(spread)
		back, both := back.WithSpread(spread)
		if !ok || !both {
			t.Fatalf("rates %+v %+v", there, back)
		}
		out, ok := there.Convert(amount, source, target)
		home, both := back.Convert(out, target, source)
		if !ok || !both {
			t.Fatalf("converting %d", amount)
		}
		from, _ := money.Exponent(source)
		to, _ := money.Exponent(target)
		half := big.NewRat(1, 2)
		perUnit := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(back.Unscaled), tenTo(int(from))), tenTo(int(to)+int(back.Scale)))
		bound := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(amount), big.NewInt(int64(10_000-spread)*int64(10_000-spread))), tenTo(8))
		bound.Add(bound, perUnit.Mul(perUnit, half)).Add(bound, half)
		if new(big.Rat).SetInt64(home).Cmp(bound) > 0 {
			t.Fatalf("%d %s became %d %s and %d again, above %s", amount, source, out, target, home, bound.FloatString(3))
		}
	})
}

func TestConvertIsMonotonicAndOdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		source, target := currencies().Draw(t, "source"), currencies().Draw(t, "target")
		r := money.Rate{Unscaled: rapid.Int64Range(1, 1e12).Draw(t, "unscaled"), Scale: rapid.Uint8Range(0, 18).Draw(t, "scale")}
		a := rapid.Int64Range(0, 1e15).Draw(t, "a")
		b := rapid.Int64Range(a, 1e15+1).Draw(t, "b")
		atA, okA := r.Convert(a, source, target)
		atB, okB := r.Convert(b, source, target)
		if okB && (!okA || atA > atB) {
			t.Fatalf("%d became %d, %d became %d", a, atA, b, atB)
		}
		if minus, ok := r.Convert(-a, source, target); okA && (!ok || minus != -atA) {
			t.Fatalf("-%d became %d, %d became %d", a, minus, a, atA)
		}
	})
}

func TestParseReadsWhatFormatWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		minor, c := edges().Draw(t, "minor"), currencies().Draw(t, "currency")
		text := money.Format(minor, c)
		got, err := money.Parse(text, c)
		if err != nil || got != minor {
			t.Fatalf("%d was written %s and read %d, %v", minor, text, got, err)
		}
	})
}

func TestNothingAllocates(t *testing.T) {
	r := money.Rate{Unscaled: 5_432_100_000_000_000, Scale: 15}
	for name, f := range map[string]func(){
		"Convert":        func() { r.Convert(123_456, "USD", "CLF") },
		"WithSpread":     func() { (money.Rate{Unscaled: 54321, Scale: 4}).WithSpread(120) },
		"MulDivHalfEven": func() { money.MulDivHalfEven(math.MaxInt64, 12_345, 1_000_000) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkConvert(b *testing.B) {
	r := money.Rate{Unscaled: 5_432_100_000_000_000, Scale: 15}
	for b.Loop() {
		r.Convert(123_456, "USD", "BRL")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("12.30", "BRL")
	f.Add("-92233720368547758.08", "BRL")
	f.Add("0.0001", "CLF")
	f.Fuzz(func(t *testing.T, s, currency string) {
		minor, err := money.Parse(s, currency)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(s)
		exponent, known := money.Exponent(currency)
		if !ok || !known {
			t.Fatalf("%q %q was read as %d", s, currency, minor)
		}
		if want.Mul(want, new(big.Rat).SetInt(tenTo(int(exponent)))).Cmp(new(big.Rat).SetInt64(minor)) != 0 {
			t.Fatalf("%q %q was read as %d, is %s", s, currency, minor, want)
		}
		if again, err := money.Parse(money.Format(minor, currency), currency); err != nil || again != minor {
			t.Fatalf("%d came back as %d, %v", minor, again, err)
		}
	})
}

func FuzzConvert(f *testing.F) {
	f.Add(int64(100), int64(54321), uint8(4), "USD", "BRL")
	f.Add(int64(math.MinInt64), int64(math.MaxInt64), uint8(18), "CLF", "JPY")
	f.Fuzz(func(t *testing.T, minor, unscaled int64, scale uint8, source, target string) {
		checkConvert(t, money.Rate{Unscaled: unscaled, Scale: scale}, minor, source, target)
	})
}

package limits_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/limits"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
)

// The limits of the product, in BRL.
var product = []policy.KYCLimit{
	{Level: 0, DayMinor: 500_00, MonthMinor: 2_000_00},
	{Level: 1, DayMinor: 5_000_00, MonthMinor: 20_000_00},
	{Level: 2, DayMinor: 50_000_00, MonthMinor: 500_000_00},
	{Level: 3, DayMinor: 500_000_00, MonthMinor: 5_000_000_00},
}

func words(reasons []payment.Reason) string {
	s := make([]string, len(reasons))
	for i, r := range reasons {
		s[i] = r.String()
	}
	return strings.Join(s, " ")
}

func TestTables(t *testing.T) {
	var w limits.Windows
	datadriven.RunTest(t, "testdata/windows", func(t *testing.T, d *datadriven.TestData) string {
		var level uint8
		var day, month int32
		var amount int64
		if d.Cmd == "windows" {
			w = limits.Windows{}
			d.ScanArgs(t, "day", &w.Day, &w.DayUsedMinor)
			d.ScanArgs(t, "month", &w.Month, &w.MonthUsedMinor)
		} else {
			d.ScanArgs(t, "day", &day)
			d.ScanArgs(t, "month", &month)
			d.ScanArgs(t, "amount", &amount)
		}
		result := "ok"
		switch d.Cmd {
		case "windows":
		case "reserve":
			d.ScanArgs(t, "level", &level)
			table := product
			if d.HasArg("unlimited") {
				table = nil
			}
			var reasons []payment.Reason
			if w, reasons = limits.Reserve(w, table, level, day, month, amount); len(reasons) > 0 {
				result = words(reasons)
			}
		case "release":
			w = limits.Release(w, day, month, amount)
		default:
			t.Fatalf("unknown command %q", d.Cmd)
		}
		return fmt.Sprintf("%s: day %d used %d, month %d used %d\n", result, w.Day, w.DayUsedMinor, w.Month, w.MonthUsedMinor)
	})
}

func TestReserveThenReleaseIsIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.Uint8Range(0, 3).Draw(t, "level")
		w := limits.Windows{
			Day: 20_500, DayUsedMinor: rapid.Int64Range(0, product[level].DayMinor).Draw(t, "dayUsed"),
			Month: 673, MonthUsedMinor: rapid.Int64Range(0, product[level].MonthMinor).Draw(t, "monthUsed"),
		}
		amount := rapid.Int64Range(0, product[level].DayMinor+1).Draw(t, "amount")
		got, reasons := limits.Reserve(w, product, level, w.Day, w.Month, amount)
		if len(reasons) > 0 {
			if got != w {
				t.Fatalf("refused, yet %+v became %+v", w, got)
			}
			return
		}
		if back := limits.Release(got, w.Day, w.Month, amount); back != w {
			t.Fatalf("%+v became %+v", w, back)
		}
	})
}

type reservation struct {
	day, month int32
	amount     int64
}

// A naive list of what was granted and not released is the second opinion over a history of days that only advance.
func TestWindowsEqualTheListOfReservations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.Uint8Range(0, 3).Draw(t, "level")
		limit := product[level]
		var w limits.Windows
		var granted []reservation
		day := int32(20_500)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			day += rapid.SampledFrom([]int32{0, 0, 0, 1, 31}).Draw(t, "days")
			month := day / 30
			if len(granted) > 0 && rapid.IntRange(0, 3).Draw(t, "release") == 0 {
				i := rapid.IntRange(0, len(granted)-1).Draw(t, "which")
				r := granted[i]
				w = limits.Release(w, r.day, r.month, r.amount)
				granted = append(granted[:i], granted[i+1:]...)
				continue
			}
			var dayUsed, monthUsed int64
			for _, r := range granted {
				if r.day == day {
					dayUsed += r.amount
				}
				if r.month == month {
					monthUsed += r.amount
				}
			}
			amount := rapid.Int64Range(1, limit.DayMinor).Draw(t, "amount")
			var want []payment.Reason
			if dayUsed+amount > limit.DayMinor {
				want = append(want, payment.ReasonLimitDay)
			}
			if monthUsed+amount > limit.MonthMinor {
				want = append(want, payment.ReasonLimitMonth)
			}
			var got []payment.Reason
			if w, got = limits.Reserve(w, product, level, day, month, amount); words(got) != words(want) {
				t.Fatalf("day %d amount %d: got %q, want %q", day, amount, words(got), words(want))
			}
			if len(got) == 0 {
				granted = append(granted, reservation{day, month, amount})
			}
		}
	})
}

func TestReserveAllocatesNothing(t *testing.T) {
	w := limits.Windows{Day: 1, Month: 1}
	if n := testing.AllocsPerRun(100, func() {
		w, _ := limits.Reserve(w, product, 3, 2, 1, 100)
		limits.Release(w, 2, 1, 100)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzReserve(f *testing.F) {
	f.Add(int64(0), int64(0), int64(500_00), uint8(0), false)
	f.Add(int64(math.MaxInt64), int64(0), int64(1), uint8(3), false)
	f.Fuzz(func(t *testing.T, dayUsed, monthUsed, amount int64, level uint8, roll bool) {
		if dayUsed < 0 || monthUsed < 0 || amount < 0 {
			return // amounts and windows are never negative
		}
		w := limits.Windows{Day: 7, DayUsedMinor: dayUsed, Month: 1, MonthUsedMinor: monthUsed}
		day := int32(7)
		if roll {
			day = 8
		}
		got, reasons := limits.Reserve(w, product, level, day, 1, amount)
		if len(reasons) > 0 {
			if got != w {
				t.Fatalf("refused, yet %+v became %+v", w, got)
			}
			return
		}
		row := policy.KYCLimit{}
		if int(level) < len(product) {
			row = product[level]
		}
		if got.DayUsedMinor > row.DayMinor || got.MonthUsedMinor > row.MonthMinor || got.MonthUsedMinor != monthUsed+amount {
			t.Fatalf("granted %d: %+v", amount, got)
		}
	})
}

package calendar_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/calendar"
)

func instant(t *testing.T, s string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMicro()
}

func TestTables(t *testing.T) {
	datadriven.RunTest(t, "testdata/days", func(t *testing.T, d *datadriven.TestData) string {
		var offsets []calendar.UTCOffset
		for _, a := range d.CmdArgs { // from instant=hours
			h, err := time.ParseDuration(a.Vals[0])
			if err != nil {
				t.Fatal(err)
			}
			offsets = append(offsets, calendar.UTCOffset{FromUS: instant(t, a.Key), OffsetS: int32(h / time.Second)})
		}
		var out strings.Builder
		for line := range strings.Lines(d.Input) {
			text := strings.TrimSpace(line)
			us := instant(t, text)
			minute := calendar.MinuteOfDay(us, offsets)
			fmt.Fprintf(&out, "%s: day %d month %d %02d:%02d\n", text, calendar.DayOf(us, offsets), calendar.MonthOf(us, offsets), minute/60, minute%60)
		}
		return out.String()
	})
}

// The standard library's calendar in a fixed zone is the second opinion.
func check(t interface{ Fatalf(string, ...any) }, us int64, offset int32) {
	offsets := []calendar.UTCOffset{{FromUS: math.MinInt64, OffsetS: offset}}
	local := time.UnixMicro(us).In(time.FixedZone("", int(offset)))
	midnight := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC)
	if got, want := int64(calendar.DayOf(us, offsets)), midnight.Unix()/86_400; got != want {
		t.Fatalf("day of %d at %d s: got %d, want %d", us, offset, got, want)
	}
	if got, want := int(calendar.MonthOf(us, offsets)), (local.Year()-1970)*12+int(local.Month())-1; got != want {
		t.Fatalf("month of %d at %d s: got %d, want %d", us, offset, got, want)
	}
	if got, want := int(calendar.MinuteOfDay(us, offsets)), local.Hour()*60+local.Minute(); got != want {
		t.Fatalf("minute of %d at %d s: got %d, want %d", us, offset, got, want)
	}
}

func TestEqualsTheStandardCalendar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.Int64().Draw(t, "us"), rapid.Int32Range(-86_399, 86_399).Draw(t, "offset"))
	})
}

func TestTheNewestOffsetThatHasBegunCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		froms := rapid.SliceOfNDistinct(rapid.Int64Range(-1e15, 4e15), 1, 6, rapid.ID[int64]).Draw(t, "froms")
		var offsets []calendar.UTCOffset
		for i, from := range froms {
			offsets = append(offsets, calendar.UTCOffset{FromUS: from, OffsetS: int32(i * 3600)})
		}
		us := rapid.OneOf(rapid.Int64Range(-1e15, 4e15), rapid.SampledFrom(froms)).Draw(t, "us")
		want := calendar.MinuteOfDay(us, nil)
		newest := int64(math.MinInt64)
		for _, o := range offsets {
			if o.FromUS <= us && o.FromUS > newest {
				newest = o.FromUS
				want = calendar.MinuteOfDay(us, []calendar.UTCOffset{{FromUS: math.MinInt64, OffsetS: o.OffsetS}})
			}
		}
		slices.SortFunc(offsets, func(a, b calendar.UTCOffset) int { return cmp.Compare(a.FromUS, b.FromUS) })
		if got := calendar.MinuteOfDay(us, offsets); got != want {
			t.Fatalf("minute %d, want %d", got, want)
		}
	})
}

func TestNothingAllocates(t *testing.T) {
	offsets := []calendar.UTCOffset{{FromUS: 0, OffsetS: -10_800}}
	if n := testing.AllocsPerRun(100, func() {
		calendar.DayOf(1e15, offsets)
		calendar.MonthOf(1e15, offsets)
		calendar.MinuteOfDay(1e15, offsets)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzCalendar(f *testing.F) {
	f.Add(int64(0), int32(-10_800))
	f.Add(int64(math.MaxInt64), int32(86_399))
	f.Add(int64(math.MinInt64), int32(-86_399))
	f.Fuzz(func(t *testing.T, us int64, offset int32) { check(t, us, offset%86_400) })
}

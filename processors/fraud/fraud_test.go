package fraud_test

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/policy"
)

var kinds = map[string]fraud.RuleKind{
	"velocity_minute": fraud.RuleVelocityMinute, "velocity_hour": fraud.RuleVelocityHour, "velocity_day": fraud.RuleVelocityDay,
	"amount_history": fraud.RuleAmountHistory, "new_counterparty": fraud.RuleNewCounterparty, "night": fraud.RuleNight,
}

const midnightUS = 20_543 * 86_400 * 1_000_000 // 2026-03-31

func us(t *testing.T, clock string) int64 {
	t.Helper()
	d, err := time.ParseDuration(clock)
	if err != nil {
		t.Fatal(err)
	}
	return midnightUS + d.Microseconds()
}

type table struct {
	rules    *fraud.RuleSet
	policy   policy.Policy
	features fraud.Features
}

func TestTables(t *testing.T) {
	datadriven.Walk(t, "testdata/tables", func(t *testing.T, path string) {
		var s table
		datadriven.RunTest(t, path, s.run)
	})
}

func (s *table) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "policy":
		s.policy = policy.Policy{FraudMode: policy.FraudModeEnforce}
		var mode string
		d.MaybeScanArgs(t, "mode", &mode)
		for _, m := range []policy.FraudMode{policy.FraudModeOff, policy.FraudModeMonitor} {
			if m.String() == mode {
				s.policy.FraudMode = m
			}
		}
		d.MaybeScanArgs(t, "review", &s.policy.ReviewScore)
		d.MaybeScanArgs(t, "decline", &s.policy.DeclineScore)
		return ""
	case "no-rules":
		s.rules = nil
		return ""
	case "rules":
		s.rules = &fraud.RuleSet{}
		for line := range strings.Lines(d.Input) { // id version kind weight threshold history from to reason
			var r fraud.Rule
			var word string
			if _, err := fmt.Sscan(line, &r.ID, &r.Version, &word, &r.Weight, &r.Threshold, &r.MinHistory, &r.FromMinute, &r.ToMinute, &r.Reason); err != nil {
				t.Fatal(err)
			}
			r.Kind = kinds[word]
			s.rules.Rules = append(s.rules.Rules, r)
		}
		return ""
	case "observe":
		return s.observe(t, d)
	case "assess":
		return s.assess(t, d)
	default:
		t.Fatalf("unknown command %q", d.Cmd)
		return ""
	}
}

func (s *table) observe(t *testing.T, d *datadriven.TestData) string {
	times := 1
	d.MaybeScanArgs(t, "times", &times)
	for range times {
		for _, a := range d.CmdArgs {
			switch a.Key {
			case "at":
				s.features = s.features.ObserveVelocity(us(t, a.Vals[0]))
			case "amount":
				var amount int64
				a.Scan(t, 0, &amount)
				s.features = s.features.ObserveAmount(amount)
			}
		}
	}
	f := s.features
	return fmt.Sprintf("minute %v hour %v day %v history %d sum %d max %d\n",
		total(f.MinuteCounts[:]), total(f.HourCounts[:]), total(f.DayCounts[:]), f.HistoryCount, f.HistorySumMinor, f.HistoryMaxMinor)
}

func total(counts []uint32) (n uint32) {
	for _, c := range counts {
		n += c
	}
	return n
}

func (s *table) assess(t *testing.T, d *datadriven.TestData) string {
	var x fraud.Facts
	clock := "12h"
	d.MaybeScanArgs(t, "at", &clock)
	x.AtUS = us(t, clock)
	x.MinuteOfDay = int32((x.AtUS - midnightUS) / 60_000_000)
	d.MaybeScanArgs(t, "amount", &x.AmountMinor)
	x.HasCounterparty = d.HasArg("known") || d.HasArg("new")
	x.NewCounterparty = d.HasArg("new") || d.HasArg("nobody")
	a := fraud.Assess(s.rules, &s.policy, s.features, x)
	var out strings.Builder
	fmt.Fprintf(&out, "%s %d\n", a.Verdict, a.Score)
	for _, h := range a.Hits {
		fmt.Fprintf(&out, "  %s +%d %s\n", h.Rule, h.Weight, h.Reason)
	}
	return out.String()
}

var monitor = &policy.Policy{FraudMode: policy.FraudModeMonitor}

// velocity finds what a window holds besides the payment itself, through the front door: more than c payments with it,
// not more than c+1.
func exactly(f fraud.Features, kind fraud.RuleKind, atUS, count int64) bool {
	hits := func(threshold int64) bool {
		rules := &fraud.RuleSet{Rules: []fraud.Rule{{ID: "v", Kind: kind, Weight: 1, Threshold: threshold}}}
		return fraud.Assess(rules, monitor, f, fraud.Facts{AtUS: atUS}).Score == 1
	}
	return hits(count) && !hits(count+1)
}

type ring struct {
	kind  fraud.RuleKind
	width int64
	n     int64
}

var rings = []ring{
	{fraud.RuleVelocityMinute, 10e6, 6},
	{fraud.RuleVelocityHour, 300e6, 12},
	{fraud.RuleVelocityDay, 3600e6, 24},
}

// A naive list of times is the second opinion: the count is exact in buckets, late times included, and so lies between
// the counts of the window less and plus one bucket.
func TestVelocityEqualsTheListOfTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rapid.SampledFrom(rings).Draw(t, "ring")
		var f fraud.Features
		var times []int64
		newest := rapid.Int64Range(-1e15, 4e15).Draw(t, "start")
		if newest < 0 {
			f = f.ObserveVelocity(0) // an account's first payment is never before 1970; the ring begins there
			times = append(times, 0)
			newest = 0
		}
		for range rapid.IntRange(0, 50).Draw(t, "payments") {
			at := newest + rapid.Int64Range(0, r.width*2).Draw(t, "later")
			if rapid.IntRange(0, 3).Draw(t, "late") == 0 {
				at = newest - rapid.Int64Range(0, r.width*(r.n+2)).Draw(t, "by")
			}
			newest = max(newest, at)
			f = f.ObserveVelocity(at)
			times = append(times, at)
		}
		at := newest + rapid.Int64Range(0, r.width*(r.n+1)).Draw(t, "at")
		bucket := floor(at, r.width)
		var exact, atLeast, atMost int64
		for _, x := range times {
			if b := floor(x, r.width); b > bucket-r.n && b <= bucket {
				exact++
			}
			if x > at-(r.n-1)*r.width && x <= at {
				atLeast++
			}
			if x > at-r.n*r.width && x <= at {
				atMost++
			}
		}
		if !exactly(f, r.kind, at, exact) || exact < atLeast || exact > atMost {
			t.Fatalf("%d in buckets, %d to %d in the window, counted otherwise: %+v", exact, atLeast, atMost, f)
		}
	})
}

func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// The order in which times of one window arrive does not matter.
func TestVelocityForgetsTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 4e15).Draw(t, "start") / 10e6 * 10e6
		times := rapid.SliceOfN(rapid.Int64Range(start, start+59_999_999), 1, 20).Draw(t, "times")
		other := rapid.Permutation(times).Draw(t, "other")
		var a, b fraud.Features
		for i := range times {
			a, b = a.ObserveVelocity(times[i]), b.ObserveVelocity(other[i])
		}
		if a != b {
			t.Fatalf("%v gave %+v, %v gave %+v", times, a, other, b)
		}
	})
}

func TestHistoryKeepsTheMean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f fraud.Features
		lowest := rapid.Int64Range(1_000, 1e12).Draw(t, "lowest")
		highest := lowest
		for _, x := range rapid.SliceOfN(rapid.Int64Range(0, 1e12), 1, 3000).Draw(t, "more") {
			f = f.ObserveAmount(lowest + x)
			highest = max(highest, lowest+x)
		}
		mean := f.HistorySumMinor / int64(f.HistoryCount)
		if f.HistoryMaxMinor != highest || mean < lowest-1 || mean > highest || f.HistoryCount > 1024 {
			t.Fatalf("between %d and %d: %+v", lowest, highest, f)
		}
	})
}

func TestAmountHistoryEqualsBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fraud.Features{HistoryCount: rapid.Uint32().Draw(t, "count"), HistorySumMinor: rapid.Int64Min(0).Draw(t, "sum")}
		amount, percent := rapid.Int64Min(0).Draw(t, "amount"), rapid.Int64Min(0).Draw(t, "percent")
		if f.HistoryCount > 0 && rapid.Bool().Draw(t, "close") { // within a few minor units of the threshold
			f.HistorySumMinor /= 1 + percent%1000
			percent %= 1000
			amount = max(f.HistorySumMinor/int64(f.HistoryCount)*percent/100+amount%3-1, 0)
		}
		minimum := rapid.Uint32().Draw(t, "minimum")
		left := new(big.Int).Mul(big.NewInt(amount), big.NewInt(100*int64(f.HistoryCount)))
		right := new(big.Int).Mul(big.NewInt(percent), big.NewInt(f.HistorySumMinor))
		want := f.HistoryCount >= minimum && f.HistoryCount > 0 && left.Cmp(right) > 0
		rules := &fraud.RuleSet{Rules: []fraud.Rule{{ID: "h", Kind: fraud.RuleAmountHistory, Weight: 1, Threshold: percent, MinHistory: minimum}}}
		if got := fraud.Assess(rules, monitor, f, fraud.Facts{AmountMinor: amount}).Score == 1; got != want {
			t.Fatalf("got %t, want %t", got, want)
		}
	})
}

// Invariant: the score is the sum of the hits, at most 1000; more rules never lower it; only mode enforce acts.
func TestScore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rules fraud.RuleSet
		for i := range rapid.IntRange(0, 8).Draw(t, "rules") {
			rules.Rules = append(rules.Rules, fraud.Rule{
				ID: fmt.Sprint("r", i), Version: 1, Kind: fraud.RuleKind(rapid.Uint8Range(1, 6).Draw(t, "kind")),
				Weight: rapid.OneOf(rapid.Uint32Range(0, 700), rapid.Uint32()).Draw(t, "weight"), Threshold: rapid.Int64Range(0, 3).Draw(t, "threshold"),
				FromMinute: rapid.Int32Range(0, 1440).Draw(t, "from"), ToMinute: rapid.Int32Range(0, 1440).Draw(t, "to"),
			})
		}
		p := &policy.Policy{
			FraudMode:   rapid.SampledFrom([]policy.FraudMode{policy.FraudModeMonitor, policy.FraudModeEnforce}).Draw(t, "mode"),
			ReviewScore: rapid.Uint32Range(0, 1001).Draw(t, "review"), DeclineScore: rapid.Uint32Range(0, 1001).Draw(t, "decline"),
		}
		x := fraud.Facts{
			AtUS: 1e15, AmountMinor: rapid.Int64Range(0, 4).Draw(t, "amount"), MinuteOfDay: rapid.Int32Range(0, 1439).Draw(t, "minute"),
			HasCounterparty: rapid.Bool().Draw(t, "has"), NewCounterparty: rapid.Bool().Draw(t, "new"),
		}
		f := fraud.Features{}.ObserveVelocity(1e15).ObserveAmount(1)
		a := fraud.Assess(&rules, p, f, x)
		var sum uint64
		for _, h := range a.Hits {
			sum += uint64(h.Weight)
		}
		if uint64(a.Score) != min(sum, fraud.ScoreMax) {
			t.Fatalf("score %d of %d", a.Score, sum)
		}
		fewer := fraud.Assess(&fraud.RuleSet{Rules: rules.Rules[:len(rules.Rules)/2]}, p, f, x)
		if fewer.Score > a.Score || !slices.Equal(fewer.Hits, a.Hits[:len(fewer.Hits)]) {
			t.Fatalf("half the rules give %+v, all give %+v", fewer, a)
		}
		want := fraud.Approve
		if p.FraudMode == policy.FraudModeEnforce {
			if p.ReviewScore > 0 && a.Score >= p.ReviewScore {
				want = fraud.Review
			}
			if p.DeclineScore > 0 && a.Score >= p.DeclineScore {
				want = fraud.Decline
			}
		}
		if a.Verdict != want {
			t.Fatalf("%s, want %s at %d", a.Verdict, want, a.Score)
		}
	})
}

func TestAssessWithoutHitsAllocatesNothing(t *testing.T) {
	rules := &fraud.RuleSet{}
	for _, k := range kinds {
		rules.Rules = append(rules.Rules, fraud.Rule{ID: "r", Kind: k, Weight: 500, Threshold: math.MaxInt64, MinHistory: 1})
	}
	f := fraud.Features{}.ObserveVelocity(1e15).ObserveAmount(500)
	x := fraud.Facts{AtUS: 1e15, AmountMinor: 700, HasCounterparty: true, NewCounterparty: true}
	if n := testing.AllocsPerRun(100, func() {
		f = f.ObserveVelocity(1e15).ObserveAmount(500)
		fraud.Assess(rules, monitor, f, x)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzObserve(f *testing.F) {
	f.Add(int64(1e15), int64(1e15+1), int64(0), int64(100))
	f.Add(int64(math.MaxInt64), int64(math.MinInt64), int64(-1), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, a, b, c, amount int64) {
		var x fraud.Features
		for _, at := range []int64{a, b, c, a} {
			before := x
			x = x.ObserveVelocity(at)
			if x.MinuteBucket < before.MinuteBucket || x.HourBucket < before.HourBucket || x.DayBucket < before.DayBucket {
				t.Fatalf("a ring went back: %+v, then %+v", before, x)
			}
			x = x.ObserveAmount(max(amount, 0))
		}
		if total(x.MinuteCounts[:]) > 4 || total(x.HourCounts[:]) > 4 || total(x.DayCounts[:]) > 4 || x.HistorySumMinor < 0 {
			t.Fatalf("four payments became %+v", x)
		}
	})
}

package fraud

import (
	"math/bits"
	"strconv"

	"github.com/caudalpay/caudal/processors/calendar"
	"github.com/caudalpay/caudal/processors/policy"
)

// ScoreMax is where a score ends.
const ScoreMax = 1000

// RuleKind says what a rule looks at. The numbers are those of the wire format.
type RuleKind uint8

// The kinds of rules.
const (
	RuleVelocityMinute  RuleKind = 1 // more than Threshold payments in a minute
	RuleVelocityHour    RuleKind = 2
	RuleVelocityDay     RuleKind = 3
	RuleAmountHistory   RuleKind = 4 // amount above Threshold per cent of the mean, after MinHistory payments
	RuleNewCounterparty RuleKind = 5 // first payment to a counterparty, amount >= Threshold
	RuleNight           RuleKind = 6 // inside [FromMinute, ToMinute), which may cross midnight, amount >= Threshold
)

// String is the word used in tables and in files.
func (k RuleKind) String() string {
	switch k {
	case RuleVelocityMinute:
		return "velocity_minute"
	case RuleVelocityHour:
		return "velocity_hour"
	case RuleVelocityDay:
		return "velocity_day"
	case RuleAmountHistory:
		return "amount_history"
	case RuleNewCounterparty:
		return "new_counterparty"
	case RuleNight:
		return "night"
	default:
		return "unknown"
	}
}

// RuleSet is one version of the rules.
type RuleSet struct {
	Ref   string // id@version
	Rules []Rule
}

// Rule adds Weight to the score where it hits. Amounts are in the limit currency.
type Rule struct {
	ID                   string
	Version              uint32
	Kind                 RuleKind
	Weight               uint32
	Threshold            int64
	MinHistory           uint32
	FromMinute, ToMinute int32
	Reason               string
}

// Facts is what the rules may know of the payment.
type Facts struct {
	AtUS                             int64
	AmountMinor                      int64 // limit currency
	MinuteOfDay                      int32 // of the tenant's day
	HasCounterparty, NewCounterparty bool
}

// Hit is a rule that hit.
type Hit struct {
	Rule   string // id@version
	Weight uint32
	Reason string
}

// Verdict is what the policy makes of the score.
type Verdict uint8

// The verdicts.
const (
	Approve Verdict = 0
	Review  Verdict = 1
	Decline Verdict = 2
)

// String is the word used in tables.
func (v Verdict) String() string {
	switch v {
	case Approve:
		return "approve"
	case Review:
		return "review"
	case Decline:
		return "decline"
	default:
		return "unknown"
	}
}

// Assessment is the score, why, and what follows.
type Assessment struct {
	Score   uint32 // 0 to ScoreMax
	Hits    []Hit  // in the order of the rules
	Verdict Verdict
}

// Assess scores a payment; the payment itself counts in velocity, so the features are those before it. Without rules,
// and in mode off, the assessment is zero.
func Assess(rules *RuleSet, p *policy.Policy, f Features, x Facts) Assessment {
	var a Assessment
	if rules == nil || p == nil || p.FraudMode == policy.FraudModeOff {
		return a
	}
	for i := range rules.Rules {
		r := &rules.Rules[i]
		if !r.hits(&f, &x) {
			continue
		}
		a.Score += min(r.Weight, ScoreMax-a.Score)
		a.Hits = append(a.Hits, Hit{Rule: r.ID + "@" + strconv.FormatUint(uint64(r.Version), 10), Weight: r.Weight, Reason: r.Reason})
	}
	if p.FraudMode == policy.FraudModeEnforce {
		a.Verdict = verdict(a.Score, p)
	}
	return a
}

func verdict(score uint32, p *policy.Policy) Verdict {
	switch {
	case p.DeclineScore > 0 && score >= p.DeclineScore:
		return Decline
	case p.ReviewScore > 0 && score >= p.ReviewScore:
		return Review
	default:
		return Approve
	}
}

func (r *Rule) hits(f *Features, x *Facts) bool {
	switch r.Kind {
	case RuleVelocityMinute:
		return counted(f.MinuteCounts[:], f.MinuteBucket, calendar.FloorDiv(x.AtUS, minuteBucketUS))+1 > r.Threshold
	case RuleVelocityHour:
		return counted(f.HourCounts[:], f.HourBucket, calendar.FloorDiv(x.AtUS, hourBucketUS))+1 > r.Threshold
	case RuleVelocityDay:
		return counted(f.DayCounts[:], f.DayBucket, calendar.FloorDiv(x.AtUS, dayBucketUS))+1 > r.Threshold
	case RuleAmountHistory:
		return f.HistoryCount >= r.MinHistory && f.above(x.AmountMinor, r.Threshold)
	case RuleNewCounterparty:
		return x.HasCounterparty && x.NewCounterparty && x.AmountMinor >= r.Threshold
	case RuleNight:
		return within(x.MinuteOfDay, r.FromMinute, r.ToMinute) && x.AmountMinor >= r.Threshold
	default:
		return false // decoding refuses a rule set with a kind this build does not know
	}
}

// above tells whether an amount is more than percent of the mean: amount x 100 x count > percent x sum, in 128 bits.
func (f *Features) above(amountMinor, percent int64) bool {
	if f.HistoryCount == 0 {
		return false
	}
	aHi, aLo := bits.Mul64(natural(amountMinor), 100*uint64(f.HistoryCount))
	bHi, bLo := bits.Mul64(natural(percent), natural(f.HistorySumMinor))
	return aHi > bHi || aHi == bHi && aLo > bLo
}

// natural reads a negative number as zero.
func natural(a int64) uint64 { return uint64(max(a, 0)) }

// within tells whether a minute lies in [from, to); from > to crosses midnight, from = to is empty.
func within(minute, from, to int32) bool {
	if from <= to {
		return from <= minute && minute < to
	}
	return minute >= from || minute < to
}

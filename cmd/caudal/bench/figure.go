package bench

import (
	"slices"
	"strings"
)

// Figure is one line of the report. Ratios are per pair; for a figure without a baseline they are the values themselves.
type Figure struct {
	ID       string    `json:"id"`
	What     string    `json:"what"`
	Unit     string    `json:"unit"`
	Baseline []float64 `json:"baseline,omitempty"` // per second
	System   []float64 `json:"system"`
	Median   float64   `json:"median"`
	Min      float64   `json:"min"`
	Max      float64   `json:"max"`
	Floor    float64   `json:"floor"`
	Goal     float64   `json:"goal"`
	Stretch  float64   `json:"stretch,omitempty"`
	Verdict  string    `json:"verdict"`
}

// Verdicts.
const (
	verdictMissed       = "missed"
	verdictFloor        = "floor"
	verdictGoal         = "goal"
	verdictStretch      = "stretch"
	verdictInconclusive = "inconclusive"
)

// spreadMost is how far a baseline may vary in itself before nothing can be said.
const spreadMost = 1.5

const (
	percent = "%"
	times   = "x" // a ratio as it is
)

// target is a line of the table of targets. Of a ratio more is better, of a time or of memory less.
type target struct {
	what, unit           string
	floor, goal, stretch float64
}

func targets() map[string]target {
	return map[string]target{
		"P1":  {"final payments/s, drained, in both stores, over franz-go pass-through records/s", percent, 1.5, 2.5, 4},
		"P3":  {"single payments/s, ingress to broker acknowledgement, over a bare fasthttp echo", percent, 40, 50, 60},
		"P4":  {"payments/s in batches of 100, ingress to broker acknowledgement, over raw produce", percent, 25, 40, 55},
		"P8":  {"ingress acknowledgement, p99, open loop at half of P1", "ms", 25, 10, 5},
		"P9":  {"accepted to decided and committed, p99, open loop at half of P1", "ms", 250, 100, 50},
		"P13": {"processor time a payment, all processes but the load generator", "us", 250, 160, 100},
	}
}

func newFigure(id string, baseline, system []float64) Figure {
	return targets()[id].figure(id, baseline, system)
}

func (t target) figure(id string, baseline, system []float64) Figure {
	more := t.unit == percent || t.unit == times
	factor := 1.0
	if t.unit == percent {
		factor = 100
	}
	f := Figure{ID: id, What: t.what, Unit: t.unit, Baseline: baseline, System: system, Floor: t.floor, Goal: t.goal, Stretch: t.stretch}
	values := slices.Clone(system)
	for i, b := range baseline {
		values[i] *= factor / b
	}
	slices.Sort(values)
	f.Median, f.Min, f.Max = median(values), values[0], values[len(values)-1]
	if t.floor > 0 { // else it has no target
		f.Verdict = verdictMissed
	}
	for _, step := range []struct {
		bound float64
		name  string
	}{{t.floor, verdictFloor}, {t.goal, verdictGoal}, {t.stretch, verdictStretch}} {
		if t.floor > 0 && (more && f.Median >= step.bound || !more && f.Median <= step.bound) {
			f.Verdict = step.name
		}
	}
	if len(baseline) > 0 && slices.Max(baseline) > spreadMost*slices.Min(baseline) {
		f.Verdict = verdictInconclusive
	}
	return f
}

// median of sorted values.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

func chosen(only []string, ids ...string) bool {
	for _, id := range ids {
		if len(only) == 0 || slices.ContainsFunc(only, func(o string) bool { return strings.EqualFold(o, id) }) {
			return true
		}
	}
	return false
}

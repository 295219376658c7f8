package faults

import (
	"fmt"
	"testing"
	"time"
)

// Latency falls in the shares and the spans that are asked for.
func TestLatencyIsDistributed(t *testing.T) {
	spec, err := Load("latency=60%:1..5/30%:10..20")
	if err != nil {
		t.Fatal(err)
	}
	plan := NewPlan(spec, 1, func(Site, Kind) {})
	const n = 5000
	counts := map[string]int{}
	spans := map[time.Duration]bool{}
	for i := range n {
		ms := plan.latency(Site{Connector: "cielo", Reference: fmt.Sprint(i)}) / time.Millisecond
		spans[ms] = true
		switch {
		case ms == 0:
			counts["none"]++
		case ms >= 1 && ms <= 5:
			counts["short"]++
		case ms >= 10 && ms <= 20:
			counts["long"]++
		default:
			t.Fatalf("%d ms", ms)
		}
	}
	for what, percent := range map[string]int{"none": 10, "short": 60, "long": 30} {
		if got := counts[what]; got < n*(percent-3)/100 || got > n*(percent+3)/100 {
			t.Errorf("%s: %d of %d", what, got, n)
		}
	}
	if len(spans) != 1+5+11 {
		t.Errorf("%d different ones", len(spans))
	}
}

package bench

import "testing"

func TestVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		id            string
		baseline, own []float64
		median        float64
		verdict       string
	}{
		"a ratio below its floor":    {"P1", []float64{1000, 1000, 1000}, []float64{14, 10, 14.9}, 1.4, verdictMissed},
		"a ratio on its floor":       {"P1", []float64{1000, 1000, 1000}, []float64{15, 10, 20}, 1.5, verdictFloor},
		"a ratio on its goal":        {"P1", []float64{1000}, []float64{25}, 2.5, verdictGoal},
		"a ratio beyond all":         {"P3", []float64{1000, 1000}, []float64{600, 700}, 65, verdictStretch},
		"pairs, not medians, divide": {"P3", []float64{1000, 1400, 1200}, []float64{500, 420, 600}, 50, verdictGoal},
		"a baseline that varies":     {"P1", []float64{1000, 1501}, []float64{500, 500}, 41.6555629, verdictInconclusive},
		"a time above its floor":     {"P8", nil, []float64{26, 1, 30}, 26, verdictMissed},
		"a time on its floor":        {"P8", nil, []float64{25, 25, 25}, 25, verdictFloor},
		"a time below all":           {"P13", nil, []float64{90, 95}, 92.5, verdictStretch},
	} {
		f := newFigure(c.id, c.baseline, c.own)
		if f.Verdict != c.verdict || f.Median < c.median-1e-6 || f.Median > c.median+1e-6 {
			t.Errorf("%s: %s with median %v, want %s with %v", name, f.Verdict, f.Median, c.verdict, c.median)
		}
	}
}

func TestSamplesAreTheSameInEveryRunAndDiffer(t *testing.T) {
	a, b := newSamples(), newSamples()
	seen := map[string]bool{}
	for i := range a.values {
		if len(a.values[i]) != recordBytes {
			t.Fatalf("value %d has %d bytes", i, len(a.values[i]))
		}
		if string(a.values[i]) != string(b.values[i]) {
			t.Fatalf("value %d differs between runs", i)
		}
		seen[string(a.values[i])] = true
	}
	if len(seen) != recordValues {
		t.Fatalf("%d different values of %d", len(seen), recordValues)
	}
}

func TestItemsAreAnswered(t *testing.T) {
	c := (&workload{}).caller(1)
	n, err := c.accepted([]byte(`{"items":[{"index":0,"status":202,"body":{"payment_id":"pin_1","kind":"payin"}},{"index":1,"status":422,"body":{}},{"index":2,"status":202,"body":{"payment_id":"out_1","kind":"payout"}}]}`))
	if err != nil || n != 2 || len(c.payins) != 1 {
		t.Fatalf("%d accepted, %v to refund, %v", n, c.payins, err)
	}
}

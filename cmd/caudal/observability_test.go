package main

import (
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// metrics reads what a running house exports.
func (h *house) metrics() map[string]*dto.MetricFamily {
	h.t.Helper()
	resp, err := http.Get("http://" + h.http + "/metrics") //nolint:noctx // on loopback, in a test
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // read below
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		h.t.Fatalf("metrics: %d %v", resp.StatusCode, err)
	}
	return families
}

// metric sums a counter or gauge over its labels.
func (h *house) metric(name string) (sum float64) {
	h.t.Helper()
	for _, m := range h.metrics()[name].GetMetric() {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum
}

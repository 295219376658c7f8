package up

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// gatherer shows the metrics of this process and of the streams worker under one address.
func (in *running) gatherer(ctx context.Context) prometheus.Gatherer {
	if in.worker == nil {
		return in.registry
	}
	ctx = context.WithoutCancel(ctx) // metrics are read while the house stops, too
	return prometheus.Gatherers{in.registry, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return scrape(ctx, in.worker) })}
}

// scrape reads the worker's own metrics. Its process and runtime metrics carry the names this process uses too, so they
// stay with it; a worker that is just being restarted has none.
func scrape(ctx context.Context, worker *child.Process) ([]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+worker.Announced()+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("asking the worker for its metrics: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil //nolint:nilerr // it is being restarted, which its own metrics and the readiness check show
	}
	defer func() { _ = resp.Body.Close() }() // read below
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil, nil //nolint:nilerr // it ended in the middle of its answer
	}
	var own []*dto.MetricFamily
	for name, f := range families {
		if len(name) > 7 && name[:7] == "caudal_" {
			own = append(own, f)
		}
	}
	return own, nil
}

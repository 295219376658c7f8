package up

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// workerLabel tells whose a worker's metric is: its instance.
const workerLabel = "worker"

// gatherer shows the metrics of this process and of the streams workers under one address.
func (in *running) gatherer(ctx context.Context) prometheus.Gatherer {
	ctx = context.WithoutCancel(ctx) // metrics are read while the house stops, too
	return prometheus.Gatherers{in.registry, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		return in.workers.scrape(ctx), nil
	})}
}

// scrape reads the metrics of all workers side by side. One that is being restarted, or does not answer, has none: the
// readiness checks say so.
func (w workers) scrape(ctx context.Context) []*dto.MetricFamily {
	found := make([]map[string]*dto.MetricFamily, len(w))
	var reading sync.WaitGroup
	for i, p := range w {
		reading.Go(func() { found[i] = scrapeWorker(ctx, p) })
	}
	reading.Wait()
	merged := map[string]*dto.MetricFamily{}
	for i, families := range found {
		name, instance := workerLabel, strconv.Itoa(i)
		for _, f := range families {
			for _, m := range f.GetMetric() {
				m.Label = append(m.Label, &dto.LabelPair{Name: &name, Value: &instance})
			}
			if before := merged[f.GetName()]; before != nil {
				before.Metric = append(before.Metric, f.GetMetric()...)
			} else {
				merged[f.GetName()] = f
			}
		}
	}
	return slices.Collect(maps.Values(merged))
}

// scrapeWorker reads one worker's metrics, nil if it does not answer in time or in full.
func scrapeWorker(ctx context.Context, worker *child.Process) map[string]*dto.MetricFamily {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+worker.Announced()+"/metrics", nil)
	if err != nil {
		return nil
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer func() { _ = resp.Body.Close() }() // read below
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil
	}
	return families
}

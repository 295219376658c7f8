package decisionlog

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are those every store's sink has, told apart by the label sink.
type metrics struct {
	lagRecords   prometheus.Gauge
	lagSeconds   prometheus.Gauge
	decisions    prometheus.Counter
	rows         prometheus.Counter
	batchSeconds prometheus.Histogram
	retries      prometheus.Counter
}

// newMetrics registers them for one sink.
func newMetrics(reg prometheus.Registerer, sink string) *metrics {
	factory := promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"sink": sink}, reg))
	return &metrics{
		lagRecords:   factory.NewGauge(prometheus.GaugeOpts{Name: "caudal_sinks_lag_records", Help: "Records of the decision log that the store does not hold yet."}),
		lagSeconds:   factory.NewGauge(prometheus.GaugeOpts{Name: "caudal_sinks_lag_seconds", Help: "Age of the newest decision in the last batch when it became durable; 0 when nothing is behind."}),
		decisions:    factory.NewCounter(prometheus.CounterOpts{Name: "caudal_sinks_decisions_total", Help: "Decisions taken into the store."}),
		rows:         factory.NewCounter(prometheus.CounterOpts{Name: "caudal_sinks_rows_total", Help: "Rows sent to the store."}),
		batchSeconds: factory.NewHistogram(prometheus.HistogramOpts{Name: "caudal_sinks_batch_seconds", Help: "Time to make a batch durable.", Buckets: prometheus.ExponentialBuckets(0.002, 2, 14)}),
		retries:      factory.NewCounter(prometheus.CounterOpts{Name: "caudal_sinks_retries_total", Help: "Sessions that ended because store or broker failed, and were begun again."}),
	}
}

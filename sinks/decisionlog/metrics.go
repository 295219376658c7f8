package decisionlog

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are those every store's sink has, told apart by the label sink.
type Metrics struct {
	LagRecords   prometheus.Gauge
	LagSeconds   prometheus.Gauge
	Decisions    prometheus.Counter
	Rows         prometheus.Counter
	BatchSeconds prometheus.Histogram
	Retries      prometheus.Counter
}

// NewMetrics registers them for one sink.
func NewMetrics(reg prometheus.Registerer, sink string) *Metrics {
	factory := promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"sink": sink}, reg))
	return &Metrics{
		LagRecords:   factory.NewGauge(prometheus.GaugeOpts{Name: "caudal_sinks_lag_records", Help: "Records of the decision log that the store does not hold yet."}),
		LagSeconds:   factory.NewGauge(prometheus.GaugeOpts{Name: "caudal_sinks_lag_seconds", Help: "Age of the newest decision in the last batch when it became durable; 0 when nothing is behind."}),
		Decisions:    factory.NewCounter(prometheus.CounterOpts{Name: "caudal_sinks_decisions_total", Help: "Decisions taken into the store."}),
		Rows:         factory.NewCounter(prometheus.CounterOpts{Name: "caudal_sinks_rows_total", Help: "Rows sent to the store."}),
		BatchSeconds: factory.NewHistogram(prometheus.HistogramOpts{Name: "caudal_sinks_batch_seconds", Help: "Time to make a batch durable.", Buckets: prometheus.ExponentialBuckets(0.002, 2, 14)}),
		Retries:      factory.NewCounter(prometheus.CounterOpts{Name: "caudal_sinks_retries_total", Help: "Sessions that ended because store or broker failed, and were begun again."}),
	}
}

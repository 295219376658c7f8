package http

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	items    *prometheus.CounterVec
	cleared  *prometheus.CounterVec
	refused  prometheus.Counter
	panics   prometheus.Counter
	open     prometheus.Gauge
}

// What became of a clearing that was told.
const (
	clearingCleared  = "cleared"
	clearingUnknown  = "unknown"  // cleared, of no authorization that is known
	clearingLate     = "late"     // of one that had ended: in suspense
	clearingRepeated = "repeated" // in the books before
	clearingConflict = "conflict" // in the books otherwise
)

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{Name: "caudal_ingest_http_requests_total", Help: "Requests answered, by route and status."}, []string{"route", "status"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "caudal_ingest_http_request_seconds", Help: "Time from the request's last byte to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.000_25, 2, 16),
		}, []string{"route"}),
		items:   f.NewCounterVec(prometheus.CounterOpts{Name: "caudal_ingest_http_batch_items_total", Help: "Items of batches answered, by status."}, []string{"status"}),
		cleared: f.NewCounterVec(prometheus.CounterOpts{Name: "caudal_ingest_http_clearings_total", Help: "Clearings of issued cards that were told and decided, by what became of them."}, []string{"result"}),
		refused: f.NewCounter(prometheus.CounterOpts{Name: "caudal_ingest_http_refused_total", Help: "Requests refused before routing: broken HTTP, too large, too slow."}),
		panics:  f.NewCounter(prometheus.CounterOpts{Name: "caudal_ingest_http_panics_total", Help: "Handlers that panicked. Any is a bug."}),
		open:    f.NewGauge(prometheus.GaugeOpts{Name: "caudal_ingest_http_open_requests", Help: "Requests being answered now."}),
	}
	for _, result := range [...]string{clearingCleared, clearingUnknown, clearingLate, clearingRepeated, clearingConflict} {
		m.cleared.WithLabelValues(result) // there from the start, so that its first increase is seen
	}
	return m
}

func (m *metrics) observe(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

package iso8583

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// The stages of a request.
const (
	stageDecode  = "decode"
	stageResolve = "resolve" // card to account, pins, the command
	stageProduce = "produce" // to the log's acknowledgement
	stageDecide  = "decide"  // from there to the core's reply
	stageWrite   = "write"   // the response, to its last byte
)

// The ways in which this house stands in.
const (
	standInApproved = "approved"
	standInDeclined = "declined"
)

type metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	stages    map[string]prometheus.Observer
	standIns  *prometheus.CounterVec
	reversals *prometheus.CounterVec
	waiting   prometheus.Gauge // reversals
	malformed *prometheus.CounterVec
	busy      prometheus.Counter
	foreign   prometheus.Counter
	panics    prometheus.Counter
	inFlight  prometheus.Gauge
	open      prometheus.Gauge
	closed    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	buckets := []float64{0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4}
	m := &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{Name: "caudal_ingest_iso8583_requests_total", Help: "Messages answered, by type and response code."}, []string{"mti", "code"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "caudal_ingest_iso8583_request_seconds", Help: "Time from a message's last byte to the last byte of its answer.", Buckets: buckets,
		}, []string{"mti"}),
		standIns: f.NewCounterVec(prometheus.CounterOpts{Name: "caudal_ingest_iso8583_stand_ins_total", Help: "Authorizations answered without the core, by answer."}, []string{"answer"}),
		reversals: f.NewCounterVec(prometheus.CounterOpts{
			Name: "caudal_ingest_iso8583_reversals_total", Help: "Reversals of stand-ins that the log did not acknowledge in time, by what became of them.",
		}, []string{"outcome"}),
		waiting:   f.NewGauge(prometheus.GaugeOpts{Name: "caudal_ingest_iso8583_waiting_reversals", Help: "Reversals of stand-ins that wait for the log."}),
		malformed: f.NewCounterVec(prometheus.CounterOpts{Name: "caudal_ingest_iso8583_malformed_total", Help: "Messages that could not be read, by what was done."}, []string{"action"}),
		busy:      f.NewCounter(prometheus.CounterOpts{Name: "caudal_ingest_iso8583_busy_total", Help: "Messages answered 91 because too many were in flight, or the buffer of commands full."}),
		foreign:   f.NewCounter(prometheus.CounterOpts{Name: "caudal_ingest_iso8583_foreign_total", Help: "Messages answered 58 because their acquirer is none of the client's, by its certificate."}),
		panics:    f.NewCounter(prometheus.CounterOpts{Name: "caudal_ingest_iso8583_panics_total", Help: "Messages whose handling panicked. Any is a bug."}),
		inFlight:  f.NewGauge(prometheus.GaugeOpts{Name: "caudal_ingest_iso8583_in_flight_requests", Help: "Messages that wait for the core."}),
		open:      f.NewGauge(prometheus.GaugeOpts{Name: "caudal_ingest_iso8583_open_connections", Help: "Connections of acquirers."}),
		closed:    f.NewCounterVec(prometheus.CounterOpts{Name: "caudal_ingest_iso8583_closed_connections_total", Help: "Connections that ended, by why."}, []string{"reason"}),
		stages:    map[string]prometheus.Observer{},
	}
	stages := f.NewHistogramVec(prometheus.HistogramOpts{
		Name: "caudal_ingest_iso8583_stage_seconds", Help: "Where the time of a message goes.", Buckets: buckets,
	}, []string{"stage"})
	for _, s := range [...]string{stageDecode, stageResolve, stageProduce, stageDecide, stageWrite} {
		m.stages[s] = stages.WithLabelValues(s)
	}
	for _, answer := range [...]string{standInApproved, standInDeclined} {
		m.standIns.WithLabelValues(answer) // there from the start, so that its first increase is seen
	}
	for _, outcome := range [...]string{reversalWritten, reversalLost} {
		m.reversals.WithLabelValues(outcome)
	}
	for _, mti := range [...]iso8583.MTI{iso8583.FinancialAdvice, iso8583.FinancialAdviceRepeat} { // an alert asks for these
		m.requests.WithLabelValues(string(mti), string(iso8583.ResponseDuplicate))
	}
	return m
}

func (m *metrics) stage(name string, took time.Duration) { m.stages[name].Observe(took.Seconds()) }

package webhooks

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// outcome is what became of a request.
type outcome string

const (
	outcomeAccepted      outcome = "accepted"
	outcomeNotUnderstood outcome = "not_understood" // accepted, and nobody here knows what it says
	outcomeDuplicate     outcome = "duplicate"
	outcomeForged        outcome = "forged"
	outcomeReplay        outcome = "old_timestamp"
	outcomeMalformed     outcome = "malformed"
	outcomeLimited       outcome = "limited"
	outcomeBusy          outcome = "busy"
	outcomeUnavailable   outcome = "unavailable"
)

func newMetrics(reg prometheus.Registerer, processors map[string]Processor) *prometheus.CounterVec {
	m := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "caudal_ingest_webhooks_notifications_total", Help: "Notifications of processors by what became of them at the door.",
	}, []string{"processor", "outcome"})
	for name := range processors { // there from the start, so that the first one is an increase
		for _, o := range []outcome{
			outcomeAccepted, outcomeNotUnderstood, outcomeDuplicate, outcomeForged, outcomeReplay, outcomeMalformed, outcomeLimited, outcomeBusy, outcomeUnavailable,
		} {
			m.WithLabelValues(name, string(o))
		}
	}
	return m
}

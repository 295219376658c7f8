package cards

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	calls       *prometheus.CounterVec
	callSeconds *prometheus.HistogramVec
	inFlight    *prometheus.GaugeVec
	breaker     *prometheus.GaugeVec
	answers     *prometheus.CounterVec
	polls       *prometheus.CounterVec
	failovers   *prometheus.CounterVec
	amounts     *prometheus.CounterVec
	unresolved  prometheus.Gauge
	followed    *prometheus.GaugeVec
	unwatched   prometheus.Counter
	pending     prometheus.Gauge
	sessions    prometheus.Counter
	journal     prometheus.Histogram

	notifications *prometheus.CounterVec
	disputes      *prometheus.CounterVec
}

// newLag shows what only the owners of partitions know.
func newLag(reg prometheus.Registerer, lag func() time.Duration) {
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "caudal_sinks_cards_notification_lag_seconds", Help: "How long the oldest notification of a processor has waited to be judged.",
	}, func() float64 { return lag().Seconds() })
}

func newMetrics(reg prometheus.Registerer) *metrics {
	auto := promauto.With(reg)
	m := &metrics{
		calls: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "caudal_sinks_cards_calls_total", Help: "Calls to acquirers and banks by what became of them.",
		}, []string{"connector", "operation", "outcome"}),
		callSeconds: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name: "caudal_sinks_cards_call_seconds", Help: "Time of a call to an acquirer, with its repeats.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 13),
		}, []string{"connector", "operation"}),
		inFlight: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "caudal_sinks_cards_in_flight_calls", Help: "Calls to an acquirer that are under way.",
		}, []string{"connector"}),
		breaker: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "caudal_sinks_cards_breaker_state", Help: "The circuit breaker of an acquirer: 0 closed, 1 half open, 2 open.",
		}, []string{"connector"}),
		answers: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "caudal_sinks_cards_answers_total", Help: "Answers to orders, repeats included.",
		}, []string{"result"}),
		polls: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "caudal_sinks_cards_polls_total", Help: "Orders asked for because nobody knew, by what the acquirer said.",
		}, []string{"outcome"}),
		failovers: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "caudal_sinks_cards_failovers_total", Help: "Authorisations that went on to another attempt after this acquirer surely had not charged.",
		}, []string{"connector"}),
		amounts: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "caudal_sinks_cards_other_amounts_total", Help: "Confirmations that told another amount than was ordered, and were not believed.",
		}, []string{"connector"}),
		unresolved: auto.NewGauge(prometheus.GaugeOpts{
			Name: "caudal_sinks_cards_unresolved_orders", Help: "Orders that may have been done and of which nobody knows.",
		}),
		followed: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "caudal_sinks_cards_followed_orders", Help: "Payouts that a bank has and has not finished (under_way), or that are over and may still come back (watched).",
		}, []string{"stage"}),
		unwatched: auto.NewCounter(prometheus.CounterOpts{
			Name: "caudal_sinks_cards_unwatched_orders_total", Help: "Payouts that nobody asks about any more, because too many are watched.",
		}),
		pending: auto.NewGauge(prometheus.GaugeOpts{
			Name: "caudal_sinks_cards_pending_orders", Help: "Orders read and not finished.",
		}),
		sessions: auto.NewCounter(prometheus.CounterOpts{
			Name: "caudal_sinks_cards_sessions_total", Help: "Sessions with the broker begun.",
		}),
		journal: auto.NewHistogram(prometheus.HistogramOpts{
			Name: "caudal_sinks_cards_journal_seconds", Help: "Time to make an intent, or an outcome and its answer, durable.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 13),
		}),
	}
	m.notifications = auto.NewCounterVec(prometheus.CounterOpts{
		Name: "caudal_sinks_cards_notifications_total", Help: "Notifications of processors by what they turned out to be when the processor was asked.",
	}, []string{"connector", "verdict"})
	m.disputes = auto.NewCounterVec(prometheus.CounterOpts{
		Name: "caudal_sinks_cards_disputes_total", Help: "Disputes that processors have notified, by the stage that was told and by what they turned out to be.",
	}, []string{"connector", "stage", "verdict"})
	for _, o := range []Outcome{OutcomeUnknown, OutcomeConfirmed, OutcomeRefused, OutcomeNotFound} {
		m.polls.WithLabelValues(o.String()) // there from the start
	}
	m.followed.WithLabelValues("under_way")
	m.followed.WithLabelValues("watched")
	return m
}

package producer

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	acked, busy, failed                  prometheus.Counter
	delivered, unclaimed, garbled, ahead prometheus.Counter
	ackSeconds, replySeconds             prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, b *buffer) metrics {
	auto := promauto.With(reg)
	commands := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "caudal_ingest_commands_total", Help: "Commands by what became of their submission.",
	}, []string{"outcome"})
	replies := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "caudal_ingest_replies_total", Help: "Replies read, by what became of them.",
	}, []string{"outcome"})
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "caudal_ingest_buffer_records", Help: "Commands that wait for the broker.",
	}, func() float64 { return float64(b.records.Load()) })
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "caudal_ingest_buffer_bytes", Help: "Bytes of commands that wait for the broker.",
	}, func() float64 { return float64(b.bytes.Load()) })
	buckets := prometheus.ExponentialBuckets(0.0005, 2, 16)
	return metrics{
		acked:     commands.WithLabelValues("acknowledged"),
		busy:      commands.WithLabelValues("busy"),
		failed:    commands.WithLabelValues("failed"),
		delivered: replies.WithLabelValues("delivered"),
		unclaimed: replies.WithLabelValues("unclaimed"),
		garbled:   replies.WithLabelValues("undecodable"),
		ahead: auto.NewCounter(prometheus.CounterOpts{
			Name: "caudal_ingest_replies_ahead_total", Help: "Replies whose decision is dated more than a minute ahead of this process's clock.",
		}),
		ackSeconds: auto.NewHistogram(prometheus.HistogramOpts{
			Name: "caudal_ingest_acknowledge_seconds", Help: "From submission to the broker's acknowledgement of all of it, one command or a batch.", Buckets: buckets,
		}),
		replySeconds: auto.NewHistogram(prometheus.HistogramOpts{
			Name: "caudal_ingest_reply_seconds", Help: "From submission to the decision, where a caller waited for it.", Buckets: buckets,
		}),
	}
}

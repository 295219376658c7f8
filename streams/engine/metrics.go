package engine

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	lag          *prometheus.GaugeVec
	lagTime      *prometheus.GaugeVec
	records      prometheus.Counter
	commits      prometheus.Counter
	commitTime   prometheus.Histogram
	flushTime    prometheus.Histogram
	commitSize   prometheus.Histogram
	commitBytes  prometheus.Histogram
	aborts       prometheus.Counter
	parkedKeys   prometheus.Gauge
	deadLetters  prometheus.Counter
	redriven     prometheus.Counter
	discarded    prometheus.Counter
	restored     prometheus.Counter
	restoreTime  prometheus.Gauge
	restoreLeft  prometheus.Gauge
	restoreTill  prometheus.Gauge
	standbys     prometheus.Gauge
	standbyRead  prometheus.Counter
	standbyLag   prometheus.Gauge
	standbyFails prometheus.Counter
	restarts     prometheus.Counter
	fences       prometheus.Counter
	rebalances   prometheus.Counter
	partitions   prometheus.Gauge
	stateBytes   *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer, group string) *metrics {
	if reg != nil {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"group": group}, reg)
	}
	f := promauto.With(reg)
	m := &metrics{
		lag: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "caudal_streams_lag_records", Help: "Input records behind the end of the partition, as of its last commit.",
		}, []string{"partition"}),
		lagTime: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "caudal_streams_lag_seconds", Help: "Age of the newest input record that is applied, as of its commit; 0 at the end of the partition.",
		}, []string{"partition"}),
		records: f.NewCounter(prometheus.CounterOpts{
			Name: "caudal_streams_records_total", Help: "Input records whose transaction committed.",
		}),
		commits: f.NewCounter(prometheus.CounterOpts{
			Name: "caudal_streams_commits_total", Help: "Committed transactions.",
		}),
		commitTime: f.NewHistogram(prometheus.HistogramOpts{
			Name: "caudal_streams_commit_seconds", Help: "From the last callback of a transaction to its confirmed commit.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}),
		flushTime: f.NewHistogram(prometheus.HistogramOpts{
			Name: "caudal_streams_flush_seconds", Help: "The part of a commit until the broker has everything that was produced.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}),
		commitSize: f.NewHistogram(prometheus.HistogramOpts{
			Name: "caudal_streams_commit_records", Help: "Input records of a committed transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 9),
		}),
		commitBytes: f.NewHistogram(prometheus.HistogramOpts{
			Name: "caudal_streams_commit_bytes", Help: "Keys and values that a committed transaction read and produced.",
			Buckets: prometheus.ExponentialBuckets(1<<10, 4, 9),
		}),
		aborts: f.NewCounter(prometheus.CounterOpts{
			Name: "caudal_streams_aborts_total", Help: "Transactions that did not commit.",
		}),
		parkedKeys: f.NewGauge(prometheus.GaugeOpts{
			Name: "caudal_streams_parked_keys", Help: "Keys whose records queue behind one that failed.",
		}),
		deadLetters: f.NewCounter(prometheus.CounterOpts{
			Name: "caudal_streams_dead_letters_total", Help: "Records sent to the dead letters that nobody asked to discard.",
		}),
		redriven: f.NewCounter(prometheus.CounterOpts{
			Name: "caudal_streams_redriven_records_total", Help: "Parked records that were handled after all, at an operator's word.",
		}),
		discarded: f.NewCounter(prometheus.CounterOpts{
			Name: "caudal_streams_discarded_records_total", Help: "Parked records sent to the dead letters at an operator's word.",
		}),
		fences: f.NewCounter(prometheus.CounterOpts{
			Name: "caudal_streams_fences_total", Help: "Fence transactions committed, one per restore.",
		}),
		restarts: f.NewCounter(prometheus.CounterOpts{
			Name: "caudal_streams_session_restarts_total", Help: "Sessions that failed and began anew beside the others of their process.",
		}),
		rebalances: f.NewCounter(prometheus.CounterOpts{
			Name: "caudal_streams_rebalances_total", Help: "Generations of the group that this member took part in.",
		}),
		partitions: f.NewGauge(prometheus.GaugeOpts{
			Name: "caudal_streams_partitions", Help: "Partitions whose records this process handles.",
		}),
		stateBytes: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "caudal_streams_state_bytes", Help: "Keys and values of the state of the partitions in work or on standby, by where they are kept.",
		}, []string{"store"}),
	}
	m.ofRestores(f)
	return m
}

func (m *metrics) ofRestores(f promauto.Factory) {
	m.standbys = f.NewGauge(prometheus.GaugeOpts{
		Name: "caudal_streams_standby_partitions", Help: "Partitions of other members whose state is kept up to date here.",
	})
	m.standbyRead = f.NewCounter(prometheus.CounterOpts{
		Name: "caudal_streams_standby_records_total", Help: "Changelog records read for partitions on standby.",
	})
	m.standbyFails = f.NewCounter(prometheus.CounterOpts{
		Name: "caudal_streams_standby_failures_total", Help: "Times that standby began anew, or gave a partition up.",
	})
	m.standbyLag = f.NewGauge(prometheus.GaugeOpts{
		Name: "caudal_streams_standby_lag_records", Help: "Changelog offsets that the partitions on standby are behind.",
	})
	m.restored = f.NewCounter(prometheus.CounterOpts{
		Name: "caudal_streams_restored_records_total", Help: "Changelog records read by restores.",
	})
	m.restoreTime = f.NewGauge(prometheus.GaugeOpts{
		Name: "caudal_streams_restore_seconds", Help: "Duration of the last restore.",
	})
	m.restoreLeft = f.NewGauge(prometheus.GaugeOpts{
		Name: "caudal_streams_restore_remaining_records", Help: "Changelog offsets that the running restore has not read.",
	})
	m.restoreTill = f.NewGauge(prometheus.GaugeOpts{
		Name: "caudal_streams_restore_remaining_seconds", Help: "The same in time, at the running restore's rate so far.",
	})
}

// share is one session's part of a gauge that tells the sum of all.
type share struct {
	of   prometheus.Gauge
	told float64
}

func (s *share) set(v float64) {
	s.of.Add(v - s.told)
	s.told = v
}

// shares are those of a session.
type shares struct{ partitions, parkedKeys, inMemory, onDisk share }

func (m *metrics) shares() shares {
	return shares{
		partitions: share{of: m.partitions}, parkedKeys: share{of: m.parkedKeys},
		inMemory: share{of: m.stateBytes.WithLabelValues("memory")}, onDisk: share{of: m.stateBytes.WithLabelValues("disk")},
	}
}

// add counts what a committed transaction did to single records.
func (m *metrics) add(t tally) {
	m.deadLetters.Add(float64(t.dead))
	m.redriven.Add(float64(t.redriven))
	m.discarded.Add(float64(t.discarded))
}

// forget drops what is told of a partition that is handled elsewhere.
func (m *metrics) forget(partition int32) {
	label := strconv.Itoa(int(partition))
	m.lag.DeleteLabelValues(label)
	m.lagTime.DeleteLabelValues(label)
}

// lagging tells how far a partition is behind.
func (m *metrics) lagging(p *partition) {
	behind, age := int64(0), time.Duration(0)
	for i, end := range p.ends {
		behind += max(0, end-max(0, p.applied[i]))
	}
	if behind > 0 {
		age = max(0, time.Since(p.newest))
	}
	label := strconv.Itoa(int(p.id))
	m.lag.WithLabelValues(label).Set(float64(behind))
	m.lagTime.WithLabelValues(label).Set(age.Seconds())
}

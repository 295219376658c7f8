package up

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// health exports what no single role can say: whether each is ready, how often each part had to be started again, how much
// disk is left, and how many partitions there are to work on.
type health struct {
	in                                *running
	ready, restarts, disk, partitions *prometheus.Desc
}

func newHealth(in *running) *health {
	return &health{
		in:         in,
		ready:      prometheus.NewDesc("caudal_up_ready", "1 where the check passes, as in /readyz.", []string{"check"}, nil),
		restarts:   prometheus.NewDesc("caudal_up_restarts_total", "Starts of a part after its first, since this process began.", []string{"part"}, nil),
		disk:       prometheus.NewDesc("caudal_up_disk_free_bytes", "Room on the disk of the data folder.", nil, nil),
		partitions: prometheus.NewDesc("caudal_up_partitions", "Partitions of the installation; the streams workers together must work on all.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (h *health) Describe(to chan<- *prometheus.Desc) {
	to <- h.ready
	to <- h.restarts
	to <- h.disk
	to <- h.partitions
}

// Collect implements prometheus.Collector. Checks that ask somebody take up to a second: they run side by side.
func (h *health) Collect(to chan<- prometheus.Metric) {
	var asking sync.WaitGroup
	for _, c := range h.in.checks {
		asking.Go(func() {
			ready := 1.0
			if c.Ready() != nil {
				ready = 0
			}
			to <- prometheus.MustNewConstMetric(h.ready, prometheus.GaugeValue, ready, c.Name)
		})
	}
	for part, restarts := range h.in.restarts() {
		to <- prometheus.MustNewConstMetric(h.restarts, prometheus.CounterValue, float64(restarts), part)
	}
	if free, err := child.FreeBytes(h.in.options.Data); err == nil {
		to <- prometheus.MustNewConstMetric(h.disk, prometheus.GaugeValue, float64(free))
	}
	to <- prometheus.MustNewConstMetric(h.partitions, prometheus.GaugeValue, float64(h.in.options.Partitions))
	asking.Wait()
}

func (in *running) restarts() map[string]int {
	n := map[string]int{}
	for i, p := range in.workers {
		n[workerName(i)] = p.Restarts()
	}
	if in.parts.broker != nil {
		n["broker"] = in.parts.broker.Restarts()
	}
	if in.parts.postgres != nil {
		n["postgres"] = in.parts.postgres.Restarts()
	}
	if in.parts.clickhouse != nil {
		n["clickhouse"] = in.parts.clickhouse.Restarts()
	}
	return n
}

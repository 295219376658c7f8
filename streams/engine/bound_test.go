package engine_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine"
)

// TestTransactionsAreBoundedInBytes: a backlog of large records is not taken in one transaction.
func TestTransactionsAreBoundedInBytes(t *testing.T) {
	const records, size, most = 100, 100 << 10, 1 << 20
	c := newCluster(t)
	for i := range records {
		c.Produce(&kgo.Record{Topic: input, Partition: -1, Key: fmt.Appendf(nil, "acc-%d", i), Value: bytes.Repeat([]byte("x"), size)})
	}
	registry := prometheus.NewRegistry()
	cfg := testConfig(c.Addrs)
	cfg.BytesMax, cfg.Registerer = most, registry
	r := start(t, cfg, func(*engine.Context, []byte) error { return nil })
	r.caughtUp(c)
	r.stop()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "caudal_streams_commit_bytes" {
			continue
		}
		seen := f.GetMetric()[0].GetHistogram()
		for _, b := range seen.GetBucket() {
			if b.GetUpperBound() >= 4*most && b.GetCumulativeCount() < seen.GetSampleCount() {
				t.Errorf("%d of %d transactions have more than %.0f bytes", seen.GetSampleCount()-b.GetCumulativeCount(), seen.GetSampleCount(), b.GetUpperBound())
			}
		}
		if seen.GetSampleSum() < records*size {
			t.Errorf("the transactions have %.0f bytes in all", seen.GetSampleSum())
		}
		return
	}
	t.Error("there is no metric of the bytes")
}

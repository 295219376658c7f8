package engine_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine"
)

// payload makes records 200 bytes long.
const payload = `abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij`

// BenchmarkEngine drains a backlog of 200-byte records over 10,000 keys: count in the cell, one output each. Broker and engine share
// the process.
func BenchmarkEngine(b *testing.B) {
	c := newCluster(b)
	client := c.Client(kgo.MaxBufferedRecords(100_000))
	for i := range b.N {
		value := fmt.Appendf(make([]byte, 0, 200), `{"id":"%016x","amount_minor":%d,"currency":"BRL","at":%d}`, i*2654435761, i%100_000, 1_700_000_000_000+i)
		value = append(value, payload[len(value):]...)
		client.Produce(b.Context(), &kgo.Record{Topic: input, Key: fmt.Appendf(nil, "acc-%d", i%10_000), Value: value, Partition: -1}, nil)
	}
	if err := client.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	client.Close()
	b.ReportAllocs()
	b.ResetTimer()
	began := time.Now()
	r := start(b, testConfig(c.Addrs), func(ctx *engine.Context, value []byte) error {
		n := uint64(0)
		if v := ctx.Value(); v != nil {
			n = binary.BigEndian.Uint64(v)
		}
		ctx.SetValue(binary.BigEndian.AppendUint64(nil, n+1))
		ctx.Emit(output, ctx.Key(), value)
		return nil
	})
	r.caughtUp(c)
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "records/s")
	b.StopTimer()
	r.stop()
	if n := len(c.ReadCommitted(output)); n != b.N {
		b.Fatalf("%d outputs of %d inputs", n, b.N)
	}
}

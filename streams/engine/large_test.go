package engine_test

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

var stateRecords = flag.Int("state-records", 10_000_000, "side records of BenchmarkRestart and BenchmarkTakeover")

// large is a group with a large state, as if an engine had written it: ten side records of some 100 bytes to a key.
func large(tb testing.TB, records int) *streamtest.Cluster {
	tb.Helper()
	c := newCluster(tb)
	client := c.Client(kgo.MaxBufferedRecords(100_000))
	defer client.Close()
	var failed error
	send := func(topic string, p int32, key, value []byte) {
		client.Produce(tb.Context(), &kgo.Record{Topic: topic, Partition: p, Key: key, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	for i := range records {
		account := fmt.Sprintf("acc-%d", i/10)
		p := topics.Partition([]byte(account), partitions)
		key := engine.SideKey{Scope: engine.ScopeKey, Key: account, Kind: "payment", ID: fmt.Sprintf("%016x", uint64(i)*0x9e3779b97f4a7c15)}
		send(side, p, key.Encode(), fmt.Appendf(nil, "%060d", i))
		if i%10 == 0 {
			send(table, p, []byte(account), fmt.Appendf(nil, "%0100d", i))
		}
	}
	// One input record is done in each partition.
	offsets := kadm.Offsets{}
	applied := engine.SideKey{Scope: engine.ScopePartition, Kind: engine.AppliedKind, ID: input}
	for p := range int32(partitions) {
		send(input, p, []byte("tick"), nil)
		send(side, p, applied.Encode(), binary.BigEndian.AppendUint64(nil, 1))
		offsets.AddOffset(input, p, 1, -1)
	}
	if err := client.Flush(tb.Context()); err != nil || failed != nil {
		tb.Fatal(err, failed)
	}
	if err := kadm.NewClient(client).CommitAllOffsets(tb.Context(), group, offsets); err != nil {
		tb.Fatal(err)
	}
	return c
}

// startOn starts an engine, and returns it once it is ready, how long that took and what it read.
func startOn(tb testing.TB, cfg engine.Config, cb engine.Callback) (*running, time.Duration, int) {
	tb.Helper()
	reg := prometheus.NewRegistry()
	cfg.Registerer = reg
	began := time.Now()
	e, err := engine.New(cfg, cb)
	if err != nil {
		tb.Fatal(err)
	}
	r := startEngine(tb, e)
	for e.Ready() != nil {
		select {
		case err := <-r.ended:
			tb.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	took := time.Since(began)
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "caudal_streams_restored_records_total" {
			return r, took, int(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	tb.Fatal("no metric")
	return nil, 0, 0
}

// TestLargeStateRestartsFromDisk: a start reads the tail of the changelogs and not all of them, and what is on disk is the
// state, in order and with what the transaction wrote.
func TestLargeStateRestartsFromDisk(t *testing.T) {
	const records = 200_000
	onDisk(t)
	c := large(t, records)
	cfg := testConfig(c.Addrs)
	r, full, read := startOn(t, cfg, count)
	r.stop()
	if read < records {
		t.Fatalf("the first start read %d records", read)
	}
	var seen atomic.Int64 // partitions work side by side
	r, tail, read := startOn(t, cfg, func(ctx *engine.Context, _ []byte) error {
		ctx.Side(engine.ScopeKey).Put("payment", "0", []byte("new"))
		all := ctx.Side(engine.ScopeKey).Scan("payment", "", "", 0)
		for i := 1; i < len(all); i++ {
			if all[i-1].ID >= all[i].ID {
				return fmt.Errorf("%q before %q", all[i-1].ID, all[i].ID)
			}
		}
		if len(all) != 11 || all[0].ID != "0" || len(ctx.Value()) != 100 {
			return fmt.Errorf("%d records, cell %q", len(all), ctx.Value())
		}
		seen.Add(1)
		return nil
	})
	for i := range 500 {
		c.Produce(record(fmt.Sprintf("acc-%d", i*40), ""))
	}
	r.caughtUp(c)
	r.stop()
	if read > 100 {
		t.Errorf("the second start read %d records", read)
	}
	if seen.Load() != 500 {
		t.Errorf("%d of 500 keys had their state", seen.Load())
	}
	t.Logf("%d side records: in full %v, from disk %v", records, full, tail)
}

// BenchmarkRestart prints how long starts take, in full and from disk, and what memory they need. Run it with -benchtime 1x.
func BenchmarkRestart(b *testing.B) {
	c := large(b, *stateRecords)
	for _, where := range []string{"memory", "disk"} {
		dir := b.TempDir()
		for _, how := range []string{"full", "again"} {
			b.Run(where+"/"+how, func(b *testing.B) {
				for range b.N {
					cfg := testConfig(c.Addrs)
					cfg.CacheBytes, cfg.Dir = 0, dir
					if where == "memory" {
						cfg.Dir = ""
					}
					cfg.Logger = slog.New(slog.DiscardHandler)
					before := held()
					r, took, read := startOn(b, cfg, count)
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(took.Seconds(), "s")
					b.ReportMetric(float64(read), "records-read")
					b.ReportMetric(float64(*stateRecords)/took.Seconds(), "state-records/s")
					b.ReportMetric(float64(held()-before)/(1<<20), "MiB-held")
					r.stop()
				}
			})
		}
	}
	rawConsume(b, c)
}

// BenchmarkTakeover lets one of two members leave, and times until the other works on its partitions too, with large state
// that is on standby there or not.
func BenchmarkTakeover(b *testing.B) {
	c := large(b, *stateRecords)
	for _, where := range []string{"memory", "disk"} {
		for _, standby := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s, standby %v", where, standby), func(b *testing.B) {
				var took time.Duration
				for range b.N {
					var both []*running
					reg := prometheus.NewRegistry()
					for i := range 2 {
						both = append(both, startMember(b, c, i, func(cfg *engine.Config) {
							cfg.Dir, cfg.Standby, cfg.Registerer, cfg.CacheBytes = "", standby && i == 1, nil, 0
							if where == "disk" {
								cfg.Dir = b.TempDir()
							}
							if i == 1 {
								cfg.Registerer = reg
							}
						}))
						both[i].patience = 5 * time.Minute
						both[i].ready()
					}
					both[1].eventually("half of the partitions", func() bool { return both[1].engine.Partitions() == partitions/2 })
					if standby {
						onStandby(b, both[1], reg, partitions/2)
					}
					began := time.Now()
					both[0].stop()
					both[1].eventually("all partitions", func() bool { return both[1].engine.Partitions() == partitions })
					took += time.Since(began)
					both[1].stop()
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(took.Seconds()/float64(b.N), "s")
			})
		}
	}
}

// rawConsume is what reading the changelog costs alone.
func rawConsume(b *testing.B, c *streamtest.Cluster) {
	b.Run("raw consume", func(b *testing.B) {
		for range b.N {
			client := c.Client(kgo.ConsumeTopics(side, table), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
			began, n := time.Now(), 0
			for n < *stateRecords {
				ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
				fetches := client.PollFetches(ctx)
				cancel()
				if err := fetches.Err(); err != nil {
					b.Fatal(err)
				}
				n += fetches.NumRecords()
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(n)/time.Since(began).Seconds(), "records/s")
			client.Close()
		}
	})
}

// held is the live heap.
func held() int64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// BenchmarkState drains a backlog whose callback looks for a side record that is not there, writes one of 100 bytes, and
// replaces its cell of 100 bytes, over 100,000 keys: what state costs, in memory and on disk, broker and all.
func BenchmarkState(b *testing.B) {
	for _, where := range []string{"memory", "disk"} {
		b.Run(where, func(b *testing.B) {
			c := newCluster(b)
			cfg := testConfig(c.Addrs)
			cfg.CacheBytes, cfg.Dir = 0, ""
			if where == "disk" {
				cfg.Dir = b.TempDir()
			}
			client := c.Client(kgo.MaxBufferedRecords(100_000))
			for i := range b.N {
				client.Produce(b.Context(), &kgo.Record{Topic: input, Key: fmt.Appendf(nil, "acc-%d", i*7919%100_000), Value: fmt.Appendf(nil, "%016x", i), Partition: -1}, nil)
			}
			if err := client.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			client.Close()
			value := []byte(payload[:100])
			b.ReportAllocs()
			b.ResetTimer()
			began, used := time.Now(), cpu(b)
			r := start(b, cfg, func(ctx *engine.Context, id []byte) error {
				side := ctx.Side(engine.ScopeKey)
				if side.Get("payment", string(id)) != nil {
					return fmt.Errorf("%s is there already", id)
				}
				side.Put("payment", string(id), value)
				ctx.SetValue(value)
				return nil
			})
			r.caughtUp(c)
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "records/s")
			b.ReportMetric(float64((cpu(b)-used).Nanoseconds())/1e3/float64(b.N), "cpu-us/record")
			b.StopTimer()
			r.stop()
		})
	}
}

// cpu is what this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

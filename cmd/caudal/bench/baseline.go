package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
)

// Topics of the baselines, beside those of the system.
const (
	passIn  = "bench.pass.in"
	passOut = "bench.pass.out"
	rawOut  = "bench.raw"
)

// A baseline record is 200 bytes of JSON with ids, amounts and text that differ from record to record: what streams
// benchmarks usually take. One constant value would compress to almost nothing, and measure the compressor.
const (
	recordBytes  = 200
	recordValues = 65_536 // made beforehand and taken in turn
	recordKeys   = 10_000
)

// samples are the values and keys of baseline records, the same in every run.
type samples struct{ values, keys [][]byte }

func newSamples() samples {
	rng := rand.New(rand.NewPCG(42, 0)) //nolint:gosec // data, no secrets
	s := samples{values: make([][]byte, recordValues), keys: make([][]byte, recordKeys)}
	for i := range s.values {
		v := fmt.Appendf(nil, `{"id":"%016x%016x","amount":%d,"currency":"BRL","account":"%016x","ip":"%d.%d.%d.%d","at":%d,"reference":"`,
			rng.Uint64(), rng.Uint64(), rng.IntN(1e6), rng.Uint64(), rng.IntN(255), rng.IntN(255), rng.IntN(255), rng.IntN(255), 1_700_000_000_000_000+int64(i)*977)
		for len(v) < recordBytes-2 {
			v = append(v, byte('a'+rng.IntN(26))) //nolint:gosec // a letter
		}
		s.values[i] = append(v[:recordBytes-2], '"', '}')
	}
	for i := range s.keys {
		s.keys[i] = fmt.Appendf(nil, "key-%d", i)
	}
	return s
}

// passThroughRecords are enough for a baseline of some seconds; they are read again and again.
const passThroughRecords = 2_000_000

func (s samples) prepareBaseline(ctx context.Context, brokers []string, partitions int32, records int64) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	retention := "67108864" // baselines are not kept
	for _, topic := range []string{passIn, passOut, rawOut} {
		configs := map[string]*string{"retention.bytes": &retention}
		if topic == passIn {
			configs = nil
		}
		resp, err := admin.CreateTopic(ctx, partitions, 1, configs, topic)
		if err == nil {
			err = resp.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("making topic %s: %w", topic, err)
		}
	}
	time.Sleep(300 * time.Millisecond) // leaders
	_, err = s.produceFor(ctx, brokers, passIn, 30*time.Second, records)
	return err
}

// produceFor sends recordBytes records, acks=all, idempotent, for a time or up to a count; it returns records a second.
func (s samples) produceFor(ctx context.Context, brokers []string, topic string, limit time.Duration, most int64) (float64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.MaxBufferedRecords(100_000), kgo.ProducerLinger(time.Millisecond))
	if err != nil {
		return 0, fmt.Errorf("connecting: %w", err)
	}
	defer client.Close()
	var acked atomic.Int64
	var failed atomic.Pointer[error]
	began := time.Now()
	for n := int64(0); n < most && time.Since(began) < limit; n++ {
		client.Produce(ctx, &kgo.Record{Key: s.keys[n%recordKeys], Value: s.values[n%recordValues]}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
				return
			}
			acked.Add(1)
		})
	}
	if err := client.Flush(ctx); err != nil {
		return 0, fmt.Errorf("flushing: %w", err)
	}
	if err := failed.Load(); err != nil {
		return 0, fmt.Errorf("producing: %w", *err)
	}
	return float64(acked.Load()) / time.Since(began).Seconds(), nil
}

// passThrough is franz-go's best stateless form: consume, produce, at least once, flush and commit every 100 ms.
// Its input is read again from the start where it ends.
func passThrough(ctx context.Context, brokers []string, partitions int32, records int64, limit time.Duration) (float64, error) {
	from, begin := map[int32]kgo.Offset{}, map[int32]kgo.EpochOffset{}
	for p := range partitions {
		from[p], begin[p] = kgo.NewOffset().AtStart(), kgo.EpochOffset{Epoch: -1}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{passIn: from}),
		kgo.MaxBufferedRecords(200_000), kgo.FetchMaxBytes(16<<20))
	if err != nil {
		return 0, fmt.Errorf("connecting: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	var n, seen int64
	began, flushed := time.Now(), time.Now()
	for time.Since(began) < limit {
		fetches := client.PollRecords(ctx, 10_000)
		if err := fetches.Err(); err != nil {
			return 0, fmt.Errorf("consuming: %w", err)
		}
		offsets := kadm.Offsets{}
		fetches.EachRecord(func(r *kgo.Record) {
			client.Produce(ctx, &kgo.Record{Topic: passOut, Partition: r.Partition, Key: r.Key, Value: r.Value}, nil)
			offsets.AddOffset(passIn, r.Partition, r.Offset+1, -1)
			n++
		})
		if seen += int64(fetches.NumRecords()); seen >= records {
			client.SetOffsets(map[string]map[int32]kgo.EpochOffset{passIn: begin})
			seen = 0
		}
		if time.Since(flushed) > 100*time.Millisecond {
			if err := client.Flush(ctx); err != nil {
				return 0, fmt.Errorf("flushing: %w", err)
			}
			if _, err := admin.CommitOffsets(ctx, "bench-pass", offsets); err != nil {
				return 0, fmt.Errorf("committing: %w", err)
			}
			flushed = time.Now()
		}
	}
	if err := client.Flush(ctx); err != nil {
		return 0, fmt.Errorf("flushing: %w", err)
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// Echo answers every request with its own body: fasthttp with nothing behind it. It serves until its parent ends.
func Echo() error {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with the process
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	fmt.Println(l.Addr())
	return fasthttp.Serve(l, func(c *fasthttp.RequestCtx) { c.SetBody(c.PostBody()) })
}

// startEcho runs Echo in a process of its own, as the system has one.
func startEcho(ctx context.Context) (url string, stop func(), err error) {
	binary, err := os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("finding the binary: %w", err)
	}
	cmd := exec.CommandContext(ctx, binary, "bench", "--echo") //nolint:gosec // this program itself
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, fmt.Errorf("starting the echo: %w", err)
	}
	if err := child.Start(cmd, syscall.SIGKILL); err != nil {
		return "", nil, fmt.Errorf("starting the echo: %w", err)
	}
	buf := make([]byte, 64)
	n, err := out.Read(buf)
	if err != nil {
		return "", nil, fmt.Errorf("starting the echo: %w", err)
	}
	return "http://" + strings.TrimSpace(string(buf[:n])), func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}, nil
}

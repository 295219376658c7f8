package engine_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

const (
	sweepRounds  = 100
	sweepRecords = 2_000 // of a round under load: the engine's RecordsMax
	sweepKeys    = 4_096
	sweepTime    = 3 * time.Second // of load
)

// BenchmarkPartitions is the sweep of docs/adr/0002: what a commit costs that touches every partition of five topics
// (input, output, table, side, replies), and how much gets through. Every callback writes a cell and a side record and
// emits an output, a reply and, once, one more input. First rounds of one record on each partition, one after the other,
// then large ones, two at a time. Each count has two turns, in the order A B B A. Run it with -benchtime 1x.
func BenchmarkPartitions(b *testing.B) {
	c := streamtest.Start(b)
	c.Topics(1, rates)
	for turn, n := range []int32{16, 8, 16, 32, 64, 64, 32, 16, 8} {
		name := fmt.Sprint(n)
		if turn == 0 {
			name = "warm-up" // a broker is slow at first
		}
		b.Run(name, func(b *testing.B) {
			s := newSweep(b, c, fmt.Sprintf("g%d", turn), n)
			defer s.end()
			s.run(load{rounds: sweepRounds / 4, records: int(n), ahead: 1})
			s.takeCommits()
			b.ResetTimer()
			s.run(load{rounds: sweepRounds, records: int(n), ahead: 1})
			full := s.takeCommits()
			s.run(load{rounds: 10, records: sweepRecords, ahead: 2})
			s.takeCommits()
			began, done := time.Now(), 0
			for time.Since(began) < sweepTime {
				done += s.run(load{rounds: 10, records: sweepRecords, ahead: 2})
			}
			b.ReportMetric(0, "ns/op") // it tells nothing
			b.ReportMetric(float64(len(full)), "full-commits")
			b.ReportMetric(milliseconds(full, 0.5), "ms-p50")
			b.ReportMetric(milliseconds(full, 0.99), "ms-p99")
			b.ReportMetric(float64(done)/time.Since(began).Seconds(), "records/s")
			loaded := s.takeCommits()
			b.ReportMetric(milliseconds(loaded, 0.5), "loaded-ms-p50")
			b.ReportMetric(milliseconds(loaded, 0.99), "loaded-ms-p99")
		})
	}
}

// sweep is an engine on topics of its own.
type sweep struct {
	b          *testing.B
	cluster    *streamtest.Cluster
	partitions int
	client     *kgo.Client
	running    *running
	input      string
	topics     []string
	keys       [][]string // of each partition

	mu      sync.Mutex
	touched map[int32]bool // partitions with a record of a round in the open transaction
	handled int            // records of the open transaction
	full    []time.Duration
	done    chan int // records of each commit
}

func newSweep(b *testing.B, c *streamtest.Cluster, name string, n int32) *sweep {
	b.Helper()
	s := &sweep{b: b, cluster: c, partitions: int(n), input: name + "-in", keys: make([][]string, n), touched: map[int32]bool{}, done: make(chan int, 10_000)}
	replies := name + "-replies"
	cfg := testConfig(c.Addrs)
	cfg.Group, cfg.Input, cfg.Table, cfg.Side, cfg.DeadLetters = name, s.input, name+"-table", name+"-side", name+"-dead"
	cfg.Outputs = []string{name + "-out", replies, s.input}
	cfg.Partitions, cfg.TransactionalID, cfg.InstanceID, cfg.Dir = n, name, name, ""
	s.topics = []string{s.input, cfg.Table, cfg.Side, cfg.DeadLetters, cfg.Outputs[0], replies}
	c.Topics(n, s.topics...)
	for i := range sweepKeys {
		key := fmt.Sprintf("acc-%d", i)
		p := topics.Partition([]byte(key), n)
		s.keys[p] = append(s.keys[p], key)
	}
	e, err := engine.New(cfg, func(ctx *engine.Context, value []byte) error {
		first := value[0] == 'r'
		s.mu.Lock()
		s.handled++
		s.touched[ctx.Partition()] = s.touched[ctx.Partition()] || first
		s.mu.Unlock()
		ctx.SetValue(value)
		ctx.Side(engine.ScopeKey).Put("last", "", value)
		ctx.Emit(cfg.Outputs[0], ctx.Key(), value)
		ctx.EmitTo(replies, ctx.Partition(), ctx.Key(), value[:8])
		if first {
			ctx.Emit(s.input, ctx.Key(), []byte("leg of a transfer"))
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	e.OnCommit(s.committed)
	s.client = c.Client(kgo.ProducerLinger(time.Millisecond), kgo.MaxBufferedRecords(10*sweepRecords))
	s.running = startEngine(b, e)
	s.running.ready()
	return s
}

// committed is told of every commit by the engine's loop, between two transactions.
func (s *sweep) committed(took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := 0
	for _, first := range s.touched {
		if first {
			all++
		}
	}
	if all == s.partitions {
		s.full = append(s.full, took)
	}
	clear(s.touched)
	s.done <- s.handled
	s.handled = 0
}

// takeCommits are the durations of the commits since the last call that touched every partition of every topic.
func (s *sweep) takeCommits() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	full := s.full
	s.full = nil
	return full
}

// load is a number of rounds, of how many records each, and how many of them are under way at a time.
type load struct{ rounds, records, ahead int }

// run sends rounds of records, spread evenly over the partitions, waits until all of it is committed, and returns how many
// records that were, the added inputs among them.
func (s *sweep) run(l load) (handled int) {
	value := []byte("r" + payload[1:])
	open := 0
	await := func(most int) {
		for open > most {
			select {
			case n := <-s.done:
				open -= n
				handled += n
			case err := <-s.running.ended:
				s.b.Fatalf("engine ended: %v", err)
			case <-time.After(30 * time.Second):
				s.b.Fatalf("%d records are not done", open)
			}
		}
	}
	for range l.rounds {
		await(2 * l.records * (l.ahead - 1))
		for i := range l.records {
			p := i % s.partitions
			key := s.keys[p][i/s.partitions%len(s.keys[p])]
			s.client.Produce(s.b.Context(), &kgo.Record{Topic: s.input, Partition: int32(p), Key: []byte(key), Value: value}, nil)
		}
		open += 2 * l.records // each brings one more
	}
	await(0)
	return handled
}

// end leaves the broker as it was: thousands of partitions would slow the next turn.
func (s *sweep) end() {
	s.running.stop()
	s.client.Close()
	deleted, err := kadm.NewClient(s.cluster.Client()).DeleteTopics(s.b.Context(), s.topics...)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		s.b.Fatalf("deleting topics: %v", err)
	}
}

func milliseconds(all []time.Duration, quantile float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(quantile*float64(len(all))))].Seconds() * 1e3
}

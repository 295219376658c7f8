package bench

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/streams/engine/enginebench"
)

// Latency is how long one stage takes at half load under a commit ceiling, from when a record was meant to be sent until a
// reader of committed records has its output.
type Latency struct {
	CeilingMS float64 `json:"commit_ceiling_ms"`
	PerSecond float64 `json:"records_per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	P999      float64 `json:"p999_ms"`
	Max       float64 `json:"max_ms"`
	Own       float64 `json:"cpu_us_per_record"`
	Broker    float64 `json:"broker_cpu_us_per_record"`
}

// stage is the engine on an input that is being written.
type stage struct {
	*contest
	entrant entrant
	work    enginebench.Work
	input   *backlog
	rival   *rival
	acked   atomic.Int64
	failed  promise
}

// promise keeps the first error of many.
type promise struct{ err atomic.Pointer[error] }

func (p *promise) note(err error) {
	if err != nil {
		p.err.CompareAndSwap(nil, &err)
	}
}

func (p *promise) first() error {
	if err := p.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (c *contest) newStage(ctx context.Context, what string, ceiling time.Duration) (*stage, error) {
	s := &stage{contest: c, entrant: native(enginebench.Engine, what)}
	c.serial++
	var err error
	if s.input, err = c.newBacklog(ctx, fmt.Sprintf("half-%d", c.serial), fewKeys, enginePartitions); err != nil {
		return nil, err
	}
	if s.work, err = c.work(ctx, s.entrant, s.input); err != nil {
		return nil, err
	}
	s.work.CommitInterval = ceiling
	return s, s.start(ctx)
}

// start starts the engine, or starts it again under the same ids.
func (s *stage) start(ctx context.Context) (err error) {
	if s.rival, err = s.startRival(ctx, s.entrant); err != nil {
		return err
	}
	return s.rival.order(s.entrant.order(s.work))
}

// end stops the engine after it has worked everything off, and audits what it left.
func (s *stage) end(ctx context.Context) error {
	defer s.rival.close()
	for until := time.Now().Add(drainLimit); ; time.Sleep(sampleEvery) {
		done, err := s.committed(ctx, s.work)
		if err == nil && sum(done) == s.input.total {
			break
		}
		if time.Now().After(until) || ctx.Err() != nil {
			return fmt.Errorf("%d of %d records are committed: %w", sum(done), s.input.total, errors.Join(err, ctx.Err()))
		}
	}
	if _, err := s.rival.ask(ctx, "stop", "stopped", stopLimit); err != nil {
		return err
	}
	if _, err := s.audit(ctx, s.entrant, s.work, s.input); err != nil {
		return fmt.Errorf("auditing: %w", err)
	}
	return errors.Join(s.forget(ctx, s.entrant, s.work), s.drop(ctx, s.input))
}

// The time a record was meant to be sent stands in its id, as 16 hexadecimal digits.
const stampAt = len(`{"id":"`)

func stamp(value []byte, meant time.Time) []byte {
	var nanos [8]byte
	for i := range nanos {
		nanos[i] = byte(meant.UnixNano() >> (56 - 8*i)) //nolint:gosec // the byte is meant
	}
	out := bytes.Clone(value)
	hex.Encode(out[stampAt:], nanos[:])
	return out
}

func stamped(value []byte) (time.Time, error) {
	nanos, err := strconv.ParseInt(string(value[stampAt:stampAt+16]), 16, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the time of a record: %w", err)
	}
	return time.Unix(0, nanos), nil
}

// burstMost is how many records are sent between two looks at whether to hold.
const burstMost = 10_000

// feed writes records at a constant rate until ctx ends: an open loop, each record with the time it was meant to be sent.
// It calls hold before each millisecond's worth, which may wait.
func (s *stage) feed(ctx context.Context, perSecond float64, hold func()) error {
	client, err := s.producer()
	if err != nil {
		return err
	}
	defer client.Close()
	choose, last := uniform(fewKeys), context.WithoutCancel(ctx)
	began, sent := time.Now(), int64(0)
	for ctx.Err() == nil {
		hold()
		due := min(sent+burstMost, int64(perSecond*time.Since(began).Seconds()))
		for ; sent < due && ctx.Err() == nil; sent++ {
			meant := began.Add(time.Duration(float64(sent) / perSecond * float64(time.Second)))
			r := s.input.add(choose(sent))
			r.Value = stamp(s.samples.values[sent%recordValues], meant)
			client.Produce(last, r, func(_ *kgo.Record, err error) {
				s.failed.note(err)
				s.acked.Add(1)
			})
		}
		time.Sleep(time.Millisecond)
	}
	if err := client.Flush(last); err != nil {
		return fmt.Errorf("writing input: %w", err)
	}
	return s.failed.first()
}

// lead is how many records of input are not committed.
func (s *stage) lead(ctx context.Context) (int64, error) {
	done, err := s.committed(ctx, s.work)
	return s.acked.Load() - sum(done), err
}

// halfLoad is P14 and the latency by commit ceiling. Half load is half of what the engine works off while its input is being
// written: the producer shares the machine.
func (c *contest) halfLoad(ctx context.Context) error {
	if c.half = c.options.Rate; c.half == 0 {
		if err := c.sustain(ctx); err != nil {
			return fmt.Errorf("looking for the load the engine can sustain: %w", err)
		}
	}
	if chosen(c.options.Only, idLatency) {
		for _, ceiling := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond} {
			if err := c.latency(ctx, ceiling); err != nil {
				return fmt.Errorf("measuring latency at a commit ceiling of %v: %w", ceiling, err)
			}
		}
	}
	if chosen(c.options.Only, "P14") {
		return c.kills(ctx)
	}
	return nil
}

// leadMost keeps the producer of the sustained load from running away.
const leadMost = 100_000

func (c *contest) sustain(ctx context.Context) error {
	s, err := c.newStage(ctx, "this engine, its input being written", commitInterval)
	if err != nil {
		return err
	}
	feeding, stop := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error {
		return s.feed(feeding, 1.5*c.rate, func() {
			for ahead := leadMost; ahead >= leadMost && feeding.Err() == nil; time.Sleep(time.Millisecond) {
				n, err := s.lead(feeding)
				if ahead = int(n); err != nil && feeding.Err() == nil {
					ahead = leadMost // the group is not there yet
				}
				if s.acked.Load() < leadMost {
					return
				}
			}
		})
	})
	samples, err := c.watch(ctx, s.rival, s.work, math.MaxInt64, span{warm: time.Second, length: max(3*time.Second, c.length()/2)})
	stop()
	var t Turn
	if err = errors.Join(err, g.Wait()); err == nil {
		err = t.take(samples)
	}
	if err != nil {
		s.rival.close()
		return err
	}
	c.half, c.report.Sustained = t.Rate/2, t.Rate
	c.say("the engine sustains %.0f records/s while they are being written", t.Rate)
	return s.end(ctx)
}

func (c *contest) latency(ctx context.Context, ceiling time.Duration) error {
	s, err := c.newStage(ctx, fmt.Sprintf("commit ceiling %v", ceiling), ceiling)
	if err != nil {
		return err
	}
	if _, err := s.rival.await(ctx, "ready", readyLimit); err != nil {
		return err
	}
	o := newObserver()
	feeding, stopFeeding := context.WithCancel(ctx)
	reading, stopReading := context.WithCancel(ctx)
	var feeder, reader errgroup.Group
	feeder.Go(func() error { return s.feed(feeding, c.half, func() {}) })
	reader.Go(func() error { return s.observe(reading, o) })
	before, after, err := s.window(ctx, o, max(3*time.Second, c.length()/2))
	stopFeeding()
	err = errors.Join(err, feeder.Wait())
	if err == nil {
		err = o.awaitAll(ctx, s.input.total) // those that are late count as well, and most
	}
	stopReading()
	if err := errors.Join(err, reader.Wait()); err != nil {
		s.rival.close()
		return err
	}
	h := o.late
	var t Turn
	if err := t.take([]sample{before, after}); err != nil {
		s.rival.close()
		return err
	}
	ms := func(quantile float64) float64 { return float64(h.ValueAtQuantile(quantile)) / 1e3 }
	l := Latency{
		CeilingMS: ceiling.Seconds() * 1e3, PerSecond: t.Rate, P50: ms(50), P99: ms(99), P999: ms(99.9), Max: float64(h.Max()) / 1e3,
		Own: t.Own, Broker: t.Broker,
	}
	c.report.Latencies = append(c.report.Latencies, l)
	c.say("   ceiling %v at %.0f/s: p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms", ceiling, l.PerSecond, l.P50, l.P99, l.P999)
	return s.end(ctx)
}

// window waits until output flows and the stage is warm, opens the observer's window for a while, and samples at both ends.
func (s *stage) window(ctx context.Context, o *observer, length time.Duration) (before, after sample, err error) {
	if err := o.awaitAll(ctx, 1); err != nil {
		return before, after, err
	}
	time.Sleep(time.Second)
	if before, err = s.sampleAt(time.Now(), s.acked.Load(), s.rival.cmd.Process.Pid); err != nil {
		return before, after, err
	}
	o.from.Store(before.at.UnixNano())
	time.Sleep(length)
	after, err = s.sampleAt(time.Now(), s.acked.Load(), s.rival.cmd.Process.Pid)
	o.until.Store(after.at.UnixNano())
	return before, after, err
}

// observer notes how late each record comes that was meant to be sent within its window.
type observer struct {
	from, until atomic.Int64 // nanoseconds since 1970
	seen        atomic.Int64 // records in all
	late        *hdrhistogram.Histogram
}

func newObserver() *observer {
	o := &observer{late: hdrhistogram.New(1, int64(10*time.Minute/time.Microsecond), 3)}
	o.from.Store(math.MaxInt64)
	o.until.Store(math.MaxInt64)
	return o
}

// awaitAll waits until n records have been seen.
func (o *observer) awaitAll(ctx context.Context, n int64) error {
	for limit := time.Now().Add(drainLimit); o.seen.Load() < n; time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%d of %d records have come out within %v", o.seen.Load(), n, drainLimit)
		}
	}
	return nil
}

func (o *observer) note(value []byte, now time.Time) error {
	meant, err := stamped(value)
	if err != nil {
		return err
	}
	o.seen.Add(1)
	if at := meant.UnixNano(); at < o.from.Load() || at >= o.until.Load() {
		return nil
	}
	return o.late.RecordValue(max(1, now.Sub(meant).Microseconds()))
}

// observe reads the output as it is committed.
func (s *stage) observe(ctx context.Context, o *observer) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(s.work.Output()), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.MetadataMinAge(metadataMinAge))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer client.Close()
	for {
		fetches := client.PollRecords(ctx, 10_000)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading the output: %w", err)
		}
		now := time.Now()
		var failed error
		fetches.EachRecord(func(r *kgo.Record) { failed = errors.Join(failed, o.note(r.Value, now)) })
		if failed != nil {
			return failed
		}
	}
}

const (
	killsMost   = 3
	normalFor   = 2 * time.Second // the lag before a kill is normal
	normalAgain = 10              // samples in a row
)

// kills is P14: kill -9, start again at once under the same ids as a supervisor would, until the lag is what it was.
func (c *contest) kills(ctx context.Context) error {
	s, err := c.newStage(ctx, "this engine, killed", commitInterval)
	if err != nil {
		return err
	}
	if _, err := s.rival.await(ctx, "ready", readyLimit); err != nil {
		return err
	}
	feeding, stop := context.WithCancel(ctx)
	var feeder sync.WaitGroup
	feeder.Go(func() { s.failed.note(s.feed(feeding, c.half, func() {})) })
	var took []float64
	for range min(killsMost, max(1, c.options.Pairs)) {
		var seconds float64
		if seconds, err = s.killOnce(ctx); err != nil {
			break
		}
		took = append(took, seconds)
	}
	stop()
	feeder.Wait()
	if err := errors.Join(err, s.failed.first()); err != nil {
		s.rival.close()
		return fmt.Errorf("measuring a kill: %w", err)
	}
	f := engineTargets()["P14"].figure("P14", nil, took)
	c.report.add(f)
	c.report.note("P14: at %.0f records/s; started again at once under the same ids", c.half)
	return s.end(ctx)
}

// killOnce lets the stage settle, kills its process, starts another, and times it.
func (s *stage) killOnce(ctx context.Context) (float64, error) {
	time.Sleep(time.Second)
	var normal int64
	for until := time.Now().Add(normalFor); time.Now().Before(until); time.Sleep(sampleEvery) {
		n, err := s.lead(ctx)
		if err != nil {
			return 0, err
		}
		normal = max(normal, n)
	}
	killed := time.Now()
	s.rival.kill()
	if err := s.start(ctx); err != nil {
		return 0, err
	}
	worst, calm, since, works := int64(0), 0, time.Time{}, false
	for time.Since(killed) < drainLimit {
		select {
		case said, ok := <-s.rival.words:
			if !ok || said.what == "failed" {
				return 0, fmt.Errorf("it ended after its start: %s\n%s", said.notes.Get("error"), tail(s.rival.log))
			}
			works = works || said.what == "ready"
		default:
		}
		n, err := s.lead(ctx)
		if err != nil || n > normal || !works {
			calm = 0
		} else if calm++; calm == 1 {
			since = time.Now()
		}
		worst = max(worst, n)
		if calm == normalAgain {
			took := since.Sub(killed).Seconds()
			s.say("   kill -9: lag of at most %d records again after %.2f s; it was %d in between", normal, took, worst)
			return took, nil
		}
		select {
		case <-time.After(sampleEvery):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return 0, fmt.Errorf("the lag stays above %d records:\n%s", normal, tail(s.rival.log))
}

// holding is a way to hold keys. On disk caches take the same for few keys as for many, so it is measured with a million.
type holding struct {
	id, name, label string
	keys            int
}

func holdings() []holding {
	return []holding{
		{"P15", enginebench.HoldDisk, "this engine, holding, side records on disk", 1_000_000},
		{"P15M", enginebench.Hold, "this engine, holding, all in memory", 250_000},
	}
}

const heldSide = 10

// memory is P15: a processor that holds many keys, its garbage collected.
func (c *contest) memory(ctx context.Context) error {
	for _, h := range holdings() {
		if c.options.Quick {
			h.keys /= 10
		}
		c.say("%s: %d keys", h.label, h.keys)
		if err := c.hold(ctx, h.id, native(h.name, h.label), h.keys); err != nil {
			return err
		}
	}
	return nil
}

func (c *contest) hold(ctx context.Context, id string, e entrant, keys int) error {
	b, err := c.fill(ctx, "held", enginePartitions, keys, each, int64(keys))
	if err != nil {
		return err
	}
	w, err := c.work(ctx, e, b)
	if err != nil {
		return err
	}
	w.SideRecords = heldSide
	r, err := c.startRival(ctx, e)
	if err != nil {
		return err
	}
	defer r.close()
	empty, err := r.ask(ctx, "memory", "memory", readyLimit)
	if err != nil {
		return err
	}
	if err := r.order(e.order(w)); err != nil {
		return err
	}
	if _, err := c.watch(ctx, r, w, b.total, span{drain: true}); err != nil {
		return fmt.Errorf("holding keys: %w", err)
	}
	full, err := r.ask(ctx, "memory", "memory", readyLimit)
	if err != nil {
		return err
	}
	if _, err := r.ask(ctx, "stop", "stopped", stopLimit); err != nil {
		return err
	}
	if err := c.auditHeld(ctx, w, keys); err != nil {
		return err
	}
	perMillion := func(name string) float64 { return (number(full, name) - number(empty, name)) / float64(keys) }
	c.report.add(engineTargets()[id].figure(id, nil, []float64{perMillion("resident")}))
	c.report.note("%s: measured with %d keys, less what the empty process takes: %.0f MB resident per million keys, %.0f MB of it live heap; "+
		"the data alone are %.0f MB (a cell of %d bytes, %d side records of %d bytes with ids of %d)",
		id, keys, perMillion("resident"), perMillion("heap"),
		float64(recordBytes+heldSide*(enginebench.SideBytes+enginebench.SideID)), recordBytes, heldSide, enginebench.SideBytes, enginebench.SideID)
	return errors.Join(c.forget(ctx, e, w), c.drop(ctx, b))
}

// auditHeld looks for one cell of each key, and for all side records.
func (c *contest) auditHeld(ctx context.Context, w enginebench.Work, keys int) error {
	cells := make([]uint64, keys)
	err := c.read(ctx, w.Table(), func(key int, r *kgo.Record) error {
		if len(r.Value) != recordBytes {
			return fmt.Errorf("a cell has %d bytes", len(r.Value))
		}
		cells[key] = 1
		return nil
	}, keys)
	if err == nil {
		err = differ("cells", slices.Repeat([]uint64{1}, keys), cells)
	}
	if err != nil {
		return fmt.Errorf("auditing what is held: %w", err)
	}
	side, err := c.sideRecords(ctx, w.Side())
	if err == nil && side < keys*heldSide {
		err = fmt.Errorf("%d side records of %d", side, keys*heldSide)
	}
	if err != nil {
		return fmt.Errorf("auditing what is held: %w", err)
	}
	return nil
}

func (c *contest) sideRecords(ctx context.Context, topic string) (n int, err error) {
	err = c.records(ctx, topic, func(r *kgo.Record) error {
		if len(r.Value) == enginebench.SideBytes {
			n++
		}
		return nil
	})
	return n, err
}

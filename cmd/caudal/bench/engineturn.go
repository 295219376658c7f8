package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/extent"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/engine/enginebench"
)

// metadataMinAge: whatever meets a broker's change waits for the next refresh of what a client knows, by default for 5 s.
const metadataMinAge = 100 * time.Millisecond

// Turn is one contestant's go at a backlog.
type Turn struct {
	Contestant string  `json:"contestant"`
	Backlog    string  `json:"backlog"`
	Rate       float64 `json:"records_per_second"`
	Own        float64 `json:"cpu_us_per_record"`
	Broker     float64 `json:"broker_cpu_us_per_record"`
	Seconds    float64 `json:"seconds"`
	Records    int64   `json:"audited_records"`

	commits, commitSeconds float64 // the engine's, of the whole run
}

// span says when a turn counts: from the first committed offset after the warm-up on, for a time or up to the end.
type span struct {
	warm, length time.Duration
	drain        bool
	profile      string // file; empty: none
}

// sample is how far a group was when that was seen to have changed.
type sample struct {
	at          time.Time
	done        int64
	own, broker int64 // ticks
}

const (
	sampleEvery = 10 * time.Millisecond
	drainLimit  = 5 * time.Minute
)

// work is a group of its own: nothing is left of another turn.
func (c *contest) work(ctx context.Context, e entrant, b *backlog) (enginebench.Work, error) {
	c.serial++
	w := enginebench.Work{
		Brokers: c.brokers, Group: fmt.Sprintf("bench-%s-%d", e.name, c.serial), Input: b.topic, Partitions: b.partitions,
		CommitInterval: commitInterval,
	}
	w.Dir = filepath.Join(c.options.Work, w.Group)
	if err := os.Mkdir(w.Dir, 0o750); err != nil {
		return w, fmt.Errorf("making a folder for %s: %w", e.name, err)
	}
	return w, c.createTopics(ctx, b.partitions, w.Topics()...)
}

// forget removes what a turn left: the next would read past it.
func (c *contest) forget(ctx context.Context, e entrant, w enginebench.Work) error {
	names := w.Topics()
	if table := w.Group + e.table; table != w.Table() && e.table != "" {
		names = append(names, table)
	}
	deleted, err := c.admin.DeleteTopics(ctx, names...)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		return fmt.Errorf("deleting topics of %s: %w", w.Group, err)
	}
	return os.RemoveAll(w.Dir)
}

func (e entrant) order(w enginebench.Work) string {
	text := "run " + w.String()
	if len(e.extra) > 0 {
		text += "&" + e.extra.Encode()
	}
	return text
}

// turn lets a contestant work on a backlog, measures it by what it commits, stops it, and audits what it left.
func (c *contest) turn(ctx context.Context, e entrant, b *backlog, s span) (t Turn, err error) {
	t = Turn{Contestant: e.label, Backlog: b.topic}
	w, err := c.work(ctx, e, b)
	if err != nil {
		return t, err
	}
	r, err := c.startRival(ctx, e)
	if err != nil {
		return t, err
	}
	defer func() {
		switch {
		case !e.stays:
			r.close()
		case err != nil: // whatever it is at, the next turn must not meet it
			r.kill()
			delete(c.staying, e.name)
		}
	}()
	if err := r.order(e.order(w)); err != nil {
		return t, err
	}
	samples, err := c.watch(ctx, r, w, b.total, s)
	if err != nil {
		return t, fmt.Errorf("measuring %s: %w", e.label, err)
	}
	if e.name == enginebench.Engine {
		notes, err := r.ask(ctx, "metrics", "metrics", readyLimit)
		if err != nil {
			return t, err
		}
		t.commits, t.commitSeconds = number(notes, "caudal_streams_commit_seconds_count"), number(notes, "caudal_streams_commit_seconds_sum")
	}
	if _, err := r.ask(ctx, "stop", "stopped", stopLimit); err != nil {
		return t, fmt.Errorf("stopping %s: %w", e.label, err)
	}
	if err := t.take(samples); err != nil {
		return t, fmt.Errorf("measuring %s: %w", e.label, err)
	}
	if t.Records, err = c.audit(ctx, e, w, b); err != nil {
		return t, fmt.Errorf("auditing %s: %w", e.label, err)
	}
	c.say("   %-44s %8.0f/s  %6.2f us a record, broker %5.2f", e.label, t.Rate, t.Own, t.Broker)
	return t, c.forget(ctx, e, w)
}

// watch follows the group's committed offsets up to the total of its input, and returns what was seen in the span.
func (c *contest) watch(ctx context.Context, r *rival, w enginebench.Work, total int64, s span) ([]sample, error) {
	var seen []sample
	var first time.Time
	profiling := false
	for began := time.Now(); ; time.Sleep(sampleEvery) {
		done, _ := c.committed(ctx, w) // an error is a group that is not there yet, or a broker that is busy: the limit tells
		now := time.Now()
		select {
		case said, ok := <-r.words:
			if !ok || said.what == "failed" {
				return nil, fmt.Errorf("it ended: %s\n%s", said.notes.Get("error"), tail(r.log))
			}
		default:
		}
		if first.IsZero() && sum(done) > 0 {
			first = now
		}
		warm := !first.IsZero() && (s.drain || now.Sub(first) >= s.warm)
		if warm && s.profile != "" && !profiling {
			profiling = true
			if err := r.order("profile " + s.profile); err != nil {
				return nil, err
			}
		}
		if warm && (len(seen) == 0 || sum(done) > seen[len(seen)-1].done) {
			next, err := c.sampleAt(now, sum(done), r.cmd.Process.Pid)
			if err != nil {
				return nil, err
			}
			seen = append(seen, next)
		}
		ended := sum(done) >= total || len(seen) > 0 && !s.drain && now.Sub(seen[0].at) >= s.length
		limit := readyLimit + s.warm + s.length
		if s.drain {
			limit += drainLimit
		}
		switch {
		case ended && len(seen) > 1:
			return seen, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case sum(done) >= total:
			return nil, errors.New("the backlog ended before the warm-up did: it is too short")
		case now.Sub(began) > limit:
			return nil, fmt.Errorf("%d of %d records are committed after %v\n%s", sum(done), total, limit, tail(r.log))
		}
	}
}

func (c *contest) sampleAt(now time.Time, done int64, own int) (s sample, err error) {
	s = sample{at: now, done: done}
	if _, s.own, err = ticksOf(own); err != nil {
		return s, err
	}
	for _, pid := range c.brokerPIDs {
		_, ticks, err := ticksOf(pid)
		if err != nil {
			return s, err
		}
		s.broker += ticks
	}
	return s, nil
}

// take computes a turn's figures from its first sample to its last: a change of the committed offsets begins and ends it.
func (t *Turn) take(samples []sample) error {
	first, last := samples[0], samples[len(samples)-1]
	took, records := last.at.Sub(first.at), float64(last.done-first.done)
	if records <= 0 || took <= 0 {
		return errors.New("nothing was committed in the time that counts")
	}
	const microsPerTick = 1e6 / ticksPerSecond
	t.Seconds, t.Rate = took.Seconds(), records/took.Seconds()
	t.Own, t.Broker = float64(last.own-first.own)*microsPerTick/records, float64(last.broker-first.broker)*microsPerTick/records
	return nil
}

// committed is what the group has committed of its input.
func (c *contest) committed(ctx context.Context, w enginebench.Work) (map[int32]int64, error) {
	offsets, err := c.admin.FetchOffsets(ctx, w.Group)
	if err != nil {
		return nil, fmt.Errorf("asking how far %s is: %w", w.Group, err)
	}
	done := map[int32]int64{}
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Err == nil && o.Topic == w.Input && o.At > 0 {
			done[o.Partition] = o.At
		}
	})
	return done, nil
}

// settled is what the group has committed once nothing of it is pending: a transaction is answered before its markers are
// everywhere.
func (c *contest) settled(ctx context.Context, w enginebench.Work) (map[int32]int64, error) {
	for until := time.Now().Add(readyLimit); ; time.Sleep(sampleEvery) {
		offsets, err := c.admin.FetchOffsets(kadm.RequireStable(ctx), w.Group)
		if err == nil {
			err = offsets.Error()
		}
		if err == nil {
			return c.committed(ctx, w)
		}
		if time.Now().After(until) || ctx.Err() != nil {
			return nil, fmt.Errorf("waiting until the offsets of %s are settled: %w", w.Group, err)
		}
	}
}

func sum(offsets map[int32]int64) (n int64) {
	for _, o := range offsets {
		n += o
	}
	return n
}

// audit compares what a contestant left with its input, up to the offsets it committed: one output for each record, and the
// counter of each key. It returns how many records that were.
func (c *contest) audit(ctx context.Context, e entrant, w enginebench.Work, b *backlog) (int64, error) {
	done, err := c.settled(ctx, w)
	if err != nil {
		return 0, err
	}
	want, err := b.expected(done)
	if err != nil {
		return 0, err
	}
	outputs, counters := make([]uint64, len(want)), make([]uint64, len(want))
	err = c.read(ctx, w.Output(), func(key int, r *kgo.Record) error {
		if len(r.Value) != recordBytes {
			return fmt.Errorf("an output has %d bytes", len(r.Value))
		}
		outputs[key]++
		return nil
	}, len(want))
	if err != nil {
		return 0, err
	}
	if err := differ("outputs", want, outputs); err != nil {
		return 0, err
	}
	if e.table == "" {
		return sum(done), nil
	}
	err = c.read(ctx, w.Group+e.table, func(key int, r *kgo.Record) (err error) {
		counters[key], err = enginebench.Count(r.Value)
		return err
	}, len(want))
	if err != nil {
		return 0, err
	}
	return sum(done), differ("counters", want, counters)
}

// read goes through the committed records of a topic that belong to keys of ours.
func (c *contest) read(ctx context.Context, topic string, f func(key int, r *kgo.Record) error, keys int) error {
	return c.records(ctx, topic, func(r *kgo.Record) error {
		if engine.IsFence(r.Key) {
			return nil
		}
		if key := keyNumber(r.Key); key >= 0 && key < keys {
			return f(key, r)
		}
		return fmt.Errorf("%s holds a record under %q, which is no key of ours", topic, r.Key)
	})
}

// records goes through the committed records of a topic.
func (c *contest) records(ctx context.Context, topic string, f func(*kgo.Record) error) error {
	ends, err := c.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("asking for the end of %s: %w", topic, err)
	}
	return extent.Read(ctx, topic, extent.Whole(ends), func(r *kgo.Record) error {
		if r.Attrs.IsControl() {
			return nil
		}
		return f(r)
	}, kgo.SeedBrokers(c.brokers...))
}

// differ tells the first key, and how many, where what is there is not what should be.
func differ(what string, want, have []uint64) error {
	wrong, first := 0, 0
	var missing, surplus uint64
	for i := range want {
		if want[i] == have[i] {
			continue
		}
		if wrong++; wrong == 1 {
			first = i
		}
		missing += max(want[i], have[i]) - have[i]
		surplus += max(want[i], have[i]) - want[i]
	}
	if wrong == 0 {
		return nil
	}
	return fmt.Errorf("%s of %d keys are wrong, %d missing and %d too many: %s%d has %d and should have %d",
		what, wrong, missing, surplus, keyPrefix, first, have[first], want[first])
}

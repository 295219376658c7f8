package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/observe"
)

// load is one run of the whole house: what came of it, and what it took.
type load struct {
	finals   int64
	took     time.Duration
	cpu      map[string]time.Duration
	total    time.Duration
	commits  float64       // transactions of the worker
	decision time.Duration // p99, accepted to decided and committed
	ack      time.Duration // p99, of an open loop
}

func (l load) perSecond() float64 { return float64(l.finals) / l.took.Seconds() }

func (l load) microsPerPayment() float64 {
	return float64(l.total.Microseconds()) / float64(max(1, l.finals))
}

// String says what the load took, by part.
func (l load) String() string {
	parts := make([]string, 0, len(l.cpu))
	for _, part := range partNames() {
		parts = append(parts, fmt.Sprintf("%s %.1f", strings.Fields(part)[0], float64(l.cpu[part].Microseconds())/float64(max(1, l.finals))))
	}
	text := fmt.Sprintf("%.1f us a payment (%s)", l.microsPerPayment(), strings.Join(parts, ", "))
	if l.commits > 0 {
		text += fmt.Sprintf(", %.0f transactions a second", l.commits/l.took.Seconds())
	}
	return text
}

// watched runs send and waits until both stores hold all that it brought about.
func (b *bench) watched(ctx context.Context, send func(ctx context.Context, l *load) (accepted int64, err error)) (_ load, err error) {
	var l load
	postgres, clickhouse, err := b.house.stored(ctx)
	if err != nil {
		return l, err
	}
	o, err := observe.New(ctx, b.house.Brokers)
	if err != nil {
		return l, err
	}
	watching, stop := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return o.Run(watching) })
	defer func() {
		stop()
		err = errors.Join(err, g.Wait())
	}()
	before, err := b.house.cpu()
	if err != nil {
		return l, err
	}
	commits, err := b.house.counter(ctx, "caudal_streams_commits_total", nil)
	if err != nil {
		return l, err
	}
	began := time.Now()
	accepted, err := send(ctx, &l)
	if err != nil {
		return l, err
	}
	if err := drained(ctx, b.house, o, accepted, [2]int64{postgres, clickhouse}); err != nil {
		return l, err
	}
	l.took = time.Since(began)
	after, err := b.house.cpu()
	if err != nil {
		return l, err
	}
	if l.commits, err = b.house.counter(ctx, "caudal_streams_commits_total", nil); err != nil {
		return l, err
	}
	l.commits -= commits
	c := o.Snapshot()
	b.accepted, b.finals, b.repeats = b.accepted+accepted, b.finals+c.Final, b.repeats+c.Repeats
	if c.Decided != accepted {
		return l, fmt.Errorf("%d commands accepted and %d decided: something was counted twice", accepted, c.Decided)
	}
	l.finals, l.decision = c.Final, o.Quantile(99)
	l.cpu, l.total = since(before, after)
	return l, nil
}

// throughput is P1 and P13: pairs of pass-through and the whole house at its most.
func (b *bench) throughput(ctx context.Context) error {
	house := func(seconds time.Duration) (load, error) {
		return b.watched(ctx, func(ctx context.Context, _ *load) (int64, error) { return closedBatches(ctx, b.house, b.load, seconds) })
	}
	if _, err := house(b.warmUp()); err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	var loads []load
	base, system, err := b.pairs("P1",
		func() (float64, error) {
			return passThrough(ctx, b.house.Brokers, b.house.Partitions, b.passing, b.duration())
		},
		func() (float64, error) {
			l, err := house(b.duration())
			loads = append(loads, l)
			if err == nil {
				b.say("   %s", l)
			}
			return l.perSecond(), err
		})
	if err != nil {
		return err
	}
	var micros []float64
	for _, l := range loads {
		micros = append(micros, l.microsPerPayment())
	}
	err = b.profileHouse(ctx, "the house at its most", func(ctx context.Context, limit time.Duration) (int64, error) {
		return closedBatches(ctx, b.house, b.load, limit)
	})
	if err != nil {
		return err
	}
	b.report.add(newFigure("P1", base, system), newFigure("P13", nil, micros))
	b.report.spend(loads)
	for _, rate := range system {
		b.most = max(b.most, rate)
	}
	return nil
}

// latencyRuns are enough for a median: each has thousands of requests.
const latencyRuns = 3

// latency is P8 and P9: open loop at half of the drained maximum.
func (b *bench) latency(ctx context.Context) error {
	var acks, decisions []float64
	for range latencyRuns {
		l, err := b.watched(ctx, func(ctx context.Context, l *load) (int64, error) {
			h, accepted, err := openLoop(ctx, b.house, b.load, b.most/2, b.duration())
			l.ack = time.Duration(h.ValueAtQuantile(99)) * time.Microsecond
			return accepted, err
		})
		if err != nil {
			return fmt.Errorf("measuring at a constant rate: %w", err)
		}
		acks = append(acks, milliseconds(l.ack))
		decisions = append(decisions, milliseconds(l.decision))
		b.say("P8 acknowledged p99 %.1f ms, P9 decided p99 %.1f ms, at %.0f a second: %s", milliseconds(l.ack), milliseconds(l.decision), b.most/2, l)
	}
	err := b.profileHouse(ctx, "the house at half of its most", func(ctx context.Context, limit time.Duration) (int64, error) {
		_, accepted, err := openLoop(ctx, b.house, b.load, b.most/2, limit)
		return accepted, err
	})
	if err != nil {
		return err
	}
	b.report.add(newFigure("P8", nil, acks), newFigure("P9", nil, decisions))
	return nil
}

// profileHouse profiles all processes under a load, and waits until it is drained.
func (b *bench) profileHouse(ctx context.Context, what string, send func(ctx context.Context, limit time.Duration) (int64, error)) error {
	paths := map[string]string{partUp: "", partWorker: "/worker", partBroker: "/broker"}
	return b.profile(ctx, what, paths, func(limit time.Duration) error {
		_, err := b.watched(ctx, func(ctx context.Context, _ *load) (int64, error) { return send(ctx, limit) })
		return err
	})
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
)

// door is P3 and P4: the ingress alone, up to the broker's acknowledgement.
func (b *bench) door(ctx context.Context) error {
	before, err := commandsEnd(ctx, b.house.Brokers)
	if err != nil {
		return err
	}
	var accepted int64
	counted := func(send func() (int64, error)) (float64, error) {
		before, err := b.house.cpu()
		if err != nil {
			return 0, err
		}
		began := time.Now()
		n, err := send()
		if err != nil {
			return 0, err
		}
		l := load{finals: n, took: time.Since(began)}
		after, err := b.house.cpu()
		if err != nil {
			return 0, err
		}
		accepted += n
		l.cpu, l.total = since(before, after)
		b.say("   %s", l)
		return l.perSecond(), nil
	}
	batches := func(limit time.Duration) (float64, error) {
		return counted(func() (int64, error) { return closedBatches(ctx, b.house, b.load, limit) })
	}
	singles := func(limit time.Duration) (float64, error) {
		return counted(func() (int64, error) { return closedSingles(b.house.url, b.house.token, b.load, limit) })
	}
	if chosen(b.options.Only, "P4") {
		if err := b.doorBatches(ctx, batches); err != nil {
			return err
		}
	}
	if chosen(b.options.Only, "P3") {
		if err := b.doorSingles(ctx, singles); err != nil {
			return err
		}
	}
	after, err := commandsEnd(ctx, b.house.Brokers)
	if err != nil {
		return err
	}
	// Ticks are the only other records, and nothing in this log is a marker: no transaction ran.
	if after-before < accepted {
		return fmt.Errorf("the ingress acknowledged %d commands and the log grew by %d", accepted, after-before)
	}
	b.report.Acknowledged, b.report.LogGrew = accepted, after-before
	return nil
}

// timed loads the house for a while and gives what it accepted per second.
type timed func(limit time.Duration) (float64, error)

// doorBatches is P4, against records produced to the broker directly.
func (b *bench) doorBatches(ctx context.Context, batches timed) error {
	if _, err := batches(b.warmUp()); err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	base, system, err := b.pairs("P4",
		func() (float64, error) {
			return b.samples.produceFor(ctx, b.house.Brokers, rawOut, b.duration(), 1<<40)
		},
		func() (float64, error) { return batches(b.duration()) })
	if err != nil {
		return err
	}
	b.report.add(newFigure("P4", base, system))
	return b.profileDoor(ctx, "ingress alone, batches", batches)
}

// doorSingles is P3, against a server that only sends back what it is given.
func (b *bench) doorSingles(ctx context.Context, singles timed) error {
	url, stop, err := startEcho(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if _, err := singles(b.warmUp()); err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	base, system, err := b.pairs("P3",
		func() (float64, error) {
			began := time.Now()
			n, err := closedSingles(url, b.house.token, b.load, b.duration())
			return float64(n) / time.Since(began).Seconds(), err
		},
		func() (float64, error) { return singles(b.duration()) })
	if err != nil {
		return err
	}
	b.report.add(newFigure("P3", base, system))
	return b.profileDoor(ctx, "ingress alone, singles", singles)
}

func (b *bench) profileDoor(ctx context.Context, what string, load timed) error {
	return b.profile(ctx, what, map[string]string{partUp: "", partBroker: "/broker"}, func(limit time.Duration) error {
		_, err := load(limit)
		return err
	})
}

// commandsEnd is the sum of the ends of the commands log.
func commandsEnd(ctx context.Context, brokers []string) (sum int64, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return 0, fmt.Errorf("connecting: %w", err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topics.Commands)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("listing command offsets: %w", err)
	}
	ends.Each(func(o kadm.ListedOffset) { sum += o.Offset })
	return sum, nil
}

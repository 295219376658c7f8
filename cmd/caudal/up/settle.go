package up

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/caudalpay/caudal/sinks/decisionlog"
)

const (
	// settleLimit is how long a clean stop waits for what was acknowledged.
	settleLimit = 10 * time.Second
	// settleQuiet without a new decision, while every partition is worked on, is taken as: all is decided.
	settleQuiet = 300 * time.Millisecond
)

// settle lets a clean stop leave nothing half way: the door closes, what was acknowledged is decided, both stores take
// it. Only so do the books of a stopped installation close. Where that cannot be had in time, the next start goes on.
func (in *running) settle(ctx context.Context) {
	if len(in.options.Roles) > 0 {
		return // the other roles run elsewhere, and what is under way there is theirs
	}
	in.door.stop()
	in.ingress.stop()
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	if err := in.settled(ctx); err != nil {
		in.log.Warn("stopping with something under way", "error", err)
	}
}

func (in *running) settled(ctx context.Context) error {
	var ends map[int32]int64
	for since := time.Now(); time.Since(since) < settleQuiet; {
		now, err := decisionlog.Ends(ctx, in.parts.Brokers)
		if err != nil {
			return fmt.Errorf("asking for the ends of the decisions: %w", err)
		}
		if !maps.Equal(now, ends) || !in.deciding(ctx) {
			ends, since = now, time.Now()
		}
		select {
		case <-time.After(settleQuiet / 6):
		case err := <-in.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("waiting for decisions: %w", ctx.Err())
		}
	}
	if err := in.postgres.Drained(ctx, ends); err != nil {
		return fmt.Errorf("waiting for Postgres: %w", err)
	}
	if err := in.clickhouse.Drained(ctx, ends); err != nil {
		return fmt.Errorf("waiting for ClickHouse: %w", err)
	}
	return nil
}

// deciding tells whether every partition is worked on. Ready workers are not enough: a partition that moves from one to
// the other is quiet for a while, whatever waits in it.
func (in *running) deciding(ctx context.Context) bool {
	return in.workers.whole(ctx, in.options.Partitions)
}

package up

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/extent"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/decisionlog"
)

const (
	// settleLimit is how long a clean stop waits for what was acknowledged.
	settleLimit = 10 * time.Second
	settleEvery = 50 * time.Millisecond
)

// settle lets a clean stop leave nothing half way: the door closes, what was acknowledged is decided, both stores take
// it. Only so do the books of a stopped installation close. Where that cannot be had in time, the next start goes on.
func (in *running) settle(ctx context.Context) {
	if len(in.options.Roles) > 0 {
		return // the other roles run elsewhere, and what is under way there is theirs
	}
	in.door.stop()
	in.ingress.stop()
	in.following.stop()
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	if err := in.settled(ctx); err != nil {
		in.log.Warn("stopping with something under way", "error", err)
	}
}

func (in *running) settled(ctx context.Context) error {
	if err := in.decided(ctx); err != nil {
		return fmt.Errorf("waiting for decisions: %w", err)
	}
	ends, err := decisionlog.Ends(ctx, in.parts.Brokers)
	if err != nil {
		return fmt.Errorf("asking for the ends of the decisions: %w", err)
	}
	if err := in.postgres.Drained(ctx, ends); err != nil {
		return fmt.Errorf("waiting for Postgres: %w", err)
	}
	if err := in.clickhouse.Drained(ctx, ends); err != nil {
		return fmt.Errorf("waiting for ClickHouse: %w", err)
	}
	return nil
}

// decided returns when no command waits. Who writes commands now are the workers alone, in transactions that commit what
// they have read: so nothing after the committed offsets means that nothing will come. That decisions have stopped coming
// would mean less: a worker may be starting again, or asleep, or partitions on their way from one to the other.
func (in *running) decided(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(in.parts.Brokers...))
	if err != nil {
		return fmt.Errorf("connecting to the broker: %w", err)
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	var before map[int32]int64
	for {
		committed, err := committedCommands(ctx, adm, in.options.Partitions)
		if err != nil && !kerr.IsRetriable(err) {
			return err
		}
		if err == nil && maps.Equal(committed, before) { // while they move, there is no need to look
			waits, err := in.commandsAfter(ctx, adm, committed)
			if err != nil || !waits {
				return err
			}
		}
		before = committed
		select {
		case <-time.After(settleEvery):
		case err := <-in.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// committedCommands is how far the workers' group is, per partition. Offsets in an open transaction are a retriable error.
func committedCommands(ctx context.Context, adm *kadm.Client, partitions int32) (map[int32]int64, error) {
	offsets, err := adm.FetchOffsets(kadm.RequireStable(ctx), topics.AccountsGroup)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("fetching committed offsets: %w", err)
	}
	if err := offsets.Error(); err != nil {
		return nil, fmt.Errorf("fetching committed offsets: %w", err)
	}
	committed := make(map[int32]int64, partitions)
	for p := range partitions {
		committed[p] = 0
		if o, ok := offsets.Lookup(topics.Commands, p); ok {
			committed[p] = max(0, o.At)
		}
	}
	return committed, nil
}

// errWaits ends the search for a command that waits.
var errWaits = errors.New("a command waits")

// commandsAfter tells whether there is a command after these offsets. The markers of transactions are none; what an open
// transaction hides may be one.
func (in *running) commandsAfter(ctx context.Context, adm *kadm.Client, from map[int32]int64) (bool, error) {
	listed, err := adm.ListEndOffsets(ctx, topics.Commands)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return false, fmt.Errorf("listing the ends of the commands: %w", err)
	}
	left := extent.Range{From: map[int32]kgo.Offset{}, End: map[int32]int64{}}
	listed.Each(func(end kadm.ListedOffset) {
		if end.Offset > from[end.Partition] {
			left.From[end.Partition], left.End[end.Partition] = kgo.NewOffset().At(from[end.Partition]), end.Offset
		}
	})
	reached := maps.Clone(left.End)
	err = extent.Read(ctx, topics.Commands, left, func(r *kgo.Record) error {
		if !r.Attrs.IsControl() {
			return errWaits
		}
		if r.Offset+1 >= left.End[r.Partition] {
			delete(reached, r.Partition)
		}
		return nil
	}, kgo.SeedBrokers(in.parts.Brokers...))
	if errors.Is(err, errWaits) {
		return true, nil
	}
	return len(reached) > 0, err
}

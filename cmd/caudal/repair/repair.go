// Package repair mends what a broker's death inside a commit can leave behind: a partition whose state took a transaction
// in, while the offset the group committed did not. It only ever commits that offset, and only where the log proves that
// everything else of the transaction is there. It refuses all other differences, and it never changes a record.
package repair

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/cmd/caudal/extent"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit"
	"github.com/caudalpay/caudal/streams/engine"
)

// ErrRebuild means that no offset mends what differs.
var ErrRebuild = errors.New("the state must be rebuilt from the log")

// Verdict on one partition.
type Verdict string

// The verdicts.
const (
	Whole   Verdict = "whole"        // nothing differs
	Torn    Verdict = "torn"         // the offset is behind a transaction that is complete: it can be committed
	Rebuild Verdict = "not mendable" // anything else
)

// Partition is how far each part of a partition's last transactions has come: next offsets of the command log, -1 if none.
type Partition struct {
	ID        int32
	Applied   int64 // by the side table, which is the processor's state
	Committed int64 // by the group
	Decided   int64 // by the last decision
	Verdict   Verdict
}

// judge compares. Decided may be behind applied: a command that was parked or buried has no decision.
func (p *Partition) judge() {
	switch {
	case p.Applied == p.Committed && p.Decided <= p.Applied:
		p.Verdict = Whole
	case p.Applied > p.Committed && p.Applied == p.Decided:
		p.Verdict = Torn
	default:
		p.Verdict = Rebuild
	}
}

// Config of an inspection or a repair.
type Config struct {
	Brokers    []string
	Partitions int32
	Patience   time.Duration // how long the sessions of dead members are waited for; living ones outlast it
	Log        *slog.Logger
}

// Inspect reads how far each partition has come. It changes nothing. It returns a MembersError while anybody is in the group.
func Inspect(ctx context.Context, cfg Config) ([]Partition, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...))
	if err != nil {
		return nil, fmt.Errorf("connecting to the broker: %w", err)
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	if err := alone(ctx, cfg, adm); err != nil {
		return nil, err
	}
	offsets, err := adm.FetchOffsets(kadm.RequireStable(ctx), topics.AccountsGroup)
	if errors.Is(err, kerr.GroupIDNotFound) {
		offsets, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fetching committed offsets: %w", err)
	}
	found := make([]Partition, cfg.Partitions)
	for i := range found {
		found[i] = Partition{ID: int32(i), Applied: -1, Committed: -1, Decided: -1}
		if o, ok := offsets.Lookup(topics.Commands, int32(i)); ok {
			found[i].Committed = o.At
		}
	}
	applied := string(engine.SideKey{Scope: engine.ScopePartition, Kind: engine.AppliedKind, ID: topics.Commands}.Encode())
	err = follow(ctx, cfg, adm, topics.AccountsSide, func(r *kgo.Record) error {
		if string(r.Key) == applied && len(r.Value) == 8 {
			found[r.Partition].Applied = int64(binary.BigEndian.Uint64(r.Value)) //nolint:gosec // an offset
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = follow(ctx, cfg, adm, topics.Decisions, func(r *kgo.Record) error {
		var d paymentsv1.Decision
		if err := proto.Unmarshal(r.Value, &d); err != nil {
			return fmt.Errorf("decoding decision at partition %d offset %d: %w", r.Partition, r.Offset, err)
		}
		found[r.Partition].Decided = max(found[r.Partition].Decided, d.GetCommandOffset()+1)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range found {
		found[i].judge()
	}
	return found, nil
}

// follow hands over all committed records of a topic, in order per partition.
func follow(ctx context.Context, cfg Config, adm *kadm.Client, topic string, f func(*kgo.Record) error) error {
	ends, err := adm.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("listing the ends of %s: %w", topic, err)
	}
	maps.DeleteFunc(ends[topic], func(p int32, _ kadm.ListedOffset) bool { return p >= cfg.Partitions })
	return extent.Read(ctx, topic, extent.Whole(ends), func(r *kgo.Record) error {
		if r.Attrs.IsControl() {
			return nil
		}
		return f(r)
	}, kgo.SeedBrokers(cfg.Brokers...))
}

// Prove recomputes the books from the log with the independent model, up to what is decided: cells, emitted commands and
// decisions must all be there before an offset may say so.
func Prove(ctx context.Context, cfg Config) error {
	report, err := audit.Verify(ctx, audit.Config{Brokers: cfg.Brokers, Partitions: cfg.Partitions, AllowLag: true, Logger: cfg.Log})
	if err != nil {
		return fmt.Errorf("proving the log: %w", err)
	}
	if err := report.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrRebuild, err)
	}
	return nil
}

// Refusal names what no offset mends, nil if there is nothing of that kind.
func Refusal(found []Partition) error {
	var errs []error
	for _, p := range found {
		if p.Verdict == Rebuild {
			errs = append(errs, fmt.Errorf("partition %d: the state has applied up to %d, the group committed %d, the last decision is of %d",
				p.ID, p.Applied, p.Committed, p.Decided-1))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrRebuild, errors.Join(errs...))
}

// Commit sets the group's offset of each torn partition to what its state has applied. Brokers take it from outside the
// group only while the group is empty, so a member that came since Inspect makes it fail.
func Commit(ctx context.Context, cfg Config, found []Partition) error {
	offsets := kadm.Offsets{}
	for _, p := range found {
		if p.Verdict == Torn {
			offsets.Add(kadm.Offset{Topic: topics.Commands, Partition: p.ID, At: p.Applied, LeaderEpoch: -1})
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...))
	if err != nil {
		return fmt.Errorf("connecting to the broker: %w", err)
	}
	defer client.Close()
	if err := kadm.NewClient(client).CommitAllOffsets(ctx, topics.AccountsGroup, offsets); err != nil {
		return fmt.Errorf("committing offsets: %w", err)
	}
	return nil
}

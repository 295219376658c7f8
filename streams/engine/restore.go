package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// restore rebuilds every partition from its changelogs. It reads read_committed up to a fence record, which was committed
// after the predecessor was fenced off: neither the high-water mark nor the last stable offset tells by itself that
// the markers of the last commit have arrived everywhere, a record behind them does.
func (s *session) restore(ctx context.Context) error {
	started := time.Now()
	for _, p := range s.parts {
		p.reset()
	}
	fence, err := s.writeFence(ctx)
	if err != nil {
		return err
	}
	workers := min(max(2, runtime.GOMAXPROCS(0)), len(s.parts))
	var records atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			var mine []*partition
			for i := w; i < len(s.parts); i += workers {
				mine = append(mine, s.parts[i])
			}
			return s.restoreSome(gctx, mine, fence, &records)
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	s.metrics.restoreTime.Set(time.Since(started).Seconds())
	s.cfg.Logger.Info("restored", "records", records.Load(), "took", time.Since(started))
	return nil
}

// writeFence commits one record to every changelog partition. It has a transactional id of its own because a transaction
// of the session that carries no offsets takes half a second to end.
func (s *session) writeFence(ctx context.Context) (nonce string, err error) {
	client, err := kgo.NewClient(append(s.cfg.clientOptions(),
		kgo.TransactionalID(s.cfg.TransactionalID+"-fence"), kgo.TransactionTimeout(s.cfg.TransactionTimeout),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))...)
	if err != nil {
		return "", fmt.Errorf("opening fence client: %w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	nonce = rand.Text()
	var fences []*kgo.Record
	for _, topic := range []string{s.cfg.Table, s.cfg.Side} {
		for _, p := range s.parts {
			fences = append(fences, &kgo.Record{Topic: topic, Partition: p.id, Key: []byte(fenceKey), Value: []byte(nonce)})
		}
	}
	if err := client.BeginTransaction(); err != nil {
		return "", fmt.Errorf("beginning fence: %w", err)
	}
	if err := client.ProduceSync(ctx, fences...).FirstErr(); err != nil {
		return "", fmt.Errorf("writing fence: %w", err)
	}
	if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return "", fmt.Errorf("committing fence: %w", err)
	}
	return nonce, nil
}

func (s *session) restoreSome(ctx context.Context, parts []*partition, fence string, records *atomic.Int64) error {
	from := map[string]map[int32]kgo.Offset{s.cfg.Table: {}, s.cfg.Side: {}}
	for _, p := range parts {
		from[s.cfg.Table][p.id] = kgo.NewOffset().AtStart()
		from[s.cfg.Side][p.id] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(append(s.cfg.clientOptions(), kgo.ConsumePartitions(from),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return fmt.Errorf("opening restore client: %w", err)
	}
	defer client.Close()
	reported := time.Now()
	for waiting := len(parts) * 2; waiting > 0; {
		if time.Since(reported) > 5*time.Second {
			reported = time.Now()
			s.cfg.Logger.Info("restoring", "records", records.Load(), "changelogs_left", waiting)
		}
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		var failed error
		fetches.EachError(func(topic string, p int32, err error) {
			failed = errors.Join(failed, fmt.Errorf("reading %s partition %d: %w", topic, p, err))
		})
		fetches.EachRecord(func(r *kgo.Record) {
			if failed != nil {
				return
			}
			if IsFence(r.Key) {
				if string(r.Value) == fence {
					waiting--
				}
				return
			}
			records.Add(1)
			s.metrics.restored.Inc()
			if r.Topic == s.cfg.Side {
				failed = s.parts[r.Partition].restoreSide(r)
			} else {
				s.parts[r.Partition].restoreCell(r)
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}

// compare finds a torn commit: state and offsets were written by one transaction, so they must agree.
func (s *session) compare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	offsets, err := kadm.NewClient(s.client).FetchOffsets(kadm.RequireStable(ctx), s.cfg.Group)
	if err == nil {
		err = offsets.Error()
	}
	if err != nil {
		return fmt.Errorf("fetching committed offsets: %w", err)
	}
	for _, p := range s.parts {
		committed := int64(-1)
		if o, ok := offsets.Lookup(s.cfg.Input, p.id); ok {
			committed = o.At
		}
		if committed != p.applied {
			return &TornError{Group: s.cfg.Group, Topic: s.cfg.Input, Partition: p.id, Applied: p.applied, Committed: committed}
		}
	}
	return nil
}

package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/schemas/codec"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/topology"
)

// Wrong is what the oracle found.
type Wrong struct {
	Missing            int64 `json:"missing"`             // commands without a decision, and acknowledged or emitted ones that are not in the log
	DuplicateDecisions int64 `json:"duplicate_decisions"` // beyond the first of a command
	DuplicateOrders    int64 `json:"duplicate_orders"`    // beyond the first of an order id
	WrongBalance       int64 `json:"wrong_balance"`       // cells that are not what the commands make of them
	OrderViolations    int64 `json:"order_violations"`    // numbers of accounts, offsets and chains out of order
	OpenTransactions   int64 `json:"open_transactions"`   // partitions

	WrongDecisions      int64  `json:"wrong_decisions"`     // of another content
	WrongSide           int64  `json:"wrong_side"`          // side records and directory entries
	WrongEmissions      int64  `json:"wrong_emissions"`     // partitions with other commands or orders than follow from the decisions
	DuplicateEmissions  int64  `json:"duplicate_emissions"` // commands and orders beyond those
	DeadLetters         int64  `json:"dead_letters"`        // the load has nothing that could be one
	ConservationBroken  int64  `json:"conservation_broken"` // what the observer saw while it went on
	FirstFinding        string `json:"first_finding,omitempty"`
	Commands, Decisions int64  `json:"-"`
}

// None tells whether nothing is wrong.
func (w *Wrong) None() bool {
	return w.Missing == 0 && w.DuplicateDecisions == 0 && w.DuplicateOrders == 0 && w.WrongBalance == 0 && w.OrderViolations == 0 &&
		w.OpenTransactions == 0 && w.WrongDecisions == 0 && w.WrongSide == 0 && w.WrongEmissions == 0 && w.DuplicateEmissions == 0 &&
		w.DeadLetters == 0 && w.ConservationBroken == 0
}

// judge reads every topic and lets the oracle compare, a partition after the other, so that memory holds the state of two.
type judge struct {
	cluster      *cluster
	partitions   int32
	acknowledged int64
	step         func(done, total int64)

	mu      sync.Mutex
	wrong   Wrong
	emitted sums
	orders  map[string]int64
	outside int64
	done    int64
}

// partitionsAtOnce bounds memory.
const partitionsAtOnce = 2

func (j *judge) run(ctx context.Context) (Wrong, error) {
	docs, err := newDocuments()
	if err != nil {
		return j.wrong, err
	}
	j.emitted, j.orders = sums{}, map[string]int64{}
	seed := maphash.MakeSeed()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(partitionsAtOnce)
	for p := range j.partitions {
		g.Go(func() error {
			if err := j.partition(gctx, newOracle(p, j.partitions, seed, docs)); err != nil {
				return fmt.Errorf("judging partition %d: %w", p, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return j.wrong, err
	}
	if lost := j.acknowledged - j.outside; lost > 0 {
		j.find(&j.wrong.Missing, lost, "%d acknowledged commands are not in the log", lost)
	}
	for at, s := range j.emitted {
		switch {
		case s.count > 0:
			j.find(&j.wrong.Missing, s.count, "%d records are missing in partition %d of %s", s.count, at.partition, at.topic)
		case s.count < 0:
			j.find(&j.wrong.DuplicateEmissions, -s.count, "%d records are too many in partition %d of %s", -s.count, at.partition, at.topic)
		case s.digest != 0:
			j.find(&j.wrong.WrongEmissions, 1, "partition %d of %s holds other records than the decisions ask for", at.partition, at.topic)
		}
	}
	return j.wrong, nil
}

// find counts under a heading and keeps the first words.
func (j *judge) find(heading *int64, n int64, format string, args ...any) {
	if *heading += n; j.wrong.FirstFinding == "" {
		j.wrong.FirstFinding = fmt.Sprintf(format, args...)
	}
}

// partition folds the commands of a partition and compares with it what its topics hold.
func (j *judge) partition(ctx context.Context, o *oracle) error {
	err := j.read(ctx, topics.Commands, o.partition, func(r *kgo.Record) error { return o.decide(string(r.Key), r.Offset, r.Value) })
	if err != nil {
		return err
	}
	last, err := j.decisions(ctx, o)
	if err != nil {
		return err
	}
	if last != nil {
		o.side[shared(topology.ChainKind, "")] = chained(last)
	}
	for _, compare := range []func(context.Context, *oracle) error{j.cells, j.side, j.directory, j.cards, j.outlets} {
		if err := compare(ctx, o); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for at, s := range o.emitted {
		x := j.emitted[at]
		j.emitted[at] = sum{x.count + s.count, x.digest + s.digest}
	}
	j.outside += o.outside
	j.wrong.Commands += o.commands
	j.done++
	j.step(j.done, int64(j.partitions))
	return nil
}

// decisions compares one by one, in the order of the log, and returns the last.
func (j *judge) decisions(ctx context.Context, o *oracle) (last []byte, err error) {
	var seen bitmap
	next, count := int64(0), int64(0)
	err = j.read(ctx, topics.Decisions, o.partition, func(r *kgo.Record) error {
		d, err := parseDecision(r.Value)
		if err != nil {
			return fmt.Errorf("offset %d: %w", r.Offset, err)
		}
		count++
		at := d.offset
		j.mu.Lock()
		defer j.mu.Unlock()
		if at >= int64(len(o.decisions)) || o.decisions[at] == 0 || d.partition != int64(o.partition) {
			j.find(&j.wrong.WrongDecisions, 1, "partition %d offset %d: a decision on command %d, which is not there", o.partition, r.Offset, at)
			return nil
		}
		if !seen.set(at) {
			j.find(&j.wrong.DuplicateDecisions, 1, "partition %d offset %d: command %d is decided again", o.partition, r.Offset, at)
		} else if at < next {
			j.find(&j.wrong.OrderViolations, 1, "partition %d offset %d: command %d after %d", o.partition, r.Offset, at, next-1)
		}
		next = max(next, at+1)
		if last != nil && !bytes.Equal(d.previous, chained(last)) {
			j.find(&j.wrong.OrderViolations, 1, "partition %d offset %d: the chain is broken", o.partition, r.Offset)
		}
		last = r.Value
		if o.digest(string(r.Key), d.bare)|1 != o.decisions[at] {
			j.find(&j.wrong.WrongDecisions, 1, "partition %d offset %d: command %d is decided otherwise", o.partition, r.Offset, at)
		}
		return nil
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.wrong.Decisions += count
	for at, d := range o.decisions {
		if d != 0 && !seen.has(int64(at)) {
			j.find(&j.wrong.Missing, 1, "partition %d: command %d has no decision", o.partition, at)
		}
	}
	return last, err
}

// cells compares the group table.
func (j *judge) cells(ctx context.Context, o *oracle) error {
	want := make(map[string]uint64, len(o.cells))
	for key, cell := range o.cells {
		b, err := codec.EncodeCell(cell)
		if err != nil {
			return fmt.Errorf("encoding cell: %w", err)
		}
		want[key] = o.digest(key, b)
	}
	return j.table(ctx, o, topics.AccountsTable, want, &j.wrong.WrongBalance)
}

// side compares the side table, without what the engine keeps there for itself.
func (j *judge) side(ctx context.Context, o *oracle) error {
	want := make(map[string]uint64, len(o.side))
	for key, value := range o.side {
		want[key] = o.digest(key, value)
	}
	return j.table(ctx, o, topics.AccountsSide, want, &j.wrong.WrongSide)
}

func (j *judge) directory(ctx context.Context, o *oracle) error {
	return j.table(ctx, o, topics.Directory, o.directory, &j.wrong.WrongSide)
}

func (j *judge) cards(ctx context.Context, o *oracle) error {
	return j.table(ctx, o, topics.Cards, o.cards, &j.wrong.WrongSide)
}

// table compares the last value of every key.
func (j *judge) table(ctx context.Context, o *oracle, topic string, want map[string]uint64, heading *int64) error {
	got := make(map[string]uint64, len(want))
	err := j.read(ctx, topic, o.partition, func(r *kgo.Record) error {
		switch {
		case engine.IsFence(r.Key) || topic == topics.AccountsSide && ofEngine(r.Key):
		case r.Value == nil:
			delete(got, string(r.Key))
		default:
			got[string(r.Key)] = o.digest(string(r.Key), r.Value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for key, d := range want {
		if got[key] != d {
			j.find(heading, 1, "partition %d of %s: %q is not what the commands make of it", o.partition, topic, key)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			j.find(heading, 1, "partition %d of %s: %q should not be there", o.partition, topic, key)
		}
	}
	return nil
}

func ofEngine(key []byte) bool {
	k, err := engine.DecodeSideKey(key)
	return err == nil && len(k.Kind) > len(engine.EnginePrefix) && k.Kind[:len(engine.EnginePrefix)] == engine.EnginePrefix
}

// outlets takes what left from what should have left.
func (j *judge) outlets(ctx context.Context, o *oracle) error {
	seen := map[string]int64{}
	err := j.read(ctx, topics.RailsOrders, o.partition, func(r *kgo.Record) error {
		order, _, err := codec.DecodeOrder(r.Value)
		if err != nil {
			return fmt.Errorf("decoding order at offset %d: %w", r.Offset, err)
		}
		seen[order.OrderID]++
		if seen[order.OrderID] > max(1, o.orders[order.OrderID]) {
			j.mu.Lock()
			j.find(&j.wrong.DuplicateOrders, 1, "partition %d offset %d: order %s is there again", o.partition, r.Offset, order.OrderID)
			j.mu.Unlock()
		}
		o.emitted.add(place{topics.RailsOrders, o.partition}, -1, o.digest(string(r.Key), r.Value))
		return nil
	})
	if err != nil {
		return err
	}
	return j.read(ctx, topics.DeadLetters, o.partition, func(r *kgo.Record) error {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.find(&j.wrong.DeadLetters, 1, "partition %d offset %d: a dead letter", o.partition, r.Offset)
		return nil
	})
}

// After readLimit without a record a read goes on with another client, as often as readTries: an hour's attack is not to be
// thrown away for a connection.
const (
	readLimit = 20 * time.Second
	readTries = 10
)

// errStopped means that nothing more comes where something must.
var errStopped = errors.New("nothing more comes")

// read hands over a partition, committed records only, up to where it is stable now.
func (j *judge) read(ctx context.Context, topic string, partition int32, each func(*kgo.Record) error) error {
	var ends kadm.ListedOffsets
	err := retried(ctx, func() (err error) {
		if ends, err = j.cluster.admin.ListCommittedOffsets(ctx, topic); err == nil {
			err = ends.Error()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("asking for the end of %s: %w", topic, err)
	}
	end, _ := ends.Lookup(topic, partition)
	next := int64(0)
	for range readTries {
		if next, err = j.readOn(ctx, place{topic, partition}, next, end.Offset, each); !errors.Is(err, errStopped) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("reading %s partition %d, at %d of %d: %w", topic, partition, next, end.Offset, err)
	}
	return nil
}

// readOn reads from next to the end, and returns how far it came.
func (j *judge) readOn(ctx context.Context, at place, next, end int64, each func(*kgo.Record) error) (int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(j.cluster.addrs...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{at.topic: {at.partition: kgo.NewOffset().At(next)}}))
	if err != nil {
		return next, fmt.Errorf("connecting: %w", err)
	}
	defer client.Close()
	for next < end {
		waiting, cancel := context.WithTimeout(ctx, readLimit)
		fetches := client.PollFetches(waiting)
		over := waiting.Err()
		cancel()
		if ctx.Err() != nil {
			return next, ctx.Err()
		}
		if over != nil {
			return next, errStopped
		}
		for _, r := range fetches.Records() {
			if next = r.Offset + 1; r.Attrs.IsControl() {
				continue
			}
			if err := each(r); err != nil {
				return next, err
			}
		}
	}
	return next, nil
}

// retried tries for a while: brokers may just have come back.
func retried(ctx context.Context, try func() error) (err error) {
	for range slices.Repeat([]int{0}, 50) {
		if err = try(); err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
	return err
}

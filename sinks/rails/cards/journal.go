package cards

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
)

// journal writes what one partition intends, learns and answers, in transactions under the partition's own id. Who owned
// the partition before is fenced from the moment the journal is open: what is not committed then never will be, and so
// what restore reads is all there is. The first failure is the last: what became of the transaction is then read again.
type journal struct {
	client    *kgo.Client
	partition int32
	metrics   *metrics
	hook      func(point, string)
	entries   chan entry
	closing   chan struct{}
	closed    chan struct{}
}

// entry is what one writer wants in the log, all of it or nothing.
type entry struct {
	records []*kgo.Record
	done    chan error
}

var errJournalClosed = errors.New("journal is closed")

const (
	// entriesMax go into one transaction: a commit costs the same for one and for many.
	entriesMax = 64
	// transactionTimeout is short: an answer that is open holds back all that read its partition of the commands.
	transactionTimeout = 2 * time.Second
)

// openJournal fences the owner before.
func openJournal(ctx context.Context, cfg Config, partition int32, m *metrics) (*journal, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.TransactionalID(cfg.Group + "-" + strconv.Itoa(int(partition))),
		kgo.TransactionTimeout(transactionTimeout),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(topic string) func(*kgo.Record, int) int {
			switch topic {
			case topics.RailsAttempts:
				return func(*kgo.Record, int) int { return int(partition) }
			case topics.RailsNotifications:
				return func(r *kgo.Record, _ int) int { return int(r.Partition) }
			}
			return func(r *kgo.Record, n int) int { return int(topics.Partition(r.Key, int32(n))) } //nolint:gosec // a partition count
		})),
		kgo.ProducerLinger(0),
		kgo.RecordDeliveryTimeout(transactionTimeout),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}, cfg.Client...)...)
	if err != nil {
		return nil, fmt.Errorf("opening journal of partition %d: %w", partition, err)
	}
	if _, _, err := client.ProducerID(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("fencing partition %d: %w", partition, err)
	}
	j := &journal{
		client: client, partition: partition, metrics: m, hook: cfg.hook,
		entries: make(chan entry), closing: make(chan struct{}), closed: make(chan struct{}),
	}
	go j.run(context.WithoutCancel(ctx))
	return j, nil
}

// close ends the journal after the transaction under way.
func (j *journal) close() {
	close(j.closing)
	<-j.closed
	j.client.Close()
}

// write returns when the records are committed. An error ends the partition: nobody knows whether they are.
func (j *journal) write(ctx context.Context, records ...*kgo.Record) error {
	began := time.Now()
	e := entry{records: records, done: make(chan error, 1)}
	select {
	case j.entries <- e:
	case <-j.closed:
		return errJournalClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	// Not given up at ctx's end: it may be committed already.
	err := <-e.done
	j.metrics.journal.Observe(time.Since(began).Seconds())
	return err
}

func (j *journal) run(ctx context.Context) {
	defer close(j.closed)
	for {
		select {
		case first := <-j.entries:
			all := j.gather(first)
			err := j.commit(ctx, all)
			for _, e := range all {
				e.done <- err
			}
			if err != nil {
				return
			}
		case <-j.closing:
			return
		}
	}
}

// gather takes what else waits already.
func (j *journal) gather(first entry) []entry {
	all := []entry{first}
	for len(all) < entriesMax {
		select {
		case e := <-j.entries:
			all = append(all, e)
		default:
			return all
		}
	}
	return all
}

func (j *journal) commit(ctx context.Context, all []entry) error {
	ctx, cancel := context.WithTimeout(ctx, 2*transactionTimeout)
	defer cancel()
	if err := j.client.BeginTransaction(); err != nil {
		return fmt.Errorf("beginning transaction of partition %d: %w", j.partition, err)
	}
	var records []*kgo.Record
	for _, e := range all {
		records = append(records, e.records...)
	}
	if err := j.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		_ = j.client.EndTransaction(ctx, kgo.TryAbort) // where that fails too, the timeout or the next owner aborts it
		return fmt.Errorf("writing to the journal of partition %d: %w", j.partition, err)
	}
	if j.hook != nil && records[0].Topic == topics.Commands {
		j.hook(pointAfterOutcome, string(records[0].Key))
	}
	if err := j.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("committing the journal of partition %d: %w", j.partition, err)
	}
	return nil
}

// fenceKey is the key of a record that says nothing: what stands before it is all there is.
const fenceKey = "fence"

// restore reads all attempts of a partition at orders of its method, the last of each order. The journal is open, so nobody else writes; how far
// to read is told by a record of its own, since compaction leaves gaps in offsets.
func (j *journal) restore(ctx context.Context, cfg Config) (map[string]*attempt, error) {
	fence := &kgo.Record{Topic: topics.RailsAttempts, Key: []byte(fenceKey), Value: []byte{formatVersion}}
	if err := j.write(ctx, fence); err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.RailsAttempts: {j.partition: kgo.NewOffset().AtStart()}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}, cfg.Client...)...)
	if err != nil {
		return nil, fmt.Errorf("restoring attempts of partition %d: %w", j.partition, err)
	}
	defer client.Close()
	all := map[string]*attempt{}
	for {
		fetches := client.PollRecords(ctx, 0)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for _, e := range fetches.Errors() {
			return nil, fmt.Errorf("restoring attempts of partition %d: %w", j.partition, e.Err)
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			record := iter.Next()
			if record.Offset >= fence.Offset { // above: the runner of another method has a fence too, and compaction kept that one
				return all, nil
			}
			if err := take(all, record, cfg.method()); err != nil {
				return nil, err
			}
		}
	}
}

func take(all map[string]*attempt, record *kgo.Record, method string) error {
	id := string(record.Key)
	switch {
	case id == fenceKey:
		return nil
	case record.Value == nil:
		delete(all, id)
		return nil
	}
	a, err := decodeAttempt(record.Value)
	if err != nil {
		return fmt.Errorf("restoring partition %d offset %d: %w", record.Partition, record.Offset, err)
	}
	switch {
	case a.order.Method != method: // another runner's
		return nil
	case a.state == stateDone:
		a = a.slim()
	}
	all[id] = a
	return nil
}

package logtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

const topicOfTicks = topics.Commands

// Partition is where a decision stands in a log of n partitions: its key's, or for a tick that of its minute.
func Partition(d *paymentsv1.Decision, n int32) int32 {
	if d.GetAccount() == "" {
		return int32(d.GetAcceptedAtUs()/60_000_000) % n //nolint:gosec // minutes of this century
	}
	return topics.Partition([]byte(d.GetAccount()), n)
}

// Create makes the decisions topic.
func Create(t testing.TB, brokers []string, partitions int32) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(t.Context(), partitions, 1, nil, topics.Decisions); err != nil {
		t.Fatalf("creating the decisions topic: %v", err)
	}
	for t.Context().Err() == nil {
		if listed, err := admin.ListEndOffsets(t.Context(), topics.Decisions); err == nil && listed.Error() == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Writer writes decisions as the engine does: in transactions, some of them aborted.
type Writer struct {
	client     *kgo.Client
	partitions int32
	commits    int
}

// NewWriter is closed when the test ends.
func NewWriter(t testing.TB, brokers []string, partitions int32) *Writer {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(t.Name()), kgo.DefaultProduceTopic(topics.Decisions),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(100*time.Millisecond), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &Writer{client: client, partitions: partitions}
}

// Write commits the decisions in order; every seventh time an aborted transaction with the same records goes before.
func (w *Writer) Write(ctx context.Context, ds []*paymentsv1.Decision) error {
	w.commits++
	if w.commits%7 == 0 {
		if err := w.transaction(ctx, ds, kgo.TryAbort); err != nil {
			return err
		}
	}
	return w.transaction(ctx, ds, kgo.TryCommit)
}

func (w *Writer) transaction(ctx context.Context, ds []*paymentsv1.Decision, end kgo.TransactionEndTry) error {
	if err := w.client.BeginTransaction(); err != nil {
		return fmt.Errorf("beginning: %w", err)
	}
	records := make([]*kgo.Record, len(ds))
	for i, d := range ds {
		value, err := proto.Marshal(d)
		if err != nil {
			return fmt.Errorf("encoding a decision: %w", err)
		}
		records[i] = &kgo.Record{Key: []byte(d.GetAccount()), Value: value, Partition: Partition(d, w.partitions)}
	}
	if err := w.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("producing: %w", err)
	}
	if err := w.client.EndTransaction(ctx, end); err != nil {
		return fmt.Errorf("ending: %w", err)
	}
	return nil
}

// Write writes about n decisions in transactions of a few hundred.
func Write(ctx context.Context, w *Writer, g *Generator, n int) error {
	for done := 0; done < n; {
		var ds []*paymentsv1.Decision
		for len(ds) < min(400, n-done) {
			ds = append(ds, g.Step()...)
		}
		if err := w.Write(ctx, ds); err != nil {
			return err
		}
		done += len(ds)
	}
	return nil
}

// Fill is Write for a test's own goroutine.
func Fill(t testing.TB, w *Writer, g *Generator, n int) {
	t.Helper()
	if err := Write(t.Context(), w, g, n); err != nil {
		t.Fatal(err)
	}
}

// Logged is a decision and where it stands.
type Logged struct {
	Partition int32
	Offset    int64
	Written   time.Time
	*paymentsv1.Decision
}

// Ends are the committed ends of the log.
func Ends(t testing.TB, brokers []string) map[int32]int64 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	listed, err := kadm.NewClient(client).ListCommittedOffsets(t.Context(), topics.Decisions)
	if err != nil {
		t.Fatal(err)
	}
	ends := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends
}

// Read reads the whole committed log, in order per partition, by other means than the sinks do.
func Read(t testing.TB, brokers []string) []Logged {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics.Decisions),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends := Ends(t, brokers)
	var all []Logged
	for open := len(ends); open > 0; {
		open = 0
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= ends[r.Partition] {
				delete(ends, r.Partition)
			}
			if r.Attrs.IsControl() {
				return
			}
			d := &paymentsv1.Decision{}
			if err := proto.Unmarshal(r.Value, d); err != nil {
				t.Fatal(err)
			}
			all = append(all, Logged{r.Partition, r.Offset, r.Timestamp, d})
		})
		for _, end := range ends {
			if end > 0 {
				open++
			}
		}
	}
	return all
}

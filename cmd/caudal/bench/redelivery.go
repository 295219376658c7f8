package bench

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// redelivered is how many commands are sent to the log a second time.
const redelivered = 100

// redeliver writes commands of the log into it once more, byte for byte, as a producer without idempotence would, and
// holds the system to what must come of it: as many repeats, not one more final payment.
func (b *bench) redeliver(ctx context.Context) error {
	again, err := somePayments(ctx, b.house.Brokers, redelivered)
	if err != nil {
		return err
	}
	finals, repeats := b.finals, b.repeats
	_, err = b.watched(ctx, func(ctx context.Context, _ *load) (int64, error) {
		client, err := kgo.NewClient(kgo.SeedBrokers(b.house.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			return 0, fmt.Errorf("connecting: %w", err)
		}
		defer client.Close()
		if err := client.ProduceSync(ctx, again...).FirstErr(); err != nil {
			return 0, fmt.Errorf("redelivering: %w", err)
		}
		return int64(len(again)), nil
	})
	if err != nil {
		return fmt.Errorf("redelivering commands: %w", err)
	}
	if b.repeats-repeats != int64(len(again)) || b.finals != finals {
		return fmt.Errorf("%d commands were redelivered: %d were known as repeats and %d payments became final a second time",
			len(again), b.repeats-repeats, b.finals-finals)
	}
	b.accepted -= int64(len(again)) // nobody was told yes
	b.report.Redelivered, b.report.Repeats = int64(len(again)), b.repeats-repeats
	return nil
}

// somePayments are the first pay-ins of the log, as fresh records. Not the last: a backlog ends in the results of transfers.
func somePayments(ctx context.Context, brokers []string, most int) ([]*kgo.Record, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics.Commands),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	defer client.Close()
	var out []*kgo.Record
	for len(out) < most {
		fetches := client.PollRecords(ctx, 10_000)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("reading commands: %w", err)
		}
		var failed error
		fetches.EachRecord(func(r *kgo.Record) {
			var c paymentsv1.Command
			if err := proto.Unmarshal(r.Value, &c); err != nil {
				failed = fmt.Errorf("decoding command at %d/%d: %w", r.Partition, r.Offset, err)
				return
			}
			if c.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_PAY_IN && len(out) < most {
				out = append(out, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers})
			}
		})
		if failed != nil {
			return nil, failed
		}
	}
	return out, nil
}

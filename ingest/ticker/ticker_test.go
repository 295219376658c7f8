package ticker_test

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/ticker"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

const partitions = 5

// The clock stands 30 ms before a minute and leaps ahead afterwards: two rounds in a blink.
func TestOneTickPerPartitionAndMinute(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topics.Commands))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	const minute = 29_000_000
	var calls atomic.Int64
	now := func() time.Time {
		if calls.Add(1) == 1 {
			return time.Unix(minute*60+59, 970_000_000)
		}
		return time.Unix((minute+1)*60, 0)
	}
	tick, err := ticker.New(ticker.Config{Brokers: c.ListenAddrs(), Partitions: partitions, Log: slog.New(slog.DiscardHandler), Now: now}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if tick.Ready() == nil {
		t.Fatal("ready before the first tick")
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tick.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})

	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topics.Commands))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	deadline, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	seen := map[int32][]int64{}
	for n := 0; n < 2*partitions; {
		fetches := client.PollFetches(deadline)
		if deadline.Err() != nil {
			t.Fatalf("%d ticks", n)
		}
		for _, r := range fetches.Records() {
			n++
			cmd := &paymentsv1.Command{}
			if err := proto.Unmarshal(r.Value, cmd); err != nil || cmd.GetKind() != paymentsv1.CommandKind_COMMAND_KIND_TICK ||
				string(r.Key) != strconv.Itoa(int(r.Partition)) || cmd.GetAccount() != "" || cmd.GetAcceptedAtUs() != cmd.GetTick().GetMinute()*60_000_000 {
				t.Fatalf("partition %d key %s: %v, %v", r.Partition, r.Key, cmd, err)
			}
			seen[r.Partition] = append(seen[r.Partition], cmd.GetTick().GetMinute())
		}
	}
	for p := range int32(partitions) {
		if m := seen[p]; len(m) != 2 || m[0] != minute || m[1] != minute+1 {
			t.Errorf("partition %d: %v", p, m)
		}
	}
	for end := time.Now().Add(5 * time.Second); tick.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(tick.Ready())
		}
	}
}

func TestWithoutATopicItIsNotReadyAndStops(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	tick, err := ticker.New(ticker.Config{Brokers: c.ListenAddrs(), Partitions: partitions, Log: slog.New(slog.DiscardHandler)}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := tick.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if tick.Ready() == nil {
		t.Fatal("ready without a topic")
	}
}

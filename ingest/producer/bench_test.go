package producer_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/ingest/producer"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

func benchProducer(b *testing.B) *producer.Producer {
	b.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(16, topics.Commands, topics.Replies))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	cfg := producer.DefaultConfig()
	cfg.Brokers, cfg.Log = c.ListenAddrs(), slog.New(slog.DiscardHandler)
	p, err := producer.New(cfg, prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	for p.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	return p
}

func payment(i int) *paymentsv1.Command {
	return &paymentsv1.Command{
		Version: 1, Kind: paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, Tenant: "sample", Merchant: "shop", Customer: "customer",
		Account: "acc_aaaaaaaaaaaaaaaaaaaa", CommandId: fmt.Sprintf("pi_%040d", i), PaymentId: fmt.Sprintf("pi_%040d", i),
		AcceptedAtUs: 1_790_000_000_000_000, BodyHash: make([]byte, 32),
		Pins:   &paymentsv1.Pins{Policy: "standard@1", Fees: "standard@1", Rates: "sample@1", Rules: "standard@1", Blocklist: "standard@1"},
		Sealed: &paymentsv1.Sealed{KeyId: "k_0011223344556677", Ciphertext: make([]byte, 80)},
		Body:   &paymentsv1.Command_Instruction{Instruction: &paymentsv1.Instruction{AmountMinor: 1234, Currency: "BRL", Method: "book"}},
	}
}

// One operation is one payment; the broker is kfake in the same process.
func BenchmarkSubmit(b *testing.B) {
	p := benchProducer(b)
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if err := p.Submit(b.Context(), fmt.Sprintf("acc_%d", i%1000), payment(i)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkSubmitBatchOf100(b *testing.B) {
	p := benchProducer(b)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		items := make([]door.Item, 0, 100)
		for i := 0; pb.Next(); i++ {
			if items = append(items, door.Item{Key: fmt.Sprintf("acc_%d", i%1000), Command: payment(i)}); len(items) < 100 {
				continue
			}
			if err := p.SubmitBatch(b.Context(), items)[99]; err != nil {
				b.Error(err)
				return
			}
			items = items[:0]
		}
	})
}

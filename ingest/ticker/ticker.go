// Package ticker writes the passing of time to the log: one TICK per partition and minute, so that what is due is a
// function of the log and not of a clock in the engine. It starts at once and catches nothing up: a tick stands for
// all minutes before it, and repeats find nothing left to do and late ones do nothing, so several tickers may run.
package ticker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

const (
	retryAfter = time.Second
	// sendTimeout is below a minute: a tick that could not be written is followed by a newer one that says more.
	sendTimeout = 20 * time.Second
)

// Config of a Ticker.
type Config struct {
	Brokers    []string
	Partitions int32 // of payments.commands.v1
	Log        *slog.Logger
	Now        func() time.Time // nil: the clock
}

// Ticker writes ticks while it runs.
type Ticker struct {
	cfg    Config
	client *kgo.Client
	state  atomic.Pointer[error]
	sent   prometheus.Counter
}

// New makes a ticker.
func New(cfg Config, reg prometheus.Registerer) (*Ticker, error) {
	switch {
	case len(cfg.Brokers) == 0:
		return nil, errors.New("configuring ticker: no brokers")
	case cfg.Partitions <= 0:
		return nil, errors.New("configuring ticker: no partitions")
	case cfg.Log == nil:
		return nil, errors.New("configuring ticker: no logger")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.DefaultProduceTopic(topics.Commands),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RecordDeliveryTimeout(sendTimeout),
		kgo.MetadataMinAge(100*time.Millisecond),
	)
	if err != nil {
		return nil, fmt.Errorf("configuring ticker: %w", err)
	}
	t := &Ticker{cfg: cfg, client: client, sent: promauto.With(reg).NewCounter(prometheus.CounterOpts{
		Name: "caudal_ingest_ticks_total", Help: "Ticks acknowledged, all partitions together.",
	})}
	t.note(errors.New("no tick written yet"))
	return t, nil
}

// Ready is nil while the last round of ticks was acknowledged.
func (t *Ticker) Ready() error {
	if err := *t.state.Load(); err != nil {
		return fmt.Errorf("writing ticks: %w", err)
	}
	return nil
}

// Run writes a round of ticks now and one at the start of each minute, until ctx ends.
func (t *Ticker) Run(ctx context.Context) error {
	defer t.client.Close()
	for ctx.Err() == nil {
		now := t.cfg.Now()
		pause := now.Truncate(time.Minute).Add(time.Minute).Sub(now)
		err := t.round(ctx, now.Unix()/60)
		if t.note(err); err != nil && ctx.Err() == nil {
			t.cfg.Log.Warn("writing ticks", "topic", topics.Commands, "error", err)
			pause = min(pause, retryAfter)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

func (t *Ticker) note(err error) { t.state.Store(&err) }

// round writes the tick of one minute to every partition. The key is the partition's number: a tick belongs to no account.
func (t *Ticker) round(ctx context.Context, minute int64) error {
	value, err := proto.Marshal(&paymentsv1.Command{
		Version: 1, Kind: paymentsv1.CommandKind_COMMAND_KIND_TICK, AcceptedAtUs: minute * time.Minute.Microseconds(),
		Body: &paymentsv1.Command_Tick{Tick: &paymentsv1.Tick{Minute: minute}},
	})
	if err != nil {
		return fmt.Errorf("encoding tick: %w", err)
	}
	records := make([]*kgo.Record, t.cfg.Partitions)
	for i := range records {
		records[i] = &kgo.Record{Partition: int32(i), Key: []byte(strconv.Itoa(i)), Value: value}
	}
	results := t.client.ProduceSync(ctx, records...)
	for _, r := range results {
		if r.Err == nil {
			t.sent.Inc()
		}
	}
	return results.FirstErr()
}

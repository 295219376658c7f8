package producer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/ingest/producer"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

const partitions = 4

func cluster(t *testing.T) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topics.Commands, topics.Replies))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func start(t *testing.T, brokers []string, change func(*producer.Config)) *producer.Producer {
	t.Helper()
	return startWith(t, brokers, prometheus.NewRegistry(), change)
}

func startWith(t *testing.T, brokers []string, metrics *prometheus.Registry, change func(*producer.Config)) *producer.Producer {
	t.Helper()
	cfg := producer.DefaultConfig()
	cfg.Brokers, cfg.ReplyPartition, cfg.Log = brokers, 2, slog.New(slog.DiscardHandler)
	if change != nil {
		change(&cfg)
	}
	p, err := producer.New(cfg, metrics)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func ready(t *testing.T, p *producer.Producer) *producer.Producer {
	t.Helper()
	eventually(t, "ready", func() bool { return p.Ready() == nil })
	return p
}

func command(id string) *paymentsv1.Command {
	return &paymentsv1.Command{Version: 1, Kind: paymentsv1.CommandKind_COMMAND_KIND_PAY_IN, CommandId: id}
}

// read returns every record of a topic, in the order of each partition.
func read(t *testing.T, brokers []string, topic string, n int) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var records []*kgo.Record
	for len(records) < n {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read %d of %d records", len(records), n)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

func TestSubmitPutsTheCommandWhereItsKeyBelongs(t *testing.T) {
	c := cluster(t)
	p := ready(t, start(t, c.ListenAddrs(), nil))
	for i := range 100 {
		key := fmt.Sprintf("acc_%d", i)
		if err := p.Submit(t.Context(), key, command(key)); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range read(t, c.ListenAddrs(), topics.Commands, 100) {
		got := &paymentsv1.Command{}
		if err := proto.Unmarshal(r.Value, got); err != nil || got.GetCommandId() != string(r.Key) {
			t.Fatalf("read %v under %s, %v", got, r.Key, err)
		}
		if want := topics.Partition(r.Key, partitions); r.Partition != want {
			t.Fatalf("%s in partition %d, want %d", r.Key, r.Partition, want)
		}
	}
}

func TestBatchKeepsTheOrderOfEachKey(t *testing.T) {
	c := cluster(t)
	p := ready(t, start(t, c.ListenAddrs(), nil))
	if errs := p.SubmitBatch(t.Context(), nil); len(errs) != 0 {
		t.Fatalf("empty batch: %v", errs)
	}
	const batches, size, keys = 20, 1000, 7
	for b := range batches {
		items := make([]door.Item, size)
		for i := range items {
			n := b*size + i
			items[i] = door.Item{Key: fmt.Sprintf("acc_%d", n%keys), Command: command(fmt.Sprintf("%08d", n))}
		}
		for i, err := range p.SubmitBatch(t.Context(), items) {
			if err != nil {
				t.Fatalf("item %d: %v", i, err)
			}
		}
	}
	last := map[string]string{}
	for _, r := range read(t, c.ListenAddrs(), topics.Commands, batches*size) {
		got := &paymentsv1.Command{}
		if err := proto.Unmarshal(r.Value, got); err != nil {
			t.Fatal(err)
		}
		if got.GetCommandId() <= last[string(r.Key)] {
			t.Fatalf("%s after %s", got.GetCommandId(), last[string(r.Key)])
		}
		last[string(r.Key)] = got.GetCommandId()
	}
}

// decide stands in for the engine: each command gets a reply inside a transaction; those whose id is odd first one in
// a transaction that is aborted.
func decide(t *testing.T, brokers []string, mute *atomic.Bool) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics.Commands),
		kgo.TransactionalID("engine"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	reply := func(cmd *paymentsv1.Command, outcome paymentsv1.Outcome, commit kgo.TransactionEndTry) {
		value, err := proto.Marshal(&paymentsv1.Reply{Version: 1, ReplyId: cmd.GetReplyId(), Decision: &paymentsv1.Decision{
			Outcome: outcome, CommandId: cmd.GetCommandId(), AcceptedAtUs: cmd.GetAcceptedAtUs(),
		}})
		if err == nil {
			err = client.BeginTransaction()
		}
		if err == nil {
			err = client.ProduceSync(ctx, &kgo.Record{Topic: topics.Replies, Partition: cmd.GetReplyPartition(), Value: value}).FirstErr()
		}
		if err == nil {
			err = client.EndTransaction(ctx, commit)
		}
		if err != nil && ctx.Err() == nil {
			t.Errorf("replying: %v", err)
		}
	}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				cmd := &paymentsv1.Command{}
				if err := proto.Unmarshal(r.Value, cmd); err != nil {
					t.Error(err)
				}
				if cmd.ReplyPartition == nil || mute.Load() {
					return
				}
				if cmd.GetReplyId()%2 == 1 {
					reply(cmd, paymentsv1.Outcome_OUTCOME_DECLINED, kgo.TryAbort)
				}
				reply(cmd, paymentsv1.Outcome_OUTCOME_APPROVED, kgo.TryCommit)
			})
		}
	}()
	t.Cleanup(func() { cancel(); <-done; client.Close() })
}

func TestWaitersGetTheCommittedDecision(t *testing.T) {
	c := cluster(t)
	var mute atomic.Bool
	decide(t, c.ListenAddrs(), &mute)
	p := ready(t, start(t, c.ListenAddrs(), nil))
	for i := range 10 {
		id := fmt.Sprintf("acc_%d", i)
		decision, err := p.SubmitAndWait(t.Context(), id, command(id), 5*time.Second)
		if err != nil || decision.GetCommandId() != id || decision.GetOutcome() != paymentsv1.Outcome_OUTCOME_APPROVED {
			t.Fatalf("%s: %v, %v", id, decision, err)
		}
	}
	items := make([]door.Item, 50)
	for i := range items {
		items[i] = door.Item{Key: fmt.Sprintf("acc_%d", i%5), Command: command(fmt.Sprintf("b%d", i))}
	}
	for i, r := range p.SubmitBatchAndWait(t.Context(), items, 10*time.Second) {
		if r.Err != nil || r.Decision.GetCommandId() != fmt.Sprintf("b%d", i) {
			t.Fatalf("item %d: %v, %v", i, r.Decision, r.Err)
		}
	}
	mute.Store(true)
	if _, err := p.SubmitAndWait(t.Context(), "acc_0", command("late"), 50*time.Millisecond); !errors.Is(err, door.ErrPending) {
		t.Fatalf("undecided: %v", err)
	}
}

// A door whose clock runs ahead takes its accounts with it: the others see their decisions dated ahead, and count them.
func TestDecisionsAheadOfTheClockAreCounted(t *testing.T) {
	c := cluster(t)
	decide(t, c.ListenAddrs(), new(atomic.Bool))
	metrics := prometheus.NewRegistry()
	p := ready(t, startWith(t, c.ListenAddrs(), metrics, nil))
	for _, ahead := range []time.Duration{-time.Hour, 0, 30 * time.Second, 2 * time.Minute, time.Hour} {
		cmd := command(ahead.String())
		cmd.AcceptedAtUs = time.Now().Add(ahead).UnixMicro()
		if _, err := p.SubmitAndWait(t.Context(), "acc_1", cmd, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "caudal_ingest_replies_ahead_total" })
	if at < 0 || families[at].GetMetric()[0].GetCounter().GetValue() != 2 {
		t.Errorf("two of five are from more than a minute ahead: %v", families)
	}
}

func TestRepliesToAnEarlierProcessWakeNobody(t *testing.T) {
	c := cluster(t)
	var mute atomic.Bool
	decide(t, c.ListenAddrs(), &mute)
	first := ready(t, start(t, c.ListenAddrs(), nil))
	if _, err := first.SubmitAndWait(t.Context(), "acc_1", command("one"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	mute.Store(true)
	second := ready(t, start(t, c.ListenAddrs(), nil))
	if d, err := second.SubmitAndWait(t.Context(), "acc_1", command("two"), 200*time.Millisecond); !errors.Is(err, door.ErrPending) {
		t.Fatalf("got %v, %v", d, err)
	}
}

func TestFullBufferIsBusyAtOnceAndNothingAcknowledgedIsLost(t *testing.T) {
	c := cluster(t)
	p := ready(t, start(t, c.ListenAddrs(), func(cfg *producer.Config) { cfg.RecordsMax = 1000 }))
	hold, held := make(chan struct{}), make(chan struct{}, 100)
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		held <- struct{}{}
		c.KeepControl()
		c.SleepControl(func() { <-hold })
		return nil, nil, false
	})
	batch := func(name string, n int) []door.Item {
		items := make([]door.Item, n)
		for i := range items {
			items[i] = door.Item{Key: fmt.Sprintf("acc_%d", i), Command: command(fmt.Sprintf("%s-%d", name, i))}
		}
		return items
	}
	first := make(chan []error, 1)
	go func() { first <- p.SubmitBatch(context.Background(), batch("first", 900)) }()
	<-held
	begun := time.Now()
	if errs := p.SubmitBatch(t.Context(), batch("second", 101)); !errors.Is(errs[0], door.ErrBusy) || !errors.Is(errs[100], door.ErrBusy) {
		t.Fatalf("not refused whole: %v, %v", errs[0], errs[100])
	}
	if took := time.Since(begun); took > 100*time.Millisecond {
		t.Fatalf("busy after %v", took)
	}
	close(hold)
	if errs := <-first; slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		t.Fatal(errors.Join(errs...))
	}
	c.DropControl()
	if err := p.Submit(t.Context(), "acc_0", command("after")); err != nil {
		t.Fatalf("room was not given back: %v", err)
	}
	seen := map[string]int{}
	for _, r := range read(t, c.ListenAddrs(), topics.Commands, 901) {
		cmd := &paymentsv1.Command{}
		if err := proto.Unmarshal(r.Value, cmd); err != nil {
			t.Fatal(err)
		}
		seen[cmd.GetCommandId()]++
	}
	if len(seen) != 901 || seen["after"] != 1 || seen["first-899"] != 1 {
		t.Fatalf("%d commands in the log", len(seen))
	}
}

func TestBrokerAwayIsUnavailableThenRecovers(t *testing.T) {
	dir := t.TempDir()
	open := func(opts ...kfake.Opt) *kfake.Cluster {
		c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.DataDir(dir),
			kfake.SeedTopics(partitions, topics.Commands, topics.Replies))...)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open()
	addrs := c.ListenAddrs()
	p := ready(t, start(t, addrs, func(cfg *producer.Config) { cfg.DeliveryTimeout = time.Second }))
	if err := p.Submit(t.Context(), "acc_1", command("before")); err != nil {
		t.Fatal(err)
	}
	c.Close()
	begun := time.Now()
	if err := p.Submit(t.Context(), "acc_1", command("during")); !errors.Is(err, door.ErrUnavailable) {
		t.Fatalf("broker away: %v", err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Fatalf("unavailable only after %v", took)
	}
	eventually(t, "not ready", func() bool { return p.Ready() != nil })
	var port int
	if _, err := fmt.Sscanf(addrs[0], "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	again := open(kfake.Ports(port))
	t.Cleanup(again.Close)
	eventually(t, "acknowledged again", func() bool { return p.Submit(t.Context(), "acc_1", command("after")) == nil })
	eventually(t, "ready again", func() bool { return p.Ready() == nil })
	var ids []string
	for _, r := range read(t, addrs, topics.Commands, 2) {
		cmd := &paymentsv1.Command{}
		if err := proto.Unmarshal(r.Value, cmd); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, cmd.GetCommandId())
	}
	if ids[0] != "before" || !slices.Contains(ids, "after") {
		t.Fatalf("log holds %v", ids)
	}
}

func TestCallerMayLeave(t *testing.T) {
	c := cluster(t)
	p := ready(t, start(t, c.ListenAddrs(), nil))
	hold := make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.SleepControl(func() { <-hold })
		return nil, nil, false
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Submit(ctx, "acc_1", command("left")); !errors.Is(err, door.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	close(hold)
	if got := read(t, c.ListenAddrs(), topics.Commands, 1); len(got) != 1 {
		t.Fatal("the record was taken back")
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := producer.DefaultConfig()
	good.Brokers, good.Log = []string{"127.0.0.1:1"}, slog.New(slog.DiscardHandler)
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*producer.Config){
		"brokers": func(c *producer.Config) { c.Brokers = nil }, "reply": func(c *producer.Config) { c.ReplyPartition = -1 },
		"records": func(c *producer.Config) { c.RecordsMax = 999 }, "bytes": func(c *producer.Config) { c.BytesMax = 1 },
		"linger": func(c *producer.Config) { c.Linger = time.Minute }, "timeout": func(c *producer.Config) { c.DeliveryTimeout = 0 },
		"log": func(c *producer.Config) { c.Log = nil },
	} {
		bad := good
		spoil(&bad)
		if bad.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Invariant: commands of one key that are begun one after the other reach the log in that order, without waiting.
func TestBeginKeepsTheOrder(t *testing.T) {
	c := cluster(t)
	p := ready(t, start(t, c.ListenAddrs(), nil))
	const n = 500
	tickets := make([]door.Ticket, n)
	for i := range tickets {
		var err error
		if tickets[i], err = p.Begin("acc_1", command(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	for _, ticket := range tickets {
		if err := ticket.Acked(t.Context()); err != nil {
			t.Fatal(err)
		}
		begun, acked := ticket.Times()
		if acked.Before(begun) {
			t.Fatalf("acknowledged at %v, begun at %v", acked, begun)
		}
		ticket.Leave()
	}
	for i, r := range read(t, c.ListenAddrs(), topics.Commands, n) {
		got := &paymentsv1.Command{}
		if err := proto.Unmarshal(r.Value, got); err != nil || got.GetCommandId() != fmt.Sprint(i) || got.GetReplyPartition() != 2 || got.GetReplyId() == 0 {
			t.Fatalf("at %d: %v, %v", i, got, err)
		}
	}
}

// Invariant: a ticket tells apart what is decided, what is in the log, and what nobody knows.
func TestTicketTellsWhatIsKnown(t *testing.T) {
	c := cluster(t)
	p := ready(t, start(t, c.ListenAddrs(), nil))
	ask := func(wait time.Duration) (*paymentsv1.Command, error) {
		cmd := command("one")
		ticket, err := p.Begin("acc_1", cmd)
		if err != nil {
			t.Fatal(err)
		}
		defer ticket.Leave()
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		_, err = ticket.Decision(ctx)
		return cmd, err
	}
	if _, err := ask(300 * time.Millisecond); !errors.Is(err, door.ErrPending) {
		t.Errorf("acknowledged and not decided: %v", err)
	}
	cmd := command("two")
	ticket, err := p.Begin("acc_1", cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := ticket.Acked(t.Context()); err != nil {
		t.Fatal(err)
	}
	reply(t, c.ListenAddrs(), cmd.GetReplyPartition(), cmd.GetReplyId())
	if d, err := ticket.Decision(t.Context()); err != nil || d.GetPaymentId() != "decided" {
		t.Errorf("%v, %v", d, err)
	}
	ticket.Leave()
	hold := make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.SleepControl(func() { <-hold })
		return nil, nil, false
	})
	if _, err := ask(100 * time.Millisecond); !errors.Is(err, door.ErrUnavailable) {
		t.Errorf("not acknowledged: %v", err)
	}
	close(hold)
}

// reply writes what the engine would.
func reply(t *testing.T, brokers []string, partition int32, id uint64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	value, err := proto.Marshal(&paymentsv1.Reply{Version: 1, ReplyId: id, Decision: &paymentsv1.Decision{PaymentId: "decided"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topics.Replies, Partition: partition, Value: value}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

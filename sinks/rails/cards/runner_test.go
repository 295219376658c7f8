package cards

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/rails/cards/abecs"
)

const partitions = 2

// The child of a kill test is this binary again.
const (
	childBrokers = "CAUDAL_TEST_CARDS_BROKERS"
	childBank    = "CAUDAL_TEST_CARDS_BANK"
	childPayer   = "CAUDAL_TEST_CARDS_PAYER"
	childPoint   = "CAUDAL_TEST_CARDS_POINT"
)

func TestMain(m *testing.M) {
	if brokers := os.Getenv(childBrokers); brokers != "" {
		err := runChild(strings.Split(brokers, ","))
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	embedtest.Main(m)
}

// runChild dies at the point it was told, as if the power had gone.
func runChild(brokers []string) error {
	cfg, err := config(brokers, map[string]Acquirer{"bank": newTeller(os.Getenv(childBank))})
	if err != nil {
		return err
	}
	if url := os.Getenv(childPayer); url != "" {
		cfg = paying(cfg, newCounter(url))
	}
	cfg.Instance = "child"
	cfg.hook = func(p point, _ string) {
		if p == point(os.Getenv(childPoint)) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	r, err := New(cfg)
	if err != nil {
		return err
	}
	return r.Run(context.Background())
}

const oneRoute = "version: 1\nroutes:\n  - connector: bank\n    cost_bp: 100\n"

// config has the defaults with times that fit a test.
func config(brokers []string, acquirers map[string]Acquirer) (Config, error) {
	cfg := DefaultConfig()
	routes, err := ParseRoutes([]byte(oneRoute))
	if err != nil {
		return cfg, err
	}
	codes, err := abecs.Default()
	if err != nil {
		return cfg, err
	}
	cfg.Brokers, cfg.Partitions, cfg.Acquirers, cfg.Routes, cfg.Codes = brokers, partitions, acquirers, routes, codes
	cfg.Polls = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 4 * time.Second}
	cfg.Guard.Deadline, cfg.Guard.Sendings, cfg.Guard.InFlightWait = time.Second, 2, 50*time.Millisecond
	cfg.Guard.BackoffFirst, cfg.Guard.BackoffMost = 5*time.Millisecond, 20*time.Millisecond
	cfg.Guard.BreakerCalls = 1000
	cfg.Patience = Patience{Authorization: 10 * time.Second, FollowUp: 10 * time.Second, Payout: 10 * time.Second, First: 10 * time.Millisecond, Most: 50 * time.Millisecond, Resends: 1}
	cfg.Disputes = &desk{}
	cfg.NotFoundAfter = 3500 * time.Millisecond
	cfg.CommitEvery = 20 * time.Millisecond
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	cfg.Registry = prometheus.NewRegistry()
	return cfg, nil
}

// house is a broker with the topics, and somebody who writes orders and reads answers.
type house struct {
	t       testing.TB
	brokers []string
	client  *kgo.Client
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{t: t, brokers: embedtest.Broker(t)}
	client, err := kgo.NewClient(kgo.SeedBrokers(h.brokers...), kgo.MetadataMinAge(100*time.Millisecond), kgo.ProducerLinger(0),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
			return func(r *kgo.Record, n int) int { return int(topics.Partition(r.Key, int32(n))) }
		})))
	if err != nil {
		t.Fatal(err)
	}
	h.client = client
	t.Cleanup(client.Close)
	admin := kadm.NewClient(client)
	for _, topic := range []string{topics.RailsOrders, topics.Commands, topics.RailsAttempts, topics.RailsNotifications} {
		if _, err := admin.CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "topics", func() bool {
		listed, err := admin.ListEndOffsets(t.Context(), topics.RailsOrders, topics.Commands, topics.RailsAttempts)
		return err == nil && listed.Error() == nil
	})
	return h
}

func accountOf(n int) payment.AccountID {
	return payment.AccountIDFrom("t1", "m1", fmt.Sprintf("customer-%d", n))
}

// collect is an order of account n with the card's words.
func collect(n int, words string) *railsv1.Order {
	account := accountOf(n)
	id := payment.IDFrom(payment.KindPayIn, account, "m1", fmt.Sprintf("key-%d", n))
	return &railsv1.Order{
		Version: 1, OrderId: string(id) + ".collect", Kind: railsv1.OrderKind_ORDER_KIND_COLLECT, Method: "card", Tenant: "t1",
		Merchant: "m1", Account: string(account), PaymentId: string(id), AmountMinor: 1000 + int64(n), Currency: "BRL",
		Instrument: words, Brand: "visa", Installments: 1, OrderedAtUs: time.Now().UnixMicro(),
	}
}

func (h *house) order(orders ...*railsv1.Order) {
	h.t.Helper()
	for _, o := range orders {
		value, err := proto.Marshal(o)
		if err != nil {
			h.t.Fatal(err)
		}
		record := &kgo.Record{Topic: topics.RailsOrders, Key: []byte(o.GetAccount()), Value: value}
		if err := h.client.ProduceSync(h.t.Context(), record).FirstErr(); err != nil {
			h.t.Fatal(err)
		}
	}
}

// listen hands on the commands of the log from its start, until all is heard: false where that takes longer.
func (h *house) listen(within time.Duration, heard func() bool, take func(*kgo.Record, payment.Command)) bool {
	h.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(h.brokers...), kgo.ConsumeTopics(topics.Commands),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		h.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(h.t.Context(), within)
	defer cancel()
	for !heard() {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return false
		}
		fetches.EachRecord(func(r *kgo.Record) {
			c, _, err := codec.DecodeCommand(r.Value)
			if err != nil {
				h.t.Fatal(err)
			}
			take(r, c)
		})
	}
	return true
}

// answers reads all answers until each of the orders has a final one.
func (h *house) answers(orders ...*railsv1.Order) map[string][]payment.Command {
	h.t.Helper()
	all, missing := map[string][]payment.Command{}, map[string]bool{}
	for _, o := range orders {
		missing[o.GetOrderId()] = true
	}
	if !h.listen(time.Minute, func() bool { return len(missing) == 0 }, func(r *kgo.Record, c payment.Command) {
		if string(r.Key) != string(c.Account) {
			h.t.Errorf("an answer to %s under the key %s", c.Account, r.Key)
		}
		id := c.RailAnswer.OrderID
		all[id] = append(all[id], c)
		if c.RailAnswer.Result == payment.RailConfirmed || c.RailAnswer.Result == payment.RailRefused {
			delete(missing, id)
		}
	}) {
		h.t.Fatalf("no final answer to %v; all: %+v", missing, all)
	}
	return all
}

// start runs a runner in this process; stop ends it as a service is ended.
func (h *house) start(cfg Config) (*Runner, func()) {
	h.t.Helper()
	cfg.Registry = prometheus.NewRegistry()
	r, err := New(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop := func() {
		cancel()
		select {
		case err := <-ended:
			ended <- err
			if err != nil {
				h.t.Error(err)
			}
		case <-time.After(20 * time.Second):
			h.t.Error("the runner does not stop")
		}
	}
	h.t.Cleanup(stop)
	return r, stop
}

func (h *house) config(acquirers map[string]Acquirer) Config {
	h.t.Helper()
	cfg, err := config(h.brokers, acquirers)
	if err != nil {
		h.t.Fatal(err)
	}
	return cfg
}

// final is the one final answer; several must be the same, byte for byte in what they say.
func final(t testing.TB, all []payment.Command) payment.RailAnswer {
	t.Helper()
	var first *payment.Command
	for i, c := range all {
		switch {
		case c.RailAnswer.Result == payment.RailUnknown:
		case first == nil:
			first = &all[i]
		case c.CommandID != first.CommandID || *c.RailAnswer != *first.RailAnswer || c.AcceptedAtUS != first.AcceptedAtUS:
			t.Errorf("two answers: %+v and %+v", *first.RailAnswer, *c.RailAnswer)
		}
	}
	if first == nil {
		t.Fatalf("no final answer: %+v", all)
	}
	return *first.RailAnswer
}

func TestCollect(t *testing.T) {
	h, b := newHouse(t), newBank(t)
	h.start(h.config(map[string]Acquirer{"bank": newTeller(b.server.URL)}))
	good, bad := collect(1, "ok"), collect(2, "decline:51")
	h.order(good, bad)
	all := h.answers(good, bad)
	if a := final(t, all[good.GetOrderId()]); a.Result != payment.RailConfirmed || a.Connector != "bank" || a.Reference != "tid-1" || a.AmountMinor != 1001 || a.ReportedAtUS == 0 {
		t.Errorf("%+v", a)
	}
	if a := final(t, all[bad.GetOrderId()]); a.Result != payment.RailRefused || a.Code != "51" || a.AmountMinor != 0 {
		t.Errorf("%+v", a)
	}
}

// Invariant: whenever a process dies, an order charges once and is answered.
func TestKilledAnywhereChargesOnce(t *testing.T) {
	for _, p := range []point{pointBeforeIntent, pointAfterIntent, pointAfterCall, pointAfterOutcome, pointAfterAnswer, pointBeforeCommit} {
		t.Run(string(p), func(t *testing.T) {
			h, b := newHouse(t), newBank(t)
			o := collect(1, "ok")
			h.order(o)
			child := spawn(t, h, b, p)
			if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the child was to be killed at %q: %v", p, err)
			}
			before := b.charged(o.GetOrderId())
			cfg := h.config(map[string]Acquirer{"bank": newTeller(b.server.URL)})
			cfg.Instance = "child"
			h.start(cfg)
			a := final(t, h.answers(o)[o.GetOrderId()])
			want := payment.RailConfirmed
			if p == pointAfterIntent { // it may have been sent, for all anybody knows: it is asked for, and was not
				want = payment.RailRefused
			}
			if a.Result != want {
				t.Errorf("%+v", a)
			}
			if got := b.charged(o.GetOrderId()); (want == payment.RailConfirmed) != (got == 1) || got > 1 {
				t.Errorf("charged %d times, %d of them by the one that was killed", got, before)
			}
		})
	}
}

func spawn(t testing.TB, h *house, b *bank, p point) *exec.Cmd {
	t.Helper()
	return spawnAt(t, h, p, childBank+"="+b.server.URL)
}

// spawnAt starts a child with the bank that a variable names.
func spawnAt(t testing.TB, h *house, p point, at string) *exec.Cmd {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), childBrokers+"="+strings.Join(h.brokers, ","), childPoint+"="+string(p), at)
	var out bytes.Buffer
	child.Stdout, child.Stderr = &out, &out
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill()
		if t.Failed() {
			t.Logf("the child said:\n%s", out.String())
		}
	})
	return child
}

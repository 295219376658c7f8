package verifycmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/cmd/caudal/installation"
	"github.com/caudalpay/caudal/cmd/caudal/verifycmd"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit"
	"github.com/caudalpay/caudal/sinks/audit/audittest"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/topology"
)

var seeds = flag.Int("seeds", 3, "histories that TestProcessorAgreesWithTheModel plays")

func TestMain(m *testing.M) { embedtest.Main(m) }

// TestProcessorAgreesWithTheModel gives random commands of all kinds to the real processor on the engine. Two
// implementations of docs/domain.md by two authors must lead to the same decisions, to the last posting.
func TestProcessorAgreesWithTheModel(t *testing.T) {
	for seed := range uint64(*seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := played(t, seed)
			brokers := decided(t, h.Requests)
			var out, progress bytes.Buffer
			c := verifycmd.New()
			c.SetArgs([]string{"--brokers", brokers[0], "--partitions", fmt.Sprint(audittest.Partitions), "--output", "json"})
			c.SetOut(&out)
			c.SetErr(&progress)
			if err := c.ExecuteContext(t.Context()); err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			var r audit.Report
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			// Where nothing is decided, or all is declined, nothing agrees: most orders that the model gives, the processor has to give too.
			given := int64(0)
			for _, orders := range h.Orders {
				given += int64(len(orders))
			}
			if orders := compared(r, audit.CheckOrders); r.Parked > 0 || r.Dead > 0 || orders < given*9/10 {
				t.Errorf("%d parked, %d dead, %d orders of some %d", r.Parked, r.Dead, orders, given)
			}
		})
	}
}

func compared(r audit.Report, check string) int64 {
	for _, c := range r.Checks {
		if c.Name == check {
			return c.Compared
		}
	}
	return 0
}

// TestParkedAndDeadAreAccountedFor: what cannot be decoded parks its account with everything behind it, or dies where it
// has none. Both are named in the report, and the rest closes.
func TestParkedAndDeadAreAccountedFor(t *testing.T) {
	h := played(t, 7)
	account := h.Accounts[3]
	at := len(h.Requests) / 2
	bad := &kgo.Record{Topic: topics.Commands, Partition: topics.Partition([]byte(account), audittest.Partitions), Key: []byte(account), Value: []byte("\xff\xff")}
	lost := &kgo.Record{Topic: topics.Commands, Partition: 2, Key: []byte("nobody"), Value: []byte("\xff\xff")}
	brokers := decided(t, slices.Insert(h.Requests, at, bad, lost))
	r, err := audit.Verify(t.Context(), audit.Config{Brokers: brokers, Partitions: audittest.Partitions})
	if err != nil {
		t.Fatal(err)
	}
	if r.Err() != nil || r.Parked < 2 || r.Dead != 1 {
		var out bytes.Buffer
		t.Fatal(r.Err(), r.WriteTable(&out), &out)
	}
}

func played(t *testing.T, seed uint64) *audittest.House {
	t.Helper()
	h := audittest.New(t, seed)
	h.Open(20)
	h.Contest(8)
	h.Play(2500)
	h.PlayRailsAtRandom(2000)
	h.PlayCardsAtRandom(2000)
	h.PayIn(h.Accounts[0], 1100)
	h.Pass(72 * time.Hour) // all of them leave at once: more than one tick takes
	return h
}

// decided gives requests to the processor on a broker of its own, and waits until all of them are through.
func decided(t *testing.T, requests []*kgo.Record) []string {
	t.Helper()
	brokers := embedtest.Broker(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	if err := installation.Ensure(t.Context(), adm, installation.Size{Partitions: audittest.Partitions, Replication: 1}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	for topic, docs := range audittest.Documents() {
		for key, doc := range docs {
			audittest.Produce(t, brokers, &kgo.Record{Topic: topic, Key: []byte(key), Value: audittest.Encode(t, doc)})
		}
	}
	e, err := engine.New(topology.Accounts(engine.Config{
		Brokers: brokers, Partitions: audittest.Partitions, TransactionalID: "accounts-0", InstanceID: "accounts-0", Logger: slog.New(slog.DiscardHandler),
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	given := 0
	for _, wave := range waves(requests) {
		for part := range slices.Chunk(wave, 500) {
			audittest.Produce(t, brokers, part...)
		}
		given += len(wave)
		atRest(t, brokers, int64(given), ended)
	}
	stop()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return brokers
}

// waves ends with each row of openings. An account is open a hop behind its request: what is about it and comes sooner is declined.
func waves(requests []*kgo.Record) (all [][]*kgo.Record) {
	begin, opening := 0, false
	for i, r := range requests {
		cmd := &paymentsv1.Command{}
		opens := proto.Unmarshal(r.Value, cmd) == nil && cmd.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT
		if opening && !opens {
			all, begin = append(all, requests[begin:i]), i
		}
		opening = opens
	}
	return append(all, requests[begin:])
}

// atRest waits until nothing is undecided.
func atRest(t *testing.T, brokers []string, given int64, ended <-chan error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		r, err := audit.Verify(t.Context(), audit.Config{Brokers: brokers, Partitions: audittest.Partitions, AllowLag: true})
		if err != nil {
			t.Fatal(err)
		}
		if r.Undecided == 0 && r.Commands >= given {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d commands are not decided", r.Undecided)
		}
		select {
		case err := <-ended:
			t.Fatalf("the engine ended: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

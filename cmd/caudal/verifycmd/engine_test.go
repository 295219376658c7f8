package verifycmd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/cmd/caudal/installation"
	"github.com/caudalpay/caudal/cmd/caudal/verifycmd"
	"github.com/caudalpay/caudal/sinks/audit"
	"github.com/caudalpay/caudal/sinks/audit/audittest"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/topology"
)

func TestMain(m *testing.M) { embedtest.Main(m) }

// TestProcessorAgreesWithTheModel gives random commands of all kinds to the real processor on the engine. Two
// implementations of docs/domain.md by two authors must lead to the same decisions, to the last posting.
func TestProcessorAgreesWithTheModel(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			brokers := decided(t, seed)
			var out, progress bytes.Buffer
			c := verifycmd.New()
			c.SetArgs([]string{"--brokers", brokers[0], "--partitions", fmt.Sprint(audittest.Partitions)})
			c.SetOut(&out)
			c.SetErr(&progress)
			if err := c.ExecuteContext(t.Context()); err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			t.Log(out.String())
		})
	}
}

// decided plays a day on a broker of its own, and waits until the processor has decided all of it.
func decided(t *testing.T, seed uint64) []string {
	t.Helper()
	h := audittest.New(t, seed)
	h.Open(20)
	h.Play(2500)
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
	for len(h.Requests) > 0 {
		n := min(len(h.Requests), 500)
		audittest.Produce(t, brokers, h.Requests[:n]...)
		h.Requests = h.Requests[n:]
	}
	// At rest: nothing is undecided.
	for deadline := time.Now().Add(time.Minute); ; {
		r, err := audit.Verify(t.Context(), audit.Config{Brokers: brokers, Partitions: audittest.Partitions, AllowLag: true})
		if err != nil {
			t.Fatal(err)
		}
		if r.Undecided == 0 && r.Decisions > 2500 {
			break
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
	stop()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return brokers
}


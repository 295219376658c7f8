package topology

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/streamtest"
)

const testPartitions = 4

// installation is a broker with every topic of the catalogue and the reference documents on theirs.
func installation(t *testing.T) *streamtest.Cluster {
	t.Helper()
	c := streamtest.Start(t)
	for _, topic := range topics.Catalogue() {
		n := int32(1)
		if topic.Partitioned {
			n = testPartitions
		}
		c.Topics(n, topic.Name)
	}
	var records []*kgo.Record
	for name, value := range reference(t) {
		topic, key, _ := strings.Cut(name, "/")
		records = append(records, &kgo.Record{Topic: topic, Key: []byte(key), Value: value, Partition: -1})
	}
	c.Produce(records...)
	return c
}

// worker runs the accounts group until it is stopped.
func worker(t *testing.T, c *streamtest.Cluster) (stop func()) {
	t.Helper()
	e, err := NewAccounts(engine.Config{
		Brokers: c.Addrs, Partitions: testPartitions, TransactionalID: "accounts-0", InstanceID: "accounts-0",
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		ended <- e.Run(ctx)
	}()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("engine ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// drained waits until every command has its decision or is set aside. Decisions are read first: a decision and the
// commands it emits appear together.
func drained(t *testing.T, c *streamtest.Cluster, aside int) (commands, decisions []*kgo.Record) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		decisions = c.ReadCommitted(topics.Decisions)
		if commands = c.ReadCommitted(topics.Commands); len(commands) == len(decisions)+aside {
			return commands, decisions
		}
	}
	t.Fatalf("%d commands, %d decisions, %d set aside", len(commands), len(decisions), aside)
	return nil, nil
}

// TestThroughTheEngine sends commands of all kinds through the real engine, with a restart and records that cannot be
// understood in between, and audits what stands on the log.
func TestThroughTheEngine(t *testing.T) {
	c := installation(t)
	traffic := newTraffic(t, 7, 12, testPartitions)
	produce := func(commands ...command) {
		var records []*kgo.Record
		for _, next := range commands {
			records = append(records, &kgo.Record{Topic: topics.Commands, Key: []byte(next.key), Value: next.value, Partition: next.partition})
		}
		c.Produce(records...)
	}
	send := func(n int) {
		var commands []command
		for range n {
			commands = append(commands, traffic.next()...)
		}
		produce(commands...)
	}
	unrepeated := func(commands ...command) []command { // not among what is repeated by chance
		traffic.requests = traffic.requests[:len(traffic.requests)-len(commands)]
		return commands
	}
	once := func(commands ...command) { produce(unrepeated(commands...)...) }
	stop := worker(t, c)
	send(300)
	once(traffic.openFor("contested", "c-rival1"), traffic.openFor("contested", "c-rival2"))
	drained(t, c, 0)
	// The one who lost is free for another account.
	once(traffic.openFor("own1", "c-rival1"), traffic.openFor("own2", "c-rival2"))
	drained(t, c, 0)
	stop()

	victim := unrepeated(traffic.open("victim"))[0]
	parked := string(traffic.account("victim"))
	c.Produce(
		&kgo.Record{Topic: topics.Commands, Key: []byte(victim.key), Value: victim.value, Partition: -1},
		&kgo.Record{Topic: topics.Commands, Key: []byte("nobody's"), Value: []byte("noise"), Partition: -1},
		&kgo.Record{Topic: topics.Commands, Key: []byte(parked), Value: []byte("noise"), Partition: -1},
	)
	send(300)
	stop = worker(t, c)
	// The opening of the victim passes its customer and waits behind the noise on the account's own key.
	drained(t, c, 3)
	traffic.now += 92 * 86_400 * second // records leave
	produce(traffic.ticks()...)
	commands, decisions := drained(t, c, 3)
	undecided := func(r *kgo.Record) bool {
		return engine.IsControl(r) || string(r.Key) == "nobody's" || string(r.Value) == "noise"
	}
	if dead := c.ReadCommitted(topics.DeadLetters); len(dead) != 1 || string(dead[0].Key) != "nobody's" {
		t.Errorf("%d dead letters", len(dead))
	}
	waiting := slices.DeleteFunc(slices.Clone(commands), func(r *kgo.Record) bool { return string(r.Key) == parked || undecided(r) })
	audit(t, waiting, decisions)
	rivals(t, decisions)

	// Without the noise the victim is opened, at the operator's place in the order.
	noise := commands[slices.IndexFunc(commands, func(r *kgo.Record) bool { return string(r.Key) == parked && string(r.Value) == "noise" })]
	word, err := engine.Control{Verb: engine.Discard, Offset: noise.Offset, By: "ops", Reason: "noise"}.Record(topics.Commands, noise.Partition, noise.Key)
	if err != nil {
		t.Fatal(err)
	}
	c.Produce(word)
	drained(t, c, 4) // noise twice, the word, and the engine's step
	send(100)
	produce(traffic.pay(payment.KindPayIn, "victim"))
	commands, decisions = drained(t, c, 4)
	stop()
	if dead := c.ReadCommitted(topics.DeadLetters); len(dead) != 2 {
		t.Errorf("%d dead letters", len(dead))
	}
	commands = slices.DeleteFunc(commands, undecided)
	audit(t, commands, decisions)
	replay(t, commands, decisions)
}

// audit checks the decisions by themselves.
func audit(t *testing.T, commands, decisions []*kgo.Record) {
	t.Helper()
	type place struct {
		partition int32
		offset    int64
	}
	open := map[place]bool{}
	for _, r := range commands {
		open[place{r.Partition, r.Offset}] = true
	}
	heads, seq, sums := map[int32][]byte{}, map[string]uint64{}, map[string]int64{}
	kinds, outcomes := map[payment.Kind]int{}, map[payment.Outcome]int{}
	for _, r := range decisions {
		var d paymentsv1.Decision
		if err := proto.Unmarshal(r.Value, &d); err != nil {
			t.Fatal(err)
		}
		at := place{d.GetCommandPartition(), d.GetCommandOffset()}
		if !open[at] || at.partition != r.Partition {
			t.Fatalf("decision on partition %d of %+v: no such command, or decided twice", r.Partition, at)
		}
		delete(open, at)
		if !bytes.Equal(d.GetPreviousHash(), heads[r.Partition]) {
			t.Fatalf("chain broken at offset %d of partition %d", r.Offset, r.Partition)
		}
		h := sha256.Sum256(r.Value)
		heads[r.Partition] = h[:]
		if d.GetKind() != paymentsv1.CommandKind_COMMAND_KIND_TICK {
			if seq[d.GetAccount()]++; d.GetAccountSeq() != seq[d.GetAccount()] {
				t.Fatalf("account_seq %d of %s, want %d", d.GetAccountSeq(), d.GetAccount(), seq[d.GetAccount()])
			}
		}
		for _, j := range d.GetJournals() {
			for _, p := range j.GetPostings() {
				sums[fmt.Sprint("all ", p.GetLayer(), p.GetCurrency())] += p.GetAmountMinor()
				if p.GetAccount() == "sys_transit" {
					sums["transit "+p.GetCurrency()] += p.GetAmountMinor()
				}
			}
		}
		kinds[payment.Kind(d.GetKind())]++
		outcomes[payment.Outcome(d.GetOutcome())]++
	}
	if len(open) > 0 {
		t.Errorf("%d commands without a decision", len(open))
	}
	for what, sum := range sums {
		if sum != 0 {
			t.Errorf("%s: %d", what, sum)
		}
	}
	for _, k := range []payment.Kind{
		payment.KindOpenAccount, payment.KindSetKYCLevel, payment.KindPayIn, payment.KindPayOut, payment.KindTransfer, payment.KindRefund,
		payment.KindApprove, payment.KindDecline, payment.KindExpire, payment.KindTick, payment.KindCounterLeg, payment.KindLegResult,
		payment.KindReleaseClaim,
	} {
		if kinds[k] == 0 {
			t.Errorf("no %s among the commands", k)
		}
	}
	t.Logf("%d decisions: %v %v", len(decisions), kinds, outcomes)
}

// rivals counts what became of two customers who wanted one account, and then one each: two accounts, whoever was first.
func rivals(t *testing.T, decisions []*kgo.Record) {
	t.Helper()
	got := map[string]int{}
	for _, r := range decisions {
		var d paymentsv1.Decision
		if err := proto.Unmarshal(r.Value, &d); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(d.GetCustomer(), "c-rival") && d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT {
			got[payment.Outcome(d.GetOutcome()).String()]++
		}
	}
	if want := map[string]int{"applied": 3, "approved": 2, "conflict": 1, "declined": 1}; !maps.Equal(got, want) {
		t.Errorf("openings of rivals: %v, want %v", got, want)
	}
}

// replay decides the same log again, without an engine, each command where the engine decided it: the bytes must be the same.
func replay(t *testing.T, commands, decisions []*kgo.Record) {
	t.Helper()
	again := newDecided(t, testPartitions)
	type place struct {
		partition int32
		offset    int64
	}
	at, last, redriven := map[place]*kgo.Record{}, map[int32]int64{}, 0
	for _, r := range commands {
		at[place{r.Partition, r.Offset}] = r
	}
	for _, want := range decisions {
		var d paymentsv1.Decision
		if err := proto.Unmarshal(want.Value, &d); err != nil {
			t.Fatal(err)
		}
		r := at[place{want.Partition, d.GetCommandOffset()}]
		if r.Offset < last[r.Partition] {
			redriven++
		}
		last[r.Partition] = r.Offset
		m := &memoryRecord{memory: again.memory[r.Partition], key: string(r.Key), offset: r.Offset}
		if err := again.shell.handle(m, r.Value); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.emits[0].value, want.Value) {
			t.Fatalf("replay of offset %d of partition %d gives another decision", r.Offset, r.Partition)
		}
	}
	if redriven == 0 {
		t.Error("nothing was decided out of turn")
	}
}

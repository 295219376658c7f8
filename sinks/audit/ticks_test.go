package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit"
	"github.com/caudalpay/caudal/sinks/audit/audittest"
)

// crowded is a log on which 1,100 records leave one partition by one tick, and the tick that follows it.
func crowded(t *testing.T) (h *audittest.House, p int32, ticks []int) {
	t.Helper()
	h = audittest.New(t, 8)
	h.Open(1)
	h.PayIn(h.Accounts[0], 1_100)
	h.Pass(48 * time.Hour)
	p = topics.Partition([]byte(h.Accounts[0]), audittest.Partitions)
	expired := []int{}
	for i := range h.Decisions[p] {
		switch d := h.Decision(p, i); d.GetKind() {
		case paymentsv1.CommandKind_COMMAND_KIND_TICK:
			ticks = append(ticks, int(d.GetCommandOffset()))
			expired = append(expired, 0)
		case paymentsv1.CommandKind_COMMAND_KIND_EXPIRE:
			expired[len(expired)-1]++
		default:
		}
	}
	if !slices.Equal(expired, []int{1_000, 100}) || string(h.Commands[p][ticks[1]].Key) != fmt.Sprint(p) {
		t.Fatalf("partition %d: %v EXPIREs behind the ticks %v", p, expired, ticks)
	}
	return h, p, ticks
}

// other makes something else of a tick, which does as much or as little.
func other(t *testing.T, r *kgo.Record, change func(*paymentsv1.Command)) {
	t.Helper()
	cmd := &paymentsv1.Command{}
	if err := proto.Unmarshal(r.Value, cmd); err != nil {
		t.Fatal(err)
	}
	change(cmd)
	r.Value = audittest.Encode(t, cmd)
}

// TestTicksThatFollowAreCompared: the tick behind a thousand entries stands on the log as it has to, by whomever; but none is
// written by the engine that nothing asked for.
func TestTicksThatFollowAreCompared(t *testing.T) {
	cases := map[string]struct {
		spoil  func(h *audittest.House, p int32, ticks []int)
		last   time.Duration // a tick comes so long after, -1: in the same minute
		engine bool          // and is written in a transaction, as the engine writes
		detail string
	}{
		"as it is":           {},
		"the ticker's again": {last: -1},
		"the engine's":       {last: time.Minute, engine: true, detail: "no decision emitted this command"},
		"of another key": {detail: "had to emit", spoil: func(h *audittest.House, p int32, ticks []int) {
			h.Commands[p][ticks[1]].Key = []byte("9")
		}},
		"of another time": {detail: "had to emit", spoil: func(h *audittest.House, p int32, ticks []int) {
			other(t, h.Commands[p][ticks[1]], func(c *paymentsv1.Command) { c.AcceptedAtUs++ })
		}},
		"of another minute": {detail: "had to emit", spoil: func(h *audittest.House, p int32, ticks []int) {
			other(t, h.Commands[p][ticks[1]], func(c *paymentsv1.Command) { c.GetTick().Minute++ })
		}},
		"only before": {detail: "had to emit", spoil: func(h *audittest.House, p int32, ticks []int) {
			h.Commands[p][2].Key, h.Commands[p][2].Value = h.Commands[p][ticks[0]].Key, h.Commands[p][ticks[0]].Value
			other(t, h.Commands[p][ticks[1]], func(c *paymentsv1.Command) { c.AcceptedAtUs++ })
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, p, ticks := crowded(t)
			var apart *kgo.Record
			if c.last != 0 {
				h.Pass(max(0, c.last))
			}
			if c.engine {
				apart = h.Commands[p][len(h.Commands[p])-1]
				h.Commands[p] = h.Commands[p][:len(h.Commands[p])-1]
			}
			if c.spoil != nil {
				c.spoil(h, p, ticks)
			}
			brokers := h.Publish()
			if apart != nil {
				inTransaction(t, brokers, apart)
			}
			r := verify(t, audit.Config{Brokers: brokers})
			i := slices.IndexFunc(r.Checks, func(c audit.Check) bool { return c.Name == audit.CheckEmissions })
			switch first := r.Checks[i].First; {
			case c.detail == "":
				if r.Err() != nil {
					t.Fatal(table(t, r))
				}
			case first == nil || first.Partition != p || first.Account != fmt.Sprint(p) || !strings.Contains(first.Detail, c.detail):
				t.Fatalf("%s\n%s", first, table(t, r))
			}
		})
	}
}

func inTransaction(t *testing.T, brokers []string, r *kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID("engine"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
}

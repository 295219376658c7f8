package audit_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit"
)

func verify(t *testing.T, cfg audit.Config) audit.Report {
	t.Helper()
	cfg.Partitions = partitions
	cfg.Settle = time.Second
	r, err := audit.Verify(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func table(t *testing.T, r audit.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWholeLogCloses(t *testing.T) {
	h := newHouse(t, 1)
	h.open(30)
	h.play(3000)
	r := verify(t, audit.Config{Brokers: h.publish()})
	if err := r.Err(); err != nil || !r.Balanced {
		t.Fatalf("%v\n%s", err, table(t, r))
	}
	if r.Decisions < 3000 || r.Decisions != r.Commands || r.Accounts != 30 || r.PostgresEqual != nil {
		t.Fatal(table(t, r))
	}
	if r.TransitMinor["BRL"] != 0 || len(r.TransitMinor) != 2 {
		t.Fatalf("transit %v", r.TransitMinor)
	}
	counts := map[paymentsv1.Outcome]int{}
	for p := range int32(partitions) {
		for i := range h.decisions[p] {
			counts[h.decision(p, i).GetOutcome()]++
		}
	}
	for o := paymentsv1.Outcome_OUTCOME_APPROVED; o <= paymentsv1.Outcome_OUTCOME_CONFLICT; o++ {
		if counts[o] < 20 {
			t.Errorf("the play has %d decisions %s", counts[o], o)
		}
	}
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(b.Bytes(), &keys); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{
		"balanced", "postgres_equal", "clickhouse_equal", "commands", "decisions", "parked", "dead", "accounts", "transit_minor", "checks", "first_difference",
	} {
		if _, ok := keys[k]; !ok {
			t.Errorf("the JSON has no key %s", k)
		}
	}
}

// posted fits decisions with a posted journal.
func posted(d *paymentsv1.Decision) bool {
	return d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_PAY_IN && d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED && d.GetAccountSeq() > 20
}

// TestSpoiltLogsAreFound spoils a consistent log in every way the checks are for; each must be found and named.
func TestSpoiltLogsAreFound(t *testing.T) {
	type spoilt struct {
		check   string
		account string
		p       int32
		offset  int64 // of the decision, -1: not said
	}
	cases := map[string]func(h *house) spoilt{
		"dropped decision": func(h *house) spoilt {
			p, i := h.find(posted)
			account := h.decision(p, i).GetAccount()
			at := h.decision(p, i).GetCommandOffset()
			h.decisions[p] = slices.Delete(h.decisions[p], i, i+1)
			h.rechain(p, func(int, *paymentsv1.Decision) {})
			return spoilt{audit.CheckDecided, account, p, at} // the offset of the command without a decision
		},
		"doubled decision": func(h *house) spoilt {
			p, i := h.find(posted)
			h.decisions[p] = slices.Insert(h.decisions[p], i+1, h.decisions[p][i])
			h.rechain(p, func(int, *paymentsv1.Decision) {})
			return spoilt{audit.CheckDecided, h.decision(p, i).GetAccount(), p, int64(i + 1)}
		},
		"broken chain": func(h *house) spoilt {
			p, i := h.find(posted)
			d := h.decision(p, i)
			d.PreviousHash[7] ^= 1
			h.decisions[p][i].Value = encode(h.t, d)
			return spoilt{audit.CheckChain, d.GetAccount(), p, int64(i)}
		},
		"amount of one posting": func(h *house) spoilt {
			p, i := h.find(posted)
			h.edit(p, i, func(d *paymentsv1.Decision) { d.Journals[0].Postings[0].AmountMinor++ })
			return spoilt{audit.CheckZero, h.decision(p, i).GetAccount(), p, int64(i)}
		},
		"amounts of both sides": func(h *house) spoilt {
			p, i := h.find(posted)
			h.edit(p, i, func(d *paymentsv1.Decision) {
				d.Journals[0].Postings[0].AmountMinor--
				d.Journals[0].Postings[1].AmountMinor++
			})
			return spoilt{audit.CheckModel, h.decision(p, i).GetAccount(), p, int64(i)}
		},
		"balance of an account": func(h *house) spoilt {
			p, i := h.find(posted)
			h.edit(p, i, func(d *paymentsv1.Decision) {
				for _, l := range d.GetJournals()[0].GetPostings() {
					l.AmountMinor *= 2
				}
			})
			return spoilt{audit.CheckBalances, h.decision(p, i).GetAccount(), p, -1}
		},
		"stated balance": func(h *house) spoilt {
			p, i := h.find(posted)
			h.edit(p, i, func(d *paymentsv1.Decision) { d.Balances[0].PostedMinor++ })
			return spoilt{audit.CheckModel, h.decision(p, i).GetAccount(), p, int64(i)}
		},
		"outcome": func(h *house) spoilt {
			p, i := h.find(func(d *paymentsv1.Decision) bool {
				return slices.Contains(d.GetReasons(), paymentsv1.Reason_REASON_LIMIT_DAY)
			})
			h.edit(p, i, func(d *paymentsv1.Decision) {
				d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_INSUFFICIENT_FUNDS}
			})
			return spoilt{audit.CheckModel, h.decision(p, i).GetAccount(), p, int64(i)}
		},
		"fraud score": func(h *house) spoilt {
			p, i := h.find(func(d *paymentsv1.Decision) bool {
				return d.GetFraudScore() > 0 && d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED && len(d.GetRuleHits()) > 0
			})
			h.edit(p, i, func(d *paymentsv1.Decision) { d.FraudScore, d.RuleHits = 0, nil })
			return spoilt{audit.CheckModel, h.decision(p, i).GetAccount(), p, int64(i)}
		},
		"gap in account_seq": func(h *house) spoilt {
			p, i := h.find(posted)
			h.edit(p, i, func(d *paymentsv1.Decision) { d.AccountSeq++ })
			return spoilt{audit.CheckSequence, h.decision(p, i).GetAccount(), p, int64(i)}
		},
		"swapped order": func(h *house) spoilt {
			p, i := h.find(posted)
			account := h.decision(p, i).GetAccount()
			j := i + 1
			for h.decision(p, j).GetAccount() != account {
				j++
			}
			h.decisions[p][i], h.decisions[p][j] = h.decisions[p][j], h.decisions[p][i]
			h.rechain(p, func(int, *paymentsv1.Decision) {})
			return spoilt{audit.CheckSequence, account, p, int64(i)}
		},
		"missing counter-leg": func(h *house) spoilt {
			p, i := h.find(func(d *paymentsv1.Decision) bool {
				return d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_TRANSFER && d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING
			})
			to := h.decision(p, i).GetToAccount()
			q := topics.Partition([]byte(to), partitions)
			for n, r := range h.commands[q] {
				if bytes.Contains(r.Value, []byte(h.decision(p, i).GetPaymentId())) && string(r.Key) == to {
					h.commands[q][n].Value = h.commands[q][0].Value // another command stands in its place
					h.commands[q][n].Key = h.commands[q][0].Key
					break
				}
			}
			return spoilt{audit.CheckEmissions, to, p, int64(i)}
		},
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, 2)
			h.open(12)
			h.play(1200)
			want := spoil(h)
			r := verify(t, audit.Config{Brokers: h.publish()})
			if r.Balanced || r.Err() == nil {
				t.Fatalf("not found\n%s", table(t, r))
			}
			var broken *audit.DifferenceError
			if !errors.As(r.Err(), &broken) {
				t.Fatal(r.Err())
			}
			i := slices.IndexFunc(r.Checks, func(c audit.Check) bool { return c.Name == want.check })
			first := r.Checks[i].First
			if first == nil {
				t.Fatalf("%s found nothing\n%s", want.check, table(t, r))
			}
			if first.Account != want.account || first.Partition != want.p || (want.offset >= 0 && first.Offset != want.offset) {
				t.Fatalf("want %s partition %d offset %d, got %s", want.account, want.p, want.offset, first)
			}
			if !strings.Contains(table(t, r), "first difference: ") {
				t.Fatal("the table does not name the difference")
			}
		})
	}
}

// TestCellIsCompared: the engine's table holds what the model holds.
func TestCellIsCompared(t *testing.T) {
	h := newHouse(t, 3)
	h.open(5)
	h.play(100)
	brokers := h.publish()
	account := h.accounts[2]
	p := topics.Partition([]byte(account), partitions)
	cell := h.models[p].Cell(account)
	cell.Balances[0].HeldMinor++
	produce(t, brokers, &kgo.Record{Topic: topics.AccountsTable, Partition: p, Key: []byte(account), Value: encode(t, cell)})
	r := verify(t, audit.Config{Brokers: brokers})
	if d := r.FirstDifference; d == nil || d.Check != audit.CheckTable || d.Account != account || r.Balanced {
		t.Fatal(table(t, r))
	}
}

// TestParkedTransitIsAccountedFor: a counter-leg that is parked keeps its money in transit, and that is no difference.
func TestParkedTransitIsAccountedFor(t *testing.T) {
	h := newHouse(t, 4)
	h.open(8)
	h.play(200)
	var leg *kgo.Record
	for leg == nil { // until a transfer is decided and its leg still waits
		h.request()
		for p := range int32(partitions) {
			for len(h.queue[p]) > 0 && h.queue[p][0].Command.GetCounterLeg() == nil {
				h.step(p)
			}
		}
		for p := range int32(partitions) {
			if len(h.queue[p]) == 1 && h.queue[p][0].Command.GetCounterLeg() != nil {
				leg = h.commands[p][h.queue[p][0].Offset]
				leg.Offset = h.queue[p][0].Offset
			}
		}
	}
	brokers := h.publish()
	r := verify(t, audit.Config{Brokers: brokers})
	if r.Balanced || r.Undecided != 1 || r.Checks[0].Verdict != audit.VerdictLag {
		t.Fatalf("an undecided command passes\n%s", table(t, r))
	}
	if lag := verify(t, audit.Config{Brokers: brokers, AllowLag: true}); lag.Err() != nil {
		t.Fatalf("%v\n%s", lag.Err(), table(t, lag))
	}
	produce(t, brokers, &kgo.Record{Topic: topics.AccountsSide, Partition: leg.Partition, Key: parkedKey(string(leg.Key), leg.Offset), Value: []byte{1}})
	r = verify(t, audit.Config{Brokers: brokers})
	if r.Err() != nil || r.Parked != 1 || r.Undecided != 0 {
		t.Fatalf("%v\n%s", r.Err(), table(t, r))
	}
	total := int64(0)
	for _, minor := range r.TransitMinor {
		total += minor
	}
	if total <= 0 {
		t.Fatalf("transit %v", r.TransitMinor)
	}
}

// parkedKey is the durable layout of streams/engine.
func parkedKey(key string, offset int64) []byte {
	b := append([]byte{2, byte(len(key))}, key...)
	b = append(append(b, byte(len("engine.parked"))), "engine.parked"...)
	return binary.BigEndian.AppendUint64(b, uint64(offset)) //nolint:gosec // an offset
}

// TestOpenTransactionIsFound: what no reader can see is not a closed book.
func TestOpenTransactionIsFound(t *testing.T) {
	h := newHouse(t, 5)
	h.open(4)
	h.play(50)
	brokers := h.publish()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID("left-open"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topics.Decisions, Partition: 1, Key: []byte("x"), Value: []byte("y")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r := verify(t, audit.Config{Brokers: brokers})
	if d := r.FirstDifference; d == nil || d.Check != audit.CheckTransactions || d.Partition != 1 || d.Offset != int64(len(h.decisions[1])) {
		t.Fatal(table(t, r))
	}
}

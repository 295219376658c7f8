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
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit"
	"github.com/caudalpay/caudal/sinks/audit/audittest"
)

func verify(t *testing.T, cfg audit.Config) audit.Report {
	t.Helper()
	cfg.Partitions = audittest.Partitions
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
	h := audittest.New(t, 1)
	h.Open(30)
	h.Play(3000)
	h.Contest(8)
	h.PlayRailsAtRandom(500)
	h.PlayCardsAtRandom(500)
	r := verify(t, audit.Config{Brokers: h.Publish()})
	if err := r.Err(); err != nil || !r.Balanced {
		t.Fatalf("%v\n%s", err, table(t, r))
	}
	if r.Decisions < 3000 || r.Decisions != r.Commands || r.Accounts != 47 || r.PostgresEqual != nil {
		t.Fatal(table(t, r))
	}
	if r.TransitMinor["BRL"] != 0 || len(r.TransitMinor) != 2 {
		t.Fatalf("transit %v", r.TransitMinor)
	}
	counts := map[paymentsv1.Outcome]int{}
	for p := range int32(audittest.Partitions) {
		for i := range h.Decisions[p] {
			counts[h.Decision(p, i).GetOutcome()]++
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

// unclaim puts noise in the place of a command on a customer's key: the claim never changed.
func unclaim(h *audittest.House, kind paymentsv1.CommandKind) (customer string, p int32) {
	h.Contest(2)
	first := string(payment.CustomerKeyFrom("t", "m", "account-0"))
	p, i := h.Find(func(d *paymentsv1.Decision) bool {
		return d.GetKind() == kind && (d.GetAccount() == first || kind == paymentsv1.CommandKind_COMMAND_KIND_RELEASE_CLAIM)
	})
	d := h.Decision(p, i)
	h.Commands[p][d.GetCommandOffset()].Value = []byte("\xff")
	return d.GetAccount(), p
}

// TestSpoiltLogsAreFound spoils a consistent log in every way the checks are for; each must be found and named.
func TestSpoiltLogsAreFound(t *testing.T) {
	type spoilt struct {
		check   string
		account string
		p       int32
		offset  int64 // of the decision, -1: not said
	}
	cases := map[string]func(h *audittest.House) spoilt{
		"dropped decision": func(h *audittest.House) spoilt {
			p, i := h.Find(posted)
			account := h.Decision(p, i).GetAccount()
			at := h.Decision(p, i).GetCommandOffset()
			h.Decisions[p] = slices.Delete(h.Decisions[p], i, i+1)
			h.Rechain(p, func(int, *paymentsv1.Decision) {})
			return spoilt{audit.CheckDecided, account, p, at} // the offset of the command without a decision
		},
		"doubled decision": func(h *audittest.House) spoilt {
			p, i := h.Find(posted)
			h.Decisions[p] = slices.Insert(h.Decisions[p], i+1, h.Decisions[p][i])
			h.Rechain(p, func(int, *paymentsv1.Decision) {})
			return spoilt{audit.CheckDecided, h.Decision(p, i).GetAccount(), p, int64(i + 1)}
		},
		"broken chain": func(h *audittest.House) spoilt {
			p, i := h.Find(posted)
			d := h.Decision(p, i)
			d.PreviousHash[7] ^= 1
			h.Decisions[p][i].Value = audittest.Encode(t, d)
			return spoilt{audit.CheckChain, d.GetAccount(), p, int64(i)}
		},
		"amount of one posting": func(h *audittest.House) spoilt {
			p, i := h.Find(posted)
			h.Edit(p, i, func(d *paymentsv1.Decision) { d.Journals[0].Postings[0].AmountMinor++ })
			return spoilt{audit.CheckZero, h.Decision(p, i).GetAccount(), p, int64(i)}
		},
		"amounts of both sides": func(h *audittest.House) spoilt {
			p, i := h.Find(posted)
			h.Edit(p, i, func(d *paymentsv1.Decision) {
				d.Journals[0].Postings[0].AmountMinor--
				d.Journals[0].Postings[1].AmountMinor++
			})
			return spoilt{audit.CheckModel, h.Decision(p, i).GetAccount(), p, int64(i)}
		},
		"balance of an account": func(h *audittest.House) spoilt {
			p, i := h.Find(posted)
			h.Edit(p, i, func(d *paymentsv1.Decision) {
				for _, l := range d.GetJournals()[0].GetPostings() {
					l.AmountMinor *= 2
				}
			})
			return spoilt{audit.CheckBalances, h.Decision(p, i).GetAccount(), p, -1}
		},
		"stated balance": func(h *audittest.House) spoilt {
			p, i := h.Find(posted)
			h.Edit(p, i, func(d *paymentsv1.Decision) { d.Balances[0].PostedMinor++ })
			return spoilt{audit.CheckModel, h.Decision(p, i).GetAccount(), p, int64(i)}
		},
		"outcome": func(h *audittest.House) spoilt {
			p, i := h.Find(func(d *paymentsv1.Decision) bool {
				return slices.Contains(d.GetReasons(), paymentsv1.Reason_REASON_LIMIT_DAY)
			})
			h.Edit(p, i, func(d *paymentsv1.Decision) {
				d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_INSUFFICIENT_FUNDS}
			})
			return spoilt{audit.CheckModel, h.Decision(p, i).GetAccount(), p, int64(i)}
		},
		"fraud score": func(h *audittest.House) spoilt {
			p, i := h.Find(func(d *paymentsv1.Decision) bool {
				return d.GetFraudScore() > 0 && d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED && len(d.GetRuleHits()) > 0
			})
			h.Edit(p, i, func(d *paymentsv1.Decision) { d.FraudScore, d.RuleHits = 0, nil })
			return spoilt{audit.CheckModel, h.Decision(p, i).GetAccount(), p, int64(i)}
		},
		"gap in account_seq": func(h *audittest.House) spoilt {
			p, i := h.Find(posted)
			h.Edit(p, i, func(d *paymentsv1.Decision) { d.AccountSeq++ })
			return spoilt{audit.CheckSequence, h.Decision(p, i).GetAccount(), p, int64(i)}
		},
		"swapped order": func(h *audittest.House) spoilt {
			p, i := h.Find(posted)
			account := h.Decision(p, i).GetAccount()
			j := i + 1
			for h.Decision(p, j).GetAccount() != account {
				j++
			}
			h.Decisions[p][i], h.Decisions[p][j] = h.Decisions[p][j], h.Decisions[p][i]
			h.Rechain(p, func(int, *paymentsv1.Decision) {})
			return spoilt{audit.CheckSequence, account, p, int64(i)}
		},
		"missing counter-leg": func(h *audittest.House) spoilt {
			p, i := h.Find(func(d *paymentsv1.Decision) bool {
				return d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_TRANSFER && d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING
			})
			to := h.Decision(p, i).GetToAccount()
			q := topics.Partition([]byte(to), audittest.Partitions)
			for n, r := range h.Commands[q] {
				if bytes.Contains(r.Value, []byte(h.Decision(p, i).GetPaymentId())) && string(r.Key) == to {
					h.Commands[q][n].Value = h.Commands[q][0].Value // another command stands in its place
					h.Commands[q][n].Key = h.Commands[q][0].Key
					break
				}
			}
			return spoilt{audit.CheckEmissions, to, p, int64(i)}
		},
		"lost release": func(h *audittest.House) spoilt {
			customer, p := unclaim(h, paymentsv1.CommandKind_COMMAND_KIND_RELEASE_CLAIM)
			return spoilt{audit.CheckClaims, customer, p, -1}
		},
		"lost claim": func(h *audittest.House) spoilt {
			customer, _ := unclaim(h, paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT)
			p := topics.Partition([]byte(h.Accounts[0]), audittest.Partitions)
			return spoilt{audit.CheckClaims, customer, p, -1} // the account's opening
		},
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := audittest.New(t, 2)
			h.Open(12)
			h.Play(1200)
			want := spoil(h)
			r := verify(t, audit.Config{Brokers: h.Publish()})
			if r.Balanced || r.Err() == nil {
				t.Fatalf("not found\n%s", table(t, r))
			}
			if _, ok := errors.AsType[*audit.DifferenceError](r.Err()); !ok {
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

// TestSpoiltOrdersAreFound: a rail is asked for what the decisions say, once each, in their order, and for nothing else.
func TestSpoiltOrdersAreFound(t *testing.T) {
	cases := map[string]func(t *testing.T, orders []*kgo.Record) []*kgo.Record{
		"": func(_ *testing.T, orders []*kgo.Record) []*kgo.Record { return orders },
		"is not on the log": func(_ *testing.T, orders []*kgo.Record) []*kgo.Record {
			return slices.Delete(orders, 2, 3)
		},
		"no decision gave": func(_ *testing.T, orders []*kgo.Record) []*kgo.Record {
			return slices.Insert(orders, 3, orders[3]) // twice
		},
		"stands behind": func(_ *testing.T, orders []*kgo.Record) []*kgo.Record {
			orders[1], orders[2] = orders[2], orders[1]
			return orders
		},
		"no decision gave this order: send": func(t *testing.T, orders []*kgo.Record) []*kgo.Record {
			o := &railsv1.Order{}
			if err := proto.Unmarshal(orders[3].Value, o); err != nil {
				t.Fatal(err)
			}
			o.AmountMinor++
			orders[3].Value = audittest.Encode(t, o)
			return orders
		},
		"cannot be decoded": func(_ *testing.T, orders []*kgo.Record) []*kgo.Record {
			orders[3].Value = []byte("\xff")
			return orders
		},
	}
	for what, spoil := range cases {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := audittest.New(t, 3)
			h.Open(4)
			account := h.PlayRails(3)
			p := topics.Partition([]byte(account), audittest.Partitions)
			if n := len(h.Orders[p]); n != 12 {
				t.Fatalf("the play has %d orders", n)
			}
			h.Orders[p] = spoil(t, h.Orders[p])
			r := verify(t, audit.Config{Brokers: h.Publish()})
			if what == "" {
				if r.Err() != nil {
					t.Fatal(table(t, r))
				}
				return
			}
			if d := r.FirstDifference; d == nil || d.Check != audit.CheckOrders || d.Account != account || d.Partition != p || !strings.Contains(d.Detail, what) {
				t.Fatal(table(t, r))
			}
		})
	}
}

// TestCellIsCompared: the engine's table holds what the model holds.
func TestCellIsCompared(t *testing.T) {
	h := audittest.New(t, 3)
	h.Open(5)
	h.Play(100)
	brokers := h.Publish()
	account := h.Accounts[2]
	p := topics.Partition([]byte(account), audittest.Partitions)
	cell := h.Models[p].Cell(account)
	cell.Balances[0].HeldMinor++
	audittest.Produce(t, brokers, &kgo.Record{Topic: topics.AccountsTable, Partition: p, Key: []byte(account), Value: audittest.Encode(t, cell)})
	r := verify(t, audit.Config{Brokers: brokers})
	if d := r.FirstDifference; d == nil || d.Check != audit.CheckTable || d.Account != account || r.Balanced {
		t.Fatal(table(t, r))
	}
}

// TestParkedTransitIsAccountedFor: a counter-leg that is parked keeps its money in transit, and that is no difference.
func TestParkedTransitIsAccountedFor(t *testing.T) {
	h := audittest.New(t, 4)
	h.Open(8)
	h.Play(200)
	var leg *kgo.Record
	for leg == nil { // until a transfer is decided and its leg still waits
		h.Request()
		for p := range int32(audittest.Partitions) {
			for len(h.Queue[p]) > 0 && h.Queue[p][0].Command.GetCounterLeg() == nil {
				h.Step(p)
			}
		}
		for p := range int32(audittest.Partitions) {
			if len(h.Queue[p]) == 1 && h.Queue[p][0].Command.GetCounterLeg() != nil {
				leg = h.Commands[p][h.Queue[p][0].Offset]
				leg.Offset = h.Queue[p][0].Offset
			}
		}
	}
	brokers := h.Publish()
	r := verify(t, audit.Config{Brokers: brokers})
	if r.Balanced || r.Undecided != 1 || r.Checks[0].Verdict != audit.VerdictLag {
		t.Fatalf("an undecided command passes\n%s", table(t, r))
	}
	if lag := verify(t, audit.Config{Brokers: brokers, AllowLag: true}); lag.Err() != nil {
		t.Fatalf("%v\n%s", lag.Err(), table(t, lag))
	}
	audittest.Produce(t, brokers, &kgo.Record{Topic: topics.AccountsSide, Partition: leg.Partition, Key: parkedKey(string(leg.Key), leg.Offset), Value: []byte{1}})
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

// TestClaimOnItsWayIsNoDifference: while the refusal or the release of a claim is parked, the claim is not settled.
func TestClaimOnItsWayIsNoDifference(t *testing.T) {
	for decisions, kind := range map[int]paymentsv1.CommandKind{
		1: paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, 2: paymentsv1.CommandKind_COMMAND_KIND_RELEASE_CLAIM,
	} {
		h := audittest.New(t, 6)
		h.Open(3)
		waits := h.Contend(decisions)
		if got := waits.Command.GetKind(); got != kind {
			t.Fatalf("%s waits, want %s", got, kind)
		}
		brokers := h.Publish()
		audittest.Produce(t, brokers, &kgo.Record{
			Topic: topics.AccountsSide, Partition: waits.Partition, Key: parkedKey(waits.Key, waits.Offset), Value: []byte{1},
		})
		if r := verify(t, audit.Config{Brokers: brokers}); r.Err() != nil || r.Parked != 1 {
			t.Errorf("%s waits: %v\n%s", kind, r.Err(), table(t, r))
		}
	}
}

// parkedKey is the durable layout of streams/engine.
func parkedKey(key string, offset int64) []byte {
	b := append([]byte{2, byte(len(key))}, key...)
	b = append(append(b, byte(len("engine.parked"))), "engine.parked"...)
	return binary.BigEndian.AppendUint64(b, uint64(offset))
}

// TestOpenTransactionIsFound: what no reader can see is not a closed book.
func TestOpenTransactionIsFound(t *testing.T) {
	h := audittest.New(t, 5)
	h.Open(4)
	h.Play(50)
	brokers := h.Publish()
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
	if d := r.FirstDifference; d == nil || d.Check != audit.CheckTransactions || d.Partition != 1 || d.Offset != int64(len(h.Decisions[1])) {
		t.Fatal(table(t, r))
	}
}

package topology

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// decided runs commands and what follows from them through shells in memory.
type decided struct {
	shell   *accountsShell
	memory  []*memory
	offsets []int64
	emits   []emitted
}

func newDecided(tb testing.TB, partitions int32) *decided {
	tb.Helper()
	d := &decided{shell: newAccountsShell(partitions), offsets: make([]int64, partitions)}
	docs := reference(tb)
	for p := range partitions {
		d.memory = append(d.memory, newMemory(p, docs))
	}
	return d
}

func (d *decided) run(tb testing.TB, queue ...command) {
	tb.Helper()
	for ; len(queue) > 0; queue = queue[1:] {
		c := queue[0]
		p := c.partition
		if p < 0 {
			p = topics.Partition([]byte(c.key), int32(len(d.memory)))
		}
		r := &memoryRecord{memory: d.memory[p], key: c.key, offset: d.offsets[p]}
		if err := d.shell.handle(r, c.value); err != nil {
			tb.Fatalf("%s under %s: %v", c.kind, c.key, err)
		}
		d.offsets[p]++
		for _, e := range r.emits {
			switch e.topic {
			case topics.Commands:
				queue = append(queue, command{e.key, -1, e.value, payment.KindUnknown})
			case topics.RailsOrders:
				queue = append(queue, answerTo(tb, e))
			default:
			}
		}
		d.emits = append(d.emits, r.emits...)
	}
}

// TestSealedDataWaitsForTheOrder: the order of a payout that was in review carries what the payout's own request had sealed.
func TestSealedDataWaitsForTheOrder(t *testing.T) {
	d, traffic := newDecided(t, 2), newTraffic(t, 1, 1, 2)
	open := traffic.command(payment.KindOpenAccount, traffic.account("shop"), "open")
	open.Customer = "c-shop"
	key := string(payment.CustomerKeyFrom(tenant, merchant, open.Customer))
	open.CommandID = payment.CommandIDFrom(key, merchant, "open")
	open.Open = &payment.OpenAccount{ExternalID: "shop", Kind: payment.AccountKindMerchant, Currencies: []string{"BRL"}, KYCLevel: 3, Policy: "standard"}
	d.run(t, traffic.record(key, open))
	d.run(t, traffic.instruct(payment.KindPayIn, "shop", payment.Instruction{AmountMinor: 9000_00, Currency: "BRL", Method: "book"}))
	payout := traffic.instruct(payment.KindPayOut, "shop", payment.Instruction{
		AmountMinor: 600_00, Currency: "BRL", Method: "bank", Counterparty: payment.Counterparty{Country: "BR", Digest: []byte(party(1))},
	})
	_, asked, err := codec.DecodeCommand(payout.value)
	if err != nil {
		t.Fatal(err)
	}
	d.run(t, payout)
	approve := traffic.command(payment.KindApprove, traffic.account("shop"), "approve")
	approve.PaymentID, approve.Verdict = traffic.payments[len(traffic.payments)-1], &payment.Verdict{Actor: "ops"}
	approve.CommandID = payment.CommandIDFrom(string(approve.Account), merchant, "approve")
	b, err := codec.EncodeCommand(&approve, codec.Envelope{})
	if err != nil {
		t.Fatal(err)
	}
	d.emits = nil
	d.run(t, command{string(approve.Account), -1, b, approve.Kind})
	orders := 0
	for _, e := range d.emits {
		if e.topic != topics.RailsOrders {
			continue
		}
		orders++
		if _, sealed, err := codec.DecodeOrder(e.value); err != nil || !proto.Equal(sealed, asked.Sealed) || asked.Sealed == nil {
			t.Errorf("the order carries %v, %v; the payout had %v", sealed, err, asked.Sealed)
		}
	}
	if orders != 1 {
		t.Errorf("%d orders", orders)
	}
}

// answerTo is what a rail says about an order: the same about the same.
func answerTo(tb testing.TB, e emitted) command {
	tb.Helper()
	o, _, err := codec.DecodeOrder(e.value)
	if err != nil {
		tb.Fatal(err)
	}
	results := []payment.RailResult{payment.RailConfirmed, payment.RailConfirmed, payment.RailRefused, payment.RailUnknown}
	sum := sha256.Sum256([]byte(o.OrderID))
	cmd := payment.Command{
		Kind: payment.KindRailAnswer, Account: o.Account, PaymentID: o.PaymentID, AcceptedAtUS: o.OrderedAtUS,
		CommandID: payment.CommandIDFrom(e.key, "", "rail_answer/"+o.OrderID),
		RailAnswer: &payment.RailAnswer{
			OrderID: o.OrderID, Result: results[sum[0]%4], AmountMinor: o.AmountMinor, Connector: "cielo", Reference: "r", Code: "00",
		},
	}
	b, err := codec.EncodeCommand(&cmd, codec.Envelope{})
	if err != nil {
		tb.Fatal(err)
	}
	return command{e.key, -1, b, cmd.Kind}
}

func TestEveryRecordOfTheShell(t *testing.T) {
	d, traffic := newDecided(t, 2), newTraffic(t, 1, 6, 2)
	for range 1500 {
		d.run(t, traffic.next()...)
	}
	heads := map[int32][]byte{}
	replies, decisions := 0, 0
	for _, e := range d.emits {
		switch e.topic {
		case topics.Decisions:
			decisions++
			var m paymentsv1.Decision
			if err := proto.Unmarshal(e.value, &m); err != nil {
				t.Fatal(err)
			}
			// Invariant: a decision is tied to the stored bytes of the one before it in its partition.
			if !bytes.Equal(m.GetPreviousHash(), heads[e.partition]) {
				t.Fatalf("chain broken at %d of partition %d", m.GetCommandOffset(), e.partition)
			}
			h := sha256.Sum256(e.value)
			heads[e.partition] = h[:]
			if back, seal, err := codec.DecodeDecision(e.value); err != nil {
				t.Fatal(err)
			} else if again, err := codec.EncodeDecision(&back, seal); err != nil || !bytes.Equal(again, e.value) {
				t.Fatalf("decision does not survive decoding: %v\n%v", err, &m)
			}
		case topics.Commands:
			cmd, envelope, err := codec.DecodeCommand(e.value)
			if err != nil {
				t.Fatal(err)
			}
			forwarded := cmd.Kind == payment.KindOpenAccount || cmd.Kind == payment.KindSetKYCLevel
			if (envelope.Reply != nil) != forwarded || (envelope.Sealed != nil) != forwarded {
				t.Fatalf("%s travels with %+v", cmd.Kind, envelope)
			}
		case topics.Replies:
			replies++
			if e.partition != 1 {
				t.Fatalf("reply on partition %d", e.partition)
			}
			var m paymentsv1.Reply
			if err := proto.Unmarshal(e.value, &m); err != nil {
				t.Fatal(err)
			}
			if len(m.GetDecision().GetJournals()) > 0 || m.GetDecision().GetSealed() != nil || m.GetReplyId() == 0 {
				t.Fatalf("reply %v", &m)
			}
		}
	}
	// A forwarded request is answered once, by its last hop or by the hop that refuses it.
	if asked := len(traffic.requests) + traffic.repeats; replies != asked {
		t.Errorf("%d replies to %d requests", replies, asked)
	}
	if decisions == 0 || decisions != int(d.offsets[0]+d.offsets[1]) {
		t.Errorf("%d decisions of %d commands", decisions, d.offsets[0]+d.offsets[1])
	}
}

func TestWhatTheShellRefuses(t *testing.T) {
	d, traffic := newDecided(t, 1), newTraffic(t, 1, 1, 1)
	d.run(t, traffic.open("account0"))
	valid := traffic.pay(payment.KindPayIn, "account0")
	refused := func(name string, key string, value []byte) {
		t.Helper()
		r := &memoryRecord{memory: d.memory[0], key: key, offset: 9}
		if err := d.shell.handle(r, value); err == nil {
			t.Errorf("%s was decided", name)
		}
		if len(r.emits) > 0 {
			t.Errorf("%s emitted", name)
		}
	}
	refused("null", valid.key, nil)
	refused("noise", valid.key, []byte("noise"))
	refused("another key", string(traffic.account("account1")), valid.value)
	refused("no key of ours", "7", valid.value)

	cmd, envelope, err := codec.DecodeCommand(valid.value)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Pins.Rates = "fx@99"
	missing, err := codec.EncodeCommand(&cmd, envelope)
	if err != nil {
		t.Fatal(err)
	}
	refused("a pinned version that is not there", valid.key, missing)

	// An address that no ingress can have stops the reply, not the decision.
	cmd.Pins.Rates, envelope.Reply.Partition = "fx@1", 7
	lost, err := codec.EncodeCommand(&cmd, envelope)
	if err != nil {
		t.Fatal(err)
	}
	r := &memoryRecord{memory: d.memory[0], key: valid.key, offset: 9}
	if err := d.shell.handle(r, lost); err != nil || len(r.emits) != 1 || r.emits[0].topic != topics.Decisions {
		t.Errorf("unreachable caller: %v, %d emissions", err, len(r.emits))
	}
}

func TestDueIDsSortByTimeAndComeBack(t *testing.T) {
	id := payment.IDFrom(payment.KindPayOut, payment.AccountIDFrom("t", "m", "a"), "m", "k")
	var ids []string
	for _, at := range []int64{1, 255, 256, noon, noon + 1, 1 << 52} {
		due := accounts.Due{AtUS: at, Account: id.Account(), Payment: id, Purpose: payment.ExpireReview}
		got, err := parseDueID(dueID(due))
		if err != nil || got != due {
			t.Errorf("%+v came back as %+v, %v", due, got, err)
		}
		if dueID(due) >= dueAfter(at) || dueID(due) < dueAfter(at-1) {
			t.Errorf("due at %d does not lie at its time", at)
		}
		ids = append(ids, dueID(due))
	}
	if !slices.IsSorted(ids) {
		t.Error("ids do not sort by time")
	}
	for _, bad := range []string{"", "short", dueID(accounts.Due{Account: "acc_x", Payment: id})} {
		if _, err := parseDueID(bad); err == nil {
			t.Errorf("%q was parsed", bad)
		}
	}
}

// BenchmarkPayment is the whole way of one payment apart from the engine: decode, load, decide, encode, write, emit.
func BenchmarkPayment(b *testing.B) {
	for _, kind := range []payment.Kind{payment.KindPayIn, payment.KindPayOut, payment.KindTransfer, payment.KindAuthorization} {
		b.Run(kind.String(), func(b *testing.B) {
			d, traffic := newDecided(b, 1), newTraffic(b, 1, 100, 1)
			for _, name := range traffic.names {
				d.run(b, traffic.open(name))
				d.run(b, traffic.instruct(payment.KindPayIn, name, payment.Instruction{AmountMinor: 1 << 40, Currency: "BRL", Method: "book"}))
			}
			commands := make([]command, b.N)
			for i := range commands {
				traffic.now += second
				in := payment.Instruction{AmountMinor: 1_00, Currency: "BRL", Method: "book", Counterparty: payment.Counterparty{Country: "BR", Digest: []byte(party(1))}}
				if kind == payment.KindTransfer {
					in.ToAccount = traffic.account("account1")
				}
				name := fmt.Sprint("account", i%100)
				if kind == payment.KindAuthorization {
					commands[i] = traffic.authorize(name, payment.CardTransaction{
						AmountMinor: in.AmountMinor, Currency: in.Currency, Counterparty: in.Counterparty, Card: traffic.cardOf(name), MCC: "5411",
					})
					continue
				}
				commands[i] = traffic.instruct(kind, name, in)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range commands {
				r := &memoryRecord{memory: d.memory[0], key: commands[i].key, offset: int64(i)}
				if err := d.shell.handle(r, commands[i].value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

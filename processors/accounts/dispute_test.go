package accounts_test

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// disputed is a dispute as the card network has it.
type disputed struct {
	amountMinor int64
	currency    string
	stage       payment.DisputeStage // the furthest that was told, or what it was decided to be
	taken       bool
}

// hears takes in one more word. What is older than what is known says nothing; who has won may be asked again by
// pre-arbitration alone, and who has lost may still be given back.
func (d *disputed) hears(s payment.DisputeStage) {
	decided := d.stage == payment.DisputeStageWon || d.stage == payment.DisputeStageLost
	switch {
	case s == payment.DisputeStageWon:
		d.stage, d.taken = s, false
	case s == payment.DisputeStagePreArbitration && d.stage == payment.DisputeStageWon, !decided && s > d.stage:
		d.stage, d.taken = s, s != payment.DisputeStagePreDispute
	}
}

// contend tells of a dispute, or answers one.
func (h *history) contend(t *rapid.T, k string) {
	if len(h.payments) == 0 {
		return
	}
	if len(h.disputes) > 0 && rapid.IntRange(0, 3).Draw(t, "contest") == 0 {
		h.request(h.contest(rapid.SampledFrom(h.disputes).Draw(t, "dispute"), k, rapid.IntRange(0, 2).Draw(t, "files")))
		return
	}
	of := rapid.SampledFrom(h.payments).Draw(t, "of")
	for _, p := range h.payments { // mostly one that can be disputed
		if rec := h.house.payments[string(p.Account())+p.Identity()]; rec != nil && rec.Rail != nil && rec.Rail.CapturedMinor > 0 && rapid.Bool().Draw(t, "captured") {
			of = p
			break
		}
	}
	amount := rapid.OneOf(rapid.Int64Range(1, 2000), rapid.Just(int64(1)<<62)).Draw(t, "amount")
	if rec := h.house.payments[string(of.Account())+of.Identity()]; rec != nil && rec.Rail != nil && rapid.Bool().Draw(t, "whole") {
		amount = max(rec.Rail.CapturedMinor, 1)
	}
	q := payment.Dispute{
		Stage:       payment.DisputeStage(rapid.Uint8Range(1, 5).Draw(t, "stage")),
		AmountMinor: amount, Connector: "stone", Reference: fmt.Sprint("d", rapid.IntRange(0, 4).Draw(t, "which")),
		DeadlineUS: rapid.SampledFrom([]int64{0, h.now + 5*second, h.now + 86_400*second}).Draw(t, "deadline"),
	}
	if rapid.Bool().Draw(t, "message") {
		q.MessageID = payment.CommandIDFrom(string(of.Account()), merchant, "message "+k)
	}
	id := payment.DisputeIDFrom(of.Account(), q.Connector, q.Reference)
	if rec := h.house.payments[string(id.Account())+id.Identity()]; rec != nil && rapid.IntRange(0, 9).Draw(t, "lie") > 0 {
		of, q.AmountMinor = rec.Related, rec.AmountMinor
	}
	key, cmd := h.dispute(of, q)
	if rapid.Bool().Draw(t, "unpinned") {
		cmd.Pins = payment.Pins{}
	}
	h.disputes = append(h.disputes, id)
	for range rapid.IntRange(1, 2).Draw(t, "times") {
		h.request(key, cmd)
	}
}

// ask asks for a quote.
func (h *history) ask(t *rapid.T, name, k string) {
	in := h.instruction(t)
	key, cmd := h.quote(name, k, payment.FXQuote{AmountMinor: in.AmountMinor, Currency: in.Currency, TargetCurrency: in.TargetCurrency})
	h.quotes = append(h.quotes, cmd)
	h.request(key, cmd)
}

// taken tells the decisions by which a card network takes money that need not be there.
func taken(e *entry) bool {
	return e.cmd.Kind == payment.KindDispute || e.cmd.Kind == payment.KindDisputeAccept
}

// checkDisputed lets the card network do what the decision has taken in, and holds refunds to what disputes have left.
func (n *network) checkDisputed(t *rapid.T, e *entry) {
	d := &e.decision
	for id := range n.outside.disputes {
		if n.payments[string(id.Account())+id.Identity()] == nil {
			delete(n.outside.disputes, id) // its record has left
			n.left = true
		}
	}
	switch {
	case d.Kind == payment.KindRefund && d.Outcome == payment.OutcomeApproved && d.Method == "card":
		paid := n.payments[e.key+e.cmd.PaymentID.Identity()]
		// Invariant: by a decision of the house no more is paid back than was captured, whatever is disputed.
		if back := paid.RefundedMinor + paid.Rail.RefundingMinor + paid.Rail.DisputedMinor; back > paid.Rail.CapturedMinor {
			t.Fatalf("%d of %d are given back or disputed", back, paid.Rail.CapturedMinor)
		}
	case d.Kind == payment.KindDispute && d.Outcome == payment.OutcomeApplied:
		was := n.outside.disputes[d.PaymentID]
		if was == nil {
			was = &disputed{amountMinor: e.cmd.Dispute.AmountMinor, currency: d.Currency}
			n.outside.disputes[d.PaymentID] = was
			// Invariant: a dispute that is new takes no more than others have left, or one that is told under two names takes twice.
			if paid := n.payments[e.key+e.cmd.PaymentID.Identity()]; paid != nil && paid.Rail.DisputedMinor > paid.Rail.CapturedMinor {
				t.Fatalf("%d of %d are disputed", paid.Rail.DisputedMinor, paid.Rail.CapturedMinor)
			}
		}
		n.moved(was, e.cmd.Dispute.Stage)
	case d.Kind == payment.KindDisputeAccept && d.Outcome == payment.OutcomeApproved:
		n.moved(n.outside.disputes[d.PaymentID], payment.DisputeStageLost)
	}
}

// moved counts what the network takes or gives back at a word.
func (n *network) moved(d *disputed, s payment.DisputeStage) {
	before := d.taken
	d.hears(s)
	clearing := ledger.SysClearing("card") + " posted" + d.currency
	switch {
	case d.taken && !before:
		n.outside.did[clearing] += d.amountMinor
	case !d.taken && before:
		n.outside.did[clearing] -= d.amountMinor
	}
}

// checkDisputes holds what is true of disputes when everything was delivered.
func (n *network) checkDisputes(t *rapid.T) {
	sums := map[payment.ID]int64{}
	for id, d := range n.outside.disputes {
		rec := n.payments[string(id.Account())+id.Identity()]
		// Invariant: a dispute stands where the card network has it, and the money with it.
		if rec.Status.String() != d.stage.String() || rec.DisputeTaken != d.taken {
			t.Fatalf("%s is %s (taken: %t), the network has %s (%t)", id, rec.Status, rec.DisputeTaken, d.stage, d.taken)
		}
		if d.stage != payment.DisputeStageWon {
			sums[rec.Related] += d.amountMinor
		}
	}
	for key, rec := range n.payments {
		if rec.Kind != payment.KindPayIn || rec.Rail == nil {
			continue
		}
		// Invariant: a pay-in counts each of its disputes once. Where records have left, what they had lost stays counted.
		if want := sums[payment.ID("pi_"+key[len(key)-40:])]; rec.Rail.DisputedMinor < want || !n.left && rec.Rail.DisputedMinor != want {
			t.Fatalf("%s counts %d disputed, its disputes are %d", key, rec.Rail.DisputedMinor, want)
		}
	}
}

// TestAnyContention drives disputes, refunds, captures and quotes of few payments of one account, in any order.
func TestAnyContention(t *testing.T) { rapid.Check(t, anyContention) }

func anyContention(t *rapid.T) {
	n := &network{house: newHouse(1), queues: map[string][]payment.Command{}, outside: newRail()}
	h := &history{network: n, caller: caller{now: noon}}
	n.clock = &h.caller
	name := rapid.SampledFrom([]string{"ana", "bia"}).Draw(t, "name")
	h.request(h.open(name, payment.OpenAccount{Currencies: []string{"BRL", "USD"}, KYCLevel: 3, Policy: policyOf(name)}))
	n.drain(t)
	for i, method := range []string{"book", "card", "card"} {
		in := payment.Instruction{AmountMinor: rapid.Int64Range(1, 100_000).Draw(t, "brought"), Currency: "BRL", Method: method}
		in.TargetCurrency = rapid.SampledFrom([]string{"", "USD"}).Draw(t, "target")
		if rapid.Bool().Draw(t, "manual") {
			in.Card.Capture = payment.CaptureManual
		}
		h.pay(h.instruct(payment.KindPayIn, name, fmt.Sprint("in", i), in))
	}
	n.drain(t)
	for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
		h.contention(t, name, fmt.Sprint("k", i))
		for range rapid.IntRange(0, 3).Draw(t, "deliveries") {
			n.deliver(t)
		}
	}
	n.drain(t)
	checkBooks(t, n.house)
	n.checkRails(t)
	n.checkDisputes(t)
	checkQuotes(t, n.house)
	checkRepeats(t, n, h.sent)
	checkReplay(t, n.house)
}

func (h *history) contention(t *rapid.T, name, k string) {
	h.now += rapid.SampledFrom([]int64{0, 1, 30, 3600}).Draw(t, "pass") * second
	of := rapid.SampledFrom(h.payments).Draw(t, "of")
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0, 1, 2, 3:
		h.contend(t, k)
	case 4:
		h.request(h.refund(of, k, rapid.Int64Range(0, 5000).Draw(t, "amount")))
	case 5:
		h.request(h.operate(payment.KindCapture, of, k, rapid.Int64Range(0, 5000).Draw(t, "part"), rapid.Bool().Draw(t, "final")))
	case 6:
		key, cmd := h.quote(name, k, payment.FXQuote{AmountMinor: rapid.Int64Range(1, 9).Draw(t, "quoted"), Currency: "BRL", TargetCurrency: "USD"})
		h.quotes = append(h.quotes, cmd)
		h.request(key, cmd)
	case 7, 8:
		if len(h.quotes) == 0 {
			return
		}
		q := rapid.SampledFrom(h.quotes).Draw(t, "quote")
		in := payment.Instruction{
			AmountMinor: q.FXQuote.AmountMinor, Currency: "BRL", TargetCurrency: "USD", Quote: q.PaymentID,
			Method: rapid.SampledFrom([]string{"book", "bank"}).Draw(t, "method"),
		}
		h.request(h.instruct(rapid.SampledFrom([]payment.Kind{payment.KindPayOut, payment.KindPayIn}).Draw(t, "kind"), name, k, in))
	case 9:
		h.speak(t)
	}
}

// checkQuotes holds each quote to one payment, at its rate.
func checkQuotes(t *rapid.T, h *house) {
	by := map[payment.ID]payment.ID{}
	quoted := map[payment.ID]*payment.FX{}
	for i := range h.log {
		d := &h.log[i].decision
		switch d.Kind {
		case payment.KindFXQuote:
			if d.Outcome == payment.OutcomeApproved {
				quoted[d.PaymentID] = d.FX
				delete(by, d.PaymentID) // the id is used again
			}
		case payment.KindPayIn, payment.KindPayOut, payment.KindTransfer:
			if d.Quote == "" || d.Outcome == payment.OutcomeRepeated {
				continue
			}
			if other, twice := by[d.Quote]; twice {
				t.Fatalf("%s has the quote of %s", d.PaymentID, other)
			}
			by[d.Quote] = d.PaymentID
			if !reflect.DeepEqual(d.FX, quoted[d.Quote]) {
				t.Fatalf("%s is converted at %v, its quote is %v", d.PaymentID, d.FX, quoted[d.Quote])
			}
		default:
		}
	}
}

// course draws what a card network says of one dispute, in the order in which it came about.
func course(t *rapid.T) []payment.DisputeStage {
	told, net := []payment.DisputeStage(nil), &disputed{}
	for range rapid.IntRange(1, 8).Draw(t, "messages") {
		var news []payment.DisputeStage
		for s := payment.DisputeStagePreDispute; s <= payment.DisputeStageLost; s++ {
			after := *net
			if after.hears(s); after.stage != net.stage {
				news = append(news, s)
			}
		}
		s := rapid.SampledFrom(news).Draw(t, "stage")
		net.hears(s)
		told = append(told, s)
	}
	return told
}

// Invariant: however often the messages about a dispute are delivered, and in whichever order, the money is in the end where
// the latest of them says that it is.
func TestMessagesOfADisputeInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, c := newHouse(1), &caller{now: noon}
		decide := func(key string, cmd payment.Command) *entry {
			cmd.Pins.Policy = policyOf("ana") + "@1"
			e, err := h.decide(key, cmd)
			if err != nil {
				t.Fatal(err)
			}
			return &e
		}
		decide(c.open("ana", payment.OpenAccount{Currencies: []string{"BRL"}, KYCLevel: 3, Policy: policyOf("ana")}))
		account := payment.AccountIDFrom(tenant, merchant, "ana")
		_, opening := c.open("ana", payment.OpenAccount{Currencies: []string{"BRL"}, KYCLevel: 3, Policy: policyOf("ana")})
		decide(string(account), opening)
		key, in := c.instruct(payment.KindPayIn, "ana", "in", payment.Instruction{AmountMinor: 9000, Currency: "BRL", Method: "card"})
		decide(key, in)
		decide(c.answer(in.PaymentID, payment.RailAnswer{OrderID: string(in.PaymentID) + ".collect", Result: payment.RailConfirmed, Connector: "stone"}))
		stages := course(t)
		began := c.now + second
		c.now += int64(len(stages)+1) * second // no message comes before what it tells
		var messages []payment.Command
		for i, s := range stages {
			_, cmd := c.dispute(in.PaymentID, payment.Dispute{
				Stage: s, AmountMinor: 9000, Connector: "stone", Reference: "d", OccurredAtUS: began + int64(i)*second,
				MessageID: payment.CommandIDFrom(key, merchant, fmt.Sprint("m", i)),
			})
			messages = append(messages, cmd)
		}
		truth := &disputed{}
		for _, s := range stages {
			truth.hears(s)
		}
		order := make([]int, 2*len(messages))
		for i := range order {
			order[i] = i % len(messages)
		}
		told := map[int]bool{}
		for _, i := range rapid.Permutation(order).Draw(t, "order") {
			e := decide(key, messages[i])
			if again := told[i]; again != (e.decision.Outcome == payment.OutcomeRepeated) || again && len(e.decision.Journals) > 0 {
				t.Fatalf("told before: %t, %s with %v", again, e.decision.Outcome, e.decision.Journals)
			}
			told[i] = true
		}
		id := payment.ID(messages[0].CommandID)
		rec, paid := h.payments[key+id.Identity()], h.payments[key+in.PaymentID.Identity()]
		if want := stages[len(stages)-1] != payment.DisputeStageWon; rec.DisputeTaken != truth.taken || (paid.Rail.DisputedMinor == 9000) != want {
			t.Fatalf("%v ends as %s, taken %t, disputed %d", stages, rec.Status, rec.DisputeTaken, paid.Rail.DisputedMinor)
		}
		checkBooks(t, h)
	})
}

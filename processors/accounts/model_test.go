package accounts_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// network holds what is on its way: in order per key, in any order between keys.
type network struct {
	*house
	queues  map[string][]payment.Command
	outside *rail
	clock   *caller
	left    bool // a dispute's record has left
}

func (n *network) send(key string, cmd payment.Command) { n.queues[key] = append(n.queues[key], cmd) }

// deliver decides the next command of some key.
func (n *network) deliver(t *rapid.T) {
	keys := sortedKeys(n.queues)
	if len(keys) == 0 {
		return
	}
	key := rapid.SampledFrom(keys).Draw(t, "key")
	cmd := n.queues[key][0]
	if n.queues[key] = n.queues[key][1:]; len(n.queues[key]) == 0 {
		delete(n.queues, key)
	}
	before := n.cells[key]
	e, err := n.decide(key, cmd)
	if err != nil {
		t.Fatalf("deciding %+v: %v", cmd, err)
	}
	for _, o := range e.out {
		if o.Command != nil {
			n.send(o.Command.Key, o.Command.Command)
		}
		if o.Order != nil {
			n.take(t, n.clock, o.Order)
		}
	}
	checkEntry(t, before, n.cells[key], &e)
	n.checkDisputed(t, &e)
}

// checkEntry holds what is true of every single decision.
func checkEntry(t *rapid.T, before, after *accounts.Cell, e *entry) {
	d := &e.decision
	if !slices.IsSorted(d.Reasons) || len(slices.Compact(slices.Clone(d.Reasons))) != len(d.Reasons) {
		t.Fatalf("reasons %v are not in order", d.Reasons)
	}
	switch d.Outcome {
	case payment.OutcomeDeclined, payment.OutcomeConflict:
		if len(d.Reasons) == 0 {
			t.Fatalf("%s without a reason", d.Outcome)
		}
		fallthrough
	case payment.OutcomeRepeated:
		if len(d.Journals) > 0 {
			t.Fatalf("%s moved money", d.Outcome)
		}
	default:
	}
	if d.Kind == payment.KindTick {
		return
	}
	var balances []ledger.Balance
	if before != nil {
		balances = before.Balances
	}
	if len(d.Journals) == 0 && d.AccountState == nil && !reflect.DeepEqual(balances, after.Balances) {
		t.Fatalf("balances moved without a journal: %v, %v", balances, after.Balances)
	}
	for _, b := range after.Balances {
		overdraft := int64(0)
		if b.Currency == after.State.Currencies[0] {
			overdraft = after.State.OverdraftLimitMinor
		}
		// Invariant: nothing leaves that is not there, unless a card network takes it.
		if !taken(e) && ledger.Available(b) < -overdraft && (before == nil || ledger.Available(b) < ledger.Available(find(before.Balances, b.Currency))) {
			t.Fatalf("available %d %s below the overdraft %d", ledger.Available(b), b.Currency, overdraft)
		}
	}
}

func find(bs []ledger.Balance, currency string) ledger.Balance {
	for _, b := range bs {
		if b.Currency == currency {
			return b
		}
	}
	return ledger.Balance{}
}

// drain delivers what is left.
func (n *network) drain(t *rapid.T) {
	for len(n.queues)+len(n.outside.says) > 0 {
		n.speak(t)
		n.deliver(t)
	}
}

// sent is a request that may be repeated.
type sent struct {
	key string
	cmd payment.Command
}

// TestAnyHistory drives random histories over several accounts and partitions.
func TestAnyHistory(t *testing.T) { rapid.Check(t, anyHistory) }

// FuzzAnyHistory lets the fuzzer choose the histories.
func FuzzAnyHistory(f *testing.F) { f.Fuzz(rapid.MakeFuzz(anyHistory)) }

func anyHistory(t *rapid.T) {
	n := &network{house: newHouse(3), queues: map[string][]payment.Command{}, outside: newRail()}
	h := &history{network: n, caller: caller{now: noon}}
	n.clock = &h.caller
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		h.step(t)
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

type history struct {
	*network
	caller
	sent     []sent
	payments []payment.ID
	disputes []payment.ID
	quotes   []payment.Command
	keys     int
}

func (h *history) step(t *rapid.T) {
	pass := []int64{-5, 0, 1, 30, 3600, 86_400, 45 * 86_400}
	if len(h.outside.says) > 0 {
		pass = pass[:5] // an answer that comes after its payment has left finds nothing
	}
	h.now += rapid.SampledFrom(pass).Draw(t, "pass") * second
	name := rapid.SampledFrom([]string{"ana", "bia", "caio", "davi"}).Draw(t, "name")
	h.keys++
	k := fmt.Sprint("k", h.keys)
	switch rapid.IntRange(0, 21).Draw(t, "what") {
	case 0, 1:
		h.request(h.open(name, payment.OpenAccount{
			Currencies: rapid.SampledFrom([][]string{{"BRL"}, {"BRL", "USD"}, {"USD", "JPY"}}).Draw(t, "currencies"),
			KYCLevel:   3, OverdraftLimitMinor: 1000, Policy: policyOf(name),
		}))
	case 2, 3, 4:
		h.pay(h.instruct(payment.KindPayIn, name, k, h.instruction(t)))
	case 5, 6:
		h.pay(h.instruct(payment.KindPayOut, name, k, h.instruction(t)))
	case 7, 8:
		in := h.instruction(t)
		in.ToAccount = accountOf(rapid.SampledFrom([]string{"ana", "bia", "caio", "nobody"}).Draw(t, "payee"))
		h.pay(h.instruct(payment.KindTransfer, name, k, in))
	case 9:
		if len(h.payments) > 0 {
			h.request(h.refund(rapid.SampledFrom(h.payments).Draw(t, "of"), k, rapid.Int64Range(0, 2000).Draw(t, "amount")))
		}
	case 10:
		if len(h.payments) > 0 {
			kind := rapid.SampledFrom([]payment.Kind{payment.KindApprove, payment.KindDecline}).Draw(t, "verdict")
			h.request(h.verdict(kind, rapid.SampledFrom(h.payments).Draw(t, "of"), k))
		}
	case 11:
		h.request(h.level(name, rapid.Uint8Range(0, 3).Draw(t, "level"), k))
	case 13, 14:
		if len(h.payments) > 0 {
			kind := rapid.SampledFrom([]payment.Kind{payment.KindCapture, payment.KindCapture, payment.KindVoid, payment.KindIncrement}).Draw(t, "operation")
			h.request(h.operate(kind, rapid.SampledFrom(h.payments).Draw(t, "of"), k,
				rapid.Int64Range(1, 2000).Draw(t, "part"), rapid.Bool().Draw(t, "final")))
		}
	case 15, 16:
		h.speak(t)
	case 17, 18, 19, 20:
		h.contend(t, k)
	case 21:
		h.ask(t, name, k)
	case 12:
		if len(h.sent) > 0 && rapid.Bool().Draw(t, "repeat") {
			s := rapid.SampledFrom(h.sent).Draw(t, "again")
			h.send(s.key, s.cmd)
			return
		}
		for p := range h.partitions {
			h.send(h.tick(p))
		}
	}
}

// policyOf says whose payments a rail may execute.
func policyOf(name string) string {
	return map[string]string{"ana": "cards", "bia": "generous", "caio": "cards"}[name] + map[string]string{"davi": "standard"}[name]
}

func (h *history) request(key string, cmd payment.Command) {
	for _, name := range []string{"ana", "bia", "caio", "davi"} {
		if cmd.Account == accountOf(name) && cmd.Pins.Policy != "" {
			cmd.Pins.Policy = policyOf(name) + "@1"
		}
	}
	if cmd.Kind != payment.KindDispute { // a fact is said again by whoever tells it: what is older than what is known depends on when
		h.sent = append(h.sent, sent{key, cmd})
	}
	h.send(key, cmd)
}

func (h *history) pay(key string, cmd payment.Command) {
	h.payments = append(h.payments, cmd.PaymentID)
	h.request(key, cmd)
}

func (h *history) instruction(t *rapid.T) payment.Instruction {
	amounts := rapid.OneOf(rapid.Int64Range(1, 2000), rapid.Int64Range(1, 500_000), rapid.Just(int64(1)<<62))
	in := payment.Instruction{
		AmountMinor: amounts.Draw(t, "amount"), Currency: rapid.SampledFrom([]string{"BRL", "BRL", "USD", "JPY"}).Draw(t, "currency"),
		TargetCurrency: rapid.SampledFrom([]string{"", "", "BRL", "USD", "JPY"}).Draw(t, "target"),
		Method:         rapid.SampledFrom([]string{"book", "book", "cash", "pix", "card", "card", "bank"}).Draw(t, "method"),
	}
	if rapid.Bool().Draw(t, "manual") {
		in.Card.Capture = payment.CaptureManual
	}
	if len(h.quotes) > 0 && rapid.IntRange(0, 3).Draw(t, "quoted") == 0 {
		q := rapid.SampledFrom(h.quotes).Draw(t, "quote")
		in.Quote = q.PaymentID
		if rapid.IntRange(0, 3).Draw(t, "as quoted") > 0 {
			in.AmountMinor, in.Currency, in.TargetCurrency = q.FXQuote.AmountMinor, q.FXQuote.Currency, q.FXQuote.TargetCurrency
		}
	}
	if party := rapid.SampledFrom([]string{"", "", "p1", "p2", "mallory"}).Draw(t, "party"); party != "" {
		in.Counterparty.Digest = digest(party)
	}
	return in
}

// checkBooks holds what is true when everything was delivered.
func checkBooks(t *rapid.T, h *house) {
	all, _ := h.totals("")
	for layer, sum := range all {
		// Invariant: money is conserved.
		if sum != 0 {
			t.Fatalf("postings sum to %d %s", sum, layer)
		}
	}
	_, transit := h.totals(ledger.SysTransit)
	for layer, sum := range transit {
		// Invariant: drained, transit is zero.
		if sum != 0 {
			t.Fatalf("transit holds %d %s", sum, layer)
		}
	}
	seq := map[string]uint64{}
	for i := range h.log {
		d := &h.log[i].decision
		if d.Account == "" {
			continue
		}
		// Invariant: account_seq has no gap.
		if seq[d.Account]++; d.AccountSeq != seq[d.Account] {
			t.Fatalf("account_seq %d of %s, want %d", d.AccountSeq, d.Account, seq[d.Account])
		}
	}
	for key, cell := range h.cells {
		_, own := h.totals(key)
		for _, b := range cell.Balances {
			pending := b.IncomingMinor - b.HeldMinor
			if own["posted"+b.Currency] != b.PostedMinor || own["pending"+b.Currency] != pending {
				t.Fatalf("%s has %+v, its postings say %v", key, b, own)
			}
		}
	}
	for id, r := range h.payments {
		if r.Status == payment.StatusProcessing {
			t.Fatalf("payment %s is still processing", id)
		}
	}
}

// checkRepeats sends everything again: nothing may move.
func checkRepeats(t *rapid.T, n *network, requests []sent) {
	all := map[string][]ledger.Balance{}
	for key, cell := range n.cells {
		all[key] = cell.Balances
	}
	for _, s := range requests {
		known := n.payments[s.key+identityOf(s.cmd)] != nil
		e, err := n.decide(s.key, s.cmd)
		if err != nil {
			t.Fatalf("repeating: %v", err)
		}
		if known && e.decision.Outcome != payment.OutcomeRepeated && e.decision.Outcome != payment.OutcomeConflict {
			t.Fatalf("repeat of %s: %s", s.cmd.CommandID, e.decision.Outcome)
		}
		if !known && len(e.decision.Journals) > 0 {
			return // its record had left, or it was refused while there was no account: it is decided anew
		}
	}
	for key, cell := range n.cells {
		if before, ok := all[key]; ok && !reflect.DeepEqual(before, cell.Balances) && before != nil {
			t.Fatalf("repeats moved %s from %v to %v", key, before, cell.Balances)
		}
	}
}

func identityOf(cmd payment.Command) string {
	if cmd.Kind.Prefix() == "" {
		return ""
	}
	return payment.ID(cmd.CommandID).Identity()
}

// checkReplay decides the same log again.
func checkReplay(t *rapid.T, h *house) {
	again := newHouse(h.partitions)
	for i := range h.log {
		e, err := again.decide(h.log[i].key, h.log[i].cmd)
		if err != nil {
			t.Fatalf("replaying: %v", err)
		}
		if !reflect.DeepEqual(e, h.log[i]) {
			t.Fatalf("replay of %d differs:\n%+v\n%+v", i, e, h.log[i])
		}
	}
	if !reflect.DeepEqual(again.cells, h.cells) || !reflect.DeepEqual(again.payments, h.payments) {
		t.Fatalf("replay leads to another state")
	}
}

package accounts_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/calendar"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
)

// The limits of the account that the histories are about, and how long an authorization stands.
const (
	dayMost, monthMost = int64(500_00), int64(2_000_00)
	standsUS           = 7 * 86_400 * second
	overdraftOfModel   = int64(50_00)
)

// cardBooks is what a thoughtful clerk would write down about one account and its cards, with nothing but sums.
type cardBooks struct {
	posted, clearing, suspense int64
	day, month                 int32
	dayUsed, monthUsed         int64
	auths                      map[string]*cardAuth
}

type cardAuth struct {
	body                                      string // empty: nobody has asked for it
	status, firstStatus                       payment.Status
	financial, granted, forced                bool // granted by an authorization, by an advice
	authorized, captured, hold, limit, credit int64
	day, month                                int32
	expiresUS                                 int64
	declined                                  int64 // what of it a stand-in may still grant
	askedUS                                   int64 // when it was asked for last, as its door says; 0: never
}

func (b *cardBooks) held() (sum int64) {
	for _, a := range b.auths {
		sum += a.hold
	}
	return sum
}

func (b *cardBooks) turn(atUS int64) {
	if d := calendar.DayOf(atUS, nil); d != b.day {
		b.day, b.dayUsed = d, 0
	}
	if m := calendar.MonthOf(atUS, nil); m != b.month {
		b.month, b.monthUsed = m, 0
	}
}

// grant books an authorization that is granted, here or elsewhere.
func (b *cardBooks) grant(a *cardAuth, amount, atUS int64) {
	b.turn(atUS)
	b.dayUsed, b.monthUsed = b.dayUsed+amount, b.monthUsed+amount
	a.limit, a.day, a.month = amount, b.day, b.month
	if a.declined > 0 {
		amount = min(amount, a.declined)
	}
	a.authorized = amount
	switch {
	case a.financial:
		a.status, a.captured = payment.StatusSucceeded, amount
		b.collect(amount)
	case amount == 0:
		a.status = payment.StatusSucceeded
	default:
		a.status, a.hold, a.expiresUS = payment.StatusRequiresCapture, amount, atUS+standsUS
	}
}

func (b *cardBooks) collect(amount int64) { b.posted, b.clearing = b.posted-amount, b.clearing+amount }

func (b *cardBooks) unreserve(a *cardAuth) {
	if b.day == a.day {
		b.dayUsed = max(b.dayUsed-a.limit, 0)
	}
	if b.month == a.month {
		b.monthUsed = max(b.monthUsed-a.limit, 0)
	}
}

// authorize is the outcome of an authorization that its door took in at askedUS.
func (b *cardBooks) authorize(key, body string, amount, atUS, askedUS int64, financial bool) payment.Outcome {
	a := b.auths[key]
	switch {
	case a == nil:
	case a.body == "":
		a.body, a.askedUS, a.financial, a.firstStatus = body, askedUS, financial, payment.StatusCancelled
		return payment.OutcomeDeclined
	case a.body == body:
		a.askedUS = max(a.askedUS, askedUS)
		return payment.OutcomeRepeated
	default:
		return payment.OutcomeConflict
	}
	a = &cardAuth{body: body, askedUS: askedUS, financial: financial, status: payment.StatusFailed, firstStatus: payment.StatusFailed}
	b.auths[key] = a
	was := *b
	b.turn(atUS)
	if b.dayUsed+amount > dayMost || b.monthUsed+amount > monthMost || amount > b.posted-b.held()+overdraftOfModel {
		b.day, b.dayUsed, b.month, b.monthUsed = was.day, was.dayUsed, was.month, was.monthUsed
		return payment.OutcomeDeclined
	}
	b.grant(a, amount, atUS)
	a.granted, a.firstStatus = true, a.status
	return payment.OutcomeApproved
}

func (b *cardBooks) advise(key, body string, amount, atUS int64, t payment.CardTransaction) {
	a := b.auths[key]
	switch {
	case a == nil:
		a = &cardAuth{body: body, financial: t.Financial, status: payment.StatusFailed, forced: true}
		b.auths[key] = a
		if !t.Refused {
			b.grant(a, amount, atUS)
		}
	case t.StandIn && !a.answeredBy(body, t.AskedAtUS):
		return
	case a.status == payment.StatusFailed && !a.forced && t.StandIn && !t.Refused:
		a.financial, a.forced, a.granted = t.Financial, true, true
		b.grant(a, amount, atUS)
	default:
		return
	}
	a.firstStatus = a.status
}

// answeredBy tells whether a stand-in's word is about this request, and what its acquirer was told last.
func (a *cardAuth) answeredBy(body string, askedUS int64) bool {
	return a.body == "" || a.body == body && (askedUS >= a.askedUS || askedUS == 0)
}

func (b *cardBooks) reverse(key, body string, v payment.Reversal) payment.Outcome {
	a := b.auths[key]
	switch {
	case a == nil && v.LeftMinor > 0:
		return payment.OutcomeDeclined
	case a != nil && a.body != "" && v.Currency == "USD":
		return payment.OutcomeDeclined
	case a == nil:
		b.auths[key] = &cardAuth{status: payment.StatusCancelled, firstStatus: payment.StatusCancelled, forced: true}
		return payment.OutcomeApplied
	case v.StandIn && a.body != "" && a.body != body:
		return payment.OutcomeDeclined
	case v.StandIn && !a.answeredBy(body, v.AskedAtUS):
		return payment.OutcomeApplied
	case a.status == payment.StatusFailed && v.LeftMinor == 0 && !v.StandIn:
		a.status = payment.StatusCancelled
	case a.status == payment.StatusFailed:
		if v.LeftMinor > 0 && v.Currency != "" && !v.StandIn && (a.declined == 0 || v.LeftMinor < a.declined) {
			a.declined = v.LeftMinor
		}
	case a.financial && a.status == payment.StatusSucceeded:
		b.giveBack(a, v.LeftMinor)
	case a.financial || a.status != payment.StatusRequiresCapture && a.status != payment.StatusPartiallyCaptured:
	case v.LeftMinor <= a.captured:
		a.hold = 0
		a.status = payment.StatusSucceeded
		if a.captured == 0 {
			a.status = payment.StatusCancelled
			b.unreserve(a)
		}
	case v.LeftMinor < a.authorized:
		a.hold, a.authorized = min(a.hold, v.LeftMinor-a.captured), v.LeftMinor
	}
	if v.StandIn && v.LeftMinor == 0 && a.granted && (a.captured == 0 || a.financial) {
		a.granted, a.firstStatus = false, payment.StatusFailed
	}
	return payment.OutcomeApplied
}

// giveBack leaves so much of what a single message has posted; what clearings have collected besides stays.
func (b *cardBooks) giveBack(a *cardAuth, left int64) {
	cleared := a.captured - a.authorized
	switch {
	case left == 0 && cleared == 0:
		b.collect(-a.authorized)
		a.captured, a.status = 0, payment.StatusCancelled
		b.unreserve(a)
	case left < a.authorized:
		b.collect(left - a.authorized)
		a.authorized, a.captured = left, left+cleared
		if left == 0 {
			b.unreserve(a)
		}
	}
}

func (b *cardBooks) clear(key string, l payment.Clearing) {
	a := b.auths[key]
	switch {
	case l.Credit:
		b.collect(-l.AmountMinor)
		if a != nil {
			a.credit += l.AmountMinor
		}
	case a == nil:
		b.collect(l.AmountMinor)
	case a.status == payment.StatusFailed || a.status == payment.StatusCancelled || a.status == payment.StatusSucceeded && a.authorized == 0:
		b.clearing, b.suspense = b.clearing+l.AmountMinor, b.suspense-l.AmountMinor
	default:
		b.collect(l.AmountMinor)
		a.captured += l.AmountMinor
		a.hold = max(a.hold-l.AmountMinor, 0)
		if l.Final || a.captured >= a.authorized || a.status == payment.StatusExpired {
			a.status, a.hold = payment.StatusSucceeded, 0
		} else if a.status == payment.StatusRequiresCapture {
			a.status = payment.StatusPartiallyCaptured
		}
	}
}

func (b *cardBooks) expire(reachUS int64) {
	for _, a := range b.auths {
		open := a.status == payment.StatusRequiresCapture || a.status == payment.StatusPartiallyCaptured
		if !open || a.expiresUS > reachUS {
			continue
		}
		a.hold, a.status = 0, payment.StatusSucceeded
		if a.captured == 0 {
			a.status = payment.StatusExpired
			b.unreserve(a)
		}
	}
}

// TestAnyCardHistory drives random words of acquirers against the clerk's books.
func TestAnyCardHistory(t *testing.T) { rapid.Check(t, anyCardHistory) }

// FuzzAnyCardHistory lets the fuzzer choose the histories.
func FuzzAnyCardHistory(f *testing.F) { f.Fuzz(rapid.MakeFuzz(anyCardHistory)) }

// cardHouse is the reducer and the clerk, side by side.
type cardHouse struct {
	*house
	caller
	books *cardBooks
	sent  []cardWord
	ids   map[string]payment.ID
}

// cardWord is a command and what the clerk does about it.
type cardWord struct {
	key   string
	cmd   payment.Command
	clerk func(atUS int64) payment.Outcome
}

func newCardHouse(t *rapid.T) *cardHouse {
	x := &cardHouse{
		house: newHouse(1), caller: caller{now: noon}, ids: map[string]payment.ID{},
		books: &cardBooks{auths: map[string]*cardAuth{}},
	}
	key, cmd := x.open("alice", payment.OpenAccount{Currencies: []string{"BRL"}, Policy: "issuing", OverdraftLimitMinor: overdraftOfModel})
	x.settle(t, key, cmd)
	key, cmd = x.instruct(payment.KindPayIn, "alice", "funds", payment.Instruction{AmountMinor: 900_00, Currency: "BRL", Method: "book"})
	cmd.Pins.Policy = "issuing@1"
	x.settle(t, key, cmd)
	x.books.posted = 900_00
	return x
}

// settle decides a command and what follows from it.
func (x *cardHouse) settle(t *rapid.T, key string, cmd payment.Command) accounts.Decision {
	snapshot := x.snapshot(key, cmd)
	e, err := x.decide(key, cmd)
	if err != nil {
		t.Fatalf("deciding %s: %v", cmd.Kind, err)
	}
	w, out, err := accounts.Apply(snapshot, cmd, payment.Meta{Key: key, Topic: "commands", Offset: e.decision.CommandOffset})
	if err != nil || !reflect.DeepEqual(w.Decision, e.decision) || !reflect.DeepEqual(out, e.out) {
		t.Fatalf("the same %s on the same snapshot decides otherwise: %v", cmd.Kind, err)
	}
	for _, o := range e.out {
		if o.Command != nil {
			x.settle(t, o.Command.Key, o.Command.Command)
		}
	}
	return e.decision
}

// draw makes a word of an acquirer.
func (x *cardHouse) draw(t *rapid.T) cardWord {
	name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "authorization")
	amount := rapid.OneOf(rapid.Int64Range(0, 300_00), rapid.SampledFrom([]int64{0, 1, 100_00, 400_00})).Draw(t, "amount")
	x.now += 10 * second
	var w cardWord
	switch rapid.SampledFrom([]string{"authorize", "authorize", "advise", "reverse", "reverse", "clear", "clear"}).Draw(t, "word") {
	case "authorize":
		ask := payment.CardTransaction{AmountMinor: amount, Currency: "BRL", Financial: rapid.Bool().Draw(t, "financial"), Card: cardOf("card")}
		if asking := x.asking(t, name); asking != nil && rapid.Bool().Draw(t, "repeat") {
			ask = *asking.CardTransaction // at another time, and perhaps another door
		}
		w.key, w.cmd = x.transact(payment.KindAuthorization, "alice", name, ask)
		w.clerk = func(at int64) payment.Outcome {
			return x.books.authorize(name, body(&w.cmd), ask.AmountMinor, at, w.cmd.AcceptedAtUS, ask.Financial)
		}
	case "advise":
		told := payment.CardTransaction{
			AmountMinor: amount, Currency: "BRL", Financial: rapid.Bool().Draw(t, "financial"), Card: cardOf("card"),
			StandIn: rapid.Bool().Draw(t, "stand-in"), Refused: rapid.IntRange(0, 3).Draw(t, "refused") == 0,
		}
		if asking := x.asking(t, name); told.StandIn && asking != nil {
			told.AmountMinor, told.Financial = asking.CardTransaction.AmountMinor, asking.CardTransaction.Financial
			told.AskedAtUS = rapid.SampledFrom([]int64{0, asking.AcceptedAtUS, asking.AcceptedAtUS}).Draw(t, "asked")
		}
		w.key, w.cmd = x.transact(payment.KindAuthorizationAdvice, "alice", name, told)
		w.clerk = func(at int64) payment.Outcome {
			x.books.advise(name, body(&w.cmd), told.AmountMinor, at, told)
			return payment.OutcomeApplied
		}
	case "reverse":
		v := payment.Reversal{LeftMinor: rapid.SampledFrom([]int64{0, 0, 1, amount / 2, amount}).Draw(t, "left"), StandIn: rapid.IntRange(0, 3).Draw(t, "stand-in") == 0}
		v.Currency = rapid.SampledFrom([]string{"", "BRL", "BRL", "BRL", "USD"}).Draw(t, "currency")
		asking := x.asking(t, name)
		if v.StandIn && asking != nil {
			v.AskedAtUS = rapid.SampledFrom([]int64{0, asking.AcceptedAtUS, asking.AcceptedAtUS}).Draw(t, "asked")
		}
		w.key, w.cmd = x.reverse("alice", name, v)
		if v.StandIn && asking != nil {
			w.cmd.BodyHash = asking.BodyHash
		}
		w.clerk = func(int64) payment.Outcome { return x.books.reverse(name, body(&w.cmd), v) }
	default:
		l := payment.Clearing{
			AmountMinor: amount + 1, Currency: "BRL", Final: rapid.Bool().Draw(t, "final"), Credit: rapid.IntRange(0, 4).Draw(t, "credit") == 0,
		}
		if rapid.IntRange(0, 9).Draw(t, "of nothing") == 0 {
			name = ""
		}
		w.key, w.cmd = x.clear("alice", fmt.Sprint("clearing", len(x.sent)), name, l)
		done := false
		w.clerk = func(int64) payment.Outcome {
			if done {
				return payment.OutcomeRepeated
			}
			done = true
			x.books.clear(name, l)
			return payment.OutcomeApplied
		}
	}
	w.cmd.Pins = standardPins
	w.cmd.Pins.Policy = "issuing@1"
	x.ids[name] = payment.CardIDFrom(payment.KindAuthorization, accountOf("alice"), name)
	return w
}

// asking is one of the authorizations under a name that a door may have answered itself; nil: there is none, or the word is about
// another request.
func (x *cardHouse) asking(t *rapid.T, name string) *payment.Command {
	var all []*payment.Command
	for i := range x.sent {
		if cmd := &x.sent[i].cmd; cmd.Kind == payment.KindAuthorization && cmd.PaymentID == x.ids[name] {
			all = append(all, cmd)
		}
	}
	if len(all) == 0 || rapid.IntRange(0, 9).Draw(t, "another request") == 0 {
		return nil
	}
	return rapid.SampledFrom(all).Draw(t, "asking")
}

func body(cmd *payment.Command) string { return fmt.Sprintf("%x", cmd.BodyHash) }

func anyCardHistory(t *rapid.T) {
	x := newCardHouse(t)
	var before *cardHouse // a snapshot, as after a crash
	from := 0
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		if before == nil && rapid.IntRange(0, 9).Draw(t, "snapshot") == 0 {
			before, from = &cardHouse{house: x.copy()}, len(x.log)
		}
		if rapid.IntRange(0, 11).Draw(t, "tick") == 0 && x.now < noon+70*86_400*second {
			x.now += rapid.SampledFrom([]int64{0, 86_400, 3 * 86_400, 8 * 86_400}).Draw(t, "later") * second
			key, cmd := x.tick(0)
			x.settle(t, key, cmd)
			x.books.expire(accounts.TickReachUS(cmd.Tick.Minute))
			x.check(t)
			continue
		}
		w := cardWord{}
		if len(x.sent) > 0 && rapid.IntRange(0, 3).Draw(t, "again") == 0 {
			w = rapid.SampledFrom(x.sent).Draw(t, "which") // with its old time, which is clamped
		} else {
			w = x.draw(t)
			x.sent = append(x.sent, w)
		}
		available := x.books.posted - x.books.held() + overdraftOfModel
		d := x.settle(t, w.key, w.cmd)
		if want := w.clerk(d.AcceptedAtUS); d.Outcome != want {
			t.Fatalf("%s is %s %v, for the clerk %s", w.cmd.Kind, d.Outcome, d.Reasons, want)
		}
		// Invariant: what is granted was there.
		if d.Kind == payment.KindAuthorization && d.Outcome == payment.OutcomeApproved && w.cmd.CardTransaction.AmountMinor > available {
			t.Fatalf("granted %d of %d", w.cmd.CardTransaction.AmountMinor, available)
		}
		x.check(t)
	}
	if before != nil {
		before.replay(t, x, from)
	}
}

// check compares the reducer with the clerk.
func (x *cardHouse) check(t *rapid.T) {
	key := string(accountOf("alice"))
	b, held := find(x.cells[key].Balances, "BRL"), x.books.held()
	if b.PostedMinor != x.books.posted || b.HeldMinor != held || b.IncomingMinor != 0 {
		t.Fatalf("balance %+v, for the clerk %d and %d", b, x.books.posted, held)
	}
	all, own := x.totals(key)
	_, clearing := x.totals(ledger.SysClearing("issuing"))
	_, suspense := x.totals(ledger.SysSuspense)
	for k, n := range all {
		if n != 0 {
			t.Fatalf("%s sums to %d", k, n)
		}
	}
	if own["postedBRL"] != b.PostedMinor || -own["pendingBRL"] != held {
		t.Fatalf("postings %v, balance %+v", own, b)
	}
	if clearing["postedBRL"] != x.books.clearing || suspense["postedBRL"] != x.books.suspense || suspense["pendingBRL"] != held {
		t.Fatalf("clearing %v, suspense %v, for the clerk %d and %d", clearing, suspense, x.books.clearing, x.books.suspense)
	}
	w := x.cells[key].Limits
	if w.Day == x.books.day && w.DayUsedMinor != x.books.dayUsed || w.Month == x.books.month && w.MonthUsedMinor != x.books.monthUsed {
		t.Fatalf("limits %+v, for the clerk %d and %d", w, x.books.dayUsed, x.books.monthUsed)
	}
	for name, a := range x.books.auths {
		x.checkAuth(t, name, a, x.payments[key+x.ids[name].Identity()])
	}
}

func (x *cardHouse) checkAuth(t *rapid.T, name string, a *cardAuth, rec *payment.Record) {
	if rec == nil || rec.Status != a.status || rec.FirstStatus != a.firstStatus || rec.RefundedMinor != a.credit || rec.Financial != a.financial {
		t.Fatalf("%s is %+v, for the clerk %+v", name, rec, a)
	}
	rail := payment.Rail{}
	if rec.Rail != nil {
		rail = *rec.Rail
	}
	if rail.AuthorizedMinor != a.authorized || rail.CapturedMinor != a.captured || rail.HoldMinor != a.hold {
		t.Fatalf("%s is %+v, for the clerk %+v", name, rail, a)
	}
	// Invariant: an entry waits for exactly those that can still expire.
	due := 0
	for e := range x.due[0] {
		if e.Payment == x.ids[name] && e.Purpose == payment.ExpireAuthorization {
			due++
		}
	}
	open := a.status == payment.StatusRequiresCapture || a.status == payment.StatusPartiallyCaptured
	if (due == 1) != open || due > 1 {
		t.Fatalf("%s is %s, with %d deadlines", name, a.status, due)
	}
}

// copy is the house as it stands. Records are never changed in place.
func (h *house) copy() *house {
	c := *h
	c.cells, c.payments, c.commands = maps.Clone(h.cells), maps.Clone(h.payments), maps.Clone(h.commands)
	c.legs, c.parties, c.directory = maps.Clone(h.legs), maps.Clone(h.parties), maps.Clone(h.directory)
	c.due, c.minutes, c.offsets, c.log = nil, slices.Clone(h.minutes), slices.Clone(h.offsets), nil
	for _, d := range h.due {
		c.due = append(c.due, maps.Clone(d))
	}
	return &c
}

// replay decides the log anew from the snapshot: everything comes out as it did.
func (x *cardHouse) replay(t *rapid.T, after *cardHouse, from int) {
	for _, e := range after.log[from:] {
		again, err := x.decide(e.key, e.cmd)
		if err != nil || !reflect.DeepEqual(again.decision, e.decision) || !reflect.DeepEqual(again.out, e.out) {
			t.Fatalf("%s decided anew: %v\n%+v\n%+v", e.cmd.Kind, err, again.decision, e.decision)
		}
	}
	if !reflect.DeepEqual(x.cells, after.cells) || !reflect.DeepEqual(x.payments, after.payments) || !reflect.DeepEqual(x.due, after.due) {
		t.Fatal("the replay ends in another state")
	}
}

package accounts_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
)

// TestClaims lets customers race for accounts. What one key sends another arrives in order, at any time, and may arrive again
// much later.
func TestClaims(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := race(t, keepReleases)
		if wrong := r.wrongClaims(); len(wrong) > 0 {
			t.Fatalf("%v", wrong)
		}
		r.claimWhatIsFree(t)
		checkReplay(t, r.house)
	})
}

// FuzzClaims lets the fuzzer choose the races.
func FuzzClaims(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		if wrong := race(t, keepReleases).wrongClaims(); len(wrong) > 0 {
			t.Fatalf("%v", wrong)
		}
	}))
}

// TestClaimsWithoutReleases holds the property to account: where releases get lost, it does not hold.
func TestClaimsWithoutReleases(t *testing.T) {
	wrong := 0
	rapid.Check(t, func(t *rapid.T) { wrong += len(race(t, loseReleases).wrongClaims()) })
	if wrong == 0 {
		t.Error("no race left a claim on another customer's account")
	}
}

type releases bool

const (
	keepReleases releases = true
	loseReleases releases = false
)

// racing is a house whose keys send to each other over wires.
type racing struct {
	*house
	caller
	releases releases
	wires    map[string][]accounts.CommandEmission // by sender and receiver
	sent     []sent
	serial   int
}

var racers, prizes = []string{"ana", "bia", "caio"}, []string{"shop", "till", "desk"}

func race(t *rapid.T, releases releases) *racing {
	r := &racing{house: newHouse(3), caller: caller{now: noon}, releases: releases, wires: map[string][]accounts.CommandEmission{}}
	for range rapid.IntRange(2, 25).Draw(t, "steps") {
		r.request(t)
		for range rapid.IntRange(0, 3).Draw(t, "deliveries") {
			r.deliver(t)
		}
	}
	for len(r.wires) > 0 {
		r.deliver(t)
	}
	return r
}

// request sends an opening, a level or an exact repeat. Requests come from different callers, in no order.
func (r *racing) request(t *rapid.T) {
	customer := rapid.SampledFrom(racers).Draw(t, "customer")
	r.serial++
	var next sent
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0, 1:
		next.key, next.cmd = r.level(customer, 2, fmt.Sprint("k", r.serial))
	case 2, 3:
		if len(r.sent) == 0 {
			return
		}
		next = rapid.SampledFrom(r.sent).Draw(t, "again")
	default:
		currencies := rapid.SampledFrom([][]string{{"BRL"}, {"BRL"}, {"USD"}}).Draw(t, "currencies")
		_, next.cmd = r.open(rapid.SampledFrom(prizes).Draw(t, "account"), payment.OpenAccount{Currencies: currencies, Policy: "standard"})
		next.key = string(payment.CustomerKeyFrom(tenant, merchant, customer))
		next.cmd.Customer, next.cmd.CommandID = customer, payment.CommandIDFrom(next.key, merchant, fmt.Sprint("k", r.serial))
	}
	r.sent = append(r.sent, next)
	r.send(fmt.Sprint("caller", r.serial), accounts.CommandEmission{Key: next.key, Command: next.cmd})
}

func (r *racing) send(from string, e accounts.CommandEmission) {
	r.wires[from+">"+e.Key] = append(r.wires[from+">"+e.Key], e)
}

// deliver decides the first command of some wire. What it emits is sent, and sometimes a second time on a wire of its own.
func (r *racing) deliver(t *rapid.T) {
	if len(r.wires) == 0 {
		return
	}
	wire := rapid.SampledFrom(sortedKeys(r.wires)).Draw(t, "wire")
	next := r.wires[wire][0]
	if r.wires[wire] = r.wires[wire][1:]; len(r.wires[wire]) == 0 {
		delete(r.wires, wire)
	}
	e, err := r.decide(next.Key, next.Command)
	if err != nil {
		t.Fatalf("deciding %+v: %v", next.Command, err)
	}
	// Invariant: no customer sets the level of another's account.
	if e.decision.Kind == payment.KindSetKYCLevel && e.decision.Outcome == payment.OutcomeApproved && r.cells[next.Key].Customer != next.Command.Customer {
		t.Fatalf("%s set the level of an account of %s", next.Command.Customer, r.cells[next.Key].Customer)
	}
	for _, o := range e.out {
		if o.Command == nil || (o.Command.Command.Kind == payment.KindReleaseClaim && r.releases == loseReleases) {
			continue
		}
		r.send(next.Key, *o.Command)
		if rapid.IntRange(0, 4).Draw(t, "twice") == 0 {
			r.serial++
			r.send(fmt.Sprint("again", r.serial), *o.Command)
		}
	}
}

// wrongClaims lists what must not be when nothing is on its way any more.
//
// Invariant: a claim is on an account of that customer, and an account is claimed by its customer.
func (r *racing) wrongClaims() []string {
	var wrong []string
	for _, customer := range racers {
		cell := r.cells[string(payment.CustomerKeyFrom(tenant, merchant, customer))]
		if cell == nil || cell.CustomerAccount == "" {
			continue
		}
		if a := r.cells[string(cell.CustomerAccount)]; a == nil || a.State == nil || a.Customer != customer {
			wrong = append(wrong, fmt.Sprintf("%s claims %s, which is another's", customer, cell.CustomerAccount))
		}
	}
	for _, name := range prizes {
		a := r.cells[string(accountOf(name))]
		if a == nil || a.State == nil {
			continue
		}
		if c := r.cells[string(payment.CustomerKeyFrom(tenant, merchant, a.Customer))]; c == nil || c.CustomerAccount != accountOf(name) {
			wrong = append(wrong, fmt.Sprintf("%s is not claimed by its customer %s", name, a.Customer))
		}
	}
	return wrong
}

// claimWhatIsFree: whoever lost every race opens an account of their own.
func (r *racing) claimWhatIsFree(t *rapid.T) {
	for _, customer := range racers {
		key, cmd := r.open(customer, payment.OpenAccount{Currencies: []string{"BRL"}, Policy: "standard"})
		owns := slices.ContainsFunc(prizes, func(name string) bool {
			a := r.cells[string(accountOf(name))]
			return a != nil && a.State != nil && a.Customer == customer
		})
		e, err := r.decide(key, cmd)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.decision.Outcome; (got == payment.OutcomeApplied) == owns {
			t.Fatalf("%s, owning an account: %v, opens one: %s", customer, owns, got)
		}
	}
}

// TestAStrangersClaimIsReleased: a refusal for another tenant or merchant means the same, though no honest id leads there.
func TestAStrangersClaimIsReleased(t *testing.T) {
	h, c := newHouse(1), &caller{now: noon}
	_, cmd := c.open("shop", payment.OpenAccount{Currencies: []string{"BRL"}, Policy: "standard"})
	if _, err := h.decide(string(cmd.Account), cmd); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*payment.Command){
		func(c *payment.Command) { c.Tenant = "t2" },
		func(c *payment.Command) { c.Merchant = "m2" },
		func(c *payment.Command) { c.Customer = "bia" },
	} {
		again := cmd
		change(&again)
		e, err := h.decide(string(again.Account), again)
		if err != nil {
			t.Fatal(err)
		}
		// The caller that waits is answered by the account all the same.
		if len(e.out) != 2 || e.out[0].Command == nil || !e.out[1].Reply {
			t.Fatalf("%+v", e.out)
		}
		release := e.out[0].Command
		if release.Key != string(payment.CustomerKeyFrom(again.Tenant, again.Merchant, again.Customer)) || release.Forwarded ||
			release.Command.Kind != payment.KindReleaseClaim || release.Command.Release.RefusedCommandID != cmd.CommandID {
			t.Errorf("%+v", release)
		}
		back, err := h.decide(release.Key, release.Command)
		if err != nil || back.decision.Outcome != payment.OutcomeApplied || len(back.out) > 0 {
			t.Errorf("%v %+v", err, back)
		}
	}
}

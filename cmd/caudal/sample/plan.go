// Package sample makes a seeded day of payments of the project's own making and sends it through the front door.
// The same seed gives the same accounts, amounts and idempotency keys, so that loading a day twice changes nothing.
package sample

import (
	"fmt"
	"math/rand/v2"
)

// Category says what a command of the day is there to show.
type Category string

// The categories of the day.
const (
	CategoryPlain    Category = "plain"
	CategoryFX       Category = "cross_currency"
	CategoryTransfer Category = "transfer"
	CategoryRefund   Category = "refund"
	CategoryLimit    Category = "limit"
	CategoryFunds    Category = "funds"
	CategoryVelocity Category = "velocity"
	CategoryReview   Category = "review"
	CategoryRepeat   Category = "exact_repeat"
	CategoryConflict Category = "conflicting_repeat"
)

// Size of the day. Every category that a reader looks for comes at least 500 times.
const (
	persons           = 1600
	merchants         = 400
	attackers         = 12  // accounts that pay much too fast
	attackerPayments  = 120 // half of them above the velocity rule's 60 a minute
	refunds           = 2000
	crossCurrency     = 1200
	crossTransfers    = 300
	reviews           = 900
	limitDeclines     = 700
	fundsDeclines     = 700
	exactRepeats      = 700
	conflictingRepeat = 600
	verdictsApprove   = 400
	verdictsDecline   = 200
)

// Account is one account of the day.
type Account struct {
	ExternalID string
	CustomerID string
	Kind       string
	Policy     string
	Currencies []string
	KYCLevel   int
}

// Command is one payment or refund of the day. Amounts are minor units.
type Command struct {
	Category       Category
	Kind           string // payin, payout, transfer, refund
	Key            string // idempotency key
	Account        int    // index into Day.Accounts
	ToAccount      int    // transfers
	AmountMinor    int64
	Currency       string
	TargetCurrency string
	Method         string
	Reference      string
	Counterparty   string // name and account of the other side, empty: none
	RefundOf       string // idempotency key of the pay-in
}

// Verdict approves or declines the review of the payment with this idempotency key.
type Verdict struct {
	Key     string
	Account int
	Approve bool
}

// Day is the whole plan. Phases are sent one after the other; inside a phase order holds per account.
type Day struct {
	Seed     uint64
	Accounts []Account
	Phases   [][]Command
	Verdicts []Verdict
}

// Commands is the number of requests of the day, openings and verdicts included.
func (d *Day) Commands() int {
	n := len(d.Accounts) + len(d.Verdicts)
	for _, p := range d.Phases {
		n += len(p)
	}
	return n
}

// Plan makes the day of a seed.
func Plan(seed uint64) *Day {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0xCA0DA1)), seed: seed} //nolint:gosec // data of a seed, no secrets
	d := &Day{Seed: seed, Accounts: g.accounts()}
	trade := g.trade(d.Accounts)
	trouble := g.trouble()
	d.Phases = [][]Command{g.funding(d.Accounts), trade, trouble, g.aftermath(trade)}
	for _, c := range trouble {
		if c.Category == CategoryReview && len(d.Verdicts) < verdictsApprove+verdictsDecline {
			d.Verdicts = append(d.Verdicts, Verdict{Key: c.Key, Account: c.Account, Approve: len(d.Verdicts) < verdictsApprove})
		}
	}
	return d
}

type generator struct {
	rng  *rand.Rand
	seed uint64
	next int
}

func (g *generator) key() string {
	g.next++
	return fmt.Sprintf("day-%d-%06d", g.seed, g.next)
}

// between draws an amount, in minor units, from low to high major units.
func (g *generator) between(low, high int64) int64 { return low*100 + g.rng.Int64N((high-low)*100) }

func (g *generator) accounts() []Account {
	out := make([]Account, 0, persons+merchants+attackers)
	for i := range persons {
		out = append(out, Account{
			ExternalID: fmt.Sprintf("p-%d-%05d", g.seed, i), CustomerID: fmt.Sprintf("person-%d-%05d", g.seed, i),
			Kind: "person", Policy: "standard", Currencies: []string{"BRL"}, KYCLevel: 1,
		})
	}
	for i := range merchants + attackers {
		out = append(out, Account{
			ExternalID: fmt.Sprintf("m-%d-%05d", g.seed, i), CustomerID: fmt.Sprintf("shop-%d-%05d", g.seed, i),
			Kind: "merchant", Policy: "standard", Currencies: []string{"BRL", "USD", "EUR"}, KYCLevel: 3,
		})
	}
	return out
}

func (g *generator) person() int   { return g.rng.IntN(persons) }
func (g *generator) merchant() int { return persons + g.rng.IntN(merchants) }

func (g *generator) payment(kind string, account int, minor int64) Command {
	method := "book"
	if g.rng.IntN(4) == 0 {
		method = "cash"
	}
	return Command{Category: CategoryPlain, Kind: kind, Key: g.key(), Account: account, AmountMinor: minor, Currency: "BRL", Method: method, Reference: "sample day"}
}

func (g *generator) transfer(from, to int, minor int64) Command {
	c := g.payment("transfer", from, minor)
	c.Category, c.ToAccount, c.Method = CategoryTransfer, to, ""
	return c
}

// funding gives every account the money it needs to be busy.
func (g *generator) funding(accounts []Account) []Command {
	out := make([]Command, 0, len(accounts))
	for i, a := range accounts {
		major := int64(8_000)
		if a.Kind == "merchant" {
			major = 100_000
		}
		out = append(out, g.payment("payin", i, major*100))
	}
	return out
}

// trade is the ordinary business: pay-ins, payouts, transfers.
func (g *generator) trade(accounts []Account) []Command {
	var out []Command
	for i := range accounts[:persons+merchants] {
		payins, payouts, transfers, low, high := 8, 8, 3, int64(5), int64(150)
		if i >= persons {
			payins, payouts, transfers, low, high = 20, 8, 4, 50, 1_000
		}
		for range payins {
			out = append(out, g.payment("payin", i, g.between(low, high)))
		}
		for range payouts {
			out = append(out, g.payment("payout", i, g.between(low, high)))
		}
		for range transfers {
			to := g.person()
			if to == i {
				to = g.merchant()
			}
			out = append(out, g.transfer(i, to, g.between(low, high/2)))
		}
	}
	g.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// aftermath is what follows earlier payments: refunds, the same request sent again, the same key with another body.
func (g *generator) aftermath(trade []Command) []Command {
	var out []Command
	for _, c := range trade {
		if c.Kind != "payin" || len(out) == refunds {
			continue
		}
		r := Command{Category: CategoryRefund, Kind: "refund", Key: g.key(), Account: c.Account, RefundOf: c.Key, Reference: "sample day"}
		if len(out)%2 == 0 {
			r.AmountMinor = c.AmountMinor/3 + 1
		}
		out = append(out, r)
	}
	for _, c := range trade[len(trade)-exactRepeats:] {
		c.Category = CategoryRepeat
		out = append(out, c)
	}
	for _, c := range trade[:conflictingRepeat] {
		c.Category = CategoryConflict
		c.AmountMinor++
		out = append(out, c)
	}
	g.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// trouble is what makes a processor worth having: declines, reviews, other currencies.
func (g *generator) trouble() []Command {
	var out []Command
	for range crossCurrency {
		out = append(out, g.crossPayment())
	}
	for range crossTransfers {
		from, to := g.merchant(), g.merchant()
		if from == to {
			to = persons + (to-persons+1)%merchants
		}
		c := g.transfer(from, to, g.between(10, 200))
		c.TargetCurrency = "USD"
		out = append(out, c)
	}
	for i := range reviews {
		c := g.payment("payout", g.merchant(), g.between(3_000, 3_500))
		c.Category, c.Counterparty = CategoryReview, fmt.Sprintf("New Supplier %d-%d", g.seed, i)
		out = append(out, c)
	}
	for range limitDeclines {
		c := g.payment("payout", g.person(), g.between(5_100, 5_900))
		c.Category = CategoryLimit
		out = append(out, c)
	}
	for range fundsDeclines {
		c := g.payment("payout", g.merchant(), g.between(430_000, 450_000))
		c.Category = CategoryFunds
		out = append(out, c)
	}
	g.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	for a := range attackers {
		for range attackerPayments {
			c := g.payment("payout", persons+merchants+a, g.between(1, 5))
			c.Category = CategoryVelocity
			out = append(out, c)
		}
	}
	return out
}

func (g *generator) crossPayment() Command {
	kind := "payin"
	if g.rng.IntN(2) == 0 {
		kind = "payout"
	}
	c := g.payment(kind, g.merchant(), g.between(20, 400))
	c.Category, c.TargetCurrency = CategoryFX, []string{"USD", "EUR"}[g.rng.IntN(2)]
	return c
}

// Package logtest makes decision logs for the tests of the sinks: valid streams of every kind, written as the engine
// writes them, with transactions, commit markers and aborted records between. It decides nothing: amounts and outcomes
// are drawn, and only the books are kept right.
package logtest

import (
	"fmt"
	"math/rand/v2"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

const (
	tenant   = "sample"
	currency = "BRL"
	foreign  = "USD"
	startUS  = 1_790_000_000_000_000 // September 2026
	day1993  = 8_401                 // 1993-01-01
)

// Generator draws decisions. It is not safe for concurrent use.
type Generator struct {
	rng      *rand.Rand
	clockUS  int64
	serial   int
	commands map[int32]int64
	late     *paymentsv1.Decision // of unknown, to come
	accounts []*account
	// Old is the share, in percent, of decisions booked in the years 1993 to 1998.
	Old int
}

type account struct {
	id, customer, merchant string
	number                 int
	seq                    uint64
	balances               map[string]*paymentsv1.Balance
	reviews                []*paymentsv1.Decision // in review
	paid                   []*paymentsv1.Decision // pay-ins with something left to refund
	refunded               map[string]int64
	rails                  []*rail                // payments that a rail executes, and that may still hear of it
	quotes                 []*paymentsv1.Decision // not used yet
	cards                  []*card
	auths                  []*authorization
	disputes               []*dispute
	last                   *paymentsv1.Decision
}

// New opens accounts lazily: the first decision about one is its opening.
func New(seed uint64, accounts int) *Generator {
	g := &Generator{rng: rand.New(rand.NewPCG(seed, 1)), clockUS: startUS, commands: map[int32]int64{}} //nolint:gosec // data of a seed, no secrets
	for n := range accounts {
		merchant := fmt.Sprintf("m%d", n%20)
		customer := fmt.Sprintf("customer-%d-%d", seed, n)
		g.accounts = append(g.accounts, &account{
			id: string(payment.AccountIDFrom(tenant, merchant, customer)), customer: customer, merchant: merchant, number: n,
			balances: map[string]*paymentsv1.Balance{}, refunded: map[string]int64{},
		})
	}
	return g
}

// Step is one command and what follows from it, in order.
func (g *Generator) Step() []*paymentsv1.Decision {
	g.clockUS += 1 + g.rng.Int64N(2_000_000)
	a := g.accounts[g.rng.IntN(len(g.accounts))]
	if a.seq == 0 {
		return g.open(a)
	}
	switch n := g.rng.IntN(170); {
	case n < 30:
		return g.payIn(a)
	case n < 52:
		return g.payOut(a)
	case n < 68:
		return g.transfer(a)
	case n < 76:
		return g.refund(a)
	case n < 84:
		return g.verdict(a)
	case n < 89:
		return g.again(a)
	case n < 93:
		return g.unknown()
	case n < 96:
		return g.tick()
	case n < 136:
		return g.rails(a)
	case n < 166:
		return g.contests(a)
	default:
		return g.level(a)
	}
}

func (g *Generator) base(a *account, kind paymentsv1.CommandKind, outcome paymentsv1.Outcome) *paymentsv1.Decision {
	a.seq++
	g.serial++
	d := &paymentsv1.Decision{
		Version: 1, Kind: kind, Outcome: outcome, Tenant: tenant, Merchant: a.merchant, Customer: a.customer, Account: a.id,
		CommandId: fmt.Sprintf("cmd_%d", g.serial), CommandTopic: topics.Commands, AccountSeq: a.seq, AcceptedAtUs: g.clockUS,
		EffectiveDate: int32(g.clockUS / 86_400_000_000), BodyHash: make([]byte, 32), //nolint:gosec // days of this century
		Pins: &paymentsv1.Pins{Policy: "standard@1", Fees: "standard@1", Rates: "sheet@1", Rules: "rules@1", Blocklist: "none@1"},
	}
	if g.rng.IntN(100) < g.Old {
		d.EffectiveDate = day1993 + g.rng.Int32N(6*365)
	}
	d.CommandPartition = Partition(d, 1<<20)
	g.commands[d.GetCommandPartition()]++
	d.CommandOffset = g.commands[d.GetCommandPartition()]
	return d
}

// create adds what every decision that makes a payment has.
func (g *Generator) create(a *account, kind payment.Kind, outcome paymentsv1.Outcome, amount int64) *paymentsv1.Decision {
	d := g.base(a, paymentsv1.CommandKind(kind), outcome)
	d.PaymentId = string(payment.IDFrom(kind, payment.AccountID(a.id), a.merchant, fmt.Sprint("key-", g.serial)))
	d.CommandId, d.CreatedAtUs = d.GetPaymentId(), d.GetAcceptedAtUs()
	d.AmountMinor, d.Currency, d.TargetAmountMinor, d.TargetCurrency = amount, currency, amount, currency
	d.LimitAmountMinor, d.LimitCurrency, d.Method = amount, currency, "book"
	d.FraudScore = uint32(g.rng.IntN(300)) //nolint:gosec // below 300
	d.RuleHits = []*paymentsv1.RuleHit{{Rule: "velocity@1", Weight: d.GetFraudScore()}}
	d.Sealed = &paymentsv1.Sealed{KeyId: "k1", Ciphertext: []byte(fmt.Sprintf("%032d\x00\xff", g.serial))}
	d.CounterpartyCountry = "BR"
	a.last = d
	return d
}

func (g *Generator) convert(d *paymentsv1.Decision, a *account) {
	d.TargetCurrency, d.TargetAmountMinor = foreign, max(1, (d.GetAmountMinor()-d.GetFeeMinor())/5)
	d.Fx = &paymentsv1.Fx{RateUnscaled: 1_980_000, RateScale: 7, MidUnscaled: 200, MidScale: 3, SpreadBp: 100}
	a.balance(foreign)
}

func (a *account) balance(c string) *paymentsv1.Balance {
	b := a.balances[c]
	if b == nil {
		b = &paymentsv1.Balance{Currency: c}
		a.balances[c] = b
	}
	return b
}

func post(account, currency string, amount int64) *paymentsv1.Posting {
	return &paymentsv1.Posting{Account: account, Currency: currency, AmountMinor: amount, Layer: paymentsv1.Layer_LAYER_POSTED}
}

// book writes a journal and keeps the account's balances.
func (a *account) book(d *paymentsv1.Decision, kind paymentsv1.JournalKind, lines ...*paymentsv1.Posting) {
	j := &paymentsv1.Journal{Kind: kind}
	touched := map[string]bool{}
	for _, b := range d.GetBalances() {
		touched[b.GetCurrency()] = true
	}
	for _, p := range lines {
		if p.GetAmountMinor() == 0 {
			continue
		}
		j.Postings = append(j.Postings, p)
		if p.GetAccount() != a.id {
			continue
		}
		b := a.balance(p.GetCurrency())
		release := kind == paymentsv1.JournalKind_JOURNAL_KIND_RELEASE
		switch {
		case p.GetLayer() == paymentsv1.Layer_LAYER_POSTED:
			b.PostedMinor += p.GetAmountMinor()
		case (p.GetAmountMinor() < 0) != release:
			b.HeldMinor -= p.GetAmountMinor()
		default:
			b.IncomingMinor += p.GetAmountMinor()
		}
		touched[p.GetCurrency()] = true
	}
	d.Journals = append(d.Journals, j)
	d.Balances = nil
	for _, c := range []string{currency, foreign} {
		if touched[c] {
			b := a.balance(c)
			d.Balances = append(d.Balances, &paymentsv1.Balance{
				Currency: c, PostedMinor: b.GetPostedMinor(), HeldMinor: b.GetHeldMinor(), IncomingMinor: b.GetIncomingMinor(),
			})
		}
	}
}

// lines are the posted postings of a payment.
func lines(d *paymentsv1.Decision, kind paymentsv1.CommandKind) []*paymentsv1.Posting {
	amount, fee, target := d.GetAmountMinor(), d.GetFeeMinor(), d.GetTargetAmountMinor()
	other := "sys_clearing_" + d.GetMethod()
	if kind == paymentsv1.CommandKind_COMMAND_KIND_TRANSFER {
		other = "sys_transit"
	}
	switch {
	case kind == paymentsv1.CommandKind_COMMAND_KIND_PAY_IN && d.GetFx() != nil:
		return []*paymentsv1.Posting{
			post(other, currency, -amount), post("sys_fees", currency, fee), post("sys_fx", currency, amount-fee),
			post("sys_fx", foreign, -target), post(d.GetAccount(), foreign, target),
		}
	case kind == paymentsv1.CommandKind_COMMAND_KIND_PAY_IN:
		return []*paymentsv1.Posting{
			post(other, currency, -amount), post(d.GetAccount(), currency, amount),
			post(d.GetAccount(), currency, -fee), post("sys_fees", currency, fee),
		}
	case d.GetFx() != nil:
		return []*paymentsv1.Posting{
			post(d.GetAccount(), currency, -amount), post(d.GetAccount(), currency, -fee), post("sys_fees", currency, fee),
			post("sys_fx", currency, amount), post("sys_fx", foreign, -target), post(other, foreign, target),
		}
	default:
		return []*paymentsv1.Posting{
			post(d.GetAccount(), currency, -amount), post(other, currency, amount),
			post(d.GetAccount(), currency, -fee), post("sys_fees", currency, fee),
		}
	}
}

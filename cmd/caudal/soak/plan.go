package soak

import (
	"fmt"
	"math/rand/v2"
	"time"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const (
	accounts  = 48
	briefs    = 8 // accounts whose quotes live for a second
	batchMost = 200

	cardholders = 100 // accounts of their own, whose cards an acquirer asks about

	usualPolicy = "acquiring"
	briefPolicy = "shortlived"

	funds = 1_000_000_000_00 // so that no payment fails for want of money: what is under test is the rails
)

// method and the rest are the front door's own shapes.
type method struct {
	Type    string `json:"type"`
	Capture string `json:"capture,omitempty"`
	Brand   string `json:"brand,omitempty"`
}

type counterparty struct {
	Name    string `json:"name"`
	Country string `json:"country"`
	Account string `json:"account"`
}

type item struct {
	Kind           string        `json:"kind,omitempty"`
	Key            string        `json:"idempotency_key,omitempty"`
	AccountID      string        `json:"account_id,omitempty"`
	ToAccountID    string        `json:"to_account_id,omitempty"`
	PaymentID      string        `json:"payment_id,omitempty"`
	Amount         int64         `json:"amount,omitempty"`
	Currency       string        `json:"currency,omitempty"`
	TargetCurrency string        `json:"target_currency,omitempty"`
	Instrument     string        `json:"instrument,omitempty"`
	Method         *method       `json:"method,omitempty"`
	Counterparty   *counterparty `json:"counterparty,omitempty"`
	Reference      string        `json:"reference,omitempty"`
	Reason         string        `json:"reason,omitempty"`
	Final          bool          `json:"final,omitempty"`
	Quote          string        `json:"quote,omitempty"`

	rated *rated // it asks for a rate first
}

// holders are the accounts of a run, by their policy.
type holders struct {
	usual []string
	brief []string // quotes live for a second
}

// pick takes one of the characters: what the simulator does to a token or an account goes by the last of it.
func pick(rng *rand.Rand, of string) string { return string(of[rng.IntN(len(of))]) }

// payment is the number-th payment of a run: a function of the seed and the number.
func payment(seed uint64, number int, of holders) item {
	ids := of.usual
	rng := rand.New(rand.NewPCG(seed, uint64(number))) //nolint:gosec // a plan, not a secret
	at := rng.IntN(len(ids))
	p := item{
		Key: fmt.Sprintf("soak-%d-%d", seed, number), AccountID: ids[at], Amount: 500 + rng.Int64N(30000), Currency: "BRL", Reference: "soak",
	}
	switch roll := rng.IntN(100); {
	case roll < 62:
		p.Kind = "payin"
		p.Instrument = "tok_" + pick(rng, "abcdefghijklm014014012357899")
		p.Method = &method{Type: "card", Capture: []string{"automatic", "manual"}[rng.IntN(2)], Brand: []string{"visa", "mastercard", "elo"}[rng.IntN(3)]}
		if rng.IntN(20) == 0 {
			p.TargetCurrency = "USD"
		}
	case roll < 78:
		p.Kind, p.Method = "payout", &method{Type: "bank"}
		p.Counterparty = &counterparty{Name: "Soak Ltda", Country: "BR", Account: "0001-1234" + pick(rng, "0123457889")}
	case roll < 88:
		p.Kind, p.ToAccountID = "transfer", ids[(at+1+rng.IntN(len(ids)-1))%len(ids)]
		if rng.IntN(5) == 0 {
			p.TargetCurrency = "EUR" // the payee does not hold it: the money comes back
		}
	case roll < 94:
		p.Kind, p.Method = "payin", &method{Type: "book"}
	default:
		p.Kind, p.Method = "payout", &method{Type: "book"}
	}
	if rng.IntN(20) == 0 {
		p.rate(rng, of)
	}
	return p
}

// rate makes it a payment into dollars whose rate is asked for first. Under a policy whose quotes live for a second, some come too
// late for it.
func (p *item) rate(rng *rand.Rand, of holders) {
	p.rated = &rated{}
	p.TargetCurrency, p.Instrument, p.ToAccountID, p.Counterparty = "USD", "", "", nil
	switch rng.IntN(4) {
	case 0:
		p.Kind, p.Method, p.Instrument = "payin", &method{Type: "card", Capture: "automatic", Brand: "visa"}, "tok_a"
		return
	case 1:
		p.Kind, p.Method = "payin", &method{Type: "book"}
	case 2:
		p.Kind, p.Method = "payout", &method{Type: "book"}
	default:
		p.Kind, p.Method, p.ToAccountID = "transfer", nil, of.usual[rng.IntN(len(of.usual))]
	}
	if p.AccountID == p.ToAccountID || rng.IntN(2) == 0 {
		p.AccountID = of.brief[rng.IntN(len(of.brief))]
		p.rated.pause = time.Duration(rng.IntN(2000)) * time.Millisecond
	}
}

// followUps are what a merchant does next with a pay-in by card, by its status: a function of the seed, the payment and how often
// it has acted on it.
func followUps(seed uint64, id string, p *state) []item {
	rng := rand.New(rand.NewPCG(seed, hash(id)+uint64(p.acted))) //nolint:gosec // as above
	about := func(kind string, n int, amount int64) item {
		return item{Kind: kind, Key: fmt.Sprintf("%s-%d-%d-%s", kind, p.acted, n, id), PaymentID: id, Amount: amount}
	}
	switch p.status {
	case paymentsv1.PaymentStatus_PAYMENT_STATUS_REQUIRES_CAPTURE:
		if p.acted > 0 { // what was asked for was refused
			return []item{about("void", 0, 0)}
		}
		switch rng.IntN(10) {
		case 0, 1:
			return []item{about("void", 0, 0)}
		case 2, 3:
			part := about("capture", 0, p.authorized/2)
			part.Final = true
			return []item{part}
		case 4:
			return []item{about("capture", 0, p.authorized/3)}
		case 5: // two at once: one wins
			return []item{about("capture", 0, p.authorized), about("capture", 1, p.authorized)}
		default:
			return []item{about("capture", 0, 0)}
		}
	case paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED:
		switch rng.IntN(12) {
		case 0:
			return []item{about("refund", 0, 0)}
		case 1:
			return []item{about("refund", 0, p.captured/3), about("refund", 1, p.captured/4)}
		case 2: // two at once: one wins
			return []item{about("refund", 0, p.captured), about("refund", 1, p.captured)}
		default:
			return nil
		}
	default:
		return nil
	}
}

func hash(id string) (h uint64) {
	for _, c := range []byte(id) {
		h = h*1099511628211 ^ uint64(c)
	}
	return h
}

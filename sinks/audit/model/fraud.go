package model

import (
	"fmt"
	"math"
	"math/big"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
)

// activity is all that an account did, as fraud rules see it: how many payments fell into each bucket of time ever, and
// its amounts. The house keeps only the buckets of the newest window; the clamp of accepted_at makes that the same.
type activity struct {
	velocity map[bucket]int64
	parties  map[string]bool // counterparties paid or paid by, by digest
	count    int64
	total    *big.Int
}

// bucket is a piece of time: its width and its number since 1970.
type bucket struct{ width, number int64 }

// The windows of velocity: a number of whole buckets, the newest of which is still filling.
var windows = map[referencev1.RuleKind]struct{ width, buckets int64 }{ //nolint:gochecknoglobals // a table, never changed
	referencev1.RuleKind_RULE_KIND_VELOCITY_MINUTE: {10_000_000, 6},
	referencev1.RuleKind_RULE_KIND_VELOCITY_HOUR:   {300_000_000, 12},
	referencev1.RuleKind_RULE_KIND_VELOCITY_DAY:    {3_600_000_000, 24},
}

// historyCap is where count and sum of an account's history are halved together, so that the mean follows newer payments.
const historyCap = 1024

func (a *activity) sawPayment(us int64) {
	if a.velocity == nil {
		a.velocity = map[bucket]int64{}
	}
	for _, w := range windows {
		a.velocity[bucket{w.width, floorDiv(us, w.width)}]++
	}
}

func (a *activity) sawAmount(minor int64) {
	if a.total == nil {
		a.total = new(big.Int)
	}
	next := new(big.Int).Add(a.total, big.NewInt(minor))
	if a.count >= historyCap || !next.IsInt64() {
		a.count /= 2
		next.Add(new(big.Int).Quo(a.total, big.NewInt(2)), big.NewInt(minor))
	}
	if !next.IsInt64() {
		next.SetInt64(math.MaxInt64)
	}
	a.total = next
	a.count++
}

// within counts the payments of a window that ends now, this one included.
func (a *activity) within(us, width, buckets int64) int64 {
	n := int64(1)
	for b := floorDiv(us, width); buckets > 0; b, buckets = b-1, buckets-1 {
		n += a.velocity[bucket{width, b}]
	}
	return n
}

// score sums the weights of the rules that hit.
func (c *call) score(p *pay) (uint32, []*paymentsv1.RuleHit) {
	if c.docs.rules == nil || c.docs.policy.GetFraudMode() == referencev1.FraudMode_FRAUD_MODE_UNSPECIFIED {
		return 0, nil
	}
	var total uint32
	var hits []*paymentsv1.RuleHit
	for _, r := range c.docs.rules.GetRules() {
		if c.hits(r, p) {
			total = min(total+r.GetWeight(), 1000)
			hits = append(hits, &paymentsv1.RuleHit{Rule: fmt.Sprintf("%s@%d", r.GetId(), r.GetVersion()), Weight: r.GetWeight(), Reason: r.GetReason()})
		}
	}
	return total, hits
}

func (c *call) hits(r *referencev1.Rule, p *pay) bool {
	seen, us := &c.acct.seen, c.acct.last
	if w, ok := windows[r.GetKind()]; ok {
		return seen.within(us, w.width, w.buckets) > r.GetThreshold()
	}
	switch r.GetKind() {
	case referencev1.RuleKind_RULE_KIND_AMOUNT_HISTORY:
		if seen.count == 0 || seen.count < int64(r.GetMinHistory()) {
			return false
		}
		left := new(big.Int).Mul(big.NewInt(p.limitAmount), big.NewInt(100*seen.count))
		right := new(big.Int).Mul(seen.total, big.NewInt(r.GetThreshold()))
		return left.Cmp(right) > 0
	case referencev1.RuleKind_RULE_KIND_NEW_COUNTERPARTY:
		digest := c.counterparty()
		return digest != "" && !seen.parties[digest] && p.limitAmount >= r.GetThreshold()
	case referencev1.RuleKind_RULE_KIND_NIGHT:
		now := local(us, c.docs.offset(us))
		minute := int32(now.Hour()*60 + now.Minute()) //nolint:gosec // below 1,440
		from, to := r.GetFromMinute(), r.GetToMinute()
		inside := from <= minute && minute < to
		if from > to {
			inside = minute >= from || minute < to
		}
		return inside && p.limitAmount >= r.GetThreshold()
	default:
		return false
	}
}

// counterparty is the other side's digest, empty where there is none.
func (c *call) counterparty() string {
	return string(c.party().GetDigest())
}

// party is who stands on the other side: of a payment, or the terminal of a card.
func (c *call) party() *paymentsv1.Counterparty {
	if t := c.cmd.GetCardTransaction(); t != nil {
		return t.GetCounterparty()
	}
	return c.cmd.GetInstruction().GetCounterparty()
}

// observe lets the account's history see a payment: its time always, its amount and its other side where it was not declined.
func (c *call) observe(p *pay) {
	c.acct.seen.sawPayment(c.acct.last)
	if c.out.Decision.GetOutcome() == paymentsv1.Outcome_OUTCOME_DECLINED {
		return
	}
	c.acct.seen.sawAmount(p.limitAmount)
	if digest := c.counterparty(); digest != "" {
		c.acct.seen.parties[digest] = true
	}
}

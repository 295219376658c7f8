package soak

import (
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/reference"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
)

// Disputes says where the money of disputes is in the end, and how they came there.
type Disputes struct {
	Told     int `json:"told"`     // disputes
	Held     int `json:"held"`     // the money is held
	Taken    int `json:"taken"`    // it is the card network's, and a fee ours
	Returned int `json:"returned"` // it was not taken, or is back with its fee
	Ignored  int `json:"ignored"`  // messages that moved nothing: said again, or older than what was known
	Evidence int `json:"evidence"` // was named, and moved nothing
	Wrong    int `json:"wrong"`    // another sum than what was told last says
}

// What is told of a dispute, and done about it.
const (
	preDispute     = "pre_dispute"
	disputed       = "dispute"
	preArbitration = "pre_arbitration"
	won            = "won"
	lost           = "lost"
	accept         = "accept" // the merchant gives in
)

// courses are what disputes go through, in the order in which it comes about.
func courses() [][]string {
	return [][]string{
		{preDispute},
		{preDispute},
		{preDispute, won},
		{preDispute, accept},
		{preDispute, disputed, won},
		{preDispute, disputed, lost},
		{disputed, lost, won},
		{disputed, preArbitration, accept},
		{disputed, won, preArbitration, lost},
		{preDispute, disputed, won, preArbitration, won},
		{won},
	}
}

// dispute is one of a pay-in. Its money is where the last word of its course says, in whatever order that is told.
type dispute struct {
	payment *state
	id      string // empty until the door has told it
	amount  int64  // in the pay-in's currency
	course  []string
}

// disputes is the model of them.
type disputes struct {
	mu   sync.Mutex
	all  []*dispute
	fees map[string]int64 // by currency, while the money is taken

	moved    map[string]map[line]int64 // by dispute: what the decisions on it have posted
	refused  map[string]*paymentsv1.Decision
	ignored  int
	evidence int
}

// line is a place where money of a dispute may be.
type line struct {
	account, currency string // the customer's is "account"
	layer             paymentsv1.Layer
}

func newDisputes() (*disputes, error) {
	d := &disputes{fees: map[string]int64{}, moved: map[string]map[line]int64{}, refused: map[string]*paymentsv1.Decision{}}
	documents, err := reference.Sample()
	if err != nil {
		return nil, fmt.Errorf("reading the fees of disputes: %w", err)
	}
	for _, document := range documents {
		if p, ok := document.Message.(*referencev1.Policy); ok && p.GetId() == usualPolicy {
			for _, fee := range p.GetCard().GetDispute().GetFees() {
				d.fees[fee.GetCurrency()] = fee.GetAmountMinor()
			}
		}
	}
	return d, nil
}

// hear adds up what is posted for each dispute.
func (d *disputes) hear(told *paymentsv1.Decision) {
	id := told.GetPaymentId()
	if !strings.HasPrefix(id, "dp_") {
		return
	}
	switch kind := told.GetKind(); {
	case kind == paymentsv1.CommandKind_COMMAND_KIND_DISPUTE_EVIDENCE && len(told.GetJournals()) == 0:
		d.evidence++
		return // too late for a dispute that is decided, it is refused
	case told.GetOutcome() == paymentsv1.Outcome_OUTCOME_DECLINED:
		d.refused[id] = told
	case kind == paymentsv1.CommandKind_COMMAND_KIND_DISPUTE && len(told.GetJournals()) == 0:
		d.ignored++
	}
	moved := d.moved[id]
	if moved == nil {
		moved = map[line]int64{}
		d.moved[id] = moved
	}
	for _, j := range told.GetJournals() {
		for _, p := range j.GetPostings() {
			at := line{p.GetAccount(), p.GetCurrency(), p.GetLayer()}
			if strings.HasPrefix(at.account, "acc_") {
				at.account = "account"
			}
			if moved[at] += p.GetAmountMinor(); moved[at] == 0 {
				delete(moved, at)
			}
		}
	}
}

// wanted is where the money has to be.
func (d *disputes) wanted(of *dispute) map[line]int64 {
	currency, amount := "BRL", of.amount
	if fx := of.payment.fx; fx != nil {
		currency, amount = "USD", converted(of.amount, fx)
	}
	const posted, pending = paymentsv1.Layer_LAYER_POSTED, paymentsv1.Layer_LAYER_PENDING
	switch of.course[len(of.course)-1] {
	case won:
		return map[line]int64{}
	case preDispute:
		return map[line]int64{{"account", currency, pending}: -amount, {"sys_suspense", currency, pending}: amount}
	default:
		taken := map[line]int64{
			{"account", currency, posted}: -amount - d.fees[currency], {"sys_fees", currency, posted}: d.fees[currency],
			{"sys_clearing_card", "BRL", posted}: of.amount,
		}
		if currency != "BRL" {
			taken[line{"sys_fx", currency, posted}], taken[line{"sys_fx", "BRL", posted}] = amount, -of.amount
		}
		return taken
	}
}

// converted rounds half to even. Both currencies have two decimals.
func converted(amount int64, fx *paymentsv1.Fx) int64 {
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(fx.GetRateScale())), nil)
	product := new(big.Int).Mul(big.NewInt(amount), big.NewInt(fx.GetRateUnscaled()))
	whole, rest := new(big.Int).QuoRem(product, scale, new(big.Int))
	if half := rest.Lsh(rest, 1).Cmp(scale); half > 0 || half == 0 && whole.Bit(0) == 1 {
		return whole.Int64() + 1
	}
	return whole.Int64()
}

// dispute tells of a dispute of one in eight pay-ins by card: in its order without a time, or all at once with one.
func (r *run) dispute(id string, s *state) {
	rng := rand.New(rand.NewPCG(r.options.Seed, hash(id)^1)) //nolint:gosec // a plan, not a secret
	if s.captured == 0 || s.disputed || rng.IntN(8) != 0 {
		return
	}
	s.disputed = true
	d := &dispute{payment: s, amount: max(1, s.captured/int64(1+rng.IntN(2))), course: courses()[rng.IntN(len(courses()))]}
	r.disputes.all = append(r.disputes.all, d)
	if rng.IntN(3) == 0 {
		r.tellInOrder(d, id, 0)
	} else {
		r.tellAtOnce(d, id, rng)
	}
}

// message is the n-th of a course. When it came about is told where the order in which it comes does not tell.
func (r *run) message(d *dispute, id string, n int, timed bool) call {
	body := map[string]any{
		"payment_id": id, "stage": d.course[n], "amount": d.amount, "reason_code": "10.4", "reference": "soak-" + id,
	}
	if timed {
		body["occurred_at"] = r.began.Add(time.Duration(n-len(d.course)) * time.Minute).UTC().Format(time.RFC3339)
	}
	return call{path: "/disputes", key: fmt.Sprintf("dispute-%s-%d", id, n), body: body}
}

// contest is what the merchant does about it.
func (d *dispute) contest(id string) call {
	return call{path: "/disputes/" + d.id + "/accept", key: "accept-" + id, body: map[string]any{}, then: func(string) {}}
}

func (d *dispute) prove(id string) call {
	proof := map[string]string{"reference": "s3://evidence/" + id, "sha256": strings.Repeat("ab", 32), "kind": "delivery"}
	return call{path: "/disputes/" + d.id + "/evidence", key: "evidence-" + id, body: map[string]any{"files": []any{proof}}, then: func(string) {}}
}

// tellInOrder tells a course from its n-th message on, each once the one before it is in the log.
func (r *run) tellInOrder(d *dispute, id string, n int) {
	if n == len(d.course) {
		return
	}
	if d.course[n] == accept {
		r.calls.put(d.contest(id))
		return
	}
	c := r.message(d, id, n, false)
	c.then = func(told string) {
		r.disputes.known(d, told)
		if n == 0 {
			r.calls.put(d.prove(id))
		}
		r.tellInOrder(d, id, n+1)
	}
	r.calls.put(c)
}

// tellAtOnce tells a course in any order, some of it twice, under the same key or under another.
func (r *run) tellAtOnce(d *dispute, id string, rng *rand.Rand) {
	var calls []call
	for n, stage := range d.course {
		if stage == accept {
			continue // once there is a dispute
		}
		c := r.message(d, id, n, true)
		c.then = func(told string) {
			if !r.disputes.known(d, told) {
				return
			}
			r.calls.put(d.prove(id))
			if slices.Contains(d.course, accept) {
				r.calls.put(d.contest(id))
			}
		}
		calls = append(calls, c)
		if rng.IntN(3) == 0 {
			calls = append(calls, c)
		}
		if rng.IntN(3) == 0 {
			c.key += "-again"
			calls = append(calls, c)
		}
	}
	rng.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
	for _, c := range calls {
		r.calls.later(time.Duration(rng.IntN(2)*rng.IntN(2000))*time.Millisecond, c)
	}
}

// known keeps the id of a dispute; true for the first time.
func (d *disputes) known(of *dispute, id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := of.id == ""
	of.id = id
	return first
}

// funds holds the money of each dispute against what was told of it.
func (r *run) funds() {
	model, report := r.disputes, &r.report.Disputes
	report.Told, report.Ignored, report.Evidence = len(model.all), model.ignored, model.evidence
	for _, d := range model.all {
		switch last := d.course[len(d.course)-1]; last {
		case won:
			report.Returned++
		case preDispute:
			report.Held++
		default:
			report.Taken++
		}
		wanted, moved := model.wanted(d), model.moved[d.id]
		switch refused := model.refused[d.id]; {
		case moved == nil && d.id != "":
			continue // it is lost, and counted as that
		case refused != nil:
			report.Wrong++
			r.report.find("%s: %v was refused: %v", d.id, refused.GetKind(), refused.GetReasons())
		case !maps.Equal(wanted, moved):
			report.Wrong++
			r.report.find("%s of %d went through %v: its money is %v, and not %v", d.id, d.amount, d.course, moved, wanted)
		}
	}
	if report.Held == 0 || report.Taken == 0 || report.Returned == 0 || report.Ignored == 0 {
		r.report.TooRare = append(r.report.TooRare, fmt.Sprintf("disputes: %+v", *report))
	}
}

package model_test

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/sinks/audit/model"
)

// outside is what a rail would know: its orders, and for each whether the money has moved.
type outside struct {
	*rapid.T
	w        *world
	orders   []*asked
	payments []*known
	postings map[string]*big.Int // posted and pending, by account and currency
	late     map[string]int64    // by payment: the highest time at which the rail did what the books had given up
	serial   int
}

type asked struct {
	*railsv1.Order
	account     string // its name
	moved, over bool
	answered    bool // surely
}

// known is what decisions have told of a payment.
type known struct {
	account, key, policy string
	status               paymentsv1.PaymentStatus
	authorized, captured int64
	refunded             int64
	refunding            map[string]int64 // by the refund's id
}

// TestRandomRails plays random histories of payments by rails with random answers, lies and contradictions among them.
//
// Invariant: every journal sums to zero, nothing held or on its way is ever negative.
// Invariant: captured stays within what the policy allows, refunds within what is captured.
// Invariant: a payment of which all is captured goes on only for captures that wait for their answer.
// Invariant: clearing is what the rail has moved, order by order.
// Invariant: an order tells what had come late of its payment's captures and refunds when it was given, not more and not less.
// Invariant: when every payment has ended, nothing is held and nothing is on its way.
func TestRandomRails(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := &outside{T: rt, w: newWorld(t), postings: map[string]*big.Int{}, late: map[string]int64{}}
		for _, policy := range []string{"rail", "back", "give"} {
			o.do("open", []string{policy, "BRL,USD"}, map[string]string{"policy": policy})
			o.do("payin", []string{policy, "30000", "BRL"}, map[string]string{"policy": policy})
		}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			o.step()
			o.check()
		}
		o.end()
		o.check()
		for key, sum := range o.postings {
			if strings.HasPrefix(key, "pending ") && sum.Sign() != 0 {
				rt.Fatalf("%s: %s although every payment has ended", key, sum)
			}
		}
	})
}

// do decides one command and what follows from it.
func (o *outside) do(verb string, plain []string, args map[string]string) {
	var first model.Emission
	first.Key, first.Command = o.w.command(verb, plain, args)
	queue := []model.Emission{first}
	for len(queue) > 0 {
		var out strings.Builder
		r := o.w.result(&out, queue[0])
		o.Log(strings.TrimSpace(out.String()))
		queue = append(queue[1:], o.w.queue...)
		o.w.queue = nil
		o.took(first.Command, r)
	}
}

func (o *outside) took(cmd *paymentsv1.Command, r model.Result) {
	d := r.Decision
	for _, j := range d.GetJournals() {
		sums := map[string]*big.Int{}
		for _, p := range j.GetPostings() {
			o.add(sums, p.GetCurrency()+p.GetLayer().String(), p.GetAmountMinor())
			layer := "posted "
			if p.GetLayer() == paymentsv1.Layer_LAYER_PENDING {
				layer = "pending "
			}
			o.add(o.postings, layer+p.GetAccount()+" "+p.GetCurrency(), p.GetAmountMinor())
		}
		for side, sum := range sums {
			if sum.Sign() != 0 || len(j.GetPostings()) == 0 {
				o.Fatalf("%s sums to %s in %s", side, sum, model.Journals(d))
			}
		}
	}
	for _, order := range r.Orders {
		if order.GetAccount() != d.GetAccount() || order.GetTenant() != tenant || order.GetMerchant() != merchant || order.GetOrderedAtUs() != d.GetAcceptedAtUs() {
			o.Fatalf("not by the decision's account, owner and time: %s", model.Order(order))
		}
		if order.GetLateAtUs() != o.late[order.GetPaymentId()] {
			o.Fatalf("%d has come late: %s", o.late[order.GetPaymentId()], model.Order(order))
		}
		o.orders = append(o.orders, &asked{Order: order, account: o.w.names[order.GetAccount()]})
	}
	if a := cmd.GetRailAnswer(); a != nil {
		o.moved(a, d)
		o.cameLate(a, d)
	}
	o.learn(d)
}

func (o *outside) add(sums map[string]*big.Int, key string, minor int64) {
	if sums[key] == nil {
		sums[key] = new(big.Int)
	}
	sums[key].Add(sums[key], big.NewInt(minor))
}

// moved notes what the rail says it did, unless it takes back what it had said.
func (o *outside) moved(a *paymentsv1.RailAnswer, d *paymentsv1.Decision) {
	i := slices.IndexFunc(o.orders, func(x *asked) bool { return x.GetOrderId() == a.GetOrderId() })
	if i < 0 || d.GetOutcome() != paymentsv1.Outcome_OUTCOME_APPLIED || slices.Contains(d.GetReasons(), paymentsv1.Reason_REASON_RAIL_CONTRADICTION) {
		return
	}
	x := o.orders[i]
	told := a.GetAmountMinor() == 0 || a.GetAmountMinor() == x.GetAmountMinor()
	done := a.GetResult() == paymentsv1.RailResult_RAIL_RESULT_CONFIRMED
	switch x.GetKind() {
	case railsv1.OrderKind_ORDER_KIND_SEND:
		sent := a.GetResult() == paymentsv1.RailResult_RAIL_RESULT_SENT && d.GetStatus() != paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED // else an old word
		if (done || sent) && told && !x.over {
			x.moved = true
		}
		if slices.Contains(d.GetReasons(), paymentsv1.Reason_REASON_RAIL_REFUSED) { // not sent, or not in the end; it may be paid after all
			x.moved = false
		}
		back := x.moved && told && a.GetResult() == paymentsv1.RailResult_RAIL_RESULT_RETURNED // also too late
		if back || d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_RETURNED {
			x.moved, x.over = false, true
		}
	case railsv1.OrderKind_ORDER_KIND_COLLECT, railsv1.OrderKind_ORDER_KIND_CAPTURE, railsv1.OrderKind_ORDER_KIND_RETURN:
		x.moved = x.moved || done && told
	default:
	}
	x.answered = x.answered || done && told || a.GetResult() == paymentsv1.RailResult_RAIL_RESULT_REFUSED
}

// cameLate notes when the rail did what was taken in too late.
func (o *outside) cameLate(a *paymentsv1.RailAnswer, d *paymentsv1.Decision) {
	_, step, _ := strings.Cut(a.GetOrderId(), ".")
	if (step == "capture" || step == "return") && slices.Contains(d.GetReasons(), paymentsv1.Reason_REASON_RAIL_LATE) {
		of := d.GetRelatedPaymentId()
		o.late[of] = max(o.late[of], a.GetReportedAtUs())
	}
}

// learn keeps what a decision tells of the payment it is about.
func (o *outside) learn(d *paymentsv1.Decision) {
	id, status := d.GetPaymentId(), d.GetStatus()
	if d.GetRelatedStatus() != 0 {
		id, status = d.GetRelatedPaymentId(), d.GetRelatedStatus()
	}
	i := slices.IndexFunc(o.payments, func(p *known) bool {
		return id != "" && "#"+p.key == o.w.names[id[3:]]
	})
	if i < 0 || d.GetOutcome() == paymentsv1.Outcome_OUTCOME_REPEATED {
		return
	}
	p := o.payments[i]
	p.status, p.authorized, p.captured = status, d.GetAuthorizedMinor(), d.GetCapturedMinor()
	if d.GetRelatedStatus() == 0 {
		return
	}
	p.refunded = d.GetRefundedMinor()
	if strings.HasPrefix(d.GetPaymentId(), "re_") {
		delete(p.refunding, d.GetPaymentId())
		if s := d.GetStatus(); s == paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING || s == paymentsv1.PaymentStatus_PAYMENT_STATUS_UNKNOWN {
			p.refunding[d.GetPaymentId()] = d.GetAmountMinor()
		}
	}
}

// step does something at random.
func (o *outside) step() {
	roll := rapid.IntRange(0, 99).Draw(o.T, "do")
	switch {
	case roll < 6 || len(o.payments) == 0:
		o.request()
	case roll < 45:
		o.operate()
	case roll < 75 && slices.ContainsFunc(o.orders, unanswered): // as it should be
		open := slices.DeleteFunc(slices.Clone(o.orders), func(x *asked) bool { return !unanswered(x) })
		result := paymentsv1.RailResult_RAIL_RESULT_CONFIRMED
		if roll >= 70 {
			result = paymentsv1.RailResult_RAIL_RESULT_REFUSED
		}
		o.answer(rapid.SampledFrom(open).Draw(o.T, "open"), result, 0)
	case roll < 94 && len(o.orders) > 0: // as it comes
		x := rapid.SampledFrom(o.orders).Draw(o.T, "order")
		result := paymentsv1.RailResult(rapid.SampledFrom([]int32{1, 1, 1, 1, 2, 2, 3, 4, 5, 6}).Draw(o.T, "result"))
		amount := rapid.SampledFrom([]int64{0, x.GetAmountMinor(), x.GetAmountMinor(), x.GetAmountMinor() + 1}).Draw(o.T, "told")
		o.answer(x, result, amount)
	default:
		o.w.now = o.w.now.Add(time.Duration(rapid.IntRange(1, 180).Draw(o.T, "minutes")) * time.Minute)
		o.do("tick", nil, nil)
	}
}

func unanswered(x *asked) bool { return !x.answered }

// request asks for a payment by a rail.
func (o *outside) request() {
	o.serial++
	policy := rapid.SampledFrom([]string{"rail", "back", "give"}).Draw(o.T, "account")
	key := fmt.Sprintf("p%d", o.serial)
	args := map[string]string{"policy": policy, "key": key, "method": "card"}
	verb, currency := "payin", rapid.SampledFrom([]string{"BRL", "USD", "EUR"}).Draw(o.T, "currency")
	if rapid.IntRange(0, 3).Draw(o.T, "manual") > 0 {
		args["capture"] = "manual"
	}
	args["to"] = "BRL"
	if rapid.IntRange(0, 4).Draw(o.T, "out") == 0 {
		verb, currency, args["method"] = "payout", "BRL", "bank"
		args["to"] = rapid.SampledFrom([]string{"BRL", "USD"}).Draw(o.T, "to")
	}
	amount := rapid.Int64Range(1, 12_000).Draw(o.T, "amount")
	o.payments = append(o.payments, &known{account: policy, key: key, policy: policy, refunding: map[string]int64{}})
	o.do(verb, []string{policy, fmt.Sprint(amount), currency}, args)
}

// operate asks something of a payment.
func (o *outside) operate() {
	o.serial++
	p := rapid.SampledFrom(o.payments).Draw(o.T, "payment")
	verb := rapid.SampledFrom([]string{"capture", "capture", "capture", "void", "increment", "refund", "refund"}).Draw(o.T, "verb")
	args := map[string]string{"policy": p.policy, "of": p.key, "key": fmt.Sprintf("o%d", o.serial)}
	args["amount"] = fmt.Sprint(rapid.Int64Range(0, p.authorized+p.authorized/4+1).Draw(o.T, "part"))
	if rapid.IntRange(0, 4).Draw(o.T, "final") == 0 {
		args["final"] = "yes"
	}
	if rapid.IntRange(0, 3).Draw(o.T, "rest") == 0 {
		args["amount"] = "0"
	}
	o.do(verb, []string{p.account}, args)
}

func (o *outside) answer(x *asked, result paymentsv1.RailResult, told int64) {
	record, step, _ := strings.Cut(x.GetOrderId(), ".")
	args := map[string]string{
		"of": o.w.names[x.GetPaymentId()[3:]][1:], "step": step, "amount": fmt.Sprint(told), "result": word(result, "RAIL_RESULT_"),
		"op": o.w.names[record[3:]][1:], "reported": rapid.SampledFrom([]string{"", "-1h", "-1m", "+0s", "+10m"}).Draw(o.T, "reported"),
	}
	o.do("answer", []string{x.account}, args)
}

// check compares the books with what the rail knows.
func (o *outside) check() {
	want := map[string]*big.Int{}
	for _, x := range o.orders {
		minor := x.GetAmountMinor()
		if x.GetKind() != railsv1.OrderKind_ORDER_KIND_SEND && x.GetKind() != railsv1.OrderKind_ORDER_KIND_RETURN {
			minor = -minor
		}
		if x.GetAmountMinor() <= 0 {
			o.Fatalf("an order of nothing: %s", model.Order(x.Order))
		}
		if x.moved {
			o.add(want, "posted sys_clearing_"+x.GetMethod()+" "+x.GetCurrency(), minor)
		}
	}
	for _, method := range []string{"card", "bank"} {
		for _, currency := range []string{"BRL", "USD", "EUR"} {
			key := "posted sys_clearing_" + method + " " + currency
			if due, stands := text(want[key]), text(o.postings[key]); due != stands {
				o.Fatalf("%s is %s, and the rail has moved %s", key, stands, due)
			}
		}
	}
	for _, key := range o.w.p.Keys() {
		for _, b := range o.w.p.Balances(key) {
			if b.GetHeldMinor() < 0 || b.GetIncomingMinor() < 0 || b.GetPostedMinor()-b.GetHeldMinor() < 0 {
				o.Fatalf("%s: %s", o.w.names[key], model.Balances([]*paymentsv1.Balance{b}))
			}
			posted := text(o.postings["posted "+key+" "+b.GetCurrency()])
			pending := text(o.postings["pending "+key+" "+b.GetCurrency()])
			if posted != fmt.Sprint(b.GetPostedMinor()) || pending != fmt.Sprint(b.GetIncomingMinor()-b.GetHeldMinor()) {
				o.Fatalf("%s: %s, journals say %s posted, %s pending", o.w.names[key], model.Balances([]*paymentsv1.Balance{b}), posted, pending)
			}
		}
	}
	for _, p := range o.payments {
		allowed := p.authorized
		if p.policy == "rail" {
			allowed += p.authorized / 5 // the policy's 20 %, rounded down
		}
		refunds := p.refunded
		for _, minor := range p.refunding {
			refunds += minor
		}
		if p.captured > allowed || refunds > p.captured {
			o.Fatalf("%s: %d captured of %d, %d refunded or on the way back", p.key, p.captured, allowed, refunds)
		}
		waits := slices.ContainsFunc(o.orders, func(x *asked) bool {
			return x.GetKind() == railsv1.OrderKind_ORDER_KIND_CAPTURE && !x.answered && o.w.names[x.GetPaymentId()[3:]] == "#"+p.key
		})
		if p.status == paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_CAPTURED && p.captured >= p.authorized && !waits {
			o.Fatalf("%s: %d captured of %d, no answer to come, and it goes on", p.key, p.captured, p.authorized)
		}
	}
}

func text(n *big.Int) string {
	if n == nil {
		return "0"
	}
	return n.String()
}

// end lets the rail answer everything, and gives up what nobody captured.
func (o *outside) end() {
	for range 2 {
		for i := 0; i < len(o.orders); i++ { // an answer may lead to an order
			if x := o.orders[i]; !x.answered {
				o.answer(x, paymentsv1.RailResult(rapid.Int32Range(1, 2).Draw(o.T, "last")), 0)
			}
		}
		for _, p := range o.payments {
			if p.status == paymentsv1.PaymentStatus_PAYMENT_STATUS_REQUIRES_CAPTURE || p.status == paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_CAPTURED {
				o.serial++
				o.do("void", []string{p.account}, map[string]string{"policy": p.policy, "of": p.key, "key": fmt.Sprintf("o%d", o.serial)})
				o.answer(o.orders[len(o.orders)-1], paymentsv1.RailResult_RAIL_RESULT_CONFIRMED, 0)
			}
		}
	}
}

package model

import (
	"cmp"
	"container/heap"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const (
	minuteUS = int64(60_000_000)
	dayUS    = int64(86_400_000_000)
	// expiriesPerTick bounds what one tick sets in motion; another tick follows one that came to it.
	expiriesPerTick = 1_000
)

// dueEntry says what comes when.
type dueEntry struct {
	at               int64
	account, payment string
	purpose          paymentsv1.ExpirePurpose
}

func (e dueEntry) compare(o dueEntry) int {
	return cmp.Or(cmp.Compare(e.at, o.at), cmp.Compare(e.account, o.account), cmp.Compare(e.payment, o.payment), cmp.Compare(e.purpose, o.purpose))
}

// dueIndex is a heap whose removed entries stay until they come up.
type dueIndex struct {
	heap    dueHeap
	removed map[dueEntry]bool
}

func newDueIndex() dueIndex { return dueIndex{removed: map[dueEntry]bool{}} }

func (d *dueIndex) add(e dueEntry) { heap.Push(&d.heap, e) }

func (d *dueIndex) remove(e dueEntry) { d.removed[e] = true }

// take gives what is due, at most limit entries.
func (d *dueIndex) take(until int64, limit int) []dueEntry {
	var due []dueEntry
	for len(d.heap) > 0 && d.heap[0].at <= until && len(due) < limit {
		e := heap.Pop(&d.heap).(dueEntry) //nolint:forcetypeassert // the heap holds nothing else
		if d.removed[e] {
			delete(d.removed, e)
			continue
		}
		due = append(due, e)
	}
	return due
}

type dueHeap []dueEntry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].compare(h[j]) < 0 }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(dueEntry)) } //nolint:forcetypeassert // as above
func (h *dueHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// tick sends what is due on its way.
func (c *call) tick() {
	c.out.Decision.Outcome = paymentsv1.Outcome_OUTCOME_APPLIED
	minute := c.cmd.GetTick().GetMinute()
	if minute < c.minute {
		return
	}
	c.minute = minute
	due := c.due.take(minute*minuteUS, expiriesPerTick)
	for _, e := range due {
		c.emit(e.account, &paymentsv1.Command{
			Kind: paymentsv1.CommandKind_COMMAND_KIND_EXPIRE, PaymentId: e.payment,
			Body: &paymentsv1.Command_Expire{Expire: &paymentsv1.Expire{Purpose: e.purpose, DueAtUs: e.at}},
		})
	}
	if len(due) == expiriesPerTick { // there may be more
		c.emit(c.rec.Key, &paymentsv1.Command{
			Kind: paymentsv1.CommandKind_COMMAND_KIND_TICK, AcceptedAtUs: c.cmd.GetAcceptedAtUs(),
			Body: &paymentsv1.Command_Tick{Tick: &paymentsv1.Tick{Minute: minute}},
		})
	}
}

// expire lets a deadline pass.
func (c *call) expire() {
	d, body := c.out.Decision, c.cmd.GetExpire()
	d.Outcome = paymentsv1.Outcome_OUTCOME_APPLIED
	retention := body.GetPurpose() == paymentsv1.ExpirePurpose_EXPIRE_PURPOSE_RETENTION
	if retention {
		if leg, ok := c.acct.legs[c.cmd.GetPaymentId()]; ok && leg.leaves == body.GetDueAtUs() { // of a transfer that was taken here
			delete(c.acct.legs, c.cmd.GetPaymentId())
		}
	}
	p := c.acct.payments[identity(c.cmd.GetPaymentId())]
	if p == nil {
		return
	}
	switch {
	case retention:
		c.forget(p)
	case body.GetPurpose() == paymentsv1.ExpirePurpose_EXPIRE_PURPOSE_AUTHORIZATION && p.issued != nil:
		c.expireIssued(p)
	case body.GetPurpose() == paymentsv1.ExpirePurpose_EXPIRE_PURPOSE_AUTHORIZATION:
		c.expireAuthorization(p)
	case p.status == paymentsv1.PaymentStatus_PAYMENT_STATUS_IN_REVIEW && body.GetDueAtUs() >= p.deadline:
		c.release(p)
		p.status = paymentsv1.PaymentStatus_PAYMENT_STATUS_EXPIRED
		d.Reasons = []paymentsv1.Reason{paymentsv1.Reason_REASON_REVIEW_EXPIRED}
	}
	d.Status = p.status
	c.amounts(p)
}

// forget drops a payment record that is final; another one is looked at again 30 days later.
func (c *call) forget(p *pay) {
	if p.leaves != c.cmd.GetExpire().GetDueAtUs() {
		return // the id was used anew
	}
	switch {
	case p.settled() && !p.busy(), p.kind == kindQuote: // a quote that nobody used is no use any more
		delete(c.acct.payments, identity(p.id))
	default:
		p.leaves += 30 * dayUS
		c.due.add(dueEntry{at: p.leaves, account: c.acct.key, payment: p.id, purpose: paymentsv1.ExpirePurpose_EXPIRE_PURPOSE_RETENTION})
	}
}

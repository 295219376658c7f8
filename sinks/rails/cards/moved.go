package cards

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caudalpay/caudal/processors/payment"
)

const (
	// codeCameLate is the code of an order that was taken for lost, answered REFUSED, and has been done all the same.
	codeCameLate = "came_late"
	// codeEarlierDone is the code of an order that is not sent, since one before it has come late: it may have been ordered in its place.
	codeEarlierDone = "earlier_done"
)

// moved is what the confirmed orders of payments have captured and given back, and which were taken for lost. The owner writes it when
// it learns of one, ahead of the next order of that payment.
type moved struct {
	mu      sync.Mutex
	all     map[string]before     // by payment id
	changes map[string][]*attempt // that were confirmed or lost, by payment id
	lateAt  map[string]time.Time  // of the latest that has come late, by payment id
}

func newMoved() *moved {
	return &moved{all: map[string]before{}, changes: map[string][]*attempt{}, lateAt: map[string]time.Time{}}
}

// doubted tells a payment with an order that was taken for lost, and may have come later.
func (m *moved) doubted(payment string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.changes[payment], (*attempt).lost)
}

func (m *moved) of(payment string) before {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all[payment]
}

// change takes in that an attempt has become another; nil: it was not there, or is not any more.
func (m *moved) change(payment string, from, to *attempt) {
	was, is := from.moved(), to.moved()
	if was == is && !from.changes() && !to.changes() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.all[payment]
	b.capturedMinor += is.capturedMinor - was.capturedMinor
	b.returnedMinor += is.returnedMinor - was.returnedMinor
	if m.all[payment] = b; b == (before{}) {
		delete(m.all, payment)
	}
	all := m.changes[payment]
	if from.changes() {
		all = slices.DeleteFunc(all, func(a *attempt) bool { return a.order.ID == from.order.ID })
	}
	if to.changes() {
		all = append(all, to)
		if to.cameLate() && to.reportedAt.After(m.lateAt[payment]) {
			m.lateAt[payment] = to.reportedAt
		}
	}
	if m.changes[payment] = all; len(all) == 0 {
		delete(m.changes, payment)
		delete(m.lateAt, payment)
	}
}

// overtook tells an order that was given before its account knew that one before it has come late: it took that one for failed.
func (m *moved) overtook(o order) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.changes[o.PaymentID], func(a *attempt) bool {
		return a.order.Operation == o.Operation.replaced() && a.cameLate() && micro(a.reportedAt) > o.LateAtUS
	})
}

// replaced is what an order may have been given in the place of: what was captured is not there to be given up.
func (o Operation) replaced() Operation {
	if o == OperationVoid {
		return OperationCapture
	}
	return o
}

// lateNow is the time of an order that has come late: after all of its payment that were told before, whatever the clock does, since by it
// the account tells which of them it knows.
func (m *moved) lateNow(payment string, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now = now.Truncate(time.Microsecond); !now.After(m.lateAt[payment]) {
		now = m.lateAt[payment].Add(time.Microsecond)
	}
	m.lateAt[payment] = now
	return now
}

// late gives the captures or refunds that were taken for lost and have come, as a standing shows. It shows so where it has moved by
// the amount of one of them, or of all, more than the confirmed ones have moved since the first of them was sent: what was
// before that its own look has seen. Not sure: it has moved by more than they explain, or something else may explain it too.
func (m *moved) late(payment string, o Operation, s Standing) (come []*attempt, sure bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lost := m.missing(payment, o)
	if len(lost) == 0 || s.State != StateCaptured && s.State != StateVoided {
		return nil, true
	}
	first := lost[0].before.figure(o)
	more := s.moved().figure(o) - first
	for _, a := range m.changes[payment] {
		if a.order.Operation == o && !a.lost() && a.before.figure(o) >= first {
			more -= a.order.AmountMinor
		}
	}
	if more <= 0 {
		return nil, true
	}
	return s.explained(o, lost, more)
}

// missing are the orders of a payment that were taken for lost, in the order in which they were sent. The caller holds the lock.
func (m *moved) missing(payment string, o Operation) []*attempt {
	var lost []*attempt
	for _, a := range m.changes[payment] {
		if a.order.Operation == o && a.lost() {
			lost = append(lost, a)
		}
	}
	slices.SortFunc(lost, func(a, b *attempt) int {
		return cmp.Or(cmp.Compare(a.before.figure(o), b.before.figure(o)), cmp.Compare(a.order.OrderedAtUS, b.order.OrderedAtUS), cmp.Compare(a.order.ID, b.order.ID))
	})
	return lost
}

// beside gives the lost orders that make a difference of so much behind the look of an order still open, and whether that order itself is
// part of it; none where the amount does not tell.
func (m *moved) beside(open *attempt, more int64) (come []*attempt, done bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lost := m.missing(open.order.PaymentID, open.order.Operation)
	with, without := adding(lost, more-open.order.AmountMinor), adding(lost, more)
	if with != nil && without != nil {
		return nil, false
	}
	return append(with, without...), with != nil
}

// besides takes out of what was found of an open order what lost orders of its payment, which have come meanwhile, have moved.
func (w *worker) besides(a *attempt, seen told) (Result, []*attempt) {
	o, found := a.order.Operation, seen.result
	if found.Outcome != OutcomeConfirmed || found.AmountMinor == a.order.AmountMinor || seen.standing.Disputed || o != OperationCapture && o != OperationRefund {
		return found, nil
	}
	come, done := w.moved.beside(a, found.AmountMinor)
	if len(come) == 0 {
		return found, nil
	}
	late := w.overdue(come, o, seen.standing)
	if done {
		found.AmountMinor = a.order.AmountMinor
		return found, late
	}
	a.before.add(o, found.AmountMinor) // what they have moved stood before this one
	return Result{Outcome: OutcomeNotFound}, late
}

// explained gives those lost orders that have moved so much more. What a partial capture leaves some call given back, and some what is
// disputed: where that may be what has moved, the orders may not.
func (s Standing) explained(o Operation, lost []*attempt, more int64) (come []*attempt, sure bool) {
	come = adding(lost, more)
	if o != OperationRefund {
		return come, come != nil
	}
	left := max(0, s.AuthorizedMinor-s.CapturedMinor)
	switch besides := adding(lost, more-left); {
	case come != nil && (s.Disputed || left == more || left > 0 && besides != nil):
		return nil, false
	case come != nil:
		return come, true
	case besides != nil && !s.Disputed:
		return besides, true
	default:
		return nil, s.Disputed || left == more || s.State == StateVoided // nothing is left to be changed there
	}
}

// adding is the one order that is of an amount, or all where they add up to it.
func adding(lost []*attempt, amount int64) []*attempt {
	sum := int64(0)
	for i, a := range lost {
		if a.order.AmountMinor == amount {
			return lost[i : i+1]
		}
		sum += a.order.AmountMinor
	}
	if sum == amount {
		return lost
	}
	return nil
}

func (s Standing) moved() before {
	return before{capturedMinor: s.CapturedMinor, returnedMinor: s.ReturnedMinor}
}

// add moves so much more by captures or refunds.
func (b *before) add(o Operation, amount int64) {
	if o == OperationCapture {
		b.capturedMinor += amount
	} else {
		b.returnedMinor += amount
	}
}

func (b before) figure(o Operation) int64 {
	if o == OperationCapture {
		return b.capturedMinor
	}
	return b.returnedMinor
}

// earlierError says that nothing is sent for an order, because others were found to have come late: they are to be settled with it.
type earlierError struct{ orders []*attempt }

// Error implements error.
func (e *earlierError) Error() string {
	return fmt.Sprintf("%d orders before have come late", len(e.orders))
}

// doubt looks for orders of a payment that have come late, before another is sent: an error where there is one, or may be one.
func (w *worker) doubt(a *attempt, c *connector, s Standing) error {
	o := a.order.Operation.replaced()
	come, sure := w.moved.late(a.order.PaymentID, o, s)
	switch {
	case len(come) > 0:
		return &earlierError{orders: w.overdue(come, o, s)}
	case !sure && a.order.Operation == o:
		return fmt.Errorf("%w: %s has moved more of %s than was ordered", ErrNotSent, c.name, a.order.PaymentID)
	default:
		return nil
	}
}

// overdue takes in that lost orders have come. From here on they count as what was done last: what stands before them is seen.
func (w *worker) overdue(come []*attempt, o Operation, s Standing) []*attempt {
	stood := s.moved()
	late := make([]*attempt, len(come))
	for i, known := range come {
		a := *known
		a.before = stood
		a.before.add(o, -a.order.AmountMinor)
		stood = a.before
		a.learn(w.believed(&a, Result{Outcome: OutcomeConfirmed, Code: codeCameLate, Reference: s.Reference, TID: s.TID, AmountMinor: a.order.AmountMinor}), w.moved.lateNow(a.order.PaymentID, w.cfg.Now()))
		w.log.Warn("order taken for lost has come", "payment_id", a.order.PaymentID, "order", a.order.ID, "connector", a.connector, "amount_minor", a.order.AmountMinor)
		late[i] = &a
	}
	return late
}

// catchUp answers the lost orders of a payment that have come, as a standing shows. No order of it is under way.
func (w *worker) catchUp(ctx context.Context, paymentID string, s Standing) ([]*attempt, error) {
	var late []*attempt
	for _, o := range []Operation{OperationCapture, OperationRefund} {
		come, _ := w.moved.late(paymentID, o, s)
		late = append(late, w.overdue(come, o, s)...)
	}
	if len(late) == 0 {
		return nil, nil
	}
	return late, w.settleLate(ctx, late)
}

// settleLate settles orders that have come late and nothing besides: each is told behind those of an earlier time, by which an account tells
// what it knows.
func (w *worker) settleLate(ctx context.Context, late []*attempt) error {
	last := len(late) - 1
	return w.settle(ctx, late[last], payment.RailRefused, late[:last]...)
}

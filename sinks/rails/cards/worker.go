package cards

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/sinks/rails/cards/abecs"
)

// point is where an order is on its way: a test kills the process there.
type point string

const (
	pointBeforeIntent point = "before intent"
	pointAfterIntent  point = "after intent"
	pointAfterCall    point = "after call"
	pointAfterOutcome point = "after outcome" // written with its answer, and not committed
	pointAfterAnswer  point = "after answer"
	pointBeforeCommit point = "before commit"
)

// errStopping says that an order was left before anything was sent: its next owner takes it up.
var errStopping = errors.New("stopping")

// worker executes the orders of one partition, each from its beginning to its end in one goroutine. It has no state of
// its own: the partition's owner has.
type worker struct {
	cfg        Config
	partition  int32
	connectors map[string]*connector
	journal    *journal
	metrics    *metrics
	log        *slog.Logger
	stopping   <-chan struct{} // no new sending, no pause
	names      *names
	moved      *moved
	watched    *atomic.Int64 // how many orders of the partition are watched; nil: none
	// places are held by orders under way. One that pauses gives its own back: an acquirer that is away must not hold up
	// the orders of the others.
	places chan struct{}
}

func (w *worker) enter() { w.places <- struct{}{} }
func (w *worker) leave() { <-w.places }

func (w *worker) at(p point, orderID string) {
	if w.cfg.hook != nil {
		w.cfg.hook(p, orderID)
	}
}

// execute brings an order that was never tried to an outcome, or to UNKNOWN, and answers it, together with the orders that it finds to
// have come late. An error ends the partition.
func (w *worker) execute(ctx context.Context, o order, offset int64) (_ *attempt, late []*attempt, _ error) {
	a := &attempt{order: o, offset: offset}
	result, err := w.try(ctx, a)
	if earlier := (*earlierError)(nil); errors.As(err, &earlier) {
		result, late, err = refused(codeEarlierDone), earlier.orders, nil
	}
	if err != nil {
		return nil, nil, err
	}
	now := w.cfg.Now()
	prior := a.learn(w.believed(a, result), now)
	if a.state == stateUnknown {
		w.log.Warn("order with an unknown outcome", "payment_id", o.PaymentID, "order", o.ID, "connector", a.connector)
	}
	w.schedule(a, now)
	return a, late, w.settle(ctx, a, prior, late...)
}

// believed is what the other side says, unless it tells another amount than was ordered: then one of the two is wrong about
// something, and it is asked again until it tells the right one, or a person has looked at it.
func (w *worker) believed(a *attempt, r Result) Result {
	if ranked(r.Outcome.told()) < 0 || r.Outcome == OutcomeRefused || r.AmountMinor == 0 || r.AmountMinor == a.order.AmountMinor {
		c := w.connectors[a.connector]
		r.Closed = a.order.Operation == OperationCapture && r.Outcome == OutcomeConfirmed && c != nil && !c.can.MultipleCaptures
		return r
	}
	w.metrics.amounts.WithLabelValues(a.connector).Inc()
	w.log.Warn("another amount told than ordered", "payment_id", a.order.PaymentID, "order", a.order.ID, "connector", a.connector,
		"ordered_minor", a.order.AmountMinor, "told_minor", r.AmountMinor)
	return Result{Code: r.Code, Reference: r.Reference}
}

// settle makes what was learnt durable together with its answer. Prior is what was told before. Orders that came late are settled with
// it, all or nothing, and are told first.
func (w *worker) settle(ctx context.Context, a *attempt, prior payment.RailResult, late ...*attempt) error {
	var with []*kgo.Record
	for _, l := range late {
		answer, err := l.answer()
		if err != nil {
			return err
		}
		record, err := l.record(w.partition)
		if err != nil {
			return err
		}
		with = append(with, answer, record)
	}
	answers, err := a.answers(prior)
	if err != nil {
		return err
	}
	if err := w.note(ctx, a, append(with, answers...)...); err != nil {
		return err
	}
	for _, l := range late {
		w.metrics.answers.WithLabelValues(l.result.String()).Inc()
	}
	w.metrics.answers.WithLabelValues(a.result.String()).Inc()
	w.at(pointAfterAnswer, a.order.ID)
	return nil
}

// note makes an attempt durable, with what else belongs to it.
func (w *worker) note(ctx context.Context, a *attempt, with ...*kgo.Record) error {
	record, err := a.record(w.partition)
	if err != nil {
		return err
	}
	return w.journal.write(ctx, append(with, record)...)
}

// again gives the answer that was given before.
func (w *worker) again(ctx context.Context, a *attempt) error {
	answer, err := a.answer()
	if err != nil {
		return err
	}
	if err := w.journal.write(ctx, answer); err != nil {
		return err
	}
	w.metrics.answers.WithLabelValues(a.result.String()).Inc()
	return nil
}

// never says why an order is not tried at all, empty where it is.
func (w *worker) never(o order) string {
	now := w.cfg.Now()
	switch {
	case o.DeadlineUS > 0 && now.UnixMicro() > o.DeadlineUS:
		return "deadline"
	case now.Sub(timeOf(o.OrderedAtUS)) > w.cfg.Keep:
		return "too_old" // it may have been done and forgotten
	case o.Operation == OperationUnknown:
		return CodeUnsupported
	case o.Operation.follows() && w.connectors[o.Connector] == nil:
		return "connector_unknown"
	default:
		return ""
	}
}

// codeNotFound is the code of an order of which the other side knew nothing until it was taken for lost.
const codeNotFound = "not_found"

func refused(code string) Result { return Result{Outcome: OutcomeRefused, Code: code} }

// try goes round the connectors until one has answered, or patience is over.
func (w *worker) try(ctx context.Context, a *attempt) (Result, error) {
	if why := w.never(a.order); why != "" {
		return refused(why), nil
	}
	if w.moved.overtook(a.order) {
		return refused(codeEarlierDone), nil
	}
	began, pause, resends := w.cfg.Now(), w.cfg.Patience.First, w.cfg.Patience.Resends
	patience := w.cfg.Patience.of(a.order.Operation)
	for {
		names := w.candidates(a.order)
		if len(names) == 0 {
			return refused("no_route"), nil
		}
		result, err := w.round(ctx, a, names)
		switch {
		case err == nil && w.passing(a.order, result) && resends > 0:
			resends--
		case err == nil:
			return result, nil
		case !errors.Is(err, ErrNotSent):
			return Result{}, err
		case w.cfg.Now().Sub(began)+pause > patience:
			w.log.Warn("order could not be sent", "payment_id", a.order.PaymentID, "order", a.order.ID, "error", err)
			return refused("unavailable"), nil
		}
		if err := w.rest(ctx, pause); err != nil {
			return Result{}, err
		}
		pause = min(2*pause, w.cfg.Patience.Most)
	}
}

func (w *worker) candidates(o order) []string {
	if o.Operation.follows() {
		return []string{o.Connector}
	}
	return w.cfg.Routes.candidates(o, func(name string) bool { return w.connectors[name].healthy() })
}

// round asks one connector after the other, on to the next only where the one before surely did not charge: it was never
// asked, or declined in a way that another may not. The error is ErrNotSent where nobody was reached.
func (w *worker) round(ctx context.Context, a *attempt, names []string) (Result, error) {
	var declined *attempt
	var last Result
	unsent := ErrNotSent
	for i, name := range names {
		result, err := w.ask(ctx, a, w.connectors[name])
		more := i < len(names)-1
		switch {
		case errors.Is(err, ErrNotSent):
			unsent = err
		case err != nil:
			return Result{}, err
		case more && w.elsewhere(a.order, result):
			kept := *a
			declined, last = &kept, result
		case declined != nil && result.Code == CodeUnsupported: // nobody but the first has looked at the card
		default:
			return result, nil
		}
		if more {
			w.metrics.failovers.WithLabelValues(name).Inc()
		}
	}
	if declined != nil {
		a.connector, a.own, a.intendedAt = declined.connector, declined.own, declined.intendedAt
		return last, nil
	}
	return Result{}, unsent
}

// passing tells a decline that may pass by itself.
func (w *worker) passing(o order, r Result) bool {
	return r.Outcome == OutcomeRefused && o.Operation.authorizes() && w.cfg.Codes.Verdict(o.Brand, r.Code) == abecs.Passing
}

// elsewhere tells a refusal that another acquirer may not repeat: also one of what this one cannot do.
func (w *worker) elsewhere(o order, r Result) bool {
	return w.passing(o, r) || (r.Outcome == OutcomeRefused && r.Code == CodeUnsupported)
}

// ask makes one attempt at one connector: look, intend, send.
func (w *worker) ask(ctx context.Context, a *attempt, c *connector) (Result, error) {
	select {
	case <-w.stopping:
		return Result{}, errStopping
	default:
	}
	number := a.number + 1
	a.connector, a.own = c.name, w.own(c, a, number)
	if c.can.unsupported(a.request()) != "" {
		return refused(CodeUnsupported), nil
	}
	if !c.healthy() { // an intent for each look at a bank that is away would be written for as long as it is
		return Result{}, fmt.Errorf("%w: the breaker of %s is open", ErrNotSent, c.name)
	}
	destination, err := w.destination(a.order)
	if err != nil {
		return Result{}, err
	}
	a.before = before{}
	if a.order.Operation.follows() {
		standing, err := c.status(ctx, a.request())
		if err != nil {
			return Result{}, err
		}
		if standing.State != StateAuthorized && standing.State != StateCaptured && standing.State != StateVoided {
			return Result{}, fmt.Errorf("%w: %s does not say how %s stands", ErrNotSent, c.name, a.order.PaymentID)
		}
		if standing.behind(a.order.Operation, w.moved.of(a.order.PaymentID)) {
			return Result{}, fmt.Errorf("%w: %s does not show yet what it has confirmed of %s", ErrNotSent, c.name, a.order.PaymentID)
		}
		if err := w.doubt(a, c, standing); err != nil {
			return Result{}, err
		}
		if c.can.unfit(a.order.Operation, standing) != "" {
			return refused(CodeUnsupported), nil
		}
		a.before = standing.moved()
	}
	w.at(pointBeforeIntent, a.order.ID)
	a.state, a.number, a.intendedAt, a.polls = stateIntended, number, w.cfg.Now(), 0
	if err := w.note(ctx, a); err != nil {
		return Result{}, err
	}
	if !a.order.Operation.follows() {
		w.names.add(a.own, a.order.ID)
	}
	w.at(pointAfterIntent, a.order.ID)
	if w.cfg.Now().Sub(a.intendedAt) > w.cfg.Guard.Deadline {
		return Result{}, nil // the next owner may have asked by now and found nothing: too late to send
	}
	request := a.request()
	request.Destination = destination
	result, err := c.send(ctx, request)
	w.at(pointAfterCall, a.order.ID)
	if err == nil && result.Outcome == OutcomeRefused && (a.order.Operation.follows() || c.can.Deduplicates && number > 1) {
		return w.turnedDown(ctx, a, c, result), nil
	}
	return result, err
}

// turnedDown is what a refused change comes to, or what is sent again under the same id. It may be refused because it is done: what
// carries calls may repeat a PUT or a DELETE, and the answer is then the repeat's; and the sending before may have come late. The
// transaction itself tells; where it does not, nobody knows.
func (w *worker) turnedDown(ctx context.Context, a *attempt, c *connector, told Result) Result {
	found, err := c.find(ctx, a.request(), a.before)
	switch {
	case err != nil || found.Outcome == OutcomeUnknown: // the change was sent, whatever becomes of the question
		return Result{Reference: told.Reference}
	case found.Outcome == OutcomeNotFound, found.Outcome == OutcomeRefused && a.order.Operation.follows():
		return told
	default:
		return found
	}
}

// destination opens where a payout goes. What cannot be opened yet may be, once the key is there.
func (w *worker) destination(o order) (Destination, error) {
	if o.Operation != OperationSend {
		return Destination{}, nil
	}
	p, err := w.cfg.Open(o.Sealed)
	if err != nil {
		return Destination{}, fmt.Errorf("%w: opening the destination: %w", ErrNotSent, err)
	}
	return Destination{Account: p.GetCounterpartyAccount(), Name: p.GetCounterpartyName(), Document: p.GetCounterpartyDocument()}, nil
}

// rest pauses, unless the partition is given up.
func (w *worker) rest(ctx context.Context, d time.Duration) error {
	w.leave()
	defer w.enter()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-w.stopping:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// poll asks for an order that may have been sent, or of which a bank may say something else by now. It answers where there
// is news, or nothing was told before.
func (w *worker) poll(ctx context.Context, known *attempt) (*attempt, []*attempt, error) {
	a := *known
	first := a.state == stateIntended && a.result == payment.RailUnspecified // its owner died before it could say that nobody knows
	found, late, err := w.resolve(ctx, &a)
	now := w.cfg.Now()
	switch {
	case err != nil && !errors.Is(err, ErrNotSent):
		return nil, nil, err
	case err != nil && !first && a.state == known.state: // nobody was asked: that is no poll
		a.nextPoll = now.Add(w.cfg.Guard.BreakerDelay)
		return &a, nil, nil
	}
	result := w.believed(&a, found)
	w.metrics.polls.WithLabelValues(result.Outcome.String()).Inc()
	if first || ranked(result.Outcome.told()) > ranked(a.result) {
		prior := a.learn(result, now)
		w.schedule(&a, now)
		return &a, late, w.settle(ctx, &a, prior, late...)
	}
	if a.state == stateIntended {
		a.state = stateUnknown
	}
	a.polls++
	w.schedule(&a, now)
	if result.Outcome == OutcomeUnknown && a.stage() == stageWatched { // nothing was said: the pause has no reason to grow
		a.nextPoll = now.Add(w.cfg.Watch.First)
	}
	if err := w.note(ctx, &a); err != nil || len(late) == 0 {
		return &a, nil, err
	}
	// Should the process end here, the lost ones are found when the next is about to be sent.
	return &a, late, w.settleLate(ctx, late)
}

// schedule says when an order is asked for next. What nobody knows, and what a bank has not finished, follows the polls, from
// the intent or the last news on, and behind their end repeats the last interval. What is over is watched ever more rarely, and
// is done when the time of watching is.
func (w *worker) schedule(a *attempt, now time.Time) {
	since := a.intendedAt
	switch a.stage() {
	case stageWatched:
		w.watch(a, now)
		return
	case stageUnderWay:
		since = a.reportedAt
	case stageUnresolved:
	default:
		return
	}
	last := w.cfg.Polls[len(w.cfg.Polls)-1]
	if int(a.polls) >= len(w.cfg.Polls) {
		a.nextPoll = now.Add(last)
		return
	}
	if a.nextPoll = since.Add(w.cfg.Polls[a.polls]); a.nextPoll.Before(now) { // it was nobody's for a while: the schedule goes on from here
		a.nextPoll = now.Add(w.cfg.Polls[0])
	}
}

// watch lets the pauses grow with the age of what is watched. Memory has an end: who comes when it is reached is not watched.
func (w *worker) watch(a *attempt, now time.Time) {
	end := a.reportedAt.Add(w.cfg.Watch.For)
	full := a.polls == 0 && w.watched != nil && w.watched.Load() >= w.cfg.Watch.Most
	if full && now.Before(end) {
		w.metrics.unwatched.Inc()
	}
	if full || !now.Before(end) {
		a.state, a.nextPoll = stateDone, time.Time{}
		return
	}
	if a.nextPoll = now.Add(max(w.cfg.Watch.First, now.Sub(a.reportedAt))); a.nextPoll.After(end) {
		a.nextPoll = end
	}
}

// resolve finds out what became of an order: NotFound where it is too early to conclude anything from that. What a bank that
// deduplicates does not know is sent again: where the call before comes late, it is the same one. The error is ErrNotSent where
// nobody was asked; another ends the partition.
func (w *worker) resolve(ctx context.Context, a *attempt) (Result, []*attempt, error) {
	c := w.connectors[a.connector]
	if c == nil {
		w.log.Error("order at a connector that is not configured", "order", a.order.ID, "connector", a.connector)
		return Result{}, nil, nil
	}
	seen, err := c.look(ctx, a.request(), a.before)
	if err != nil || seen.result.Outcome != OutcomeNotFound || !a.open() || !w.surelyNot(c, a) {
		result, late := w.besides(a, seen)
		return result, late, err
	}
	if c.can.Deduplicates && w.never(a.order) == "" {
		result, err := w.ask(ctx, a, c)
		return result, nil, err
	}
	return w.refuse(ctx, a, c), nil, nil
}

// refuse concludes that what is not found was not done.
func (w *worker) refuse(ctx context.Context, a *attempt, c *connector) Result {
	if !a.order.Operation.authorizes() || !c.can.VoidsByOwn {
		return refused(codeNotFound)
	}
	// The last of doubt: should it stand there after all, it is given up before it is called not done.
	request := a.request()
	request.Operation = OperationVoid
	voided, err := c.send(ctx, request)
	if err != nil || voided.Outcome != OutcomeConfirmed && voided.Outcome != OutcomeNotFound {
		return Result{} // a refusal may mean that it stands there, and cannot be given up
	}
	return refused(codeNotFound)
}

// surelyNot tells whether what is not found by now never will be.
func (w *worker) surelyNot(c *connector, a *attempt) bool {
	since := w.cfg.Now().Sub(a.intendedAt)
	return since > w.cfg.Polls[len(w.cfg.Polls)-1] || (c.can.Synchronous && since > w.cfg.NotFoundAfter)
}

// wait notes that an order stands behind another of its payment.
func (w *worker) wait(ctx context.Context, o order, offset int64) (*attempt, error) {
	a := &attempt{state: stateWaiting, order: o, offset: offset, result: payment.RailUnspecified}
	return a, w.note(ctx, a)
}

// forget removes outcomes that are older than any order that may come again.
func (w *worker) forget(ctx context.Context, ids []string) error {
	records := make([]*kgo.Record, len(ids))
	for i, id := range ids {
		probe := &attempt{order: order{ID: id}}
		record, err := probe.record(w.partition)
		if err != nil {
			return err
		}
		record.Value = nil
		records[i] = record
	}
	return w.journal.write(ctx, records...)
}

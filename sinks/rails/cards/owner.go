package cards

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
)

// owner is the one goroutine that decides about a partition while it is assigned: which order runs, which waits, which is
// asked for, and up to where all are finished. Workers do the waiting for acquirers and brokers.
type owner struct {
	cfg     Config
	part    int32
	client  *kgo.Client // of the group: pauses and resumes
	metrics *metrics
	log     *slog.Logger
	worker  *worker

	inbox    chan []*kgo.Record
	finished chan outcome
	stopping chan struct{} // closed to stop
	stopped  chan struct{} // closed when nothing is under way any more
	err      error         // why it ended by itself; read after stopped is closed

	next      atomic.Int64 // committable offset, -1: none yet
	committed atomic.Int64
	pending   atomic.Int64
	staged    [stages]atomic.Int64

	attempts map[string]*attempt // by order id
	lanes    map[string]*lane    // by payment id
	ready    []*lane             // with work that may start
	running  int
	offsets  *offsets
	due      dueHeap
	paused   bool

	notes          []*note // notifications to be judged, in the order in which they came
	hearing        int     // questions for them under way
	heard          *offsets
	asking         map[string]bool // orders that are asked for now; true: came due meanwhile
	nextHeard      atomic.Int64    // committable offset of notifications, -1: none yet
	committedHeard atomic.Int64
	oldest         atomic.Int64 // when the oldest notification that is not judged was received, in microseconds; 0: there is none
}

// lane holds the orders of one payment: one after the other, and none while one may have been done or not.
type lane struct {
	payment string
	queue   []task
	busy    bool
	blocked string // the order nobody knows about
	queued  bool   // stands in ready
}

// task is something to do about an order.
type task struct {
	kind   taskKind
	order  order
	offset int64 // of the record that is finished with it; -1: none
	ids    []string
	notes  []*note // that ask for it
	alone  *lane   // held for a question, so that no order of its payment moves anything meanwhile; nil: none
}

type taskKind uint8

const (
	taskExecute taskKind = iota
	taskPoll
	taskAgain
	taskWait
	taskForget
	taskHear    // ask for an order, because of notifications
	taskName    // ask which order a notification is about
	taskForward // hand a notification to the owner of its order
	taskContest // tell the account of a dispute that was notified
)

// outcome is a task's, from its worker.
type outcome struct {
	task
	attempt *attempt // what is known now; nil: as before
	told    told
	own     string
	verdict verdict
	err     error
}

const (
	noOffset    = -1
	forgetEvery = 10 * time.Minute
	forgetMost  = 20_000 // more a second than a partition can execute
)

func newOwner(cfg Config, part int32, client *kgo.Client, connectors map[string]*connector, m *metrics) *owner {
	o := &owner{
		cfg: cfg, part: part, client: client, metrics: m, log: cfg.Logger.With("partition", part),
		inbox: make(chan []*kgo.Record, 8), finished: make(chan outcome), stopping: make(chan struct{}), stopped: make(chan struct{}),
		lanes: map[string]*lane{}, offsets: newOffsets(), heard: newOffsets(), asking: map[string]bool{},
	}
	o.next.Store(noOffset)
	o.committed.Store(noOffset)
	o.nextHeard.Store(noOffset)
	o.committedHeard.Store(noOffset)
	o.worker = &worker{
		cfg: cfg, partition: part, connectors: connectors, metrics: m, log: o.log, places: make(chan struct{}, cfg.Concurrency),
		watched: &o.staged[stageWatched], names: &names{orders: map[string]string{}}, moved: newMoved(),
	}
	return o
}

// run owns the partition until stop, or until something fails that only beginning again mends.
func (o *owner) run(ctx context.Context) {
	defer close(o.stopped)
	journal, err := openJournal(ctx, o.cfg, o.part, o.metrics)
	if err != nil {
		o.err = err
		return
	}
	defer journal.close()
	o.worker.journal = journal
	if o.attempts, err = journal.restore(ctx, o.cfg); err != nil {
		o.err = err
		return
	}
	o.resume()
	listener, err := o.openEar(ctx)
	if err != nil {
		o.err = err
		return
	}
	defer listener.close()
	// Work under way outlives ctx: what was sent is better known than asked for by the next owner.
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	pausing, end := context.WithCancel(ctx)
	o.worker.stopping = pausing.Done()
	o.err = o.loop(pausing, working, listener)
	end()
	o.drain(cancel)
}

// resume takes up what the owner before has left.
func (o *owner) resume() {
	var waiting []*attempt
	for _, a := range o.attempts {
		o.stage(nil, a)
		o.worker.moved.change(a.order.PaymentID, nil, a)
		for own := range o.worker.owns(a) {
			o.worker.names.add(own, a.order.ID)
		}
		switch {
		case a.asked():
			if a.open() {
				o.lane(a.order.PaymentID).blocked = a.order.ID
			}
			if a.state == stateIntended {
				a.nextPoll = o.cfg.Now()
			}
			o.await(a)
		case a.state == stateWaiting:
			waiting = append(waiting, a)
		}
	}
	slices.SortFunc(waiting, func(a, b *attempt) int { return cmp.Compare(a.offset, b.offset) })
	for _, a := range waiting {
		o.queue(task{kind: taskExecute, order: a.order, offset: noOffset})
	}
	o.count()
	o.log.Info("partition of orders taken", "method", o.cfg.method(), "attempts", len(o.attempts),
		"unresolved", o.staged[stageUnresolved].Load(), "waiting", len(waiting))
}

// stage counts an attempt as what it has become; nil: it was not there, or is not any more.
func (o *owner) stage(from, to *attempt) {
	o.counted(from.stage(), -1)
	o.counted(to.stage(), 1)
}

func (o *owner) counted(s stage, by int64) {
	o.staged[s].Add(by)
	switch s {
	case stageUnresolved:
		o.metrics.unresolved.Add(float64(by))
	case stageUnderWay:
		o.metrics.followed.WithLabelValues("under_way").Add(float64(by))
	case stageWatched:
		o.metrics.followed.WithLabelValues("watched").Add(float64(by))
	default:
	}
}

// count tells the gauge what is not finished.
func (o *owner) count() {
	pending := int64(len(o.offsets.open))
	o.metrics.pending.Add(float64(pending - o.pending.Swap(pending)))
}

func (o *owner) loop(ctx, working context.Context, listener *ear) error {
	sweep := time.NewTicker(forgetEvery)
	defer sweep.Stop()
	timer := time.NewTimer(idleWait)
	defer timer.Stop()
	for {
		o.dispatch(working)
		o.count()
		o.hold()
		timer.Reset(min(o.hear(working), o.untilDue()))
		select {
		case records := <-o.listening(listener):
			o.listen(records)
		case records := <-o.inbox:
			for _, r := range records {
				if err := o.take(working, r); err != nil {
					return err
				}
			}
		case done := <-o.finished:
			if err := o.finish(done); err != nil {
				return err
			}
		case <-timer.C:
			o.ask(working)
		case <-sweep.C:
			o.forget(working)
		case <-o.stopping:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// drain joins the workers, which have one deadline to end. What they finish still counts, what they give up does not.
func (o *owner) drain(cancel context.CancelFunc) {
	defer time.AfterFunc(o.cfg.Guard.Deadline, cancel).Stop()
	for o.running > 0 {
		done := <-o.finished
		o.running--
		if done.err == nil && done.offset != noOffset {
			o.offsets.finish(done.offset)
			o.next.Store(o.offsets.committable())
		}
	}
	for _, a := range o.attempts {
		o.stage(a, nil)
	}
	o.metrics.pending.Sub(float64(o.pending.Swap(0)))
}

// take reads one record of rails.orders.v1.
func (o *owner) take(ctx context.Context, r *kgo.Record) error {
	o.offsets.read(r.Offset)
	order, ours, err := decodeOrder(r.Value, o.cfg.method(), r.Timestamp)
	if err != nil {
		return fmt.Errorf("reading offset %d of partition %d: %w", r.Offset, o.part, err)
	}
	if !ours {
		o.done(r.Offset)
		return nil
	}
	o.admit(ctx, task{kind: taskExecute, order: order, offset: r.Offset})
	return nil
}

// admit puts an order where it belongs: one that is known is answered again at once, the others go into their lane.
func (o *owner) admit(ctx context.Context, t task) {
	switch a := o.attempts[t.order.ID]; {
	case a != nil && (a.state == stateDone || a.state == stateFollowed || a.state == stateUnknown):
		t.kind = taskAgain
		o.start(ctx, t)
	case a != nil: // it waits, or is asked for: its answer comes from there
		o.done(t.offset)
	default:
		o.queue(t)
	}
}

func (o *owner) lane(payment string) *lane {
	l := o.lanes[payment]
	if l == nil {
		l = &lane{payment: payment}
		o.lanes[payment] = l
	}
	return l
}

func (o *owner) queue(t task) {
	l := o.lane(t.order.PaymentID)
	l.queue = append(l.queue, t)
	o.offer(l)
}

// runnable is the place in the queue of what may start now, -1 where nothing may. Behind an order of which nobody knows
// nothing is sent; but what follows is made to wait in the log, so that its offset can be committed.
func (l *lane) runnable() int {
	switch {
	case l.busy || len(l.queue) == 0:
		return -1
	case l.blocked == "":
		return 0
	default:
		return slices.IndexFunc(l.queue, task.read)
	}
}

// read tells a task that comes from its record; one that waits in the log has none.
func (t task) read() bool { return t.offset != noOffset }

// offer lets a lane run where it may.
func (o *owner) offer(l *lane) {
	switch {
	case l.queued:
	case l.runnable() >= 0:
		l.queued = true
		o.ready = append(o.ready, l)
	case len(l.queue) == 0 && !l.busy && l.blocked == "":
		delete(o.lanes, l.payment)
	}
}

// dispatch starts what may run. Each waits for a place of its own.
func (o *owner) dispatch(ctx context.Context) {
	for len(o.ready) > 0 && o.running < o.cfg.PendingMax {
		l := o.ready[0]
		o.ready = o.ready[1:]
		l.queued = false
		i := l.runnable()
		if i < 0 {
			continue
		}
		t := l.queue[i]
		l.queue = slices.Delete(l.queue, i, i+1)
		if a := o.attempts[t.order.ID]; a != nil && (t.read() || a.state != stateWaiting) {
			o.admit(ctx, t) // the same record a second time, while the first was under way
			o.offer(l)
			continue
		}
		if l.blocked != "" {
			t.kind = taskWait
		}
		l.busy = true
		o.start(ctx, t)
	}
}

// start runs a task in a goroutine of its own, which the owner joins by reading its outcome.
func (o *owner) start(ctx context.Context, t task) {
	o.running++
	known := o.attempts[t.order.ID]
	if t.kind == taskPoll {
		o.asking[t.order.ID] = false
	}
	go func() {
		o.worker.enter()
		defer o.worker.leave()
		done := outcome{task: t}
		switch t.kind {
		case taskExecute:
			done.attempt, done.told.late, done.err = o.worker.execute(ctx, t.order, t.offset)
		case taskPoll:
			done.attempt, done.told.late, done.err = o.worker.poll(ctx, known)
		case taskAgain:
			done.err = o.worker.again(ctx, known)
		case taskWait:
			done.attempt, done.err = o.worker.wait(ctx, t.order, t.offset)
		case taskForget:
			done.err = o.worker.forget(ctx, t.ids)
		case taskHear:
			done.attempt, done.told, done.err = o.worker.hear(ctx, known, t)
		case taskName:
			done.own, done.told, done.err = o.worker.name(ctx, t.notes[0])
		case taskForward:
			done.err = o.worker.forward(ctx, t.notes[0])
		case taskContest:
			done.verdict = o.worker.contest(ctx, t.notes[0])
		}
		o.finished <- done // before the place is given back: the owner reads until all are joined
	}()
}

// finish takes in what a worker has done.
func (o *owner) finish(done outcome) error {
	o.running--
	if done.err != nil {
		if errors.Is(done.err, errStopping) {
			return nil
		}
		return done.err
	}
	switch done.kind {
	case taskForget:
		for _, id := range done.ids {
			for own := range o.worker.owns(o.attempts[id]) {
				o.worker.names.drop(own)
			}
			if a := o.attempts[id]; a != nil {
				o.worker.moved.change(a.order.PaymentID, a, nil)
			}
			delete(o.attempts, id)
		}
		return nil
	case taskHear, taskName, taskForward, taskContest:
		o.answered(done)
		return nil
	case taskPoll:
		delete(o.asking, done.order.ID)
	default:
	}
	for _, late := range done.told.late {
		o.learn(taskHear, late)
	}
	if done.attempt != nil {
		o.learn(done.kind, done.attempt)
	}
	if done.offset != noOffset {
		o.done(done.offset)
	}
	return nil
}

// learn keeps what is known of an order, and lets its lane go on or not.
func (o *owner) learn(kind taskKind, a *attempt) {
	l := o.lane(a.order.PaymentID)
	if kind == taskExecute || kind == taskWait {
		l.busy = false
	}
	known, was := a, o.attempts[a.order.ID]
	if a.state == stateDone || a.state == stateFollowed {
		known = a.slim()
	}
	o.stage(was, known)
	o.worker.moved.change(a.order.PaymentID, was, known)
	o.attempts[a.order.ID] = known
	switch a.state {
	case stateDone, stateFollowed:
		if l.blocked == a.order.ID {
			l.blocked = ""
		}
	case stateWaiting:
		// Behind those that wait already, ahead of those still to be parked.
		at := slices.IndexFunc(l.queue, task.read)
		if at < 0 {
			at = len(l.queue)
		}
		l.queue = slices.Insert(l.queue, at, task{kind: taskExecute, order: a.order, offset: noOffset})
	default:
		l.blocked = a.order.ID
	}
	if a.asked() {
		o.await(a)
	}
	o.offer(l)
}

func (o *owner) done(offset int64) {
	o.offsets.finish(offset)
	o.next.Store(o.offsets.committable())
}

// hold stops reading where too much is unfinished, and goes on where it is not.
func (o *owner) hold() {
	part := map[string][]int32{topics.RailsOrders: {o.part}}
	switch open := len(o.offsets.open); {
	case !o.paused && open > o.cfg.PendingMax:
		o.client.PauseFetchPartitions(part)
		o.paused = true
	case o.paused && open < o.cfg.PendingMax/2:
		o.client.ResumeFetchPartitions(part)
		o.paused = false
	}
}

const idleWait = time.Hour

func (o *owner) untilDue() time.Duration {
	if len(o.due) == 0 || o.running >= o.cfg.PendingMax {
		return idleWait
	}
	return max(0, o.due[0].at.Sub(o.cfg.Now()))
}

// ask starts what is due to be asked for.
func (o *owner) ask(ctx context.Context) {
	now := o.cfg.Now()
	for len(o.due) > 0 && o.running < o.cfg.PendingMax && !o.due[0].at.After(now) {
		next, _ := heap.Pop(&o.due).(dueOrder)
		a := o.attempts[next.id]
		if a == nil || !a.asked() || !a.nextPoll.Equal(next.at) { // something was learnt since, and when to ask with it
			continue
		}
		if _, asking := o.asking[next.id]; asking {
			o.asking[next.id] = true
			continue
		}
		o.start(ctx, task{kind: taskPoll, order: a.order, offset: noOffset})
	}
}

// await lets an order be asked for when its next poll is due.
func (o *owner) await(a *attempt) { heap.Push(&o.due, dueOrder{at: a.nextPoll, id: a.order.ID}) }

// forget drops outcomes that no order can ask for any more.
func (o *owner) forget(ctx context.Context) {
	before := o.cfg.Now().Add(-o.cfg.Keep - forgetEvery) // by then the order itself is too old to be tried
	var ids []string
	for id, a := range o.attempts {
		if a.forgettable(before) && len(ids) < forgetMost {
			ids = append(ids, id)
		}
	}
	if len(ids) > 0 {
		o.start(ctx, task{kind: taskForget, offset: noOffset, ids: ids})
	}
}

// forgettable tells an outcome whose order is too old to be tried, by the connectors' clock and by the account's, which may
// be ahead of it.
func (a *attempt) forgettable(before time.Time) bool {
	return a.state == stateDone && a.reportedAt.Before(before) && timeOf(a.order.OrderedAtUS).Before(before)
}

// dueOrder is an order to be asked for.
type dueOrder struct {
	at time.Time
	id string
}

// dueHeap has the earliest first.
type dueHeap []dueOrder

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *dueHeap) Push(x any) {
	if d, ok := x.(dueOrder); ok {
		*h = append(*h, d)
	}
}

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

package cards

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/rails/ownref"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// A processor's notification is a hint and never the truth. It makes its order be asked for at once; what is answered is what
// the processor says when asked, and what the notification claimed is only compared with that, and counted.

// Hearing bounds what notifications may cost.
type Hearing struct {
	AtOnce     int           // questions of one partition under way: orders go first
	WaitingMax int           // notifications of a partition read and not judged, before no more are read
	Pause      time.Duration // before a question that told nothing is put again; it doubles
	Unclear    int           // so often a question is put that the processor does not answer
	Denied     int           // and one that it answers otherwise than it notified: it may be a moment behind itself
	// Behind is how long a dispute is told again whose pay-in is not known, or which its processor denies: both may come behind it.
	Behind time.Duration
	// Unanswered is how long one is that its processor, when asked, says nothing about.
	Unanswered time.Duration
}

func (h Hearing) validate() error {
	if h.AtOnce <= 0 || h.WaitingMax <= 0 || h.Pause <= 0 || h.Unclear <= 0 || h.Denied <= 0 || h.Behind <= 0 || h.Unanswered <= 0 {
		return errors.New("every figure of hearing must be positive")
	}
	return nil
}

// verdict is what a notification turned out to be.
type verdict string

const (
	verdictConfirmed      verdict = "confirmed"       // true, and an order was answered by it
	verdictRepeated       verdict = "repeated"        // true, and known
	verdictStale          verdict = "stale"           // was true once
	verdictLie            verdict = "lie"             // the processor denies it
	verdictUnknownPayment verdict = "unknown_payment" // of no order of this house
	verdictUnordered      verdict = "unordered"       // true: the processor holds money of an attempt that was given up, or moved more than it confirmed
	verdictUnclear        verdict = "unclear"         // the processor did not say
	verdictOther          verdict = "other"           // about nothing that is executed here
	verdictOld            verdict = "old"             // of before anything is remembered

	// Of disputes alone.
	verdictIncomplete   verdict = "incomplete"   // it names no dispute, stage, amount or transaction: no decision can be made of it
	verdictContradicted verdict = "contradicted" // the books say otherwise: the amount, the currency, or what the same event told before
	verdictRefused      verdict = "refused"      // by the account, for another reason
	verdictPending      verdict = "pending"      // in the log, and not decided
	verdictAhead        verdict = "ahead"        // more than other disputes of its pay-in leave: contradicted, if none of them is told to be won
	verdictUntold       verdict = ""             // something of this house does not work
)

func verdicts() []verdict {
	return []verdict{
		verdictConfirmed, verdictRepeated, verdictStale, verdictLie, verdictUnknownPayment, verdictUnordered, verdictUnclear, verdictOther, verdictOld,
	}
}

func disputeVerdicts() []verdict {
	return []verdict{
		verdictConfirmed, verdictRepeated, verdictStale, verdictLie, verdictUnknownPayment, verdictUnclear, verdictIncomplete, verdictContradicted,
		verdictRefused, verdictPending,
	}
}

// Namer is an acquirer whose notifications do not tell our reference: it is asked for it.
type Namer interface {
	// Name gives the OwnReference of a transaction, and its standing. The error is ErrNotSent.
	Name(ctx context.Context, reference string) (own string, s Standing, err error)
}

// note is a notification that is not judged yet.
type note struct {
	*railsv1.Notification

	offset int64
	taken  bool      // a worker has it
	tries  int       // questions that told nothing
	at     time.Time // of the next one
	last   verdict   // of a dispute that was told, and is told again
	since  time.Time // that it is so
}

// names finds orders by the id under which a processor knows an attempt at them. A worker writes it before it sends, so that
// no notification comes sooner.
type names struct {
	mu     sync.Mutex
	orders map[string]string // order ids
}

// nameLen characters are what the shortest of our references has. Longer ones are longer digests of the same.
const nameLen = 16

func nameOf(own string) string { return own[:min(len(own), nameLen)] }

func (n *names) add(own, orderID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.orders[nameOf(own)] = orderID
}

func (n *names) find(own string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.orders[nameOf(own)]
}

func (n *names) drop(own string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.orders, nameOf(own))
}

// own is our reference of an attempt. It tells the partition, so that a notification finds it.
func (w *worker) own(c *connector, a *attempt, number uint32) string {
	return ownref.Mark(c.port.OwnReference(a.name(), number), w.partition)
}

// owns are our references of all attempts at an order, wherever they were made.
func (w *worker) owns(a *attempt) map[string]struct{} {
	all := map[string]struct{}{}
	if a.order.Operation.follows() {
		return all
	}
	for number := uint32(1); number <= a.number; number++ {
		for _, c := range w.connectors {
			all[w.own(c, a, number)] = struct{}{}
		}
	}
	return all
}

// ear reads the notifications of one partition, from where its owner before had judged all. What keeps it from reading keeps
// nobody from executing orders.
type ear struct {
	client *kgo.Client
	heard  chan []*kgo.Record
	done   chan struct{}
	cancel context.CancelFunc
}

func (o *owner) openEar(ctx context.Context) (*ear, error) {
	from := kgo.NewOffset().AtStart()
	committed, err := kadm.NewClient(o.client).FetchOffsets(ctx, o.cfg.Group)
	if err != nil {
		return nil, fmt.Errorf("reading how far notifications of partition %d are judged: %w", o.part, err)
	}
	if at, ok := committed.Lookup(topics.RailsNotifications, o.part); ok && at.Err == nil && at.At >= 0 {
		from = kgo.NewOffset().At(at.At)
	}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(o.cfg.Brokers...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.RailsNotifications: {o.part: from}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}, o.cfg.Client...)...)
	if err != nil {
		return nil, fmt.Errorf("reading notifications of partition %d: %w", o.part, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	e := &ear{client: client, heard: make(chan []*kgo.Record), done: make(chan struct{}), cancel: cancel}
	go e.run(ctx, o.log)
	return e, nil
}

func (e *ear) run(ctx context.Context, log *slog.Logger) {
	defer close(e.done)
	for ctx.Err() == nil {
		fetches := e.client.PollRecords(ctx, pollMost)
		if records := fetches.Records(); len(records) > 0 {
			select {
			case e.heard <- records:
			case <-ctx.Done():
			}
			continue
		}
		if err := fetches.Err(); err != nil && ctx.Err() == nil {
			log.Warn("notifications cannot be read", "error", err)
			select {
			case <-time.After(retryMost):
			case <-ctx.Done():
			}
		}
	}
}

func (e *ear) close() {
	e.cancel()
	<-e.done
	e.client.Close()
}

// listening is where notifications come from: nowhere while too many wait.
func (o *owner) listening(e *ear) <-chan []*kgo.Record {
	if len(o.notes) >= o.cfg.Hearing.WaitingMax {
		return nil
	}
	return e.heard
}

// listen takes in notifications. One that cannot be read is nobody's loss: what it told of is asked for anyway.
func (o *owner) listen(records []*kgo.Record) {
	for _, r := range records {
		o.heard.read(r.Offset)
		n := &railsv1.Notification{}
		if err := proto.Unmarshal(r.Value, n); err != nil || n.GetVersion() != formatVersion {
			o.log.Error("notification of an unknown form", "offset", r.Offset, "version", n.GetVersion())
			o.judged(r.Offset)
			continue
		}
		if at, ours := ownref.Partition(n.GetOwnReference(), o.cfg.Partitions); ours && at == o.part {
			n.Sealed = nil // only who hands it on needs it
		}
		o.receive(&note{Notification: n, offset: r.Offset})
	}
}

func (o *owner) receive(n *note) {
	switch {
	case n.isDispute() && len(o.cfg.Acquirers) > 0: // also where nobody is connected under that name: no poll comes behind it
		o.notes = append(o.notes, n)
	case o.worker.connectors[n.GetProcessor()] == nil: // of a connector that runs elsewhere
		o.judged(n.offset)
	case n.GetKind() != railsv1.NotificationKind_NOTIFICATION_KIND_PAYMENT:
		o.judge(n, verdictOther)
	case o.cfg.Now().Sub(timeOf(n.GetReceivedAtUs())) > o.cfg.Keep:
		o.judge(n, verdictOld)
	default:
		o.notes = append(o.notes, n)
	}
}

// hear puts the questions that notifications ask for, and says when the next is due.
func (o *owner) hear(ctx context.Context) (next time.Duration) {
	now := o.cfg.Now()
	next = idleWait
	for _, n := range slices.Clone(o.notes) {
		switch {
		case n.taken:
		case n.at.After(now):
			next = min(next, n.at.Sub(now))
		case o.hearing >= o.cfg.Hearing.AtOnce || o.running >= o.cfg.PendingMax:
		case n.isDispute():
			o.contest(ctx, n)
		default:
			o.consider(ctx, n)
		}
	}
	oldest := int64(0)
	if len(o.notes) > 0 {
		oldest = o.notes[0].GetReceivedAtUs()
	}
	o.oldest.Store(oldest)
	return next
}

// consider finds the order that a notification is about, and asks for it unless somebody does already.
func (o *owner) consider(ctx context.Context, n *note) {
	if n.GetOwnReference() == "" {
		o.inquire(ctx, task{kind: taskName, offset: noOffset, notes: []*note{n}})
		return
	}
	partition, ours := ownref.Partition(n.GetOwnReference(), o.cfg.Partitions)
	id := o.worker.names.find(n.GetOwnReference())
	switch {
	case ours && partition != o.part:
		o.inquire(ctx, task{kind: taskForward, offset: noOffset, notes: []*note{n}})
		return
	case !ours, id == "":
		o.judge(n, verdictUnknownPayment)
		return
	}
	a := o.attempts[id]
	if a == nil {
		return // under way for the first time: what becomes of it is known soon
	}
	if l := o.lanes[a.order.PaymentID]; l != nil {
		if l.busy {
			return
		}
		if b := o.attempts[l.blocked]; b != nil {
			a = b
		}
	}
	if _, asking := o.asking[a.order.ID]; asking {
		return
	}
	if !a.asked() && !o.worker.moved.doubted(a.order.PaymentID) && o.worker.repeats(a, n) {
		o.judge(n, verdictRepeated)
		return
	}
	same := func(m *note) bool {
		return !m.taken && !m.isDispute() && !m.at.After(o.cfg.Now()) && m.GetProcessor() == n.GetProcessor() && m.GetOwnReference() == n.GetOwnReference()
	}
	t := task{kind: taskHear, order: a.order, offset: noOffset}
	for _, m := range o.notes {
		if same(m) {
			t.notes = append(t.notes, m)
		}
	}
	o.asking[a.order.ID] = false
	if !a.asked() && o.worker.moved.doubted(a.order.PaymentID) {
		t.alone = o.lane(a.order.PaymentID)
		t.alone.busy = true
	}
	o.inquire(ctx, t)
}

func (o *owner) inquire(ctx context.Context, t task) {
	o.hearing++
	for _, n := range t.notes {
		n.taken = true
	}
	o.start(ctx, t)
}

// answered takes in what a question for a notification brought.
func (o *owner) answered(done outcome) {
	o.hearing--
	for _, n := range done.notes {
		n.taken = false
	}
	switch done.kind {
	case taskForward:
		for _, n := range done.notes {
			o.unnote(n)
		}
	case taskName:
		o.named(done.notes[0], done.own, done.told)
	case taskContest:
		o.contested(done.notes[0], done.verdict)
	default:
		missed := o.asking[done.order.ID]
		delete(o.asking, done.order.ID)
		if done.attempt != nil {
			o.learn(done.kind, done.attempt)
		} else if a := o.attempts[done.order.ID]; missed && a != nil && a.asked() {
			o.await(a) // its poll came due meanwhile
		}
		if done.alone != nil {
			done.alone.busy = false
			for _, late := range done.told.late {
				o.learn(done.kind, late)
			}
			o.offer(done.alone)
		}
		for _, n := range done.notes {
			o.compare(n, done)
		}
	}
}

// named goes on with a notification whose order the processor was asked for.
func (o *owner) named(n *note, own string, s told) {
	switch {
	case own != "":
		n.OwnReference = own
	case s.standing.State == StateAbsent:
		o.again(n, o.cfg.Hearing.Denied, verdictUnknownPayment)
	case s.standing.State == StateUnclear:
		o.again(n, o.cfg.Hearing.Unclear, verdictUnclear)
	default: // it stands there, under no name of ours
		o.judge(n, verdictUnknownPayment)
	}
}

// compare judges a notification by what its processor said when asked.
func (o *owner) compare(n *note, done outcome) {
	switch v := done.told.of(n.Notification); {
	case v == verdictRepeated && o.strayed(done):
		o.judge(n, verdictUnordered)
	case v == verdictRepeated && (done.attempt != nil || len(done.told.late) > 0):
		o.judge(n, verdictConfirmed)
	case v == verdictLie:
		o.again(n, o.cfg.Hearing.Denied, v)
	case v == verdictUnclear:
		o.again(n, o.cfg.Hearing.Unclear, v)
	default:
		o.judge(n, v)
	}
}

// strayed tells money at the processor that no order of ours moved: of an attempt that was given up, or more than was confirmed. What is
// under way may have moved it already.
func (o *owner) strayed(done outcome) bool {
	payment := done.order.PaymentID
	return done.told.stray || done.told.settled && o.lanes[payment] == nil && done.told.standing.unordered(o.worker.moved.of(payment))
}

// again lets a question be put once more, and gives up after so many.
func (o *owner) again(n *note, most int, last verdict) {
	if n.tries++; n.tries > most {
		o.judge(n, last)
		return
	}
	n.at = o.cfg.Now().Add(o.cfg.Hearing.Pause << (n.tries - 1))
}

// judge ends a notification.
func (o *owner) judge(n *note, v verdict) {
	o.metrics.notifications.WithLabelValues(n.GetProcessor(), string(v)).Inc()
	if v == verdictLie || v == verdictUnknownPayment || v == verdictUnordered {
		o.log.Warn("notification that a person should see", "connector", n.GetProcessor(), "verdict", string(v), "event", n.GetEventId(), "type", n.GetType(),
			"reference", n.GetReference(), "state", n.GetState().String(), "authorized_minor", n.GetAuthorizedMinor(),
			"captured_minor", n.GetCapturedMinor(), "returned_minor", n.GetReturnedMinor())
	}
	o.unnote(n)
}

func (o *owner) unnote(n *note) {
	o.notes = slices.DeleteFunc(o.notes, func(m *note) bool { return m == n })
	o.judged(n.offset)
}

func (o *owner) judged(offset int64) {
	o.heard.finish(offset)
	o.nextHeard.Store(o.heard.committable())
}

// name asks a processor which order of ours a transaction is.
func (w *worker) name(ctx context.Context, n *note) (string, told, error) {
	c := w.connectors[n.GetProcessor()]
	if c == nil || n.GetReference() == "" {
		return "", told{standing: Standing{State: StateDeclined}}, nil
	}
	own, s, err := c.identify(ctx, n.GetReference())
	if errors.Is(err, ErrNotSent) {
		return "", told{}, nil
	}
	return own, told{standing: s}, err
}

// forward hands a notification to who owns its order.
func (w *worker) forward(ctx context.Context, n *note) error {
	partition, _ := ownref.Partition(n.GetOwnReference(), w.cfg.Partitions)
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(n.Notification)
	if err != nil {
		return fmt.Errorf("encoding notification: %w", err)
	}
	return w.journal.write(ctx, &kgo.Record{
		Topic: topics.RailsNotifications, Partition: partition, Key: []byte(n.GetProcessor() + "/" + n.GetReference()), Value: value,
	})
}

// hear asks for an order that somebody was notified about. It answers where there is news, also of what was taken for failed,
// and leaves everything as it was where there is none: no notification, true or false, moves when an order is asked for next.
func (w *worker) hear(ctx context.Context, known *attempt, t task) (*attempt, told, error) {
	a, n := *known, t.notes[0]
	request, c := a.request(), w.connectors[a.connector]
	last := a.order.Operation.follows() || w.current(&a, n) // a note is about what made the transaction: what changes it has one connector
	switch {
	case !last: // of an attempt before it, which surely did not move money
		c = w.connectors[n.GetProcessor()]
		request.Reference, request.OwnReference = "", n.GetOwnReference()
	case !a.asked():
		request.Reference, request.OwnReference = a.reference, n.GetOwnReference()
	}
	if c == nil {
		return nil, told{}, nil
	}
	seen, err := c.look(ctx, request, a.before)
	if err != nil {
		return nil, told{}, nil //nolint:nilerr // not sent: asked again later
	}
	seen.orderedMinor = a.order.AmountMinor
	seen.stray = !last && seen.holds()
	seen.settled = last && !a.asked() && a.result == payment.RailConfirmed
	if !last {
		return nil, seen, nil
	}
	if seen.settled && t.alone != nil {
		seen.late, err = w.catchUp(ctx, a.order.PaymentID, seen.standing)
		return nil, seen, err
	}
	result := w.believed(&a, seen.result)
	if ranked(result.Outcome.told()) <= ranked(a.result) {
		return nil, seen, nil
	}
	now := w.cfg.Now()
	prior := a.learn(result, now)
	w.schedule(&a, now)
	w.log.Info("order answered after a notification", "payment_id", a.order.PaymentID, "order", a.order.ID, "connector", a.connector, "result", a.result.String())
	return &a, seen, w.settle(ctx, &a, prior)
}

// current tells whether a notification is about the attempt that was the last.
func (w *worker) current(a *attempt, n *note) bool {
	c := w.connectors[a.connector]
	return c != nil && a.connector == n.GetProcessor() && nameOf(w.own(c, a, a.number)) == nameOf(n.GetOwnReference())
}

// repeats tells a notification of what was answered already, to the word: for that nobody has to be asked. One that says
// nothing of how the transaction stands says nothing else of one that was confirmed.
func (w *worker) repeats(a *attempt, n *note) bool {
	if !w.current(a, n) || n.GetReference() != "" && n.GetReference() != a.reference {
		return false
	}
	if n.GetState() == railsv1.NotifiedState_NOTIFIED_STATE_UNSPECIFIED {
		return a.result == payment.RailConfirmed && a.order.Operation != OperationSend
	}
	s := Standing{State: StateDeclined, Reference: a.reference}
	switch {
	case a.order.Operation == OperationSend:
		return claimed(n.GetState()) == a.result &&
			(n.GetCapturedMinor() == 0 || n.GetCapturedMinor() == a.order.AmountMinor)
	case a.result == payment.RailRefused:
	case a.result != payment.RailConfirmed:
		return false
	case a.order.Operation == OperationAuthorize:
		s.State, s.AuthorizedMinor = StateAuthorized, a.order.AmountMinor
	case a.order.Operation == OperationCollect:
		s.State, s.AuthorizedMinor, s.CapturedMinor = StateCaptured, a.order.AmountMinor, a.order.AmountMinor
	}
	return s.of(n.Notification) == verdictRepeated
}

func stageWord(s railsv1.DisputeStage) string {
	return cmp.Or(map[railsv1.DisputeStage]string{
		railsv1.DisputeStage_DISPUTE_STAGE_PRE_DISPUTE:     "pre_dispute",
		railsv1.DisputeStage_DISPUTE_STAGE_DISPUTE:         "dispute",
		railsv1.DisputeStage_DISPUTE_STAGE_PRE_ARBITRATION: "pre_arbitration",
		railsv1.DisputeStage_DISPUTE_STAGE_WON:             "won",
		railsv1.DisputeStage_DISPUTE_STAGE_LOST:            "lost",
	}[s], "unknown")
}

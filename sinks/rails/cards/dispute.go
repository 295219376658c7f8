package cards

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// A dispute that a processor notifies is told to the account of its pay-in, and is judged by what the account decides. No poll comes
// behind it: a notification is given up only where waiting mends nothing, and never because something of this house did not work.

// What Disputes answer where nothing was decided.
var (
	// ErrNoPayIn: nobody knows a pay-in of the name that the processor gives, or not yet.
	ErrNoPayIn = errors.New("no such pay-in")
	// ErrContradicted: the pay-in of that name cannot be meant.
	ErrContradicted = errors.New("the pay-in is another than the processor says")
	// ErrUndecided: it is in the log, and its account has not decided in time.
	ErrUndecided = errors.New("told and not decided")
)

// Disputes are told of the disputes that processors notify.
type Disputes interface {
	// Tell takes what is notified to the account of the pay-in, and returns its decision. The same notification is the same
	// message: however often it is told, it is taken once. An error that is none of those above says that something of this
	// house does not work: it is to be told again. It ends when ctx ends.
	Tell(ctx context.Context, n *railsv1.Notification) (*paymentsv1.Decision, error)
}

func (n *note) isDispute() bool {
	return n.GetKind() == railsv1.NotificationKind_NOTIFICATION_KIND_DISPUTE
}

// complete tells a dispute that says what a decision needs.
func (n *note) complete() bool {
	d := n.GetDispute()
	return d.GetId() != "" && d.GetStage() != railsv1.DisputeStage_DISPUTE_STAGE_UNSPECIFIED && d.GetAmountMinor() > 0 &&
		(n.GetReference() != "" || d.GetTid() != "")
}

// follows tells whether a note waits for one before it: what is told of one dispute is told in the order in which it came.
func (o *owner) follows(n *note) bool {
	at := slices.IndexFunc(o.notes, func(m *note) bool {
		return m == n || m.isDispute() && m.GetProcessor() == n.GetProcessor() && m.GetDispute().GetId() == n.GetDispute().GetId()
	})
	return o.notes[at] != n
}

// contest has a dispute told to its account, each in its turn.
func (o *owner) contest(ctx context.Context, n *note) {
	if !o.follows(n) {
		o.inquire(ctx, task{kind: taskContest, offset: noOffset, notes: []*note{n}})
	}
}

// contested takes in what became of a dispute that was told, and decides whether it is told again.
func (o *owner) contested(n *note, v verdict) {
	now := o.cfg.Now()
	if n.since.IsZero() || n.last != v { // what comes behind something else has its own patience
		n.since, n.last = now, v
	}
	if now.Sub(n.since) >= o.cfg.Hearing.patience(v) {
		o.judgeDispute(n, v)
		return
	}
	n.at = now.Add(o.cfg.Hearing.Pause << min(n.tries, pauseDoublings))
	n.tries++
}

// pauseDoublings bound the pause between two tellings of one dispute: 32 s from one second on.
const pauseDoublings = 5

// patience is how long a dispute is told again.
func (h Hearing) patience(v verdict) time.Duration {
	switch v {
	case verdictUntold:
		return math.MaxInt64
	case verdictUnclear:
		return h.Unanswered
	case verdictUnknownPayment, verdictLie, verdictPending, verdictAhead:
		return h.Behind
	default:
		return 0
	}
}

// judgeDispute ends a notification of a dispute.
func (o *owner) judgeDispute(n *note, v verdict) {
	if v == verdictAhead {
		v = verdictContradicted
	}
	d := n.GetDispute()
	o.metrics.disputes.WithLabelValues(n.GetProcessor(), stageWord(d.GetStage()), string(v)).Inc()
	say := o.log.Info
	if !v.settled() {
		say = o.log.Warn
	}
	say("dispute notified", "connector", n.GetProcessor(), "verdict", string(v), "dispute", d.GetId(), "stage", stageWord(d.GetStage()), "stage_word", d.GetStageWord(),
		"amount_minor", d.GetAmountMinor(), "reference", n.GetReference(), "tid", d.GetTid(), "event", n.GetEventId(), "offset", n.offset)
	o.unnote(n)
}

// settled tells the verdicts on a dispute that nobody has to look at.
func (v verdict) settled() bool {
	return v == verdictConfirmed || v == verdictRepeated || v == verdictStale
}

// contest asks the processor where it can be asked, and tells the account. Where it cannot, the notification's signature vouches
// for it, and the account lets no more be taken than was captured.
func (w *worker) contest(ctx context.Context, n *note) verdict {
	if !n.complete() {
		return verdictIncomplete
	}
	if v := w.witness(ctx, n); v != verdictConfirmed {
		return v
	}
	d, err := w.cfg.Disputes.Tell(ctx, n.Notification)
	switch {
	case errors.Is(err, ErrNoPayIn):
		return verdictUnknownPayment
	case errors.Is(err, ErrContradicted):
		return verdictContradicted
	case errors.Is(err, ErrUndecided):
		return verdictPending
	case err != nil:
		w.log.Warn("dispute could not be told to its account, and is told again", "connector", n.GetProcessor(), "dispute", n.GetDispute().GetId(), "error", err)
		return verdictUntold
	}
	return decided(d, n.GetDispute().GetStage())
}

// witness is what the processor says of a dispute when asked: confirmed, also where it says nothing of disputes, and unclear where
// nobody is connected under its name.
func (w *worker) witness(ctx context.Context, n *note) verdict {
	stage := n.GetDispute().GetStage()
	c := w.connectors[n.GetProcessor()]
	if c == nil {
		w.log.Warn("dispute of a processor that the file of rails does not name: it waits for it", "connector", n.GetProcessor(), "dispute", n.GetDispute().GetId())
		return verdictUnclear
	}
	if !c.can.TellsDisputes || n.GetReference() == "" || stage == railsv1.DisputeStage_DISPUTE_STAGE_PRE_DISPUTE { // it has taken nothing yet
		return verdictConfirmed
	}
	s, err := c.status(ctx, Request{Reference: n.GetReference()})
	switch {
	case err != nil, s.State == StateUnclear:
		return verdictUnclear
	case s.State == StateAbsent, s.Disputed != (stage != railsv1.DisputeStage_DISPUTE_STAGE_WON), n.GetDispute().GetAmountMinor() != s.CapturedMinor:
		return verdictLie
	default:
		return verdictConfirmed
	}
}

// decided reads from a decision what the notification was worth.
func decided(d *paymentsv1.Decision, stage railsv1.DisputeStage) verdict {
	because := func(r paymentsv1.Reason) bool { return slices.Contains(d.GetReasons(), r) }
	switch {
	case d.GetOutcome() == paymentsv1.Outcome_OUTCOME_REPEATED:
		return verdictRepeated
	case d.GetOutcome() == paymentsv1.Outcome_OUTCOME_CONFLICT:
		return verdictContradicted
	case d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPLIED && d.GetStatus() == statusOf(stage):
		return verdictConfirmed
	case d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPLIED:
		return verdictStale
	case because(paymentsv1.Reason_REASON_PAYMENT_UNKNOWN):
		return verdictUnknownPayment // a charge that is not answered yet has captured nothing
	case because(paymentsv1.Reason_REASON_RAIL_AMOUNT):
		return verdictAhead // of one that is won, perhaps: nothing makes it wait for another dispute of its pay-in
	default:
		return verdictRefused
	}
}

// statusOf is the status of the same name, in which a dispute of that stage stands.
func statusOf(s railsv1.DisputeStage) paymentsv1.PaymentStatus {
	return paymentsv1.PaymentStatus(paymentsv1.PaymentStatus_value["PAYMENT_STATUS_"+strings.TrimPrefix(s.String(), "DISPUTE_STAGE_")])
}

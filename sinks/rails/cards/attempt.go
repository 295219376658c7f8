package cards

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// attempt is the last word on one order. Its state is that of the wire.
type attempt struct {
	state      railsv1.AttemptState
	order      order
	undated    bool // begun by a connector whose references were of the order's id alone
	offset     int64
	connector  string
	own        string // our reference
	number     uint32
	intendedAt time.Time
	before     before
	polls      uint32
	nextPoll   time.Time
	result     payment.RailResult // UNKNOWN, and DONE
	code       string
	reference  string
	tid        string
	amount     int64 // minor units
	closed     bool  // as Result has it
	reportedAt time.Time
}

const (
	stateWaiting  = railsv1.AttemptState_ATTEMPT_STATE_WAITING
	stateIntended = railsv1.AttemptState_ATTEMPT_STATE_INTENDED
	stateUnknown  = railsv1.AttemptState_ATTEMPT_STATE_UNKNOWN
	stateDone     = railsv1.AttemptState_ATTEMPT_STATE_DONE
	stateFollowed = railsv1.AttemptState_ATTEMPT_STATE_FOLLOWED
)

// The versions of attempts.
const (
	attemptVersionUndated = 1
	attemptVersion        = 2
)

// name is what our references of the attempts at an order are made of. The order's time is part of it: an id may be used again once the
// record of its payment has left, and those who know the first by a reference know it for ever.
func (a *attempt) name() string {
	if a.undated || a.order.OrderedAtUS == 0 {
		return a.order.ID
	}
	return a.order.ID + "@" + strconv.FormatInt(a.order.OrderedAtUS, 10)
}

// open tells that the order may have been sent and nobody knows what became of it.
func (a *attempt) open() bool { return a.state == stateIntended || a.state == stateUnknown }

// asked tells that the other side is asked about the order now and then.
func (a *attempt) asked() bool { return a.open() || a.state == stateFollowed }

// stage is what an attempt counts as.
type stage uint8

const (
	stageOther      stage = iota
	stageUnresolved       // nobody knows
	stageUnderWay         // a bank has it
	stageWatched          // over, unless the bank takes it back
	stages
)

func (a *attempt) stage() stage {
	switch {
	case a == nil:
		return stageOther
	case a.open():
		return stageUnresolved
	case a.state == stateFollowed && a.over():
		return stageWatched
	case a.state == stateFollowed:
		return stageUnderWay
	default:
		return stageOther
	}
}

// over tells that what was told last is an end.
func (a *attempt) over() bool {
	return a.result != payment.RailAccepted && a.result != payment.RailSent
}

// moved is what an order that was confirmed has changed of its transaction, as far as every acquirer counts it. What a void gives
// up is not: some count it as given back, and some do not.
func (a *attempt) moved() before {
	switch {
	case a == nil || a.state != stateDone || a.result != payment.RailConfirmed:
		return before{}
	case a.order.Operation == OperationCapture, a.order.Operation == OperationCollect:
		return before{capturedMinor: a.order.AmountMinor}
	case a.order.Operation == OperationRefund:
		return before{returnedMinor: a.order.AmountMinor}
	default:
		return before{}
	}
}

// lost tells a change that was called not done because it was not found: it may have come since, and nobody asks.
func (a *attempt) lost() bool {
	return a != nil && a.state == stateDone && a.result == payment.RailRefused && a.code == codeNotFound && a.order.Operation.follows()
}

// cameLate tells one that was lost, and has been done all the same.
func (a *attempt) cameLate() bool { return a.result == payment.RailConfirmed && a.code == codeCameLate }

// changes tells what has changed its transaction, or was called not done because it was not found.
func (a *attempt) changes() bool {
	return a.lost() || a != nil && a.state == stateDone && a.result == payment.RailConfirmed && a.order.Operation.follows()
}

// request is what the other side is asked, now or again.
func (a *attempt) request() Request {
	o := a.order
	return Request{
		Operation: o.Operation, OrderID: o.ID, OwnReference: a.own, Reference: o.Reference, AmountMinor: o.AmountMinor,
		Currency: o.Currency, Instrument: o.Instrument, Brand: o.Brand, Installments: o.Installments,
	}
}

// textMax is what the codec of commands takes.
const textMax = 256

// tidy makes an acquirer's text fit a record: a command that cannot be decoded would park the account.
func tidy(text string) string {
	text = strings.ToValidUTF8(text, "?")
	for len(text) > textMax {
		text = strings.ToValidUTF8(text[:textMax], "")
	}
	return text
}

// ranked orders what is told of an order: only what ranks higher than what was told before is news. A bank that goes back
// to an earlier word is slow or wrong, but one that calls paid what it called failed is believed.
func ranked(r payment.RailResult) int {
	return slices.Index([]payment.RailResult{
		payment.RailAccepted, payment.RailSent, payment.RailRefused, payment.RailConfirmed, payment.RailReturned,
	}, r)
}

// learn takes in what was said, and gives what was told before.
func (a *attempt) learn(r Result, now time.Time) (prior payment.RailResult) {
	prior = a.result
	followed := a.state == stateFollowed
	a.code, a.amount, a.closed, a.reportedAt = tidy(r.Code), max(0, r.AmountMinor), r.Closed, now
	if r.Reference != "" {
		a.reference = tidy(r.Reference)
	}
	if r.TID != "" {
		a.tid = tidy(r.TID)
	}
	a.state, a.result = stateDone, r.Outcome.told()
	switch a.result {
	case payment.RailUnknown:
		a.state, a.amount = stateUnknown, 0
	case payment.RailRefused:
		a.amount = 0
	default:
	}
	// What a bank has it may still say something else about, also without a reference of its own: it is asked by ours.
	has := followed || a.reference != "" || a.result != payment.RailRefused
	if a.order.Operation == OperationSend && a.result != payment.RailReturned && a.state == stateDone && has {
		a.state, a.polls = stateFollowed, 0
	}
	if a.state != stateUnknown {
		a.order.Sealed = nil
	}
	return prior
}

// record is the attempt's, for the partition of its order.
func (a *attempt) record(partition int32) (*kgo.Record, error) {
	version := uint32(attemptVersion)
	if a.undated {
		version = attemptVersionUndated
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(&railsv1.Attempt{
		Version: version, State: a.state, Order: orderTo(a.order), Offset: a.offset,
		Connector: a.connector, OwnReference: a.own, Number: a.number, IntendedAtUs: micro(a.intendedAt),
		CapturedBeforeMinor: a.before.capturedMinor, ReturnedBeforeMinor: a.before.returnedMinor,
		Polls: a.polls, NextPollAtUs: micro(a.nextPoll), Result: paymentsv1.RailResult(a.result),
		Code: a.code, Reference: a.reference, Tid: a.tid, AmountMinor: a.amount, ReportedAtUs: micro(a.reportedAt), Closed: a.closed,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding attempt at %s: %w", a.order.ID, err)
	}
	return &kgo.Record{Topic: topics.RailsAttempts, Partition: partition, Key: []byte(a.order.ID), Value: value}, nil
}

// decodeAttempt reads a record of rails.attempts.
func decodeAttempt(b []byte) (*attempt, error) {
	m := new(railsv1.Attempt)
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%w attempt: %w", ErrUndecodable, err)
	}
	undated := m.GetVersion() == attemptVersionUndated
	if (!undated && m.GetVersion() != attemptVersion) || m.GetOrder() == nil || len(m.ProtoReflect().GetUnknown()) > 0 ||
		m.GetResult() < 0 || m.GetResult() > paymentsv1.RailResult_RAIL_RESULT_RETURNED {
		return nil, fmt.Errorf("%w attempt at %q: version %d", ErrUndecodable, m.GetOrder().GetOrderId(), m.GetVersion())
	}
	return &attempt{
		state: m.GetState(), order: orderFrom(m.GetOrder()), undated: undated, offset: m.GetOffset(),
		connector: m.GetConnector(), own: m.GetOwnReference(), number: m.GetNumber(), intendedAt: timeOf(m.GetIntendedAtUs()),
		before: before{capturedMinor: m.GetCapturedBeforeMinor(), returnedMinor: m.GetReturnedBeforeMinor()},
		polls:  m.GetPolls(), nextPoll: timeOf(m.GetNextPollAtUs()), result: payment.RailResult(m.GetResult()), //nolint:gosec // checked above
		code: m.GetCode(), reference: m.GetReference(), tid: m.GetTid(), amount: m.GetAmountMinor(), reportedAt: timeOf(m.GetReportedAtUs()),
		closed: m.GetClosed(),
	}, nil
}

// answers are the commands that tell the account something new. What came back had left: where that was never told, because
// nobody asked in between, it is told first.
func (a *attempt) answers(prior payment.RailResult) ([]*kgo.Record, error) {
	last, err := a.answer()
	if err != nil || a.result != payment.RailReturned || ranked(prior) >= ranked(payment.RailSent) {
		return []*kgo.Record{last}, err
	}
	left := *a
	left.result, left.code = payment.RailSent, ""
	first, err := left.answer()
	return []*kgo.Record{first, last}, err
}

// answer is the command that tells the account. It depends on the attempt alone, so a repeat is the same bytes.
func (a *attempt) answer() (*kgo.Record, error) {
	account := payment.AccountID(a.order.Account)
	told := "rail_answer/" + a.order.ID + "/" + a.result.String()
	if a.result != payment.RailUnknown {
		told += "/" + a.connector + "/" + a.reference
	}
	value, err := codec.EncodeCommand(&payment.Command{
		Kind: payment.KindRailAnswer, Tenant: a.order.Tenant, Merchant: a.order.Merchant, Account: account,
		CommandID: payment.CommandIDFrom(a.order.Account, "", told), PaymentID: payment.ID(a.order.PaymentID),
		AcceptedAtUS: micro(a.reportedAt),
		RailAnswer: &payment.RailAnswer{
			OrderID: a.order.ID, Result: a.result, Code: a.code, Connector: a.connector, Reference: a.reference, TID: a.tid,
			AmountMinor: a.amount, ReportedAtUS: micro(a.reportedAt), Closed: a.closed,
		},
	}, codec.Envelope{})
	if err != nil {
		return nil, fmt.Errorf("encoding answer to %s: %w", a.order.ID, err)
	}
	return &kgo.Record{Topic: topics.Commands, Key: []byte(a.order.Account), Value: value}, nil
}

// slim is what a repeated answer needs of an order that is done, and besides what a bank is asked about one that may not be.
func (a *attempt) slim() *attempt {
	s := *a
	s.order.Instrument, s.order.Brand, s.order.Currency, s.order.Reference, s.order.Connector = "", "", "", "", ""
	if s.state == stateDone {
		s.own = ""
	}
	return &s
}

func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us)
}

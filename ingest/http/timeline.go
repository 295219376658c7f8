package http

import (
	"context"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/topics"
)

// The stages of an event: the topics that a payment passes.
const (
	stageCommand  = "command"
	stageDecision = "decision"
	stageOrder    = "order"
)

// TimelinePage is GET /payments/{id}/timeline: what became of a payment, or of one operation on it, oldest first.
type TimelinePage struct {
	PaymentID  string          `json:"payment_id"`
	Status     string          `json:"status"` // now
	Events     []TimelineEvent `json:"events"`
	HasMore    bool            `json:"has_more"`
	Cursor     string          `json:"cursor,omitzero"` // behind the last decision; made by the HTTP layer
	AccountSeq uint64          `json:"account_seq"`     // of the last decision about this payment

	Last uint64 `json:"-"` // number of the last decision of the page, for the cursor
}

// TimelineEvent is one record on one topic. A command tells what came, its decision what was made of it, and an order what goes
// out to a rail: an order belongs to its decision's transaction, and its own offset is kept nowhere.
type TimelineEvent struct {
	Stage     string    `json:"stage"` // command decision order
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    *int64    `json:"offset,omitzero"` // orders: not told
	At        time.Time `json:"at"`              // commands: accepted; else the decision's record
	MS        int64     `json:"ms"`              // since the event before, as the clocks have it; at least 0
	Kind      string    `json:"kind"`            // of the command: payin capture rail_answer expire ...
	// AccountID is told where it is not the payment's: the payee of a transfer.
	AccountID   string `json:"account_id,omitzero"`
	OperationID string `json:"operation_id,omitzero"` // capture, void, increment or refund

	// Decisions.
	Decision      string   `json:"decision,omitzero"`       // approved declined review applied repeated conflict
	Status        string   `json:"status,omitzero"`         // after it, of the operation where there is one, else of the payment
	PaymentStatus string   `json:"payment_status,omitzero"` // after the decision on an operation, of the payment
	Reasons       []string `json:"reasons,omitzero"`
	Journals      []string `json:"journals,omitzero"` // hold post release compensation refund return late
	Amount        int64    `json:"amount,omitzero"`   // in currency
	Currency      string   `json:"currency,omitzero"`
	AccountSeq    uint64   `json:"account_seq,omitzero"`

	// Answers of a rail, on the command; orders, their id.
	OrderID       string `json:"order_id,omitzero"`
	Connector     string `json:"connector,omitzero"`
	RailResult    string `json:"rail_result,omitzero"` // confirmed refused unknown accepted sent returned
	RailCode      string `json:"rail_code,omitzero"`
	RailReference string `json:"rail_reference,omitzero"`
	RailAmount    int64  `json:"rail_amount,omitzero"` // what the rail says it moved, in the order's currency
}

// TimelineQuery asks for the decisions behind a number, oldest first.
type TimelineQuery struct {
	Payment payment.ID
	After   uint64
	Limit   int // decisions; 1 to 500
}

func (s *Server) getTimeline(c *call) answer {
	id, err := payment.ParseID(c.param)
	if err != nil {
		return refusal(s.problem(ErrorNotFound, ""))
	}
	q, a := s.query(c, true)
	if a != nil {
		return *a
	}
	page, a := find(s, c, id.Account(), q.minSeq, func(ctx context.Context) (*TimelinePage, error) {
		return s.ports.Store.Timeline(ctx, c.caller.Owner, TimelineQuery{Payment: id, After: q.after.AccountSeq, Limit: q.limit})
	})
	if a != nil {
		return *a
	}
	if len(page.Events) > 0 {
		page.Cursor = encodeCursor(StatementCursor{AccountSeq: page.Last})
	}
	return answer{status: fasthttp.StatusOK, body: encode(page), accountSeq: page.AccountSeq}
}

// timelineRow is a decision about a payment, as the store has it.
type timelineRow struct {
	number                            uint64
	before                            *time.Time // when the decision before was written
	accepted, written                 time.Time
	seq                               uint64
	partition, commandPartition       int32
	offset, commandOffset             int64
	amount, railAmount                int64
	kind, outcome, status, stands     int16
	result                            int16
	currency, operation, otherAccount string
	answered, given                   string // order ids
	connector, reference, code        string
	reasons, journals                 []int16
}

// append adds the events of a row: the command, its decision, and the order that the decision gives.
func (r *timelineRow) append(events []TimelineEvent) []TimelineEvent {
	kind := payment.Kind(r.kind).String() //nolint:gosec // the enum's numbers fit a byte
	head := TimelineEvent{Kind: kind, AccountID: r.otherAccount, OperationID: r.operation}

	command := head
	command.Stage, command.Topic, command.Partition, command.Offset = stageCommand, topics.Commands, r.commandPartition, &r.commandOffset
	command.At = r.accepted.UTC()
	if r.before != nil {
		command.MS = milliseconds(*r.before, r.accepted)
	}
	command.OrderID, command.Connector, command.RailReference, command.RailCode, command.RailAmount = r.answered, r.connector, r.reference, r.code, r.railAmount
	if r.result != 0 {
		command.RailResult = payment.RailResult(r.result).String() //nolint:gosec // the enum's numbers fit a byte
	}

	decision := head
	decision.Stage, decision.Topic, decision.Partition, decision.Offset = stageDecision, topics.Decisions, r.partition, &r.offset
	decision.At, decision.MS = r.written.UTC(), milliseconds(r.accepted, r.written)
	decision.Decision = payment.Outcome(r.outcome).String() //nolint:gosec // the enum's numbers fit a byte
	decision.Status = statusWord(r.status)
	if r.operation != "" {
		decision.PaymentStatus = statusWord(r.stands)
	}
	if len(r.reasons) > 0 {
		decision.Reasons = reasonWords(r.reasons)
	}
	decision.Journals = journalWords(r.journals)
	decision.Amount, decision.Currency = r.amount, r.currency
	if r.otherAccount == "" {
		decision.AccountSeq = r.seq // how busy another account is, is its owner's business
	}
	events = append(events, command, decision)
	if r.given != "" {
		order := head
		order.Stage, order.Topic, order.Partition, order.OrderID = stageOrder, topics.RailsOrders, r.partition, r.given
		order.At = decision.At
		events = append(events, order)
	}
	return events
}

// milliseconds between two clocks. Where they disagree, nothing passed.
func milliseconds(from, to time.Time) int64 { return max(0, to.Sub(from).Milliseconds()) }

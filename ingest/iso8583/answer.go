package iso8583

import (
	"context"
	"sync"
	"time"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// authorization is one that waits for the core.
type authorization struct {
	server   *Server
	id       payment.ID
	hash     []byte
	holder   holder
	message  iso8583.Message
	own      time.Time // when it was transmitted
	asked    int64     // when this house took it in, as the log says
	deadline time.Time
	ticket   door.Ticket
}

// decide waits for the core, and stands in for it where it is late.
func (a *authorization) decide() (v verdict) {
	defer func() { a.server.twins.part(a, v) }()
	defer a.ticket.Leave()
	d, err := a.server.await(a.ticket, a.deadline)
	if err != nil {
		return a.standIn()
	}
	code := codeOf(d)
	if !code.Approves() {
		return verdict{code: code}
	}
	return verdict{code: code, authCode: a.id.AuthorizationCode(), amounts: a.balance(d)}
}

// await waits for a decision and measures where the time went.
func (s *Server) await(t door.Ticket, deadline time.Time) (*paymentsv1.Decision, error) {
	ctx, cancel := context.WithDeadline(s.life, deadline)
	defer cancel()
	d, err := t.Decision(ctx)
	if err == nil {
		begun, acked := t.Times()
		s.metrics.stage(stageProduce, acked.Sub(begun))
		s.metrics.stage(stageDecide, time.Since(acked))
	}
	return d, err
}

// codeOf is the response code of a decision, the same for the first and for its repetitions.
func codeOf(d *paymentsv1.Decision) iso8583.ResponseCode {
	reason := payment.ReasonNone
	if reasons := d.GetReasons(); len(reasons) > 0 {
		reason = payment.Reason(reasons[0]) //nolint:gosec // the enum's numbers fit a byte
	}
	switch d.GetOutcome() {
	case paymentsv1.Outcome_OUTCOME_APPROVED, paymentsv1.Outcome_OUTCOME_APPLIED:
		return iso8583.ResponseApproved // of a fact, the reason says how it was taken in
	case paymentsv1.Outcome_OUTCOME_CONFLICT:
		return iso8583.ResponseDuplicate
	case paymentsv1.Outcome_OUTCOME_DECLINED, paymentsv1.Outcome_OUTCOME_REPEATED:
		if reason == payment.ReasonNone && d.GetOutcome() == paymentsv1.Outcome_OUTCOME_DECLINED {
			return iso8583.ResponseSystemMalfunction
		}
		if d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_CLEARING && d.GetOutcome() == paymentsv1.Outcome_OUTCOME_REPEATED {
			return iso8583.ResponseApproved
		}
		if reason == payment.ReasonRailRefused { // by this house, at the door, when the core was late
			return iso8583.ResponseIssuerUnavailable
		}
		return iso8583.ResponseCodeFor(reason)
	default:
		return iso8583.ResponseSystemMalfunction
	}
}

// The account type and the amount types of field 54.
const amountAvailable = "02"

// balanceMost is what field 54 has room for.
const balanceMost = 999_999_999_999

// balance is what is available, where the request asks for it by an amount of that type. What has no room is not told: an
// answer that cannot be written is none, and the acquirer would take back what was granted.
func (a *authorization) balance(d *paymentsv1.Decision) []iso8583.AdditionalAmount {
	asked := false
	for _, amount := range a.message.AdditionalAmounts {
		asked = asked || amount.AmountType == amountAvailable
	}
	if !asked {
		return nil
	}
	for _, b := range d.GetBalances() {
		if b.GetCurrency() == string(a.message.Currency) {
			available := b.GetPostedMinor() - b.GetHeldMinor()
			if available > balanceMost || available < -balanceMost {
				return nil
			}
			return []iso8583.AdditionalAmount{{
				AccountType: a.message.ProcessingCode[2:4], AmountType: amountAvailable, Currency: money.Currency(b.GetCurrency()),
				AmountMinor: available,
			}}
		}
	}
	return nil
}

// twins are authorizations in flight. A repeat that overtakes the answer to the first waits for that answer: both came in
// here, so both are told the same, also where this house stands in. Once answered they are forgotten: the core knows.
type twins struct {
	mu    sync.Mutex
	first map[string]*twin
}

type twin struct {
	done    chan struct{}
	settled verdict
}

func (t *twin) verdict() verdict {
	<-t.done
	return t.settled
}

// key tells a repeat from another request with the same id, which is the core's to refuse.
func (a *authorization) key() string { return string(a.id) + string(a.hash) }

// join is true for the first.
func (t *twins) join(a *authorization) (bool, *twin) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known, ok := t.first[a.key()]; ok {
		return false, known
	}
	mine := &twin{done: make(chan struct{})}
	t.first[a.key()] = mine
	return true, mine
}

// part tells the others.
func (t *twins) part(a *authorization, v verdict) {
	t.mu.Lock()
	mine := t.first[a.key()]
	delete(t.first, a.key())
	t.mu.Unlock()
	mine.settled = v
	close(mine.done)
}

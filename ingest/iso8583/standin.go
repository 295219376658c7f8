package iso8583

import (
	"context"
	"sync"
	"time"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// standIn answers for the core. Whatever it answers stands in the log, behind the authorization, before the acquirer hears of
// it: the core then makes its books agree. Where the log does not take it in time the answer is a decline, and the
// reversal is tried for as long as this process lives.
func (a *authorization) standIn() verdict {
	s := a.server
	granted := a.underFloor()
	if granted && s.acknowledged(s.life, a.advice()) {
		s.metrics.standIns.WithLabelValues(standInApproved).Inc()
		return verdict{code: iso8583.ResponseApproved, authCode: a.id.AuthorizationCode()}
	}
	s.metrics.standIns.WithLabelValues(standInDeclined).Inc()
	if reversal := a.reversal(); granted || !s.acknowledged(s.life, reversal) {
		s.reversals.add(reversal) // behind the advice, which may come to the log yet
	}
	return verdict{code: iso8583.ResponseIssuerUnavailable}
}

// underFloor tells whether the policy lets this house grant the amount unasked.
func (a *authorization) underFloor() bool {
	policy, ok := a.server.ports.Policies.Policy(a.holder.Account.Policy)
	if !ok {
		return false
	}
	for _, floor := range policy.GetIssuing().GetStandInFloor() {
		if floor.GetCurrency() == string(a.message.Currency) {
			return a.message.AmountMinor <= floor.GetAmountMinor()
		}
	}
	return false
}

func (a *authorization) advice() *paymentsv1.Command {
	s := a.server
	cmd := a.holder.Command(payment.KindAuthorizationAdvice, s.ports.Now())
	cmd.CommandId, cmd.PaymentId, cmd.BodyHash = string(a.id), string(a.id), a.hash
	body := s.transaction(&a.message, &a.holder, a.own)
	body.StandIn, body.AskedAtUs = true, a.asked
	cmd.Body = &paymentsv1.Command_CardTransaction{CardTransaction: body}
	return cmd
}

func (a *authorization) reversal() *paymentsv1.Command {
	cmd := a.holder.Command(payment.KindReversal, a.server.ports.Now())
	cmd.CommandId = payment.CommandIDFrom(string(a.holder.Card.Account), a.holder.Card.Merchant, named(&a.message, a.own).Identity(identityStandIn))
	cmd.PaymentId, cmd.BodyHash = string(a.id), a.hash
	cmd.Body = &paymentsv1.Command_Reversal{Reversal: &paymentsv1.Reversal{
		Currency: string(a.message.Currency), Card: string(a.holder.Key), ReasonCode: string(iso8583.ResponseIssuerUnavailable), StandIn: true,
		AskedAtUs: a.asked, Rrn: string(a.message.RRN), Acquirer: a.message.MatchKey().AcquirerID,
	}}
	return cmd
}

// acknowledged hands a command over and tells whether the log has it within the bound of stand-ins.
func (s *Server) acknowledged(ctx context.Context, cmd *paymentsv1.Command) bool {
	ticket, _ := s.hand(cmd)
	if ticket == nil {
		return false
	}
	ticket.Leave() // nobody is told what comes of it
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StandInWait)
	defer cancel()
	return ticket.Acked(ctx) == nil
}

// reversals are those that the log has not acknowledged: the acquirer was told no, and the core may have said yes. They are
// tried in the order they came, one at a time: what stops one stops all.
type reversals struct {
	server *Server
	mu     sync.Mutex
	queue  []*paymentsv1.Command
	wake   chan struct{}
	ended  chan struct{} // closed once no more will be added
	end    sync.Once
}

const retryReversal = 200 * time.Millisecond

// The outcomes of reversals.
const (
	reversalWritten = "written"
	reversalLost    = "lost" // no room, or the process ended: the hold stays until it expires or the acquirer reverses
)

func newReversals(s *Server) *reversals {
	return &reversals{server: s, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

func (r *reversals) add(cmd *paymentsv1.Command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) >= r.server.cfg.ReversalsMax {
		r.lose(cmd)
		return
	}
	r.queue = append(r.queue, cmd)
	r.server.metrics.waiting.Set(float64(len(r.queue)))
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reversals) lose(cmd *paymentsv1.Command) {
	r.server.metrics.reversals.WithLabelValues(reversalLost).Inc()
	r.server.ports.Log.Error("reversing stand-in: given up", "payment_id", cmd.GetPaymentId(), "account", cmd.GetAccount())
}

func (r *reversals) first() *paymentsv1.Command {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return nil
	}
	return r.queue[0]
}

func (r *reversals) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = r.queue[1:]
	r.server.metrics.waiting.Set(float64(len(r.queue)))
}

// run writes what was added, until ctx ends, or no more is added and all is written.
func (r *reversals) run(ctx context.Context) {
	defer r.giveUp()
	for {
		cmd := r.first()
		if cmd == nil {
			select {
			case <-r.wake:
				continue
			case <-ctx.Done():
			case <-r.ended:
				if r.first() != nil {
					continue
				}
			}
			return
		}
		if r.server.acknowledged(ctx, cmd) {
			r.server.metrics.reversals.WithLabelValues(reversalWritten).Inc()
			r.drop()
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryReversal):
		}
	}
}

func (r *reversals) giveUp() {
	for cmd := r.first(); cmd != nil; cmd = r.first() {
		r.lose(cmd)
		r.drop()
	}
}

// finish says that no more is added, and gives what waits some time.
func (r *reversals) finish(grace time.Duration) {
	r.end.Do(func() { close(r.ended) })
	for until := time.Now().Add(grace); r.first() != nil && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
}

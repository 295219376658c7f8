package cards

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/failsafe-go/failsafe-go/timeout"

	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// errUnclear lets the breaker count what was not told.
var errUnclear = errors.New("no clear answer")

// connector is an acquirer or a bank behind its deadline, bulkhead, breaker and retries.
type connector struct {
	name     string
	port     Port
	can      Capabilities
	do       map[Operation]func(context.Context, Request) (Result, error)
	breaker  circuitbreaker.CircuitBreaker[any]
	once     failsafe.Executor[any] // repeats what was not sent
	repeated failsafe.Executor[any] // repeats also what may have been sent
	inFlight atomic.Int64
	metrics  *metrics
}

// newConnector builds the policies, outermost first: retries, a place, the breaker, the deadline. A call that finds no
// place is nothing the acquirer did, so the breaker does not see it.
func newConnector(name string, port Port, g Guard, m *metrics) *connector {
	c := &connector{name: name, port: port, can: port.Capabilities(), do: operationsOf(port), metrics: m}
	state := m.breaker.WithLabelValues(name)
	state.Set(gauge(circuitbreaker.ClosedState))
	m.amounts.WithLabelValues(name) // there from the start, so that the first one is an increase
	m.failovers.WithLabelValues(name)
	for _, v := range verdicts() {
		m.notifications.WithLabelValues(name, string(v))
	}
	if _, ok := port.(Acquirer); ok {
		for stage := range railsv1.DisputeStage_name {
			for _, v := range disputeVerdicts() {
				m.disputes.WithLabelValues(name, stageWord(railsv1.DisputeStage(stage)), string(v))
			}
		}
	}
	c.breaker = circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(0.5, g.BreakerCalls, g.BreakerWindow).
		WithDelay(g.BreakerDelay).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) { state.Set(gauge(e.NewState)) }).
		Build()
	places := bulkhead.NewBuilder[any](g.InFlightMax).WithMaxWaitTime(g.InFlightWait).Build()
	deadline := timeout.New[any](g.Deadline)
	retry := func(may func(error) bool) failsafe.Policy[any] {
		return retrypolicy.NewBuilder[any]().
			HandleIf(func(_ any, err error) bool { return may(err) }).
			WithMaxAttempts(g.Sendings).WithBackoff(g.BackoffFirst, g.BackoffMost).WithJitterFactor(0.25).
			ReturnLastFailure().Build()
	}
	unsent := func(err error) bool { return errors.Is(err, ErrNotSent) }
	c.once = failsafe.With(retry(unsent), places, c.breaker, deadline)
	c.repeated = failsafe.With(retry(func(err error) bool {
		return unsent(err) || errors.Is(err, errUnclear) || errors.Is(err, timeout.ErrExceeded)
	}), places, c.breaker, deadline)
	return c
}

// operationsOf a port are those that it can be asked for.
func operationsOf(port Port) map[Operation]func(context.Context, Request) (Result, error) {
	switch p := port.(type) {
	case Acquirer:
		return map[Operation]func(context.Context, Request) (Result, error){
			OperationAuthorize: p.Authorize, OperationCollect: p.Authorize, OperationCapture: p.Capture, OperationVoid: p.Void, OperationRefund: p.Refund,
		}
	case Bank:
		return map[Operation]func(context.Context, Request) (Result, error){OperationSend: p.Send}
	default:
		return nil
	}
}

func gauge(s circuitbreaker.State) float64 {
	switch s {
	case circuitbreaker.OpenState:
		return 2
	case circuitbreaker.HalfOpenState:
		return 1
	default:
		return 0
	}
}

// healthy tells whether calls are let through. A breaker that has been open for long enough counts as healthy: only a
// call closes it, and while others work none would come.
func (c *connector) healthy() bool { return !c.breaker.IsOpen() || c.breaker.RemainingDelay() == 0 }

// send does what a request asks. The error is ErrNotSent, and nothing else.
func (c *connector) send(ctx context.Context, r Request) (Result, error) {
	ctx = withOrder(ctx, r.OrderID)
	do := c.do[r.Operation]
	if do == nil {
		return refused(CodeUnsupported), nil
	}
	policies := c.once
	if c.can.Repeatable {
		policies = c.repeated
	}
	return guarded(ctx, c, policies, call[Result]{
		word: r.Operation.String(), do: func(ctx context.Context) (Result, error) { return do(ctx, r) },
		outcome: outcomeWord, unclear: unknown,
		doubted: func(r Result) Result {
			if r.Outcome == OutcomeRefused || r.Outcome == OutcomeNotFound { // because the one before was done?
				return Result{Reference: r.Reference}
			}
			return r
		},
	})
}

func outcomeWord(r Result) string { return r.Outcome.String() }
func unknown(r Result) bool       { return r.Outcome == OutcomeUnknown }

// find asks what became of a request; what the transaction it changes was like before tells an acquirer's answer apart.
func (c *connector) find(ctx context.Context, r Request, b before) (Result, error) {
	t, err := c.look(ctx, r, b)
	return t.result, err
}

// look asks the same, and gives all that was told.
func (c *connector) look(ctx context.Context, r Request, b before) (told, error) {
	if bank, ok := c.port.(Bank); ok {
		result, err := guarded(withOrder(ctx, r.OrderID), c, c.repeated, call[Result]{
			word: "status", do: func(ctx context.Context) (Result, error) { return bank.Find(ctx, r) }, outcome: outcomeWord, unclear: unknown,
		})
		return told{result: result, transfer: true}, err
	}
	standing, err := c.status(ctx, r)
	if err != nil {
		return told{}, err
	}
	return told{standing: standing, result: standing.outcome(r.Operation, b)}, nil
}

// identify asks an acquirer for our reference of a transaction; it is empty where the acquirer has not told it, or is never asked.
func (c *connector) identify(ctx context.Context, reference string) (string, Standing, error) {
	namer, ok := c.port.(Namer)
	if !ok {
		return "", Standing{State: StateAbsent}, nil
	}
	type named struct {
		own      string
		standing Standing
	}
	n, err := guarded(ctx, c, c.repeated, call[named]{
		word: "name", do: func(ctx context.Context) (named, error) {
			own, s, err := namer.Name(ctx, reference)
			return named{own, s}, err
		},
		outcome: func(n named) string { return statusWord(n.standing) }, unclear: func(n named) bool { return n.standing.State == StateUnclear },
	})
	return n.own, n.standing, err
}

func statusWord(s Standing) string {
	if s.State == StateUnclear {
		return OutcomeUnknown.String()
	}
	return "told"
}

// status asks an acquirer how a transaction stands: that may be repeated.
func (c *connector) status(ctx context.Context, r Request) (Standing, error) {
	acquirer, ok := c.port.(Acquirer)
	if !ok {
		return Standing{}, fmt.Errorf("%w: %s has no transactions", ErrNotSent, c.name)
	}
	ctx = withOrder(ctx, r.OrderID)
	return guarded(ctx, c, c.repeated, call[Standing]{
		word: "status", do: func(ctx context.Context) (Standing, error) { return acquirer.Status(ctx, r) },
		outcome: statusWord, unclear: func(s Standing) bool { return s.State == StateUnclear },
	})
}

// call is one question to an acquirer.
type call[T any] struct {
	word    string
	do      func(context.Context) (T, error)
	outcome func(T) string
	unclear func(T) bool
	doubted func(T) T // what an answer is worth behind a sending of which nobody knows; nil: as much
}

// guarded makes a call under the policies. What the last sending that took place said counts, also where a repeat of it
// was held back: a call that was sent once is not "not sent" because the breaker opened afterwards.
func guarded[T any](ctx context.Context, c *connector, policies failsafe.Executor[any], q call[T]) (T, error) {
	var last T
	var lastErr error
	sent, doubt := false, false // some sending may have arrived; of one nobody knows what it did
	began := time.Now()
	_, err := policies.WithContext(ctx).GetWithExecution(func(e failsafe.Execution[any]) (any, error) { //nolint:contextcheck // the execution's is ctx with the deadline
		c.metrics.inFlight.WithLabelValues(c.name).Set(float64(c.inFlight.Add(1)))
		defer func() { c.metrics.inFlight.WithLabelValues(c.name).Set(float64(c.inFlight.Add(-1))) }()
		answer, err := q.do(e.Context())
		if errors.Is(err, ErrNotSent) {
			lastErr = err
			return nil, err
		}
		last, sent = answer, true
		if err != nil || q.unclear(answer) { // an error of another kind is a dialect's mistake, and tells nothing
			doubt = true
			return nil, errUnclear
		}
		return nil, nil
	})
	if doubt && q.doubted != nil {
		last = q.doubted(last)
	}
	outcome := "not_sent"
	switch {
	case sent:
		outcome, lastErr = q.outcome(last), nil
	case lastErr == nil: // held back before the first sending
		lastErr = fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	c.metrics.calls.WithLabelValues(c.name, q.word, outcome).Inc()
	c.metrics.callSeconds.WithLabelValues(c.name, q.word).Observe(time.Since(began).Seconds())
	return last, lastErr
}

package cards

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/rails/cards/abecs"
)

// The consumer groups, and the stems of the transactional ids that fence their members: cards and banks have one each, so that
// a day's payouts do not stand before somebody at a till, and what was ordered before the first bank was configured is there.
const (
	DefaultGroup     = "rails-cards"
	DefaultBankGroup = "rails-bank"
)

// Config of a Runner. It is one of acquirers, for orders by card, or one of banks, for orders by bank.
type Config struct {
	Brokers []string
	Client  []kgo.Opt // further client options: dialer, TLS, SASL
	Group   string
	// Instance is a fixed name of this member of the group, different for each: restarted soon, it has its partitions at
	// once. Empty: none.
	Instance string
	// Partitions of rails.orders.v1, rails.attempts and payments.commands.v1.
	Partitions int32
	// Acquirers, or Banks, by the name that routes, orders and answers use.
	Acquirers map[string]Acquirer
	Banks     map[string]Bank
	Routes    *Routes
	Codes     *abecs.Table // of acquirers
	Disputes  Disputes     // of acquirers
	// Open makes the destination of a payout readable, for banks.
	Open     func(*paymentsv1.Sealed) (*paymentsv1.Personal, error)
	Guard    Guard
	Patience Patience
	Watch    Watch
	Hearing  Hearing
	// Polls are the times after the first UNKNOWN at which an order is asked for; after the last it is asked for at that
	// interval, for ever: nothing is guessed.
	Polls []time.Duration
	// NotFoundAfter is how long after the intent a synchronous acquirer that knows nothing surely never will.
	NotFoundAfter time.Duration
	// Keep is how long an outcome is remembered, and how old an order may be that was never tried. Longer than the broker
	// keeps the offsets of an idle group: where those are lost, old orders come again.
	Keep time.Duration
	// Concurrency bounds the orders of one partition that are under way; orders of one payment follow each other.
	Concurrency int
	// PendingMax is how many orders a partition may have read and not finished before it reads no more.
	PendingMax  int
	CommitEvery time.Duration
	Logger      *slog.Logger
	Registry    prometheus.Registerer
	Now         func() time.Time // nil: the clock

	hook func(p point, orderID string) // tests: dies at a point of an order; nil: nothing
}

// Guard holds back calls to one acquirer. Each acquirer has its own.
type Guard struct {
	Deadline      time.Duration // of one call
	InFlightMax   uint
	InFlightWait  time.Duration // for a place among them
	BreakerCalls  uint          // where at least half of so many calls or more
	BreakerWindow time.Duration // within this time have failed, the breaker opens: at a rate, or a busy connector would open at any noise
	BreakerDelay  time.Duration // and after this one a call may try again
	Sendings      int           // of one call that was not sent, or may be repeated
	BackoffFirst  time.Duration
	BackoffMost   time.Duration
}

// Patience is how long an order is tried that was never sent, before it is refused as unavailable.
type Patience struct {
	Authorization time.Duration // somebody stands at a till
	FollowUp      time.Duration
	Payout        time.Duration
	First, Most   time.Duration // pauses between rounds
	// Resends is how often a decline of a kind that the table calls passing is sent again where nobody else is left.
	Resends int
}

func (p Patience) of(o Operation) time.Duration {
	switch {
	case o.authorizes():
		return p.Authorization
	case o == OperationSend:
		return p.Payout
	default:
		return p.FollowUp
	}
}

// Watch is how long a bank is asked about what it has called paid or failed: it may come back, or have been paid after all.
type Watch struct {
	For   time.Duration // from the bank's last news on; 0: not at all
	First time.Duration // until the first question; the pauses double with the age
	Most  int64         // orders of a partition that are watched at one time
}

// DefaultConfig holds the figures that suit one node; brokers, acquirers and routes are missing.
func DefaultConfig() Config {
	return Config{
		Group: DefaultGroup,
		Guard: Guard{
			Deadline: 10 * time.Second, InFlightMax: 64, InFlightWait: time.Second,
			BreakerCalls: 10, BreakerWindow: 10 * time.Second, BreakerDelay: 5 * time.Second,
			Sendings: 3, BackoffFirst: 100 * time.Millisecond, BackoffMost: time.Second,
		},
		Patience: Patience{
			Authorization: 30 * time.Second, FollowUp: 10 * time.Minute, Payout: time.Hour,
			First: 500 * time.Millisecond, Most: 10 * time.Second, Resends: 1,
		},
		Polls:         []time.Duration{5 * time.Second, time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour},
		Watch:         Watch{For: 30 * 24 * time.Hour, First: time.Hour, Most: 100_000},
		Hearing:       Hearing{AtOnce: 4, WaitingMax: 1024, Pause: time.Second, Unclear: 6, Denied: 3, Behind: 4 * time.Minute, Unanswered: 24 * time.Hour},
		NotFoundAfter: 2 * time.Minute,
		Keep:          14 * 24 * time.Hour,
		Concurrency:   16,
		PendingMax:    4096,
		CommitEvery:   500 * time.Millisecond,
	}
}

// Validate refuses what cannot run.
func (c Config) Validate() error {
	switch {
	case len(c.Brokers) == 0:
		return errors.New("no brokers")
	case c.Group == "":
		return errors.New("no group")
	case c.Partitions <= 0:
		return errors.New("no partitions")
	case (len(c.Acquirers) == 0) == (len(c.Banks) == 0) || c.Routes == nil:
		return errors.New("no routes, or neither acquirers nor banks, or both")
	case len(c.Acquirers) > 0 && (c.Codes == nil || c.Disputes == nil) || len(c.Banks) > 0 && c.Open == nil:
		return errors.New("no table of codes or nobody who is told of disputes for acquirers, or nothing that opens destinations for banks")
	case c.Watch.For < 0 || c.Watch.First <= 0 || c.Watch.Most < 0:
		return errors.New("the first pause of watching must be positive, and no other figure of it negative")
	case c.Concurrency <= 0 || c.PendingMax <= 0 || c.CommitEvery <= 0:
		return errors.New("concurrency, pending orders and commit interval must be positive")
	case c.NotFoundAfter < c.Guard.longest()+c.Guard.Deadline:
		return errors.New("not found while a call may still be under way")
	case c.Keep < 24*time.Hour:
		return errors.New("outcomes are kept for less than a day")
	case c.Logger == nil || c.Registry == nil:
		return errors.New("no logger or metrics registry")
	}
	if len(c.Polls) == 0 {
		return errors.New("no polls")
	}
	for i, at := range c.Polls {
		if at <= 0 || (i > 0 && at <= c.Polls[i-1]) {
			return fmt.Errorf("poll %d at %v does not follow the one before", i, at)
		}
	}
	if c.Polls[len(c.Polls)-1] < c.NotFoundAfter {
		return errors.New("the last poll, at which not found is never, comes before not found may be concluded")
	}
	for _, route := range c.Routes.routes {
		if c.ports()[route.Connector] == nil {
			return fmt.Errorf("route to %q, which is not configured", route.Connector)
		}
	}
	return errors.Join(c.Guard.validate(), c.Patience.validate(), c.Hearing.validate())
}

// ports are the acquirers or banks.
func (c Config) ports() map[string]Port {
	all := make(map[string]Port, len(c.Acquirers)+len(c.Banks))
	for name, a := range c.Acquirers {
		all[name] = a
	}
	for name, b := range c.Banks {
		all[name] = b
	}
	return all
}

// method of the orders that are executed.
func (c Config) method() string {
	if len(c.Banks) > 0 {
		return methodBank
	}
	return methodCard
}

// longest is how long a call may take with its repeats.
func (g Guard) longest() time.Duration {
	return time.Duration(g.Sendings) * (g.Deadline + g.InFlightWait + 2*g.BackoffMost)
}

func (g Guard) validate() error {
	if g.Deadline <= 0 || g.InFlightMax == 0 || g.InFlightWait <= 0 || g.BreakerCalls == 0 || g.BreakerWindow <= 0 ||
		g.BreakerDelay <= 0 || g.Sendings <= 0 || g.BackoffFirst <= 0 || g.BackoffMost <= g.BackoffFirst {
		return errors.New("every figure of the guard must be positive, and the last pause longer than the first")
	}
	return nil
}

func (p Patience) validate() error {
	if p.Authorization <= 0 || p.FollowUp <= 0 || p.Payout <= 0 || p.First <= 0 || p.Most < p.First || p.Resends < 0 {
		return errors.New("patience must be positive")
	}
	return nil
}

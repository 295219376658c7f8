// Package acquirer plays the acquirer's side of the card authorization feed: it enrols accounts and cards over the API, sends
// authorizations, repeats, reversals, advices and clearings at a fixed rate over many connections, and holds every answer
// against a model of its own of what each account can pay.
//
// It is an open loop: a message is due when its turn comes, whether or not the answers to earlier ones are there, and its
// latency counts from that moment. It knows nothing of the house but the feed and the API.
package acquirer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// Config of a run.
type Config struct {
	URL   string // of the API
	Token string
	// Connect are the doors, HOST:PORT; connections are spread over them.
	Connect     []string
	Header      iso8583.FrameHeader
	Connections int
	Rate        int           // messages a second
	Duration    time.Duration // 0: until it is told to end
	Accounts    int
	Policy      string
	FundMinor   int64 // what each account has at first
	Currency    string
	Seed        uint64
	Run         string        // names accounts and cards; another run has others
	Deadline    time.Duration // of the house, after which it stands in
	Timeout     time.Duration // after which an acquirer reverses what is not answered
	// ClearingFile is where clearings are written to instead of being sent; empty: they are sent.
	ClearingFile string
}

// Validate says what cannot be meant.
func (c Config) Validate() error {
	switch {
	case len(c.Connect) == 0:
		return errors.New("no address to connect to")
	case c.Connections < 1 || c.Rate < 1 || c.Accounts < 1 || c.Duration < 0:
		return errors.New("connections, rate and accounts have to be positive, and duration not negative")
	case c.FundMinor < 1_000:
		return errors.New("an account needs at least 1000 to pay with")
	case c.Timeout <= c.Deadline:
		return errors.New("the timeout has to be above the deadline: the house may answer until then")
	}
	return nil
}

// Acquirer is one that has enrolled its cards.
type Acquirer struct {
	cfg      Config
	codec    *iso8583.Codec
	api      *api
	accounts []*account
	lines    []*line
	idle     chan *account
	report   *Report

	mu     sync.Mutex
	random *rand.Rand
	stan   int
	items  []*exchange // of the clearing file
}

// settleMost is how long the last answers may take: what is not answered is told again meanwhile.
const settleMost = 2 * time.Minute

// New makes an acquirer; Enrol gives it cards.
func New(cfg Config) (*Acquirer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuring acquirer: %w", err)
	}
	return &Acquirer{
		cfg: cfg, codec: iso8583.NewCodec(), api: newAPI(cfg.URL, cfg.Token), random: rand.New(rand.NewPCG(cfg.Seed, 8583)), //nolint:gosec // a simulator's luck
	}, nil
}

// Run sends at a rate for a while and reports. Without a duration it sends until ctx ends, and is answered after that. It may be
// called again; the accounts are as the last run left them.
func (a *Acquirer) Run(ctx context.Context, rate int, duration time.Duration) (*Report, error) {
	a.report = newReport(rate, len(a.lines))
	a.idle = make(chan *account, len(a.accounts))
	for _, i := range a.random.Perm(len(a.accounts)) {
		a.idle <- a.accounts[i]
	}
	started := time.Now()
	if err := a.send(ctx, started, time.Second/time.Duration(rate), duration); err != nil {
		return nil, err
	}
	if duration == 0 {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, settleMost)
	defer cancel()
	if err := a.settle(ctx); err != nil {
		return nil, fmt.Errorf("waiting for the last answers: %w", err)
	}
	a.report.close(time.Since(started), duration)
	return a.report, nil
}

// send lets accounts act, one each time that it is due.
func (a *Acquirer) send(ctx context.Context, started time.Time, gap, duration time.Duration) error {
	ended := func() error {
		if duration == 0 {
			return nil // as it was told
		}
		return ctx.Err()
	}
	clock := time.NewTimer(0)
	defer clock.Stop()
	for n := 0; duration == 0 || n < int(duration/gap); n++ {
		due := started.Add(time.Duration(n) * gap)
		clock.Reset(time.Until(due))
		select {
		case <-clock.C:
		case <-ctx.Done():
			return ended()
		}
		select {
		case free := <-a.idle:
			a.act(free, due)
		case <-ctx.Done():
			return ended()
		}
	}
	return nil
}

// settle waits until every account is answered, and goes on with those that have something to repeat.
func (a *Acquirer) settle(ctx context.Context) error {
	for range a.accounts {
		for settled := false; !settled; {
			select {
			case free := <-a.idle:
				if settled = len(free.plan) == 0; !settled {
					a.act(free, time.Now())
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// roll is the run's luck, in the order it is asked for.
func (a *Acquirer) roll(n int64) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.random.Int64N(max(n, 1))
}

// Close ends the connections.
func (a *Acquirer) Close() {
	for _, l := range a.lines {
		l.close()
	}
}

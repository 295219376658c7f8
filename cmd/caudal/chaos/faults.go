package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// attacker injects the planned faults one after the other, each while records flow.
type attacker struct {
	options  *Options
	cluster  *cluster
	members  []*member
	load     *load
	observer *observer
	random   *rand.Rand
	progress func(int64)

	fallen   map[Kind]int
	idle     int // faults that hit an idle system, and were repeated
	stalls   []*stall
	held     map[string][]int32 // the last assignment seen
	perFault time.Duration      // how long one has taken, smoothed
	restart  func() error       // of the broker that is down
}

var errStalled = errors.New("nothing moves any more")

const (
	flowWindow   = 500 * time.Millisecond // records flow if some were decided in it
	flowPoll     = 2 * time.Millisecond
	cutWait      = 4 * time.Second // for the request to be cut
	overlapOneIn = 4               // faults that do not wait for the one before to be over
)

// run injects the plan. errStalled ends it early.
func (a *attacker) run(ctx context.Context, planned []Kind) error {
	a.perFault = 2 * time.Second
	for i := 0; i < len(planned) && ctx.Err() == nil; {
		began := time.Now()
		left := int64(len(planned) - i + 1)
		quota := (a.load.payments - a.load.sent.Load()) / left
		a.load.pace.set(quota/2, float64(quota)/2/a.perFault.Seconds())
		fell, err := a.strike(ctx, planned[i])
		if err != nil {
			return err
		}
		if !fell {
			a.idle++
			continue
		}
		a.fallen[planned[i]]++
		i++
		a.progress(int64(i))
		a.perFault = (3*a.perFault + time.Since(began)) / 4
	}
	return ctx.Err()
}

// strike waits until records flow, injects one fault and waits until they flow again. It tells whether the fault counts.
func (a *attacker) strike(ctx context.Context, kind Kind) (fell bool, err error) {
	if err := a.flowing(ctx); err != nil {
		return false, err
	}
	victim, err := a.victim(ctx)
	if err != nil {
		return false, err
	}
	a.rest(ctx, time.Duration(a.random.Int64N(int64(60*time.Millisecond))))
	if !a.busy() {
		return false, nil
	}
	since, hit, after, err := a.inject(ctx, kind, victim)
	if err != nil || !hit {
		return false, err
	}
	partitions := a.held[victim.instance()]
	if kind == Broker {
		partitions = nil
		for p := range a.options.Partitions {
			partitions = append(partitions, p)
		}
	}
	s := a.observer.watch(kind, since, partitions)
	a.stalls = append(a.stalls, s)
	before := a.observer.now().unique
	overlap := kind != Broker && a.random.IntN(overlapOneIn) == 0
	for {
		select {
		case <-s.going:
			overlap = true
		default:
		}
		// Who sleeps may hold up those who take over, by a transaction that is open.
		overlap = overlap || kind == Zombie && time.Since(since) > a.sleepMax()
		if a.observer.now().unique > before && overlap {
			break
		}
		if err := a.alive(); err != nil {
			return false, err
		}
		a.rest(ctx, flowPoll)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	return true, after()
}

// sleepMax bounds the sleep of a worker whose open transaction holds up those who take over. Apache Kafka looks for what is
// past its timeout every ten seconds.
func (a *attacker) sleepMax() time.Duration {
	if a.cluster.fake == nil {
		return 15 * time.Second
	}
	return 3 * a.options.SessionTimeout
}

// busy tells whether records flow now: some were decided a moment ago, and some wait.
func (a *attacker) busy() bool {
	r := a.observer.now()
	return time.Since(r.last) < flowWindow && r.backlog(a.load.commands.Load()) > 0
}

func (a *attacker) flowing(ctx context.Context) error {
	for !a.busy() {
		if err := a.alive(); err != nil {
			return err
		}
		a.rest(ctx, flowPoll)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// alive is an error when nothing was decided for the stall limit, or when no member will start again.
func (a *attacker) alive() error {
	if quiet := time.Since(a.observer.now().last); quiet > a.options.Stall {
		return fmt.Errorf("%w: no decision for %v", errStalled, quiet.Round(time.Second))
	}
	if refusing(a.members) == len(a.members) {
		return fmt.Errorf("%w: every worker refuses to run", errStalled)
	}
	return nil
}

func refusing(members []*member) (n int) {
	for _, m := range members {
		if _, refused := m.fate(); refused {
			n++
		}
	}
	return n
}

func (a *attacker) rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// victim is a member that works on partitions, as far as the group tells.
func (a *attacker) victim(ctx context.Context) (*member, error) {
	for {
		held, err := a.cluster.assignment(ctx)
		if err == nil && held != nil {
			a.held = held
		}
		var able []*member
		for _, m := range a.members {
			if m.able() && len(a.held[m.instance()]) > 0 {
				able = append(able, m)
			}
		}
		if len(able) > 0 {
			return able[a.random.IntN(len(able))], nil
		}
		if err := a.alive(); err != nil {
			return nil, err
		}
		a.rest(ctx, 20*time.Millisecond)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// inject makes the fault. after ends what of it is still under way once records flow again.
func (a *attacker) inject(ctx context.Context, kind Kind, m *member) (since time.Time, hit bool, after func() error, err error) {
	after = func() error { return nil }
	since = time.Now()
	switch kind {
	case Kill:
		pause := restartPause
		if len(a.members) > 1 && a.random.IntN(3) == 0 {
			pause = a.options.SessionTimeout + a.options.SessionTimeout/2 // the others take over
		}
		return since, m.kill(pause), after, nil
	case Zombie:
		if !m.sleep(true) {
			return since, false, after, nil
		}
		wake := func() error {
			a.rest(ctx, time.Until(since.Add(a.options.SessionTimeout+a.options.SessionTimeout/4)))
			m.sleep(false)
			return nil
		}
		if len(a.members) == 1 { // nobody takes over
			return since, true, after, wake()
		}
		return since, true, wake, nil
	case LeaveJoin:
		if err := m.stop(); err != nil {
			return since, false, after, err
		}
		again := func() error {
			a.rest(ctx, time.Duration(a.random.Int64N(int64(300*time.Millisecond))))
			m.start()
			return nil
		}
		if len(a.members) == 1 {
			return since, true, after, again()
		}
		return since, true, again, nil
	case Broker:
		return a.killBroker(ctx)
	default:
		select {
		case since = <-m.proxy.arm(cutKeys()[kind], a.random.IntN(2) == 0):
			return since, a.busy(), after, nil // readers ask while nothing moves, too
		case <-time.After(cutWait):
		case <-ctx.Done():
		}
		m.proxy.disarm()
		return since, false, after, nil
	}
}

// killBroker kills one of three and starts it again once records flow without it. It waits until all replicas are in sync:
// two brokers away at once would be more than the cluster is made for.
func (a *attacker) killBroker(ctx context.Context) (since time.Time, hit bool, after func() error, err error) {
	for a.observer.stalled() || !a.cluster.inSync(ctx) {
		if err := errors.Join(a.alive(), ctx.Err()); err != nil {
			return since, false, nil, err
		}
		a.rest(ctx, 100*time.Millisecond)
	}
	if !a.busy() {
		return since, false, nil, nil
	}
	i := a.random.IntN(len(a.cluster.addrs))
	since = time.Now()
	a.cluster.kafka.KillBroker(i)
	return since, true, func() error {
		if err := a.cluster.kafka.RestartBroker(ctx, i); err != nil {
			return fmt.Errorf("restarting broker %d: %w", i+1, err)
		}
		return nil
	}, nil
}

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/child"
	"github.com/caudalpay/caudal/cmd/caudal/progress"
)

// ErrFailed says that the attack found something. The report says what.
var ErrFailed = errors.New("chaos: the attack found something wrong")

const (
	settled      = time.Second      // without a decision, when nothing more is expected
	heapRoom     = 512 << 20        // what may be allocated between two collections
	transactions = 40 * time.Second // that killed workers left open: a real broker looks for them every ten
)

// run is one attack under way.
type run struct {
	options  Options
	stderr   io.Writer
	log      *slog.Logger
	cluster  *cluster
	members  []*member
	load     *load
	observer *observer
	attacker *attacker
	report   Report
}

// Run attacks and reports on stdout. Its error is ErrFailed where something is wrong.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) (err error) {
	o = o.withDefaults()
	if err := o.Validate(); err != nil {
		return fmt.Errorf("chaos: %w", err)
	}
	temporary := o.Work == ""
	if temporary {
		if o.Work, err = os.MkdirTemp("", "caudal-chaos-"); err != nil {
			return fmt.Errorf("making a folder: %w", err)
		}
	} else if err := os.MkdirAll(o.Work, 0o750); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	if o.Again {
		o.Payments, o.Faults, o.Members, o.Seed = 0, 0, 0, 0 // not known any more
	}
	r := &run{options: o, stderr: stderr}
	r.report = Report{
		Payments: o.Payments, Faults: map[Kind]int{}, Planned: o.Faults, Seed: o.Seed, Members: o.Members, Engine: o.Engine, Again: o.Again,
	}
	err = r.attack(ctx)
	r.report.judge()
	if err == nil && r.report.Passed && temporary {
		_ = os.RemoveAll(o.Work) // a temporary folder
	} else {
		r.report.Kept = o.Work
	}
	if err != nil {
		return fmt.Errorf("chaos (logs in %s): %w", o.Work, err)
	}
	if err := r.report.write(stdout, o.Output); err != nil {
		return err
	}
	if !r.report.Passed {
		return ErrFailed
	}
	return nil
}

// attack starts everything, and ends it whatever happens.
func (r *run) attack(ctx context.Context) (err error) {
	logFile, err := os.OpenFile(filepath.Join(r.options.Work, "chaos.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	defer func() { _ = logFile.Close() }() // only words
	r.log = slog.New(slog.NewJSONHandler(logFile, nil))
	if r.cluster, err = openCluster(ctx, &r.options, r.log, r.stderr); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.cluster.close(ctx)) }()
	r.report.Brokers = r.cluster.what
	if r.options.Again {
		return r.verdict(ctx)
	}
	if r.observer, err = newObserver(r.cluster.addrs, r.options.Partitions); err != nil {
		return err
	}
	if r.load, err = newLoad(&r.options, r.cluster.addrs); err != nil {
		r.observer.client.Close()
		return err
	}
	defer r.load.client.Close()

	inner, stop := context.WithCancel(ctx)
	g, inner := errgroup.WithContext(inner)
	g.Go(func() error { return r.observer.run(inner) })
	g.Go(func() error { child.HeapRoom(inner, heapRoom); return nil })
	for i := range r.options.Members {
		m, err := newMember(inner, i, &r.options, r.cluster.addrs)
		if err != nil {
			stop()
			return errors.Join(err, g.Wait())
		}
		r.members = append(r.members, m)
		g.Go(func() error { return m.keep(inner) })
	}
	err = r.siege(inner)
	for _, m := range r.members {
		ended, refused := m.fate()
		r.report.Ended += ended
		if refused {
			r.report.Refused++
		}
	}
	if err == nil {
		err = r.verdict(inner)
	}
	stop()
	return errors.Join(err, g.Wait())
}

// siege is load and faults, up to the orderly end of all workers.
func (r *run) siege(ctx context.Context) error {
	for _, m := range r.members {
		m.start()
	}
	a := &attacker{
		options: &r.options, cluster: r.cluster, members: r.members, load: r.load, observer: r.observer,
		random: rand.New(rand.NewPCG(r.options.Seed, 2)), fallen: r.report.Faults, held: map[string][]int32{}, //nolint:gosec // an attack, no secret
	}
	r.attacker = a
	bar := progress.New(r.stderr, "faults", "faults", int64(r.options.Faults))
	a.progress = func(n int64) { bar.Set(n, int64(r.options.Faults)) }
	began := time.Now()
	if err := r.load.open(ctx); err != nil {
		return fmt.Errorf("opening accounts: %w", err)
	}
	err := a.drained(ctx) // money needs accounts
	loading, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	loaded := make(chan error, 1)
	go func() { loaded <- r.load.run(loading) }()
	if err == nil {
		err = a.run(ctx, plan(r.options.kinds(), r.options.Faults, rand.New(rand.NewPCG(r.options.Seed, 3)))) //nolint:gosec // as above
	}
	bar.Finish()
	if err == nil {
		r.load.pace.open()
		err = <-loaded
		if err == nil {
			err = a.drained(ctx)
		}
	} else {
		stopLoad()
		err = errors.Join(err, <-loaded)
	}
	r.report.Seconds = time.Since(began).Seconds()
	r.report.PerSecond = float64(r.observer.now().unique) / r.report.Seconds
	r.report.IdleFaults = a.idle
	r.report.takeovers(a.stalls)
	if errors.Is(err, errStalled) {
		r.report.Stalled, err = err.Error(), nil
		r.diagnose(ctx)
	}
	return errors.Join(err, r.end())
}

// diagnose writes into the logs why nothing moves: what the group and the observer know, and where the workers stand.
func (r *run) diagnose(ctx context.Context) {
	seen := r.observer.now()
	held, err := r.cluster.assignment(ctx)
	r.log.Error("nothing moves", "backlog", seen.backlog(r.load.commands.Load()), "decided", seen.unique, "assignment", held, "error", err)
	if err := r.cluster.positions(ctx, r.log); err != nil {
		r.log.Error("asking for positions", "error", err)
	}
	for _, m := range r.members {
		m.dump()
	}
}

// end stops all workers in order, as far as they can.
func (r *run) end() error {
	var g errgroup.Group
	for _, m := range r.members {
		g.Go(func() error {
			m.sleep(false)
			return m.stop()
		})
	}
	if err := g.Wait(); err != nil && r.report.Stalled == "" {
		return err
	}
	return nil
}

// drained waits until everything that was sent and everything that follows is decided.
func (a *attacker) drained(ctx context.Context) error {
	for {
		if r := a.observer.now(); r.backlog(a.load.commands.Load()) <= 0 && time.Since(r.last) > settled && r.unique > 0 {
			return nil
		}
		if err := a.alive(); err != nil {
			return err
		}
		a.rest(ctx, 20*time.Millisecond)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// verdict reads all logs, with nothing at work any more.
func (r *run) verdict(ctx context.Context) error {
	var open int64
	for until := time.Now().Add(transactions); ; time.Sleep(200 * time.Millisecond) {
		err := retried(ctx, func() (err error) {
			open, err = r.cluster.openTransactions(ctx)
			return err
		})
		if err != nil {
			return err
		}
		if open == 0 || time.Now().After(until) {
			break
		}
	}
	bar := progress.New(r.stderr, "oracle", "partitions", int64(r.options.Partitions))
	j := &judge{cluster: r.cluster, partitions: r.options.Partitions, step: bar.Set}
	if r.load != nil {
		j.acknowledged = r.load.commands.Load()
	}
	wrong, err := j.run(ctx)
	bar.Finish()
	wrong.OpenTransactions = open
	if r.observer != nil {
		seen := r.observer.now()
		wrong.ConservationBroken = seen.broken.count + int64(seen.underWay)
		if wrong.FirstFinding == "" {
			wrong.FirstFinding = seen.broken.first
		}
	}
	r.report.Wrong = wrong
	r.report.Commands, r.report.Decisions = wrong.Commands, wrong.Decisions
	return err
}

package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/client"
	"github.com/caudalpay/caudal/cmd/caudal/progress"
	"github.com/caudalpay/caudal/cmd/caudal/rig"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// ErrFailed says that something is wrong. The report says what.
var ErrFailed = errors.New("soak: the books of the house and of its rails disagree, or something is left")

const (
	senders = 4
	callers = 8
	// standInAfter is short, so that the door stands in for a worker that was killed.
	standInAfter = 200 * time.Millisecond
	// reversedAfter is short, so that an acquirer gives up while the house is down.
	reversedAfter = 2 * time.Second
	apart         = 2 * time.Second // of two kills, so that what was killed has its leftovers to deal with
	quiet         = 3 * time.Second // nothing is under way for that long
	actsMost      = 3               // of a merchant on one payment
)

// run is one soak under way.
type run struct {
	options  Options
	log      *slog.Logger
	stderr   io.Writer
	report   Report
	fold     *fold
	queue    *queue[item]
	calls    *queue[call]
	quotes   quotes
	disputes *disputes
	door     string // the card feed's address
	feed     *rig.Acquirer
	ending   bool // the acquirer was told to end
	killed   time.Time
	began    time.Time
	accepted accepted
	sent     atomic.Int64 // payments handed to the queues
	told     atomic.Int64 // payments of the plan that have a decision
	waiting  atomic.Int64 // payments and operations that wait for an answer

	generated atomic.Bool // all payments of the plan were handed out
}

// Run soaks, and reports on stdout. Its error is ErrFailed where something is wrong.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) (err error) {
	if err := o.Validate(); err != nil {
		return fmt.Errorf("soak: %w", err)
	}
	if o.Faults == "" {
		o.Faults = DefaultFaults
	}
	if o.Railsim, err = rig.SimulatorProgram(o.Railsim); err != nil {
		return fmt.Errorf("soak: %w", err)
	}
	temporary := o.Work == ""
	if temporary {
		if o.Work, err = os.MkdirTemp("", "caudal-soak-"); err != nil {
			return fmt.Errorf("making a folder: %w", err)
		}
	} else if err := os.MkdirAll(o.Work, 0o750); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	r := &run{options: o, stderr: stderr, queue: newQueue[item](), calls: newQueue[call]()}
	r.report = Report{Payments: o.Payments, Seed: o.Seed, Refused: map[string]int{}, Statuses: map[string]int{}, Faults: map[string]Met{}, TooRare: []string{}}
	r.accepted = accepted{payments: map[string]bool{}, refused: map[string]int{}, sample: map[string]string{}}
	if r.disputes, err = newDisputes(); err != nil {
		return err
	}
	r.fold = newFold(r.changed, &r.quotes, r.disputes)
	logs, err := os.OpenFile(filepath.Join(o.Work, "soak.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	r.log = slog.New(slog.NewJSONHandler(logs, nil))
	err = errors.Join(r.soak(ctx), logs.Close())
	if err != nil {
		return fmt.Errorf("soak (logs in %s): %w", o.Work, err)
	}
	r.report.judge()
	if r.report.Passed && temporary {
		_ = os.RemoveAll(o.Work) // a temporary folder
	} else {
		r.report.Kept = o.Work
	}
	if err := r.report.write(stdout, o.Output); err != nil {
		return err
	}
	if !r.report.Passed {
		return ErrFailed
	}
	return nil
}

func (r *run) soak(ctx context.Context) (err error) {
	address, err := rig.FreeAddress(ctx)
	if err != nil {
		return err
	}
	s, err := rig.StartSimulator(ctx, rig.SimulatorOptions{
		Program: r.options.Railsim, Folder: r.options.Work, Seed: r.options.Seed, Faults: r.options.Faults, Webhooks: "http://" + address + "/webhooks",
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	rails, err := s.Rails(ctx, filepath.Join(r.options.Work, "rails"))
	if err != nil {
		return err
	}
	if r.door, err = rig.FreeAddress(ctx); err != nil {
		return err
	}
	h, err := r.house(ctx, address, rails)
	if err != nil {
		return err
	}
	if r.feed, err = s.StartAcquirer(ctx, h, rig.AcquirerOptions{
		Folder: r.options.Work, Seed: r.options.Seed, Rate: r.options.FeedRate, Accounts: cardholders, Connections: 8,
		Deadline: standInAfter, Timeout: reversedAfter,
	}); err != nil {
		return errors.Join(err, h.Kill())
	}
	defer func() { err = errors.Join(err, r.feed.Kill()) }() // it has ended, but where something went wrong
	api := h.Client()
	defer api.Close()
	of, err := open(ctx, api)
	if err != nil {
		return errors.Join(err, h.Kill())
	}
	r.began = time.Now()
	sending, stop := context.WithCancel(ctx)
	g, sending := errgroup.WithContext(sending)
	for range senders {
		g.Go(func() error { return r.send(sending, api) })
	}
	for range callers {
		g.Go(func() error { return r.call(sending, api) })
	}
	g.Go(func() error { return r.generate(sending, of) })
	h, err = r.lives(sending, h, rails)
	r.report.Seconds = time.Since(r.began).Seconds()
	stop()
	if err = errors.Join(err, g.Wait()); err != nil {
		return errors.Join(err, h.Kill())
	}
	if err := r.compare(ctx, s); err != nil {
		return errors.Join(err, h.Kill())
	}
	if err := h.Stop(); err != nil {
		return err
	}
	if err := r.settle(ctx, h, rails); err != nil {
		return err
	}
	if err := h.Verify(ctx); err != nil {
		r.report.Verify = err.Error()
		r.report.find("caudal verify says no")
		return nil
	}
	r.report.Balanced = true
	return nil
}

func (r *run) house(ctx context.Context, address, rails string) (*rig.House, error) {
	flags := []string{"--workers", strconv.Itoa(r.options.Workers), "--rails", rails, "--iso8583", r.door, "--iso8583-deadline", standInAfter.String()}
	return rig.StartApart(ctx, r.options.Work, address, flags, []string{"--rails", rails})
}

// settle starts the house once more, whole, and stops it in order: only then do both stores have everything.
func (r *run) settle(ctx context.Context, h *rig.House, rails string) error {
	whole, err := rig.StartHouse(ctx, r.options.Work, h.HTTP, "--rails", rails)
	if err != nil {
		return fmt.Errorf("starting the whole house to settle: %w", err)
	}
	return whole.Stop()
}

// flying is how many payments are under way: sent and not decided, or waiting for their rail.
func (r *run) flying() int { return int(r.sent.Load() - r.told.Load() + r.waiting.Load()) }

// changed hears of each change of a payment's state.
func (r *run) changed(id string, s *state) {
	if !strings.HasPrefix(id, "pi_") || s.order == "" || s.waiting() {
		return
	}
	if s.status == paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED {
		r.dispute(id, s)
	}
	if items := followUps(r.options.Seed, id, s); len(items) > 0 && s.acted < actsMost && s.actedAt != s.status {
		s.acted++
		s.actedAt = s.status
		r.queue.put(items...)
	}
}

// lives follows the decisions, kills the house as often as it has to, and gives back the last one, drained or stalled.
func (r *run) lives(ctx context.Context, h *rig.House, rails string) (*rig.House, error) {
	bar := progress.New(r.stderr, "soaking", "payments", int64(r.options.Payments))
	defer bar.Finish()
	cl, err := r.fold.open(h)
	if err != nil {
		return h, err
	}
	defer func() { cl.Close() }()
	moved, calm := time.Now(), time.Now() // when something was last decided of what is under way; when it was last under way
	before := [2]int64{}
	for {
		if err := r.fold.read(ctx, cl); err != nil {
			return h, err
		}
		if err := h.Ended(); err != nil {
			return h, err
		}
		if ctx.Err() != nil {
			return h, fmt.Errorf("soaking: %w", context.Cause(ctx))
		}
		// Banks that are asked about payouts of yesterday answer for ever: only what is under way counts.
		if now := [2]int64{r.fold.payments, int64(r.fold.waiting)}; now != before {
			moved, before = time.Now(), now
		}
		if !r.drained() {
			calm = time.Now()
		} else if !r.ending { // the acquirer sends as long as the rest does
			r.ending = true
			r.feed.End()
		}
		r.told.Store(min(r.fold.payments, r.sent.Load()))
		r.waiting.Store(int64(r.fold.waiting))
		bar.Set(r.fold.payments-int64(r.fold.waiting), int64(r.options.Payments))
		if time.Since(calm) > quiet && r.feed.Ended() {
			return h, nil
		}
		if time.Since(moved) > r.options.Stall {
			r.report.find("nothing moved for %v: %d payments and operations wait", r.options.Stall, r.fold.waiting)
			return h, nil
		}
		what := r.killNow()
		if what == nothing {
			continue
		}
		if what == house {
			cl.Close()
		}
		if h, err = r.kill(ctx, what, h, rails); err != nil {
			return h, err
		}
		if what == house {
			if cl, err = r.fold.open(h); err != nil {
				return h, err
			}
		}
		moved = time.Now()
	}
}

func (r *run) drained() bool {
	return r.report.Kills+r.report.WorkerKills+r.report.SinkKills == len(r.options.victims()) && r.generated.Load() && r.calls.empty() && r.queue.empty() && r.fold.waiting == 0
}

// victim is what is killed.
type victim string

const (
	nothing victim = ""
	house   victim = "house" // with all its children, and the sinks
	worker  victim = "worker"
	sinks   victim = "sinks"
)

// victims are what is killed in a run, one after the other.
func (o Options) victims() (all []victim) {
	for n := range max(o.Kills, o.PartKills) {
		if n < o.PartKills {
			all = append(all, worker, sinks)
		}
		if n < o.Kills {
			all = append(all, house)
		}
	}
	return all
}

// killNow spreads the kills evenly over the payments.
func (r *run) killNow() victim {
	all, done := r.options.victims(), r.report.Kills+r.report.WorkerKills+r.report.SinkKills
	if done == len(all) || time.Since(r.killed) < apart || r.fold.payments*int64(len(all)+1) < int64(r.options.Payments)*int64(done+1) {
		return nothing
	}
	return all[done]
}

// kill kills, and starts again what does not start itself.
func (r *run) kill(ctx context.Context, what victim, h *rig.House, rails string) (*rig.House, error) {
	r.killed = time.Now()
	r.log.Info("killing", "what", string(what), "waiting", r.fold.waiting, "payments", r.fold.payments)
	switch what {
	case worker:
		err := h.KillWorker(r.report.WorkerKills % r.options.Workers)
		if errors.Is(err, rig.ErrNoWorker) {
			return h, nil // it is being started after the last kill: a moment later
		}
		r.report.WorkerKills++
		return h, err
	case sinks:
		r.report.SinkKills++
		return h, h.KillSinks()
	default:
	}
	r.report.Kills++
	if err := h.Kill(); err != nil {
		return h, err
	}
	defer func() { r.killed = time.Now() }()
	next, err := r.house(ctx, h.HTTP, rails)
	if err != nil {
		return h, fmt.Errorf("starting again after kill %d: %w", r.report.Kills, err)
	}
	return next, nil
}

// open opens the accounts, and gives them money.
func open(ctx context.Context, api *client.Client) (of holders, err error) {
	for i := range accounts {
		id, err := openOne(ctx, api, fmt.Sprint(i), usualPolicy)
		if err != nil {
			return of, err
		}
		of.usual = append(of.usual, id)
	}
	for i := range briefs {
		id, err := openOne(ctx, api, fmt.Sprint("brief-", i), briefPolicy)
		if err != nil {
			return of, err
		}
		of.brief = append(of.brief, id)
	}
	return of, nil
}

func openOne(ctx context.Context, api *client.Client, name, policy string) (string, error) {
	a, err := api.Do(ctx, client.Request{Method: http.MethodPost, Path: "/accounts", Key: "open-" + name, Body: map[string]any{
		"external_id": "soak-" + name, "customer_id": "soak-" + name, "kind": "merchant", "currencies": []string{"BRL", "USD"},
		"kyc_level": 3, "policy": policy,
	}})
	var opened struct {
		AccountID string `json:"account_id"`
	}
	if err == nil {
		err = json.Unmarshal(a.Body, &opened)
	}
	if err != nil || opened.AccountID == "" {
		return "", fmt.Errorf("opening account %s: answered %d: %s (%w)", name, a.Status, a.Body, err)
	}
	fund := item{Kind: "payin", Key: "fund-" + name, AccountID: opened.AccountID, Amount: funds, Currency: "BRL", Method: &method{Type: "book"}, Reference: "funds"}
	answers, err := api.Batch(ctx, []any{fund}, "wait=20")
	if err != nil || answers[0].Status >= http.StatusMultipleChoices {
		return "", fmt.Errorf("giving account %s its funds: %+v (%w)", name, answers, err)
	}
	return opened.AccountID, nil
}

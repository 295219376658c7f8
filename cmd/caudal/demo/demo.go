// Package demo shows the life of payments: it starts the house and the simulator of the outside world, takes payments through
// every turn they can take, and prints what became of each and of the money. A flow that ends otherwise than it should fails
// the whole.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/sync/errgroup"

	"github.com/caudalpay/caudal/cmd/caudal/client"
	"github.com/caudalpay/caudal/cmd/caudal/progress"
	"github.com/caudalpay/caudal/cmd/caudal/rig"
	"github.com/caudalpay/caudal/processors/money"
)

// ErrFailed says that a flow ended otherwise than it should, or that the books do not close.
var ErrFailed = errors.New("demo: something ended otherwise than it should")

const (
	funds    = 10_000_00
	patience = 30 * time.Second // for an answer of a rail
	tick     = 3 * time.Minute  // for what a minute's tick lets expire
)

// What the simulator does wrong: each answer of Rede to an authorisation is lost, the webhooks of Stone lie and come twice.
const faults = "rede.timeout_after=100%,pagarme.hook_duplicate=100%,pagarme.hook_lie_amount=100%,pagarme.hook_lie_unknown=100%,latency=100%:5..40"

// Options of the demo.
type Options struct {
	Railsim string // the simulator's program; empty: beside this one
	Work    string // folder of everything; empty: a temporary one
	Output  string // table or json
}

// Row is what became of one flow. Amounts are of its account, in minor units of BRL, without the funds it began with.
type Row struct {
	Flow    string   `json:"flow"`
	Steps   []string `json:"steps"`
	Posted  int64    `json:"posted_minor"`
	Held    int64    `json:"held_minor"`
	Seconds float64  `json:"seconds"`
	Error   string   `json:"error,omitempty"`
}

// Report is what the demo prints.
type Report struct {
	Flows        []Row  `json:"flows"`
	ChargedTwice int    `json:"charged_twice"` // in the simulator's own books
	Balanced     bool   `json:"balanced"`      // caudal verify
	Verify       string `json:"verify,omitempty"`
	Passed       bool   `json:"passed"`
	Kept         string `json:"kept,omitempty"`
}

// Run shows all flows. Its error is ErrFailed where one failed.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) (err error) {
	if o.Output != "table" && o.Output != "json" {
		return fmt.Errorf("-o %q: choose table or json", o.Output)
	}
	if o.Railsim, err = rig.SimulatorProgram(o.Railsim); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	temporary := o.Work == ""
	if temporary {
		if o.Work, err = os.MkdirTemp("", "caudal-demo-"); err != nil {
			return fmt.Errorf("making a folder: %w", err)
		}
	} else if err := os.MkdirAll(o.Work, 0o750); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	r, err := show(ctx, o, stderr)
	if err != nil {
		return fmt.Errorf("demo (logs in %s): %w", o.Work, err)
	}
	if r.Passed && temporary {
		_ = os.RemoveAll(o.Work) // a temporary folder
	} else {
		r.Kept = o.Work
	}
	if err := r.write(stdout, o.Output); err != nil {
		return err
	}
	if !r.Passed {
		return ErrFailed
	}
	return nil
}

func show(ctx context.Context, o Options, stderr io.Writer) (r Report, err error) {
	address, err := rig.FreeAddress(ctx)
	if err != nil {
		return r, err //nolint:wrapcheck // it says what it was doing, as below
	}
	s, err := rig.StartSimulator(ctx, rig.SimulatorOptions{Program: o.Railsim, Folder: o.Work, Seed: 7, Faults: faults, Webhooks: "http://" + address + "/webhooks"})
	if err != nil {
		return r, err //nolint:wrapcheck // as above
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	rails, err := s.Rails(ctx, o.Work+"/rails")
	if err != nil {
		return r, err //nolint:wrapcheck // as above
	}
	h, err := rig.StartHouse(ctx, o.Work, address, "--rails", rails)
	if err != nil {
		return r, err //nolint:wrapcheck // as above
	}
	all := flows()
	r.Flows = make([]Row, len(all))
	bar := progress.New(stderr, "showing", "flows", int64(len(all)))
	api := h.Client()
	var g errgroup.Group
	g.SetLimit(8)
	for i, f := range all {
		g.Go(func() error {
			r.Flows[i] = run(&scene{ctx: ctx, api: api, house: h, outside: s, name: fmt.Sprintf("demo-%d", i), policy: f.policy}, f)
			bar.Add(1)
			return nil
		})
	}
	_ = g.Wait() // each tells in its row
	bar.Finish()
	api.Close()
	var books struct {
		ChargedTwice int `json:"charged_twice"`
	}
	if err := errors.Join(s.Get(ctx, "/books/summary", &books), h.Stop()); err != nil {
		return r, err
	}
	r.ChargedTwice = books.ChargedTwice
	if err := h.Verify(ctx); err != nil {
		r.Verify = err.Error()
	} else {
		r.Balanced = true
	}
	r.Passed = r.Balanced && r.ChargedTwice == 0 && !slices.ContainsFunc(r.Flows, func(f Row) bool { return f.Error != "" })
	return r, nil
}

// run takes an account through one flow.
func run(s *scene, f flow) Row {
	began := time.Now()
	row := Row{Flow: f.name}
	err := s.open()
	if err == nil {
		err = f.play(s)
	}
	if err == nil {
		row.Posted, row.Held, err = s.balance()
		row.Posted -= s.funds
	}
	if err != nil {
		row.Error = err.Error()
	}
	row.Steps, row.Seconds = s.steps, time.Since(began).Seconds()
	return row
}

// scene is one account and what it goes through.
type scene struct {
	ctx          context.Context //nolint:containedctx // lives as long as its flow
	api          *client.Client
	house        *rig.House
	outside      *rig.Simulator
	name, policy string
	account      string
	funds        int64  // what stood there at first
	seen         uint64 // the last decision on the account that was told
	number       int
	mu           sync.Mutex // two calls at once
	steps        []string
}

// step tells what was done.
func (s *scene) step(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, fmt.Sprintf(format, args...))
}

// answer is what the front door says, as far as the flows look at it.
type answer struct {
	HTTP      int    `json:"-"`
	PaymentID string `json:"payment_id"`
	AccountID string `json:"account_id"`
	DisputeID string `json:"dispute_id"`
	QuoteID   string `json:"quote_id"`
	Seq       uint64 `json:"account_seq"`
	FX        struct {
		Rate string `json:"rate"`
	} `json:"fx"`
	Status   word     `json:"status"`
	Code     string   `json:"code"`
	Reasons  []string `json:"reasons"`
	Captured *int64   `json:"captured_amount"`

	Connector string `json:"connector"`
	Reference string `json:"rail_reference"`
	Refunded  int64  `json:"refunded_amount"`
	Detail    string `json:"detail"`
}

// word is the status of a payment; in a problem document it is a number, and nobody's.
type word string

// UnmarshalJSON implements json.Unmarshaler.
func (w *word) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		return nil
	}
	return json.Unmarshal(b, (*string)(w)) //nolint:wrapcheck // the decoder says where
}

// object is a JSON object.
type object = map[string]any

// post sends one request under a key of its own.
func (s *scene) post(path string, body object) (answer, error) {
	s.mu.Lock()
	s.number++
	key := fmt.Sprintf("%s-%d", s.name, s.number)
	s.mu.Unlock()
	return s.call(client.Request{Method: http.MethodPost, Path: path, Key: key, Prefer: "wait=20", Body: body})
}

func (s *scene) call(r client.Request) (answer, error) {
	a, err := s.api.Do(s.ctx, r)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	out := answer{HTTP: a.Status}
	if err := json.Unmarshal(a.Body, &out); err != nil {
		return out, fmt.Errorf("%s %s answered %d: %.300s: %w", r.Method, r.Path, a.Status, a.Body, err)
	}
	s.mu.Lock()
	if out.AccountID == s.account {
		s.seen = max(s.seen, out.Seq)
	}
	s.mu.Unlock()
	return out, nil
}

// ask is post of what has to be granted.
func (s *scene) ask(path string, body object) (answer, error) {
	a, err := s.post(path, body)
	if err == nil && a.HTTP >= http.StatusMultipleChoices {
		err = fmt.Errorf("POST %s answered %d %s %v %s", path, a.HTTP, a.Code, a.Reasons, a.Detail)
	}
	return a, err
}

// refused is post of what has to be declined for a reason.
func (s *scene) refused(path string, body object, reason string) error {
	a, err := s.post(path, body)
	if err != nil {
		return err
	}
	if !slices.Contains(a.Reasons, reason) {
		return fmt.Errorf("POST %s answered %d %v, not %s", path, a.HTTP, a.Reasons, reason)
	}
	s.step("refused: %s", reason)
	return nil
}

// until asks for a payment until it has one of the statuses.
func (s *scene) until(limit time.Duration, id string, statuses ...string) (answer, error) {
	return s.poll(limit, "/transactions/"+id, statuses...)
}

// ends waits until what stands at a path has a status, and tells it.
func (s *scene) ends(path, status string) error {
	_, err := s.poll(patience, path, status)
	if err == nil {
		s.step("%s", status)
	}
	return err
}

func (s *scene) poll(limit time.Duration, path string, statuses ...string) (answer, error) {
	var a answer
	for by := time.Now().Add(limit); ; {
		var err error
		if a, err = s.call(client.Request{Method: http.MethodGet, Path: path}); err != nil {
			return a, err
		}
		if slices.Contains(statuses, string(a.Status)) {
			return a, nil
		}
		if time.Now().After(by) {
			return a, fmt.Errorf("%s is %s %v after %v, not %s", path, a.Status, a.Reasons, limit, strings.Join(statuses, " or "))
		}
		select {
		case <-s.ctx.Done():
			return a, s.ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// becomes waits for a status and tells it.
func (s *scene) becomes(id, status string) (answer, error) {
	a, err := s.until(patience, id, status)
	if err == nil {
		s.step("%s", status)
	}
	return a, err
}

func (s *scene) open() error {
	var err error
	if s.account, err = s.openAs(s.name, s.policy, "BRL"); err != nil {
		return err
	}
	a, err := s.ask("/payins", object{"account_id": s.account, "amount": funds, "currency": "BRL", "method": object{"type": "book"}, "reference": "funds"})
	if err != nil {
		return err
	}
	if _, err := s.until(patience, a.PaymentID, "succeeded"); err != nil {
		return err
	}
	s.funds, _, err = s.balance()
	return err
}

// openAs opens an account of somebody.
func (s *scene) openAs(name, policy string, currencies ...string) (string, error) {
	if policy == "" {
		policy = "acquiring"
	}
	a, err := s.ask("/accounts", object{
		"external_id": name, "customer_id": name, "kind": "merchant", "currencies": currencies, "kyc_level": 3, "policy": policy,
	})
	return a.AccountID, err
}

// get reads anything.
func (s *scene) get(path string, into any) error {
	a, err := s.api.Do(s.ctx, client.Request{Method: http.MethodGet, Path: path})
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	if err := json.Unmarshal(a.Body, into); err != nil || a.Status != http.StatusOK {
		return fmt.Errorf("GET %s answered %d: %.300s (%w)", path, a.Status, a.Body, err)
	}
	return nil
}

func (s *scene) balance() (posted, held int64, err error) {
	var view struct {
		Balances []struct {
			Currency string `json:"currency"`
			Posted   int64  `json:"posted"`
			Held     int64  `json:"held"`
		} `json:"balances"`
	}
	if err := s.get(fmt.Sprintf("/accounts/%s/balances?min_seq=%d", s.account, s.seen), &view); err != nil {
		return 0, 0, err
	}
	for _, b := range view.Balances {
		if b.Currency == "BRL" {
			return b.Posted, b.Held, nil
		}
	}
	return 0, 0, fmt.Errorf("no balance in BRL: %+v", view)
}

func (r *Report) write(w io.Writer, output string) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
		return nil
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Options.SeparateRows = true
	t.SetColumnConfigs([]table.ColumnConfig{{Name: "what happened", WidthMax: 90}})
	t.AppendHeader(table.Row{"flow", "what happened", "account BRL", "held", "seconds"})
	for _, f := range r.Flows {
		what := strings.Join(f.Steps, " > ")
		if f.Error != "" {
			what += " > FAILED: " + f.Error
		}
		t.AppendRow(table.Row{f.Flow, what, money.Format(f.Posted, "BRL"), money.Format(f.Held, "BRL"), fmt.Sprintf("%.1f", f.Seconds)})
	}
	t.Render()
	balanced := "yes: every decision recomputed, both stores equal to the log"
	if !r.Balanced {
		balanced = "NO: " + r.Verify
	}
	if _, err := fmt.Fprintf(w, "charged twice, by the rails' own books: %d\nbooks balance: %s\n", r.ChargedTwice, balanced); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if r.Kept != "" {
		_, _ = fmt.Fprintln(w, "kept:", r.Kept) // as above
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/cmd/caudal/client"
	"github.com/caudalpay/caudal/cmd/railsim/server"
	"github.com/caudalpay/caudal/cmd/railsim/simtest"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// railFaults are what acquirers do to every tenth call or so, before and after the effect.
const railFaults = "timeout_before=2%,timeout_after=3%,error_before=2%,error_after=2%,reset_before=2%,reset_after=3%," +
	"wrong_amount=1%,garbage=1%,latency=90%:1..10/10%:20..100,timeout_ms=1500"

const railFile = `kind: rails
version: 1
routes: routes.yaml
acquirers:
  - {name: cielo, dialect: cielo, url: URL/cielo, query_url: URL/cielo, merchant_id: 00000000-0000-4000-a000-000000000001, secret: {file: cielo.key},
     webhook: {header: X-Railsim, secrets: [{file: cielo.hook}]}}
  - {name: stone, dialect: pagarme, url: URL/pagarme, customer_id: cus_1, secret: {file: stone.key}}
banks:
  - {name: bank, dialect: transfers, url: URL/bank, currencies: [BRL], secret: {file: bank.key}}
timing: {deadline: 500ms, polls: [300ms, 1s, 3s, 6s, 14s], not_found_after: 13s, watch_first: 300ms}
`

const railRoutes = `version: 1
routes:
  - {connector: cielo, brands: [visa], cost_bp: 200}
  - {connector: stone, cost_bp: 220}
  - {connector: bank}
`

// railsim starts the simulator, and gives its address and the file that leads to it.
func railsim(t *testing.T, seed uint64, faults string) (url, file string) {
	t.Helper()
	cfg := simtest.Config()
	cfg.Seed, cfg.Faults, cfg.Data, cfg.BankDelay = seed, faults, t.TempDir(), 200*time.Millisecond
	_, url = simtest.Serve(t, cfg)
	return url, railFiles(t, url, map[string]string{
		"rails.yaml": railFile, "routes.yaml": railRoutes,
		"cielo.key": server.DefaultCredentials().Cielo.MerchantKey, "cielo.hook": server.DefaultCredentials().Cielo.WebhookValue, "stone.key": server.DefaultCredentials().Pagarme.SecretKey,
		"bank.key": server.DefaultCredentials().Bank.Token,
	})
}

// railFiles writes what leads a house to the simulator, and gives the path of rails.yaml.
func railFiles(t *testing.T, url string, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(strings.ReplaceAll(text, "URL", url)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "rails.yaml")
}

// railPayment is a card payment, or a payout by bank, as the decisions tell it.
type railPayment struct {
	status             paymentsv1.PaymentStatus
	amount             int64 // of a payout
	captured, refunded int64
	order              string // of its authorisation
	late               bool
}

// railPayments folds the decisions of a house, up to the end of the log as of now.
func (h *house) railPayments() map[string]*railPayment {
	h.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(h.addresses().Brokers...), kgo.ConsumeTopics(topics.Decisions), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		h.t.Fatal(err)
	}
	defer cl.Close()
	all := map[string]*railPayment{}
	get := func(id string) *railPayment {
		if all[id] == nil {
			all[id] = &railPayment{}
		}
		return all[id]
	}
	for {
		ctx, cancel := context.WithTimeout(h.t.Context(), 700*time.Millisecond)
		fetches := cl.PollFetches(ctx)
		cancel()
		if fetches.NumRecords() == 0 {
			return all
		}
		fetches.EachRecord(func(r *kgo.Record) {
			d := &paymentsv1.Decision{}
			if err := proto.Unmarshal(r.Value, d); err != nil {
				h.t.Fatal(err)
			}
			tell(d, get)
		})
	}
}

func tell(d *paymentsv1.Decision, get func(string) *railPayment) {
	switch d.GetOutcome() {
	case paymentsv1.Outcome_OUTCOME_APPROVED, paymentsv1.Outcome_OUTCOME_APPLIED:
	default:
		return
	}
	id, status := d.GetPaymentId(), d.GetStatus()
	if strings.HasPrefix(id, "pi_") && d.GetMethod() == "card" {
		p := get(id)
		p.status = status
		if d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER {
			p.order, p.captured = d.GetOrderId(), d.GetCapturedMinor()
		}
	}
	if strings.HasPrefix(id, "po_") {
		p := get(id)
		p.status, p.amount = status, d.GetAmountMinor()
	}
	if related := d.GetRelatedPaymentId(); strings.HasPrefix(related, "pi_") && d.GetRelatedStatus() != 0 {
		p := get(related)
		p.status, p.captured, p.refunded = d.GetRelatedStatus(), d.GetCapturedMinor(), d.GetRefundedMinor()
		get(id).status = status // the operation's own
	}
	for _, r := range d.GetReasons() {
		if r == paymentsv1.Reason_REASON_RAIL_LATE {
			get(id).late = true
		}
	}
}

// answered waits until no payment and no operation waits for its rail.
func (h *house) answered(limit time.Duration) map[string]*railPayment {
	h.t.Helper()
	for until := time.Now().Add(limit); ; time.Sleep(300 * time.Millisecond) {
		all, waiting := h.railPayments(), map[string]paymentsv1.PaymentStatus{}
		for id, p := range all {
			if p.status == paymentsv1.PaymentStatus_PAYMENT_STATUS_PROCESSING || p.status == paymentsv1.PaymentStatus_PAYMENT_STATUS_UNKNOWN {
				waiting[id] = p.status
			}
		}
		if len(waiting) == 0 {
			return all
		}
		if time.Now().After(until) {
			h.t.Fatalf("%d of %d wait for their rail: %v", len(waiting), len(all), waiting)
		}
	}
}

func (h *house) post(api *client.Client, path, key string, body any) {
	h.t.Helper()
	a, err := api.Do(h.t.Context(), client.Request{Method: http.MethodPost, Path: path, Key: key, Prefer: "wait=10", Body: body})
	if err != nil || a.Status != http.StatusCreated && a.Status != http.StatusAccepted {
		h.t.Fatalf("%s: %v %d %s", path, err, a.Status, a.Body)
	}
}

// Invariant: whatever acquirers do to their answers, and whatever moment the house is killed at, no payment is charged twice,
// none is lost, and the books say what the acquirers' own books say.
func TestRailsAgree(t *testing.T) {
	url, file := railsim(t, 7, railFaults)
	data, rng := t.TempDir(), rand.New(rand.NewPCG(7, 1))
	const payments = 240
	var accounts []string
	for i := range 3 { // two of them are killed under load
		h := startHouse(t, data, "--rails", file, "--workers", "2")
		api := h.api(t)
		if accounts == nil {
			accounts = h.openRailAccounts(t, api, 6)
		}
		var items []any
		for k := range payments / 3 {
			serial := i*payments/3 + k
			items = append(items, map[string]any{
				"kind": "payin", "idempotency_key": fmt.Sprint("card-", serial), "account_id": accounts[serial%len(accounts)],
				"amount": 1000 + serial, "currency": "BRL", "reference": "rails", "instrument": "tok_" + string("abc0129"[rng.IntN(7)]),
				"method": map[string]any{"type": "card", "capture": []string{"automatic", "manual"}[serial%2], "brand": []string{"visa", "elo"}[rng.IntN(2)]},
			})
		}
		answers, err := api.Batch(t.Context(), items, "respond-async")
		if err != nil || len(answers) != len(items) || answers[0].Status != http.StatusAccepted {
			t.Fatalf("batch: %v %+v", err, answers)
		}
		if i < 2 {
			time.Sleep(200*time.Millisecond + time.Duration(rng.Int64N(int64(time.Second))))
			h.kill()
			api.Close()
			continue
		}
		h.operate(api, h.answered(90*time.Second))
		all := h.answered(90 * time.Second)
		api.Close()
		h.stop()
		agree(t, url, all, payments)
	}
	if out, err := caudal(t, "verify", "--data", data).CombinedOutput(); err != nil {
		t.Fatalf("verify: %v\n%s", err, out)
	}
}

// operate captures, gives up and refunds what the first answers have brought.
func (h *house) operate(api *client.Client, all map[string]*railPayment) {
	h.t.Helper()
	held, taken := 0, 0
	for id, p := range all {
		if !strings.HasPrefix(id, "pi_") {
			continue
		}
		switch p.status {
		case paymentsv1.PaymentStatus_PAYMENT_STATUS_REQUIRES_CAPTURE:
			if held++; held%4 == 0 {
				h.post(api, "/payins/"+id+"/void", "void-"+id, map[string]any{})
			} else {
				h.post(api, "/payins/"+id+"/capture", "capture-"+id, map[string]any{"amount": 700, "final": held%2 == 0})
			}
		case paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED:
			if taken++; taken%3 == 0 {
				h.post(api, "/refunds", "refund-"+id, map[string]any{"payment_id": id, "amount": 300})
			}
		default:
		}
	}
	if held < 20 || taken < 20 {
		h.t.Fatalf("only %d authorised and %d collected", held, taken)
	}
}

// agree compares each payment with what the acquirers' books say of its order.
func agree(t *testing.T, url string, all map[string]*railPayment, payments int) {
	t.Helper()
	resp, err := http.Get(url + "/books") //nolint:noctx // on loopback, in a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var orders []struct {
		OrderID string `json:"order_id"`
		Most    int    `json:"charged_most"`
		Charged int    `json:"charged"`
		Lines   []struct {
			Net int64 `json:"net_minor"`
		} `json:"lines"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&orders); err != nil {
		t.Fatal(err)
	}
	theirs, charged := map[string]int64{}, map[string]int{}
	for _, o := range orders {
		if o.Most > 1 {
			t.Errorf("order %s was charged %d times", o.OrderID, o.Most)
		}
		charged[o.OrderID] = o.Charged
		for _, l := range o.Lines {
			theirs[o.OrderID] += l.Net
		}
	}
	seen, late := 0, 0
	statuses := map[string]int{}
	for id, p := range all {
		if !strings.HasPrefix(id, "pi_") {
			continue
		}
		seen++
		statuses[strings.TrimPrefix(p.status.String(), "PAYMENT_STATUS_")]++
		if p.late {
			late++
		} else if net := p.captured - p.refunded; theirs[p.order] != net {
			t.Errorf("%s is %s with %d taken and %d given back, its acquirer has %d", id, p.status, p.captured, p.refunded, theirs[p.order])
		}
		if p.status == paymentsv1.PaymentStatus_PAYMENT_STATUS_PARTIALLY_CAPTURED {
			t.Errorf("%s waits for captures that its acquirer does not take", id)
		}
		if p.status == paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED && charged[p.order] > 0 {
			t.Errorf("%s has failed, and its charge stands", id)
		}
	}
	t.Logf("%d card payments: %v, %d late", seen, statuses, late)
	if seen != payments {
		t.Errorf("%d card payments of %d", seen, payments)
	}
}

func (h *house) openRailAccounts(t *testing.T, api *client.Client, n int) []string {
	t.Helper()
	return h.openUnder(t, api, n, "shop", "acquiring")
}

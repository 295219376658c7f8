package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/server"
	"github.com/caudalpay/caudal/cmd/railsim/simtest"
)

// hookFaults lose answers, but never an effect: who wants to know what became of an order must be told, or wait for the poll.
const hookFaults = "timeout_after=6%,reset_after=6%,error_after=6%,timeout_ms=900,latency=90%:1..10/10%:20..100," +
	"hook_duplicate=20%,hook_reorder=20%,hook_delay=10%,hook_lie_unknown=10%,hook_lie_amount=10%,hook_lie_state=20%,hook_delay_ms=400,hook_reorder_ms=400"

// hookFile asks by itself after half an hour only.
const hookFile = `kind: rails
version: 1
routes: routes.yaml
acquirers:
  - {name: cielo, dialect: cielo, url: URL/cielo, query_url: URL/cielo, merchant_id: 00000000-0000-4000-a000-000000000001, secret: {file: cielo.key},
     webhook: {header: X-Railsim, secrets: [{file: other.hook}, {file: cielo.hook}]}}
  - {name: rede, dialect: rede, url: URL/rede/v1, merchant_id: "10000001", secret: {file: rede.key}, vault: {expiration: 12/2040},
     webhook: {secrets: [{file: rede.hook}]}}
  - {name: pagarme, dialect: pagarme, url: URL/pagarme, customer_id: cus_1, secret: {file: pagarme.key},
     webhook: {secrets: [{file: pagarme.hook}]}}
banks:
  - {name: bank, dialect: transfers, url: URL/bank, currencies: [BRL], secret: {file: bank.key}, webhook: {secrets: [{file: rede.hook}]}}
timing: {deadline: 500ms, polls: [30m, 1h], not_found_after: 20m}
`

const hookRoutes = `version: 1
routes:
  - {connector: cielo, brands: [visa], cost_bp: 200}
  - {connector: rede, brands: [mastercard], cost_bp: 200}
  - {connector: pagarme, cost_bp: 220}
  - {connector: bank}
`

// notifyingRailsim starts the simulator, and gives its address and the file that leads to it. It notifies a house.
func notifyingRailsim(t *testing.T, house string) (url, file string) {
	t.Helper()
	cfg := simtest.Config()
	cfg.Seed, cfg.Faults, cfg.Data, cfg.HookRetry = 11, hookFaults, t.TempDir(), 200*time.Millisecond
	cfg.BankDelay, cfg.Webhooks = 300*time.Millisecond, "http://"+house+"/webhooks"
	_, url = simtest.Serve(t, cfg)
	known := server.DefaultCredentials()
	return url, railFiles(t, url, map[string]string{
		"rails.yaml": hookFile, "routes.yaml": hookRoutes, "cielo.key": known.Cielo.MerchantKey, "rede.key": known.Rede.Token, "bank.key": known.Bank.Token,
		"pagarme.key": known.Pagarme.SecretKey, "cielo.hook": known.Cielo.WebhookValue, "other.hook": "the-secret-of-before",
		"rede.hook": known.Webhook, "pagarme.hook": known.Pagarme.Webhook,
	})
}

func fetched(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url) //nolint:noctx // on loopback, in a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// judged sums what a house has counted of a metric, by the last label.
func (h *house) judged(metric, label string) map[string]int {
	h.t.Helper()
	all := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^`+metric+`\{.*`+label+`="([a-z_]+)".*\} (\d+)$`).FindAllStringSubmatch(fetched(h.t, "http://"+h.http+"/metrics"), -1) {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			h.t.Fatal(err)
		}
		all[m[1]] += n
	}
	return all
}

// hooksTold waits until the simulator has told all it has to tell, and the house has judged it.
func (h *house) hooksTold(url string) {
	h.t.Helper()
	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		var books struct {
			Webhooks struct {
				Waiting int `json:"waiting"`
			} `json:"webhooks"`
		}
		if err := json.Unmarshal([]byte(fetched(h.t, url+"/books/summary")), &books); err != nil {
			h.t.Fatal(err)
		}
		lags := regexp.MustCompile(`(?m)^caudal_sinks_cards_notification_lag_seconds.* .*$`).FindAllString(fetched(h.t, "http://"+h.http+"/metrics"), -1)
		waiting := slices.ContainsFunc(lags, func(line string) bool { return !strings.HasSuffix(line, " 0") })
		if books.Webhooks.Waiting == 0 && !waiting && len(lags) == 2 { // cards and bank
			return
		}
		if time.Now().After(until) {
			h.t.Fatalf("%d webhooks wait at the simulator; %v", books.Webhooks.Waiting, lags)
		}
	}
}

// Invariant: what nobody answered is known as soon as its processor notifies, the house killed or not; a notification that is
// repeated, late, out of order or a lie moves nothing.
func TestWebhooksAnswer(t *testing.T) {
	address := freeAddress(t)
	url, file := notifyingRailsim(t, address)
	data, rng := t.TempDir(), rand.New(rand.NewPCG(11, 1))
	const payments = 180
	var accounts []string
	for i := range 3 { // two of them are killed while webhooks come in
		h := startHouseAt(t, address, data, "--rails", file)
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
				"method": map[string]any{"type": "card", "capture": []string{"automatic", "manual"}[serial%2], "brand": []string{"visa", "mastercard", "elo"}[rng.IntN(3)]},
			})
		}
		answers, err := api.Batch(t.Context(), items, "respond-async")
		if err != nil || len(answers) != len(items) || answers[0].Status != http.StatusAccepted {
			t.Fatalf("batch: %v %+v", err, answers)
		}
		if i < 2 {
			time.Sleep(300*time.Millisecond + time.Duration(rng.Int64N(int64(time.Second))))
			h.kill()
			api.Close()
			continue
		}
		h.operate(api, h.answered(90*time.Second))
		all := h.answered(90 * time.Second)
		h.hooksTold(url)
		verdicts, door := h.judged("caudal_sinks_cards_notifications_total", "verdict"), h.judged("caudal_ingest_webhooks_notifications_total", "outcome")
		t.Logf("notifications: %v at the door, %v when asked", door, verdicts)
		for _, v := range []string{"confirmed", "repeated", "stale", "lie", "unknown_payment"} {
			if verdicts[v] == 0 {
				t.Errorf("no notification was judged %s", v)
			}
		}
		if door["duplicate"] == 0 || door["accepted"] == 0 || door["forged"]+door["not_understood"]+door["malformed"] > 0 {
			t.Errorf("at the door: %v", door)
		}
		api.Close()
		h.stop()
		agree(t, url, all, payments)
	}
	if out, err := caudal(t, "verify", "--data", data).CombinedOutput(); err != nil {
		t.Fatalf("verify: %v\n%s", err, out)
	}
}

// Invariant: a payout goes as far as its bank notifies, and ends as the bank's books say, also where it comes back.
func TestWebhooksFollowPayouts(t *testing.T) {
	address := freeAddress(t)
	url, file := notifyingRailsim(t, address)
	h := startHouseAt(t, address, t.TempDir(), "--rails", file)
	api := h.api(t)
	account, ends := h.openRailAccounts(t, api, 1)[0], map[int64]byte{}
	h.post(api, "/payins", "fund", map[string]any{
		"account_id": account, "amount": 100_000_00, "currency": "BRL", "method": map[string]any{"type": "book"}, "reference": "fund",
	})
	var items []any
	for i := range 40 {
		amount, end := int64(1000+i), "01278"[i%5]
		ends[amount] = end
		items = append(items, map[string]any{
			"kind": "payout", "idempotency_key": fmt.Sprint("payout-", amount), "account_id": account, "amount": amount,
			"currency": "BRL", "reference": "rails", "method": map[string]any{"type": "bank"},
			"counterparty": map[string]any{"name": "Ana Souza", "country": "BR", "account": "60701190/0001/4321" + string(end)},
		})
	}
	answers, err := api.Batch(t.Context(), items, "")
	if err != nil || len(answers) != len(items) || answers[0].Status/100 != 2 {
		t.Fatalf("batch: %v %+v", err, answers)
	}
	for name, status := range map[string]int{"bank": http.StatusUnauthorized, "cielo": http.StatusUnauthorized, "nobody": http.StatusNotFound} {
		resp, err := http.Post("http://"+address+"/webhooks/"+name, "application/json", strings.NewReader(`{"id":"e","type":"transfer.paid","data":{"id":"x"}}`)) //nolint:noctx // on loopback, in a test
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != status {
			t.Errorf("a stranger in the name of %s: %s", name, resp.Status)
		}
	}
	for until := time.Now().Add(60 * time.Second); ; time.Sleep(300 * time.Millisecond) {
		differ := h.payoutsDiffer(bankBooks(t, url), ends)
		if len(differ) == 0 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%d payouts differ: %v", len(differ), differ)
		}
	}
	h.hooksTold(url)
	verdicts := h.judged("caudal_sinks_cards_notifications_total", "verdict")
	t.Logf("notifications: %v", verdicts)
	if verdicts["confirmed"] < len(items) || verdicts["lie"] == 0 {
		t.Errorf("judged: %v", verdicts)
	}
	api.Close()
	h.stop()
}

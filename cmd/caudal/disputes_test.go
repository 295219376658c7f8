package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/hooks"
	"github.com/caudalpay/caudal/cmd/railsim/server"
	"github.com/caudalpay/caudal/cmd/railsim/simtest"
)

// disputeFaults let webhooks come twice and overtake each other, and tell of charges that are nobody's and of the stage before. Answers
// to calls are as they should be.
const disputeFaults = "hook_duplicate=50%,hook_reorder=40%,hook_delay=20%,hook_lie_unknown=20%,rede.hook_lie_state=60%,hook_delay_ms=300,hook_reorder_ms=300"

// contested is a card payment whose holder contests it.
type contested struct {
	h                 *house
	url               string // of the simulator
	connector, charge string
	account, payment  string
	posted, captured  int64
}

// pays takes a card payment on an account of its own.
func (h *house) pays(url, connector string, amount int64) *contested {
	h.t.Helper()
	name := fmt.Sprint(connector, "-", amount)
	var account struct {
		AccountID string `json:"account_id"`
	}
	h.write(h.t, "/accounts", "open-"+name, map[string]any{
		"external_id": name, "customer_id": name, "kind": "merchant", "currencies": []string{"BRL"}, "kyc_level": 3, "policy": "acquiring",
	}, &account)
	var pay struct {
		PaymentID string `json:"payment_id"`
		Status    string `json:"status"`
		Captured  int64  `json:"captured_amount"`
		Reference string `json:"rail_reference"`
	}
	h.write(h.t, "/payins", "pay-"+name, map[string]any{
		"account_id": account.AccountID, "amount": amount, "currency": "BRL", "instrument": "tok_a", "reference": "contested",
		"method": map[string]any{"type": "card", "brand": map[string]string{"cielo": "visa", "rede": "mastercard", "pagarme": "elo"}[connector]},
	}, &pay)
	for until := time.Now().Add(time.Minute); pay.Status != "succeeded"; time.Sleep(20 * time.Millisecond) {
		h.read(h.t, "/transactions/"+pay.PaymentID, &pay)
		if time.Now().After(until) {
			h.t.Fatalf("%s is %+v", pay.PaymentID, pay)
		}
	}
	c := &contested{h: h, url: url, connector: connector, charge: pay.Reference, account: account.AccountID, payment: pay.PaymentID, captured: pay.Captured}
	c.posted = c.funds().Posted
	return c
}

func (c *contested) funds() funds {
	c.h.t.Helper()
	var view struct {
		Balances []funds `json:"balances"`
	}
	if c.h.read(c.h.t, "/accounts/"+c.account+"/balances", &view); len(view.Balances) != 1 {
		c.h.t.Fatalf("%s has %+v", c.account, view)
	}
	return view.Balances[0]
}

// says lets the card network say something of the payment at the simulator.
func (c *contested) says(stage string) {
	c.h.t.Helper()
	body, err := json.Marshal(map[string]any{"connector": c.connector, "charge": c.charge, "stage": stage, "reason": "10.4"})
	if err != nil {
		c.h.t.Fatal(err)
	}
	resp, err := http.Post(c.url+"/disputes", "application/json", bytes.NewReader(body)) //nolint:noctx // on loopback, in a test
	if err != nil {
		c.h.t.Fatal(err)
	}
	if _ = resp.Body.Close(); resp.StatusCode != http.StatusCreated {
		c.h.t.Fatalf("%s of %s: %s", stage, c.charge, resp.Status)
	}
}

type disputeView struct {
	ID        string `json:"dispute_id"`
	Payment   string `json:"payment_id"`
	Status    string `json:"status"`
	Amount    int64  `json:"amount"`
	Fee       int64  `json:"fee"`
	Connector string `json:"connector"`
	Until     string `json:"evidence_until"`
}

func (c *contested) disputes() []disputeView {
	c.h.t.Helper()
	var page struct {
		Disputes []disputeView `json:"disputes"`
	}
	c.h.read(c.h.t, "/disputes?account_id="+c.account, &page)
	return page.Disputes
}

// wrong says what is not as it must be where the dispute has a status: the money is held, taken with the fee, or back.
func (c *contested) wrong(status string) string {
	c.h.t.Helper()
	all, has := c.disputes(), c.funds()
	if len(all) != 1 || all[0].Status != status || all[0].Payment != c.payment || all[0].Amount != c.captured || all[0].Connector != c.connector {
		return fmt.Sprintf("disputes of %s: %+v, want %s", c.payment, all, status)
	}
	posted, held := c.posted, int64(0)
	switch status {
	case "pre_dispute":
		held = c.captured
	case "dispute", "pre_arbitration", "lost":
		if posted -= c.captured + all[0].Fee; all[0].Fee == 0 {
			return fmt.Sprintf("%s: no fee: %+v", c.payment, all[0])
		}
	default:
	}
	if has.Posted != posted || has.Held != held {
		return fmt.Sprintf("%s, %s: %+v, want %d posted, %d held", c.payment, status, has, posted, held)
	}
	return ""
}

func (c *contested) becomes(status string) {
	c.h.t.Helper()
	var wrong string
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if wrong = c.wrong(status); wrong == "" {
			return
		}
	}
	c.h.t.Fatal(wrong)
}

// notify sends a webhook by hand, as one who has Rede's secret.
func (h *house) notify(t *testing.T, id, body string) {
	t.Helper()
	key, err := hooks.ParseSecret(server.DefaultCredentials().Webhook)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+h.http+"/webhooks/rede", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	hooks.Standard(key)(req.Header, id, time.Now(), []byte(body))
	h.taken(t, req)
}

// notifyPagarme sends one as somebody who has Pagar.me's.
func (h *house) notifyPagarme(t *testing.T, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+h.http+"/webhooks/pagarme", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	hooks.Basic(server.DefaultCredentials().Pagarme.Webhook)(req.Header, "", time.Now(), nil)
	h.taken(t, req)
}

func (h *house) taken(t *testing.T, req *http.Request) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _ = resp.Body.Close(); resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", req.URL, resp.Status)
	}
}

// counts waits until so many disputes were judged so, by verdict, more than before.
func (h *house) counts(before map[string]int, want map[string]int) {
	h.t.Helper()
	more := map[string]int{}
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		more = h.judged("caudal_sinks_cards_disputes_total", "verdict")
		maps.DeleteFunc(more, func(v string, n int) bool { return n == before[v] })
		for v := range more {
			more[v] -= before[v]
		}
		if maps.Equal(more, want) {
			return
		}
	}
	h.t.Errorf("judged %v, want %v", more, want)
}

// disputingRailsim starts a simulator that notifies a house of disputes, and gives its address and the file that leads to it.
func disputingRailsim(t *testing.T, house string) (url, file string) {
	t.Helper()
	cfg := simtest.Config()
	cfg.Seed, cfg.Faults, cfg.Data, cfg.HookRetry, cfg.Webhooks = 5, disputeFaults, t.TempDir(), 200*time.Millisecond, "http://"+house+"/webhooks"
	_, url = simtest.Serve(t, cfg)
	known := server.DefaultCredentials()
	return url, railFiles(t, url, map[string]string{
		"rails.yaml": strings.Replace(hookFile, "timing: {", "timing: {dispute_patience: 3s, ", 1), "routes.yaml": hookRoutes, "cielo.key": known.Cielo.MerchantKey,
		"rede.key": known.Rede.Token, "bank.key": known.Bank.Token, "pagarme.key": known.Pagarme.SecretKey, "cielo.hook": known.Cielo.WebhookValue,
		"other.hook": "the-secret-of-before", "rede.hook": known.Webhook, "pagarme.hook": known.Pagarme.Webhook,
	})
}

// Invariant: a dispute that its processor notifies is decided, and holds, takes and gives back the money as the processor says, each
// once, whatever comes twice, late or out of order, the house killed on the way; and what is not so moves nothing and is counted.
func TestDisputesByWebhook(t *testing.T) {
	address := freeAddress(t)
	url, file := disputingRailsim(t, address)
	data := t.TempDir()
	h := startHouseAt(t, address, data, "--rails", file)
	won, lost, late := h.pays(url, "rede", 150_00), h.pays(url, "rede", 160_00), h.pays(url, "rede", 170_00)
	byTID, asked, untouched := h.pays(url, "cielo", 180_00), h.pays(url, "pagarme", 190_00), h.pays(url, "pagarme", 195_00)
	one, twice := h.pays(url, "rede", 199_00), h.pays(url, "rede", 175_00)

	for _, stage := range []string{"pre_dispute", "dispute", "won"} {
		won.says(stage)
		won.becomes(stage)
	}
	for _, stage := range []string{"dispute", "pre_arbitration", "lost"} {
		lost.says(stage)
		lost.becomes(stage)
	}
	byTID.says("dispute") // cielo names the tid alone
	byTID.becomes("dispute")
	byTID.says("pre_arbitration")
	byTID.becomes("pre_arbitration")
	asked.says("dispute") // pagarme is asked
	asked.becomes("dispute")

	for _, stage := range []string{"pre_dispute", "dispute", "pre_arbitration", "won"} { // at once, in any order, to a house that dies
		late.says(stage)
	}
	time.Sleep(100 * time.Millisecond)
	h.kill()
	h = startHouseAt(t, address, data, "--rails", file)
	for _, c := range []*contested{won, lost, late, byTID, asked, untouched, one, twice} {
		c.h = h
	}
	late.becomes("won")
	h.hooksTold(url)

	one.says("dispute")
	one.becomes("dispute")
	h.hooksTold(url)
	before := h.judged("caudal_sinks_cards_disputes_total", "verdict")
	tell := func(id, charge, stage string, amount int64, at string) {
		h.notify(t, id, fmt.Sprintf(`{"events":["PV.CHARGEBACK"],"data":{"id":%q,"chargeback":{"id":"by-hand","stage":%q,"amount":%d,"occurredAt":%q}}}`, charge, stage, amount, at))
	}
	now := time.Now().UTC()
	tell("lie-1", "no-such-tid", "DISPUTE", 100, now.Format(time.RFC3339))              // nobody's
	tell("lie-2", untouched.charge, "DISPUTE", 100, now.Format(time.RFC3339))           // another processor's
	tell("lie-3", late.charge, "DISPUTE", late.captured+1, now.Format(time.RFC3339))    // more than was captured
	tell("true-1", late.charge, "PRE_DISPUTE", late.captured, now.Format(time.RFC3339)) // another dispute of the same payment
	h.counts(before, map[string]int{"unknown_payment": 2, "contradicted": 1, "confirmed": 1})
	tell("late-1", late.charge, "DISPUTE", late.captured, now.Add(-time.Hour).Format(time.RFC3339)) // older than what is known
	tell("lie-4", late.charge, "WON", late.captured-1, now.Format(time.RFC3339))                    // not of what it began with
	tell("lie-5", late.charge, "ARBITRATION", late.captured, now.Format(time.RFC3339))              // a word nobody knows
	h.notifyPagarme(t, fmt.Sprintf(`{"id":"hook_lie","type":"charge.chargedback","data":{"id":%q,"amount":%[2]d,"paid_amount":%[2]d,"status":"chargedback","currency":"BRL"}}`,
		untouched.charge, untouched.captured)) // denied when asked
	h.counts(before, map[string]int{"unknown_payment": 2, "contradicted": 2, "confirmed": 1, "stale": 1, "incomplete": 1, "lie": 1})
	tell("true-2", late.charge, "WON", late.captured, now.Add(time.Second).Format(time.RFC3339))
	h.counts(before, map[string]int{"unknown_payment": 2, "contradicted": 2, "confirmed": 2, "stale": 1, "incomplete": 1, "lie": 1})

	// An operator has told the same dispute under his own name: it is not taken again.
	h.write(t, "/disputes", "by-operator", map[string]any{"payment_id": twice.payment, "stage": "dispute", "amount": twice.captured, "reference": "case-1"}, &disputeView{})
	for until := time.Now().Add(time.Minute); len(twice.disputes()) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the store has no dispute of the operator's")
		}
	}
	taken := twice.funds()
	tell("again", twice.charge, "DISPUTE", twice.captured, now.Format(time.RFC3339))
	h.counts(before, map[string]int{"unknown_payment": 2, "contradicted": 3, "confirmed": 2, "stale": 1, "incomplete": 1, "lie": 1})
	if got := twice.funds(); got != taken || got.Posted >= twice.posted-twice.captured {
		t.Errorf("taken by an operator's word: %+v, and after the webhook %+v", taken, got)
	}

	for c, status := range map[*contested]string{won: "won", lost: "lost", byTID: "pre_arbitration", asked: "dispute", one: "dispute"} {
		c.becomes(status)
	}
	if got := late.funds(); got.Posted != late.posted || got.Held != 0 {
		t.Errorf("after lies: %+v, want %d", got, late.posted)
	}
	if got := untouched.funds(); got.Posted != untouched.posted || got.Held != 0 || len(untouched.disputes()) > 0 {
		t.Errorf("nobody contests it: %+v, %+v", got, untouched.disputes())
	}
	t.Logf("disputes: %v", h.judged("caudal_sinks_cards_disputes_total", "verdict"))
	h.stop()
	if out, err := caudal(t, "verify", "--data", data).CombinedOutput(); err != nil {
		t.Fatalf("verify: %v\n%s", err, out)
	}
}

// sinksApart starts a process that runs the sinks alone, and among them the connectors of a file of rails.
func (h *house) sinksApart(file string) *house {
	h.t.Helper()
	return h.apart("sinks", []string{"seal.key"}, "--rails", file)
}

// Invariant: a dispute is decided also where connectors run in a process without a door, whichever of the two dies.
func TestDisputesWhereConnectorsRunApart(t *testing.T) {
	address := freeAddress(t)
	url, file := disputingRailsim(t, address)
	h := startHouseAt(t, address, t.TempDir(), "--rails", file, "--roles", "ingress,streams")
	sinks := h.sinksApart(file)
	c := h.pays(url, "rede", 150_00)
	c.says("dispute")
	c.becomes("dispute")
	sinks.kill()
	c.says("won") // nobody hears it
	time.Sleep(500 * time.Millisecond)
	if wrong := c.wrong("dispute"); wrong != "" {
		t.Error(wrong)
	}
	again := h.sinksApart(file)
	c.becomes("won")
	again.stop()
	h.stop()
}

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// bankFaults are what a bank does to every tenth call or so, before and after the effect.
const bankFaults = "timeout_before=1%,timeout_after=3%,error_before=2%,error_after=3%,reset_before=2%,reset_after=3%," +
	"wrong_amount=1%,garbage=1%,unfinished=3%,latency=90%:1..10/10%:20..100,timeout_ms=1500"

// bankLine is what the bank's own books say of an order.
type bankLine struct {
	Transfers, Sent, Paid, Failed, Returned int
	SentMinor                               int64 `json:"sent_minor"`
}

// bankBooks reads the bank's books by payment.
func bankBooks(t *testing.T, url string) map[string]bankLine {
	t.Helper()
	resp, err := http.Get(url + "/books") //nolint:noctx // on loopback, in a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var orders []struct {
		OrderID string `json:"order_id"`
		Lines   []bankLine
	}
	if err := json.NewDecoder(resp.Body).Decode(&orders); err != nil {
		t.Fatal(err)
	}
	all := map[string]bankLine{}
	for _, o := range orders {
		if len(o.Lines) != 1 || o.Lines[0].Transfers > 1 {
			t.Fatalf("order %s was sent %d times: %+v", o.OrderID, len(o.Lines), o.Lines)
		}
		all[strings.TrimSuffix(o.OrderID, ".send")] = o.Lines[0]
	}
	return all
}

// agrees tells whether a payout is what the bank has done, and whether the bank has finished.
func (b bankLine) agrees(p *railPayment, neverMoves bool) bool {
	const (
		pending, paid = paymentsv1.PaymentStatus_PAYMENT_STATUS_PENDING, paymentsv1.PaymentStatus_PAYMENT_STATUS_PAID
		failed        = paymentsv1.PaymentStatus_PAYMENT_STATUS_FAILED
		returned      = paymentsv1.PaymentStatus_PAYMENT_STATUS_RETURNED
	)
	switch {
	case b.Transfers == 0: // turned down
		return p.status == failed && !p.late
	case b.SentMinor > 0 && b.SentMinor != p.amount:
		return false
	case b.Returned > 0:
		return p.status == returned && !p.late
	case b.Failed > 0 && b.Paid > 0: // whoever asked in between knows both
		return p.status == paid && !p.late || p.status == failed && p.late
	case b.Failed > 0:
		return p.status == failed && !p.late
	case b.Paid > 0:
		return p.status == paid && !p.late
	default:
		return p.status == pending && neverMoves
	}
}

// Invariant: whatever a bank does to its answers, and whatever moment the house is killed at, each payout is sent once and no
// payout is lost; it ends as the bank's own books say, also where the bank takes back what it had called paid or failed.
func TestPayoutsAgree(t *testing.T) {
	url, file := railsim(t, 11, bankFaults)
	data, rng := t.TempDir(), rand.New(rand.NewPCG(11, 1))
	const payouts = 180
	ends := map[int64]byte{} // last digit of the destination by amount
	var accounts []string
	for i := range 3 { // two of them are killed under load
		h := startHouse(t, data, "--rails", file, "--workers", "2")
		api := h.api(t)
		if accounts == nil {
			accounts = h.openRailAccounts(t, api, 6)
			for k, account := range accounts {
				h.post(api, "/payins", fmt.Sprint("fund-", k), map[string]any{
					"account_id": account, "amount": 100_000_00, "currency": "BRL", "method": map[string]any{"type": "book"}, "reference": "fund",
				})
			}
		}
		var items []any
		for k := range payouts / 3 {
			amount, end := int64(1000+i*payouts/3+k), "0123456789"[rng.IntN(10)]
			ends[amount] = end
			items = append(items, map[string]any{
				"kind": "payout", "idempotency_key": fmt.Sprint("payout-", amount), "account_id": accounts[k%len(accounts)], "amount": amount,
				"currency": "BRL", "reference": "rails", "method": map[string]any{"type": "bank"},
				"counterparty": map[string]any{"name": "Ana Souza", "country": "BR", "account": "60701190/0001/4321" + string(end)},
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
		var differ []string
		for until := time.Now().Add(60 * time.Second); ; time.Sleep(300 * time.Millisecond) {
			if differ = h.payoutsDiffer(bankBooks(t, url), ends); len(differ) == 0 {
				break
			}
			if time.Now().After(until) {
				t.Fatalf("%d of %d payouts differ: %v", len(differ), payouts, differ)
			}
		}
		api.Close()
		h.stop()
	}
	if out, err := caudal(t, "verify", "--data", data).CombinedOutput(); err != nil {
		t.Fatalf("verify: %v\n%s", err, out)
	}
}

// payoutsDiffer names the payouts that are not, or not yet, what the bank's books say.
func (h *house) payoutsDiffer(books map[string]bankLine, ends map[int64]byte) (differ []string) {
	h.t.Helper()
	statuses, seen, late := map[string]int{}, 0, 0
	for id, p := range h.railPayments() {
		if !strings.HasPrefix(id, "po_") {
			continue
		}
		seen++
		line, end := books[id], ends[p.amount]
		if (line.Transfers == 0) != (end == '5') {
			differ = append(differ, fmt.Sprintf("%s to an account that ends in %c: the bank has %+v", id, end, line))
			continue
		}
		if !line.agrees(p, end == '6') {
			differ = append(differ, fmt.Sprintf("%s to an account that ends in %c is %s, late %v; the bank has %+v", id, end, p.status, p.late, line))
		}
		statuses[strings.TrimPrefix(p.status.String(), "PAYMENT_STATUS_")]++
		if p.late {
			late++
		}
	}
	if seen != len(ends) {
		return append(differ, fmt.Sprintf("%d payouts of %d", seen, len(ends)))
	}
	if len(differ) == 0 {
		h.t.Logf("%d payouts: %v, %d late", seen, statuses, late)
	}
	return differ
}

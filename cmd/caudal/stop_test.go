package main

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/caudalpay/caudal/cmd/caudal/client"
)

// Invariant: whoever asks right after a thousand acknowledged payments that nobody waited for sees closed books: of a
// house that runs, once its stores have taken them, and of one that was told to stop, because a clean stop leaves
// nothing half way.
func TestBooksCloseAtOnce(t *testing.T) {
	h := startHouse(t, t.TempDir())
	api := h.api(t)
	defer api.Close()
	accounts := h.openAccounts(t, api, 3)
	verify := func(when string) {
		t.Helper()
		if out, err := caudal(t, "verify", "--data", h.data).CombinedOutput(); err != nil {
			t.Fatalf("verify %s: %v\n%s", when, err, out)
		}
	}
	h.payAsync(t, api, accounts, "run")
	verify("while it runs")
	h.payAsync(t, api, accounts, "stop")
	h.stop()
	verify("after a stop")
}

// payAsync sends a thousand payments and waits for their acknowledgement only.
func (h *house) payAsync(t *testing.T, api *client.Client, accounts []string, name string) {
	t.Helper()
	items := make([]any, 1000)
	for i := range items {
		items[i] = map[string]any{
			"kind": "transfer", "idempotency_key": fmt.Sprintf("%s-%d", name, i), "account_id": accounts[i%3],
			"to_account_id": accounts[(i+1)%3], "amount": 1, "currency": "BRL", "reference": name,
		}
		if i < 3 {
			items[i] = map[string]any{
				"kind": "payin", "idempotency_key": fmt.Sprintf("%s-%d", name, i), "account_id": accounts[i], "amount": 1000,
				"currency": "BRL", "method": map[string]string{"type": "book"}, "reference": name,
			}
		}
	}
	answers, err := api.Batch(t.Context(), items, "respond-async")
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		if a.Status != http.StatusAccepted {
			t.Fatalf("payment %d: %d %s", i, a.Status, a.Body)
		}
	}
}

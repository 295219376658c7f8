package importer_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// house speaks the contract of the API as far as an import needs it: accounts, batches, idempotency by account and key,
// funds, full buffers, late decisions. It is an independent, simple ledger to compare an import with.
type house struct {
	t      *testing.T
	url    string
	faults bool // now and then: 503 for a request or an item, a decision that comes late, an answer that never arrives

	mu       sync.Mutex
	rng      *rand.Rand
	accounts map[string]*ledger // by account id
	largest  int                // batch
	before   func(item map[string]any)
}

type ledger struct {
	terms   string
	limit   float64
	minor   int64
	history []int64 // balance after each payment
	keys    map[string]taken
}

type taken struct {
	body    string
	answer  map[string]any
	pending bool
}

func newHouse(t *testing.T) *house {
	h := &house{t: t, accounts: map[string]*ledger{}, rng: rand.New(rand.NewPCG(1, 2))}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /accounts", h.open)
	mux.HandleFunc("POST /payments:batch", h.batch)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			answer(w, http.StatusUnauthorized, map[string]any{"status": 401, "code": "unauthorized"})
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// chance is one in n; the lock is held.
func (h *house) chance(n int) bool { return h.faults && h.rng.IntN(n) == 0 }

func (h *house) open(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("Idempotency-Key") == "" {
		h.t.Errorf("opening: %v, key %q", err, r.Header.Get("Idempotency-Key"))
	}
	terms := fmt.Sprint(body)
	id := "acc_" + fmt.Sprint(body["external_id"])
	if id == "acc_bank-refused" {
		answer(w, http.StatusUnprocessableEntity, map[string]any{"status": 422, "code": "invalid_request", "violations": []any{
			map[string]any{"pointer": "/policy", "code": "unknown", "detail": "unknown policy"},
		}})
		return
	}
	if h.chance(3) {
		answer(w, http.StatusAccepted, map[string]any{"account_id": id, "status": "pending"})
		return
	}
	if a, ok := h.accounts[id]; ok && a.terms != terms {
		answer(w, http.StatusUnprocessableEntity, map[string]any{"status": 422, "code": "idempotency_conflict"})
		return
	} else if !ok {
		limit, _ := body["overdraft_limit"].(float64)
		h.accounts[id] = &ledger{terms: terms, limit: limit, keys: map[string]taken{}}
	}
	answer(w, http.StatusCreated, map[string]any{"account_id": id, "status": "open"})
}

func (h *house) batch(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var items []map[string]any
	if err := json.NewDecoder(r.Body).Decode(&items); err != nil || r.Header.Get("Prefer") != "wait=30" || len(items) == 0 || len(items) > 1000 {
		h.t.Errorf("batch of %d, Prefer %q, %v", len(items), r.Header.Get("Prefer"), err)
	}
	h.largest = max(h.largest, len(items))
	if h.chance(5) {
		w.Header().Set("Retry-After", "0")
		answer(w, http.StatusServiceUnavailable, map[string]any{"status": 503, "code": "busy"})
		return
	}
	out := make([]any, len(items))
	busy := false // once there is no room, there is none for what comes behind
	for i, item := range items {
		if busy = busy || h.chance(500); busy {
			out[i] = map[string]any{"index": i, "status": 503, "body": map[string]any{"status": 503, "code": "busy"}}
			continue
		}
		out[i] = h.pay(i, item)
	}
	if h.chance(6) {
		panic(http.ErrAbortHandler) // it is all in the log, and the caller never hears
	}
	answer(w, http.StatusOK, map[string]any{"items": out})
}

func (h *house) pay(i int, item map[string]any) map[string]any {
	if h.before != nil {
		h.before(item)
	}
	a, ok := h.accounts[fmt.Sprint(item["account_id"])]
	if !ok {
		return map[string]any{"index": i, "status": 404, "body": map[string]any{"status": 404, "code": "account_unknown", "detail": "no such account"}}
	}
	key, body := fmt.Sprint(item["idempotency_key"]), fmt.Sprint(item)
	if t, ok := a.keys[key]; ok {
		if t.body != body {
			return map[string]any{"index": i, "status": 422, "body": map[string]any{"status": 422, "code": "idempotency_conflict", "detail": "another body"}}
		}
		again := map[string]any{"index": i, "status": t.answer["status"], "replayed": true, "body": t.answer["body"]}
		if t.pending { // it was not decided when it was asked first: to the caller this is news
			delete(again, "replayed")
			t.pending = false
			a.keys[key] = t
		}
		return again
	}
	minor := int64(item["amount"].(float64))
	if item["kind"] == "payout" {
		minor = -minor
	}
	decided := map[string]any{"index": i, "status": 201, "body": map[string]any{"decision": "approved", "status": "succeeded"}}
	if minor < 0 && a.minor+minor < -int64(a.limit) {
		decided = map[string]any{"index": i, "status": 402, "body": map[string]any{
			"status": 402, "code": "payment_declined", "decision": "declined", "reasons": []string{"insufficient_funds"},
		}}
	} else {
		a.minor += minor
		a.history = append(a.history, a.minor)
	}
	late := h.chance(200)
	a.keys[key] = taken{body: body, answer: decided, pending: late}
	if late {
		return map[string]any{"index": i, "status": 202, "body": map[string]any{"payment_id": "pi_x", "status": "pending"}}
	}
	return decided
}

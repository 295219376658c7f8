package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/faults"
)

// rail is how to charge 1000 at a connector.
type rail struct {
	name, path, operation string
	body                  func(reference string) string
	amount                string // where the answer tells it
	status                int
}

func rails() []rail {
	return []rail{
		{"cielo", "/cielo/1/sales", "authorize", func(r string) string { return cieloSale(r, "tok0", 1000, true) }, "Payment.Amount", 201},
		{"rede", "/rede/v1/transactions", "authorize", func(r string) string { return redeSale(r, "tok0", 1000, true) }, "amount", 200},
		{"pagarme", "/pagarme/core/v5/orders", "authorize", func(r string) string { return pagarmeOrder(r, "card_0", 1000, true) }, "amount", 200},
		{"bank", "/bank/transfers", "send", func(r string) string { return transfer(r, "6", 1000) }, "amount", 202},
	}
}

func cut(a answer) bool {
	return errors.Is(a.Err, syscall.ECONNRESET) || errors.Is(a.Err, io.EOF) || errors.Is(a.Err, io.ErrUnexpectedEOF)
}

// TestFaultsFallAndDoWhatTheyAreCalled: for each kind of call and each connector, what the client sees, and what the books
// know nevertheless.
func TestFaultsFallAndDoWhatTheyAreCalled(t *testing.T) {
	for _, c := range []struct {
		kind    faults.Kind
		charged int
		sees    func(t *testing.T, r rail, a answer) bool
	}{
		{faults.TimeoutBefore, 0, func(_ *testing.T, _ rail, a answer) bool { return a.timedOut() }},
		{faults.TimeoutAfter, 1, func(_ *testing.T, _ rail, a answer) bool { return a.timedOut() }},
		{faults.ErrorBefore, 0, func(_ *testing.T, _ rail, a answer) bool { return a.Status >= 500 }},
		{faults.ErrorAfter, 1, func(_ *testing.T, _ rail, a answer) bool { return a.Status >= 500 }},
		{faults.ResetBefore, 0, func(_ *testing.T, _ rail, a answer) bool { return errors.Is(a.Err, syscall.ECONNRESET) }},
		{faults.ResetAfter, 1, func(_ *testing.T, _ rail, a answer) bool { return errors.Is(a.Err, syscall.ECONNRESET) }},
		{faults.WrongAmount, 1, func(t *testing.T, r rail, a answer) bool {
			return a.Status == r.status && a.text(t, r.amount) != "1000"
		}},
		{faults.Garbage, 1, func(_ *testing.T, r rail, a answer) bool {
			return a.Status == r.status && !json.Valid([]byte(a.Body))
		}},
	} {
		for _, r := range rails() {
			t.Run(string(c.kind)+" "+r.name, func(t *testing.T) {
				t.Parallel()
				cfg := config()
				cfg.Faults = fmt.Sprintf("%s/%s/o1#1=%s,timeout_ms=5000", r.name, r.operation, c.kind)
				h := start(t, cfg)
				h.http.Timeout = time.Second
				if a := h.call("POST", r.path, r.body("o1")); !c.sees(t, r, a) {
					t.Errorf("the client saw %+v", a)
				}
				equal(t, "charged", h.order("o1").Charged, c.charged)
				if c.charged > 0 {
					l := h.line("o1")
					equal(t, "money", l.AuthorizedMinor+int64(l.Transfers)*1000, 1000)
				}
				equal(t, "fallen", h.summary().Faults[r.name][string(c.kind)], 1)
				// Another order is not touched.
				a := h.must(r.status, "POST", r.path, r.body("o2"))
				equal(t, "amount of another", a.text(t, r.amount), "1000")
				equal(t, "still fallen", len(h.summary().Faults[r.name]), 1)
			})
		}
	}
}

// An answer that says "not finished" is one of Cielo and Pagar.me; it is charged all the same, and the next query says so.
func TestUnfinished(t *testing.T) {
	cfg := config()
	cfg.Faults = "*/authorize/*=unfinished,*/query/*#1=unfinished"
	h := start(t, cfg)
	seen := map[string]int{}
	for i := range 12 {
		a := h.must(201, "POST", "/cielo/1/sales", cieloSale(fmt.Sprint("o", i), "tok0", 1000, true))
		seen[a.text(t, "Payment.Status")]++
		get := "/cielo/1/sales/" + a.text(t, "Payment.PaymentId")
		if s := h.must(200, "GET", get, "").text(t, "Payment.Status"); s != "0" && s != "12" {
			t.Errorf("the first query says %s", s)
		}
		equal(t, "the second query", h.must(200, "GET", get, "").text(t, "Payment.Status"), "2")
	}
	if seen["0"] == 0 || seen["12"] == 0 || len(seen) != 2 {
		t.Errorf("statuses %v", seen)
	}
	a := h.must(200, "POST", "/pagarme/core/v5/orders", pagarmeOrder("p1", "card_0", 1000, true))
	equal(t, "order", a.text(t, "status"), "processing")
	equal(t, "transaction", a.text(t, "charges.0.last_transaction.status"), "processing")
	get := "/pagarme/core/v5/charges/" + a.text(t, "charges.0.id")
	equal(t, "first query", h.must(200, "GET", get, "").text(t, "status"), "processing")
	equal(t, "second query", h.must(200, "GET", get, "").text(t, "status"), "paid")
	h.must(200, "POST", "/rede/v1/transactions", redeSale("r1", "tok0", 1000, true))
	s := h.summary()
	equal(t, "fallen at cielo", s.Faults["cielo"]["unfinished"], 24)
	equal(t, "fallen at pagarme", s.Faults["pagarme"]["unfinished"], 2)
	equal(t, "fallen at rede, which has no such answer", s.Faults["rede"]["unfinished"], 0)
	equal(t, "charged", s.Totals[0].CapturedMinor, 12_000)
}

// A time-out nobody waits for is cut after timeout_ms.
func TestTimeoutIsCut(t *testing.T) {
	cfg := config()
	cfg.Faults = "timeout_after=100%,timeout_ms=50"
	h := start(t, cfg)
	begin := time.Now()
	a := h.call("POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, true))
	if !cut(a) || time.Since(begin) < 50*time.Millisecond {
		t.Errorf("after %s: %+v", time.Since(begin), a)
	}
	equal(t, "charged", h.order("o1").Charged, 1)
}

func TestLatency(t *testing.T) {
	cfg := config()
	cfg.Faults = "latency=100%:60..80"
	h := start(t, cfg)
	begin := time.Now()
	h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, true))
	if took := time.Since(begin); took < 60*time.Millisecond {
		t.Errorf("took %s", took)
	}
	equal(t, "fallen", h.summary().Faults["cielo"]["latency"], 1)
}

// What is behind the effect falls only where there is one: not on a query, not on a refusal, not on a repeated key.
func TestAfterNeedsAnEffect(t *testing.T) {
	for _, kind := range []faults.Kind{faults.TimeoutAfter, faults.ErrorAfter, faults.ResetAfter} {
		cfg := config()
		cfg.Faults = fmt.Sprintf("*/query/*=%[1]s,*/search/*=%[1]s,*/capture/*=%[1]s,pagarme/authorize/*#2=%[1]s", kind)
		h := start(t, cfg)
		id := h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, true)).text(t, "Payment.PaymentId")
		h.must(200, "GET", "/cielo/1/sales/"+id, "")
		h.must(200, "GET", "/cielo/1/sales?merchantOrderId=o1", "")
		h.must(400, "PUT", "/cielo/1/sales/"+id+"/capture", "") // captured already
		first := h.must(200, "POST", "/pagarme/core/v5/orders", pagarmeOrder("p1", "card_0", 1000, true), "Idempotency-Key", "k")
		equal(t, "repeat", h.must(200, "POST", "/pagarme/core/v5/orders", pagarmeOrder("p1", "card_0", 1000, true), "Idempotency-Key", "k"), first)
		equal(t, "fallen", len(h.summary().Faults), 0)
	}
}

// A wrong amount that no answer tells has not fallen: Cielo answers a capture without one.
func TestWrongAmountNeedsAnAmount(t *testing.T) {
	cfg := config()
	cfg.Faults = "cielo/capture/*=wrong_amount"
	h := start(t, cfg)
	id := h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, false)).text(t, "Payment.PaymentId")
	h.must(200, "PUT", "/cielo/1/sales/"+id+"/capture", "")
	equal(t, "fallen", len(h.summary().Faults), 0)
}

// everything is one order's life at each rail: what a client sees of it, call by call.
func everything(h *house, reference string) string {
	var saw strings.Builder
	for _, r := range rails() {
		for range 2 {
			a := h.call("POST", r.path, r.body(reference), "Idempotency-Key", reference)
			fmt.Fprintf(&saw, "%s %d %t %t %q\n", r.name, a.Status, a.timedOut(), cut(a), undated(a.Body))
		}
		for range 2 {
			path := map[string]string{
				"cielo": "/cielo/1/sales?merchantOrderId=", "rede": "/rede/v1/transactions?reference=", "pagarme": "/pagarme/core/v5/orders?code=", "bank": "/bank/transfers/",
			}[r.name]
			a := h.call("GET", path+reference, "")
			fmt.Fprintf(&saw, "%s %d %t %t %q\n", r.name, a.Status, a.timedOut(), cut(a), undated(a.Body))
		}
	}
	return saw.String()
}

// undated is a body without what the clock writes into it. A cut body may end within a date, so its length tells it all.
func undated(body string) string {
	if !json.Valid([]byte(body)) {
		return "invalid"
	}
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		return err.Error()
	}
	strip(v)
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if l := strings.ToLower(k); strings.Contains(l, "date") || strings.HasSuffix(l, "_at") {
				delete(v, k)
			} else {
				strip(inner)
			}
		}
	case []any:
		for _, inner := range v {
			strip(inner)
		}
	}
}

// Invariant: what falls is decided by seed, connector, reference, operation and call, never by who comes first.
func TestOrderOfArrivalChangesNothing(t *testing.T) {
	cfg := config()
	cfg.BankDelay = time.Hour // a status would depend on the clock
	cfg.Faults = "timeout_before=4%,timeout_after=4%,error_before=6%,error_after=6%,reset_before=6%,reset_after=6%,wrong_amount=10%,garbage=10%,timeout_ms=20"
	references := make([]string, 30)
	for i := range references {
		references[i] = fmt.Sprint("o", i)
	}
	run := func(t *testing.T, seed uint64, order []string, together bool) (map[string]string, map[string]map[string]int64) {
		t.Helper()
		cfg := cfg
		cfg.Seed = seed
		h := start(t, cfg)
		var mu sync.Mutex
		var all sync.WaitGroup
		saw := map[string]string{}
		for _, r := range order {
			one := func() {
				s := everything(h, r)
				mu.Lock()
				defer mu.Unlock()
				saw[r] = s
			}
			if together {
				all.Go(one)
			} else {
				one()
			}
		}
		all.Wait()
		return saw, h.summary().Faults
	}
	backwards := slices.Clone(references)
	slices.Reverse(backwards)
	want, fell := run(t, 7, references, false)
	for _, other := range []struct {
		order    []string
		together bool
	}{{backwards, false}, {references, true}} {
		got, alsoFell := run(t, 7, other.order, other.together)
		for _, r := range references {
			equal(t, "what "+r+" saw", got[r], want[r])
		}
		equal(t, "what fell", fmt.Sprint(alsoFell), fmt.Sprint(fell))
	}
	for _, connector := range []string{"cielo", "rede", "pagarme", "bank"} {
		if len(fell[connector]) < 6 {
			t.Errorf("%s met only %v: the test shows little", connector, fell[connector])
		}
	}
	if got, _ := run(t, 8, references, false); fmt.Sprint(got) == fmt.Sprint(want) {
		t.Error("another seed changes nothing")
	}
}

// The rates are met: of 3000 draws at 10%, between 8% and 12% hit.
func TestRates(t *testing.T) {
	cfg := config()
	cfg.Faults = "cielo.error_before=10%,error_after=0%"
	h := start(t, cfg)
	h.http.Transport = nil // as fast as it goes
	const n = 3000
	for i := range n {
		h.call("POST", "/cielo/1/sales", cieloSale(fmt.Sprint("o", i), "tok0", 1000, true))
	}
	if fell := h.summary().Faults["cielo"]["error_before"]; fell < n*8/100 || fell > n*12/100 {
		t.Errorf("%d of %d fell", fell, n)
	}
	equal(t, "charged", int64(h.summary().Orders), n-h.summary().Faults["cielo"]["error_before"])
}

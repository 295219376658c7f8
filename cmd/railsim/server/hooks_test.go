package server_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/hooks"
	"github.com/caudalpay/caudal/cmd/railsim/server"
)

// told is one webhook as it came in.
type told struct {
	path, id, body string
	at             time.Time
}

// ear is a client's endpoint for webhooks.
type ear struct {
	t      *testing.T
	url    string
	refuse func(nth int) int // status for the nth arrival, from 1; nil: 204

	mu  sync.Mutex
	got []told // what was taken
	all []told // what came
	bad []string
}

func listen(t *testing.T, refuse func(nth int) int) *ear {
	t.Helper()
	e := &ear{t: t, refuse: refuse}
	s := httptest.NewServer(e)
	t.Cleanup(s.Close)
	e.url = s.URL + "/in"
	return e
}

func (e *ear) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.bad = append(e.bad, err.Error())
		return
	}
	if why := unsigned(r, b); why != "" {
		e.bad = append(e.bad, why)
	}
	m := told{r.URL.Path, r.Header.Get(hooks.HeaderDelivery), string(b), time.Now()}
	e.all = append(e.all, m)
	status := http.StatusNoContent
	if e.refuse != nil {
		status = e.refuse(len(e.all))
	}
	if status/100 == 2 {
		e.got = append(e.got, m)
	}
	w.WriteHeader(status)
}

// unsigned says what is wrong with what shows who sends, worked out here by other means than the sender's.
func unsigned(r *http.Request, body []byte) string {
	switch path.Base(r.URL.Path) {
	case "cielo":
		if got := r.Header.Get("X-Railsim"); got != "railsim-cielo-webhook" || r.Header.Get("webhook-signature") != "" {
			return "header of cielo " + got
		}
		return ""
	case "pagarme":
		if user, password, ok := r.BasicAuth(); !ok || user != "railsim" || password != "railsim-pagarme-webhook" {
			return "basic of pagarme " + r.Header.Get("Authorization")
		}
		return ""
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(server.DefaultCredentials().Webhook, "whsec_"))
	if err != nil {
		return err.Error()
	}
	timestamp := r.Header.Get("webhook-timestamp")
	if want := "v1," + hmacBase64(secret, r.Header.Get("webhook-id")+"."+timestamp+"."+string(body)); r.Header.Get("webhook-signature") != want {
		return "signature " + r.Header.Get("webhook-signature") + ", want " + want
	}
	if n, err := strconv.ParseInt(timestamp, 10, 64); err != nil || time.Since(time.Unix(n, 0)).Abs() > time.Minute {
		return "timestamp " + timestamp
	}
	return ""
}

func (e *ear) taken() []told {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.bad) > 0 {
		e.t.Fatal(e.bad)
	}
	return slices.Clone(e.got)
}

func (e *ear) came() []told {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.all)
}

// takes waits until n webhooks were taken and nothing waits.
func (e *ear) takes(h *house, n int) []told {
	e.t.Helper()
	until(e.t, fmt.Sprint(n, " webhooks"), func() bool { return len(e.taken()) >= n && h.summary().Webhooks.Waiting == 0 })
	if got := e.taken(); len(got) != n {
		e.t.Fatalf("%d webhooks came, want %d: %v", len(got), n, got)
	}
	return e.taken()
}

func field(t *testing.T, body, path string) string {
	t.Helper()
	return answer{Body: body}.text(t, path)
}

func heard(t *testing.T, faults string, refuse func(int) int) (*house, *ear) {
	t.Helper()
	e := listen(t, refuse)
	cfg := config()
	cfg.Webhooks, cfg.Faults = e.url, faults
	return start(t, cfg), e
}

func TestWebhooksTellWhatHappened(t *testing.T) {
	h, e := heard(t, "", nil)
	id := h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, false)).text(t, "Payment.PaymentId")
	h.must(200, "PUT", "/cielo/1/sales/"+id+"/capture", "")
	h.must(200, "PUT", "/cielo/1/sales/"+id+"/void", "")
	for i, m := range e.takes(h, 3) {
		equal(t, "path", m.path, "/in/cielo")
		equal(t, "payment", field(t, m.body, "PaymentId"), id)
		equal(t, "change", field(t, m.body, "ChangeType"), "1")
		equal(t, "ids differ", slices.IndexFunc(e.taken(), func(o told) bool { return o.id == m.id }), i)
	}
}

func TestWebhooksOfEachConnector(t *testing.T) {
	h, e := heard(t, "", nil)
	tid := h.must(200, "POST", "/rede/v1/transactions", redeSale("r1", "tok0", 1000, false)).text(t, "tid")
	h.must(200, "PUT", "/rede/v1/transactions/"+tid, `{"amount":700}`)
	got := e.takes(h, 2)
	equal(t, "rede's path", got[0].path, "/in/rede")
	equal(t, "rede's tid", field(t, got[0].body, "data.id"), tid)
	equal(t, "rede's first", field(t, got[0].body, "data.status")+field(t, got[0].body, "data.amount"), "Pending1000")
	equal(t, "rede's second", field(t, got[1].body, "data.status")+field(t, got[1].body, "data.amount"), "Approved700")

	h.must(200, "POST", "/pagarme/core/v5/orders", pagarmeOrder("p1", "card_0", 1000, true))
	got = e.takes(h, 3)
	equal(t, "pagarme's path", got[2].path, "/in/pagarme")
	equal(t, "pagarme's type", field(t, got[2].body, "type"), "charge.paid")
	equal(t, "pagarme's charge", field(t, got[2].body, "data.code")+field(t, got[2].body, "data.paid_amount"), "p11000")

	h.must(202, "POST", "/bank/transfers", transfer("E8", "8", 1000))
	got = e.takes(h, 6)
	for i, want := range []string{"transfer.sent", "transfer.paid", "transfer.returned"} {
		equal(t, "bank's type", field(t, got[3+i].body, "type"), want)
		equal(t, "bank's transfer", field(t, got[3+i].body, "data.id"), "E8")
	}
}

// A webhook that is not taken comes again, the same but signed anew, and holds back the order's later ones.
func TestWebhooksAreRetried(t *testing.T) {
	h, e := heard(t, "", func(nth int) int {
		switch {
		case nth <= 2:
			return 503
		case nth == 3:
			return 302 // not taken either
		default:
			return 200
		}
	})
	h.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	id := h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, false)).text(t, "Payment.PaymentId")
	h.must(200, "PUT", "/cielo/1/sales/"+id+"/capture", "")
	got := e.takes(h, 2)
	came := e.came()
	equal(t, "came", len(came), 5)
	for i := range 4 {
		equal(t, "id again", came[i].id, got[0].id)
		equal(t, "body again", came[i].body, got[0].body)
	}
	equal(t, "the next after it", came[4].id, got[1].id)
	for i := range 3 { // 5 ms, doubled
		if gap := came[i+1].at.Sub(came[i].at); gap < 5*time.Millisecond<<i {
			t.Errorf("attempt %d came after %s", i+2, gap)
		}
	}
	equal(t, "failed attempts", h.summary().Webhooks.Failed, 3)
}

func TestWebhookDuplicate(t *testing.T) {
	h, e := heard(t, "cielo/hook/o1#1=hook_duplicate", nil)
	h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, false))
	got := e.takes(h, 2)
	equal(t, "the same id", got[0].id, got[1].id)
	equal(t, "the same body", got[0].body, got[1].body)
	equal(t, "fallen", h.summary().Faults["cielo"]["hook_duplicate"], 1)
}

func TestWebhookReorder(t *testing.T) {
	h, e := heard(t, "rede/hook/r1#1=hook_reorder,hook_reorder_ms=10000", nil)
	tid := h.must(200, "POST", "/rede/v1/transactions", redeSale("r1", "tok0", 1000, false)).text(t, "tid")
	equal(t, "fallen before the next", len(h.summary().Faults), 0)
	h.must(200, "PUT", "/rede/v1/transactions/"+tid, `{"amount":1000}`)
	got := e.takes(h, 2)
	equal(t, "first", field(t, got[0].body, "data.status"), "Approved")
	equal(t, "second", field(t, got[1].body, "data.status"), "Pending")
	equal(t, "fallen", h.summary().Faults["rede"]["hook_reorder"], 1)
}

// With nothing behind it that could overtake, it comes in the end, and nothing has fallen.
func TestWebhookReorderOfTheLast(t *testing.T) {
	h, e := heard(t, "rede/hook/r1#1=hook_reorder,hook_reorder_ms=40", nil)
	begin := time.Now()
	h.must(200, "POST", "/rede/v1/transactions", redeSale("r1", "tok0", 1000, false))
	if got := e.takes(h, 1); got[0].at.Sub(begin) < 40*time.Millisecond {
		t.Errorf("came after %s", got[0].at.Sub(begin))
	}
	equal(t, "fallen", len(h.summary().Faults), 0)
}

func TestWebhookDelay(t *testing.T) {
	// The delay is drawn from 1 to 3000 ms: the seed of the tests draws enough for a capture to pass.
	h, e := heard(t, "rede/hook/r1#1=hook_delay,hook_delay_ms=3000", nil)
	begin := time.Now()
	tid := h.must(200, "POST", "/rede/v1/transactions", redeSale("r1", "tok0", 1000, false)).text(t, "tid")
	h.must(200, "PUT", "/rede/v1/transactions/"+tid, `{"amount":1000}`)
	got := e.takes(h, 2)
	equal(t, "first", field(t, got[0].body, "data.status"), "Approved")
	if late := got[1].at.Sub(begin); late < 50*time.Millisecond || late > 5*time.Second {
		t.Errorf("the delayed one came after %s", late)
	}
	equal(t, "fallen", h.summary().Faults["rede"]["hook_delay"], 1)
}

// Lies are signed like the truth, and come besides it.
func TestWebhookLies(t *testing.T) {
	type lie struct{ connector, path, body, id, amount, state, older string }
	for _, l := range []lie{
		{"rede", "/rede/v1/transactions", redeSale("x1", "tok0", 1000, true), "data.id", "data.amount", "data.status", "Pending"},
		{"pagarme", "/pagarme/core/v5/orders", pagarmeOrder("x1", "card_0", 1000, true), "data.id", "data.amount", "type", "charge.pending"},
		{"bank", "/bank/transfers", transfer("x1", "7", 1000), "data.id", "data.amount", "data.status", "pending"},
		{"cielo", "/cielo/1/sales", cieloSale("x1", "tok0", 1000, true), "PaymentId", "", "ChangeType", "5"},
	} {
		for _, kind := range []string{"hook_lie_unknown", "hook_lie_amount", "hook_lie_state"} {
			t.Run(kind+" "+l.connector, func(t *testing.T) {
				t.Parallel()
				h, e := heard(t, kind+"=100%", nil)
				if a := h.call("POST", l.path, l.body); a.Err != nil || a.Status/100 != 2 {
					t.Fatal(a)
				}
				if kind == "hook_lie_amount" && l.amount == "" {
					e.takes(h, 1) // it tells no amount
					equal(t, "fallen", len(h.summary().Faults), 0)
					return
				}
				got := e.takes(h, 2)
				equal(t, "fallen", h.summary().Faults[l.connector][kind], 1)
				path := map[string]string{"hook_lie_unknown": l.id, "hook_lie_amount": l.amount, "hook_lie_state": l.state}[kind]
				one, other := field(t, got[0].body, path), field(t, got[1].body, path)
				if one == other || got[0].id == got[1].id {
					t.Errorf("%s: both say %s", kind, one)
				}
				if kind == "hook_lie_state" && one != l.older && other != l.older {
					t.Errorf("none of %s and %s is %s", one, other, l.older)
				}
				if kind == "hook_lie_amount" && one != "1000" && other != "1000" {
					t.Errorf("none of %s and %s is the truth", one, other)
				}
				equal(t, "the books know better", h.summary().Orders, 1)
			})
		}
	}
}

// With everything going wrong at once, every truth arrives at least once.
func TestWebhooksAllArrive(t *testing.T) {
	h, e := heard(t, "hook_duplicate=20%,hook_reorder=20%,hook_delay=20%,hook_lie_unknown=20%,hook_lie_state=20%,hook_delay_ms=50,hook_reorder_ms=20",
		func(nth int) int { return map[bool]int{true: 500, false: 200}[nth%3 == 0] })
	const n = 60
	want := map[string]bool{}
	for i := range n {
		id := h.must(201, "POST", "/cielo/1/sales", cieloSale(fmt.Sprint("o", i), "tok0", 1000, false)).text(t, "Payment.PaymentId")
		h.must(200, "PUT", "/cielo/1/sales/"+id+"/capture", "")
		want[id] = true
	}
	until(t, "all webhooks are taken", func() bool { return h.summary().Webhooks.Waiting == 0 })
	ids := map[string]map[string]bool{} // by payment, of truths
	unknown := 0
	for _, m := range e.taken() {
		var v struct {
			PaymentID  string `json:"PaymentId"`
			ChangeType int
		}
		if err := json.Unmarshal([]byte(m.body), &v); err != nil {
			t.Fatal(err)
		}
		switch {
		case !want[v.PaymentID]:
			unknown++
		case v.ChangeType == 1:
			if ids[v.PaymentID] == nil {
				ids[v.PaymentID] = map[string]bool{}
			}
			ids[v.PaymentID][m.id] = true
		}
	}
	for id := range want {
		equal(t, "truths about "+id, len(ids[id]), 2)
	}
	fell := h.summary().Faults["cielo"]
	equal(t, "unknown", int64(unknown), fell["hook_lie_unknown"])
	for _, kind := range []string{"hook_duplicate", "hook_reorder", "hook_delay", "hook_lie_unknown", "hook_lie_state"} {
		if fell[kind] == 0 {
			t.Errorf("%s never fell", kind)
		}
	}
}

// What was not told before an end is told after it, and what was told is not.
func TestWebhooksOutliveARestart(t *testing.T) {
	var mu sync.Mutex
	deaf := false
	e := listen(t, func(int) int {
		mu.Lock()
		defer mu.Unlock()
		return map[bool]int{true: 500, false: 200}[deaf]
	})
	cfg := config()
	cfg.Webhooks, cfg.Data = e.url, t.TempDir()
	t.Run("before", func(t *testing.T) {
		h := start(t, cfg)
		h.must(201, "POST", "/cielo/1/sales", cieloSale("o1", "tok0", 1000, true))
		e.takes(h, 1)
		mu.Lock()
		deaf = true
		mu.Unlock()
		h.must(201, "POST", "/cielo/1/sales", cieloSale("o2", "tok0", 1000, true))
		until(t, "an attempt", func() bool { return len(e.came()) > 1 })
	})
	mu.Lock()
	deaf = false
	mu.Unlock()
	h := start(t, cfg)
	got := e.takes(h, 2)
	equal(t, "the same webhook", got[1].id, e.came()[1].id)
	if got[0].id == got[1].id {
		t.Error("what was told is told again")
	}
}

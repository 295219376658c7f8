package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// pageLine is what a curl line of docs/integrating.md comes to.
type pageLine struct {
	address string   // the end of it
	status  int      // of the answer
	ends    string   // the status of the record that the answer names, once nothing is awaited any more; empty: names none
	payment string   // the status of the last pay-in after that; empty: as it was
	holds   []string // what the answer has to have
}

func integratingLines() []pageLine {
	const created = http.StatusCreated
	return []pageLine{
		{address: "/accounts", status: created, holds: []string{`"policy":"acquiring"`}},
		{address: "/payins", status: created, ends: "succeeded", holds: []string{`"status":"processing"`}},
		{address: "pi_...", status: http.StatusOK, holds: []string{`"captured_amount":10000`}},
		{address: "/payins", status: created, ends: "requires_capture"},
		{address: "pi_...", status: http.StatusOK, holds: []string{`"expires_at":`, `"authorized_amount":20000`, `"captured_amount":0`}},
		{address: "/increment", status: created, ends: "failed", payment: "requires_capture"}, // no connector can do it
		{address: "/capture", status: created, ends: "succeeded", payment: "succeeded"},
		{address: "/payins", status: created, ends: "requires_capture"},
		{address: "/void", status: created, ends: "succeeded", payment: "cancelled"},
		{address: "/payins", status: http.StatusAccepted, ends: "succeeded", holds: []string{`"status":"pending"`}},
		{address: "pi_...", status: http.StatusOK, holds: []string{`"captured_amount":9000`}},
		{address: "/refunds", status: created, ends: "succeeded", payment: "partially_refunded", holds: []string{`"status":"processing"`}},
		{address: "re_...", status: http.StatusOK, holds: []string{`"amount":2500`}},
		{address: "/refunds", status: created, ends: "succeeded", payment: "refunded", holds: []string{`"amount":6500`}},
		{address: "/payouts", status: created, ends: "paid", holds: []string{`"status":"created"`}},
		{address: "po_...", status: http.StatusOK, holds: []string{`"status":"paid"`}},
		{address: "/fx/quotes", status: created, holds: []string{`"status":"created"`, `"rate":"0.1`, `"expires_at":`}},
		{address: "/payouts", status: created, ends: "succeeded", holds: []string{`"quote":"fq_`, `"target_currency":"USD"`}},
		{address: "fq_...", status: http.StatusOK, holds: []string{`"status":"succeeded"`, `"payment_id":"po_`}},
		{address: "/payins", status: created, ends: "failed"},
		{address: "pi_...", status: http.StatusOK, holds: []string{`"reasons":["rail_refused"]`, `"connector":"cielo"`, `"rail_code":"`}},
		{address: "/payins", status: http.StatusUnprocessableEntity, holds: []string{`"/amount"`, `"/method/brand"`, `"/instrument"`}},
		{address: "/timeline", status: http.StatusOK, holds: []string{`"stage":"order"`, `"rail_result":"refused"`, `"reasons":["rail_refused"]`}},
		{address: "/payments:batch", status: http.StatusOK, ends: "succeeded", holds: []string{`"index":0,"status":201`, `"index":1,"status":422`}},
		{address: "/disputes", status: http.StatusOK, holds: []string{`"status":"dispute"`}},
		{address: "/disputes?status=dispute&limit=50", status: http.StatusOK, holds: []string{`"fee":2500`, `"reference":"CB-4711"`, `"has_more":false`}},
		{address: "/evidence", status: http.StatusOK, holds: []string{`"status":"dispute"`}},
		{address: "dp_...", status: http.StatusOK, holds: []string{`"kind":"delivery"`, `"evidence_until":"2099-12-31T23:59:59Z"`}},
		{address: "/disputes", status: http.StatusOK, holds: []string{`"status":"won"`}},
		{address: "/disputes", status: http.StatusOK, holds: []string{`"status":"pre_dispute"`}},
		{address: "/accept", status: http.StatusOK, holds: []string{`"status":"lost"`}},
		{address: "/cards", status: created, holds: []string{`"last4":"4242"`, `"status":"active"`}},
		{address: "/clearings", status: created, holds: []string{`"status":"succeeded"`, `"reasons":["payment_unknown"]`, `"amount":700`}},
		{address: "cl_...", status: http.StatusOK, holds: []string{`"kind":"clearing"`, `"card_acceptor":"LOJA42"`}},
		{address: "/statement?limit=100", status: http.StatusOK, holds: []string{`"amount":8000`, `"amount":-2500`, `"amount":-1000`, `"amount":-700`, `"has_more":false`}},
		{address: "/balances", status: http.StatusOK, holds: []string{`"held":0`}},
		{address: "database=caudal", status: http.StatusOK, holds: []string{"refunded", "10000", "8000"}},
	}
}

// Invariant: whoever pastes the curl lines of docs/integrating.md in their order sees what the page says.
func TestIntegrating(t *testing.T) {
	page, err := os.ReadFile("../../docs/integrating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, file := railsim(t, 7, "")
	h := startHouse(t, t.TempDir(), "--rails", file)
	defer h.stop()
	token, err := os.ReadFile(filepath.Join(h.data, "dev.token"))
	if err != nil {
		t.Fatal(err)
	}
	bearer := strings.TrimSpace(string(token))
	clickhouse, err := url.Parse(h.addresses().ClickHouse)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(page), "'$(date -u +%F)'", time.Now().UTC().Format(time.DateOnly)) // as a shell does
	lines := curls(t, text, strings.NewReplacer("localhost:8080", h.http, "localhost:8123", clickhouse.Host, "$TOKEN", bearer))
	expected := integratingLines()
	if len(lines) != len(expected) {
		t.Fatalf("the page has %d curl lines, this test knows %d", len(lines), len(expected))
	}
	came, declined := map[string]string{}, "" // the last id by its prefix; the payment that the issuer declined
	for i, line := range lines {
		e := expected[i]
		if !strings.HasSuffix(line.address, e.address) {
			t.Fatalf("line %d of the page goes to %s, this test knows %s", i, line.address, e.address)
		}
		body := line.sendUntil(t, e, replacer(came))
		id := remember(came, body)
		if e.address == "/timeline" {
			declined = came["pi_"]
		}
		if e.ends != "" {
			h.follow(bearer, id, e.ends)
		}
		if e.payment != "" {
			h.follow(bearer, came["pi_"], e.payment)
		}
	}
	for output, holds := range map[string][]string{
		"table": {"rail_answer refused", "failed", "rail_refused release", "rails.orders.v1", ".collect"},
		"json":  {`"stage":"command"`, `"rail_result":"refused"`, `"journals":["hold"]`},
	} {
		var out strings.Builder
		c := root()
		c.SetOut(&out)
		c.SetArgs([]string{"payments", "timeline", declined, "--url", "http://" + h.http, "--data", h.data, "-o", output})
		if err := c.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, text := range holds {
			if !strings.Contains(out.String(), text) {
				t.Errorf("no %q in\n%s", text, out.String())
			}
		}
	}
}

// sendUntil sends a line until its answer is the expected one. Only reads are sent again: stores follow the log.
func (c curlLine) sendUntil(t *testing.T, e pageLine, variables *strings.Replacer) string {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		status, body := c.send(t, variables)
		missing := slices.ContainsFunc(e.holds, func(s string) bool { return !strings.Contains(body, s) })
		if status == e.status && !missing {
			return body
		}
		if status != e.status || c.header.Get("Idempotency-Key") != "" || time.Now().After(until) {
			t.Fatalf("%s: %d %s\nwanted %d with %q", c.address, status, body, e.status, e.holds)
		}
	}
}

// remember takes the ids out of an answer, and gives the first.
func remember(came map[string]string, body string) (first string) {
	for _, found := range regexp.MustCompile(`"(?:account|payment|quote|dispute|card|clearing)_id":"([a-z]+_)([^"]+)"`).FindAllStringSubmatch(body, -1) {
		came[found[1]] = found[1] + found[2]
		if first == "" {
			first = found[1] + found[2]
		}
	}
	return first
}

func replacer(came map[string]string) *strings.Replacer {
	var pairs []string
	for prefix, id := range came {
		pairs = append(pairs, prefix+"...", id)
	}
	return strings.NewReplacer(pairs...)
}

// follow waits until a payment has a status, as the page says to: by asking.
func (h *house) follow(bearer, id, status string) {
	h.t.Helper()
	ask := curlLine{address: "http://" + h.http + "/transactions/" + id, header: http.Header{"Authorization": {"Bearer " + bearer}}}
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var view struct{ Status string }
		code, body := ask.send(h.t, strings.NewReplacer())
		if code == http.StatusOK && json.Unmarshal([]byte(body), &view) == nil && view.Status == status {
			return
		}
		if time.Now().After(until) {
			h.t.Fatalf("%s did not become %s: %d %s", id, status, code, body)
		}
	}
}

package disputes_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caudalpay/caudal/cmd/caudal/disputes"
	"github.com/caudalpay/caudal/cmd/caudal/lines"
)

// house answers as the API does, and keeps what it was told in its order.
type house struct {
	mu   sync.Mutex
	told []string // by pay-in, stage and amount
	keys map[string]int
	once bool   // a key that comes again is answered as a repeat
	at   string // where a dispute stands that nothing moves; empty: it goes where it is told to
}

func (h *house) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var word struct {
		PaymentID string      `json:"payment_id"`
		Stage     string      `json:"stage"`
		Amount    json.Number `json:"amount"`
		Connector string      `json:"connector"`
		Reference string      `json:"reference"`
	}
	if err := json.Unmarshal(body, &word); err != nil || r.URL.Path != "/disputes" || r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer secret" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	problem := func(status int, text string) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
	switch {
	case word.Stage == "chargeback":
		problem(http.StatusUnprocessableEntity, `{"code":"invalid_request","violations":[{"pointer":"/stage","detail":"pre_dispute, dispute"}]}`)
	case word.Amount == "666":
		problem(http.StatusConflict, `{"code":"request_declined","detail":"Declined: rail_amount."}`)
	case word.Amount == "999":
		problem(http.StatusAccepted, `{"status":"pending"}`)
	case word.Amount == "503" && h.keys[r.Header.Get("Idempotency-Key")] == 0:
		h.keys[r.Header.Get("Idempotency-Key")]++
		problem(http.StatusServiceUnavailable, `{"code":"busy"}`)
	case h.once && h.keys[r.Header.Get("Idempotency-Key")] > 0:
		w.Header().Set("Idempotency-Replayed", "true")
		problem(http.StatusOK, `{"status":"`+cmp.Or(h.at, word.Stage)+`"}`)
	default:
		h.keys[r.Header.Get("Idempotency-Key")]++
		h.told = append(h.told, fmt.Sprintf("%s %s %s %s %s", word.PaymentID, word.Stage, word.Amount, word.Connector, word.Reference))
		problem(http.StatusOK, `{"status":"`+cmp.Or(h.at, word.Stage)+`"}`)
	}
}

func load(t *testing.T, name, text, token string) (*house, disputes.Result, error) {
	t.Helper()
	h := &house{keys: map[string]int{}}
	r, err := h.load(t, name, text, token)
	return h, r, err
}

func (h *house) load(t *testing.T, name, text, token string) (disputes.Result, error) {
	t.Helper()
	server := httptest.NewServer(h)
	defer server.Close()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return disputes.Load(t.Context(), disputes.Options{Options: lines.Options{File: file, URL: server.URL, Token: token, Workers: 4}, Connector: "network"}) //nolint:wrapcheck // of the test
}

// Invariant: a line that says what was said before is told apart from one that was taken: it has moved nothing.
func TestWhatWasSaidBeforeIsNotTaken(t *testing.T) {
	line := func(stage string) string {
		return `{"payment_id":"pi_1","stage":"` + stage + `","amount":100,"reference":"CB"}` + "\n"
	}
	h := &house{keys: map[string]int{}, once: true}
	for i, want := range []disputes.Result{{Lines: 5, Taken: 3, Repeated: 1}, {Lines: 5, Repeated: 4}} {
		r, err := h.load(t, "f.ndjson", line("dispute")+line("won")+line("won")+line("pre_arbitration")+line("won"), "secret")
		if err != nil || len(r.Refused) != 1 || r.Refused[0].Line != 5 || !strings.Contains(r.Refused[0].Detail, "occurred_at") {
			t.Errorf("load %d: %+v %v", i, r, err)
		}
		if r.Refused = nil; fmt.Sprint(r) != fmt.Sprint(want) {
			t.Errorf("load %d: %+v, want %+v", i, r, want)
		}
	}
}

// Invariant: a line that the dispute is past has moved nothing: it is not counted as taken, however often it is told, and is named with
// where the dispute stands.
func TestWhatComesTooLateIsNotTaken(t *testing.T) {
	text := `{"payment_id":"pi_1","stage":"dispute","amount":100,"reference":"CB"}` + "\n" +
		`{"payment_id":"pi_1","stage":"won","amount":100,"reference":"CB"}` + "\n" +
		`{"payment_id":"pi_1","stage":"lost","amount":100,"reference":"CB"}` + "\n"
	h := &house{keys: map[string]int{}, once: true, at: "won"}
	for i, c := range []struct {
		taken, repeated int
		why             string
	}{{1, 0, "the dispute stands at won"}, {0, 1, "said before, when the dispute stood at won"}} {
		r, err := h.load(t, "f.ndjson", text, "secret")
		want := disputes.Result{Lines: 3, Taken: c.taken, Repeated: c.repeated, Stale: []lines.Refusal{{Line: 1, Code: "stale", Detail: c.why}, {Line: 3, Code: "stale", Detail: c.why}}}
		if err != nil || fmt.Sprint(r) != fmt.Sprint(want) {
			t.Errorf("load %d: %+v %v, want %+v", i, r, err, want)
		}
	}
	var many strings.Builder
	for i := range 50 { // by several workers at once
		fmt.Fprintf(&many, `{"payment_id":"pi_%d","stage":"lost","amount":100,"reference":"CB"}`+"\n", i)
	}
	r, err := h.load(t, "many.ndjson", many.String(), "secret")
	if err != nil || len(r.Stale) != 50 || !slices.IsSortedFunc(r.Stale, func(a, b lines.Refusal) int { return a.Line - b.Line }) {
		t.Errorf("%+v %v", r.Stale, err)
	}
}

// Invariant: every line that holds anything is taken, or named with its number and why. What is wrong with one stops no other.
func TestEachLineIsTakenOrNamed(t *testing.T) {
	line := func(payment, stage, amount string) string {
		return `{"payment_id":"` + payment + `","stage":"` + stage + `","amount":` + amount + `,"reference":"CB"}`
	}
	lines := []string{
		line("pi_1", "pre_dispute", "100"), "", line("pi_1", "dispute", "100"), `{"payment_id":`, line("pi_2", "chargeback", "5"), `[1]`, "null",
		line("pi_2", "dispute", "666"), line("pi_3", "won", "999"), line("pi_3", "dispute", "503"), line("pi_1", "won", "100"),
		line("pi_4", "lost", "9007199254740993") + " " + line("pi_4", "won", "1"),
		strings.Replace(line("pi_5", "lost", "9007199254740993"), `"CB"`, `"CB","connector":"cielo"`, 1),
	}
	h, r, err := load(t, "file.ndjson", strings.Join(lines, "\n"), "secret")
	if err != nil {
		t.Fatal(err)
	}
	var refused []string
	for _, f := range r.Refused {
		refused = append(refused, fmt.Sprint(f.Line, " ", f.Code))
	}
	want := []string{"4 unreadable", "5 invalid_request", "6 unreadable", "7 unreadable", "8 request_declined", "9 pending", "12 unreadable"}
	if r.Lines != 12 || r.Taken != 5 || !slices.Equal(refused, want) {
		t.Errorf("%+v, refused %q", r, refused)
	}
	if d := r.Refused[1].Detail; d != "/stage: pre_dispute, dispute." {
		t.Errorf("%q", d)
	}
	first := slices.DeleteFunc(slices.Clone(h.told), func(s string) bool { return !strings.HasPrefix(s, "pi_1") })
	if !slices.Equal(first, []string{"pi_1 pre_dispute 100 network CB", "pi_1 dispute 100 network CB", "pi_1 won 100 network CB"}) {
		t.Errorf("%q", first)
	}
	if !slices.Contains(h.told, "pi_5 lost 9007199254740993 cielo CB") || !slices.Contains(h.told, "pi_3 dispute 503 network CB") {
		t.Errorf("%q", h.told)
	}
}

func TestTableWithAHeader(t *testing.T) {
	text := "\ufeffpayment_id,stage,amount,reference,reason_code,deadline\n" +
		"pi_1,dispute,100,CB-1,10.4,2026-12-07T23:59:59Z\n" +
		"pi_2,dispute,1.00,CB-2,,\n" +
		"pi_3,dispute,5\n" +
		"pi_4,\"won, it says\"x,5,CB-4,,\n" +
		" pi_5 , won ,7,CB-5,,\n"
	h, r, err := load(t, "FILE.CSV", text, "secret")
	if err != nil {
		t.Fatal(err)
	}
	var refused []int
	for _, f := range r.Refused {
		refused = append(refused, f.Line)
	}
	slices.Sort(h.told)
	if r.Lines != 5 || r.Taken != 2 || !slices.Equal(refused, []int{3, 4, 5}) || !slices.Equal(h.told, []string{"pi_1 dispute 100 network CB-1", "pi_5 won 7 network CB-5"}) {
		t.Errorf("%+v %q", r, h.told)
	}
}

// Invariant: a table may have every column that the help names.
func TestTableWithEveryColumn(t *testing.T) {
	text := "payment_id,stage,amount,reference,reason_code,connector,deadline,occurred_at\n" +
		"pi_1,dispute,100,CB-1,10.4,cielo,2026-12-07T23:59:59Z,2026-11-20T08:00:00Z\n"
	if _, r, err := load(t, "f.csv", text, "secret"); err != nil || r.Taken != 1 {
		t.Errorf("%+v %v", r, err)
	}
}

// A key that may not tell of disputes ends the run: nothing of the file could be taken.
func TestKeyOfAMerchantEndsTheRun(t *testing.T) {
	_, r, err := load(t, "f.ndjson", `{"payment_id":"pi_1"}`, "merchant")
	if err == nil || !strings.Contains(err.Error(), "line 1") || r.Taken != 0 {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := disputes.Load(t.Context(), disputes.Options{Options: lines.Options{File: filepath.Join(t.TempDir(), "none"), Workers: 1}}); err == nil {
		t.Error("a file that is not there was loaded")
	}
	file := filepath.Join(t.TempDir(), "f.ndjson")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, workers := range []int{0, -3} {
		if _, err := disputes.Load(t.Context(), disputes.Options{Options: lines.Options{File: file, Workers: workers}}); err == nil || !strings.Contains(err.Error(), "workers") {
			t.Errorf("%d workers sent: %v", workers, err)
		}
	}
}

// Invariant: what a file says twice it does not say at all. The front door refuses a member that stands twice; whoever reads the
// file first must not choose one of the two amounts before.
func TestSaidTwice(t *testing.T) {
	for name, text := range map[string]string{
		"f.ndjson": `{"payment_id":"pi_1","stage":"dispute","amount":1,"amount":2,"reference":"CB"}`,
		"g.ndjson": `{"payment_id":"pi_1","stage":"dispute","amount":1,"\u0061mount":2,"reference":"CB"}`,
	} {
		h, r, err := load(t, name, text, "secret")
		if err != nil || len(h.told) > 0 || len(r.Refused) != 1 || r.Refused[0].Code != "unreadable" {
			t.Errorf("%s: told %q, %+v %v", name, h.told, r, err)
		}
	}
	h, _, err := load(t, "f.csv", "payment_id,stage,amount,amount,reference\npi_1,dispute,1,2,CB\n", "secret")
	if err == nil || !strings.Contains(err.Error(), "amount") || len(h.told) > 0 {
		t.Errorf("a column that stands twice: told %q, %v", h.told, err)
	}
}

// A file that cannot be meant is not loaded in part, and its error says what to change.
func TestFilesThatCannotBeMeant(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty.csv":    {"", "empty"},
		"empty.ndjson": {"", "empty"},
		"blank.ndjson": {"\ufeff\n \n\n", "empty"},
		"long.ndjson":  {"{}\n" + strings.Repeat("x", 100_000) + "\n", "line 2"},
		"cut.csv":      {"payment_id,stage,amount,reference\npi_1,dispute,1,CB-47\npi_1,dispute,1,CB-4", "line break"},
		"amount.csv":   {"payment_id,stage,reference,amount\npi_1,dispute,CB,12", "line break"},
		"unknown.csv":  {"payment_id,stage,amount,ref\npi_1,dispute,1,CB\n", "reference"},
	} {
		h, _, err := load(t, name, c.text, "secret")
		if err == nil || !strings.Contains(err.Error(), c.want) || len(h.told) > 0 {
			t.Errorf("%s: told %q, %v; want %q", name, h.told, err, c.want)
		}
	}
	if h, r, err := load(t, "mark.ndjson", "\ufeff"+`{"payment_id":"pi_1","stage":"won","amount":7,"reference":"CB"}`, "secret"); err != nil || r.Taken != 1 || len(h.told) != 1 {
		t.Errorf("behind a byte order mark: %+v %v", r, err)
	}
}

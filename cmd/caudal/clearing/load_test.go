package clearing_test

import (
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
	"time"

	"github.com/caudalpay/caudal/cmd/caudal/clearing"
	"github.com/caudalpay/caudal/cmd/caudal/lines"
)

// house answers as the API does: an item is known by its stan.
type house struct {
	mu   sync.Mutex
	told []string // stan and amount, in the order they came
	keys map[string]int
}

func (h *house) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var item struct {
		STAN   string      `json:"stan"`
		Amount json.Number `json:"amount"`
	}
	if err := json.Unmarshal(body, &item); err != nil || r.URL.Path != "/clearings" || r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer secret" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	problem := func(status int, text string) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
	key := r.Header.Get("Idempotency-Key")
	switch {
	case item.Amount == "404":
		problem(http.StatusNotFound, `{"code":"card_unknown","violations":[{"pointer":"/number","detail":"no such card of yours"}]}`)
	case item.Amount == "422":
		problem(http.StatusUnprocessableEntity, `{"code":"idempotency_conflict","detail":"The item is in the books already.","instance":"/transactions/cl_1"}`)
	case item.Amount == "999":
		problem(http.StatusAccepted, `{"status":"pending"}`)
	case item.Amount == "409" && h.keys[key] == 0:
		h.keys[key]++
		problem(http.StatusConflict, `{"code":"idempotency_in_flight"}`)
	default:
		if slices.ContainsFunc(h.told, func(s string) bool { return strings.HasPrefix(s, item.STAN) }) {
			w.Header().Set("Idempotency-Replayed", "true")
		}
		h.told = append(h.told, item.STAN+" "+string(item.Amount))
		reasons := `[]`
		if item.Amount == "7" {
			reasons = `["payment_unknown"]`
		}
		problem(http.StatusCreated, `{"status":"succeeded","reasons":`+reasons+`}`)
	}
}

const (
	number = "4242424242424242"
	header = `{"header":{"format":"caudal.clearings","version":1,"file":"NET-1"}}`
)

func now() string { return time.Now().UTC().Truncate(24 * time.Hour).Format(time.RFC3339) }

// line is an item; more begins with a comma, or is empty.
func line(stan, code, amount, currency, more string) string {
	return fmt.Sprintf(`{"number":%q,"processing_code":%q,"amount":%s,"currency":%q,"transmitted_at":%q,"stan":%q,"acquirer":"77","terminal":"T1","merchant":"LOJA42","mcc":"5411","rrn":"1"%s}`,
		number, code, amount, currency, now(), stan, more)
}

func trailer(count int, sums string) string {
	return fmt.Sprintf(`{"trailer":{"count":%d,"sums":{%s}}}`, count, sums)
}

func (h *house) load(t *testing.T, token string, text ...string) (clearing.Result, error) {
	t.Helper()
	server := httptest.NewServer(h)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "f.ndjson")
	if err := os.WriteFile(file, []byte(strings.Join(text, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return clearing.Load(t.Context(), lines.Options{File: file, URL: server.URL + "/", Token: token, Workers: 4})
}

// Invariant: every item is cleared, repeated, or named with its line and why; what is wrong with one stops no other. A file that is
// loaded again clears nothing anew.
func TestEachItemIsInTheBooksOrNamed(t *testing.T) {
	h := &house{keys: map[string]int{}}
	asked := fmt.Sprintf(`,"authorization":{"mti":"0100","stan":"000090","transmitted_at":%q}`, now())
	file := []string{
		"\ufeff" + header, "", line("000001", "000000", "100", "BRL", asked+`,"partial":true`), line("000002", "000000", "404", "BRL", ""),
		line("000003", "000000", "999", "BRL", ""), "  " + line("000004", "200000", "7", "BRL", "") + "  ", line("000005", "010000", "409", "USD", ""),
		line("000006", "000000", "200", "BRL", asked), trailer(6, `"BRL":{"debit":1703,"credit":7},"USD":{"debit":409,"credit":0}`), "",
	}
	for round, want := range [][2]int{{4, 0}, {0, 4}} {
		r, err := h.load(t, "secret", file...)
		if err != nil {
			t.Fatal(err)
		}
		var refused []string
		for _, f := range r.Refused {
			refused = append(refused, fmt.Sprint(f.Line, " ", f.Code))
		}
		if r.File != "NET-1" || r.Items != 6 || r.Cleared != want[0] || r.Repeated != want[1] || r.Reasons["payment_unknown"] != 1 ||
			!slices.Equal(refused, []string{"4 card_unknown", "5 pending"}) || r.Refused[0].Detail != "/number: no such card of yours." {
			t.Errorf("round %d: %+v", round, r)
		}
	}
	if a, b := slices.Index(h.told, "000001 100"), slices.Index(h.told, "000006 200"); a < 0 || b < a {
		t.Errorf("the items of one authorization came as %q", h.told)
	}
}

// Invariant: an item that is in the books with other contents is named with the clearing that stands there: whoever clears it up needs both.
func TestItemThatIsKnownOtherwiseIsNamed(t *testing.T) {
	h := &house{keys: map[string]int{}}
	r, err := h.load(t, "secret", header, line("000001", "000000", "422", "BRL", ""), trailer(1, `"BRL":{"debit":422,"credit":0}`))
	want := lines.Refusal{Line: 2, Code: "idempotency_conflict", Detail: "The item is in the books already.", Instance: "/transactions/cl_1"}
	if err != nil || len(r.Refused) != 1 || r.Refused[0] != want {
		t.Errorf("%+v %v", r, err)
	}
}

// Invariant: nothing of a file is sent before all of it is read, and comes to what its trailer says. What is wrong is named by its
// line, and no card's number with it.
func TestNothingIsSentOfAFileThatIsWrong(t *testing.T) {
	good := line("000001", "000000", "100", "BRL", "")
	sum := `"BRL":{"debit":100,"credit":0}`
	for name, c := range map[string]struct {
		file []string
		want string
	}{
		"empty":                 {nil, "begins with a header"},
		"a header alone":        {[]string{header}, "begins with a header"},
		"no header":             {[]string{good, trailer(1, sum)}, "line 1: no header"},
		"another format":        {[]string{strings.Replace(header, "clearings", "refunds", 1), good, trailer(1, sum)}, "line 1: the header says another format"},
		"a later version":       {[]string{strings.Replace(header, ":1", ":2", 1), good, trailer(1, sum)}, "line 1: the header says another format"},
		"no name":               {[]string{strings.Replace(header, "NET-1", "", 1), good, trailer(1, sum)}, "line 1: the header names no file"},
		"more in the header":    {[]string{strings.Replace(header, `"file"`, `"day":1,"file"`, 1), good, trailer(1, sum)}, "line 1: no header"},
		"cut behind an item":    {[]string{header, good}, "line 2: no trailer"},
		"cut in the trailer":    {[]string{header, good, trailer(1, sum)[:30]}, "line 3: no trailer"},
		"cut in an item":        {[]string{header, good, good[:40]}, "line 3: no trailer"},
		"a sum said twice":      {[]string{header, good, trailer(1, sum+","+sum)}, "line 3: no trailer"},
		"an item too few":       {[]string{header, good, trailer(2, sum)}, "line 3: the trailer counts 2 items, the file has 1"},
		"another sum":           {[]string{header, good, trailer(1, `"BRL":{"debit":101,"credit":0}`)}, "line 3: in BRL the trailer has a debit of 101"},
		"debit for credit":      {[]string{header, good, trailer(1, `"BRL":{"debit":0,"credit":100}`)}, "line 3: in BRL"},
		"a currency too few":    {[]string{header, good, line("000002", "000000", "5", "USD", ""), trailer(2, sum)}, "line 4: in USD the trailer has a debit of 0"},
		"a currency too many":   {[]string{header, good, trailer(1, sum+`,"USD":{"debit":5,"credit":0}`)}, "line 3: in USD"},
		"an item twice":         {[]string{header, good, good, trailer(2, `"BRL":{"debit":200,"credit":0}`)}, "line 3: the item of line 2 again"},
		"two trailers":          {[]string{header, good, trailer(1, sum), trailer(1, sum)}, "line 3: /trailer"},
		"a member that is none": {[]string{header, line("000001", "000000", "100", "BRL", `,"amout":1`), trailer(1, sum)}, "line 2: /amout: there is no such field"},
		"an amount said twice":  {[]string{header, line("000001", "000000", "100", "BRL", `,"amount":1`), trailer(1, sum)}, "line 2: "},
		"a wrong number":        {[]string{header, strings.Replace(good, number, "4242424242424241", 1), trailer(1, sum)}, "line 2: /number"},
		"last year's":           {[]string{header, strings.Replace(good, now(), "2024-02-29T00:00:00Z", 1), trailer(1, sum)}, "line 2: /transmitted_at"},
		"no object":             {[]string{header, "[" + good + "]", trailer(1, sum)}, "line 2: an object is expected"},
		"a long line":           {[]string{header, good, strings.Repeat("x", 100_000)}, "line 3"},
		"many lines":            {slices.Concat([]string{header}, slices.Repeat([]string{"{}"}, 30), []string{trailer(30, sum)}), "more"},
	} {
		h := &house{}
		r, err := h.load(t, "secret", c.file...)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(h.told) > 0 || r.Items != 0 {
			t.Errorf("%s: told %q, %+v %v; want %q", name, h.told, r, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), number[:15]) || strings.Contains(err.Error(), number[6:12])) {
			t.Errorf("%s: the number stands in %v", name, err)
		}
	}
}

// A key that may not tell of clearings ends the run: nothing of the file could be taken.
func TestKeyOfAMerchantEndsTheRun(t *testing.T) {
	h := &house{}
	r, err := h.load(t, "merchant", header, line("000001", "000000", "100", "BRL", ""), trailer(1, `"BRL":{"debit":100,"credit":0}`))
	if err == nil || !strings.Contains(err.Error(), "line 2") || r.Cleared != 0 || strings.Contains(err.Error(), number) {
		t.Errorf("%+v %v", r, err)
	}
}

// A day without items is a file too.
func TestFileOfNothing(t *testing.T) {
	h := &house{}
	if r, err := h.load(t, "secret", header, trailer(0, "")); err != nil || r.Items != 0 || r.Cleared != 0 {
		t.Errorf("%+v %v", r, err)
	}
}

// Invariant: of a file that is too large no more is read than what may be loaded.
func TestFileThatIsTooLarge(t *testing.T) {
	name := filepath.Join(t.TempDir(), "large.ndjson")
	text := strings.Repeat("{}\n", 1_000_003) + strings.Repeat("x", 1<<17) // the last line is more than can be read
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := clearing.Load(t.Context(), lines.Options{File: name, URL: "http://127.0.0.1:1", Token: "secret", Workers: 1})
	if err == nil || !strings.Contains(err.Error(), "more than 1000000 items") {
		t.Errorf("%v", err)
	}
}

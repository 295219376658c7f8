package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// curlLine is one curl command as a shell would hand it over.
type curlLine struct {
	address string
	header  http.Header
	body    string
}

// curls reads the curl commands of a text: indented lines, continued with a backslash.
func curls(t *testing.T, text string, variables *strings.Replacer) []curlLine {
	t.Helper()
	word := regexp.MustCompile(`'[^']*'|"[^"]*"|[^\s'"]+`)
	var list []curlLine
	for _, command := range regexp.MustCompile(`(?m)^ +curl (?:.*\\\n)*.*$`).FindAllString(text, -1) {
		c := curlLine{header: http.Header{}}
		words := word.FindAllString(strings.ReplaceAll(command, "\\\n", " "), -1)[1:]
		for i := 0; i < len(words); i++ {
			value := func() string { i++; return variables.Replace(strings.Trim(words[i], `'"`)) }
			switch words[i] {
			case "-s":
			case "-H":
				name, content, _ := strings.Cut(value(), ": ")
				c.header.Add(name, content)
			case "-d", "--data-binary":
				c.body = value()
			default:
				i--
				c.address = "http://" + strings.TrimPrefix(value(), "http://")
			}
		}
		if c.body != "" && c.header.Get("Content-Type") == "" {
			c.header.Set("Content-Type", "application/x-www-form-urlencoded") // as curl does
		}
		list = append(list, c)
	}
	return list
}

func (c curlLine) send(t *testing.T, variables *strings.Replacer) (status int, answer string) {
	t.Helper()
	method := http.MethodGet
	if c.body != "" {
		method = http.MethodPost
	}
	address := variables.Replace(c.address)
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(variables.Replace(c.body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = c.header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // read to the end
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// Invariant: whoever pastes the curl lines of the README, or those that `caudal up` prints, sends a payment, sees its
// decision and finds it in ClickHouse.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	h := startHouse(t, t.TempDir())
	addresses, err := os.ReadFile(filepath.Join(h.data, "addresses.json"))
	if err != nil {
		t.Fatal(err)
	}
	var at struct{ ClickHouse string }
	if err := json.Unmarshal(addresses, &at); err != nil {
		t.Fatal(err)
	}
	clickhouse, err := url.Parse(at.ClickHouse)
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(h.data, "dev.token"))
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("localhost:8080", h.http, "localhost:8123", clickhouse.Host, "$TOKEN", strings.TrimSpace(string(token)))

	lines := curls(t, string(readme), here)
	if len(lines) != 4 {
		t.Fatalf("the README has %d curl lines, this test knows 4", len(lines))
	}
	var account struct {
		ID string `json:"account_id"`
	}
	var payment struct {
		ID string `json:"payment_id"`
	}
	status, body := lines[0].send(t, here)
	if status != http.StatusCreated || json.Unmarshal([]byte(body), &account) != nil {
		t.Fatalf("opening: %d %s", status, body)
	}
	came := strings.NewReplacer("acc_...", account.ID, "ACCOUNT_ID", account.ID)
	status, body = lines[1].send(t, came)
	if status != http.StatusCreated || json.Unmarshal([]byte(body), &payment) != nil {
		t.Fatalf("paying in: %d %s", status, body)
	}
	came = strings.NewReplacer("pi_...", payment.ID)
	if status, body = lines[2].send(t, came); status != http.StatusOK || !strings.Contains(body, `"succeeded"`) {
		t.Errorf("reading the decision: %d %s", status, body)
	}
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		status, body = lines[3].send(t, came)
		if status == http.StatusOK && strings.Contains(body, "approved") && strings.Contains(body, "15000") {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("in ClickHouse: %d %s", status, body)
		}
	}

	h.stop() // its output may be read from here on
	printed := curls(t, h.out.String(), here)
	if len(printed) != 3 {
		t.Fatalf("caudal up printed %d curl lines, this test knows 3:\n%s", len(printed), h.out)
	}
	for i, line := range printed[:2] {
		for name, values := range lines[i].header {
			if line.header.Get(name) != values[0] {
				t.Errorf("caudal up prints %s %q for %s, the README %q", name, line.header.Get(name), line.address, values[0])
			}
		}
		if line.body != strings.ReplaceAll(lines[i].body, "acc_...", "ACCOUNT_ID") {
			t.Errorf("caudal up prints the body %s, the README %s", line.body, lines[i].body)
		}
	}
}

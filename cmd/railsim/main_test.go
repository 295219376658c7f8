package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/books"
	"github.com/caudalpay/caudal/cmd/railsim/server"
)

// asRailsim makes the test binary behave as the real one: what is killed below is this very code.
const asRailsim = "RAILSIM_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asRailsim) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func railsim(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asRailsim+"=1")
	return cmd
}

// process is one `railsim serve`.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	out *bufio.Reader
	url string
}

func serveProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: railsim(t, append([]string{"serve", "-o", "json"}, args...)...)}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	p.out = bufio.NewReader(out)
	line, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var s started
	if err := json.Unmarshal([]byte(line), &s); err != nil || s.URL == "" {
		t.Fatalf("%v: %q", err, line)
	}
	p.url = s.URL
	return p
}

func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
	err := p.cmd.Wait()
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || status.Signal() != syscall.SIGKILL {
		p.t.Fatalf("it ended otherwise: %v", err)
	}
}

func (p *process) do(method, path, body string, headers ...string) (int, string, error) {
	r, err := http.NewRequest(method, p.url+path, strings.NewReader(body)) //nolint:noctx // the process is killed under it
	if err != nil {
		return 0, "", err
	}
	c := server.DefaultCredentials()
	switch {
	case strings.HasPrefix(path, "/cielo/"):
		r.Header.Set("MerchantId", c.Cielo.MerchantID)
		r.Header.Set("MerchantKey", c.Cielo.MerchantKey)
	case strings.HasPrefix(path, "/rede/"):
		r.SetBasicAuth(c.Rede.PV, c.Rede.Token)
	case strings.HasPrefix(path, "/pagarme/"):
		r.SetBasicAuth(c.Pagarme.SecretKey, "")
	case strings.HasPrefix(path, "/bank/"):
		r.Header.Set("Authorization", "Bearer "+c.Bank.Token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = a.Body.Close() }()
	b, err := io.ReadAll(a.Body)
	return a.StatusCode, string(b), err
}

func (p *process) must(method, path, body string, headers ...string) string {
	p.t.Helper()
	status, text, err := p.do(method, path, body, headers...)
	if err != nil || status/100 != 2 {
		p.t.Fatalf("%s %s: %d %s %v", method, path, status, text, err)
	}
	return text
}

// charged is one charge or transfer that was answered.
type charged struct{ connector, path, body, reference, answer string }

func request(i int) charged {
	reference := fmt.Sprint("o", i)
	switch i % 4 {
	case 0:
		return charged{"cielo", "/cielo/1/sales", fmt.Sprintf(`{"MerchantOrderId":%q,"Payment":{"Type":"CreditCard","Amount":%d,"Installments":1,"Capture":true,"CreditCard":{"CardToken":"t0","Brand":"Visa"}}}`, reference, 100+i), reference, ""}
	case 1:
		return charged{"rede", "/rede/v1/transactions", fmt.Sprintf(`{"reference":%q,"amount":%d,"cardNumber":"t0","expirationMonth":"12","expirationYear":"2040"}`, reference, 100+i), reference, ""}
	case 2:
		return charged{"pagarme", "/pagarme/core/v5/orders", fmt.Sprintf(`{"code":%q,"customer_id":"c","items":[{"amount":%d,"quantity":1}],"payments":[{"payment_method":"credit_card","credit_card":{"card_id":"t0"}}]}`, reference, 100+i), reference, ""}
	default:
		return charged{"bank", "/bank/transfers", fmt.Sprintf(`{"order_id":%q,"amount":%d,"currency":"BRL","account":{"token":"t6"}}`, reference, 100+i), reference, ""}
	}
}

// TestKill: what was answered before a kill -9 is in the books after it, and the acquirers know it.
func TestKill(t *testing.T) {
	data := t.TempDir()
	var next atomic.Int64
	var mu sync.Mutex
	var answered []charged
	for kill := range 4 {
		p := serveProcess(t, "--data", data)
		var workers sync.WaitGroup
		for range 8 {
			workers.Go(func() {
				for {
					c := request(int(next.Add(1)))
					status, text, err := p.do("POST", c.path, c.body, "Idempotency-Key", c.reference)
					if err != nil {
						return // killed
					}
					if status/100 != 2 {
						t.Errorf("%s: %d %s", c.path, status, text)
						return
					}
					c.answer = text
					mu.Lock()
					answered = append(answered, c)
					mu.Unlock()
				}
			})
		}
		enough := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(answered) >= 200*(kill+1)
		}
		for deadline := time.Now().Add(time.Minute); !enough(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("only %d were answered: the kill shows little", len(answered))
			}
		}
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		p.kill()
		workers.Wait()
	}
	p := serveProcess(t, "--data", data)
	var all []books.Order
	if err := json.Unmarshal([]byte(p.must("GET", "/books", "")), &all); err != nil {
		t.Fatal(err)
	}
	byID := map[string]books.Order{}
	for _, o := range all {
		byID[o.OrderID] = o
		if o.Charged != 1 {
			t.Errorf("%s is charged %d times", o.OrderID, o.Charged)
		}
	}
	for _, c := range answered {
		if o, ok := byID[c.reference]; !ok || o.Lines[0].Connector != c.connector {
			t.Fatalf("%s was answered %s, and the books have %+v", c.reference, c.answer, o)
		}
	}
	known := map[string]bool{}
	for i := len(answered) - 1; i >= 0 && len(known) < 4; i-- {
		checkKnown(t, p, answered[i])
		known[answered[i].connector] = true
	}
	t.Logf("%d were answered, %d are in the books", len(answered), len(all))
}

// checkKnown asks the connector itself about a charge of before the kill, and sends it again where that is harmless.
func checkKnown(t *testing.T, p *process, c charged) {
	t.Helper()
	switch c.connector {
	case "cielo":
		p.must("GET", "/cielo/1/sales?merchantOrderId="+c.reference, "")
	case "rede":
		p.must("GET", "/rede/v1/transactions?reference="+c.reference, "")
		if status, text, err := p.do("POST", c.path, c.body); status != 400 || !strings.Contains(text, `"42"`) {
			t.Errorf("a repeat at rede: %d %s %v", status, text, err)
		}
	case "pagarme":
		if again := p.must("POST", c.path, c.body, "Idempotency-Key", c.reference); again != c.answer {
			t.Errorf("a repeated key is answered\n%s, was\n%s", again, c.answer)
		}
	case "bank":
		if again := p.must("POST", c.path, c.body); again != c.answer {
			t.Errorf("a repeated transfer is answered\n%s, was\n%s", again, c.answer)
		}
	}
}

// The books are the same after a kill, to the last byte; and what was scripted for the first call does not fall on the next.
func TestBooksAfterAKill(t *testing.T) {
	data := t.TempDir()
	args := []string{"--data", data, "--faults", "cielo/authorize/*#1=error_after"}
	p := serveProcess(t, args...)
	for i := range 40 {
		c := request(i)
		status, text, err := p.do("POST", c.path, c.body, "Idempotency-Key", c.reference)
		if err != nil || (status/100 != 2) != (c.connector == "cielo") {
			t.Fatalf("%s: %d %s %v", c.path, status, text, err)
		}
	}
	books, summary := p.must("GET", "/books", ""), p.must("GET", "/books/summary", "")
	if !strings.Contains(summary, `"error_after":10`) {
		t.Errorf("ten faults fell, and the summary says %s", summary)
	}
	p.kill()
	p = serveProcess(t, args...)
	if again := p.must("GET", "/books", ""); again != books {
		t.Errorf("books were\n%s\nare\n%s", books, again)
	}
	if again := p.must("GET", "/books/summary", ""); again != summary {
		t.Errorf("summary was\n%s\nis\n%s", summary, again)
	}
	c := request(0)
	p.must("POST", c.path, c.body) // its second call
}

func run(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	b, err := railsim(t, args...).CombinedOutput()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode(), string(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, string(b)
}

// Exit codes and output are what the help says.
func TestBooksCommand(t *testing.T) {
	p := serveProcess(t)
	c := request(0)
	p.must("POST", c.path, c.body)
	if code, out := run(t, "books", "--url", p.url, "--check"); code != 0 || !strings.Contains(out, "charged twice 0") || !strings.Contains(out, "cielo") {
		t.Errorf("%d: %s", code, out)
	}
	p.must("POST", c.path, c.body) // the attack
	if code, out := run(t, "books", "--url", p.url, "--check"); code != exitChargedTwice || !strings.Contains(out, "charged twice 1 (ever 1): o0") {
		t.Errorf("%d: %s", code, out)
	}
	code, out := run(t, "books", "--url", p.url, "-o", "json")
	var s server.Summary
	if err := json.Unmarshal([]byte(out), &s); code != 0 || err != nil || s.ChargedTwice != 1 || s.Totals[0].CapturedMinor != 200 {
		t.Errorf("%d, %v: %s", code, err, out)
	}
	if code, out := run(t, "books", "--url", p.url, "--order", "o0"); code != 0 || !strings.Contains(out, `"charged":2`) {
		t.Errorf("%d: %s", code, out)
	}
	p.must("POST", "/bank/transfers", `{"order_id":"a b&c=d","amount":1,"currency":"BRL","account":{"token":"t6"}}`)
	if code, out := run(t, "books", "--url", p.url, "--order", "a b&c=d"); code != 0 || !strings.Contains(out, `"transfers":1`) {
		t.Errorf("%d: %s", code, out)
	}
	if code, out := run(t, "books", "--url", p.url, "--orders"); code != 0 || !strings.HasPrefix(out, "[\n{") {
		t.Errorf("%d: %s", code, out)
	}
	for _, bad := range [][]string{
		{"books", "--url", p.url, "--order", "nobody"},
		{"books", "--url", "http://127.0.0.1:1"},
		{"books", "--url", p.url, "-o", "xml"},
		{"serve", "-o", "xml"},
		{"serve", "--faults", "colour=1%"},
		{"serve", "--webhooks", "nowhere"},
		{"serve", "--credentials", "/nonexistent"},
		{"serve", "--day", "1ms"},
		{"nothing"},
	} {
		if code, out := run(t, bad...); code != exitFailed || !strings.HasPrefix(out, "railsim: ") {
			t.Errorf("%v: %d: %s", bad, code, out)
		}
	}
	// Told to stop, it says what was done, and ends well.
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(p.out)
	if err != nil || !strings.Contains(string(rest), `"charged_twice":1`) {
		t.Errorf("%v: %s", err, rest)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Credentials of a file are asked for instead of the well-known ones.
func TestCredentialsFile(t *testing.T) {
	path := t.TempDir() + "/credentials.yaml"
	if err := os.WriteFile(path, []byte("cielo: {merchant_id: a, merchant_key: b}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := serveProcess(t, "--credentials", path)
	c := request(0)
	if status, _, err := p.do("POST", c.path, c.body); err != nil || status != 401 {
		t.Errorf("%d %v", status, err)
	}
	p.must("POST", c.path, c.body, "MerchantId", "a", "MerchantKey", "b")
	r := request(1)
	p.must("POST", r.path, r.body) // not named in the file: well known still
}

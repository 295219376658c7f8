package acquirer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// liar is a house that answers everything with one code, or with nothing.
type liar struct {
	codec *iso8583.Codec
	code  iso8583.ResponseCode
	mute  bool
	lines sync.WaitGroup
}

func (l *liar) serve(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		l.lines.Go(func() { l.line(conn) })
	}
}

func (l *liar) line(conn net.Conn) {
	defer func() { _ = conn.Close() }() // the other end closes first
	in := bufio.NewReader(conn)
	for {
		raw, err := iso8583.Frames{}.Read(in, nil)
		if err != nil {
			return
		}
		m, err := l.codec.Decode(raw)
		if err != nil || l.mute {
			continue
		}
		answer, _ := l.codec.Respond(&m, l.code)
		if l.code.Approves() && (m.MTI == "0100" || m.MTI == "0200") {
			answer.AuthCode = "LIES42"
		}
		out, err := l.codec.Append(nil, &answer)
		if err == nil {
			out, err = iso8583.Frames{}.Append(nil, out)
		}
		if err == nil {
			_, err = conn.Write(out)
		}
		if err != nil {
			return
		}
	}
}

// bank is the API of a house: every account has the fund, whatever happens.
func bank(w http.ResponseWriter, r *http.Request) {
	answer := map[string]any{"account_id": "acc_1"}
	if strings.HasSuffix(r.URL.Path, "/balances") {
		answer = map[string]any{"balances": []map[string]any{{"currency": "BRL", "available": 100_000}}}
	}
	_ = json.NewEncoder(w).Encode(answer) // the test sees it
}

func against(t *testing.T, l *liar, change func(*Config)) (*Acquirer, error) {
	t.Helper()
	api := httptest.NewServer(http.HandlerFunc(bank))
	t.Cleanup(api.Close)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.codec = iso8583.NewCodec()
	l.lines.Go(func() { l.serve(ln) })
	cfg := Config{
		URL: api.URL, Token: "t", Connect: []string{ln.Addr().String()}, Connections: 4, Rate: 400, Duration: time.Second, Accounts: 20, Policy: "p", FundMinor: 100_000,
		Currency: "BRL", Seed: 3, Run: "test", Deadline: 100 * time.Millisecond, Timeout: 300 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	a, err := New(cfg)
	if err == nil {
		err = a.Enrol(t.Context())
	}
	t.Cleanup(func() {
		if a != nil {
			a.Close()
		}
		_ = ln.Close() // its accepting ends with it
		l.lines.Wait()
	})
	return a, err
}

// Invariant: a house that says yes to everything, or no, is found out.
func TestLiesAreFound(t *testing.T) {
	for _, code := range []iso8583.ResponseCode{"00", "51", "05"} {
		a, err := against(t, &liar{code: code}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.Run(t.Context(), 400, time.Second)
		if err != nil || r.WrongAnswers == 0 || len(r.Wrong) == 0 || r.Answered < 400 {
			t.Errorf("%s to everything: %+v, %v", string(code), r, err)
		}
	}
}

// Invariant: balances that do not follow are found out.
func TestBalancesAreCompared(t *testing.T) {
	a, err := against(t, &liar{code: "00"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Run(t.Context(), 200, 500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	differing, err := a.Agree(t.Context(), 100*time.Millisecond)
	if err != nil || len(differing) == 0 {
		t.Errorf("%v, %v", differing, err)
	}
}

// Invariant: without a duration it goes on until it is told to end, and then still hears the last answers.
func TestGoesOnUntilToldToEnd(t *testing.T) {
	a, err := against(t, &liar{code: "00"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	r, err := a.Run(ctx, 200, 0)
	if err != nil || ctx.Err() == nil || r.Answered < 60 || r.Answered != r.Sent {
		t.Errorf("%+v, %v", r, err)
	}
}

// Invariant: what a door may answer without the core is right where the core was late, and wrong where it was not.
func TestAnswersWithoutTheCore(t *testing.T) {
	const deadline = 100 * time.Millisecond
	for _, c := range []struct {
		name         string
		wanted, told iso8583.ResponseCode
		first        *authorization
		resent       bool
		took         time.Duration
		wrong        int
		available    int64 // of 1000, asked for 300
	}{
		{name: "granted, though it was taken back before", wanted: iso8583.ResponseNoAction, told: iso8583.ResponseApproved, took: deadline, available: 1000},
		{name: "the same by the core", wanted: iso8583.ResponseNoAction, told: iso8583.ResponseApproved, wrong: 1, available: 1000},
		{name: "granted, though its key was granted for another", wanted: iso8583.ResponseDuplicate, told: iso8583.ResponseApproved, took: deadline, first: &authorization{code: iso8583.ResponseApproved}, available: 1000},
		{name: "granted, where its key was refused for another", wanted: iso8583.ResponseDuplicate, told: iso8583.ResponseApproved, took: deadline, first: &authorization{code: iso8583.ResponseInsufficientFunds}, available: 1000},
		{name: "declined, though its key was granted for another", wanted: iso8583.ResponseDuplicate, told: iso8583.ResponseIssuerUnavailable, took: deadline, first: &authorization{code: iso8583.ResponseApproved, hold: 200}, available: 1000},
		{name: "declined, though it was granted before", wanted: iso8583.ResponseApproved, told: iso8583.ResponseIssuerUnavailable, took: deadline, first: &authorization{code: iso8583.ResponseApproved, hold: 200}, available: 1200},
		{name: "the same by the core", wanted: iso8583.ResponseDuplicate, told: iso8583.ResponseApproved, first: &authorization{code: iso8583.ResponseApproved}, wrong: 1, available: 1000},
		{name: "declined, and the answer was lost", wanted: iso8583.ResponseApproved, told: iso8583.ResponseDoNotHonour, resent: true, available: 1000},
		{name: "declined by the core", wanted: iso8583.ResponseApproved, told: iso8583.ResponseDoNotHonour, took: deadline, wrong: 1, available: 1000},
	} {
		a := &Acquirer{cfg: Config{Deadline: deadline}, report: newReport(1, 1)}
		of := &account{available: 1000}
		if c.first != nil && c.first.code.Approves() {
			of.open = []*authorization{c.first}
		}
		ex := &exchange{
			account: of, message: iso8583.Message{MTI: iso8583.AuthorizationRequest, AmountMinor: 300}, accept: []iso8583.ResponseCode{c.wanted},
			first: c.first, resent: c.resent,
		}
		if a.judge(ex, &iso8583.Message{ResponseCode: c.told, AuthCode: "STOOD1"}, c.took); a.report.WrongAnswers != c.wrong || of.available != c.available {
			t.Errorf("%s: %d wrong %v, %d available", c.name, a.report.WrongAnswers, a.report.Wrong, of.available)
		}
	}
}

// Invariant: what is not answered counts from when it was due, is given up in time and reversed, and holds no account up for
// ever.
func TestSilenceIsATimeout(t *testing.T) {
	l := &liar{mute: true}
	a, err := against(t, l, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	if _, err := a.Run(ctx, 100, 300*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("ended although nothing was answered: %v", err)
	}
	a.report.mu.Lock()
	defer a.report.mu.Unlock()
	if a.report.Timeouts < 20 || a.report.Answered != 0 {
		t.Errorf("%d timeouts, %d answers", a.report.Timeouts, a.report.Answered)
	}
}

func TestCardNumbersCheck(t *testing.T) {
	seen := map[string]bool{}
	for n := range 500 {
		number := cardNumber("run", n)
		if len(number) != 16 || !iso8583.PAN(number).LuhnValid() || seen[number] {
			t.Fatal(number)
		}
		seen[number] = true
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Connect: []string{"x"}, Connections: 1, Rate: 1, Accounts: 1, Duration: 1, FundMinor: 1_000, Timeout: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no door": func(c *Config) { c.Connect = nil }, "no rate": func(c *Config) { c.Rate = 0 }, "poor": func(c *Config) { c.FundMinor = 1 },
		"impatient": func(c *Config) { c.Deadline = time.Second },
	} {
		bad := good
		spoil(&bad)
		if bad.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/acquirer"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// feedDeadline is the second door's: short, so that its standing in is seen soon.
const feedDeadline = time.Second

// TestCardFeed proves what the feed promises with the binary itself: one house with a door, and a second process that is
// nothing but a door.
func TestCardFeed(t *testing.T) {
	t.Parallel()
	// The first door waits long, so that a machine that is busy is not mistaken for a core that is away.
	h := startHouse(t, t.TempDir(), "--iso8583", "127.0.0.1:0", "--iso8583-deadline", "30s")
	second := h.secondDoor("")
	t.Run("OneLimit", func(t *testing.T) { h.oneLimit(t, second) })
	t.Run("StandIn", func(t *testing.T) { h.standIn(t, second) })
	t.Run("AskedAgain", func(t *testing.T) { h.askedAgain(t, second) })
	t.Run("AnotherRequest", func(t *testing.T) { h.anotherRequest(t, second) })
	t.Run("KilledDoor", func(t *testing.T) { h.killedDoor(t, second) })
	if t.Failed() {
		return
	}
	if said := second.out.String(); !strings.Contains(said, "/payins") || strings.Contains(said, "curl -s 'as given'") { // it has ended
		t.Errorf("the second door says to try: %s", said)
	}
	h.stop()
	verifyStrictly(t, h.data)
}

// secondDoor starts a process that is only an ingress, of the same installation, at an address or at any.
func (h *house) secondDoor(address string) *feedDoor {
	h.t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	http := freeAddress(h.t)
	d := &feedDoor{house: h.apart("ingress", []string{"seal.key", "keys.json", "dev.token"}, // what is sealed and keyed must be alike
		"--reply-partition", "1", "--http", http, "--iso8583", address, "--iso8583-deadline", feedDeadline.String())}
	d.http = http
	for until := time.Now().Add(time.Minute); !d.ready(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) || d.ended() {
			h.t.Fatalf("the second door is not ready: %s", d.out)
		}
	}
	d.feed = d.addresses().CardFeed
	return d
}

// feedDoor is a process that is only an ingress.
type feedDoor struct {
	*house
	feed string // address of its card feed
}

// acquirer plays one that has enrolled its cards.
func (h *house) acquirer(t *testing.T, cfg acquirer.Config) *acquirer.Acquirer {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(h.data, "dev.token"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.URL, cfg.Token, cfg.Policy, cfg.Currency, cfg.Run = "http://"+h.http, strings.TrimSpace(string(token)), "acquiring", "BRL", t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]
	a, err := acquirer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Enrol(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// agreed fails where an answer was wrong, or a balance is not what the acquirer foretells.
func agreed(t *testing.T, a *acquirer.Acquirer, r *acquirer.Report) {
	t.Helper()
	differing, err := a.Agree(t.Context(), 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", text)
	if r.WrongAnswers > 0 || len(differing) > 0 || r.Approved == 0 {
		t.Errorf("wrong answers, or %d balances that differ: %v", len(differing), differing[:min(len(differing), 5)])
	}
}

// feedCard is an account with one card, in money.
type feedCard struct{ account, number, id string }

// feedAccount opens and funds an account and gives it a card, which the other door, if any, knows too when this returns. What is
// left of the fund after its fee is told.
func (h *house) feedAccount(t *testing.T, other *feedDoor, name, number string, fund int64) (card feedCard, posted int64) {
	t.Helper()
	var opened struct {
		AccountID string `json:"account_id"`
	}
	h.write(t, "/accounts", name+"-open", map[string]any{
		"external_id": name, "customer_id": name, "kind": "person", "currencies": []string{"BRL"}, "kyc_level": 3, "policy": "acquiring",
	}, &opened)
	h.write(t, "/payins", name+"-fund", map[string]any{
		"account_id": opened.AccountID, "amount": fund, "currency": "BRL", "method": map[string]string{"type": "book"}, "reference": "to pay with",
	}, &struct{}{})
	var issued struct {
		CardID string `json:"card_id"`
	}
	h.write(t, "/cards", name+"-card", map[string]any{"account_id": opened.AccountID, "number": number, "expiry": "2049-12"}, &issued)
	for until := time.Now().Add(20 * time.Second); other != nil && other.read(t, "/cards/"+issued.CardID, &issued) != http.StatusOK; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the second door does not hear of the card")
		}
	}
	var view struct {
		Balances []funds `json:"balances"`
	}
	for until := time.Now().Add(20 * time.Second); len(view.Balances) == 0 || view.Balances[0].Posted == 0; time.Sleep(10 * time.Millisecond) {
		if h.read(t, "/accounts/"+opened.AccountID+"/balances", &view); time.Now().After(until) {
			t.Fatal("the account is not funded")
		}
	}
	return feedCard{opened.AccountID, number, issued.CardID}, view.Balances[0].Posted
}

func (h *house) write(t *testing.T, path, key string, body, into any) {
	t.Helper()
	if status := h.call(t, http.MethodPost, path, key, body, into); status >= http.StatusBadRequest {
		t.Fatalf("%s: %d", path, status)
	}
}

func (h *house) read(t *testing.T, path string, into any) (status int) {
	t.Helper()
	return h.call(t, http.MethodGet, path, "", nil, into)
}

func (h *house) call(t *testing.T, method, path, key string, body, into any) (status int) {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(h.data, "dev.token"))
	if err != nil {
		t.Fatal(err)
	}
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+h.http+path, sent)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Idempotency-Key", key)
	req.Header.Set("Prefer", "wait=30")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // read here
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	return resp.StatusCode
}

// funds are an account's posted, held and available.
type funds struct {
	Posted    int64 `json:"posted"`
	Held      int64 `json:"held"`
	Available int64 `json:"available"`
}

// settles waits until the store says this of an account.
func (h *house) settles(t *testing.T, account string, want funds) {
	t.Helper()
	var view struct {
		Balances []funds `json:"balances"`
	}
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		h.read(t, "/accounts/"+account+"/balances", &view)
		if len(view.Balances) == 1 && view.Balances[0] == want {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%s has %+v, want %+v", account, view.Balances, want)
		}
	}
}

// posLine is a connection that a test drives by hand.
type posLine struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

var feedCodec = sync.OnceValue(iso8583.NewCodec)

func posDial(t *testing.T, address string) *posLine {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // most are closed by then
	return &posLine{t, conn, bufio.NewReader(conn)}
}

func (l *posLine) send(m *iso8583.Message) error {
	raw, err := feedCodec().Append(nil, m)
	if err == nil {
		raw, err = iso8583.Frames{}.Append(nil, raw)
	}
	if err == nil {
		_, err = l.conn.Write(raw)
	}
	return err
}

func (l *posLine) receive() (iso8583.Message, error) {
	raw, err := iso8583.Frames{}.Read(l.in, nil)
	if err != nil {
		return iso8583.Message{}, err
	}
	return feedCodec().Decode(raw)
}

func (l *posLine) ask(m iso8583.Message) iso8583.Message {
	l.t.Helper()
	if err := l.send(&m); err != nil {
		l.t.Fatal(err)
	}
	answer, err := l.receive()
	if err != nil {
		l.t.Fatal(err)
	}
	return answer
}

// purchase is an authorization request; stan and terminal make it another one.
func purchase(card feedCard, stan int, terminal string, amount int64) iso8583.Message {
	return iso8583.Message{
		MTI: iso8583.AuthorizationRequest, PAN: iso8583.PAN(card.number), ProcessingCode: "000000", AmountMinor: amount,
		TransmissionTime: iso8583.TransmissionTimeOf(time.Now()), STAN: iso8583.STAN(fmt.Sprintf("%06d", stan)), LocalTime: "101112", LocalDate: "1123",
		MCC: "5411", EntryMode: "051", ConditionCode: "00", AcquirerID: "77", RRN: iso8583.RRN(fmt.Sprintf("%012d", stan)), Terminal: terminal,
		Merchant: "LOJA42", Currency: "BRL",
	}
}

// Invariant: 10,000 authorizations against one limit, over 64 connections and two processes at once, are granted up to the
// limit and no further.
func (h *house) oneLimit(t *testing.T, second *feedDoor) {
	const connections, each, least = 64, 157, 5_001 // above the floor of the policy
	card, limit := h.feedAccount(t, second, "one-limit", "4242424242424242", 3_000_000)
	doors := []string{h.addresses().CardFeed, second.feed}
	var mu sync.Mutex
	var approved, asked, granted int64
	codes := map[iso8583.ResponseCode]int{}
	var lines sync.WaitGroup
	begun := time.Now()
	for n := range connections {
		l := posDial(t, doors[n%len(doors)])
		luck := rand.New(rand.NewPCG(1, uint64(n)))
		lines.Go(func() {
			var sending sync.WaitGroup
			sending.Go(func() {
				for i := range each {
					m := purchase(card, n*each+i, fmt.Sprintf("T%d", n), least+luck.Int64N(5_000))
					mu.Lock()
					asked += m.AmountMinor
					mu.Unlock()
					if err := l.send(&m); err != nil {
						t.Error(err)
						return
					}
				}
			})
			for range each {
				m, err := l.receive()
				if err != nil {
					t.Error(err)
					break
				}
				mu.Lock()
				if codes[m.ResponseCode]++; m.ResponseCode.Approves() {
					approved += m.AmountMinor
					granted++
				}
				mu.Unlock()
			}
			sending.Wait()
		})
	}
	lines.Wait()
	t.Logf("%d granted of %d asked: %d minor of %d, in %v: %v", granted, connections*each, approved, limit, time.Since(begun), codes)
	if approved > limit {
		t.Fatalf("%d were granted, the limit is %d", approved, limit)
	}
	if asked < 2*limit || limit-approved >= least+5_000 && codes["91"] == 0 {
		t.Errorf("only %d of %d were granted although %d were asked for", approved, limit, asked)
	}
	h.settles(t, card.account, funds{Posted: limit, Held: approved, Available: limit - approved})
}

// Invariant: while the core stands still, what is under the floor is granted and what is above refused; afterwards the books
// say what the acquirer was told, and repeats are told it again.
func (h *house) standIn(t *testing.T, door *feedDoor) {
	card, fund := h.feedAccount(t, door, "stand-in", "5105105105105100", 7_000)
	l := posDial(t, door.feed)
	if got := l.ask(purchase(card, 1, "T1", 1_000)); got.ResponseCode != "00" {
		t.Fatalf("%v", got)
	}
	above, under, beyond := purchase(card, 2, "T1", 5_001), purchase(card, 3, "T1", 5_000), purchase(card, 4, "T1", 4_500)
	var answers []iso8583.Message
	h.halted(func() {
		for _, m := range []iso8583.Message{above, under, beyond} {
			answers = append(answers, l.ask(m))
		}
	})
	if answers[0].ResponseCode != "91" || answers[1].ResponseCode != "00" || answers[2].ResponseCode != "00" || answers[1].AuthCode == "" {
		t.Fatalf("%v", answers)
	}
	// The first was within what was left, and is held no more; the last was beyond it, and is held all the same.
	h.settles(t, card.account, funds{Posted: fund, Held: 10_500, Available: fund - 10_500})
	other := posDial(t, h.addresses().CardFeed)
	for i, m := range []iso8583.Message{above, under, beyond} {
		if got := other.ask(m); got.ResponseCode != answers[i].ResponseCode || got.AuthCode != answers[i].AuthCode {
			t.Errorf("%v, at first %v", got, answers[i])
		}
	}
	for what, want := range map[string]float64{"approved": 2, "declined": 1} {
		if got := door.stoodIn(what); got < want { // others may have found the machine busy
			t.Errorf("%v stand-ins %s", got, what)
		}
	}
	h.settles(t, card.account, funds{Posted: fund, Held: 10_500, Available: fund - 10_500})
}

// halted runs while the worker stands still, and ends once it goes on.
func (h *house) halted(during func()) {
	worker := h.worker(0)
	h.signal(worker, syscall.SIGSTOP)
	defer h.signal(worker, syscall.SIGCONT)
	during()
}

// Invariant: what the acquirer is told last holds, also where it asks again at another door while the first stands in.
func (h *house) askedAgain(t *testing.T, door *feedDoor) {
	card, fund := h.feedAccount(t, door, "asked-again", "5200828282828210", 6_000)
	second, first := posDial(t, door.feed), posDial(t, h.addresses().CardFeed)
	above, beyond := purchase(card, 1, "T1", 5_001), purchase(card, 2, "T1", 5_000)
	for _, c := range []struct {
		asked        iso8583.Message
		stood, later iso8583.ResponseCode
	}{{above, "91", "00"}, {beyond, "00", "51"}} {
		h.halted(func() {
			for _, l := range []*posLine{second, first} {
				if err := l.send(&c.asked); err != nil {
					t.Fatal(err)
				}
				time.Sleep(200 * time.Millisecond) // in the log before the repeat
			}
			if got, err := second.receive(); err != nil || got.ResponseCode != c.stood {
				t.Fatalf("%v %v, want %s", got, err, c.stood)
			}
		})
		if got, err := first.receive(); err != nil || got.ResponseCode != c.later {
			t.Fatalf("%v %v, want %s", got, err, c.later)
		}
		h.settles(t, card.account, funds{Posted: fund, Held: 5_001, Available: fund - 5_001})
		if got := second.ask(c.asked); got.ResponseCode != c.later {
			t.Errorf("told %s at last, and now %v", c.later, got)
		}
	}
}

// Invariant: another request under a used key changes nothing of what stands, also where the door answers it itself.
func (h *house) anotherRequest(t *testing.T, door *feedDoor) {
	card, fund := h.feedAccount(t, door, "another-request", "5555555555554444", 7_000)
	l := posDial(t, door.feed)
	granted, declined := purchase(card, 1, "T1", 4_000), purchase(card, 2, "T1", 9_000)
	for m, want := range map[*iso8583.Message]iso8583.ResponseCode{&granted: "00", &declined: "51"} {
		if got := l.ask(*m); got.ResponseCode != want {
			t.Fatalf("%v, want %s", got, want)
		}
	}
	larger, smaller := granted, declined
	larger.AmountMinor, smaller.AmountMinor = 9_000, 4_999
	h.halted(func() {
		for m, want := range map[*iso8583.Message]iso8583.ResponseCode{&larger: "91", &smaller: "00"} {
			if got := l.ask(*m); got.ResponseCode != want {
				t.Fatalf("%v, want %s", got, want)
			}
		}
	})
	for m, want := range map[*iso8583.Message]iso8583.ResponseCode{&larger: "94", &smaller: "94", &granted: "00", &declined: "51"} {
		if got := posDial(t, h.addresses().CardFeed).ask(*m); got.ResponseCode != want {
			t.Errorf("%v, want %s", got, want)
		}
	}
	h.settles(t, card.account, funds{Posted: fund, Held: 4_000, Available: fund - 4_000})
}

func (d *feedDoor) stoodIn(answer string) (n float64) {
	d.t.Helper()
	for _, m := range d.metrics()["caudal_ingest_iso8583_stand_ins_total"].GetMetric() {
		if m.GetLabel()[0].GetValue() == answer {
			n += m.GetCounter().GetValue()
		}
	}
	return n
}

// Invariant: a door killed in mid-flight costs nobody anything: who repeats, here or at the other door, gets one answer and
// one hold.
func (h *house) killedDoor(t *testing.T, second *feedDoor) {
	a := h.acquirer(t, acquirer.Config{
		Connect: []string{second.feed, h.addresses().CardFeed}, Connections: 16, Rate: 150, Duration: 6 * time.Second, Accounts: 60, FundMinor: 100_000, Seed: 5,
		Deadline: feedDeadline, Timeout: 35 * time.Second,
	})
	var killing sync.WaitGroup
	killing.Go(func() {
		time.Sleep(2 * time.Second)
		if err := second.cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = second.cmd.Wait() // that it was killed is known
	})
	r, err := a.Run(t.Context(), 150, 6*time.Second)
	killing.Wait()
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if r.Reconnects == 0 {
		t.Error("no connection broke, so nothing is shown")
	}
	agreed(t, a, r)
}

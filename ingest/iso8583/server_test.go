package iso8583_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"

	server "github.com/caudalpay/caudal/ingest/iso8583"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

func TestAnswers(t *testing.T) {
	h := open(t)
	a := h.dial()
	stan := 0
	ask := func(change func(*iso8583.Message), mti iso8583.MTI, amount int64) (iso8583.Message, iso8583.Message) {
		stan++
		m := message(mti, stan, amount)
		if change != nil {
			change(&m)
		}
		return m, a.ask(m)
	}
	card := func(pan iso8583.PAN) func(*iso8583.Message) { return func(m *iso8583.Message) { m.PAN = pan } }
	code := func(processing string) func(*iso8583.Message) {
		return func(m *iso8583.Message) { m.ProcessingCode = processing }
	}
	original := message(iso8583.AuthorizationRequest, 900, 10)
	names := func(m *iso8583.Message) { *m = of(*m, original) }
	for name, c := range map[string]struct {
		mti    iso8583.MTI
		amount int64
		change func(*iso8583.Message)
		want   iso8583.ResponseCode
		kind   payment.Kind // produced; 0: nothing
	}{
		"granted":                  {"0100", 100, nil, "00", payment.KindAuthorization},
		"financial":                {"0200", 100, nil, "00", payment.KindAuthorization},
		"cash":                     {"0200", 100, code("010000"), "00", payment.KindAuthorization},
		"verification":             {"0100", 0, nil, "00", payment.KindAuthorization},
		"funds":                    {"0100", amountFunds, nil, "51", payment.KindAuthorization},
		"fraud":                    {"0100", amountFraud, nil, "59", payment.KindAuthorization},
		"a return is no debit":     {"0100", 100, code("200000"), "12", 0},
		"balance inquiry":          {"0100", 0, code("310000"), "12", 0},
		"unknown card":             {"0100", 100, card(unknownCard), "14", 0},
		"a card of no account":     {"0100", 100, card(strayCard), "14", 0},
		"blocked card":             {"0100", 100, card(blockedCard), "62", 0},
		"closed card":              {"0100", 100, card(closedCard), "62", 0},
		"expired card":             {"0100", 100, card(expiredCard), "54", 0},
		"another expiry":           {"0100", 100, func(m *iso8583.Message) { m.Expiry = "2912" }, "54", 0},
		"its expiry":               {"0100", 100, func(m *iso8583.Message) { m.Expiry = "9912" }, "00", payment.KindAuthorization},
		"track 2 alone":            {"0100", 100, func(m *iso8583.Message) { m.PAN, m.Track2 = "", goodCard+"=99121010000" }, "00", payment.KindAuthorization},
		"advice":                   {"0120", 100, nil, "00", payment.KindAuthorizationAdvice},
		"advice, again":            {"0121", 100, nil, "00", payment.KindAuthorizationAdvice},
		"advice on a blocked card": {"0120", 100, card(blockedCard), "00", payment.KindAuthorizationAdvice},
		"advice, unknown card":     {"0120", 100, card(unknownCard), "14", 0},
		"advice of a clearing":     {"0121", 100, func(m *iso8583.Message) { *m = of(*m, original); m.OriginalData.MTI = "0221" }, "12", 0},
		"clearing":                 {"0220", 100, names, "00", payment.KindClearing},
		"clearing of nothing":      {"0220", 100, nil, "00", payment.KindClearing},
		"credit":                   {"0221", 100, code("200000"), "00", payment.KindClearing},
		"clearing of zero":         {"0220", 0, nil, "13", 0},
		"clearing, odd code":       {"0220", 100, code("310000"), "12", 0},
		"reversal":                 {"0400", 100, names, "00", payment.KindReversal},
		"reversal advice":          {"0420", 100, names, "00", payment.KindReversal},
		"reversal advice, again":   {"0421", 100, names, "00", payment.KindReversal},
		"reversal of a clearing":   {"0400", 100, func(m *iso8583.Message) { *m = of(*m, original); m.OriginalData.MTI = "0220" }, "12", 0},
	} {
		before := len(h.produced())
		request, response := ask(c.change, c.mti, c.amount)
		if response.ResponseCode != c.want {
			t.Errorf("%s: %v", name, response)
		}
		if mti, _ := request.MTI.Response(); response.MTI != mti || response.STAN != request.STAN || response.RRN != request.RRN || response.AmountMinor != request.AmountMinor {
			t.Errorf("%s: %v answers %v", name, response, request)
		}
		if got := len(h.produced()) - before; (c.kind != 0) != (got == 1) {
			t.Errorf("%s: %d commands", name, got)
		} else if c.kind != 0 && payment.Kind(h.produced()[before].GetKind()) != c.kind {
			t.Errorf("%s: %v", name, h.produced()[before].GetKind())
		}
		if approved := c.want == "00" && (c.mti == "0100" || c.mti == "0200"); approved != (response.AuthCode != "") {
			t.Errorf("%s: authorization code %q", name, response.AuthCode)
		}
	}
	if got := h.metric("caudal_ingest_iso8583_requests_total", "mti", "0100", "code", "14"); got != 2 {
		t.Errorf("%v counted", got)
	}
	for _, stage := range []string{"decode", "resolve", "produce", "decide", "write"} {
		if h.metric("caudal_ingest_iso8583_stage_seconds", "stage", stage) == 0 {
			t.Errorf("stage %s is not measured", stage)
		}
	}
	if got := h.metric("caudal_ingest_iso8583_in_flight_requests"); got != 0 {
		t.Errorf("%v in flight at the end", got)
	}
}

// Invariant: the command says what the message said, and names the authorization that field 90 names.
func TestCommands(t *testing.T) {
	h := open(t)
	a := h.dial()
	auth := message("0100", 1, 1_234)
	a.ask(auth)
	reversal := of(message("0420", 2, 1_234), auth)
	reversal.ResponseCode = "68"
	reversal.ReplacementAmounts = &iso8583.ReplacementAmounts{TransactionMinor: 1_000}
	a.ask(reversal)
	advice := of(message("0120", 3, 1_234), auth)
	advice.ResponseCode = "05"
	a.ask(advice)
	clearing := of(message("0220", 4, 700), auth)
	clearing.ResponseCode = "10"
	a.ask(clearing)
	zeros := message("0100", 1, 1_234)
	zeros.AcquirerID, zeros.TransmissionTime = "00123456", auth.TransmissionTime
	a.ask(zeros)
	log := h.produced()
	id := log[0].GetPaymentId()
	if !strings.HasPrefix(id, "au_") || log[0].GetCommandId() != id || log[0].GetAccount() != string(account) || log[0].GetCustomer() != "maria" {
		t.Errorf("%v", log[0])
	}
	c := log[0].GetCardTransaction()
	if c.GetAmountMinor() != 1_234 || c.GetCurrency() != "BRL" || c.GetFinancial() || c.GetMcc() != "5411" || c.GetAcquirer() != "123456" ||
		c.GetCardAcceptor() != "LOJA42" || c.GetTerminal() != "TERM0001" || !strings.HasPrefix(c.GetCard(), "crd_") || len(c.GetCounterparty().GetDigest()) != 32 {
		t.Errorf("%v", c)
	}
	if at := time.UnixMicro(c.GetTransmittedAtUs()); time.Since(at).Abs() > time.Minute {
		t.Errorf("transmitted at %v", at)
	}
	if r := log[1]; r.GetPaymentId() != id || r.GetReversal().GetLeftMinor() != 1_000 || r.GetReversal().GetReasonCode() != "68" || r.GetReversal().GetCurrency() != "BRL" {
		t.Errorf("%v", r)
	}
	if r := log[2]; r.GetPaymentId() != id || !r.GetCardTransaction().GetRefused() || r.GetCardTransaction().GetStandIn() {
		t.Errorf("%v", r)
	}
	if r := log[3]; r.GetPaymentId() != id || r.GetCommandId()[:3] != "cl_" || r.GetClearing().GetFinal() || r.GetClearing().GetCredit() || r.GetClearing().GetAmountMinor() != 700 {
		t.Errorf("%v", r)
	}
	if r := log[4]; r.GetPaymentId() != id {
		t.Errorf("%s with zeros before the acquirer's id, %s without", r.GetPaymentId(), id)
	}
	for i, key := range h.keys {
		if key != string(account) {
			t.Errorf("command %d is keyed %s", i, key)
		}
	}
}

// Invariant: a card number stands in no command, no log line and no metric.
func TestNoNumberLeaves(t *testing.T) {
	h := open(t)
	for _, spoil := range []string{"", "0100", "0100F", "1"} {
		a := h.dial()
		m := message("0100", 1, 10)
		m.Track2, m.AdditionalData = goodCard+"=99121010000", "CVV2 917"
		raw, err := a.codec.Append(nil, &m)
		check(t, err)
		a.raw([]byte(spoil + string(raw)))
		_, _ = a.next() // answered or closed
	}
	a := h.dial()
	a.raw([]byte("0810" + goodCard))
	a.closed()
	var all strings.Builder
	for _, cmd := range h.produced() {
		all.WriteString(prototext.Format(cmd))
	}
	families, err := h.registry.Gather()
	check(t, err)
	all.WriteString(h.log.String() + fmt.Sprint(families))
	for _, secret := range []string{goodCard, "CVV2", goodCard[6:12]} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("%s stands in %s", secret, all.String())
		}
	}
	if len(h.produced()) == 0 || h.log.String() == "" {
		t.Error("nothing was written, so nothing is shown")
	}
}

func TestRepeatsAndConflicts(t *testing.T) {
	h := open(t)
	a, b := h.dial(), h.dial()
	m := message("0100", 7, 100)
	first := a.ask(m)
	if again := b.ask(m); again.ResponseCode != "00" || again.AuthCode != first.AuthCode || first.AuthCode == "" {
		t.Errorf("%v, at first %v", again, first)
	}
	other := m
	other.AmountMinor = 101
	if got := b.ask(other); got.ResponseCode != "94" {
		t.Errorf("%v", got)
	}
	declined := message("0100", 8, amountFunds)
	for range 2 {
		if got := a.ask(declined); got.ResponseCode != "51" || got.AuthCode != "" {
			t.Errorf("%v", got)
		}
	}
	clearing := message("0220", 7, 100) // the same STAN and time: no repeat of the authorization
	for range 2 {
		if got := a.ask(clearing); got.ResponseCode != "00" {
			t.Errorf("%v", got)
		}
	}
}

func TestBalanceWhereAskedFor(t *testing.T) {
	h := open(t)
	a := h.dial()
	m := message("0100", 1, 100)
	if got := a.ask(m); got.AdditionalAmounts != nil {
		t.Errorf("%v", got.AdditionalAmounts)
	}
	m = message("0100", 2, 100)
	m.AdditionalAmounts = []iso8583.AdditionalAmount{{AccountType: "30", AmountType: "02", Currency: "BRL"}}
	want := []iso8583.AdditionalAmount{{AccountType: "30", AmountType: "02", Currency: "BRL", AmountMinor: 9_900}}
	if got := a.ask(m); !slices.Equal(got.AdditionalAmounts, want) {
		t.Errorf("%v", got.AdditionalAmounts)
	}
	// What is told of an account never costs the answer: field 54 has no room for more than twelve digits.
	m.STAN, m.AmountMinor = "000004", amountRich
	if got := a.ask(m); got.ResponseCode != "00" || got.AdditionalAmounts != nil {
		t.Errorf("%v %v", got, got.AdditionalAmounts)
	}
	m.STAN, m.AmountMinor = "000003", amountFunds
	if got := a.ask(m); got.ResponseCode != "51" || got.AdditionalAmounts != nil {
		t.Errorf("%v %v", got, got.AdditionalAmounts)
	}
}

func TestNetworkMessages(t *testing.T) {
	h := open(t)
	a := h.dial()
	network := func(stan int, code string) iso8583.ResponseCode {
		m := echo(stan)
		m.NetworkInformationCode = code
		return a.ask(m).ResponseCode
	}
	if got := network(1, "001"); got != "00" {
		t.Error(got)
	}
	if got := network(2, "301"); got != "00" {
		t.Error(got)
	}
	if got := network(3, "161"); got != "12" {
		t.Error(got)
	}
	if got := network(4, "002"); got != "00" {
		t.Error(got)
	}
	if got := a.ask(message("0100", 5, 10)); got.ResponseCode != "91" {
		t.Error(got)
	}
	if got := network(6, "301"); got != "00" { // a line that is signed off is still a line
		t.Error(got)
	}
	if got := network(7, "001"); got != "00" {
		t.Error(got)
	}
	if got := a.ask(message("0100", 8, 10)); got.ResponseCode != "00" {
		t.Error(got)
	}
	if got := h.count(payment.KindAuthorization); got != 1 {
		t.Errorf("%d authorizations", got)
	}
}

// Invariant: answers come as they are ready; who waits for the core holds nobody up.
func TestPipelining(t *testing.T) {
	h := open(t, func(c *server.Config, _ *server.Ports) { c.Deadline = 300 * time.Millisecond })
	a := h.dial()
	h.set(asleep)
	a.write(message("0100", 1, floorMinor+1))
	h.eventually("begun", func() bool { return h.count(payment.KindAuthorization) == 1 })
	h.set(awake)
	a.write(message("0100", 2, 10))
	a.write(echo(3))
	var order []string
	for range 3 {
		order = append(order, string(a.read().STAN))
	}
	if order[2] != "000001" {
		t.Errorf("answered in the order %v", order)
	}
}

// Invariant: commands of one connection stand in the log in the order of its messages.
func TestOrderOfAConnection(t *testing.T) {
	h := open(t)
	a := h.dial()
	const pairs = 200
	go func() {
		for i := range pairs {
			auth := message("0100", 2*i, 10)
			a.write(auth)
			a.write(of(message("0420", 2*i+1, 10), auth))
		}
	}()
	for range 2 * pairs {
		a.read()
	}
	log := h.produced()
	for i := 0; i < len(log); i += 2 {
		if payment.Kind(log[i].GetKind()) != payment.KindAuthorization || log[i+1].GetPaymentId() != log[i].GetPaymentId() {
			t.Fatalf("pair %d: %v, %v", i/2, log[i].GetKind(), log[i+1].GetKind())
		}
	}
}

func TestMalformed(t *testing.T) {
	h := open(t)
	a := h.dial()
	a.raw(nil) // a keep-alive
	m := message("0100", 1, 10)
	raw, err := a.codec.Append(nil, &m)
	check(t, err)
	spoiled := []byte(strings.Replace(string(raw), "5411", "54A1", 1))
	a.raw(spoiled)
	if got := a.read(); got.ResponseCode != "30" || got.MTI != "0110" || got.STAN != m.STAN {
		t.Errorf("%v", got)
	}
	if got := a.ask(message("0100", 2, 10)); got.ResponseCode != "00" {
		t.Errorf("after a format error: %v", got)
	}
	for name, bytes := range map[string]string{
		"noise": "GET / HTTP/1.1\r\n\r\n", "a type that is none": "9999" + string(raw[4:]), "a response": "", "half": string(raw[:10]),
	} {
		if name == "a response" {
			response, _ := a.codec.Respond(&m, "05")
			b, err := a.codec.Append(nil, &response)
			check(t, err)
			bytes = string(b)
		}
		b := h.dial()
		b.raw([]byte(bytes))
		b.closed()
	}
	long := h.dial()
	_, err = long.conn.Write([]byte{0xff, 0xff})
	check(t, err)
	long.closed()
	if got := h.metric("caudal_ingest_iso8583_malformed_total", "action", "closed"); got != 5 {
		t.Errorf("%v counted as closed", got)
	}
	if got := h.metric("caudal_ingest_iso8583_malformed_total", "action", "answered"); got != 1 {
		t.Errorf("%v counted as answered", got)
	}
	if got := h.count(payment.KindAuthorization); got != 1 {
		t.Errorf("%d authorizations", got)
	}
}

// Invariant: a panic is 96 for one message and nothing for the others, its own repeat among them.
func TestPanicIsOneMessages(t *testing.T) {
	h := open(t)
	a := h.dial()
	h.set(broken)
	if got := a.ask(message("0100", 1, 10)); got.ResponseCode != "96" {
		t.Errorf("%v", got)
	}
	h.set(awake)
	for _, stan := range []int{2, 1} {
		if got := a.ask(message("0100", stan, 10)); got.ResponseCode != "00" {
			t.Errorf("%v", got)
		}
	}
	if h.metric("caudal_ingest_iso8583_panics_total") != 1 || h.metric("caudal_ingest_iso8583_in_flight_requests") != 0 {
		t.Error("not counted, or still in flight")
	}
}

// Invariant: the time for a frame counts from its own first byte. A sender whose writes end in the middle of a frame, as a buffer's
// do, is not slow, however long it goes on.
func TestFramesAreTimedOneByOne(t *testing.T) {
	h := open(t, func(c *server.Config, _ *server.Ports) { c.ReadTimeout = time.Second })
	a := h.dial()
	const frames = 40
	var all []byte
	for i := range frames {
		m := echo(i)
		raw, err := a.codec.Append(nil, &m)
		check(t, err)
		all, err = a.frames.Append(all, raw)
		check(t, err)
	}
	one := len(all) / frames
	_, err := a.conn.Write(all[:one/2])
	check(t, err)
	for i := range frames - 1 {
		time.Sleep(50 * time.Millisecond) // twice the time for a frame, in all
		if _, err := a.conn.Write(all[i*one+one/2 : (i+1)*one+one/2]); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if got, err := a.next(); err != nil || got.ResponseCode != "00" {
			t.Fatalf("frame %d: %v %v", i, got, err)
		}
	}
}

// Invariant: 2,000 connections that send a byte now and then, or nothing, do not stop a fast one, and those that never end a
// frame are closed.
func TestSlowConnections(t *testing.T) {
	const slow = 2_000
	h := open(t, func(c *server.Config, _ *server.Ports) { c.ReadTimeout = 3 * time.Second })
	conns := make([]net.Conn, slow)
	for i := range conns {
		conn, err := net.Dial("tcp", h.address) //nolint:noctx // on loopback, in a test
		check(t, err)
		conns[i] = conn
		t.Cleanup(func() { _ = conn.Close() })
		if i%2 == 0 {
			_, err = conn.Write([]byte{0}) // the first byte of a frame that never comes
			check(t, err)
		}
	}
	h.eventually("all are there", func() bool { return h.metric("caudal_ingest_iso8583_open_connections") == slow })
	a := h.dial()
	begun := time.Now()
	const asks = 500
	for i := range asks {
		if got := a.ask(message("0100", i, 10)); got.ResponseCode != "00" {
			t.Fatalf("%v", got)
		}
	}
	if mean := time.Since(begun) / asks; mean > 100*time.Millisecond { // a hundred times what it takes
		t.Errorf("%v per authorization beside the slow", mean)
	}
	h.eventually("half frames are closed, the idle stay", func() bool {
		return h.metric("caudal_ingest_iso8583_closed_connections_total", "reason", "slow") == slow/2
	})
	if got := h.metric("caudal_ingest_iso8583_open_connections"); got != slow/2+1 {
		t.Errorf("%v are open", got)
	}
}

// Invariant: who does not read his answers is read no more, holds a bounded number of them, and keeps nobody's place in the
// core.
func TestSlowReader(t *testing.T) {
	const pipeline = 8
	h := open(t, func(c *server.Config, _ *server.Ports) {
		c.PipelineMax, c.WriteTimeout, c.InFlightMax = pipeline, 500*time.Millisecond, 16
	})
	a := h.dial()
	m := message("0100", 1, 10)
	raw, err := a.codec.Append(nil, &m)
	check(t, err)
	frame, err := a.frames.Append(nil, raw)
	check(t, err)
	// What the two kernels buffer is answered; then it must stop. Their buffers stay as they are: a kernel whose window is a
	// few frames wide drops what it has no room for with the acknowledgements in it, and then neither side gets on at all.
	closed := func() bool { return h.metric("caudal_ingest_iso8583_open_connections") == 0 }
	for rest, end := frame, time.Now().Add(time.Minute); ; {
		_ = a.conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := a.conn.Write(rest)
		if rest = rest[n:]; len(rest) == 0 {
			rest = frame
		}
		if err != nil && closed() {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a reader that reads nothing is never closed")
		}
		if len(h.produced()) > 1_000_000 {
			t.Fatal("a reader that reads nothing is answered without end")
		}
	}
	if got := h.dial().ask(message("0100", 2, 10)); got.ResponseCode != "00" {
		t.Errorf("%v", got)
	}
}

// Invariant: more than InFlightMax are told 91 at once, and nothing of them stands in the log.
func TestInFlightIsBounded(t *testing.T) {
	const most = 5
	h := open(t, func(c *server.Config, _ *server.Ports) { c.InFlightMax, c.Deadline = most, 400*time.Millisecond })
	h.set(asleep)
	a := h.dial()
	for i := range 20 {
		a.write(message("0100", i, floorMinor+1))
	}
	codes := map[iso8583.ResponseCode]int{}
	for range 20 {
		codes[a.read().ResponseCode]++
	}
	if codes["91"] != 20 || h.count(payment.KindAuthorization) != most {
		t.Errorf("%v, %d in the log", codes, h.count(payment.KindAuthorization))
	}
	if h.metric("caudal_ingest_iso8583_busy_total") != 20-most {
		t.Error("not counted")
	}
	h.set(full)
	if got := a.ask(message("0100", 30, 10)); got.ResponseCode != "91" {
		t.Errorf("%v with a full buffer", got)
	}
	h.set(awake)
	if got := a.ask(message("0100", 31, 10)); got.ResponseCode != "00" {
		t.Errorf("%v after it", got)
	}
}

func TestTooManyConnections(t *testing.T) {
	h := open(t, func(c *server.Config, _ *server.Ports) { c.ConnectionsMax = 2 })
	a, b := h.dial(), h.dial()
	a.ask(echo(1))
	b.ask(echo(2))
	h.dial().closed()
	check(t, a.conn.Close())
	h.eventually("room again", func() bool { return h.metric("caudal_ingest_iso8583_open_connections") == 1 })
	h.dial().ask(echo(3))
}

// Invariant: what was read is answered before the end; then nothing of the server runs any more.
func TestShutdown(t *testing.T) {
	before := runtime.NumGoroutine()
	h := open(t, func(c *server.Config, _ *server.Ports) { c.Deadline = 300 * time.Millisecond })
	h.set(asleep)
	idle, busy := h.dial(), h.dial()
	idle.ask(echo(1))
	const requests = 50
	for i := range requests {
		busy.write(message("0100", i, floorMinor+1))
	}
	h.eventually("all are in flight", func() bool { return h.count(payment.KindAuthorization) == requests })
	h.stop()
	for range requests {
		if got := busy.read(); got.ResponseCode != "91" {
			t.Fatalf("%v", got)
		}
	}
	busy.closed()
	idle.closed()
	if h.count(payment.KindReversal) != requests {
		t.Errorf("%d reversals", h.count(payment.KindReversal))
	}
	if h.left < requests {
		t.Errorf("%d of %d places at the replies are given back", h.left, requests)
	}
	h.eventually("no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+2 })
}

// Invariant: no connection is taken before the directories are known.
func TestWaitsForTheDirectories(t *testing.T) {
	known := make(chan struct{})
	h, s := build(t, func(_ *server.Config, p *server.Ports) {
		p.Known = []func() error{func() error {
			select {
			case <-known:
				return nil
			default:
				return os.ErrNotExist
			}
		}}
	})
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	h.address = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	a := h.dial()
	a.write(message("0100", 1, 10))
	time.Sleep(100 * time.Millisecond)
	if len(h.produced()) > 0 || s.Ready() == nil {
		t.Error("served without directories")
	}
	close(known)
	if got := a.read(); got.ResponseCode != "00" {
		t.Errorf("%v", got)
	}
	cancel()
	check(t, <-ended)
}

func TestASCIIFrames(t *testing.T) {
	frames := iso8583.Frames{Header: iso8583.FrameASCII}
	h := open(t, func(c *server.Config, _ *server.Ports) { c.Frames = frames })
	a := h.dial()
	a.frames = frames
	if got := a.ask(message("0100", 1, 10)); got.ResponseCode != "00" {
		t.Errorf("%v", got)
	}
}

// certificate writes a self-signed certificate and its key.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private)
	check(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	check(t, err)
	folder := t.TempDir()
	cert, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	check(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return cert, key
}

// dialSecure comes in over TLS, with a certificate of the client's own unless that is empty.
func (h *house) dialSecure(server, cert, key string) *acquirer {
	h.tb.Helper()
	text, err := os.ReadFile(server)
	check(h.tb, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	config := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		check(h.tb, err)
		config.Certificates = []tls.Certificate{pair}
	}
	a := h.dial()
	a.conn = tls.Client(a.conn, config)
	a.in.Reset(a.conn)
	return a
}

// Attack: an acquirer of the same door speaks in another's name, of authorizations of his own or of the other's.
func TestClientSpeaksForItsAcquirersAlone(t *testing.T) {
	cert, key := certificate(t, "house")
	oneCert, oneKey := certificate(t, "one")
	twoCert, twoKey := certificate(t, "two")
	unnamedCert, unnamedKey := certificate(t, "unnamed")
	var pool []byte
	for _, file := range []string{oneCert, twoCert, unnamedCert} {
		text, err := os.ReadFile(file)
		check(t, err)
		pool = append(pool, text...)
	}
	authorities, named := filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(t.TempDir(), "acquirers.yaml")
	check(t, os.WriteFile(authorities, pool, 0o600))
	check(t, os.WriteFile(named, []byte("acquirers:\n- certificate: one\n  institutions: [0123456, \"77\"]\n- certificate: two\n  institutions: [999]\n"), 0o600))
	h := open(t, func(c *server.Config, _ *server.Ports) {
		c.TLS = server.TLS{Certificate: cert, Key: key, ClientCA: authorities, Acquirers: named}
		c.ReadTimeout = 2 * time.Second
	})
	original, foreign := message("0100", 1, 10), message("0100", 2, 10)
	foreign.AcquirerID = "999"
	back := of(message("0400", 3, 10), original)
	back.AcquirerID = "999" // but field 90 names what another has asked
	for _, c := range []struct {
		name, cert, key string
		m               iso8583.Message
		want            iso8583.ResponseCode
	}{
		{"its own", oneCert, oneKey, original, "00"},
		{"another's, by the first", oneCert, oneKey, foreign, "58"},
		{"its own, by the second", twoCert, twoKey, foreign, "00"},
		{"another's, by the second", twoCert, twoKey, original, "58"},
		{"a reversal of another's", twoCert, twoKey, back, "58"},
		{"a reversal of its own", oneCert, oneKey, of(message("0400", 4, 10), original), "00"},
	} {
		if got := h.dialSecure(cert, c.cert, c.key).ask(c.m); got.ResponseCode != c.want {
			t.Errorf("%s: answered %s, want %s", c.name, got.ResponseCode, c.want)
		}
	}
	nobody := h.dialSecure(cert, unnamedCert, unnamedKey)
	nobody.turnedAway("a client that is none of the acquirers", original)
	if got := h.count(payment.KindAuthorization); got != 2 {
		t.Errorf("%d authorizations, want 2", got)
	}
}

func TestFileOfAcquirersIsChecked(t *testing.T) {
	cert, key := certificate(t, "house")
	for name, text := range map[string]string{
		"nobody": "acquirers: []", "empty": "", "no name": "acquirers: [{institutions: [1]}]", "no institutions": "acquirers: [{certificate: a}]",
		"letters": "acquirers: [{certificate: a, institutions: [x1]}]", "too long": "acquirers: [{certificate: a, institutions: [123456789012]}]",
		"twice":   "acquirers: [{certificate: a, institutions: [1]}, {certificate: a, institutions: [2]}]",
		"unknown": "acquirers: [{certificate: a, institution: [1]}]",
	} {
		file := filepath.Join(t.TempDir(), "acquirers.yaml")
		check(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := server.New(server.Config{TLS: server.TLS{Certificate: cert, Key: key, ClientCA: cert, Acquirers: file}}, server.Ports{})
		if err == nil || !strings.Contains(err.Error(), "acquirers") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLS(t *testing.T) {
	cert, key := certificate(t, "house")
	clientCert, clientKey := certificate(t, "acquirer")
	strangerCert, strangerKey := certificate(t, "stranger")
	h := open(t, func(c *server.Config, _ *server.Ports) {
		c.TLS = server.TLS{Certificate: cert, Key: key, ClientCA: clientCert}
		c.ReadTimeout = 2 * time.Second
	})
	secure := func(clientCert, clientKey string) *acquirer { return h.dialSecure(cert, clientCert, clientKey) }
	if got := secure(clientCert, clientKey).ask(message("0100", 1, 10)); got.ResponseCode != "00" {
		t.Errorf("%v", got)
	}
	for name, a := range map[string]*acquirer{"none": secure("", ""), "a stranger's": secure(strangerCert, strangerKey)} {
		a.turnedAway("a client with "+name+" certificate", message("0100", 2, 10))
	}
	h.dial().turnedAway("a client without TLS", message("0100", 3, 10))
	if got := h.count(payment.KindAuthorization); got != 1 {
		t.Errorf("%d authorizations", got)
	}
}

func TestConfigIsChecked(t *testing.T) {
	nonsense := filepath.Join(t.TempDir(), "nonsense.pem")
	check(t, os.WriteFile(nonsense, []byte("nonsense"), 0o600))
	for name, c := range map[string]server.Config{
		"time": {Deadline: -1}, "limit": {PipelineMax: -1}, "frames": {Frames: iso8583.Frames{Header: 7}}, "key": {TLS: server.TLS{Certificate: "x"}},
		"authorities": {TLS: server.TLS{ClientCA: "x"}}, "certificate": {TLS: server.TLS{Certificate: nonsense, Key: nonsense}}, "acquirers": {TLS: server.TLS{Certificate: "x", Key: "x", Acquirers: "x"}},
	} {
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := (server.Config{}).Validate(); err != nil {
		t.Error(err)
	}
	if _, err := server.New(server.Config{}, server.Ports{}); err == nil {
		t.Error("opened without ports")
	}
}

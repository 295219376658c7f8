package iso8583_test

import (
	"bytes"
	"testing"
	"time"

	server "github.com/caudalpay/caudal/ingest/iso8583"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

func quick(c *server.Config, _ *server.Ports) {
	c.Deadline, c.StandInWait = 150*time.Millisecond, 150*time.Millisecond
}

// Invariant: what this house answers for the core stands in the log behind the authorization before the answer leaves.
func TestStandIn(t *testing.T) {
	h := open(t, quick)
	h.set(asleep)
	a := h.dial()
	begun := time.Now()
	granted := a.ask(message("0100", 1, floorMinor))
	if took := time.Since(begun); took < 150*time.Millisecond {
		t.Errorf("stood in after %v", took)
	}
	log := h.produced()
	if granted.ResponseCode != "00" || len(log) != 2 || !log[1].GetCardTransaction().GetStandIn() || log[1].GetPaymentId() != log[0].GetPaymentId() ||
		log[1].GetCardTransaction().GetAmountMinor() != floorMinor || !about(log[1].GetCardTransaction(), log) {
		t.Fatalf("%v: %v", granted, log)
	}
	if code := payment.ID(log[0].GetPaymentId()).AuthorizationCode(); granted.AuthCode != code {
		t.Errorf("authorization code %q, want %q", granted.AuthCode, code)
	}
	refused := a.ask(message("0100", 2, floorMinor+1))
	log = h.produced()[2:]
	if refused.ResponseCode != "91" || len(log) != 2 || !log[1].GetReversal().GetStandIn() || log[1].GetReversal().GetLeftMinor() != 0 || log[1].GetReversal().GetCurrency() != "BRL" ||
		log[1].GetPaymentId() != log[0].GetPaymentId() || !about(log[1].GetReversal(), log) {
		t.Fatalf("%v: %v", refused, log)
	}
	dollars := message("0100", 3, 1)
	dollars.Currency = "USD"
	if got := a.ask(dollars); got.ResponseCode != "91" {
		t.Errorf("%v in a currency without a floor", got)
	}
	if h.metric("caudal_ingest_iso8583_stand_ins_total", "answer", "approved") != 1 || h.metric("caudal_ingest_iso8583_stand_ins_total", "answer", "declined") != 2 {
		t.Error("not counted")
	}
}

// about tells whether the second command says that it answers the first.
func about(told interface{ GetAskedAtUs() int64 }, log []*paymentsv1.Command) bool {
	return told.GetAskedAtUs() > 0 && told.GetAskedAtUs() == log[0].GetAcceptedAtUs() && bytes.Equal(log[0].GetBodyHash(), log[1].GetBodyHash())
}

// Invariant: where the log does not take it, the answer is a decline and the reversal is tried until it is there.
func TestStandInWithoutALog(t *testing.T) {
	h := open(t, quick)
	h.set(deaf)
	a := h.dial()
	for i, amount := range []int64{floorMinor, floorMinor + 1} {
		begun := time.Now()
		if got := a.ask(message("0100", i, amount)); got.ResponseCode != "91" {
			t.Fatalf("%v", got)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("answered after %v", took)
		}
	}
	if got := h.metric("caudal_ingest_iso8583_waiting_reversals"); got != 2 {
		t.Fatalf("%v wait", got)
	}
	h.set(full)
	time.Sleep(300 * time.Millisecond)
	h.set(awake)
	h.eventually("both are written", func() bool { return h.metric("caudal_ingest_iso8583_reversals_total", "outcome", "written") == 2 })
	if h.count(payment.KindReversal) != 2 || h.metric("caudal_ingest_iso8583_waiting_reversals") != 0 {
		t.Errorf("%d reversals", h.count(payment.KindReversal))
	}
}

// Invariant: at the end of the process what could not be written is counted and named, not forgotten in silence.
func TestReversalsAreLostAloud(t *testing.T) {
	h := open(t, quick, func(c *server.Config, _ *server.Ports) { c.Grace, c.ReversalsMax = 300*time.Millisecond, 1 })
	h.set(deaf)
	a := h.dial()
	a.ask(message("0100", 1, floorMinor+1))
	a.ask(message("0100", 2, floorMinor+1)) // no room
	h.stop()
	if got := h.metric("caudal_ingest_iso8583_reversals_total", "outcome", "lost"); got != 2 {
		t.Errorf("%v counted", got)
	}
}

// Invariant: a repeat that overtakes the answer gets that answer, also where this house stands in.
func TestTwins(t *testing.T) {
	h := open(t, quick)
	h.set(asleep)
	a, b := h.dial(), h.dial()
	m := message("0100", 1, floorMinor+1)
	a.write(m)
	h.eventually("begun", func() bool { return h.count(payment.KindAuthorization) == 1 })
	h.set(awake)
	other := m
	other.AmountMinor++
	b.write(m)
	b.write(other)
	if got := b.read(); got.ResponseCode != "94" {
		t.Errorf("another request of the same id: %v", got)
	}
	first, again := a.read(), b.read()
	if first.ResponseCode != "91" || again.ResponseCode != "91" {
		t.Errorf("%v, and again %v", first, again)
	}
	if got := h.count(payment.KindAuthorization); got != 2 { // the first and the other
		t.Errorf("%d authorizations", got)
	}
}

// Invariant: a fact that the log has is accepted although the core is late; one that the log does not acknowledge is not.
func TestFactsDoNotWaitForTheCore(t *testing.T) {
	h := open(t, quick)
	a := h.dial()
	auth := message("0100", 1, 10)
	for mood, want := range map[mood]iso8583.ResponseCode{asleep: "00", deaf: "91"} {
		h.set(mood)
		for i, mti := range []iso8583.MTI{"0120", "0220", "0400", "0420"} {
			if got := a.ask(of(message(mti, 10+i, 10), auth)); got.ResponseCode != want {
				t.Errorf("%v", got)
			}
		}
	}
	h.set(asleep)
	partial := of(message("0400", 20, 10), auth)
	partial.ReplacementAmounts = &iso8583.ReplacementAmounts{TransactionMinor: 5}
	if got := a.ask(partial); got.ResponseCode != "91" { // the core may not know the original
		t.Errorf("%v", got)
	}
}

package issuing_test

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/ingest/issuing"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

func open(b, canonical []byte) []byte { return append(b, canonical...) }

func clearing() issuing.Clearing {
	at := func(day, stan string) issuing.Message {
		t, err := time.Parse("2006-01-02 15:04:05", "2026-11-"+day+" 10:11:12")
		if err != nil {
			panic(err)
		}
		return issuing.Message{At: t, Key: iso8583.MatchKey{
			Class: iso8583.ClassFinancial, TransmissionTime: iso8583.TransmissionTimeOf(t), STAN: iso8583.STAN(stan), AcquirerID: "77", Terminal: "T1",
		}}
	}
	c := issuing.Clearing{
		Request: issuing.Request{
			Message: at("23", "000007"), AmountMinor: 1234, Currency: "BRL", ProcessingCode: "000000", Merchant: "LOJA42", MCC: "5411", RRN: "000000000007",
		},
		Authorization: at("22", "000006"),
	}
	c.Authorization.Key.Class = iso8583.ClassAuthorization
	return c
}

// Invariant: ids and hashes are for ever. A repeat of what a log holds already would else be taken for another item, and collected
// again.
func TestWhatLogsHoldIsKnownAgain(t *testing.T) {
	h := issuing.Holder{
		Key: "crd_aaaaaaaaaaaaaaaaaaaa", Card: door.Card{Account: "acc_bbbbbbbbbbbbbbbbbbbb", Tenant: "t", Merchant: "m"},
		Account: door.Account{Customer: "c"}, Pins: &paymentsv1.Pins{Policy: "p@1"},
	}
	c := clearing()
	cmd := c.Command(&h, time.UnixMicro(5), open)
	for what, got := range map[string][2]string{
		"clearing":      {cmd.GetCommandId(), "cl_bbbbbbbbbbbbbbbbbbbbgkyqtceiuoeim25nw5hq"},
		"authorization": {cmd.GetPaymentId(), "au_bbbbbbbbbbbbbbbbbbbbg7ettssvhjx4jpk2vjkc"},
		"hash": {
			hex.EncodeToString(cmd.GetBodyHash()),
			"000000186372645f61616161616161616161616161616161616161610000000342524c00000006303030303030000000023737000000064c4f4a41343200000002543100000004353431310000000c30303030303030303030303700000000000004d2",
		},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %s, was %s", what, got[0], got[1])
		}
	}
	if cmd.GetTenant() != "t" || cmd.GetMerchant() != "m" || cmd.GetCustomer() != "c" || cmd.GetAcceptedAtUs() != 5 || !cmd.GetClearing().GetFinal() {
		t.Errorf("%v", cmd)
	}
}

// Invariant: only what a card network means as a part leaves the rest held, and money for the cardholder frees nothing.
func TestWhatAClearingEnds(t *testing.T) {
	for name, c := range map[string]struct {
		change        func(*issuing.Clearing)
		final, credit bool
		authorization bool
	}{
		"whole":          {func(*issuing.Clearing) {}, true, false, true},
		"a part":         {func(c *issuing.Clearing) { c.Partial = true }, false, false, true},
		"a credit":       {func(c *issuing.Clearing) { c.ProcessingCode = "200030" }, false, true, true},
		"of nothing":     {func(c *issuing.Clearing) { c.Authorization = issuing.Message{} }, true, false, false},
		"a cash advance": {func(c *issuing.Clearing) { c.ProcessingCode = "010000" }, true, false, true},
	} {
		item := clearing()
		c.change(&item)
		cmd := item.Command(&issuing.Holder{Card: door.Card{Account: "acc_bbbbbbbbbbbbbbbbbbbb"}}, time.Now(), open)
		if b := cmd.GetClearing(); b.GetFinal() != c.final || b.GetCredit() != c.credit || (cmd.GetPaymentId() != "") != c.authorization {
			t.Errorf("%s: %v", name, cmd)
		}
	}
}

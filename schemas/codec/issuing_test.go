package codec_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/accounts"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

const auth = payment.ID("au_bn2cvcub2gk6btmgfidq3ixuaxpd5lhq4rqj3eg3")

var (
	card      = payment.CardKeyFrom([]byte("keyed"))
	cardState = &accounts.CardState{
		Account: payer, Status: payment.CardStatusBlocked, First6: "445566", Last4: "1234", Expiry: 3012, IssuedAtUS: at,
	}
)

func sampleIssuing(base func(payment.Kind, string) payment.Command) map[string]payment.Command {
	all := map[string]payment.Command{}
	c := base(payment.KindIssueCard, "cmd_issue")
	c.IssueCard = &payment.IssueCard{First6: "445566", Last4: "1234", Expiry: 3012}
	all["issue_card"] = c
	c = base(payment.KindSetCardStatus, "cmd_status")
	c.Account, c.CardStatus = "", &payment.SetCardStatus{Status: payment.CardStatusClosed}
	all["set_card_status"] = c // as it was written before answers were remembered
	c.CardStatus = &payment.SetCardStatus{Status: payment.CardStatusClosed, Once: true}
	all["set_card_status_once"] = c
	for _, kind := range []payment.Kind{payment.KindAuthorization, payment.KindAuthorizationAdvice} {
		c = base(kind, string(auth))
		told := kind == payment.KindAuthorizationAdvice
		c.PaymentID, c.CardTransaction = auth, &payment.CardTransaction{
			AmountMinor: 1234, Currency: "BRL", Financial: true, Card: card, Counterparty: payment.Counterparty{Country: "BR", Digest: digest("a")},
			ProcessingCode: "000000", MCC: "5411", EntryMode: "051", ConditionCode: "00", Acquirer: "123456", CardAcceptor: "shop",
			Terminal: "TERM01", RRN: "632812000417", STAN: "000417", TransmittedAtUS: at, StandIn: told, Refused: told,
		}
		all[kind.String()] = c
	}
	told := *c.CardTransaction
	told.AskedAtUS, told.Refused, c.CardTransaction = at, false, &told
	all["authorization_advice_stand_in"] = c
	c = base(payment.KindReversal, "cmd_reversal")
	c.PaymentID, c.Reversal = auth, &payment.Reversal{LeftMinor: 34, Card: card, ReasonCode: "17", StandIn: true, RRN: "632812000417", Acquirer: "123456"}
	all["reversal"] = c // as it was written before currencies were told
	c.Reversal = &payment.Reversal{LeftMinor: 34, Currency: "BRL", Card: card, ReasonCode: "17", RRN: "632812000417", Acquirer: "123456"}
	all["reversal_in_currency"] = c
	c.Reversal = &payment.Reversal{Currency: "BRL", Card: card, ReasonCode: "91", StandIn: true, RRN: "632812000417", Acquirer: "123456", AskedAtUS: at}
	all["reversal_stand_in"] = c
	c = base(payment.KindClearing, "cl_bn2cvcub2gk6btmgfidqxfrg6vceh35exyrz6gyp")
	c.PaymentID, c.Clearing = auth, &payment.Clearing{
		AmountMinor: 1200, Currency: "BRL", Credit: true, Final: true, Card: card, RRN: "632812000417", Acquirer: "123456", MCC: "5411", CardAcceptor: "shop",
	}
	all["clearing"] = c
	c.PaymentID = ""
	all["clearing_of_nothing"] = c
	return all
}

func addIssuing(all map[string]crossing) {
	d := sampleDecision()
	d.Kind, d.PaymentID = payment.KindAuthorization, auth
	d.Card, d.MCC, d.Acquirer, d.CardAcceptor, d.RRN, d.ReasonCode = card, "5411", "123456", "shop", "632812000417", "17"
	all["decision_issuing"] = decisionCrossing(d, codec.Seal{PreviousHash: digest("before")})
	issued := accounts.Decision{
		Kind: payment.KindIssueCard, Outcome: payment.OutcomeApplied, Tenant: "t1", Merchant: "m1", Account: string(card), CommandID: "cmd_issue",
		AccountSeq: 1, AcceptedAtUS: at, Card: card, CardState: cardState,
	}
	all["decision_card"] = decisionCrossing(issued, codec.Seal{})
	cell := accounts.Cell{Tenant: "t1", Merchant: "m1", Seq: 2, LastAcceptedAtUS: at, Card: cardState}
	all["cell_card"] = crossing{cell, func() ([]byte, error) { return codec.EncodeCell(&cell) }, func(b []byte) (any, error) { return codec.DecodeCell(b) }}
	rec := sampleRailRecord()
	rec.Kind, rec.Card, rec.Financial = payment.KindAuthorization, card, true
	all["payment_record_issuing"] = crossing{
		rec, func() ([]byte, error) { return codec.EncodePaymentRecord(&rec) }, func(b []byte) (any, error) { return codec.DecodePaymentRecord(b) },
	}
	repeated := rec
	repeated.AskedAtUS = at + 5
	all["payment_record_asked_again"] = crossing{
		repeated, func() ([]byte, error) { return codec.EncodePaymentRecord(&repeated) },
		func(b []byte) (any, error) { return codec.DecodePaymentRecord(b) },
	}
	// Declined, and taken back in part before the advice of what the door has granted came.
	declined := rec
	declined.Status, declined.Rail, declined.LeftMinor = payment.StatusFailed, nil, 34
	all["payment_record_reduced"] = crossing{
		declined, func() ([]byte, error) { return codec.EncodePaymentRecord(&declined) },
		func(b []byte) (any, error) { return codec.DecodePaymentRecord(b) },
	}
	// Taken back before it came: nobody's request, so no hash.
	none := payment.Record{
		Kind: payment.KindAuthorization, Status: payment.StatusCancelled, FirstOutcome: payment.OutcomeApplied, FirstStatus: payment.StatusCancelled,
		FirstSeq: 3, CreatedAtUS: at, Method: "issuing", Card: card,
	}
	all["payment_record_foreclosed"] = crossing{
		none, func() ([]byte, error) { return codec.EncodePaymentRecord(&none) }, func(b []byte) (any, error) { return codec.DecodePaymentRecord(b) },
	}
	entry := accounts.CardEntry{Card: card, Tenant: "t1", Merchant: "m1", State: *cardState, AccountSeq: 3}
	all["card_entry"] = crossing{
		entry, func() ([]byte, error) { return codec.EncodeCardEntry(&entry) },
		func(b []byte) (any, error) { return codec.DecodeCardEntry(string(card), b) },
	}
	p := &policy.Policy{ID: "standard", Version: 1, Issuing: &policy.Issuing{
		AuthorizationTTLUS: 7 * 86_400_000_000, StandInFloor: []policy.Charge{{Currency: "BRL", AmountMinor: 50_00}, {Currency: "USD"}},
	}}
	all["policy_issuing"] = crossing{
		p, func() ([]byte, error) { return codec.EncodePolicy(p, payment.Pins{}) },
		func(b []byte) (any, error) { return codec.DecodePolicy("standard@1", b) },
	}
	bins := &policy.Policy{ID: "standard", Version: 2, Issuing: &policy.Issuing{BINs: []string{"400012", "42424242"}}}
	all["policy_bins"] = crossing{
		bins, func() ([]byte, error) { return codec.EncodePolicy(bins, payment.Pins{}) },
		func(b []byte) (any, error) { return codec.DecodePolicy("standard@2", b) },
	}
}

// TestStrictCardCommands lists what is refused. No error may tell what could be a card's number.
func TestStrictCardCommands(t *testing.T) {
	number := "4455661234567890"
	for name, x := range map[string]struct {
		kind   string
		change func(*paymentsv1.Command)
	}{
		"issued to nobody":   {"issue_card", func(m *paymentsv1.Command) { m.Account = "" }},
		"a number shown":     {"issue_card", func(m *paymentsv1.Command) { m.GetIssueCard().First6 = number }},
		"letters shown":      {"issue_card", func(m *paymentsv1.Command) { m.GetIssueCard().Last4 = "12x4" }},
		"month 13":           {"issue_card", func(m *paymentsv1.Command) { m.GetIssueCard().Expiry = 3013 }},
		"month 0":            {"issue_card", func(m *paymentsv1.Command) { m.GetIssueCard().Expiry = 3000 }},
		"no status":          {"set_card_status", func(m *paymentsv1.Command) { m.GetSetCardStatus().Status = 0 }},
		"status unknown":     {"set_card_status", func(m *paymentsv1.Command) { m.GetSetCardStatus().Status = 4 }},
		"a number for a key": {"authorization", func(m *paymentsv1.Command) { m.GetCardTransaction().Card = number }},
		"no card":            {"authorization", func(m *paymentsv1.Command) { m.GetCardTransaction().Card = "" }},
		"less than nothing":  {"authorization", func(m *paymentsv1.Command) { m.GetCardTransaction().AmountMinor = -1 }},
		"no currency":        {"authorization", func(m *paymentsv1.Command) { m.GetCardTransaction().Currency = "" }},
		"granted already":    {"authorization", func(m *paymentsv1.Command) { m.GetCardTransaction().StandIn = true }},
		"refused already":    {"authorization", func(m *paymentsv1.Command) { m.GetCardTransaction().Refused = true }},
		"two ids":            {"authorization", func(m *paymentsv1.Command) { m.CommandId = string(id(payment.KindPayIn)) }},
		"two ids advised":    {"authorization_advice", func(m *paymentsv1.Command) { m.CommandId = "cmd_advice" }},
		"advice of a payment": {"authorization_advice", func(m *paymentsv1.Command) {
			m.PaymentId, m.CommandId = string(id(payment.KindPayIn)), string(id(payment.KindPayIn))
		}},
		"a long field":            {"authorization", func(m *paymentsv1.Command) { m.GetCardTransaction().Rrn = string(make([]byte, 257)) }},
		"transmitted before time": {"authorization", func(m *paymentsv1.Command) { m.GetCardTransaction().TransmittedAtUs = -1 }},
		"unknown field": {"authorization", func(m *paymentsv1.Command) {
			m.GetCardTransaction().ProtoReflect().SetUnknown([]byte{0xf8, 0x3f, 0x01})
		}},
		"reversed in no currency":   {"reversal", func(m *paymentsv1.Command) { m.GetReversal().Currency = "brl" }},
		"leaves less than nothing":  {"reversal", func(m *paymentsv1.Command) { m.GetReversal().LeftMinor = -1 }},
		"answers before 1970":       {"reversal", func(m *paymentsv1.Command) { m.GetReversal().AskedAtUs = -1 }},
		"answers after all time":    {"authorization_advice", func(m *paymentsv1.Command) { m.GetCardTransaction().AskedAtUs = 1 << 54 }},
		"reversal of nothing":       {"reversal", func(m *paymentsv1.Command) { m.PaymentId = "" }},
		"reversal of a payment":     {"reversal", func(m *paymentsv1.Command) { m.PaymentId = string(id(payment.KindPayIn)) }},
		"clears nothing":            {"clearing", func(m *paymentsv1.Command) { m.GetClearing().AmountMinor = 0 }},
		"clearing of a payment":     {"clearing", func(m *paymentsv1.Command) { m.PaymentId = string(id(payment.KindPayIn)) }},
		"clearing under a name":     {"clearing", func(m *paymentsv1.Command) { m.CommandId = "cmd_clearing" }},
		"clearing in no currency":   {"clearing", func(m *paymentsv1.Command) { m.GetClearing().Currency = "brl" }},
		"a body of another kind":    {"clearing", func(m *paymentsv1.Command) { m.Kind = paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION }},
		"a long reason of reversal": {"reversal", func(m *paymentsv1.Command) { m.GetReversal().ReasonCode = string(make([]byte, 257)) }},
	} {
		c := sampleCommands()[x.kind]
		m := codec.CommandToProto(&c, answer)
		if _, _, err := codec.CommandFromProto(m); err != nil {
			t.Fatalf("%s: the sample itself is refused: %v", name, err)
		}
		x.change(m)
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = codec.DecodeCommand(b)
		if !errors.Is(err, codec.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), number) {
			t.Errorf("%s tells the number: %v", name, err)
		}
	}
}

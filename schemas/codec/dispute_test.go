package codec_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
	"github.com/caudalpay/caudal/schemas/codec"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
)

var (
	disputeID = payment.DisputeIDFrom(payer, "stone", "dp-77")
	files     = []payment.EvidenceFile{
		{Reference: "s3://evidence/1.pdf", SHA256: hashOf("1"), Kind: "receipt"}, {Reference: "2", SHA256: hashOf("2"), Kind: "delivery"},
	}
)

// sampleDisputes are the commands about quotes and disputes, and those that have to do with them.
func sampleDisputes(base func(payment.Kind, string) payment.Command) map[string]payment.Command {
	all := map[string]payment.Command{}
	c := base(payment.KindFXQuote, string(id(payment.KindFXQuote)))
	c.PaymentID, c.FXQuote = id(payment.KindFXQuote), &payment.FXQuote{AmountMinor: 1234, Currency: "BRL", TargetCurrency: "USD"}
	all["fx_quote"] = c
	c = base(payment.KindPayIn, string(id(payment.KindPayIn)))
	c.PaymentID = id(payment.KindPayIn)
	c.Instruction = &payment.Instruction{AmountMinor: 1234, Currency: "BRL", TargetCurrency: "USD", Method: "book", Quote: id(payment.KindFXQuote)}
	all["payin_quoted"] = c
	c = base(payment.KindDispute, string(disputeID))
	c.Tenant, c.Merchant, c.Customer, c.BodyHash = "", "", "", [32]byte{} // a processor knows none of them
	c.PaymentID = id(payment.KindPayIn)
	c.Dispute = &payment.Dispute{
		Stage: payment.DisputeStagePreArbitration, AmountMinor: 600, ReasonCode: "10.4", Connector: "stone", Reference: "dp-77", DeadlineUS: at + 9,
	}
	all["dispute"] = c
	told := *c.Dispute
	told.MessageID, told.OccurredAtUS = payment.CommandIDFrom(string(payer), "acme", "told-1"), at-9
	c.BodyHash, c.Dispute = hashOf("told"), &told
	all["dispute_message"] = c
	c = base(payment.KindDisputeEvidence, "cmd_evidence")
	c.PaymentID, c.Evidence = disputeID, files
	all["dispute_evidence"] = c
	c = base(payment.KindDisputeAccept, "cmd_accept")
	c.PaymentID, c.Accept = disputeID, &payment.DisputeAccept{}
	all["dispute_accept"] = c
	c = base(payment.KindRailAnswer, "cmd_answer")
	c.PaymentID = id(payment.KindPayIn)
	c.RailAnswer = &payment.RailAnswer{OrderID: "o1", Result: payment.RailConfirmed, Connector: "cielo", AmountMinor: 5, Closed: true}
	all["rail_answer_closed"] = c
	c.RailAnswer = &payment.RailAnswer{OrderID: "o1", Result: payment.RailConfirmed, Connector: "cielo", Reference: "24bc8366", TID: "10069930690A0D3F8D0A"}
	all["rail_answer_tid"] = c
	return all
}

// addDisputes adds what is kept and told of quotes and disputes.
func addDisputes(all map[string]crossing) {
	d := sampleDecision()
	d.Kind, d.Outcome, d.PaymentID, d.Status = payment.KindDisputeEvidence, payment.OutcomeApproved, disputeID, payment.StatusDispute
	d.Connector, d.RailReference, d.ReasonCode, d.Evidence, d.Quote = "stone", "dp-77", "10.4", files, id(payment.KindFXQuote)
	d.Journals[0].Kind = ledger.JournalDispute
	all["decision_dispute"] = decisionCrossing(d, codec.Seal{PreviousHash: digest("before")})
	d = sampleResult()
	d.RailTID = "10069930690A0D3F8D0A"
	all["decision_tid"] = decisionCrossing(d, codec.Seal{PreviousHash: digest("before")})
	records := map[string]payment.Record{}
	r := samplePaymentRecord()
	r.Kind, r.Status, r.DisputeTaken, r.DisputeFeeMinor, r.Related = payment.KindDispute, payment.StatusPreArbitration, true, 65_00, id(payment.KindPayIn)
	r.Rail = &payment.Rail{
		Connector: "stone", Reference: "dp-77", HoldMinor: 7, ReasonCode: "10.4", Terms: payment.RailTerms{FeeReturned: true},
	}
	records["dispute"] = r
	r.DisputeOccurredAtUS = at - 9
	records["dispute_occurred"] = r
	r = samplePaymentRecord()
	r.Kind, r.Status, r.QuotedPayment, r.FX = payment.KindFXQuote, payment.StatusSucceeded, id(payment.KindPayIn), fxAt
	records["quote"] = r
	r = sampleRailRecord()
	r.Quote, r.Rail.DisputedMinor = id(payment.KindFXQuote), 600
	records["disputed"] = r
	for name, r := range records {
		all["payment_record_"+name] = crossing{
			r, func() ([]byte, error) { return codec.EncodePaymentRecord(&r) }, func(b []byte) (any, error) { return codec.DecodePaymentRecord(b) },
		}
	}
	p := &policy.Policy{ID: "standard", Version: 1, QuoteTTLUS: 60_000_000, Card: &policy.Card{Dispute: &policy.Dispute{
		Fees: []policy.Charge{{Currency: "BRL", AmountMinor: 65_00}, {Currency: "USD", AmountMinor: 15_00}}, FeeReturned: true,
	}}}
	all["policy_disputes"] = crossing{
		p, func() ([]byte, error) { return codec.EncodePolicy(p, payment.Pins{}) },
		func(b []byte) (any, error) { return codec.DecodePolicy("standard@1", b) },
	}
}

// TestStrictDisputePolicies lists what is refused of what quotes and disputes cost.
func TestStrictDisputePolicies(t *testing.T) {
	for name, change := range map[string]func(*referencev1.Policy){
		"quotes for less than no time": func(m *referencev1.Policy) { m.QuoteTtlS = -1 },
		"a negative fee":               func(m *referencev1.Policy) { m.GetCard().GetDispute().GetFees()[0].AmountMinor = -1 },
		"a fee in no currency":         func(m *referencev1.Policy) { m.GetCard().GetDispute().GetFees()[0].Currency = "" },
		"two fees in one currency":     func(m *referencev1.Policy) { m.GetCard().GetDispute().GetFees()[1].Currency = "BRL" },
	} {
		m := &referencev1.Policy{Id: "standard", Version: 1, Card: &referencev1.CardPolicy{Dispute: &referencev1.DisputePolicy{
			Fees: []*referencev1.Charge{{Currency: "BRL", AmountMinor: 1}, {Currency: "USD", AmountMinor: 2}},
		}}}
		decode := func() error {
			b, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			_, err = codec.DecodePolicy("standard@1", b)
			return err
		}
		if err := decode(); err != nil {
			t.Fatalf("%s: the sample itself is refused: %v", name, err)
		}
		change(m)
		if err := decode(); !errors.Is(err, codec.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

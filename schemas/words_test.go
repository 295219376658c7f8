package schemas_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
)

// The domain has its own types for the numbers on the wire. This holds the two together: each number of the wire has the
// same word in the domain, and the domain knows no other.
func TestDomainWordsAreThoseOfTheWire(t *testing.T) {
	for _, c := range []struct {
		enum   protoreflect.EnumDescriptor
		prefix string
		word   func(uint8) string
		zero   string // the domain's word for 0
	}{
		{paymentsv1.Reason(0).Descriptor(), "REASON_", func(n uint8) string { return payment.Reason(n).String() }, "unspecified"},
		{paymentsv1.Outcome(0).Descriptor(), "OUTCOME_", func(n uint8) string { return payment.Outcome(n).String() }, "unspecified"},
		{paymentsv1.PaymentStatus(0).Descriptor(), "PAYMENT_STATUS_", func(n uint8) string { return payment.Status(n).String() }, "unspecified"},
		{paymentsv1.AccountKind(0).Descriptor(), "ACCOUNT_KIND_", func(n uint8) string { return payment.AccountKind(n).String() }, "unknown"},
		{paymentsv1.ExpirePurpose(0).Descriptor(), "EXPIRE_PURPOSE_", func(n uint8) string { return payment.ExpirePurpose(n).String() }, "unknown"},
		{paymentsv1.RailResult(0).Descriptor(), "RAIL_RESULT_", func(n uint8) string { return payment.RailResult(n).String() }, "unspecified"},
		{paymentsv1.CardStatus(0).Descriptor(), "CARD_STATUS_", func(n uint8) string { return payment.CardStatus(n).String() }, "unknown"},
		{paymentsv1.CaptureMethod(0).Descriptor(), "CAPTURE_METHOD_", func(n uint8) string { return payment.CaptureMethod(n).String() }, "unspecified"},
		{paymentsv1.DisputeStage(0).Descriptor(), "DISPUTE_STAGE_", func(n uint8) string { return payment.DisputeStage(n).String() }, "unspecified"},
		{railsv1.OrderKind(0).Descriptor(), "ORDER_KIND_", func(n uint8) string { return payment.OrderKind(n).String() }, "unknown"},
		{paymentsv1.JournalKind(0).Descriptor(), "JOURNAL_KIND_", func(n uint8) string { return ledger.JournalKind(n).String() }, "unknown"},
		{paymentsv1.Layer(0).Descriptor(), "LAYER_", func(n uint8) string { return ledger.Layer(n).String() }, "unknown"},
		{referencev1.FraudMode(0).Descriptor(), "FRAUD_MODE_", func(n uint8) string { return policy.FraudMode(n).String() }, "off"},
		{referencev1.RuleKind(0).Descriptor(), "RULE_KIND_", func(n uint8) string { return fraud.RuleKind(n).String() }, "unknown"},
		{paymentsv1.CommandKind(0).Descriptor(), "COMMAND_KIND_", func(n uint8) string {
			switch k := payment.Kind(n); k { // the API writes these two in one word
			case payment.KindPayIn:
				return "pay_in"
			case payment.KindPayOut:
				return "pay_out"
			default:
				return k.String()
			}
		}, "unknown"},
	} {
		for n := range 256 {
			want := "unknown"
			if v := c.enum.Values().ByNumber(protoreflect.EnumNumber(n)); v != nil {
				want = strings.ToLower(strings.TrimPrefix(string(v.Name()), c.prefix))
			}
			if n == 0 {
				want = c.zero
			}
			if got := c.word(uint8(n)); got != want {
				t.Errorf("%s %d: the domain says %q, the wire %q", c.enum.Name(), n, got, want)
			}
		}
	}
}

package dlq

import (
	"strings"
	"testing"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// TestWhatNobodyRepeatsIsNotDiscardedLightly: each command that the house, or a rail, says once has a warning; what a caller
// may send again has none.
func TestWhatNobodyRepeatsIsNotDiscardedLightly(t *testing.T) {
	for word, c := range map[string]*paymentsv1.Command{
		"in transit":               {Body: &paymentsv1.Command_CounterLeg{CounterLeg: &paymentsv1.CounterLeg{}}},
		"stays processing":         {Body: &paymentsv1.Command_LegResult{LegResult: &paymentsv1.LegResult{}}},
		"frees a customer":         {Body: &paymentsv1.Command_ReleaseClaim{ReleaseClaim: &paymentsv1.ReleaseClaim{}}},
		"captured or voided":       {Body: &paymentsv1.Command_Expire{Expire: &paymentsv1.Expire{}}},
		"what a card network says": {Body: &paymentsv1.Command_Dispute{Dispute: &paymentsv1.Dispute{}}},
		"what a rail says it did":  {Body: &paymentsv1.Command_RailAnswer{RailAnswer: &paymentsv1.RailAnswer{}}},
	} {
		if got := unsettled(c); !strings.Contains(got, word) {
			t.Errorf("%T: %q", c.GetBody(), got)
		}
	}
	for _, c := range []*paymentsv1.Command{
		{Body: &paymentsv1.Command_Instruction{}},
		{Body: &paymentsv1.Command_Refund{}},
		{Body: &paymentsv1.Command_Capture{}},
		{Body: &paymentsv1.Command_Void{}},
		{Body: &paymentsv1.Command_Increment{}},
		{Body: &paymentsv1.Command_Verdict{}},
	} {
		if got := unsettled(c); got != "" {
			t.Errorf("%T: %q", c.GetBody(), got)
		}
	}
}

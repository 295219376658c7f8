package chaos

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

// TestLoadHasEveryKind: what the load means to attack does happen, instead of being refused for a word that is missing in it.
func TestLoadHasEveryKind(t *testing.T) {
	c, _, _ := decided(t)
	granted := map[payment.Kind]int{}
	statuses := map[paymentsv1.PaymentStatus]int{}
	orders, used := 0, 0
	j := &judge{cluster: c}
	for p := range int32(3) {
		err := j.read(t.Context(), topics.Decisions, p, func(r *kgo.Record) error {
			d := &paymentsv1.Decision{}
			if err := proto.Unmarshal(r.Value, d); err != nil {
				return err
			}
			if o := d.GetOutcome(); o == paymentsv1.Outcome_OUTCOME_APPROVED || o == paymentsv1.Outcome_OUTCOME_APPLIED {
				granted[payment.Kind(d.GetKind())]++
				statuses[d.GetStatus()]++
			}
			for _, why := range d.GetReasons() {
				if why == paymentsv1.Reason_REASON_QUOTE_USED {
					used++
				}
			}
			return nil
		})
		if err == nil {
			err = j.read(t.Context(), topics.RailsOrders, p, func(*kgo.Record) error { orders++; return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range []payment.Kind{
		payment.KindOpenAccount, payment.KindPayIn, payment.KindPayOut, payment.KindTransfer, payment.KindCounterLeg, payment.KindLegResult, payment.KindRefund,
		payment.KindExpire, payment.KindApprove, payment.KindDecline, payment.KindTick,
		payment.KindCapture, payment.KindVoid, payment.KindIncrement, payment.KindRailAnswer, payment.KindFXQuote,
		payment.KindDispute, payment.KindDisputeEvidence,
		payment.KindIssueCard, payment.KindAuthorization, payment.KindAuthorizationAdvice, payment.KindReversal, payment.KindClearing,
	} {
		if granted[k] == 0 {
			t.Errorf("no %s was granted", k)
		}
	}
	for _, s := range []payment.Status{payment.StatusPaid, payment.StatusRequiresCapture, payment.StatusWon, payment.StatusLost} {
		if statuses[paymentsv1.PaymentStatus(s)] == 0 {
			t.Errorf("nothing became %s", s)
		}
	}
	if orders < 100 || used == 0 {
		t.Errorf("%d orders, %d quotes used twice", orders, used)
	}
}

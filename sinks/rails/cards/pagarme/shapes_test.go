package pagarme

import (
	"testing"

	"github.com/caudalpay/caudal/sinks/rails/cards"
)

// A cancellation that Pagar.me has taken in and not done yet leaves the charge paid. Told as captured with nothing
// returned, the refund is concluded to be not done after two minutes, and a second one gives the money back twice.
func TestCancellationOnItsWay(t *testing.T) {
	for _, last := range []string{"waiting_cancellation", "pending_refund", "a word nobody knows"} {
		c := chargeReply{ID: "ch_1", Status: "paid", Amount: 1000, PaidAmount: 1000, Last: transactionReply{Status: last, Amount: 400}}
		if s := c.standing(); s.State == cards.StateCaptured {
			t.Errorf("%s: %+v, from which a refund is concluded to be not found", last, s)
		}
	}
}

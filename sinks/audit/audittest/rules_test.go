package audittest_test

import (
	"slices"
	"testing"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/audit/audittest"
)

// TestPlayMeetsWhatIsTakenOnce: where a history never repeats a message or takes back a part, two sides that agree on it
// have shown nothing.
func TestPlayMeetsWhatIsTakenOnce(t *testing.T) {
	h := audittest.New(t, 5)
	h.Open(6) // whom rails accounts may pay
	h.PlayRailsAtRandom(6000)
	h.PlayCardsAtRandom(6000)
	met := map[string]int{}
	for p := range int32(audittest.Partitions) {
		for i := range h.Decisions[p] {
			d := h.Decision(p, i)
			kind := d.GetKind().String()
			met[kind+" "+d.GetOutcome().String()]++
			if slices.Contains(d.GetReasons(), paymentsv1.Reason_REASON_PAYMENT_UNKNOWN) {
				met[kind+" unknown "+d.GetOutcome().String()]++
			}
			held := d.GetAuthorizedMinor() > 0 && d.GetAuthorizedMinor() < d.GetAmountMinor()
			if d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION_ADVICE && held && len(d.GetJournals()) > 0 {
				met["granted in part"]++
			}
		}
	}
	for _, rule := range []string{
		"COMMAND_KIND_DISPUTE OUTCOME_REPEATED", "COMMAND_KIND_DISPUTE OUTCOME_CONFLICT", "COMMAND_KIND_DISPUTE_EVIDENCE OUTCOME_CONFLICT",
		"COMMAND_KIND_SET_CARD_STATUS OUTCOME_REPEATED", "COMMAND_KIND_SET_CARD_STATUS OUTCOME_CONFLICT",
		"COMMAND_KIND_REVERSAL unknown OUTCOME_DECLINED", "COMMAND_KIND_AUTHORIZATION_ADVICE unknown OUTCOME_APPLIED", "granted in part",
	} {
		t.Log(rule, met[rule])
		if met[rule] < 3 {
			t.Errorf("%s: met %d times", rule, met[rule])
		}
	}
}

package logtest_test

import (
	"fmt"
	"strings"
	"testing"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/sinks/decisionlog/logtest"
)

// TestGeneratorDrawsEverything: what the sinks are tested with has every kind, status, outcome and journal, and what is
// peculiar to rails; else equality would say nothing of it. Journals sum to zero, and holds and credits never go below it.
func TestGeneratorDrawsEverything(t *testing.T) {
	g := logtest.New(1, 60)
	seen := map[string]int{}
	for range 20_000 {
		for _, d := range g.Step() {
			note(seen, d)
			for _, b := range d.GetBalances() {
				if b.GetHeldMinor() < 0 || b.GetIncomingMinor() < 0 {
					t.Fatalf("%s of %s: %v", d.GetKind(), d.GetPaymentId(), b)
				}
			}
			for _, j := range d.GetJournals() {
				sums := map[string]int64{}
				for _, p := range j.GetPostings() {
					sums[p.GetLayer().String()+p.GetCurrency()] += p.GetAmountMinor()
				}
				for what, sum := range sums {
					if sum != 0 || len(j.GetPostings()) < 2 {
						t.Fatalf("%s of %s: %s sums to %d in %v", d.GetKind(), d.GetPaymentId(), what, sum, j)
					}
				}
			}
		}
	}
	var wanted []string
	for n := range paymentsv1.CommandKind_name {
		switch k := paymentsv1.CommandKind(n); k {
		case paymentsv1.CommandKind_COMMAND_KIND_UNSPECIFIED, paymentsv1.CommandKind_COMMAND_KIND_RELEASE_CLAIM:
		default:
			wanted = append(wanted, k.String())
		}
	}
	for n := range paymentsv1.PaymentStatus_name {
		if n != 0 {
			wanted = append(wanted, paymentsv1.PaymentStatus(n).String())
		}
	}
	for _, kind := range []string{"CAPTURE", "VOID", "INCREMENT", "REFUND"} {
		wanted = append(wanted, "COMMAND_KIND_"+kind+" of a card")
	}
	wanted = append(wanted, "JOURNAL_KIND_RETURN", "JOURNAL_KIND_LATE", "REASON_RAIL_CONTRADICTION", "REASON_AUTHORIZATION_EXPIRED",
		"OUTCOME_DECLINED answer", "fee of a capture", "card with fx", "refund with fx", "deadline moved", "silent about captured", "answer to a void unasked")
	for _, w := range wanted {
		if seen[w] < 5 {
			t.Errorf("%s comes %d times", w, seen[w])
		}
	}
}

func note(seen map[string]int, d *paymentsv1.Decision) {
	seen[d.GetKind().String()]++
	seen[d.GetStatus().String()]++
	for _, r := range d.GetReasons() {
		seen[r.String()]++
	}
	for _, j := range d.GetJournals() {
		seen[j.GetKind().String()]++
	}
	card := d.GetMethod() == "card"
	if card && d.GetOutcome() == paymentsv1.Outcome_OUTCOME_APPROVED {
		seen[fmt.Sprint(d.GetKind(), " of a card")]++
	}
	answer := d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER
	expiry := d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_EXPIRE
	for what, is := range map[string]bool{
		fmt.Sprint(d.GetOutcome(), " answer"): answer,
		"fee of a capture":                    answer && strings.HasPrefix(d.GetPaymentId(), "ca_") && d.GetFeeMinor() > 0,
		"card with fx":                        card && d.GetFx() != nil && d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_PAY_IN,
		"refund with fx":                      card && d.GetFx() != nil && d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_REFUND,
		"deadline moved":                      expiry && d.GetDeadlineUs() != 0,
		"silent about captured":               expiry && card && d.GetStatus() == paymentsv1.PaymentStatus_PAYMENT_STATUS_SUCCEEDED && d.GetCapturedMinor() == 0,
		"answer to a void unasked":            answer && strings.HasSuffix(d.GetOrderId(), ".expire"),
	} {
		if is {
			seen[what]++
		}
	}
}

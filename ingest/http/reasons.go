package http

import (
	"strings"

	"github.com/caudalpay/caudal/processors/payment"
)

// reasonEntry is what a decline says of a reason, and docs/errors.md with it.
type reasonEntry struct {
	reason  payment.Reason
	kind    payment.Kind // where it means something else of this kind of request; else none
	meaning string
}

// reasonEntries lists every reason in the order of its number.
func reasonEntries() []reasonEntry {
	return []reasonEntry{
		{payment.ReasonIdempotencyConflict, 0, "The key came with another body before."},
		{payment.ReasonAccountUnknown, 0, "No such account, or no account of this customer."},
		{payment.ReasonOwnerMismatch, 0, "The account is another merchant's."},
		{payment.ReasonAccountClosed, 0, "The account is closed."},
		{payment.ReasonAccountBlocked, 0, "The account is blocked."},
		{payment.ReasonCustomerHasAccount, 0, "The customer has an account already."},
		{payment.ReasonPolicyMismatch, 0, "The request was prepared under another policy than the account's; repeat it with a new key."},
		{payment.ReasonCardTaken, 0, "The card is another account's."},
		{payment.ReasonCardBlocked, 0, "The card is blocked, closed or expired."},
		{payment.ReasonPaymentUnknown, 0, "No such payment."},
		{payment.ReasonPaymentUnknown, payment.KindSetCardStatus, "No such card."},
		{payment.ReasonPaymentUnknown, payment.KindDispute, "The account has no such pay-in by card of which anything is captured, or connector and reference name a dispute of another pay-in."},
		{payment.ReasonPaymentUnknown, payment.KindDisputeEvidence, "No such dispute."},
		{payment.ReasonPaymentUnknown, payment.KindDisputeAccept, "No such dispute."},
		{payment.ReasonPaymentTooOld, 0, "The payment's record is no longer kept, so it cannot be refunded."},
		{payment.ReasonPaymentState, 0, "The status of what this is about does not allow it."},
		{payment.ReasonRefundExceedsPayment, 0, "More than is left of the payment, less what other refunds wait for and what is disputed."},
		{payment.ReasonSameAccount, 0, "A transfer to the account it comes from."},
		{payment.ReasonMethodUnavailable, 0, "The account's policy has no rail for the method."},
		{payment.ReasonMethodUnavailable, payment.KindFXQuote, "The account's policy gives no quotes."},
		{payment.ReasonCaptureExceedsAuthorization, 0, "More than is left of what is authorised, less what other captures wait for; or nothing is left."},
		{payment.ReasonOperationInProgress, 0, "Another operation on the payment waits for its rail, or a final capture was asked for. Ask again, under a new key, when it is answered."},
		{payment.ReasonCurrencyNotHeld, 0, "The account does not hold the currency."},
		{payment.ReasonAmountOverflow, 0, "A sum would leave 64 bits."},
		{payment.ReasonAmountTooSmall, 0, "Nothing would be left after conversion or fee."},
		{payment.ReasonRateMissing, 0, "There is no exchange rate for the pair."},
		{payment.ReasonRateStale, 0, "The exchange rate is no longer valid."},
		{payment.ReasonQuoteUnknown, 0, "The quote named does not exist under this account, or was not given."},
		{payment.ReasonQuoteExpired, 0, "The quote has expired."},
		{payment.ReasonQuoteUsed, 0, "A payment has used the quote."},
		{payment.ReasonQuoteMismatch, 0, "The quote is of other currencies, or of another amount."},
		{payment.ReasonBlockedParty, 0, "The counterparty is on the blocklist."},
		{payment.ReasonBlockedCountry, 0, "The counterparty's country is on the blocklist."},
		{payment.ReasonFraudScore, 0, "The fraud rules scored it too high."},
		{payment.ReasonLimitDay, 0, "Over the day's limit of the customer's KYC level."},
		{payment.ReasonLimitMonth, 0, "Over the month's limit of the customer's KYC level."},
		{payment.ReasonInsufficientFunds, 0, "The available balance, with the overdraft, does not cover amount and fee."},
		{payment.ReasonReviewDeclined, 0, "The review ended with a decline."},
		{payment.ReasonReviewExpired, 0, "Nobody decided the review in time."},
		{payment.ReasonRailRefused, 0, "The rail refused the order, or nobody could take it."},
		{payment.ReasonRailLate, 0, "The rail did it after the payment had ended here."},
		{payment.ReasonRailAmount, 0, "The rail tells another amount than was ordered."},
		{payment.ReasonRailAmount, payment.KindDispute, "The amount is above what is left of the captured amount, or another than this dispute was told with before."},
		{payment.ReasonRailContradiction, 0, "The rail takes back what it had said before."},
		{payment.ReasonAuthorizationExpired, 0, "Nobody captured what was authorised in time; it is given up."},
		{payment.ReasonDeadlinePassed, 0, "The time to answer the dispute has passed: it takes no evidence, and cannot be accepted."},
	}
}

// meanings finds what a reason means by its word, and by the kind of request where that has a meaning of its own.
type meanings map[said]string

type said struct {
	reason string
	kind   payment.Kind
}

func newMeanings() meanings {
	ms := meanings{}
	for _, e := range reasonEntries() {
		ms[said{e.reason.String(), e.kind}] = e.meaning
	}
	return ms
}

// detail tells people why a request of that kind was declined. It goes by the decision alone, so a repeat gets the same.
func (ms meanings) detail(kind payment.Kind, reasons []string) string {
	sentences := []string{"Declined: " + strings.Join(reasons, ", ") + "."}
	for _, r := range reasons {
		meaning, own := ms[said{r, kind}]
		if !own {
			meaning = ms[said{reason: r}]
		}
		sentences = append(sentences, meaning)
	}
	return strings.Join(sentences, " ")
}

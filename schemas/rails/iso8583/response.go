package iso8583

import "github.com/caudalpay/caudal/processors/payment"

// ResponseCode is field 39, two letters or digits. In an advice or a reversal it says why it was sent.
type ResponseCode string

// The codes that this house gives or reads. Brands give some of them other meanings; a table by brand is theirs.
const (
	ResponseApproved           ResponseCode = "00"
	ResponseInvalidMerchant    ResponseCode = "03"
	ResponseDoNotHonour        ResponseCode = "05"
	ResponsePartiallyApproved  ResponseCode = "10"
	ResponseInvalidTransaction ResponseCode = "12"
	ResponseInvalidAmount      ResponseCode = "13"
	ResponseInvalidCard        ResponseCode = "14"
	ResponseCustomerCancelled  ResponseCode = "17" // of a reversal
	ResponseNoAction           ResponseCode = "21"
	ResponseNotLocated         ResponseCode = "25"
	ResponseFormatError        ResponseCode = "30"
	ResponseClosedAccount      ResponseCode = "46"
	ResponseInsufficientFunds  ResponseCode = "51"
	ResponseExpiredCard        ResponseCode = "54"
	ResponseNotPermitted       ResponseCode = "57"
	ResponseNotPermittedHere   ResponseCode = "58" // to this terminal or acquirer
	ResponseSuspectedFraud     ResponseCode = "59"
	ResponseExceedsAmount      ResponseCode = "61"
	ResponseRestrictedCard     ResponseCode = "62"
	ResponseExceedsFrequency   ResponseCode = "65"
	ResponseLate               ResponseCode = "68" // of a reversal: the answer came late or not at all
	ResponseIssuerUnavailable  ResponseCode = "91" // no decision in time, and no stand-in
	ResponseDuplicate          ResponseCode = "94"
	ResponseSystemMalfunction  ResponseCode = "96"
)

// Approves says whether a response grants the request, wholly or in part.
func (c ResponseCode) Approves() bool {
	return c == ResponseApproved || c == ResponsePartiallyApproved
}

// ResponseCodeFor is the code that tells an acquirer why the core declined. No reason is an approval; a number that is no
// reason is 96. Where two codes would do, the one counts that ABECS' Normativo 21 has as reversible (may be tried again) or
// irreversible as the reason is:
//
//   - An account that is unknown and one that is another's look alike (14): a code is no way to find out whose card it is.
//   - A closed account is 46, for good; 78 is a card not yet unblocked there, and 62 a block that may end.
//   - Who may never be paid, by name or country, is 57, as is what the card or the account can never do.
//   - Both limits are sums of money, so 61; 65 counts uses, and a count too high is a fraud rule's here (59).
//   - What may simply be tried again, a stale rate or a policy that was just replaced, is 96; 19, re-enter, is irreversible.
//   - What a person or another house refused without saying why is 05.
func ResponseCodeFor(reason payment.Reason) ResponseCode {
	if code, ok := responseCode(reason); ok {
		return code
	}
	return ResponseSystemMalfunction
}

// responseCode is false where a reason has no row, which a test refuses.
func responseCode(reason payment.Reason) (ResponseCode, bool) {
	switch reason {
	case payment.ReasonNone:
		return ResponseApproved, true
	case payment.ReasonIdempotencyConflict:
		return ResponseDuplicate, true
	case payment.ReasonAccountUnknown, payment.ReasonOwnerMismatch, payment.ReasonCardTaken:
		return ResponseInvalidCard, true
	case payment.ReasonAccountClosed:
		return ResponseClosedAccount, true
	case payment.ReasonAccountBlocked, payment.ReasonCardBlocked:
		return ResponseRestrictedCard, true
	case payment.ReasonPaymentUnknown, payment.ReasonPaymentTooOld:
		return ResponseNotLocated, true
	case payment.ReasonPaymentState:
		return ResponseNoAction, true
	case payment.ReasonCustomerHasAccount, payment.ReasonSameAccount,
		// Of quotes, as the mismatch: the feed uses none.
		payment.ReasonQuoteUnknown, payment.ReasonQuoteExpired, payment.ReasonQuoteUsed:
		return ResponseInvalidTransaction, true
	case payment.ReasonMethodUnavailable, payment.ReasonCurrencyNotHeld, payment.ReasonRateMissing,
		payment.ReasonBlockedParty, payment.ReasonBlockedCountry:
		return ResponseNotPermitted, true
	case payment.ReasonRefundExceedsPayment, payment.ReasonAmountOverflow, payment.ReasonAmountTooSmall,
		payment.ReasonQuoteMismatch:
		return ResponseInvalidAmount, true
	case payment.ReasonPolicyMismatch, payment.ReasonRateStale:
		return ResponseSystemMalfunction, true
	case payment.ReasonFraudScore:
		return ResponseSuspectedFraud, true
	case payment.ReasonLimitDay, payment.ReasonLimitMonth:
		return ResponseExceedsAmount, true
	case payment.ReasonInsufficientFunds:
		return ResponseInsufficientFunds, true
	case payment.ReasonReviewDeclined, payment.ReasonReviewExpired, payment.ReasonRailRefused,
		// Of operations on a payment that a rail executes, and of disputes: the feed asks for none of these.
		payment.ReasonCaptureExceedsAuthorization, payment.ReasonOperationInProgress, payment.ReasonRailLate,
		payment.ReasonRailAmount, payment.ReasonRailContradiction, payment.ReasonAuthorizationExpired,
		payment.ReasonDeadlinePassed:
		return ResponseDoNotHonour, true
	default:
		return "", false
	}
}

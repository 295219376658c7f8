package payment

// Reason says why something was declined or sent to review. Ordered by precedence: the smallest number is the main
// reason. The numbers are those of the wire format and never reused.
type Reason uint8

// The reasons.
const (
	ReasonNone                 Reason = 0
	ReasonIdempotencyConflict  Reason = 1
	ReasonAccountUnknown       Reason = 10
	ReasonOwnerMismatch        Reason = 11
	ReasonAccountClosed        Reason = 12
	ReasonAccountBlocked       Reason = 13
	ReasonCustomerHasAccount   Reason = 14
	ReasonPolicyMismatch       Reason = 15
	ReasonCardTaken            Reason = 16 // the card is another account's
	ReasonCardBlocked          Reason = 17 // blocked, closed, or expired
	ReasonPaymentUnknown       Reason = 20
	ReasonPaymentTooOld        Reason = 21
	ReasonPaymentState         Reason = 22
	ReasonRefundExceedsPayment Reason = 23
	ReasonSameAccount          Reason = 24
	ReasonMethodUnavailable    Reason = 25

	ReasonCaptureExceedsAuthorization Reason = 26
	ReasonOperationInProgress         Reason = 27 // another operation on the payment waits for its rail

	ReasonCurrencyNotHeld   Reason = 30
	ReasonAmountOverflow    Reason = 31
	ReasonAmountTooSmall    Reason = 32
	ReasonRateMissing       Reason = 40
	ReasonRateStale         Reason = 41
	ReasonQuoteUnknown      Reason = 42
	ReasonQuoteExpired      Reason = 43
	ReasonQuoteUsed         Reason = 44
	ReasonQuoteMismatch     Reason = 45 // of other currencies, or another amount
	ReasonBlockedParty      Reason = 50
	ReasonBlockedCountry    Reason = 51
	ReasonFraudScore        Reason = 60
	ReasonLimitDay          Reason = 70
	ReasonLimitMonth        Reason = 71
	ReasonInsufficientFunds Reason = 80
	ReasonReviewDeclined    Reason = 90
	ReasonReviewExpired     Reason = 91
	ReasonRailRefused       Reason = 92
	ReasonRailLate          Reason = 93 // the rail did it after the payment had ended here
	ReasonRailAmount        Reason = 94 // the rail tells another amount than was ordered
	ReasonRailContradiction Reason = 95 // the rail takes back what it had said

	ReasonAuthorizationExpired Reason = 96
	ReasonDeadlinePassed       Reason = 97
)

// String is the word used in the API, in tables and in files.
func (r Reason) String() string {
	switch r {
	case ReasonNone:
		return "unspecified"
	case ReasonIdempotencyConflict:
		return "idempotency_conflict"
	case ReasonAccountUnknown:
		return "account_unknown"
	case ReasonOwnerMismatch:
		return "owner_mismatch"
	case ReasonAccountClosed:
		return "account_closed"
	case ReasonAccountBlocked:
		return "account_blocked"
	case ReasonCustomerHasAccount:
		return "customer_has_account"
	case ReasonPolicyMismatch:
		return "policy_mismatch"
	case ReasonCardTaken:
		return "card_taken"
	case ReasonCardBlocked:
		return "card_blocked"
	case ReasonPaymentUnknown:
		return "payment_unknown"
	case ReasonPaymentTooOld:
		return "payment_too_old"
	case ReasonPaymentState:
		return "payment_state"
	case ReasonRefundExceedsPayment:
		return "refund_exceeds_payment"
	case ReasonSameAccount:
		return "same_account"
	case ReasonMethodUnavailable:
		return "method_unavailable"
	case ReasonCaptureExceedsAuthorization:
		return "capture_exceeds_authorization"
	case ReasonOperationInProgress:
		return "operation_in_progress"
	case ReasonCurrencyNotHeld:
		return "currency_not_held"
	case ReasonAmountOverflow:
		return "amount_overflow"
	case ReasonAmountTooSmall:
		return "amount_too_small"
	case ReasonRateMissing:
		return "rate_missing"
	case ReasonRateStale:
		return "rate_stale"
	case ReasonQuoteUnknown:
		return "quote_unknown"
	case ReasonQuoteExpired:
		return "quote_expired"
	case ReasonQuoteUsed:
		return "quote_used"
	case ReasonQuoteMismatch:
		return "quote_mismatch"
	case ReasonBlockedParty:
		return "blocked_party"
	case ReasonBlockedCountry:
		return "blocked_country"
	case ReasonFraudScore:
		return "fraud_score"
	case ReasonLimitDay:
		return "limit_day"
	case ReasonLimitMonth:
		return "limit_month"
	case ReasonInsufficientFunds:
		return "insufficient_funds"
	default:
		return r.late()
	}
}

// late are the words for what is found after a payment was granted.
func (r Reason) late() string {
	switch r {
	case ReasonReviewDeclined:
		return "review_declined"
	case ReasonReviewExpired:
		return "review_expired"
	case ReasonRailRefused:
		return "rail_refused"
	case ReasonRailLate:
		return "rail_late"
	case ReasonRailAmount:
		return "rail_amount"
	case ReasonRailContradiction:
		return "rail_contradiction"
	case ReasonAuthorizationExpired:
		return "authorization_expired"
	case ReasonDeadlinePassed:
		return "deadline_passed"
	default:
		return "unknown"
	}
}

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
	ReasonPaymentUnknown       Reason = 20
	ReasonPaymentTooOld        Reason = 21
	ReasonPaymentState         Reason = 22
	ReasonRefundExceedsPayment Reason = 23
	ReasonSameAccount          Reason = 24
	ReasonMethodUnavailable    Reason = 25
	ReasonCurrencyNotHeld      Reason = 30
	ReasonAmountOverflow       Reason = 31
	ReasonAmountTooSmall       Reason = 32
	ReasonRateMissing          Reason = 40
	ReasonRateStale            Reason = 41
	ReasonBlockedParty         Reason = 50
	ReasonBlockedCountry       Reason = 51
	ReasonFraudScore           Reason = 60
	ReasonLimitDay             Reason = 70
	ReasonLimitMonth           Reason = 71
	ReasonInsufficientFunds    Reason = 80
	ReasonReviewDeclined       Reason = 90
	ReasonReviewExpired        Reason = 91
	ReasonRailRefused          Reason = 92
)

package payment

// Record is a payment's state, and because a repeat has the same id it is the idempotency record too. It lives beside the
// account's cell, found by the identity part of the id.
type Record struct {
	Kind     Kind
	Status   Status
	BodyHash [32]byte

	// What the first decision said, for repeats.
	FirstOutcome Outcome
	FirstStatus  Status
	FirstReasons []Reason
	FirstSeq     uint64

	CreatedAtUS   int64
	EffectiveDate int32 // days since 1970-01-01

	AmountMinor       int64
	Currency          string
	TargetAmountMinor int64 // what the other side gets or the account is credited
	TargetCurrency    string
	FeeMinor          int64 // in Currency
	FX                *FX   // nil: nothing was converted

	LimitAmountMinor int64 // reserved in the limit windows; 0 where limits do not bind
	LimitCurrency    string
	LimitDay         int32
	LimitMonth       int32

	Method     string
	ToAccount  AccountID
	Related    ID // refunds: the payment refunded
	FraudScore uint32

	// Pay-ins: what was given back so far. Invariant: RefundedMinor <= AmountMinor.
	RefundedMinor       int64 // in Currency
	RefundedTargetMinor int64 // in TargetCurrency, as taken from the account

	DeadlineUS          int64 // in review: when it expires; 0 otherwise
	CounterpartyCountry string
	CounterpartyDigest  []byte
	Pins                Pins
	Instrument          string
	ExpiresAtUS         int64 // when the record leaves; 0: never

	Quote         ID // the quote that the payment has used
	QuotedPayment ID // quotes: the payment that has used it

	DisputeTaken        bool  // disputes: the money is with the rail now
	DisputeFeeMinor     int64 // disputes: what stands charged, in TargetCurrency
	DisputeOccurredAtUS int64 // disputes: the latest time of what is known of it; 0: not told

	Rail *Rail // payments that a rail executes, the operations on them, disputes and granted authorizations

	Card      CardKey // authorizations and clearings
	Financial bool    // authorizations: a single message, posted at once
	LeftMinor int64   // authorizations that were declined: what a reversal leaves of what a stand-in grants; 0: all
	AskedAtUS int64   // authorizations: when the acquirer asked last, as its doors say; 0: it never did
}

// Rail is what a payment's rail has granted and done so far. Amounts are in the payment's currency unless said.
//
// Invariant: captured never passes what is authorised by more than the terms allow, refunded and refunding never pass
// captured, and nothing stands in the pending layer once the payment is final.
type Rail struct {
	Capture              CaptureMethod
	Brand                string
	Installments         uint8
	Terms                RailTerms
	Connector, Reference string // who authorised, and its own id

	AuthorizedMinor  int64
	CapturedMinor    int64
	CapturingMinor   int64 // ordered, not answered
	RefundingMinor   int64 // ordered, not answered
	HoldMinor        int64 // pay-ins, disputes: what still stands in the pending layer, in the account's currency
	FeeMinor         int64 // charged with what is captured
	FeeReturnedMinor int64
	ExpiresAtUS      int64 // when what is authorised and not captured is given up; 0: never
	LateAtUS         int64 // pay-ins: the highest reported time of the late answers to its captures and refunds; 0: none
	DisputedMinor    int64 // pay-ins: taken or held for disputes

	Ordered       bool // the rail was asked
	Late          bool // what the rail did too late was taken in
	LateReturned  bool // and came back
	OperationOpen bool // a void or an increment waits for its answer
	Closing       bool // a final capture is ordered, or done: no other is taken
	Final         bool // captures: what is left after it is given up; pay-ins: such a capture is done

	ReasonCode string // disputes: the card network's
}

// RailTerms are what the pinned policy and fee schedule say of a payment that a rail executes: an answer pins nothing.
type RailTerms struct {
	AuthorizationTTLUS int64 // 0: never expires
	OverCaptureBP      int32
	FeeReturned        bool // with what is given back, or comes back
	CurrentRate        bool // refunds are converted at the rate of their own day
	Fee                FeeTerms
}

// FeeTerms are a row of a fee schedule.
type FeeTerms struct {
	RatePPM            int32
	FixedMinor         int64
	MinMinor, MaxMinor int64 // MaxMinor 0: no maximum
}

// FX is a conversion as it was pinned: rates between major units, target per source.
type FX struct {
	RateUnscaled int64 // spread included
	RateScale    uint8
	MidUnscaled  int64
	MidScale     uint8
	SpreadBP     int32
}

// AtRest tells whether a payment is final and nothing about it is on its way.
func (r *Record) AtRest() bool {
	if r.Kind == KindFXQuote {
		return true // used or not, it moves nothing
	}
	rail := r.Rail
	return r.Status.Final() && (rail == nil || rail.CapturingMinor == 0 && rail.RefundingMinor == 0 && !rail.OperationOpen)
}

// Final tells whether nothing will change the payment's money by itself any more.
func (s Status) Final() bool {
	switch s {
	case StatusSucceeded, StatusFailed, StatusRefunded, StatusExpired, StatusCancelled, StatusPaid, StatusReturned,
		StatusWon, StatusLost:
		return true
	default:
		return false
	}
}

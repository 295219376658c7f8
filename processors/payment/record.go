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
}

// FX is a conversion as it was pinned: rates between major units, target per source.
type FX struct {
	RateUnscaled int64 // spread included
	RateScale    uint8
	MidUnscaled  int64
	MidScale     uint8
	SpreadBP     int32
}

// Final tells whether nothing will change the payment's money by itself any more.
func (s Status) Final() bool {
	switch s {
	case StatusSucceeded, StatusFailed, StatusRefunded, StatusExpired, StatusCancelled, StatusPaid, StatusReturned:
		return true
	default:
		return false
	}
}

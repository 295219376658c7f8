// Package policy is a tenant's rules of decision as the stages see them: which limits bind, how fraud acts, when a day
// begins, how long things are kept. It is data only: it decides nothing.
package policy

import "github.com/caudalpay/caudal/processors/calendar"

// Policy is one version of a tenant's policy.
type Policy struct {
	ID              string
	Version         uint32
	Tenant          string // empty: any
	LimitCurrency   string
	Limits          []KYCLimit // empty: no limits
	FraudMode       FraudMode
	ReviewScore     uint32               // score >= this: review; 0: never
	DeclineScore    uint32               // score >= this: declined; 0: never
	UTCOffsets      []calendar.UTCOffset // ascending by FromUS; empty: UTC
	ReviewTimeoutUS int64
	RetentionDays   int32    // of payment records after creation
	QuoteTTLUS      int64    // how long a quote holds; 0: no quotes
	Card            *Card    // nil: no pay-ins by card
	Bank            *Bank    // nil: no payouts by bank
	Issuing         *Issuing // nil: no card pays from the account
}

// Card is what holds for pay-ins by card.
type Card struct {
	AuthorizationTTLUS int64    // 0: what is authorised never expires here
	OverCaptureBP      int32    // how far all captures together may go above what is authorised
	FeeReturned        bool     // a refund gives its part of the fee back
	CurrentRate        bool     // a refund is converted at the rate of its own day, not at the original one
	Dispute            *Dispute // nil: disputes cost nothing
}

// Dispute is what a dispute costs the account.
type Dispute struct {
	Fees        []Charge
	FeeReturned bool // with the money, when the dispute is won
}

// Fee is what a dispute costs in the currency of the account; no row: nothing.
func (d *Dispute) Fee(currency string) int64 {
	if d == nil {
		return 0
	}
	for _, c := range d.Fees {
		if c.Currency == currency {
			return c.AmountMinor
		}
	}
	return 0
}

// Charge is an amount of a currency.
type Charge struct {
	Currency    string
	AmountMinor int64
}

// Bank is what holds for payouts by bank.
type Bank struct {
	FeeReturned bool // a payout that comes back brings its fee with it
}

// Issuing is what holds for cards that pay from the account.
type Issuing struct {
	AuthorizationTTLUS int64 // 0: what is authorised never expires here
	// StandInFloor is what is granted at the door where no decision comes in time, by currency; none: refused.
	StandInFloor []Charge
	// BINs are the leading digits of the numbers that the door enrols; none: it enrols any.
	BINs []string
}

// KYCLimit is what an account of a KYC level may send per day and per month, inclusive, in the limit currency.
type KYCLimit struct {
	Level                uint8
	DayMinor, MonthMinor int64
}

// FraudMode says what a fraud score may do. The numbers are those of the wire format.
type FraudMode uint8

// The fraud modes.
const (
	FraudModeOff     FraudMode = 0 // no score
	FraudModeMonitor FraudMode = 1 // scores, never acts
	FraudModeEnforce FraudMode = 2
)

// String is the word used in tables and in files.
func (m FraudMode) String() string {
	switch m {
	case FraudModeOff:
		return "off"
	case FraudModeMonitor:
		return "monitor"
	case FraudModeEnforce:
		return "enforce"
	default:
		return "unknown"
	}
}

package payment

// Command is one request, answer or tick, as the stages see it. All times are Unix microseconds, all amounts minor units.
type Command struct {
	Kind         Kind
	Tenant       string
	Merchant     string
	Customer     string
	Account      AccountID
	CommandID    string
	PaymentID    ID
	AcceptedAtUS int64
	BodyHash     [32]byte
	Pins         Pins

	// Exactly one of these is set, by Kind.
	Open        *OpenAccount
	KYCLevel    *SetKYCLevel
	Instruction *Instruction
	Refund      *RefundInstruction
	Verdict     *Verdict
	Expire      *Expire
	Tick        *Tick
	CounterLeg  *CounterLeg
	LegResult   *LegResult
	RailAnswer  *RailAnswer
	Release     *ReleaseClaim
	Capture     *CaptureInstruction
	Void        *VoidInstruction
	Increment   *IncrementInstruction
	FXQuote     *FXQuote
	Dispute     *Dispute
	Evidence    []EvidenceFile // DISPUTE_EVIDENCE
	Accept      *DisputeAccept

	IssueCard       *IssueCard
	CardStatus      *SetCardStatus
	CardTransaction *CardTransaction
	Reversal        *Reversal
	Clearing        *Clearing
}

// Meta says where a command stands in the log.
type Meta struct {
	Key       string // record key: an account's, a customer's, or anything for a tick
	Topic     string
	Partition int32
	Offset    int64
}

// Pins name, as id@version, the reference data a command is decided with.
type Pins struct {
	Policy, Fees, Rates, Rules, Blocklist string
}

// AccountKind is person or merchant.
type AccountKind uint8

// The kinds of accounts.
const (
	AccountKindUnknown  AccountKind = 0
	AccountKindPerson   AccountKind = 1
	AccountKindMerchant AccountKind = 2
)

// String is the word used in the API, in tables and in files.
func (k AccountKind) String() string {
	switch k {
	case AccountKindPerson:
		return "person"
	case AccountKindMerchant:
		return "merchant"
	default:
		return "unknown"
	}
}

// OpenAccount asks for an account.
type OpenAccount struct {
	ExternalID          string
	Kind                AccountKind
	Currencies          []string
	KYCLevel            uint8
	OverdraftLimitMinor int64 // in the first currency
	Policy              string
}

// SetKYCLevel asks for another KYC level, 0 to 3.
type SetKYCLevel struct{ KYCLevel uint8 }

// Instruction moves money: PAY_IN raises the account, PAY_OUT and TRANSFER lower it.
type Instruction struct {
	AmountMinor    int64
	Currency       string
	TargetCurrency string // empty: Currency
	Method         string
	ToAccount      AccountID
	Instrument     string
	Counterparty   Counterparty
	EffectiveDate  int32 // days since 1970-01-01; 0: day of acceptance
	Card           Card  // method card
	Quote          ID    // the rate to use; empty: that of the pinned sheet
}

// CaptureMethod says when a card payment is captured.
type CaptureMethod uint8

// The capture methods.
const (
	CaptureUnspecified CaptureMethod = 0 // automatic
	CaptureAutomatic   CaptureMethod = 1 // authorised and captured in one step
	CaptureManual      CaptureMethod = 2 // authorised, then captured by commands until the authorisation expires
)

// String is the word used in the API, in tables and in files.
func (c CaptureMethod) String() string {
	switch c {
	case CaptureManual:
		return "manual"
	case CaptureAutomatic:
		return "automatic"
	case CaptureUnspecified:
		return "unspecified"
	default:
		return "unknown"
	}
}

// Card says how the card behind the instrument is charged. It never has the number.
type Card struct {
	Capture      CaptureMethod
	Brand        string // visa, mastercard, elo, ...: routing goes by it
	Installments uint8  // 0 and 1: one payment
}

// Counterparty is the other side, without personal data.
type Counterparty struct {
	Country        string
	Digest         []byte
	NameDigest     []byte
	DocumentDigest []byte
	AccountDigest  []byte
}

// RefundInstruction gives money of a pay-in back.
type RefundInstruction struct {
	AmountMinor int64 // 0: all that is left
}

// CaptureInstruction takes part or all of what a rail has authorised.
type CaptureInstruction struct {
	AmountMinor int64 // 0: all that is left
	Final       bool  // what is left after it is given up
}

// VoidInstruction gives up what is authorised and not captured.
type VoidInstruction struct{}

// IncrementInstruction asks the rail to authorise more.
type IncrementInstruction struct{ AmountMinor int64 }

// Verdict decides a payment in review.
type Verdict struct{ Actor string }

// ExpirePurpose says which deadline came.
type ExpirePurpose uint8

// The deadlines.
const (
	ExpireUnknown       ExpirePurpose = 0
	ExpireReview        ExpirePurpose = 1
	ExpireRetention     ExpirePurpose = 2
	ExpireAuthorization ExpirePurpose = 3
)

// String is the word used in tables and in files.
func (p ExpirePurpose) String() string {
	switch p {
	case ExpireReview:
		return "review"
	case ExpireRetention:
		return "retention"
	case ExpireAuthorization:
		return "authorization"
	default:
		return "unknown"
	}
}

// Expire says that a deadline of a payment has come.
type Expire struct {
	Purpose ExpirePurpose
	DueAtUS int64
}

// Tick is the passing of a minute.
type Tick struct{ Minute int64 }

// CounterLeg asks the payee to take what the payer posted to transit. PayerSeq is the account_seq of the payer's decision that
// asks: an id that is used again, after what remembered it has left, is another asking. 0: asked before this was told.
type CounterLeg struct {
	TransferID    ID
	PayerAccount  AccountID
	PayerSeq      uint64
	AmountMinor   int64
	Currency      string
	EffectiveDate int32
}

// LegResult tells the payer what the payee decided.
type LegResult struct {
	TransferID   ID
	PayeeAccount AccountID
	Accepted     bool
	Reason       Reason
}

// ReleaseClaim tells a customer's key that the command's account is another customer's.
type ReleaseClaim struct {
	RefusedCommandID string // the request that the account's key refused
}

// RailResult is what a rail says about an order. The numbers are those of the wire format and never reused.
type RailResult uint8

// The results of a rail.
const (
	RailUnspecified RailResult = 0
	RailConfirmed   RailResult = 1 // done as ordered
	RailRefused     RailResult = 2 // surely not done, and never will be
	RailUnknown     RailResult = 3 // nobody knows yet: it is asked for until one of the others comes
	RailAccepted    RailResult = 4 // taken in by the rail; the outcome comes later
	RailSent        RailResult = 5 // the money has left; the other side has not confirmed it
	RailReturned    RailResult = 6 // the money came back after it had left
)

// String is the word used in tables, in files and in the ids of answers.
func (r RailResult) String() string {
	switch r {
	case RailUnspecified:
		return "unspecified"
	case RailConfirmed:
		return "confirmed"
	case RailRefused:
		return "refused"
	case RailAccepted:
		return "accepted"
	case RailSent:
		return "sent"
	case RailReturned:
		return "returned"
	default: // RailUnknown, and a number that nobody knows
		return "unknown"
	}
}

// RailAnswer is what a rail said about an order.
type RailAnswer struct {
	OrderID      string
	Result       RailResult
	Code         string // the rail's own
	Connector    string // who executed the order
	Reference    string // the rail's own id of what it did
	TID          string // of the transaction at acquirer and card network, where the rail tells it besides its reference
	AmountMinor  int64  // what the rail says it moved, in the order's currency; 0: not told
	ReportedAtUS int64  // 0: not told
	Closed       bool   // of a capture: the rail takes no other on this authorisation
}

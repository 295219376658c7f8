package payment

// CardStatus says whether a card may pay. The numbers are those of the wire format and never reused.
type CardStatus uint8

// The statuses of a card.
const (
	CardStatusUnknown CardStatus = 0
	CardStatusActive  CardStatus = 1
	CardStatusBlocked CardStatus = 2 // may become active again
	CardStatusClosed  CardStatus = 3 // for good
)

// String is the word used in the API, in tables and in files.
func (s CardStatus) String() string {
	switch s {
	case CardStatusActive:
		return "active"
	case CardStatusBlocked:
		return "blocked"
	case CardStatusClosed:
		return "closed"
	default:
		return "unknown"
	}
}

// IssueCard gives a card to the command's account.
type IssueCard struct {
	First6, Last4 string
	Expiry        int32 // YYMM
}

// SetCardStatus asks for another status of a card.
type SetCardStatus struct {
	Status CardStatus
	Once   bool // a repeat gets the first answer; false: asked before answers were remembered
}

// CardTransaction is what an acquirer asks of the issuer of a card, or tells it. Names are ISO 8583's.
type CardTransaction struct {
	AmountMinor     int64 // 0 asks whether the card is good
	Currency        string
	Financial       bool // single message: it is posted at once
	Card            CardKey
	Counterparty    Counterparty // the card acceptor
	ProcessingCode  string
	MCC             string
	EntryMode       string
	ConditionCode   string
	Acquirer        string
	CardAcceptor    string
	Terminal        string
	RRN             string
	STAN            string
	TransmittedAtUS int64
	StandIn         bool  // advice: this house has granted it at the door, without waiting for the decision
	Refused         bool  // advice: it was refused elsewhere
	AskedAtUS       int64 // stand-ins: AcceptedAtUS of the authorization that the door has answered; 0: told before this was
}

// Reversal takes an authorization back.
type Reversal struct {
	LeftMinor  int64  // what is left of it; 0: nothing
	Currency   string // of LeftMinor, and of what is taken back; empty: reversed before this was told
	Card       CardKey
	ReasonCode string // why, field 39
	StandIn    bool   // this house has refused it at the door, without waiting for the decision
	RRN        string
	Acquirer   string
	AskedAtUS  int64 // stand-ins: AcceptedAtUS of the authorization that the door has answered; 0: told before this was
}

// Clearing moves the money of a card payment.
type Clearing struct {
	AmountMinor  int64
	Currency     string
	Credit       bool // the card acceptor gives money back
	Final        bool // what is left of the authorization is given up
	Card         CardKey
	RRN          string
	Acquirer     string
	MCC          string
	CardAcceptor string
}

package iso8583

import (
	"fmt"
	"log/slog"

	"github.com/caudalpay/caudal/processors/money"
)

// STAN is the systems trace audit number, six digits, given by the acquirer and carried through all messages about one request.
type STAN string

// RRN is the retrieval reference number, at most 12 letters and digits, given by the acquirer: what people search by.
type RRN string

// Message is one message with its fields by name. An empty field is absent; AmountMinor is present wherever the table has it
// mandatory. Texts of fixed length are without the spaces behind that fill them up. Which fields stand in which type is in
// elements.go.
type Message struct {
	MTI              MTI              // 0
	PAN              PAN              // 2: 8 to 19 digits
	ProcessingCode   string           // 3: six digits: transaction type, account from, account to; 00 is a purchase
	AmountMinor      int64            // 4: in minor units of Currency, at most 999,999,999,999
	TransmissionTime TransmissionTime // 7: MMDDhhmmss UTC, when the sender sent it
	STAN             STAN             // 11
	LocalTime        string           // 12: hhmmss at the terminal
	LocalDate        string           // 13: MMDD at the terminal
	Expiry           Secret           // 14: YYMM
	MCC              string           // 18: four digits, merchant category code of ISO 18245
	EntryMode        string           // 22: three digits: how the card was read (2), whether a PIN can be entered (1)
	ConditionCode    string           // 25: two digits: 00 normal, 08 mail or telephone order, 59 electronic commerce
	AcquirerID       string           // 32: 1 to 11 digits
	Track2           Secret           // 35: card number, = or D, expiry and the rest
	RRN              RRN              // 37
	AuthCode         string           // 38: at most six letters and digits, given by who approves
	ResponseCode     ResponseCode     // 39
	Terminal         string           // 41: at most 8 characters
	Merchant         string           // 42: at most 15 characters
	MerchantName     string           // 43: name and place, at most 40 characters
	AdditionalData   Secret           // 48
	Currency         money.Currency   // 49: alphabetic here, three digits on the wire
	PINBlock         Secret           // 52: 16 hex digits, encrypted by the acquirer's key
	// AdditionalAmounts is 54, at most six: cash back in a request, balances in a response.
	AdditionalAmounts []AdditionalAmount
	EMV               Secret    // 55: tags, lengths and values in hex digits, at most 255 bytes
	Private           [4]Secret // 60 to 63
	MAC               string    // 64: 16 hex digits, where no field above 64 stands; who checks it needs the bytes of the message
	// NetworkInformationCode is 70: 001 sign-on, 002 sign-off, 301 echo.
	NetworkInformationCode string
	OriginalData           OriginalData        // 90: what a reversal reverses
	ReplacementAmounts     *ReplacementAmounts // 95: what is left after a partial reversal; nil: nothing is left
	ReceivingID            string              // 100: 1 to 11 digits
	Account                Secret              // 102: at most 28 characters
	MACExtended            string              // 128: as MAC, where a field above 64 stands
}

// AdditionalAmount is one of field 54.
type AdditionalAmount struct {
	AccountType string // two digits
	AmountType  string // two digits: 01 ledger balance, 02 available balance, 40 cash back
	Currency    money.Currency
	AmountMinor int64 // negative is D on the wire
}

// OriginalData is field 90. The ids are without leading zeros, and empty where they are only zeros: not told.
type OriginalData struct {
	MTI              MTI // of a request or an advice
	STAN             STAN
	TransmissionTime TransmissionTime
	AcquirerID       string
	ForwarderID      string
}

// ReplacementAmounts is field 95: what the transaction came to in the end, in the currency of transaction and of settlement.
// Fees are signed: negative is D on the wire.
type ReplacementAmounts struct {
	TransactionMinor    int64
	SettlementMinor     int64
	TransactionFeeMinor int64
	SettlementFeeMinor  int64
}

// Card is the number of the card: field 2, or that in track 2 where only it was sent.
func (m *Message) Card() PAN {
	if m.PAN != "" {
		return m.PAN
	}
	return m.Track2.card()
}

// LogValue implements slog.LogValuer with what finds a message again.
func (m Message) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("mti", string(m.MTI)), slog.String("stan", string(m.STAN)), slog.String("rrn", string(m.RRN)),
		slog.String("transmission_time", string(m.TransmissionTime)), slog.String("acquirer", m.AcquirerID),
		slog.String("terminal", m.Terminal), slog.String("merchant", m.Merchant), slog.String("pan", m.PAN.Masked()),
		slog.Int64("amount_minor", m.AmountMinor), slog.String("currency", m.Currency),
		slog.String("response_code", string(m.ResponseCode)),
	)
}

// String implements fmt.Stringer with what finds a message again.
func (m Message) String() string {
	return fmt.Sprintf("%s stan=%s rrn=%s at=%s acquirer=%s terminal=%s pan=%s amount_minor=%d currency=%s response_code=%s",
		string(m.MTI), string(m.STAN), string(m.RRN), string(m.TransmissionTime), m.AcquirerID, m.Terminal, m.PAN.Masked(), m.AmountMinor,
		m.Currency, string(m.ResponseCode))
}

// Format implements fmt.Formatter: no verb shows more.
func (m Message) Format(w fmt.State, _ rune) { show(w, m.String()) }

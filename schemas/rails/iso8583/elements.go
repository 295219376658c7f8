package iso8583

import "strconv"

// form is what may stand in a field.
type form uint8

const (
	formDigits      form = iota // n
	formAlnum                   // an: letters and digits
	formText                    // ans: printable ASCII
	formTrack                   // z: card number, = or D, the rest in digits
	formHex                     // b, written as hex digits in capitals: the feed is text throughout
	formMonthTime               // MMDDhhmmss
	formClock                   // hhmmss
	formMonthDay                // MMDD
	formYearMonth               // YYMM
	formCurrency                // three digits of ISO 4217
	formAmounts                 // field 54
	formOriginal                // field 90
	formReplacement             // field 95
)

// element is one data element. Its length is fixed where prefix is 0, else a number of that many digits precedes it.
// Padded elements are filled up with spaces behind; their values have none there, and one of only spaces is absent.
type element struct {
	id     int
	name   string
	form   form
	prefix int
	least  int
	length int
	padded bool
	// uses says where the element stands, a letter per type in the order of types(): M mandatory; C by the conditions in
	// check.go; O optional; - not allowed; and of responses: E mandatory, echoed from the request; e echoed where the
	// request has it.
	uses string
	slot func(*Message) *string // nil: converted by Codec.text and Codec.set
}

func fixed(f form, length int) element { return element{form: f, least: length, length: length} }
func pad(f form, length int) element   { return element{form: f, least: 1, length: length, padded: true} }

func ll(f form, least, most int) element {
	return element{form: f, prefix: 2, least: least, length: most}
}

func lll(f form, least, most int) element {
	return element{form: f, prefix: 3, least: least, length: most}
}

// elements are the fields of the feed in their order, beside 0 (MTI, four digits) and 1 (bitmap, 16 hex digits, and 16 more
// where a field above 64 stands). The columns of uses are
//
//	0100/0110 0120,0121/0130 0200/0210 0220,0221/0230 0400,0401/0410 0420,0421/0430 0800/0810
//
// Why some differ from the standard's: the PAN is mandatory in reversals because what is reversed belongs to its account;
// 18, 22 and 25 because a risk decision needs them; 35, 52 and 55 never stand in a response, and 52 in no advice; 39 in an
// advice or a reversal says why (68: the answer came late or not at all).
func elements() []element {
	e := func(id int, name string, shape element, uses string, slot func(*Message) *string) element {
		shape.id, shape.name, shape.uses, shape.slot = id, name, uses, slot
		return shape
	}
	return []element{
		e(2, "PAN", ll(formDigits, 8, 19), "Ce Ce Ce Ce Me Me --", func(m *Message) *string { return (*string)(&m.PAN) }),
		e(3, "processing code", fixed(formDigits, 6), "ME ME ME ME ME ME --", func(m *Message) *string { return &m.ProcessingCode }),
		e(4, "amount", fixed(formDigits, 12), "ME ME ME ME ME ME --", nil),
		e(7, "transmission time", fixed(formMonthTime, 10), "ME ME ME ME ME ME ME", func(m *Message) *string { return (*string)(&m.TransmissionTime) }),
		e(11, "STAN", fixed(formDigits, 6), "ME ME ME ME ME ME ME", func(m *Message) *string { return (*string)(&m.STAN) }),
		e(12, "local time", fixed(formClock, 6), "Me Me Me Me Oe Oe --", func(m *Message) *string { return &m.LocalTime }),
		e(13, "local date", fixed(formMonthDay, 4), "Me Me Me Me Oe Oe --", func(m *Message) *string { return &m.LocalDate }),
		e(14, "expiry", fixed(formYearMonth, 4), "O- O- O- O- O- O- --", func(m *Message) *string { return (*string)(&m.Expiry) }),
		e(18, "MCC", fixed(formDigits, 4), "M- M- M- M- O- O- --", func(m *Message) *string { return &m.MCC }),
		e(22, "entry mode", fixed(formDigits, 3), "M- M- M- M- O- O- --", func(m *Message) *string { return &m.EntryMode }),
		e(25, "condition code", fixed(formDigits, 2), "M- M- M- M- O- O- --", func(m *Message) *string { return &m.ConditionCode }),
		e(32, "acquirer", ll(formDigits, 1, 11), "ME ME ME ME ME ME Oe", func(m *Message) *string { return &m.AcquirerID }),
		e(35, "track 2", ll(formTrack, 10, 37), "C- C- C- C- -- -- --", func(m *Message) *string { return (*string)(&m.Track2) }),
		e(37, "RRN", pad(formAlnum, 12), "ME ME ME ME ME ME --", func(m *Message) *string { return (*string)(&m.RRN) }),
		e(38, "authorization code", pad(formAlnum, 6), "-C Oe -C Oe Oe Oe --", func(m *Message) *string { return &m.AuthCode }),
		e(39, "response code", fixed(formAlnum, 2), "-M OM -M OM OM OM -M", func(m *Message) *string { return (*string)(&m.ResponseCode) }),
		e(41, "terminal", pad(formText, 8), "ME ME ME ME ME ME Oe", func(m *Message) *string { return &m.Terminal }),
		e(42, "merchant", pad(formText, 15), "Me Me Me Me Oe Oe --", func(m *Message) *string { return &m.Merchant }),
		e(43, "merchant's name and place", pad(formText, 40), "O- O- O- O- O- O- --", func(m *Message) *string { return &m.MerchantName }),
		e(48, "additional data", lll(formText, 1, 999), "OO OO OO OO OO OO OO", func(m *Message) *string { return (*string)(&m.AdditionalData) }),
		e(49, "currency", fixed(formCurrency, 3), "ME ME ME ME ME ME --", nil),
		e(52, "PIN block", fixed(formHex, 16), "O- -- O- -- -- -- --", func(m *Message) *string { return (*string)(&m.PINBlock) }),
		e(54, "additional amounts", lll(formAmounts, 20, 120), "OO OO OO OO O- O- --", nil),
		e(55, "EMV data", lll(formHex, 2, 510), "O- O- O- O- O- O- --", func(m *Message) *string { return (*string)(&m.EMV) }),
		e(60, "private data", lll(formText, 1, 999), "OO OO OO OO OO OO OO", func(m *Message) *string { return (*string)(&m.Private[0]) }),
		e(61, "private data", lll(formText, 1, 999), "OO OO OO OO OO OO OO", func(m *Message) *string { return (*string)(&m.Private[1]) }),
		e(62, "private data", lll(formText, 1, 999), "OO OO OO OO OO OO OO", func(m *Message) *string { return (*string)(&m.Private[2]) }),
		e(63, "private data", lll(formText, 1, 999), "OO OO OO OO OO OO OO", func(m *Message) *string { return (*string)(&m.Private[3]) }),
		e(64, "MAC", fixed(formHex, 16), "CC CC CC CC CC CC CC", func(m *Message) *string { return &m.MAC }),
		e(70, "network information code", fixed(formDigits, 3), "-- -- -- -- -- -- ME", func(m *Message) *string { return &m.NetworkInformationCode }),
		e(90, "original data", fixed(formOriginal, 42), "-- Oe -- Oe Me Me --", nil),
		e(95, "replacement amounts", fixed(formReplacement, 42), "-- -- -- -- O- O- --", nil),
		e(100, "receiver", ll(formDigits, 1, 11), "Oe Oe Oe Oe Oe Oe Oe", func(m *Message) *string { return &m.ReceivingID }),
		e(102, "account", ll(formText, 1, 28), "Oe Oe Oe Oe Oe Oe --", func(m *Message) *string { return (*string)(&m.Account) }),
		e(128, "MAC", fixed(formHex, 16), "CC CC CC CC CC CC CC", func(m *Message) *string { return &m.MACExtended }),
	}
}

// use is the letter of a column of types().
func (e *element) use(column int) byte { return e.uses[column/2*3+column%2] }

// fits says whether a value, without the spaces behind of a padded one, may stand in the field.
func (e *element) fits(value string) bool {
	if len(value) < e.least || len(value) > e.length {
		return false
	}
	switch e.form {
	case formDigits, formCurrency:
		return digits(value)
	case formAlnum:
		return every(value, func(c byte) bool { return isDigit(c) || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' })
	case formText, formAmounts, formReplacement:
		return every(value, func(c byte) bool { return c >= ' ' && c <= '~' }) && (!e.padded || value[len(value)-1] != ' ')
	case formTrack:
		return track(value)
	case formHex:
		return len(value)%2 == 0 && every(value, func(c byte) bool { return isDigit(c) || c >= 'A' && c <= 'F' })
	case formMonthTime:
		return digits(value) && monthDay(value[:4]) && clock(value[4:])
	case formClock:
		return digits(value) && clock(value)
	case formMonthDay:
		return digits(value) && monthDay(value)
	case formYearMonth:
		return digits(value) && number(value[2:]) >= 1 && number(value[2:]) <= 12
	default: // formOriginal
		return digits(value)
	}
}

// expected is what a FormatError says of the field: it follows from the table alone, so no value can be in it.
func (e *element) expected() string {
	length := strconv.Itoa(e.length)
	if e.least < e.length {
		length = strconv.Itoa(e.least) + " to " + length
	}
	switch e.form {
	case formDigits:
		length += " digits"
	case formAlnum:
		length += " letters or digits"
	case formText:
		length += " characters of printable ASCII"
	case formTrack:
		length += " characters: 8 to 19 digits, = or D, digits"
	case formHex:
		length += " hex digits in capitals, two per byte"
	case formMonthTime:
		return "MMDDhhmmss"
	case formClock:
		return "hhmmss"
	case formMonthDay:
		return "MMDD"
	case formYearMonth:
		return "YYMM"
	case formCurrency:
		return "the three digits of an active ISO 4217 currency"
	case formAmounts:
		return "1 to 6 amounts of 20: account type 2, amount type 2, currency 3, C or D, 12 digits"
	case formOriginal:
		return "42 digits: type of a request 4, STAN 6, MMDDhhmmss 10, acquirer 11, forwarder 11"
	case formReplacement:
		return "42: two amounts of 12 digits, two fees of C or D and 8 digits"
	}
	switch {
	case e.padded:
		return length + ", filled up with spaces behind"
	case e.prefix > 0:
		return length + " behind a length of " + strconv.Itoa(e.prefix) + " digits"
	default:
		return length
	}
}

func every(s string, in func(byte) bool) bool {
	for i := range len(s) {
		if !in(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func digits(s string) bool { return every(s, isDigit) }

// number reads digits that were looked at; at most 18 fit.
func number(s string) int64 {
	n := int64(0)
	for i := range len(s) {
		n = n*10 + int64(s[i]-'0')
	}
	return n
}

// appendNumber appends n, which is not negative, in at least width digits.
func appendNumber(b []byte, n int64, width int) []byte {
	var room [20]byte
	text := strconv.AppendInt(room[:0], n, 10)
	for range width - len(text) {
		b = append(b, '0')
	}
	return append(b, text...)
}

// track says whether s is track 2 of ISO/IEC 7813 without its sentinels.
func track(s string) bool {
	pan := 0
	for pan < len(s) && isDigit(s[pan]) {
		pan++
	}
	return pan >= 8 && pan <= 19 && pan < len(s) && (s[pan] == '=' || s[pan] == 'D') && digits(s[pan+1:])
}

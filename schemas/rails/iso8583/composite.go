package iso8583

// The largest amounts of n12 and n8.
const (
	amountMax = 999_999_999_999
	feeMax    = 99_999_999
)

const (
	additionalLength = 20
	additionalMost   = 6
	idLength         = 11 // of acquirer and forwarder in field 90
)

// set puts the text of a field, which fits, into m. It is false where a part of the text does not.
func (c *Codec) set(m *Message, e *element, text string) (ok bool) {
	if e.slot != nil {
		*e.slot(m) = text
		return true
	}
	switch e.id {
	case 4:
		m.AmountMinor, ok = number(text), true
	case 49:
		m.Currency, ok = c.currencies.byNumber[text]
	case 54:
		m.AdditionalAmounts, ok = c.currencies.parseAdditional(text)
	case 90:
		var original OriginalData
		if original, ok = parseOriginal(text); ok {
			m.OriginalData = original
		}
	case 95:
		var amounts ReplacementAmounts
		if amounts, ok = parseReplacement(text); ok {
			m.ReplacementAmounts = &amounts
		}
	}
	return ok
}

// text is the field of m on the wire, without padding and length, and empty where it is absent. It is false where what m has
// cannot be written: what is written is what set would read back.
func (c *Codec) text(m *Message, e *element) (string, bool) {
	if e.slot != nil {
		return *e.slot(m), true
	}
	switch e.id {
	case 4:
		if m.AmountMinor == 0 && !m.amountNeeded(e) {
			return "", true
		}
		return string(appendNumber(make([]byte, 0, e.length), max(m.AmountMinor, 0), e.length)), m.AmountMinor >= 0 && m.AmountMinor <= amountMax
	case 49:
		if m.Currency == "" {
			return "", true
		}
		number, ok := c.currencies.byCode[m.Currency]
		return number, ok
	case 54:
		return c.currencies.additional(m.AdditionalAmounts)
	case 90:
		if m.OriginalData == (OriginalData{}) {
			return "", true
		}
		text := m.OriginalData.text()
		back, ok := parseOriginal(text)
		return text, ok && back == m.OriginalData
	default: // 95
		if m.ReplacementAmounts == nil {
			return "", true
		}
		return m.ReplacementAmounts.text()
	}
}

// amountNeeded says whether an amount of 0 is one: in the refusal of what could not be read it is none.
func (m *Message) amountNeeded(amount *element) bool {
	use := amount.use(m.MTI.column())
	return (use == 'M' || use == 'E') && !m.refusesFormat()
}

func (m *Message) refusesFormat() bool {
	return m.MTI.IsResponse() && m.ResponseCode == ResponseFormatError
}

func (t currencyTable) parseAdditional(text string) ([]AdditionalAmount, bool) {
	if len(text)%additionalLength != 0 {
		return nil, false
	}
	amounts := make([]AdditionalAmount, len(text)/additionalLength)
	for i := range amounts {
		one := text[i*additionalLength:][:additionalLength]
		currency, known := t.byNumber[one[4:7]]
		minor, ok := signed(one[7:])
		if !digits(one[:4]) || !known || !ok {
			return nil, false
		}
		amounts[i] = AdditionalAmount{AccountType: one[:2], AmountType: one[2:4], Currency: currency, AmountMinor: minor}
	}
	return amounts, true
}

func (t currencyTable) additional(amounts []AdditionalAmount) (string, bool) {
	if len(amounts) > additionalMost {
		return "", false
	}
	b := make([]byte, 0, len(amounts)*additionalLength)
	for _, a := range amounts {
		currency, known := t.byCode[a.Currency]
		if !known || len(a.AccountType) != 2 || len(a.AmountType) != 2 || !digits(a.AccountType+a.AmountType) || !within(a.AmountMinor, amountMax) {
			return "", false
		}
		b = append(append(append(b, a.AccountType...), a.AmountType...), currency...)
		b = appendSigned(b, a.AmountMinor, 12)
	}
	return string(b), true
}

// parseOriginal takes 42 digits.
func parseOriginal(text string) (OriginalData, bool) {
	o := OriginalData{
		MTI: MTI(text[:4]), STAN: STAN(text[4:10]), TransmissionTime: TransmissionTime(text[10:20]),
		AcquirerID: WithoutZeros(text[20:31]), ForwarderID: WithoutZeros(text[31:]),
	}
	class := o.MTI.Class()
	return o, (class == ClassAuthorization || class == ClassFinancial) && !o.MTI.IsResponse() &&
		monthDay(text[10:14]) && clock(text[14:20])
}

// text may have another length than 42 where a part is not what it should be.
func (o *OriginalData) text() string {
	b := make([]byte, 0, 42)
	b = append(append(append(b, o.MTI...), o.STAN...), o.TransmissionTime...)
	for _, id := range [...]string{o.AcquirerID, o.ForwarderID} {
		for range idLength - len(id) {
			b = append(b, '0')
		}
		b = append(b, id...)
	}
	return string(b)
}

func parseReplacement(text string) (r ReplacementAmounts, ok bool) {
	if !digits(text[:24]) {
		return r, false
	}
	r.TransactionMinor, r.SettlementMinor = number(text[:12]), number(text[12:24])
	var transaction, settlement bool
	r.TransactionFeeMinor, transaction = signed(text[24:33])
	r.SettlementFeeMinor, settlement = signed(text[33:])
	return r, transaction && settlement
}

func (r *ReplacementAmounts) text() (string, bool) {
	if r.TransactionMinor < 0 || r.SettlementMinor < 0 || !within(r.TransactionMinor, amountMax) || !within(r.SettlementMinor, amountMax) ||
		!within(r.TransactionFeeMinor, feeMax) || !within(r.SettlementFeeMinor, feeMax) {
		return "", false
	}
	b := make([]byte, 0, 42)
	b = appendNumber(appendNumber(b, r.TransactionMinor, 12), r.SettlementMinor, 12)
	return string(appendSigned(appendSigned(b, r.TransactionFeeMinor, 8), r.SettlementFeeMinor, 8)), true
}

// signed reads C or D and digits; D is negative.
func signed(text string) (int64, bool) {
	switch {
	case !digits(text[1:]):
		return 0, false
	case text[0] == 'C':
		return number(text[1:]), true
	case text[0] == 'D':
		return -number(text[1:]), true
	default:
		return 0, false
	}
}

func appendSigned(b []byte, n int64, width int) []byte {
	if n < 0 {
		return appendNumber(append(b, 'D'), -n, width)
	}
	return appendNumber(append(b, 'C'), n, width)
}

func within(n, limit int64) bool { return -limit <= n && n <= limit }

// WithoutZeros cuts leading zeros: ids of variable length are filled up with them where the length is fixed.
func WithoutZeros(id string) string {
	for id != "" && id[0] == '0' {
		id = id[1:]
	}
	return id
}

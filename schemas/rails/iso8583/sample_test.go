package iso8583

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/money"
)

const (
	samplePAN   = "4000129073659012"
	sampleTrack = "4000129073659012=29121015432112345678"
	samplePIN   = "A1B2C3D4E5F60718"
	sampleEMV   = "9F2608C2C12B098F3DA6E35A084000129073659012"
	sampleCVV   = "CVV2 917"
)

// everyType is each type of the feed, repeats too.
func everyType() []MTI {
	all := types()
	return append(all[:], AuthorizationAdviceRepeat, FinancialAdviceRepeat, ReversalRequestRepeat, ReversalAdviceRepeat)
}

// sample is a message of the type with every field that may stand in it.
func sample(mti MTI) Message {
	m := Message{
		MTI: mti, PAN: samplePAN, ProcessingCode: "003000", AmountMinor: 12_345, TransmissionTime: "1231235958", STAN: "000417",
		LocalTime: "205958", LocalDate: "1231", Expiry: "2912", MCC: "5411", EntryMode: "051", ConditionCode: "00", AcquirerID: "00123456",
		Track2: sampleTrack, RRN: "636523000417", AuthCode: "A1B2", ResponseCode: ResponseApproved, Terminal: "TERM 01", Merchant: "MERCHANT0000001",
		MerchantName: "Padaria do Bairro      Sao Paulo     BRA", AdditionalData: sampleCVV, Currency: "BRL", PINBlock: samplePIN,
		AdditionalAmounts: []AdditionalAmount{
			{AccountType: "30", AmountType: "40", Currency: "BRL", AmountMinor: 5_000}, {AccountType: "30", AmountType: "02", Currency: "USD", AmountMinor: -7},
		},
		EMV: sampleEMV, Private: [4]Secret{"sixty", "sixty-one", "sixty-two", "sixty-three"}, NetworkInformationCode: "301",
		OriginalData: OriginalData{
			MTI: AuthorizationRequest, STAN: "000416", TransmissionTime: "1231235901", AcquirerID: "123456", ForwarderID: "98765432101",
		},
		ReplacementAmounts: &ReplacementAmounts{TransactionMinor: 10_000, SettlementMinor: 2_000, TransactionFeeMinor: -15, SettlementFeeMinor: 3},
		ReceivingID:        "000042", Account: "acc_1 of the house", MACExtended: "0123456789ABCDEF",
	}
	column := mti.column()
	for _, e := range elements() {
		if e.use(column) == '-' {
			clearField(&m, e)
		}
	}
	return m
}

func clearField(m *Message, e element) {
	switch {
	case e.slot != nil:
		*e.slot(m) = ""
	case e.id == 4:
		m.AmountMinor = 0
	case e.id == 49:
		m.Currency = ""
	case e.id == 54:
		m.AdditionalAmounts = nil
	case e.id == 90:
		m.OriginalData = OriginalData{}
	case e.id == 95:
		m.ReplacementAmounts = nil
	}
}

// fill puts a field of the full message into m.
func fill(m *Message, e element) {
	full := sample(ReversalRequest)
	full.NetworkInformationCode, full.PINBlock, full.Track2, full.ResponseCode = "301", samplePIN, sampleTrack, ResponseApproved
	switch {
	case e.slot != nil:
		*e.slot(m) = *e.slot(&full)
	case e.id == 4:
		m.AmountMinor = full.AmountMinor
	case e.id == 49:
		m.Currency = full.Currency
	case e.id == 54:
		m.AdditionalAmounts = full.AdditionalAmounts
	case e.id == 90:
		m.OriginalData = full.OriginalData
	case e.id == 95:
		m.ReplacementAmounts = full.ReplacementAmounts
	}
}

func one(t *rapid.T, name, from string) string {
	return string(rapid.SampledFrom([]byte(from)).Draw(t, name))
}

func text(t *rapid.T, name, from string, least, most int) string {
	n := rapid.IntRange(least, most).Draw(t, name+"'s length")
	return string(rapid.SliceOfN(rapid.SampledFrom([]byte(from)), n, n).Draw(t, name))
}

const (
	numerals = "0123456789"
	letters  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

func printable() string {
	var b strings.Builder
	for c := byte(' '); c <= '~'; c++ {
		b.WriteByte(c)
	}
	return b.String()
}

func drawClock(t *rapid.T) string {
	return fmt.Sprintf("%02d%02d%02d", rapid.IntRange(0, 23).Draw(t, "h"), rapid.IntRange(0, 59).Draw(t, "m"), rapid.IntRange(0, 59).Draw(t, "s"))
}

func drawDay(t *rapid.T) string {
	month := rapid.IntRange(1, 12).Draw(t, "month")
	days := []int{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
	return fmt.Sprintf("%02d%02d", month, rapid.IntRange(1, days[month-1]).Draw(t, "day"))
}

func drawCurrency(t *rapid.T) money.Currency {
	codes := newCurrencyTable().byCode
	all := make([]money.Currency, 0, len(codes))
	for code := range codes {
		all = append(all, code)
	}
	slices.Sort(all)
	return rapid.SampledFrom(all).Draw(t, "currency")
}

func drawValue(t *rapid.T, e element) string {
	switch e.form {
	case formDigits:
		return text(t, e.name, numerals, e.least, e.length)
	case formAlnum:
		return text(t, e.name, numerals+letters, e.least, e.length)
	case formTrack:
		pan := text(t, e.name, numerals, 8, 19)
		return pan + one(t, "separator", "=D") + text(t, "behind", numerals, max(0, e.least-len(pan)-1), e.length-len(pan)-1)
	case formHex:
		return strings.Repeat(one(t, e.name, "0123456789ABCDEF"), 2*rapid.IntRange(e.least/2, e.length/2).Draw(t, "bytes"))
	case formMonthTime:
		return drawDay(t) + drawClock(t)
	case formClock:
		return drawClock(t)
	case formMonthDay:
		return drawDay(t)
	case formYearMonth:
		return fmt.Sprintf("%02d%02d", rapid.IntRange(0, 99).Draw(t, "year"), rapid.IntRange(1, 12).Draw(t, "month"))
	default:
		s := text(t, e.name, printable(), e.least, e.length)
		if e.padded && s[len(s)-1] == ' ' {
			s = s[:len(s)-1] + "."
		}
		return s
	}
}

func drawComposite(t *rapid.T, m *Message, id int) {
	amount := rapid.Int64Range(0, amountMax)
	switch id {
	case 4:
		m.AmountMinor = amount.Draw(t, "amount")
	case 49:
		m.Currency = drawCurrency(t)
	case 54:
		for range rapid.IntRange(1, 6).Draw(t, "amounts") {
			m.AdditionalAmounts = append(m.AdditionalAmounts, AdditionalAmount{
				AccountType: text(t, "account type", numerals, 2, 2), AmountType: text(t, "amount type", numerals, 2, 2), Currency: drawCurrency(t),
				AmountMinor: rapid.Int64Range(-amountMax, amountMax).Draw(t, "additional"),
			})
		}
	case 90:
		m.OriginalData = OriginalData{
			MTI:  rapid.SampledFrom([]MTI{AuthorizationRequest, AuthorizationAdvice, AuthorizationAdviceRepeat, FinancialRequest}).Draw(t, "original"),
			STAN: STAN(text(t, "stan", numerals, 6, 6)), TransmissionTime: TransmissionTime(drawDay(t) + drawClock(t)),
			AcquirerID: WithoutZeros(text(t, "acquirer", numerals, 0, 11)), ForwarderID: WithoutZeros(text(t, "forwarder", numerals, 0, 11)),
		}
	case 95:
		fee := rapid.Int64Range(-feeMax, feeMax)
		m.ReplacementAmounts = &ReplacementAmounts{amount.Draw(t, "a"), amount.Draw(t, "b"), fee.Draw(t, "c"), fee.Draw(t, "d")}
	}
}

// drawMessage is any message that the table allows.
func drawMessage(t *rapid.T) Message {
	m := Message{MTI: rapid.SampledFrom(everyType()).Draw(t, "type")}
	column := m.MTI.column()
	second := false
	for _, e := range elements() {
		use := e.use(column)
		if e.id == 38 && !m.refusesFormat() && use == 'C' {
			use = 'M'
		}
		if e.id == 64 || e.id == 128 || use == '-' || use != 'M' && use != 'E' && !rapid.Bool().Draw(t, "has") {
			continue
		}
		if e.slot == nil {
			drawComposite(t, &m, e.id)
		} else {
			*e.slot(&m) = drawValue(t, e)
		}
		second = second || e.id > 64
	}
	if m.PAN != "" && m.Track2 != "" {
		track := string(m.PAN) + string(m.Track2[len(m.Track2.card()):]) + "0" // ten characters at least
		m.Track2 = Secret(track[:min(len(track), 37)])
	}
	if m.PAN == "" && m.Track2 == "" && use(2, column) == 'C' {
		m.PAN = PAN(drawValue(t, elements()[0]))
	}
	if rapid.Bool().Draw(t, "MAC") {
		if m.MAC = text(t, "MAC", "0123456789ABCDEF", 16, 16); second {
			m.MAC, m.MACExtended = "", m.MAC
		}
	}
	return m
}

func use(id, column int) byte {
	for _, e := range elements() {
		if e.id == id {
			return e.use(column)
		}
	}
	return 0
}

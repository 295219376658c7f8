package http_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/ingest/issuing"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// Invariant: whatever item the door takes, a message of the feed can tell, and it is the same request: one id, one hash, one
// authorization. Else what comes by both ways would be collected twice.
func TestItemAndMessageAreOne(t *testing.T) {
	codec := iso8583.NewCodec()
	printable := func(most int) *rapid.Generator[string] {
		return rapid.StringOfN(rapid.RuneFrom([]rune(" !\"#/-.09AZaz~")), 1, most, most)
	}
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		at := func(from time.Time, name string) time.Time {
			return from.Add(time.Duration(rapid.Int64Range(-300*86_400, 300*86_400).Draw(t, name)) * time.Second)
		}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.Int64Range(0, 4*366*86_400).Draw(t, "now")) * time.Second)
		zone := time.FixedZone("", int(rapid.Int64Range(-14, 14).Draw(t, "zone"))*3600)
		own := at(now, "own")
		item := map[string]any{
			"number": cardNumber, "processing_code": rapid.SampledFrom([]string{"000000", "013000", "090030", "200030", "300000"}).Draw(t, "code"),
			"amount": rapid.Int64Range(0, 1_000_000_000_000).Draw(t, "amount"), "currency": rapid.SampledFrom([]string{"BRL", "USD", "JPY", "KWD"}).Draw(t, "currency"),
			"transmitted_at": own.In(zone).Format(time.RFC3339), "stan": rapid.StringMatching(`[0-9]{6}`).Draw(t, "stan"),
			"acquirer": rapid.StringMatching(`0{0,3}[0-9]{1,9}`).Draw(t, "acquirer"), "terminal": printable(9).Draw(t, "terminal"), "merchant": printable(16).Draw(t, "merchant"),
			"mcc": rapid.StringMatching(`[0-9]{4}`).Draw(t, "mcc"), "rrn": rapid.StringMatching(`[0-9A-Za-z]{1,12} {0,2}`).Draw(t, "rrn"),
		}
		partial := rapid.Bool().Draw(t, "partial")
		if partial {
			item["partial"] = true
		}
		if rapid.Bool().Draw(t, "names") {
			named := map[string]any{
				"mti": rapid.SampledFrom([]string{"0100", "0120", "0121", "0200"}).Draw(t, "mti"), "stan": rapid.StringMatching(`[0-9]{6}`).Draw(t, "asked"),
				"transmitted_at": at(own, "authorized").Format(time.RFC3339),
			}
			if rapid.Bool().Draw(t, "elsewhere") {
				named["acquirer"] = rapid.StringMatching(`[0-9]{1,11}`).Draw(t, "other")
			}
			item["authorization"] = named
		}
		body, err := json.Marshal(item)
		if err != nil {
			t.Fatal(err)
		}
		c, wrong := http.ParseClearing(body, now)
		if len(wrong) > 0 {
			return
		}
		taken++
		raw, err := codec.Append(nil, messageOf(&c))
		if err != nil {
			t.Fatalf("no message can tell %s: %v", body, err)
		}
		m, err := codec.Decode(raw)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		told := issuing.Clearing{
			Request: issuing.Request{
				Message: issuing.Message{Key: m.MatchKey()}, AmountMinor: m.AmountMinor, Currency: string(m.Currency), ProcessingCode: m.ProcessingCode,
				Merchant: m.Merchant, MCC: m.MCC, RRN: string(m.RRN),
			},
			Partial: m.ResponseCode == iso8583.ResponsePartiallyApproved,
		}
		if told.At, err = told.Key.TransmissionTime.At(now); err != nil {
			t.Fatal(err)
		}
		if key, ok := m.OriginalKey(); ok {
			told.Authorization.Key = key
			if told.Authorization.At, err = key.TransmissionTime.At(told.At); err != nil {
				t.Fatal(err)
			}
		}
		if told != c {
			t.Fatalf("%s\nis %+v\nby message %+v", body, c, told)
		}
	})
	t.Logf("%d items were taken", taken)
	if taken < 5 {
		t.Errorf("only %d items were taken", taken)
	}
}

// messageOf is the second message of an item.
func messageOf(c *issuing.Clearing) *iso8583.Message {
	m := &iso8583.Message{
		MTI: iso8583.FinancialAdvice, PAN: cardNumber, ProcessingCode: c.ProcessingCode, AmountMinor: c.AmountMinor, TransmissionTime: c.Key.TransmissionTime,
		STAN: c.Key.STAN, LocalTime: "101112", LocalDate: "1123", MCC: c.MCC, EntryMode: "051", ConditionCode: "00",
		AcquirerID: strings.Repeat("0", max(0, 1-len(c.Key.AcquirerID))) + c.Key.AcquirerID, RRN: iso8583.RRN(c.RRN), Terminal: c.Key.Terminal,
		Merchant: c.Merchant, Currency: money.Currency(c.Currency),
	}
	if c.Partial {
		m.ResponseCode = iso8583.ResponsePartiallyApproved
	}
	if a := c.Authorization; a != (issuing.Message{}) {
		mti := iso8583.AuthorizationRequest
		if a.Key.Class == iso8583.ClassFinancial {
			mti = iso8583.FinancialRequest
		}
		m.OriginalData = iso8583.OriginalData{MTI: mti, STAN: a.Key.STAN, TransmissionTime: a.Key.TransmissionTime, AcquirerID: a.Key.AcquirerID}
	}
	return m
}

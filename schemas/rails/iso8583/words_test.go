package iso8583

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
)

// Invariant: what is secret stands in no error, no log line and no printed value, however it is printed, also where a damaged
// length has shifted it into another field.
func TestNothingSecretIsShown(t *testing.T) {
	c := NewCodec()
	for _, mti := range everyType() {
		m := sample(mti)
		hidden(t, "the whole", m)
		raw, err := c.Append(nil, &m)
		if err != nil {
			t.Fatal(err)
		}
		for at := range raw {
			for _, b := range []byte("059Z") {
				damaged := slices.Clone(raw)
				damaged[at] = b
				if _, err := c.Decode(damaged); err != nil {
					hidden(t, string(damaged), err)
				}
			}
			if _, err := c.Decode(raw[:at]); err != nil {
				hidden(t, string(raw[:at]), err)
			}
		}
		for _, e := range c.elements {
			if e.slot == nil || *e.slot(&m) == "" {
				continue
			}
			bad := m
			*e.slot(&bad) += "\n" + samplePAN
			if _, err := c.Append(nil, &bad); err == nil {
				t.Fatalf("field %d is written", e.id)
			} else {
				hidden(t, e.name, err)
			}
		}
	}
	hidden(t, "values", struct {
		PAN    PAN
		Track2 *Secret
		All    []Secret
	}{samplePAN, new(Secret(sampleTrack)), []Secret{samplePIN, sampleEMV, sampleCVV}})
}

// hidden prints in every way there is.
func hidden(t *testing.T, of string, value any) {
	t.Helper()
	shown := fmt.Sprintf("%v %+v %#v %s %q %x %X", value, value, value, value, value, value, value)
	var logged bytes.Buffer
	line := slog.NewRecord(time.Time{}, slog.LevelInfo, "x", 0) // the digits of a time may be a secret's by chance
	line.AddAttrs(slog.Any("value", value))
	for _, h := range []slog.Handler{slog.NewJSONHandler(&logged, nil), slog.NewTextHandler(&logged, nil)} {
		if err := h.Handle(t.Context(), line); err != nil {
			t.Fatal(err)
		}
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	shown += logged.String() + string(encoded)
	for _, secret := range []string{samplePAN, samplePAN[6:12], sampleTrack, "15432112345678", samplePIN, sampleEMV, sampleCVV} {
		if strings.Contains(shown, secret) || strings.Contains(strings.ToUpper(shown), fmt.Sprintf("%X", secret)) {
			t.Fatalf("%q is shown of %s: %s", secret, of, shown)
		}
	}
}

func TestPAN(t *testing.T) {
	for _, k := range []struct {
		pan    PAN
		masked string
		luhn   bool
	}{
		{"4242424242424242", "424242******4242", true},
		{"4242424242424241", "424242******4241", false},
		{"378282246310005", "378282*****0005", true},
		{"4000000000000000006", "400000*********0006", true},
		{"4222222222222", "422222***2222", true},
		{"422222222222", "************", true},
		{"42x", "***", false},
		{"", "", false},
	} {
		if k.pan.Masked() != k.masked || k.pan.LuhnValid() != k.luhn {
			t.Errorf("%s: %t", k.pan, k.pan.LuhnValid())
		}
	}
}

func TestTransmissionTime(t *testing.T) {
	for _, k := range []struct{ field, reference, want string }{
		{"1123024700", "2026-11-23T02:47:01Z", "2026-11-23T02:47:00Z"},
		{"1231235959", "2027-01-01T00:00:01Z", "2026-12-31T23:59:59Z"},
		{"0101000001", "2026-12-31T23:59:59Z", "2027-01-01T00:00:01Z"},
		{"0101000001", "2026-12-31T20:59:59-03:00", "2027-01-01T00:00:01Z"},
		{"0101000001", "2027-01-01T00:00:00+03:00", "2027-01-01T00:00:01Z"}, // 2026 in UTC still
		{"0601000000", "2027-01-01T00:00:00Z", "2027-06-01T00:00:00Z"},      // 151 days on, 214 back
		{"0801000000", "2027-01-01T00:00:00Z", "2026-08-01T00:00:00Z"},
		{"0229120000", "2028-03-01T00:00:00Z", "2028-02-29T12:00:00Z"},
		{"0229120000", "2027-12-31T00:00:00Z", "2028-02-29T12:00:00Z"},
		{"0229120000", "2026-03-01T00:00:00Z", "field 7 (transmission time): expected a day that is in this year, the last or the next"},
		{"0230120000", "2026-03-01T00:00:00Z", "field 7 (transmission time): expected MMDDhhmmss"},
		{"", "2026-03-01T00:00:00Z", "field 7 (transmission time): expected MMDDhhmmss"},
	} {
		reference, err := time.Parse(time.RFC3339, k.reference)
		if err != nil {
			t.Fatal(err)
		}
		at, err := TransmissionTime(k.field).At(reference)
		got := at.Format(time.RFC3339)
		if err != nil {
			got = err.Error()
		}
		if got != k.want {
			t.Errorf("%s at %s: %s, want %s", k.field, k.reference, got, k.want)
		}
	}
}

// Invariant: a time that is sent is read back with its year, by a clock that is up to 180 days off.
func TestTransmissionTimeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "sent"), 0).UTC()
		read := sent.Add(time.Duration(rapid.Int64Range(-180*86_400, 180*86_400).Draw(t, "off")) * time.Second)
		if at, err := TransmissionTimeOf(sent).At(read); err != nil || !at.Equal(sent) {
			t.Fatalf("%v read at %v: %v, %v", sent, read, at, err)
		}
	})
}

func TestMatchKeys(t *testing.T) {
	request := sample(AuthorizationRequest)
	reversal := sample(ReversalAdvice)
	reversal.OriginalData = OriginalData{
		MTI: request.MTI, STAN: request.STAN, TransmissionTime: request.TransmissionTime, AcquirerID: WithoutZeros(request.AcquirerID),
	}
	want := MatchKey{Class: ClassAuthorization, TransmissionTime: "1231235958", STAN: "000417", AcquirerID: "123456", Terminal: "TERM 01"}
	if got := request.MatchKey(); got != want || got.String() != "1.1231235958.000417.123456.TERM 01" {
		t.Fatalf("%v", got)
	}
	if got, ok := reversal.OriginalKey(); !ok || got != want {
		t.Fatalf("%v", got)
	}
	if reversal.MatchKey() == want { // the same STAN and time, but no repeat of the request
		t.Fatal("a reversal is taken for its original")
	}
	reversal.OriginalData.AcquirerID = ""
	if got, ok := reversal.OriginalKey(); !ok || got != want {
		t.Fatalf("%v without an acquirer in field 90", got)
	}
	response, ok := NewCodec().Respond(&request, ResponseApproved)
	if got := response.MatchKey(); !ok || got != want {
		t.Fatalf("%v of the response", got)
	}
	repeat := reversal
	repeat.MTI = ReversalAdviceRepeat
	if repeat.MatchKey() != reversal.MatchKey() {
		t.Fatal("a repeat has another key than what it repeats")
	}
	if _, ok := request.OriginalKey(); ok {
		t.Fatal("a request has an original")
	}
}

// Invariant: two keys are never one text.
func TestMatchKeysDoNotRunTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) MatchKey {
			return MatchKey{
				Class: ClassAuthorization, TransmissionTime: "1231235958", STAN: STAN(text(t, name+" STAN", "01", 6, 6)),
				AcquirerID: WithoutZeros(text(t, name+" acquirer", "01", 1, 4)), Terminal: text(t, name+" terminal", "01.", 1, 4),
			}
		}
		a, b := draw("a"), draw("b")
		if (a == b) != (a.String() == b.String()) {
			t.Fatalf("%v and %v", a, b)
		}
	})
}

// Invariant: the echo of a response is its request's, and holds nothing that the request did not bring.
func TestRespond(t *testing.T) {
	c := NewCodec()
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		response, ok := c.Respond(&m, ResponseInsufficientFunds)
		if ok == m.MTI.IsResponse() {
			t.Fatalf("%s: %t", string(m.MTI), ok)
		}
		if !ok {
			return
		}
		raw, err := c.Append(nil, &response)
		if err != nil {
			t.Fatalf("%v of\n%s", err, dump(c, &response))
		}
		if _, err := c.Decode(raw); err != nil {
			t.Fatal(err)
		}
		for i := range c.elements {
			e := &c.elements[i]
			got, _ := c.text(&response, e)
			want, _ := c.text(&m, e)
			if e.id != 39 && got != "" && got != want {
				t.Fatalf("field %d of %s is %q, of the request %q", e.id, string(response.MTI), got, want)
			}
		}
		if response.Track2 != "" || response.PINBlock != "" || response.EMV != "" || response.Expiry != "" || response.AdditionalData != "" {
			t.Fatal("a secret is sent back")
		}
	})
}

func TestTypes(t *testing.T) {
	want := map[MTI]MTI{
		"0100": "0110", "0120": "0130", "0121": "0130", "0200": "0210", "0220": "0230", "0221": "0230", "0400": "0410", "0401": "0410", "0420": "0430", "0421": "0430", "0800": "0810",
	}
	known := 0
	for n := range 10_000 {
		mti := MTI(fmt.Sprintf("%04d", n))
		response, ok := mti.Response()
		if response != want[mti] || ok != (want[mti] != "") || ok && (mti.Class() != response.Class() || mti.IsResponse() || !response.IsResponse()) {
			t.Errorf("%s is answered by %q", string(mti), string(response))
		}
		if mti.Class() != 0 {
			known++
			if !strings.Contains(expectedType, string(mti)) {
				t.Errorf("%s is not in the text of the error", string(mti))
			}
		}
	}
	if known != 18 || known != len(everyType()) {
		t.Errorf("%d types", known)
	}
}

// Every currency of money has its number, and no other has.
func TestCurrencies(t *testing.T) {
	table := newCurrencyTable()
	known := 0
	for n := range 26 * 26 * 26 {
		code := string([]byte{'A' + byte(n/676), 'A' + byte(n/26%26), 'A' + byte(n%26)})
		number, ok := table.byCode[code]
		if _, active := money.Exponent(code); active != ok {
			t.Errorf("%s: %t here, %t in money", code, ok, active)
		}
		if ok {
			known++
			if len(number) != 3 || !digits(number) || table.byNumber[number] != code {
				t.Errorf("%s is %s is %s", code, number, table.byNumber[number])
			}
		}
	}
	if known == 0 || known != len(table.byCode) || known != len(table.byNumber) {
		t.Errorf("%d currencies, %d codes, %d numbers", known, len(table.byCode), len(table.byNumber))
	}
	for code, number := range map[string]string{"BRL": "986", "USD": "840", "EUR": "978", "JPY": "392", "ALL": "008", "GBP": "826", "ARS": "032", "PYG": "600"} {
		if table.byCode[code] != number {
			t.Errorf("%s is %s", code, table.byCode[code])
		}
	}
}

// Every reason of the core has a row; nothing else has.
func TestResponseCodes(t *testing.T) {
	datadriven.RunTest(t, "testdata/reasons", func(t *testing.T, _ *datadriven.TestData) string {
		t.Helper()
		var out strings.Builder
		for n := range 256 {
			reason := payment.Reason(n)
			code, ok := responseCode(reason)
			switch known := reason.String() != "unknown"; {
			case known != ok:
				t.Errorf("reason %d (%s) has a row: %t", n, reason, ok)
			case !known && ResponseCodeFor(reason) != ResponseSystemMalfunction:
				t.Errorf("reason %d is told as %s and is none", n, string(ResponseCodeFor(reason)))
			case known && (code != ResponseCodeFor(reason) || code.Approves() != (reason == payment.ReasonNone)):
				t.Errorf("%s is told as %s", reason, string(ResponseCodeFor(reason)))
			case known:
				fmt.Fprintf(&out, "%s %s\n", string(code), reason)
			}
		}
		return out.String()
	})
}

func TestFormatErrorIsFound(t *testing.T) {
	_, err := NewCodec().Decode(nil)
	var format *FormatError
	if !errors.As(fmt.Errorf("reading a message: %w", err), &format) || format.Field != 0 {
		t.Fatal(err)
	}
	if _, ok := format.Answer(); ok {
		t.Fatal("nothing is answered")
	}
	if _, ok := (&FormatError{Field: 2}).Answer(); ok {
		t.Fatal("an error of Append has nobody to answer")
	}
}

package iso8583

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/datadriven"
	moov "github.com/moov-io/iso8583"
	"pgregory.net/rapid"
)

// TestMessages holds the bytes of every type, and what is malformed. A line of input is a field and its text on the wire,
// without length and padding.
func TestMessages(t *testing.T) {
	c := NewCodec()
	datadriven.Walk(t, "testdata/messages", func(t *testing.T, path string) {
		t.Helper()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			switch d.Cmd {
			case "append": // the bytes, and what they are read as where that is another message
				m := parse(t, c, d.Input)
				raw, err := c.Append(nil, &m)
				if err != nil {
					return err.Error() + "\n"
				}
				back, err := c.Decode(raw)
				if err != nil || !reflect.DeepEqual(back, m) {
					t.Fatalf("%s is read as %v: %s", raw, err, dump(c, &back))
				}
				return visible(raw) + "\n"
			case "decode": // the fields, or the error and its answer
				return decode(c, []byte(strings.ReplaceAll(strings.ReplaceAll(d.Input, "\n", ""), "~", " ")))
			case "respond": // the response to the fields
				m := parse(t, c, d.Input)
				code := ""
				d.ScanArgs(t, "code", &code)
				response, ok := c.Respond(&m, ResponseCode(code))
				if !ok {
					return "no response\n"
				}
				return dump(c, &response)
			default:
				t.Fatalf("unknown command %q", d.Cmd)
				return ""
			}
		})
	})
}

// visible shows spaces at the end, which an editor would cut, as ~ throughout.
func visible(raw []byte) string { return strings.ReplaceAll(string(raw), " ", "~") }

func parse(t *testing.T, c *Codec, input string) (m Message) {
	t.Helper()
	for line := range strings.Lines(input) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		id, err := strconv.Atoi(name)
		if err != nil {
			t.Fatal(err)
		}
		if id == 0 {
			m.MTI = MTI(value)
		} else if !c.set(&m, c.byID[id], value) {
			t.Fatalf("field %d cannot be %q", id, value)
		}
	}
	return m
}

func decode(c *Codec, raw []byte) string {
	m, err := c.Decode(raw)
	if err == nil {
		return dump(c, &m)
	}
	out := err.Error() + "\n"
	var format *FormatError
	if !errors.As(err, &format) {
		return out + "is no FormatError\n"
	}
	answer, ok := format.Answer()
	if !ok {
		return out + "no answer\n"
	}
	b, err := c.Append(nil, &answer)
	if err != nil {
		return out + "answer: " + err.Error() + "\n"
	}
	return out + "answer: " + visible(b) + "\n"
}

func dump(c *Codec, m *Message) string {
	var out strings.Builder
	fmt.Fprintf(&out, "0 %s\n", string(m.MTI))
	for i := range c.elements {
		if text, ok := c.text(m, &c.elements[i]); text != "" || !ok {
			fmt.Fprintf(&out, "%d %s\n", c.elements[i].id, text)
		}
	}
	return out.String()
}

// Invariant: what Append writes, Decode reads as the same message.
func TestRoundTrip(t *testing.T) {
	c := NewCodec()
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		raw, err := c.Append([]byte("before"), &m)
		if err != nil {
			t.Fatalf("%v of\n%s", err, dump(c, &m))
		}
		back, err := c.Decode(raw[len("before"):])
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Fatalf("%v\n%s\nfrom\n%s", err, dump(c, &back), dump(c, &m))
		}
		if secondBitmap(raw[len("before"):]) != hasAbove64(c, &m) {
			t.Fatalf("a second bitmap without need: %s", raw)
		}
	})
	for _, mti := range everyType() {
		m := sample(mti)
		raw, err := c.Append(nil, &m)
		if err != nil {
			t.Fatalf("%s: %v", string(mti), err)
		}
		if back, err := c.Decode(raw); err != nil || !reflect.DeepEqual(back, m) {
			t.Fatalf("%s: %v", string(mti), err)
		}
	}
}

func secondBitmap(raw []byte) bool { return raw[4] >= '8' }

func hasAbove64(c *Codec, m *Message) bool {
	return slices.ContainsFunc(c.elements, func(e element) bool {
		text, _ := c.text(m, &e)
		return e.id > 64 && text != ""
	})
}

// The smallest message of the facts: a type, a bitmap and three fields. It is no authorization, but every byte of it is read.
func TestMinimalVector(t *testing.T) {
	const vector = "0100" + "7000000000000000" + "16" + "4242424242424242" + "123456" + "000000000100"
	c := NewCodec()
	packed := moov.NewMessage(c.spec)
	packed.MTI("0100")
	for id, value := range map[int]string{2: "4242424242424242", 3: "123456", 4: "000000000100"} {
		if err := packed.Field(id, value); err != nil {
			t.Fatal(err)
		}
	}
	if raw, err := packed.Pack(); err != nil || string(raw) != vector {
		t.Fatalf("%s, %v", raw, err)
	}
	_, err := c.Decode([]byte(vector))
	var format *FormatError
	if !errors.As(err, &format) || format.Field != 7 {
		t.Fatalf("%v", err)
	}
	if want := (Message{MTI: AuthorizationRequest, PAN: "4242424242424242", ProcessingCode: "123456", AmountMinor: 100}); !reflect.DeepEqual(format.request, want) {
		t.Fatalf("read as %s", dump(c, &format.request))
	}
}

// Invariant: the table of elements is what Append and Decode hold: each mandatory field is missed, each other one is refused.
func TestFieldsOfTypes(t *testing.T) {
	c := NewCodec()
	for _, mti := range everyType() {
		column := mti.column()
		for _, e := range c.elements {
			m := sample(mti)
			has := e.use(column) != '-'
			want := 0 // the field that is refused
			switch e.use(column) {
			case '-':
				fill(&m, e)
				want = e.id
			case 'M', 'E':
				clearField(&m, e)
				want = e.id
			case 'O', 'e':
				clearField(&m, e)
			case 'C': // TestConditions
				continue
			default:
				t.Fatalf("field %d has the use %c", e.id, e.use(column))
			}
			if e.id == 4 && has { // an amount of 0 is an amount: only bytes can be without
				want = 0
			}
			_, err := c.Append(nil, &m)
			if got := refused(t, err); got != want {
				t.Errorf("field %d in %s: Append says %v", e.id, string(mti), err)
			}
			_, err = c.Decode(pack(t, c, &m, e.id == 4 && has))
			if e.id == 4 && has {
				want = 4
			}
			if got := refused(t, err); got != want {
				t.Errorf("field %d in %s: Decode says %v", e.id, string(mti), err)
			}
		}
	}
}

// pack writes whatever stands in m, as a sender does who knows no table.
func pack(t *testing.T, c *Codec, m *Message, withoutAmount bool) []byte {
	t.Helper()
	packed := moov.NewMessage(c.spec)
	packed.MTI(string(m.MTI))
	for i := range c.elements {
		e := &c.elements[i]
		text, _ := c.text(m, e)
		if text == "" || e.id == 4 && withoutAmount {
			continue
		}
		if err := packed.Field(e.id, text); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := packed.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// refused is the field of a FormatError, 0 for no error.
func refused(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	var format *FormatError
	if !errors.As(err, &format) {
		t.Fatalf("%v is no FormatError", err)
	}
	return format.Field
}

func TestConditions(t *testing.T) {
	c := NewCodec()
	for _, k := range []struct {
		mti    MTI
		change func(*Message)
		want   int
	}{
		{AuthorizationRequest, func(m *Message) { m.PAN = "" }, 0},
		{AuthorizationRequest, func(m *Message) { m.Track2 = "" }, 0},
		{AuthorizationRequest, func(m *Message) { m.PAN, m.Track2 = "", "" }, 2},
		{AuthorizationRequest, func(m *Message) { m.PAN = "4242424242424242" }, 35},
		{AuthorizationRequest, func(m *Message) { m.Track2 = "40001290736590123=2912" }, 35},
		{AuthorizationAdviceRepeat, func(m *Message) { m.PAN, m.Track2 = "", "" }, 2},
		{FinancialRequest, func(m *Message) { m.PAN, m.Track2 = "", "" }, 2},
		{ReversalAdvice, func(m *Message) { m.PAN = "" }, 2},
		{AuthorizationResponse, func(m *Message) { m.PAN = "" }, 0},
		{AuthorizationResponse, func(m *Message) { m.AuthCode = "" }, 38},
		{AuthorizationResponse, func(m *Message) { m.AuthCode, m.ResponseCode = "", ResponsePartiallyApproved }, 38},
		{AuthorizationResponse, func(m *Message) { m.AuthCode, m.ResponseCode = "", ResponseInsufficientFunds }, 0},
		{FinancialResponse, func(m *Message) { m.AuthCode = "" }, 38},
		{AuthorizationRequest, func(m *Message) { m.MAC = m.MACExtended }, 64},
		{AuthorizationRequest, func(m *Message) { m.MAC, m.MACExtended = m.MACExtended, "" }, 64},
		{AuthorizationRequest, func(m *Message) { m.ReceivingID, m.Account = "", "" }, 128},
		{AuthorizationRequest, func(m *Message) { m.ReceivingID, m.Account, m.MAC, m.MACExtended = "", "", m.MACExtended, "" }, 0},
		{AuthorizationRequest, func(m *Message) { m.MACExtended = "" }, 0},
		// A refusal of what could not be read has what could be.
		{AuthorizationResponse, func(m *Message) { *m = Message{MTI: m.MTI, STAN: m.STAN, ResponseCode: "30"} }, 0},
		{AuthorizationResponse, func(m *Message) { *m = Message{MTI: m.MTI, STAN: m.STAN, ResponseCode: "96"} }, 3},
		{AuthorizationResponse, func(m *Message) { *m = Message{MTI: m.MTI, ResponseCode: "30"} }, 11},
		{NetworkResponse, func(m *Message) { *m = Message{MTI: m.MTI, STAN: m.STAN, ResponseCode: "30"} }, 0},
		{ReversalAdvice, func(m *Message) { *m = Message{MTI: m.MTI, STAN: m.STAN, ResponseCode: "30"} }, 2},
		{"0101", func(*Message) {}, 0},
	} {
		if k.mti.column() < 0 {
			m := sample(AuthorizationRequest)
			m.MTI = k.mti
			var format *FormatError
			if _, err := c.Append(nil, &m); !errors.As(err, &format) || format.Field != 0 {
				t.Errorf("%s: %v", string(k.mti), err)
			}
			continue
		}
		m := sample(k.mti)
		k.change(&m)
		_, err := c.Append(nil, &m)
		if got := refused(t, err); got != k.want {
			t.Errorf("%s: Append says %v, want field %d", string(k.mti), err, k.want)
		}
		_, err = c.Decode(pack(t, c, &m, false))
		if got := refused(t, err); got != k.want {
			t.Errorf("%s: Decode says %v, want field %d", string(k.mti), err, k.want)
		}
	}
}

// What a caller could put into a message and no reader could take out again.
func TestAppendRefuses(t *testing.T) {
	c := NewCodec()
	for _, k := range []struct {
		field  int
		change func(*Message)
	}{
		{2, func(m *Message) { m.PAN = "4242" }},
		{2, func(m *Message) { m.PAN = "4242 4242 4242 4242" }},
		{4, func(m *Message) { m.AmountMinor = -1 }},
		{4, func(m *Message) { m.AmountMinor = amountMax + 1 }},
		{4, func(m *Message) { m.AmountMinor = -1 << 63 }},
		{7, func(m *Message) { m.TransmissionTime = "0230000000" }},
		{7, func(m *Message) { m.TransmissionTime = "1231240000" }},
		{11, func(m *Message) { m.STAN = "1" }},
		{12, func(m *Message) { m.LocalTime = "236000" }},
		{13, func(m *Message) { m.LocalDate = "0000" }},
		{14, func(m *Message) { m.Expiry = "2913" }},
		{37, func(m *Message) { m.RRN = "12345 " }},
		{41, func(m *Message) { m.Terminal = "T " }},
		{42, func(m *Message) { m.Merchant = "Sé" }},
		{49, func(m *Message) { m.Currency = "986" }},
		{49, func(m *Message) { m.Currency = "HRK" }},
		{54, func(m *Message) { m.AdditionalAmounts[0].Currency = "" }},
		{54, func(m *Message) { m.AdditionalAmounts[0].AccountType = "1" }},
		{54, func(m *Message) { m.AdditionalAmounts[0].AmountMinor = -1 << 63 }},
		{54, func(m *Message) { m.AdditionalAmounts = make([]AdditionalAmount, 7) }},
		{55, func(m *Message) { m.EMV = "9F2" }},
		{55, func(m *Message) { m.EMV = "9f26" }},
		{90, func(m *Message) { m.OriginalData.MTI = ReversalRequest }},
		{90, func(m *Message) { m.OriginalData.MTI = AuthorizationResponse }},
		{90, func(m *Message) { m.OriginalData.STAN = "" }},
		{90, func(m *Message) { m.OriginalData.STAN = "12345a" }},
		{90, func(m *Message) { m.OriginalData.TransmissionTime = "0000000000" }},
		{90, func(m *Message) { m.OriginalData.AcquirerID = "0123" }},
		{90, func(m *Message) { m.OriginalData.ForwarderID = "123456789012" }},
		{95, func(m *Message) { m.ReplacementAmounts.TransactionMinor = -1 }},
		{95, func(m *Message) { m.ReplacementAmounts.SettlementMinor = amountMax + 1 }},
		{95, func(m *Message) { m.ReplacementAmounts.TransactionFeeMinor = feeMax + 1 }},
		{102, func(m *Message) { m.Account = Secret(strings.Repeat("x", 29)) }},
		{128, func(m *Message) { m.MACExtended = "0" }},
	} {
		m := sample(ReversalRequest)
		k.change(&m)
		before := []byte("before")
		got, err := c.Append(before, &m)
		if refused(t, err) != k.field || string(got) != "before" {
			t.Errorf("%s, %v, want field %d", got, err, k.field)
		}
	}
}

// Invariant: no byte that is changed, missing or too many makes a panic or another error than a FormatError, and whatever is
// still read is what is written back.
func TestDamagedMessages(t *testing.T) {
	c := NewCodec()
	for _, mti := range everyType() {
		m := sample(mti)
		raw, err := c.Append(nil, &m)
		if err != nil {
			t.Fatal(err)
		}
		for n := range raw {
			if _, err := c.Decode(raw[:n]); refused(t, err) == 0 && err == nil {
				t.Fatalf("%s cut to %d bytes is read", string(mti), n)
			}
		}
		if _, err := c.Decode(append(slices.Clone(raw), '0')); refused(t, err) != 1 {
			t.Fatalf("%s and a byte: %v", string(mti), err)
		}
		for at := range raw {
			for _, b := range []byte("09 =+-Aa~\x00\x7f\xff") {
				damaged := slices.Clone(raw)
				damaged[at] = b
				survives(t, c, damaged)
			}
		}
	}
}

// survives decodes what came from anywhere.
func survives(t *testing.T, c *Codec, raw []byte) {
	t.Helper()
	m, err := c.Decode(raw)
	if err == nil {
		b, err := c.Append(nil, &m)
		if err != nil {
			t.Fatalf("%q is read and not written: %v", raw, err)
		}
		if back, err := c.Decode(b); err != nil || !reflect.DeepEqual(back, m) {
			t.Fatalf("%q is written as %q and read as another: %v", raw, b, err)
		}
		return
	}
	var format *FormatError
	if !errors.As(err, &format) || format.Name == "" || format.Expected == "" {
		t.Fatalf("%q: %v", raw, err)
	}
	if answer, ok := format.Answer(); ok {
		b, err := c.Append(nil, &answer)
		if err != nil {
			t.Fatalf("%q: the answer cannot be written: %v", raw, err)
		}
		if back, err := c.Decode(b); err != nil || !reflect.DeepEqual(back, answer) {
			t.Fatalf("%q: the answer %q is not read: %v", raw, b, err)
		}
	}
}

// upstream are the messages that moov-io/iso8583 (Apache-2.0) feeds to its own fuzz targets, read from its module, which has
// to be there for this package to be built.
func upstream(t testing.TB) map[string][]byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/moov-io/iso8583").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	dir := strings.TrimSpace(string(out))
	for _, pattern := range []string{"test/testdata/*.dat", "testdata/fuzz/*/*"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no %s in %s: %v", pattern, dir, err)
		}
		for _, path := range paths {
			if files[filepath.Base(path)], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	return files
}

func TestUpstreamMessages(t *testing.T) {
	c := NewCodec()
	for name, raw := range upstream(t) {
		survives(t, c, raw)
		if m, err := c.Decode(raw); err == nil { // other specifications, of other fields
			t.Errorf("%s is read as\n%s", name, dump(c, &m))
		}
	}
}

func FuzzDecode(f *testing.F) {
	c := NewCodec()
	for _, mti := range everyType() {
		m := sample(mti)
		raw, err := c.Append(nil, &m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for _, raw := range upstream(f) {
		f.Add(raw)
	}
	f.Add([]byte("0100" + "7000000000000000" + "16" + "4242424242424242" + "123456" + "000000000100"))
	f.Fuzz(func(t *testing.T, raw []byte) { survives(t, c, raw) })
}

// purchase is an authorization as terminals send it: chip, no private fields.
func purchase() Message {
	m := sample(AuthorizationRequest)
	m.AdditionalData, m.Private, m.ReceivingID, m.Account, m.MACExtended, m.AdditionalAmounts = "", [4]Secret{}, "", "", "", nil
	return m
}

// largest has every field that may stand in an authorization, those of private data as long as they may be.
func largest() Message {
	m := sample(AuthorizationRequest)
	full := Secret(strings.Repeat("x", 999))
	m.AdditionalData, m.Private, m.EMV = full, [4]Secret{full, full, full, full}, Secret(strings.Repeat("A0", 255))
	return m
}

// One codec serves all connections: the race detector has the last word.
func TestCodecIsShared(t *testing.T) {
	c := NewCodec()
	var all sync.WaitGroup
	for _, mti := range everyType() {
		all.Go(func() {
			m := sample(mti)
			for range 20 {
				raw, err := c.Append(nil, &m)
				if err != nil {
					t.Error(err)
				}
				if back, err := c.Decode(raw); err != nil || !reflect.DeepEqual(back, m) {
					t.Errorf("%s: %v", string(mti), err)
				}
			}
		})
	}
	all.Wait()
}

func TestCard(t *testing.T) {
	for _, m := range []Message{{PAN: samplePAN}, {Track2: sampleTrack}, {PAN: samplePAN, Track2: sampleTrack}, {Track2: samplePAN + "D2912"}} {
		if m.Card() != samplePAN {
			t.Error(m)
		}
	}
	if card := (&Message{}).Card(); card != "" {
		t.Errorf("%q", string(card))
	}
}

// The budgets are what moov takes with room for a field or two: a rise says that something became per field or per byte.
func TestAllocations(t *testing.T) {
	c := NewCodec()
	m := purchase()
	buf := make([]byte, 0, 1024)
	raw, err := c.Append(nil, &m)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]struct {
		budget int
		run    func() error
	}{
		"decode":  {decodeAllocs, func() error { _, err := c.Decode(raw); return err }},
		"append":  {appendAllocs, func() error { _, err := c.Append(buf, &m); return err }},
		"respond": {1, func() error { c.Respond(&m, ResponseApproved); return nil }},
	} {
		if n := int(testing.AllocsPerRun(100, func() {
			if err := k.run(); err != nil {
				t.Fatal(err)
			}
		})); n > k.budget {
			t.Errorf("%s: %d allocations, the budget is %d", name, n, k.budget)
		} else {
			t.Logf("%s: %d allocations", name, n)
		}
	}
}

const (
	decodeAllocs = 85
	appendAllocs = 175
)

func BenchmarkDecode(b *testing.B) {
	c := NewCodec()
	for name, m := range map[string]Message{"purchase": purchase(), "largest": largest()} {
		b.Run(name, func(b *testing.B) {
			raw, err := c.Append(nil, &m)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := c.Decode(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	c := NewCodec()
	m := purchase()
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Append(buf, &m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRespond(b *testing.B) {
	c := NewCodec()
	m := purchase()
	b.ReportAllocs()
	for b.Loop() {
		c.Respond(&m, ResponseApproved)
	}
}

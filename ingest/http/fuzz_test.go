package http

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caudalpay/caudal/processors/payment"
)

// seeds adds the saved bodies: what has to be taken, and what has to be refused.
func seeds(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// decodes reads a body the way a handler does; ok is false where it is refused.
func decodes(t *testing.T, body []byte, decode func(*decoder) error) bool {
	t.Helper()
	d := newDecoders().get(body)
	err := decode(d)
	if err == nil {
		err = d.end()
	}
	for _, v := range d.violations {
		if v.Pointer == nil || v.Code == "" || len(*v.Pointer) > pointerMaxBytes {
			t.Fatalf("violation %+v", v)
		}
	}
	ok := err == nil && len(d.violations) == 0
	if len(d.violations) > violationsMax {
		t.Fatalf("%d violations", len(d.violations))
	}
	if ok && !jsontext.Value(body).IsValid() {
		t.Fatalf("taken, and not JSON: %q", body)
	}
	return ok
}

// bodyKinds are the kinds that a body may be read as; KindUnknown is an item of a batch.
func bodyKinds() []payment.Kind {
	return []payment.Kind{
		payment.KindUnknown, payment.KindPayIn, payment.KindPayOut, payment.KindTransfer, payment.KindRefund,
		payment.KindCapture, payment.KindVoid, payment.KindIncrement,
	}
}

// sound says what holds for each request that was taken.
func sound(r *paymentRequest) bool {
	if r.account == "" || r.amount < 0 || len(r.metadata) > metadataMaxBytes || r.kind.Operation() != (r.paymentID != "") {
		return false
	}
	if r.method != methodCard && r.card != (card{}) || r.final && r.kind != payment.KindCapture {
		return false
	}
	if r.kind.Operation() {
		return r.method == "" && (r.amount > 0 || r.kind != payment.KindIncrement) && (r.amount == 0 || r.kind != payment.KindVoid)
	}
	if r.amount == 0 || r.currency == "" {
		return false
	}
	switch r.method {
	case methodBook, methodCash:
		return true
	case methodCard:
		c := r.card
		return r.kind == payment.KindPayIn && r.instrument != "" && len(c.brand) <= brandMax && c.installments >= 1 && c.installments <= installmentsMax &&
			(c.capture == payment.CaptureAutomatic || c.capture == payment.CaptureManual)
	case methodBank:
		return r.kind == payment.KindPayOut && r.counterparty.account != ""
	default:
		return false
	}
}

// Invariant: what is taken is within its limits, and takes the same form again when its values are written anew.
func FuzzPayment(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, kind := range bodyKinds() {
			var r paymentRequest
			if !decodes(t, body, func(d *decoder) error { return d.payment(&r, kind) }) {
				continue
			}
			if kind != payment.KindUnknown && addressed(kind) {
				r.concern(hashedID) // as the address does
			}
			if !sound(&r) {
				t.Fatalf("%q gives %+v", body, r)
			}
			var again paymentRequest
			anew := append([]byte("\n "), bytes.TrimSpace(body)...)
			if !decodes(t, anew, func(d *decoder) error { return d.payment(&again, kind) }) {
				t.Fatalf("%q is refused with white space before it", body)
			}
			if kind != payment.KindUnknown && addressed(kind) {
				again.concern(hashedID)
			}
			if !bytes.Equal(r.canonical(nil), again.canonical(nil)) {
				t.Fatalf("%q has two canonical forms", body)
			}
		}
	})
}

// Invariant: what plain takes, the decoder takes, and both read the same.
func FuzzPlain(f *testing.F) {
	seeds(f)
	f.Add([]byte(benchBody))
	f.Add([]byte(benchBody[:len(benchBody)-1] + `,"instrument":"tok_1","target_currency":"USD"}`))
	f.Add([]byte(`{"kind":"refund","idempotency_key":"k","payment_id":"pi_aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb","amount":12,"reason":"r"} `))
	f.Add([]byte(`{"kind":"void","idempotency_key":"k","payment_id":"` + hashedID + `","amount":12} `))
	f.Add([]byte(`{"amount":12}`))
	for _, odd := range []string{`"card"`, `"bank"`, `"book","capture":"manual"`, `"book","type":"card"`} {
		f.Add([]byte(strings.Replace(benchBody, `"book"`, odd, 1)))
	}
	for _, odd := range []string{`"reference":"twice"`, `"amount":2`, `"method":{"type":"book"}`} {
		f.Add([]byte(benchBody[:len(benchBody)-1] + "," + odd + "}"))
	}
	for _, odd := range []string{"\x7f", "\xff", "\u00e9", "\u0085", `\n`} {
		f.Add([]byte(strings.Replace(benchBody, "order 4711", odd, 1)))
	}
	for _, odd := range []string{"0123", "123.0", "1e3", "9223372036854775808", "-1", "0"} {
		f.Add([]byte(strings.Replace(benchBody, "12345", odd, 1)))
	}
	f.Add([]byte(strings.Replace(benchBody, `"country":"BR"`, `"country":"BR","name":"Ann"`, 1)))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, kind := range bodyKinds() {
			var fast, strict paymentRequest
			p := plain{text: string(body)}
			if !p.payment(&fast, kind) || !p.end() {
				continue
			}
			if !decodes(t, body, func(d *decoder) error { return d.payment(&strict, kind) }) {
				t.Fatalf("the decoder refuses %q", body)
			}
			if !reflect.DeepEqual(fast, strict) {
				t.Fatalf("%q\nplain gives   %+v\ndecoder gives %+v", body, fast, strict)
			}
		}
	})
}

// Invariant: a batch is read alike whether its plain items are read as such or all by the decoder: the same items, the
// same refusals with the same pointers and places.
func FuzzBatch(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	item := `{"kind":"payin","idempotency_key":"k",` + benchBody[1:]
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add([]byte("[" + string(b) + "]"))
		f.Add([]byte("[" + item + ",\n" + string(b) + "," + item + "]"))
	}
	f.Add(mixedBatch(30, 0))
	s, _ := benchServer(f)
	s.cfg.BatchItemsMax = 4
	caller := &Caller{Owner: Owner{Tenant: "sample", Merchant: "shop"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		fast, strict := s.openBatch(caller), s.openBatch(caller)
		defer s.closeBatch(fast)
		defer s.closeBatch(strict)
		got, want := s.readArray(fast, body), s.readArrayStrictly(strict, body)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q\n%+v\n%+v", body, got, want)
		}
		if want != nil {
			return
		}
		if len(fast.items) != len(strict.items) {
			t.Fatalf("%q: %d items, the decoder reads %d", body, len(fast.items), len(strict.items))
		}
		for i := range strict.items {
			a, b := &fast.items[i], &strict.items[i]
			if a.ready != b.ready || a.answer.status != b.answer.status || !bytes.Equal(untraced(a.answer.body), untraced(b.answer.body)) {
				t.Fatalf("%q: item %d\n%s\n%s", body, i, a.answer.body, b.answer.body)
			}
			if b.ready && (a.prepared.id != b.prepared.id || !bytes.Equal(a.prepared.item.Command.GetBodyHash(), b.prepared.item.Command.GetBodyHash())) {
				t.Fatalf("%q: item %d\n%v\n%v", body, i, a.prepared.item.Command, b.prepared.item.Command)
			}
		}
	})
}

// untraced is an answer without what differs from request to request.
func untraced(body []byte) []byte {
	before, _, _ := bytes.Cut(body, []byte(`"trace_id"`))
	return before
}

func FuzzAccount(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		var r accountRequest
		if decodes(t, body, func(d *decoder) error { return d.account(&r) }) &&
			(!isName(r.externalID) || !isName(r.customerID) || len(r.currencies) == 0 || len(r.currencies) > currenciesMax || r.kycLevel < 0 || r.kycLevel > kycLevelMax || r.overdraft < 0 || r.kind == 0) {
			t.Fatalf("%q gives %+v", body, r)
		}
		var level int64
		if decodes(t, body, func(d *decoder) error { return d.kycLevel(&level) }) && (level < 0 || level > kycLevelMax) {
			t.Fatalf("%q gives level %d", body, level)
		}
		decodes(t, body, (*decoder).nothing)
	})
}

func FuzzPrefer(f *testing.F) {
	for _, s := range []string{"", "wait=5", "respond-async, wait=0", `wait="3";a=b`, "wait=99999999999999", ",=;,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p := prefer([][]byte{[]byte(s)}, 1, 30e9); p.wait < 0 || p.wait > 30e9 {
			t.Fatalf("%q waits %v", s, p.wait)
		}
	})
}

func FuzzCursor(f *testing.F) {
	for _, c := range []StatementCursor{{}, {AccountSeq: 1}, {AccountSeq: 1 << 40, Line: 31}} {
		f.Add(encodeCursor(c))
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := decodeCursor(s)
		if !ok {
			return
		}
		if back, ok := decodeCursor(encodeCursor(c)); !ok || back != c {
			t.Fatalf("%q gives %+v, then %+v", s, c, back)
		}
	})
}

func FuzzNormalise(f *testing.F) {
	for _, s := range []string{"", "José  da Silva", "ﬀ ﾊﾞ", "111.444.777-35", "ß\u0301", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if once := NormaliseName(s); NormaliseName(once) != once {
			t.Fatalf("%q gives %q, then %q", s, once, NormaliseName(once))
		}
		if once := NormaliseCode(s); NormaliseCode(once) != once {
			t.Fatalf("%q gives %q, then %q", s, once, NormaliseCode(once))
		}
	})
}

func TestNormalise(t *testing.T) {
	for _, c := range [][3]string{
		{"José  da\tSilva ", "JOSE DA SILVA", "JOSEDASILVA"},
		{"111.444.777-35", "111.444.777-35", "11144477735"},
		{"Łódź ÇÃO", "ŁODZ CAO", "ŁODZCAO"},
		{"jose\u0301", "JOSE", "JOSE"},
	} {
		if NormaliseName(c[0]) != c[1] || NormaliseCode(c[0]) != c[2] {
			t.Errorf("%q: %q, %q", c[0], NormaliseName(c[0]), NormaliseCode(c[0]))
		}
	}
}

// Invariant: a body of testdata/refused is refused whatever it is sent to, one of testdata/taken is taken.
func TestSavedBodies(t *testing.T) {
	decoders := map[string]func(*decoder) error{
		"item":    func(d *decoder) error { return d.payment(&paymentRequest{}, payment.KindUnknown) },
		"payin":   func(d *decoder) error { return d.payment(&paymentRequest{}, payment.KindPayIn) },
		"payout":  func(d *decoder) error { return d.payment(&paymentRequest{}, payment.KindPayOut) },
		"capture": func(d *decoder) error { return d.payment(&paymentRequest{}, payment.KindCapture) },
		"void":    func(d *decoder) error { return d.payment(&paymentRequest{}, payment.KindVoid) },
		"raise":   func(d *decoder) error { return d.payment(&paymentRequest{}, payment.KindIncrement) },
		"account": func(d *decoder) error { return d.account(&accountRequest{}) },
		"level":   func(d *decoder) error { return d.kycLevel(new(int64)) },
		"nothing": (*decoder).nothing,
	}
	for _, folder := range []string{"refused", "taken"} {
		files, err := filepath.Glob("testdata/" + folder + "/*.json")
		if err != nil || len(files) < 10 {
			t.Fatal(len(files), err)
		}
		for _, name := range files {
			body, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			taken := 0
			for _, decode := range decoders {
				if decodes(t, body, decode) {
					taken++
				}
			}
			if taken > 0 != (folder == "taken") {
				t.Errorf("%s: taken by %d decoders", name, taken)
			}
		}
	}
}

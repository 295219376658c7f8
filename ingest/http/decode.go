package http

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caudalpay/caudal/processors/money"
)

// The limits of what a body may hold.
const (
	referenceMaxRunes = 140
	partyMaxRunes     = 140
	metadataMaxBytes  = 2048
	metadataMaxDepth  = 8
	violationsMax     = 20
	pointerMaxBytes   = 200
	parameterMaxBytes = 64
	currenciesMax     = 16
	kycLevelMax       = 3
	secondsPerDay     = 86_400
)

// The codes of violations.
const (
	codeRequired        = "required"
	codeUnknownField    = "unknown_field"
	codeWrongType       = "wrong_type"
	codeNotInteger      = "not_an_integer"
	codeOutOfRange      = "out_of_range"
	codeMalformed       = "malformed"
	codeTooLong         = "too_long"
	codeTooDeep         = "too_deep"
	codeTooMany         = "too_many"
	codeDuplicate       = "duplicate"
	codeUnknownCurrency = "unknown_currency"
	codeNotHeld         = "currency_not_held"
	codeSameAccount     = "same_account"
	codeUnknownPolicy   = "unknown_policy"
	codeUnknown         = "unknown"
	codeConflict        = "conflict"
	codeCardNumber      = "card_number"
	codeNotIssued       = "not_issued"
)

// decoder reads one body token by token: no reflection, no copy of the body, a JSON pointer for whatever is wrong.
// Rules that are broken are collected; a syntax error ends the reading.
type decoder struct {
	buf        bytes.Buffer
	json       jsontext.Decoder
	base       int // length of the pointer of the item that is read, which its violations leave out
	violations []Violation
	scratch    []byte
}

type decoders struct{ pool sync.Pool }

func newDecoders() *decoders {
	return &decoders{pool: sync.Pool{New: func() any { return new(decoder) }}}
}

func (ds *decoders) get(body []byte) *decoder {
	d := ds.pool.Get().(*decoder) //nolint:forcetypeassert // the pool holds nothing else
	d.reset(body)
	return d
}

// put lets go of the body, which belongs to the server.
func (ds *decoders) put(d *decoder) {
	d.reset(nil)
	ds.pool.Put(d)
}

func (d *decoder) reset(body []byte) {
	d.buf = *bytes.NewBuffer(body)
	d.json.Reset(&d.buf)
	d.base = 0
	d.violations = nil
}

// add records a violation at the value read last.
func (d *decoder) add(code, detail string) { d.addAt("", code, detail) }

// addAt records a violation at a member of the value read last.
func (d *decoder) addAt(suffix, code, detail string) {
	if len(d.violations) >= violationsMax {
		return
	}
	pointer := string(d.json.StackPointer())
	if len(pointer) >= d.base {
		pointer = pointer[d.base:]
	}
	pointer = bounded(pointer + suffix)
	d.violations = append(d.violations, Violation{Pointer: &pointer, Code: code, Detail: detail})
}

// bounded keeps a pointer short enough to be sent back, and free of card numbers, which may be a member's name: of any other,
// the ancestor it still names.
func bounded(pointer string) string {
	if len(pointer) > pointerMaxBytes {
		pointer = pointer[:strings.LastIndexByte(pointer[:pointerMaxBytes], '/')]
	}
	for holdsCardNumber(pointer) {
		pointer = pointer[:strings.LastIndexByte(pointer, '/')]
	}
	return pointer
}

// end refuses anything but white space behind the value.
func (d *decoder) end() error {
	_, err := d.json.ReadToken()
	if err == nil {
		return &syntaxError{pointer: "", detail: "data behind the value"}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return d.syntax(err)
}

// syntaxError ends the reading of a body.
type syntaxError struct{ pointer, detail string }

func (e *syntaxError) Error() string { return e.detail }

func (d *decoder) syntax(err error) error {
	var known *syntaxError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, io.EOF):
		return &syntaxError{pointer: "", detail: "the body is empty or ends too early"}
	case errors.As(err, &syntactic):
		detail := "syntax error"
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			detail = "the name stands twice in one object"
		case errors.Is(err, io.ErrUnexpectedEOF):
			detail = "the body ends too early"
		case syntactic.Err != nil:
			detail = syntactic.Err.Error()
		}
		return &syntaxError{pointer: bounded(string(syntactic.JSONPointer)), detail: detail + " (byte " + strconv.FormatInt(syntactic.ByteOffset, 10) + ")"}
	default:
		return &syntaxError{pointer: "", detail: "the body cannot be read"}
	}
}

// object reads an object and gives each name to member, which has to read exactly one value. Anything else than an
// object is a violation. The name is only valid until the value is read.
func (d *decoder) object(member func(name []byte) error) error {
	if d.json.PeekKind() != '{' {
		if _, err := d.json.ReadValue(); err != nil {
			return d.syntax(err)
		}
		d.add(codeWrongType, "an object is expected")
		return nil
	}
	if _, err := d.json.ReadToken(); err != nil {
		return d.syntax(err)
	}
	for {
		switch d.json.PeekKind() {
		case '}':
			_, err := d.json.ReadToken()
			return err
		case '"':
		default:
			_, err := d.json.ReadToken() // says what is wrong
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return d.syntax(err)
		}
		raw, err := d.json.ReadValue()
		if err != nil {
			return d.syntax(err)
		}
		name, err := d.unquote(raw)
		if err != nil {
			return d.syntax(err)
		}
		if err := member(name); err != nil {
			return err
		}
	}
}

// unknown records the member whose name was read last, and skips its value.
func (d *decoder) unknown() error {
	d.add(codeUnknownField, "there is no such field here")
	return d.skip()
}

func (d *decoder) skip() error {
	if err := d.json.SkipValue(); err != nil {
		return d.syntax(err)
	}
	return nil
}

// unquote is the text of a raw JSON string; it aliases raw where there is nothing to unescape.
func (d *decoder) unquote(raw jsontext.Value) ([]byte, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], nil
	}
	var err error
	d.scratch, err = jsontext.AppendUnquote(d.scratch[:0], raw)
	return d.scratch, err
}

// text reads a string; ok is false where the value is something else, which is recorded.
func (d *decoder) text() (text []byte, ok bool, err error) {
	raw, err := d.json.ReadValue()
	if err != nil {
		return nil, false, d.syntax(err)
	}
	if raw.Kind() != '"' {
		d.add(codeWrongType, "a string is expected")
		return nil, false, nil
	}
	text, err = d.unquote(raw)
	if err != nil {
		return nil, false, d.syntax(err)
	}
	return text, true, nil
}

// name reads an id that a merchant chose.
func (d *decoder) name(into *string) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	s := string(text)
	if !isName(s) {
		d.add(codeMalformed, "it has to match "+namePattern)
		return nil
	}
	if holdsCardNumber(s) {
		d.add(codeCardNumber, cardNumberDetail)
		return nil
	}
	*into = s
	return nil
}

const cardNumberDetail = "it looks like it holds a card number, which has no business here: name the card by its token"

// free reads free text of at most limit runes, without control characters and card numbers.
func (d *decoder) free(into *string, limit int) error { return d.guarded(into, limit, holdsCardNumber) }

func (d *decoder) guarded(into *string, limit int, card func(string) bool) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	if utf8.RuneCount(text) > limit {
		d.add(codeTooLong, "at most "+strconv.Itoa(limit)+" characters")
		return nil
	}
	if bytes.ContainsFunc(text, unicode.IsControl) {
		d.add(codeMalformed, "control characters are not taken")
		return nil
	}
	s := string(text)
	if card(s) {
		d.add(codeCardNumber, cardNumberDetail)
		return nil
	}
	*into = s
	return nil
}

// currency reads an ISO 4217 code.
func (d *decoder) currency(into *string) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	code := string(text)
	if _, known := money.Exponent(code); !known {
		d.add(codeUnknownCurrency, "not an active ISO 4217 code")
		return nil
	}
	*into = code
	return nil
}

// integer reads a whole number written as digits only: "1.0", 1e2, -0 and "1" are all refused, because a guess about
// money is worse than an error.
func (d *decoder) integer(into *int64, least, most int64) error {
	raw, err := d.json.ReadValue()
	if err != nil {
		return d.syntax(err)
	}
	if raw.Kind() != '0' {
		d.add(codeNotInteger, "a whole number is expected, not a string or anything else")
		return nil
	}
	if bytes.ContainsAny(raw, ".eE") || string(raw) == "-0" {
		d.add(codeNotInteger, "a whole number of minor units is expected, without point or exponent")
		return nil
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < least || n > most {
		d.add(codeOutOfRange, "from "+strconv.FormatInt(least, 10)+" to "+strconv.FormatInt(most, 10))
		return nil
	}
	*into = n
	return nil
}

// boolean reads true or false.
func (d *decoder) boolean(into *bool) error {
	raw, err := d.json.ReadValue()
	if err != nil {
		return d.syntax(err)
	}
	switch raw.Kind() {
	case 't', 'f':
		*into = raw.Kind() == 't'
	default:
		d.add(codeWrongType, "true or false is expected")
	}
	return nil
}

// The first and last day that may be named. Day 0 means that none is named.
const (
	firstDay = 1
	lastDay  = 84_005 // 2199-12-31
)

// day reads YYYY-MM-DD as days since 1970-01-01.
func (d *decoder) day(into *int32) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	t, perr := time.Parse(time.DateOnly, string(text))
	if perr != nil {
		d.add(codeMalformed, "a date YYYY-MM-DD is expected")
		return nil
	}
	days := t.Unix() / secondsPerDay
	if days < firstDay || days > lastDay {
		d.add(codeOutOfRange, "from 1970-01-02 to 2199-12-31")
		return nil
	}
	*into = int32(days)
	return nil
}

// metadata reads a JSON object and brings it to one form: no white space, names sorted, numbers as they were written.
func (d *decoder) metadata(into *[]byte) error {
	raw, err := d.json.ReadValue()
	if err != nil {
		return d.syntax(err)
	}
	if raw.Kind() != '{' {
		d.add(codeWrongType, "an object is expected")
		return nil
	}
	if depth(raw) > metadataMaxDepth {
		d.add(codeTooDeep, "at most "+strconv.Itoa(metadataMaxDepth)+" levels")
		return nil
	}
	canonical := raw.Clone()
	if err := canonical.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)); err != nil {
		return d.syntax(err)
	}
	if len(canonical) > metadataMaxBytes {
		d.add(codeTooLong, "at most "+strconv.Itoa(metadataMaxBytes)+" bytes")
		return nil
	}
	if metadataHoldsCardNumber(canonical) {
		d.add(codeCardNumber, cardNumberDetail)
		return nil
	}
	*into = canonical
	return nil
}

// depth counts how deep a valid JSON value nests.
func depth(v jsontext.Value) int {
	deepest, now, quoted := 0, 0, false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

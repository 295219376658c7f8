package http

import (
	"math"
	"math/bits"
	"strconv"

	"github.com/caudalpay/caudal/processors/payment"
)

// field is one member of a payment's body; fields is a set of them.
type field = fields

type fields uint32

const (
	fieldKind field = 1 << iota
	fieldKey
	fieldAccount
	fieldToAccount
	fieldPayment
	fieldAmount
	fieldCurrency
	fieldTargetCurrency
	fieldMethod
	fieldReference
	fieldReason
	fieldCounterparty
	fieldInstrument
	fieldEffectiveDate
	fieldMetadata
	fieldFinal
	fieldQuote
)

// fieldNames are in the order of the bits.
func fieldNames() []string {
	return []string{
		"kind", "idempotency_key", "account_id", "to_account_id", "payment_id", "amount", "currency", "target_currency",
		"method", "reference", "reason", "counterparty", "instrument", "effective_date", "metadata", "final", "quote",
	}
}

// taken says which fields a kind takes, and which of them it needs.
func taken(kind payment.Kind) (all, needed fields) {
	const moved = fieldAccount | fieldAmount | fieldCurrency | fieldReference
	switch kind {
	case payment.KindPayIn, payment.KindPayOut:
		needed = moved | fieldMethod
		return needed | fieldTargetCurrency | fieldCounterparty | fieldInstrument | fieldEffectiveDate | fieldMetadata | fieldQuote, needed
	case payment.KindTransfer:
		needed = moved | fieldToAccount
		return needed | fieldTargetCurrency | fieldMetadata | fieldQuote, needed
	case payment.KindFXQuote:
		needed = fieldAccount | fieldAmount | fieldCurrency | fieldTargetCurrency
		return needed, needed
	case payment.KindRefund:
		return fieldPayment | fieldAmount | fieldReason, fieldPayment
	case payment.KindCapture:
		return fieldPayment | fieldAmount | fieldFinal, fieldPayment
	case payment.KindVoid:
		return fieldPayment, fieldPayment
	case payment.KindIncrement:
		needed = fieldPayment | fieldAmount
		return needed, needed
	default:
		return 0, 0
	}
}

// paymentRequest is the body of a payment, or of an operation on one, normalised.
type paymentRequest struct {
	kind           payment.Kind
	key            string // idempotency key
	account        payment.AccountID
	toAccount      payment.AccountID
	paymentID      payment.ID // operations: of the payment concerned
	amount         int64
	currency       string
	targetCurrency string // empty where it is the currency
	method         string
	reference      string
	reason         string
	instrument     string
	counterparty   counterparty
	effectiveDay   int32
	metadata       []byte // canonical JSON object
	card           card   // method card
	final          bool   // CAPTURE: what is left after it is given up
	quote          payment.ID
	seen           fields // of the body
}

type counterparty struct{ name, country, document, account string }

// payment reads one body. kind is the route's, or KindUnknown where the body says it (a batch item).
// The error is a syntaxError; what breaks a rule is in d.violations.
func (d *decoder) payment(r *paymentRequest, kind payment.Kind) error {
	r.kind = kind
	batched := kind == payment.KindUnknown
	known := false
	err := d.object(func(name []byte) error {
		known = true
		f := fieldOf(name)
		if f == 0 || !batched && f&(fieldKind|fieldKey) != 0 {
			return d.unknown()
		}
		r.seen |= f
		return d.paymentField(r, f)
	})
	if err != nil {
		return err
	}
	if !known && len(d.violations) > 0 {
		return nil // not an object
	}
	d.complete(r, batched)
	return nil
}

func fieldOf[T string | []byte](name T) field {
	switch string(name) {
	case "kind":
		return fieldKind
	case "idempotency_key":
		return fieldKey
	case "account_id":
		return fieldAccount
	case "to_account_id":
		return fieldToAccount
	case "payment_id":
		return fieldPayment
	case "amount":
		return fieldAmount
	case "currency":
		return fieldCurrency
	case "target_currency":
		return fieldTargetCurrency
	case "method":
		return fieldMethod
	case "reference":
		return fieldReference
	case "reason":
		return fieldReason
	case "counterparty":
		return fieldCounterparty
	case "instrument":
		return fieldInstrument
	case "effective_date":
		return fieldEffectiveDate
	case "metadata":
		return fieldMetadata
	case "final":
		return fieldFinal
	case "quote":
		return fieldQuote
	default:
		return 0
	}
}

func (d *decoder) paymentField(r *paymentRequest, f field) error {
	switch f {
	case fieldKind:
		return d.kind(&r.kind)
	case fieldKey:
		return d.idempotencyKey(&r.key)
	case fieldAccount:
		return d.accountID(&r.account)
	case fieldToAccount:
		return d.accountID(&r.toAccount)
	case fieldPayment:
		return d.paymentID(&r.paymentID)
	case fieldAmount:
		return d.integer(&r.amount, 1, math.MaxInt64)
	case fieldCurrency:
		return d.currency(&r.currency)
	case fieldTargetCurrency:
		return d.currency(&r.targetCurrency)
	case fieldMethod:
		return d.method(r)
	case fieldReference:
		return d.free(&r.reference, referenceMaxRunes)
	case fieldReason:
		return d.free(&r.reason, referenceMaxRunes)
	case fieldCounterparty:
		return d.counterparty(&r.counterparty)
	case fieldInstrument:
		return d.instrument(&r.instrument)
	case fieldEffectiveDate:
		return d.day(&r.effectiveDay)
	case fieldMetadata:
		return d.metadata(&r.metadata)
	case fieldFinal:
		return d.boolean(&r.final)
	case fieldQuote:
		return d.quote(&r.quote)
	default:
		return d.unknown()
	}
}

// complete checks what only the whole body shows, and normalises.
func (d *decoder) complete(r *paymentRequest, batched bool) {
	if r.kind == payment.KindUnknown {
		if r.seen&fieldKind == 0 {
			d.addAt("/kind", codeRequired, kindWords)
		}
		return // without a kind nothing else can be judged
	}
	missing, odd := r.misfits(batched)
	for ; missing != 0; missing &= missing - 1 {
		d.addAt("/"+fieldNames()[bits.TrailingZeros32(uint32(missing))], codeRequired, "it is missing")
	}
	for ; odd != 0; odd &= odd - 1 {
		d.addAt("/"+fieldNames()[bits.TrailingZeros32(uint32(odd))], codeUnknownField, "kind "+r.kind.String()+" has no such field")
	}
	if r.toItself() {
		d.addAt("/to_account_id", codeSameAccount, "a transfer goes to another account")
	}
	if r.unconverted() {
		d.addAt("/target_currency", codeMalformed, "a quote is between two currencies")
	}
	d.fit(r)
	r.normalise()
}

// unconverted holds for what asks for a rate and needs none.
func (r *paymentRequest) unconverted() bool {
	return (r.kind == payment.KindFXQuote || r.quote != "") && r.targetCurrency == r.currency && r.currency != "" ||
		r.quote != "" && r.seen&fieldTargetCurrency == 0
}

// misfits says which fields the kind needs and has not, and which it has and does not take.
func (r *paymentRequest) misfits(batched bool) (missing, odd fields) {
	all, needed := taken(r.kind)
	switch {
	case batched:
		all |= fieldKind | fieldKey
		needed |= fieldKind | fieldKey
	case addressed(r.kind):
		all &^= fieldPayment
		needed &^= fieldPayment
	}
	return needed &^ r.seen, r.seen &^ all
}

// addressed tells the kinds whose payment stands in the address, where they are single writes.
func addressed(k payment.Kind) bool { return k.Operation() && k != payment.KindRefund }

func (r *paymentRequest) toItself() bool {
	return r.kind == payment.KindTransfer && r.toAccount != "" && r.toAccount == r.account
}

// normalise brings what means the same to one form.
func (r *paymentRequest) normalise() {
	if r.kind == payment.KindTransfer {
		r.method = methodBook
	}
	if r.targetCurrency == r.currency {
		r.targetCurrency = ""
	}
	if r.method == methodCard {
		r.card.normalise()
	}
	if r.kind.Operation() && r.paymentID != "" {
		r.concern(r.paymentID)
	}
}

// concern says which payment an operation is about; it lies under the same account.
func (r *paymentRequest) concern(id payment.ID) { r.paymentID, r.account = id, id.Account() }

func (d *decoder) kind(into *payment.Kind) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	k := payKind(text)
	if k == payment.KindUnknown {
		d.add(codeMalformed, kindWords)
		return nil
	}
	*into = k
	return nil
}

const kindWords = "payin, payout, transfer, refund, capture, void or increment"

// payKind is the kind of a payment by its name, or KindUnknown.
func payKind[T string | []byte](name T) payment.Kind {
	for _, k := range [...]payment.Kind{
		payment.KindPayIn, payment.KindPayOut, payment.KindTransfer, payment.KindRefund, payment.KindCapture, payment.KindVoid, payment.KindIncrement,
	} {
		if string(name) == k.String() {
			return k
		}
	}
	return payment.KindUnknown
}

const idempotencyKeyMax = 255

func isIdempotencyKey[T string | []byte](s T) bool {
	if len(s) == 0 || len(s) > idempotencyKeyMax {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func (d *decoder) idempotencyKey(into *string) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	if !isIdempotencyKey(text) {
		d.add(codeMalformed, "1 to "+strconv.Itoa(idempotencyKeyMax)+" visible ASCII characters")
		return nil
	}
	*into = string(text)
	return nil
}

// identified reads a text that parse makes an id of.
func identified[T any](d *decoder, into *T, parse func(string) (T, error), detail string) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	id, perr := parse(string(text))
	if perr != nil {
		d.add(codeMalformed, detail)
		return nil
	}
	*into = id
	return nil
}

func (d *decoder) accountID(into *payment.AccountID) error {
	return identified(d, into, payment.ParseAccountID, "an account id is expected: acc_ and 20 characters")
}

func (d *decoder) paymentID(into *payment.ID) error {
	return identified(d, into, parsePayIn, "the id of a pay-in is expected: pi_ and 40 characters")
}

func (d *decoder) quote(into *payment.ID) error {
	return identified(d, into, parseQuote, "the id of a quote is expected: fq_ and 40 characters")
}

func parsePayIn(s string) (payment.ID, error) { return parseKind(s, payment.KindPayIn) }

func parseQuote(s string) (payment.ID, error) { return parseKind(s, payment.KindFXQuote) }

// parseKind reads the id of one kind alone.
func parseKind(s string, kind payment.Kind) (payment.ID, error) {
	id, err := payment.ParseID(s)
	if err == nil && id.Kind() != kind {
		err = payment.ErrID
	}
	return id, err
}

func (d *decoder) counterparty(into *counterparty) error {
	return d.object(func(name []byte) error {
		switch string(name) {
		case "name":
			return d.free(&into.name, partyMaxRunes)
		case "country":
			return d.country(&into.country)
		case "document":
			return d.free(&into.document, partyMaxRunes)
		case "account":
			return d.guarded(&into.account, partyMaxRunes, accountHoldsCardNumber)
		default:
			return d.unknown()
		}
	})
}

func (d *decoder) country(into *string) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	if !isCountry(text) {
		d.add(codeMalformed, "an ISO 3166-1 alpha-2 code is expected, two capital letters")
		return nil
	}
	*into = string(text)
	return nil
}

func isCountry[T string | []byte](s T) bool {
	return len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z'
}

// instrument reads a token. A row of digits is refused whatever it is: an id that a vault gives has more than that.
func (d *decoder) instrument(into *string) error {
	before := len(d.violations)
	if err := d.name(into); err != nil || len(d.violations) > before {
		return err
	}
	if !isRowOfDigits(*into) {
		return nil
	}
	*into = ""
	d.add(codeMalformed, "the token of a stored instrument is expected, never its number")
	return nil
}

// isRowOfDigits holds for nothing but digits and what may stand between them.
func isRowOfDigits(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && !joins(rune(c)) {
			return false
		}
	}
	return true
}

package http

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/ingest/issuing"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// ClearingAnswer answers POST /clearings. Everything in it is the same in the first decision and in each repetition of it.
type ClearingAnswer struct {
	ClearingID      string   `json:"clearing_id"`
	AuthorizationID string   `json:"authorization_id,omitzero"` // what it collects, as it was named, also where there is none such
	AccountID       string   `json:"account_id"`
	CardID          string   `json:"card_id"`
	Kind            string   `json:"kind"`    // clearing
	Status          string   `json:"status"`  // succeeded, or pending
	Reasons         []string `json:"reasons"` // payment_unknown: posted, and collects nothing that is known; rail_late: waits in suspense. Never null
	Amount          int64    `json:"amount"`
	Currency        string   `json:"currency"`
}

// clearingRequest is the body of POST /clearings. The number goes no further than its key.
type clearingRequest struct {
	issuing.Clearing
	card   payment.CardKey
	number string
}

func (s *Server) postClearings(c *call) answer {
	var r clearingRequest
	if a := s.read(c.ctx.Request.Body(), func(d *decoder) error { return d.clearing(&r) }); a != nil {
		return *a
	}
	key, a := s.idempotencyKey(c)
	if a != nil {
		return *a
	}
	p, problem, err := s.clear(c.caller, &r, key)
	if problem != nil || err != nil {
		return s.refused(problem, err)
	}
	told := s.submit(c, &p, func(d *paymentsv1.Decision) answer {
		s.metrics.cleared.WithLabelValues(clearingResult(d)).Inc()
		return p.cleared(d)
	})
	if told.status == fasthttp.StatusUnprocessableEntity {
		s.metrics.cleared.WithLabelValues(clearingConflict).Inc()
		s.ports.Log.Warn("taking clearing: it is known otherwise", "payment_id", string(p.id), "account", string(p.account))
	}
	return told
}

// clearingResult is what became of a clearing that is in the books.
func clearingResult(d *paymentsv1.Decision) string {
	switch {
	case d.GetOutcome() == paymentsv1.Outcome_OUTCOME_REPEATED:
		return clearingRepeated
	case slices.Contains(d.GetReasons(), paymentsv1.Reason_REASON_PAYMENT_UNKNOWN):
		return clearingUnknown
	case slices.Contains(d.GetReasons(), paymentsv1.Reason_REASON_RAIL_LATE):
		return clearingLate
	default:
		return clearingCleared
	}
}

// clear turns what is told of a clearing into a command to the account of the card, which is the caller's own.
func (s *Server) clear(caller *Caller, r *clearingRequest, key string) (prepared, *Problem, error) {
	now := s.ports.Now()
	if wrong := r.misdated(now); len(wrong) > 0 {
		return prepared{}, s.problems.make(ErrorInvalidRequest, "", wrong...), nil
	}
	h, pointer := issuing.Holder{Key: r.card}, "/card_id"
	if r.number != "" {
		h.Key, pointer = s.ports.Sealer.CardKey(r.number), "/number"
	}
	known := false
	if h.Card, known = s.ports.Cards.Card(h.Key); known {
		h.Account, known = s.owned(caller, h.Card.Account)
	}
	if !known {
		return prepared{}, s.problems.make(ErrorCardUnknown, "", violation(pointer, codeUnknown, "no such card of yours")), nil
	}
	var err error
	if h.Pins, err = s.ports.Pins.Pin(h.Account.Policy); err != nil {
		return prepared{}, nil, fmt.Errorf("pinning reference data: %w", err)
	}
	cmd := r.Command(&h, now, s.ports.Sealer.AppendBodyHash)
	// The log knows an item by its match key. The door remembers the caller's key alone, for as long as it can: under one key there
	// is one item, said in one way.
	said := door.Canonical(nil).Text("clearing").Text(cmd.GetCommandId()).Text(cmd.GetPaymentId()).Flag(r.Partial).Raw(cmd.GetBodyHash())
	return prepared{
		item: Item{Key: string(h.Card.Account), Command: cmd}, kind: payment.KindClearing, account: h.Card.Account, id: r.ID(h.Card.Account),
		identity: onceUnder(caller, "clearing ", key), once: s.ports.Sealer.AppendBodyHash(nil, said),
	}, nil, nil
}

// misdated names the times whose year is not the nearest. A message leaves the year out and is given that one, so that the same item
// would be another one; and what is older than half a year may have left the records, and would be collected again.
func (r *clearingRequest) misdated(now time.Time) (wrong []Violation) {
	far := func(m issuing.Message, from time.Time) bool {
		at, err := m.Key.TransmissionTime.At(from)
		return err != nil || !at.Equal(m.At)
	}
	if far(r.Message, now) {
		wrong = append(wrong, violation("/transmitted_at", codeOutOfRange, "it is more than half a year away"))
	}
	if r.Authorization != (issuing.Message{}) && far(r.Authorization, r.At) {
		wrong = append(wrong, violation("/authorization/transmitted_at", codeOutOfRange, "it is more than half a year from the clearing's"))
	}
	return wrong
}

// cleared answers a clearing: a fact, which stands in the books whatever it collects.
func (p *prepared) cleared(d *paymentsv1.Decision) answer {
	status := payment.Status(d.GetStatus()).String() //nolint:gosec // fits a byte
	return answer{status: fasthttp.StatusCreated, location: p.place(), body: encode(p.clearing(status, reasonsOf(d)))}
}

func (p *prepared) clearing(status string, reasons []string) ClearingAnswer {
	cmd := p.item.Command
	return ClearingAnswer{
		ClearingID: string(p.id), AuthorizationID: cmd.GetPaymentId(), AccountID: string(p.account), CardID: cmd.GetClearing().GetCard(), Kind: p.kind.String(),
		Status: status, Reasons: reasons, Amount: cmd.GetClearing().GetAmountMinor(), Currency: cmd.GetClearing().GetCurrency(),
	}
}

// ParseClearing reads the body of POST /clearings as the door does, and tells what the door would find wrong with it before it looks
// for the card: for who has to know of a whole file before any of it is sent. Nothing of the card's number is in what it gives back.
func ParseClearing(body []byte, now time.Time) (issuing.Clearing, []Violation) {
	var d decoder
	d.reset(body)
	var r clearingRequest
	err := d.clearing(&r)
	if err == nil {
		err = d.end()
	}
	var bad *syntaxError
	switch {
	case errors.As(err, &bad):
		return issuing.Clearing{}, []Violation{violation(bad.pointer, codeMalformed, bad.detail)}
	case err != nil:
		return issuing.Clearing{}, []Violation{violation("", codeMalformed, "the body cannot be read")}
	case len(d.violations) > 0:
		return issuing.Clearing{}, d.violations
	}
	return r.Clearing, r.misdated(now)
}

const feedAmountMax = 999_999_999_999 // 12 digits, as field 4 has

// clearing reads the body of POST /clearings. The error is a syntaxError.
func (d *decoder) clearing(r *clearingRequest) error {
	before, cards, named := len(d.violations), 0, false
	needed := []string{"processing_code", "amount", "currency", "transmitted_at", "stan", "acquirer", "terminal", "merchant", "mcc", "rrn"}
	r.Key.Class = iso8583.ClassFinancial
	err := d.members(needed, func(name string) error {
		switch name {
		case "card_id":
			cards++
			return d.cardID(&r.card)
		case "number":
			cards++
			return d.cardNumber(&r.number)
		case "processing_code":
			return d.processingCode(&r.ProcessingCode)
		case "amount":
			return d.integer(&r.AmountMinor, 1, feedAmountMax)
		case "currency":
			return d.currency(&r.Currency)
		case "terminal":
			return d.padded(&r.Key.Terminal, feedTerminalMax, isPrintable)
		case "merchant":
			return d.padded(&r.Merchant, feedMerchantMax, isPrintable)
		case "mcc":
			return d.digits(&r.MCC, feedMCCLength, feedMCCLength)
		case "rrn":
			return d.padded(&r.RRN, feedRRNMax, isAlphanumeric)
		case "partial":
			return d.boolean(&r.Partial)
		case "authorization":
			named = true
			return d.authorization(&r.Authorization)
		default:
			return d.message(&r.Message, name)
		}
	})
	if err != nil {
		return err
	}
	if cards != 1 {
		d.add(codeRequired, "either card_id or number: one of them")
	}
	if r.Partial && r.ProcessingCode != "" && r.Credit() {
		d.addAt("/partial", codeMalformed, "money for the cardholder leaves nothing held: leave it out")
	}
	if named && len(d.violations) == before {
		r.Authorization.Key.Terminal = r.Key.Terminal // as field 90 has none
		if r.Authorization.Key.AcquirerID == "" {
			r.Authorization.Key.AcquirerID = r.Key.AcquirerID
		}
	}
	return nil
}

// authorization reads what a clearing collects, as field 90 names it.
func (d *decoder) authorization(m *issuing.Message) error {
	return d.members([]string{"mti", "transmitted_at", "stan"}, func(name string) error {
		if name != "mti" {
			return d.message(m, name)
		}
		text, ok, err := d.text()
		if err != nil || !ok {
			return err
		}
		switch mti := iso8583.MTI(text).Repeated(); mti {
		case iso8583.AuthorizationRequest, iso8583.AuthorizationAdvice, iso8583.FinancialRequest:
			m.Key.Class = mti.Class()
		default:
			d.add(codeMalformed, "0100, 0120 or 0200: the type of the message that asked for it")
		}
		return nil
	})
}

// message reads what names a message for ever, but its terminal.
func (d *decoder) message(m *issuing.Message, name string) error {
	switch name {
	case "transmitted_at":
		return d.second(m)
	case "stan":
		return d.digits((*string)(&m.Key.STAN), feedSTANLength, feedSTANLength)
	case "acquirer":
		err := d.digits(&m.Key.AcquirerID, 1, feedAcquirerMax)
		m.Key.AcquirerID = iso8583.WithoutZeros(m.Key.AcquirerID)
		return err
	default:
		return d.unknown()
	}
}

// The lengths of the card feed's fields; docs/card-feed.md has them all.
const (
	feedSTANLength       = 6
	feedProcessingLength = 6
	feedMCCLength        = 4
	feedAcquirerMax      = 11
	feedTerminalMax      = 8
	feedMerchantMax      = 15
	feedRRNMax           = 12
)

// second reads when a message was transmitted: its match key has whole seconds.
func (d *decoder) second(m *issuing.Message) error {
	var us int64
	if err := d.moment(&us); err != nil || us == 0 {
		return err
	}
	if us%1e6 != 0 {
		d.add(codeMalformed, "whole seconds, as field 7 has them")
		return nil
	}
	m.At = time.UnixMicro(us).UTC()
	m.Key.TransmissionTime = iso8583.TransmissionTimeOf(m.At)
	return nil
}

func (d *decoder) processingCode(into *string) error {
	var code string
	if err := d.digits(&code, feedProcessingLength, feedProcessingLength); err != nil || code == "" {
		return err
	}
	if !issuing.Debits(code) && !issuing.Credits(code) {
		d.add(codeMalformed, "it begins with 00, 01 or 09, or with 20 where the cardholder gets money")
		return nil
	}
	*into = code
	return nil
}

func (d *decoder) cardID(into *payment.CardKey) error {
	return identified(d, into, payment.ParseCardKey, "a card id is expected, crd_ and 20 characters")
}

// digits reads a text of so many digits.
func (d *decoder) digits(into *string, least, most int) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	if len(text) < least || len(text) > most || strings.Trim(string(text), "0123456789") != "" {
		if least == most {
			d.add(codeMalformed, strconv.Itoa(most)+" digits are expected, as a string")
		} else {
			d.add(codeMalformed, strconv.Itoa(least)+" to "+strconv.Itoa(most)+" digits are expected, as a string")
		}
		return nil
	}
	*into = string(text)
	return nil
}

// padded reads a field that a message fills up with spaces behind: with them or without, it is the same.
func (d *decoder) padded(into *string, most int, is func(rune) bool) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	s := strings.TrimRight(string(text), " ")
	switch {
	case s == "" || len(s) > most || strings.ContainsFunc(s, func(c rune) bool { return !is(c) }):
		d.add(codeMalformed, "1 to "+strconv.Itoa(most)+" characters are expected, as the card feed has them")
	case holdsCardNumber(s):
		d.add(codeCardNumber, cardNumberDetail)
	default:
		*into = s
	}
	return nil
}

func isPrintable(c rune) bool { return ' ' <= c && c <= '~' }

func isAlphanumeric(c rune) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

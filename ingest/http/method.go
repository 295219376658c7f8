package http

import (
	"slices"

	"github.com/caudalpay/caudal/processors/payment"
)

// The methods that need no outside, and those that a rail executes.
const (
	methodBook = "book"
	methodCash = "cash"
	methodCard = "card" // pay-ins
	methodBank = "bank" // payouts
)

const (
	brandMax        = 32
	installmentsMax = 99 // two digits in the messages of the networks
)

// card is what method card takes beside its type. Left out is written as what it means, so that both are one request.
type card struct {
	capture      payment.CaptureMethod
	brand        string
	installments int64
}

// cardMembers are the members of a method that only card takes.
func cardMembers() [3]string { return [...]string{"capture", "brand", "installments"} }

// method reads {"type": ...} and what goes with it. Methods without a rail may carry whatever they like: they are refused
// as a whole. Which kind of payment a rail takes is judged when the whole body is read.
func (d *decoder) method(r *paymentRequest) error {
	before := len(d.violations)
	typed, object := false, false
	var members []string
	err := d.object(func(name []byte) error {
		object = true
		if string(name) == "type" {
			typed = true
			return d.name(&r.method)
		}
		for _, member := range cardMembers() {
			if string(name) == member {
				members = append(members, member)
				return d.cardMember(&r.card, member)
			}
		}
		return d.unknown()
	})
	if err != nil {
		return err
	}
	switch r.method {
	case "":
		if !typed && (object || len(d.violations) == before) {
			d.addAt("/type", codeRequired, "it is missing")
		}
	case methodCard:
	case methodBook, methodCash, methodBank:
		for _, member := range members {
			d.addAt("/"+member, codeUnknownField, "method "+r.method+" has no such field")
		}
	default:
		d.violations = d.violations[:before]
		d.addAt("/type", string(ErrorMethodUnavailable), "no rail exists for this method yet; book and cash settle at once, card takes pay-ins, bank payouts")
	}
	return nil
}

func (d *decoder) cardMember(into *card, member string) error {
	switch member {
	case "capture":
		return d.capture(&into.capture)
	case "brand":
		return d.brand(&into.brand)
	default:
		return d.integer(&into.installments, 1, installmentsMax)
	}
}

func (d *decoder) capture(into *payment.CaptureMethod) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	for _, c := range [...]payment.CaptureMethod{payment.CaptureAutomatic, payment.CaptureManual} {
		if string(text) == c.String() {
			*into = c
			return nil
		}
	}
	d.add(codeMalformed, "automatic or manual")
	return nil
}

// brand reads a word without digits, so that it is no place for a number either.
func (d *decoder) brand(into *string) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	if len(text) == 0 || len(text) > brandMax || slices.ContainsFunc(text, func(c byte) bool { return (c < 'a' || c > 'z') && c != '_' }) {
		d.add(codeMalformed, "a brand is expected in lower case, as visa or mastercard")
		return nil
	}
	*into = string(text)
	return nil
}

// fit checks what a rail asks of the rest of a body.
func (d *decoder) fit(r *paymentRequest) {
	if r.kind != payment.KindPayIn && r.kind != payment.KindPayOut {
		return // has no method, which is told already
	}
	switch {
	case r.method == methodCard && r.kind == payment.KindPayIn:
		if r.seen&fieldInstrument == 0 {
			d.addAt("/instrument", codeRequired, "a card is named by the token of a stored instrument")
		}
	case r.method == methodBank && r.kind == payment.KindPayOut:
		const place = "/counterparty/account"
		if NormaliseCode(r.counterparty.account) == "" && !d.told(place) {
			d.addAt(place, codeRequired, "the bank has to know the account that the money goes to")
		}
	case r.method == methodCard || r.method == methodBank:
		d.addAt("/method/type", string(ErrorMethodUnavailable), "card takes pay-ins, bank takes payouts")
	}
}

// told tells whether something is known to be wrong at a place.
func (d *decoder) told(pointer string) bool {
	return slices.ContainsFunc(d.violations, func(v Violation) bool { return *v.Pointer == pointer })
}

// normalise writes what is left out as what it means.
func (c *card) normalise() {
	if c.capture == payment.CaptureUnspecified {
		c.capture = payment.CaptureAutomatic
	}
	c.installments = max(c.installments, 1)
}

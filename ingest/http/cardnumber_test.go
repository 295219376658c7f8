package http

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caudalpay/caudal/processors/payment"
)

func cardNumbers() map[string]string {
	return map[string]string{
		"visa":                      "4111111111111111",
		"visa of old":               "4222222222222",
		"visa of nineteen":          "4000000000000000006",
		"mastercard":                "5500000000000004",
		"mastercard from 2":         "2223000048400011",
		"amex":                      "371449635398431",
		"diners":                    "30569309025904",
		"diners from 36":            "36700102000000",
		"discover":                  "6011000990139424",
		"jcb":                       "3530111333300000",
		"elo":                       "6362970000457013",
		"hipercard":                 "6062826786276634",
		"unionpay":                  "6200000000000005",
		"groups":                    "4111 1111 1111 1111",
		"dashes":                    "4111-1111-1111-1111",
		"dots":                      "4111.1111.1111.1111",
		"underscores":               "4111_1111_1111_1111",
		"strokes":                   "4111/1111/1111/1111",
		"dashes with spaces":        "4111 - 1111 - 1111 - 1111",
		"unbreakable spaces":        "4111\u00a01111\u00a01111\u00a01111",
		"long dashes":               "4111\u20131111\u20131111\u20131111",
		"amex as printed":           "3714 496353 98431",
		"diners as printed":         "3056 930902 5904",
		"thirteen in groups":        "4222 2222 2222 2",
		"nineteen in groups":        "4000 0000 0000 0000 006",
		"behind a prefix":           "tok_4111111111111111",
		"behind another":            "card4111111111111111",
		"before letters":            "5500000000000004visa",
		"in a sentence":             "the client paid with 4111 1111 1111 1111, says the shop",
		"with its expiry":           "4111111111111111 12/28",
		"with expiry and code":      "4111 1111 1111 1111 12/28 123",
		"track two":                 "4111111111111111=28121010000000000000",
		"behind an order number":    "order 42 4111111111111111",
		"two of them":               "4111 1111 1111 1111 5500 0000 0000 0004",
		"behind a plus":             "+4111111111111111",
		"behind a phone":            "+5511912345678, 4111111111111111",
		"behind other groups":       "2026 4111 1111 1111 1111",
		"in quotes":                 `"4111111111111111"`,
		"behind a long number":      "12345678901234567890 4111111111111111",
		"behind what is no number":  "......4111111111111111",
		"between unlike characters": "ação 4111111111111111 não",
	}
}

func notCardNumbers() map[string]string {
	return map[string]string{
		"nothing":                             "",
		"a name":                              "Maria da Silva",
		"a phone":                             "+55 11 91234-5678",
		"a phone without blanks":              "5511912345676", // its check digit fits
		"a german phone":                      "+4915112345678",
		"a short phone":                       "(11) 91234-5678",
		"cpf":                                 "123.456.789-09",
		"cpf in one piece":                    "12345678909",
		"cnpj":                                "11.222.333/0001-81",
		"cnpj in one piece":                   "11222333000181",
		"cnpj like a diners card":             "36100003000144", // its check digit fits
		"an order whose digit does not":       "4111111111111112",
		"an order that no network has":        "1234567890123452", // its check digit fits
		"milliseconds":                        "1763874000005",
		"microseconds":                        "1763874000000003",
		"nanoseconds":                         "1763874000000000005",
		"a date and a time":                   "2026-11-23 14:05:06.123456",
		"too long a row":                      "41111111111111110000",
		"too short a row":                     "411111111111",
		"a bank slip":                         "34191.79001 01043.510047 91020.150008 8 84560000002000",
		"a bank slip in one piece":            "34191790010104351004791020150008884560000002000",
		"an invoice's key":                    "35261112345678000123550010000001231000001234",
		"an invoice's key in groups":          "4111 1111 1111 1111 4111 1111 1111 1111 4111 1111 1111",
		"a uuid":                              "f47ac10b-58cc-4372-a567-411111111111",
		"a hash":                              "4a1b1c1111d11e1f11a1b1c1",
		"groups that no card prints":          "41111 11111 11111 1",
		"pairs":                               "41 11 11 11 11 11 11 11",
		"letters between":                     "4111a1111b1111c1111",
		"too far apart":                       "4111    1111    1111    1111",
		"commas":                              "4111,1111,1111,1111",
		"a bank account":                      "0001-12345678-9",
		"a token":                             "tok_1NabcDEF23456789ghij",
		"masked":                              "411111******1111",
		"an address":                          "Av. Paulista 1000, 01310-100 São Paulo",
		"amounts":                             "1.000,00 + 2.500,00 = 3.500,00",
		"seventeen digits, as no network has": "41111111111111113",
	}
}

// Invariant: nothing that looks like a card number is taken, and nothing else is refused for looking like one.
func TestCardNumbers(t *testing.T) {
	for name, text := range cardNumbers() {
		if !holdsCardNumber(text) {
			t.Errorf("%s: %q passes", name, text)
		}
	}
	for name, text := range notCardNumbers() {
		if holdsCardNumber(text) {
			t.Errorf("%s: %q is refused", name, text)
		}
	}
	for iban, is := range map[string]bool{
		"DE89 3704 0044 0532 0130 00": true, "DE89370400440532013000": true, "GB82WEST12345698765432": true, "DE88370400440532013000": false,
		"": false, "DE89": false, "4111 1111 1111 1111": false, "de89370400440532013000": false, "DE89 3704 0044 0532 0130 00 0000 0000 0000 0000": false,
	} {
		if isIBAN(iban) != is {
			t.Errorf("%q is an IBAN: %v", iban, !is)
		}
	}
}

// Invariant: the guard stands at each place of a body where somebody could write a number, on the quick way and on the other.
func TestCardNumbersAreRefusedEverywhere(t *testing.T) {
	const account, number = `"account_id":"acc_aaaaaaaaaaaaaaaaaaaa","amount":5,"currency":"BRL"`, "4111 1111 1111 1111"
	const whole = `{` + account + `,"method":{"type":"book"},"reference":""`
	pay := func(kind payment.Kind) func(*decoder) error {
		return func(d *decoder) error { return d.payment(&paymentRequest{}, kind) }
	}
	open := func(d *decoder) error { return d.account(&accountRequest{}) }
	const opening = `"kind":"person","currencies":["BRL"],"kyc_level":1`
	for _, c := range []struct {
		decode        func(*decoder) error
		body, pointer string
	}{
		{pay(payment.KindPayIn), `{` + account + `,"method":{"type":"book"},"reference":"` + number + `"}`, "/reference"},
		{pay(payment.KindPayIn), `{` + account + `,"method":{"type":"book"},"reference":"4111\u0020111111111111"}`, ""}, // groups of 4 and 12
		{pay(payment.KindPayIn), `{` + account + `,"method":{"type":"book"},"reference":"\u0034111111111111111"}`, "/reference"},
		{pay(payment.KindPayIn), whole + `,"instrument":"tok_4111111111111111"}`, "/instrument"},
		{pay(payment.KindPayIn), whole + `,"instrument":"4111-1111-1111-1111"}`, "/instrument"},
		{pay(payment.KindPayIn), whole + `,"counterparty":{"name":"` + number + `"}}`, "/counterparty/name"},
		{pay(payment.KindPayIn), whole + `,"counterparty":{"document":"` + number + `"}}`, "/counterparty/document"},
		{pay(payment.KindPayOut), whole + `,"counterparty":{"account":"` + number + `"}}`, "/counterparty/account"},
		{pay(payment.KindPayOut), whole + `,"counterparty":{"account":"DE12 5001 0517 0648 4898 90"}}`, ""},
		{pay(payment.KindPayIn), whole + `,"metadata":{"a":"` + number + `"}}`, "/metadata"},
		{pay(payment.KindPayIn), whole + `,"metadata":{"a":[{"b":4111111111111111}]}}`, "/metadata"},
		{pay(payment.KindPayIn), whole + `,"metadata":{"4111111111111111":1}}`, "/metadata"},
		{pay(payment.KindPayIn), whole + `,"metadata":{"a":"4111 1111 1111 111\u0031"}}`, "/metadata"},
		{pay(payment.KindPayIn), whole + `,"metadata":{"rooms":[4111,1111,1111,1111],"cnpj":"11222333000181"}}`, ""},
		{pay(payment.KindRefund), `{"payment_id":"pi_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","reason":"` + number + `"}`, "/reason"},
		{open, `{"external_id":"` + strings.ReplaceAll(number, " ", "-") + `","customer_id":"c",` + opening + `}`, "/external_id"},
		{open, `{"external_id":"a","customer_id":"c-4111111111111111",` + opening + `}`, "/customer_id"},
		{open, `{"external_id":"a","customer_id":"12345678909",` + opening + `}`, ""},
	} {
		d := newDecoders().get([]byte(c.body))
		if err := c.decode(d); err != nil {
			t.Fatal(err)
		}
		switch {
		case c.pointer == "" && len(d.violations) > 0:
			t.Errorf("%s is refused: %+v", c.body, d.violations)
		case c.pointer != "" && (len(d.violations) != 1 || *d.violations[0].Pointer != c.pointer || d.violations[0].Code != codeCardNumber):
			t.Errorf("%s: %+v, want %s at %s", c.body, d.violations, codeCardNumber, c.pointer)
		}
		for _, v := range d.violations {
			if strings.Contains(*v.Pointer+v.Detail, "1111") {
				t.Errorf("the refusal tells the number: %+v", v)
			}
		}
		quick := plain{text: c.body}
		if quick.payment(&paymentRequest{}, payment.KindPayIn) && c.pointer != "" {
			t.Errorf("%s passes on the quick way", c.body)
		}
	}
	// A member's name comes back in a pointer, unless it is a number.
	d := newDecoders().get([]byte(whole + `,"4111111111111111":{"x":1},"nonsense":1}`))
	if err := pay(payment.KindPayIn)(d); err != nil || len(d.violations) != 2 || *d.violations[0].Pointer != "" || *d.violations[1].Pointer != "/nonsense" {
		t.Errorf("%+v %v", d.violations, err)
	}
}

// Invariant: a number is found whatever stands around it, as long as that is no digit and nothing that joins numbers.
func FuzzCardNumber(f *testing.F) {
	for _, text := range cardNumbers() {
		f.Add(text, "")
	}
	for _, text := range notCardNumbers() {
		f.Add(text, "x")
	}
	f.Fuzz(func(t *testing.T, before, behind string) {
		holdsCardNumber(before)
		if !holdsCardNumber(before + "x4111111111111111y" + behind) {
			t.Errorf("%q hides a number, or %q does", before, behind)
		}
		metadataHoldsCardNumber(jsontext.Value(before))
		isIBAN(before)
	})
}

func BenchmarkCardNumber(b *testing.B) {
	for b.Loop() {
		holdsCardNumber("order 1234567, two items, to be delivered")
	}
}

package http

import (
	"math"
	"slices"
	"strconv"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// accountRequest is the body of POST /accounts.
type accountRequest struct {
	externalID string
	customerID string
	kind       paymentsv1.AccountKind
	currencies []string
	kycLevel   int64
	overdraft  int64
	policy     string
}

// account reads the body of POST /accounts. The error is a syntaxError.
func (d *decoder) account(r *accountRequest) error {
	needed := []string{"external_id", "customer_id", "kind", "currencies", "kyc_level"}
	object := false
	err := d.object(func(name []byte) error {
		object = true
		if i := slices.Index(needed, string(name)); i >= 0 {
			needed = slices.Delete(needed, i, i+1)
		}
		switch string(name) {
		case "external_id":
			return d.name(&r.externalID)
		case "customer_id":
			return d.name(&r.customerID)
		case "kind":
			return d.accountKind(&r.kind)
		case "currencies":
			return d.currencies(&r.currencies)
		case "kyc_level":
			return d.integer(&r.kycLevel, 0, kycLevelMax)
		case "overdraft_limit":
			return d.integer(&r.overdraft, 0, math.MaxInt64)
		case "policy":
			return d.name(&r.policy)
		default:
			return d.unknown()
		}
	})
	if err != nil || !object && len(d.violations) > 0 {
		return err
	}
	for _, name := range needed {
		d.addAt("/"+name, codeRequired, "it is missing")
	}
	return nil
}

func (d *decoder) accountKind(into *paymentsv1.AccountKind) error {
	text, ok, err := d.text()
	if err != nil || !ok {
		return err
	}
	switch string(text) {
	case "person":
		*into = paymentsv1.AccountKind_ACCOUNT_KIND_PERSON
	case "merchant":
		*into = paymentsv1.AccountKind_ACCOUNT_KIND_MERCHANT
	default:
		d.add(codeMalformed, "person or merchant")
	}
	return nil
}

func (d *decoder) currencies(into *[]string) error {
	if d.json.PeekKind() != '[' {
		if err := d.skip(); err != nil {
			return err
		}
		d.add(codeWrongType, "an array is expected")
		return nil
	}
	if _, err := d.json.ReadToken(); err != nil {
		return d.syntax(err)
	}
	var list []string
	elements := 0
	for d.json.PeekKind() != ']' {
		elements++
		var c string
		if err := d.currency(&c); err != nil {
			return err
		}
		if c != "" && slices.Contains(list, c) {
			d.add(codeDuplicate, "the currency stands twice")
		}
		if c != "" && len(list) < currenciesMax {
			list = append(list, c)
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return d.syntax(err)
	}
	switch {
	case elements == 0:
		d.add(codeRequired, "at least one currency")
	case elements > currenciesMax:
		d.add(codeTooMany, "at most "+strconv.Itoa(currenciesMax)+" currencies")
	}
	*into = list
	return nil
}

// kycLevel reads the body of PUT /customers/{id}/kyc-level.
func (d *decoder) kycLevel(into *int64) error {
	object, seen := false, false
	err := d.object(func(name []byte) error {
		object = true
		if string(name) != "kyc_level" {
			return d.unknown()
		}
		seen = true
		return d.integer(into, 0, kycLevelMax)
	})
	if err == nil && !seen && (object || len(d.violations) == 0) {
		d.addAt("/kyc_level", codeRequired, "it is missing")
	}
	return err
}

// nothing reads an object without members: verdicts have no body of their own.
func (d *decoder) nothing() error {
	return d.object(func([]byte) error { return d.unknown() })
}

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
	return d.members([]string{"external_id", "customer_id", "kind", "currencies", "kyc_level"}, func(name string) error {
		switch name {
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
}

// members reads an object and gives each name to member, as object does; of those needed none may be missing.
func (d *decoder) members(needed []string, member func(name string) error) error {
	before, object := len(d.violations), false
	err := d.object(func(raw []byte) error {
		object = true
		name := string(raw)
		if i := slices.Index(needed, name); i >= 0 {
			needed = slices.Delete(needed, i, i+1)
		}
		return member(name)
	})
	if err != nil || !object && len(d.violations) > before {
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
	var list []string
	elements, err := d.array(func() error {
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
		return nil
	})
	switch {
	case err != nil || elements < 0:
		return err
	case elements == 0:
		d.add(codeRequired, "at least one currency")
	case elements > currenciesMax:
		d.add(codeTooMany, "at most "+strconv.Itoa(currenciesMax)+" currencies")
	}
	*into = list
	return nil
}

// array reads an array: element has to read exactly one value. It counts them; -1 where the value is no array, which is recorded.
func (d *decoder) array(element func() error) (elements int, err error) {
	if d.json.PeekKind() != '[' {
		if err := d.skip(); err != nil {
			return -1, err
		}
		d.add(codeWrongType, "an array is expected")
		return -1, nil
	}
	if _, err := d.json.ReadToken(); err != nil {
		return 0, d.syntax(err)
	}
	for d.json.PeekKind() != ']' {
		elements++
		if err := element(); err != nil {
			return elements, err
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return elements, d.syntax(err)
	}
	return elements, nil
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

package directory

import (
	"strings"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
	directoryv1 "github.com/caudalpay/caudal/schemas/directory/v1"
)

// digest is the 100 bits behind the prefix of an account's or customer's id: 16 bytes where the text takes 40.
type digest struct{ hi, lo uint64 }

const (
	digestChars = 20
	hiChars     = 12
)

// digestOf packs the characters behind a four-character prefix; false where they are no digest.
func digestOf(id string) (d digest, ok bool) {
	if len(id) != 4+digestChars {
		return digest{}, false
	}
	for i, c := range []byte(id[4:]) {
		var v byte
		switch {
		case 'a' <= c && c <= 'z':
			v = c - 'a'
		case '2' <= c && c <= '7':
			v = c - '2' + 26
		default:
			return digest{}, false
		}
		if i < hiChars {
			d.hi = d.hi<<5 | uint64(v)
		} else {
			d.lo = d.lo<<5 | uint64(v)
		}
	}
	return d, true
}

// accountDigest checks an account's id and packs it.
func accountDigest(id payment.AccountID) (digest, bool) {
	if !strings.HasPrefix(string(id), "acc_") {
		return digest{}, false
	}
	return digestOf(string(id))
}

// cardDigest checks a card's key and packs it.
func cardDigest(id payment.CardKey) (digest, bool) {
	if !payment.IsCardKey(string(id)) {
		return digest{}, false
	}
	return digestOf(string(id))
}

// customerDigest packs the key of a customer.
func customerDigest(tenant, merchant, customer string) digest {
	d, _ := digestOf(string(payment.CustomerKeyFrom(tenant, merchant, customer))) // made here, so well-formed
	return d
}

func (d digest) account() payment.AccountID {
	const alphabet = "abcdefghijklmnopqrstuvwxyz234567"
	id := [4 + digestChars]byte{'a', 'c', 'c', '_'}
	hi, lo := d.hi, d.lo
	for i := digestChars - 1; i >= hiChars; i-- {
		id[4+i], lo = alphabet[lo&31], lo>>5
	}
	for i := hiChars - 1; i >= 0; i-- {
		id[4+i], hi = alphabet[hi&31], hi>>5
	}
	return payment.AccountID(id[:])
}

// entry is an account; what many accounts share stands once, in a profile.
type entry struct {
	profile  *profile
	customer string
}

// profile is comparable, so that equal ones are found by lookup. Currencies are joined by commas.
type profile struct{ tenant, merchant, policy, currencies string }

func profileOf(e *directoryv1.AccountEntry) profile {
	s := e.GetState()
	return profile{tenant: e.GetTenant(), merchant: e.GetMerchant(), policy: s.GetPolicy(), currencies: strings.Join(s.GetCurrencies(), ",")}
}

func (e entry) account() door.Account {
	p := e.profile
	return door.Account{Tenant: p.tenant, Merchant: p.merchant, Customer: e.customer, Policy: p.policy, Currencies: p.currencies}
}

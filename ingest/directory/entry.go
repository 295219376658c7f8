package directory

import (
	"strings"

	"github.com/caudalpay/caudal/processors/payment"
	directoryv1 "github.com/caudalpay/caudal/schemas/directory/v1"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// digest is the 100 bits behind the prefix of an account's or customer's id: 16 bytes where the text takes 40.
type digest struct{ hi, lo uint64 }

const (
	digestChars = 20
	hiChars     = 12
)

// digestOf packs the characters behind a four-character prefix; the id's form must have been checked.
func digestOf(id string) digest {
	var d digest
	for i, c := range []byte(id[len(id)-digestChars:]) {
		v := uint64(c - 'a')
		if c < 'a' {
			v = uint64(c-'2') + 26
		}
		if i < hiChars {
			d.hi = d.hi<<5 | v
		} else {
			d.lo = d.lo<<5 | v
		}
	}
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

// entry is an account in about 60 bytes and its two names; what many accounts share stands once, in a profile.
type entry struct {
	profile    *profile
	names      string // customer, then external id
	customerTo uint8  // length of the customer's part
	openedAtUS int64
	seq        uint64
}

// profile is comparable, so that equal ones are found by lookup. Currencies are joined by commas.
type profile struct {
	version                              uint32
	tenant, merchant, policy, currencies string
	kind                                 paymentsv1.AccountKind
	status                               paymentsv1.AccountStatus
	kycLevel                             uint32
	overdraftMinor                       int64
}

func profileOf(e *directoryv1.AccountEntry) profile {
	s := e.GetState()
	return profile{
		version: e.GetVersion(), tenant: e.GetTenant(), merchant: e.GetMerchant(), policy: s.GetPolicy(),
		currencies: strings.Join(s.GetCurrencies(), ","), kind: s.GetKind(), status: s.GetStatus(),
		kycLevel: s.GetKycLevel(), overdraftMinor: s.GetOverdraftLimitMinor(),
	}
}

func (e entry) customer() string { return e.names[:e.customerTo] }

func (e entry) message() *directoryv1.AccountEntry {
	p := e.profile
	return &directoryv1.AccountEntry{
		Version: p.version, Tenant: p.tenant, Merchant: p.merchant, Customer: e.customer(), AccountSeq: e.seq,
		State: &paymentsv1.AccountState{
			ExternalId: e.names[e.customerTo:], Kind: p.kind, Status: p.status, Currencies: strings.Split(p.currencies, ","),
			KycLevel: p.kycLevel, OverdraftLimitMinor: p.overdraftMinor, Policy: p.policy, OpenedAtUs: e.openedAtUS,
		},
	}
}

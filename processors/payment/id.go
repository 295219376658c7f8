// Package payment holds the words every stage shares: ids, commands, records, reasons.
// It refuses to do I/O, to read a clock and to know any wire format.
package payment

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strings"
)

// AccountID is "acc_" and 20 base32 characters: the record key of everything that happens to the account.
type AccountID string

// CustomerKey is "cus_" and 20 base32 characters: the key under which a customer's one account is claimed.
type CustomerKey string

// CardKey is "crd_" and 20 base32 characters: the key under which a card's number is an account's.
type CardKey string

// ID names a payment: a prefix by kind, the account's 20 characters, 20 characters of the idempotency key's digest.
// The prefix is for people; identity is the 40 characters behind it.
type ID string

const (
	accountPrefix  = "acc_"
	customerPrefix = "cus_"
	cardPrefix     = "crd_"
	commandPrefix  = "cmd_"

	authorizationPrefix = "au_"
	digestLen           = 20
)

// ErrID marks a malformed id.
var ErrID = errors.New("malformed id")

//nolint:gochecknoglobals // never changed; the package has no constant for it
var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// digest is 20 base32 characters (100 bits) of SHA-256 over the length-prefixed parts, so that no two lists collide by
// concatenation. Its bytes stand on the stack: each payment needs one.
func digest(parts ...string) string {
	var room [192]byte
	b := room[:0]
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...) //nolint:gosec // a part is far below 4 GB
	}
	const whole = 15 // bytes of whole base32 groups that hold the characters
	var text [whole * 8 / 5]byte
	sum := sha256.Sum256(b)
	idEncoding.Encode(text[:], sum[:whole])
	return string(text[:digestLen])
}

// AccountIDFrom derives an account's id, so that creating an account twice gives the same account without an index.
func AccountIDFrom(tenant, merchant, externalID string) AccountID {
	return AccountID(accountPrefix + digest("account", tenant, merchant, externalID))
}

// CustomerKeyFrom derives the key of a merchant's customer.
func CustomerKeyFrom(tenant, merchant, customer string) CustomerKey {
	return CustomerKey(customerPrefix + digest("customer", tenant, merchant, customer))
}

// IDFrom derives a payment's id from its account and idempotency key; a repeat has the same id whatever its kind.
func IDFrom(kind Kind, account AccountID, merchant, idempotencyKey string) ID {
	return ID(kind.Prefix() + strings.TrimPrefix(string(account), accountPrefix) + digest("payment", merchant, idempotencyKey))
}

// CardKeyFrom derives the key of a card from a keyed digest of its number: the number itself could be guessed from a plain one.
func CardKeyFrom(keyedDigest []byte) CardKey {
	return CardKey(cardPrefix + digest("card", string(keyedDigest)))
}

// CardIDFrom derives the id of an authorization or a clearing from what its acquirer knows it by, with the year. No merchant's
// idempotency key can take it, and neither kind the other's.
func CardIDFrom(kind Kind, account AccountID, matchKey string) ID {
	return ID(kind.Prefix() + strings.TrimPrefix(string(account), accountPrefix) + digest(kind.String(), matchKey))
}

// AuthorizationCode is what the acquirer is told of a granted authorization: a function of its id, so nobody need remember it.
func (id ID) AuthorizationCode() string { return strings.ToUpper(string(id[len(id)-6:])) }

// CommandIDFrom derives the id of a request that is not a payment (opening, verdict, KYC level).
func CommandIDFrom(key, merchant, idempotencyKey string) string {
	return commandPrefix + strings.TrimLeft(key[4:], "_") + digest("command", merchant, idempotencyKey)
}

// ParseAccountID checks the form of an account id.
func ParseAccountID(s string) (AccountID, error) {
	if !strings.HasPrefix(s, accountPrefix) || !isDigest(s[len(accountPrefix):], digestLen) {
		return "", ErrID
	}
	return AccountID(s), nil
}

// IsCustomerKey tells whether a record key is a customer's.
func IsCustomerKey(key string) bool {
	return strings.HasPrefix(key, customerPrefix) && isDigest(key[len(customerPrefix):], digestLen)
}

// IsCardKey tells whether a record key is a card's.
func IsCardKey(key string) bool {
	return strings.HasPrefix(key, cardPrefix) && isDigest(key[len(cardPrefix):], digestLen)
}

// ParseCardKey checks the form of a card's key.
func ParseCardKey(s string) (CardKey, error) {
	if !IsCardKey(s) {
		return "", ErrID
	}
	return CardKey(s), nil
}

// ParseID checks the form of a payment id.
func ParseID(s string) (ID, error) {
	if len(s) != 3+2*digestLen || kindByPrefix(s[:3]) == KindUnknown || !isDigest(s[3:], 2*digestLen) {
		return "", ErrID
	}
	return ID(s), nil
}

// Account is the account whose key the payment lives under.
func (id ID) Account() AccountID { return AccountID(accountPrefix + string(id[3:3+digestLen])) }

// Identity is the id without its kind: what makes two requests the same.
func (id ID) Identity() string { return string(id[3:]) }

// Kind is what the prefix says.
func (id ID) Kind() Kind { return kindByPrefix(string(id[:3])) }

func isDigest(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

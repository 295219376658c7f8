package http

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/go-json-experiment/json"
)

// The scopes of a key. A key without any has all a merchant may have; the operator's has to be named.
const (
	ScopeRead     = "read"     // transactions, accounts, balances, statements
	ScopePayments = "payments" // pay-ins, payouts, transfers, refunds
	ScopeAccounts = "accounts" // opening accounts, KYC levels, cards
	ScopeReviews  = "reviews"  // approve, decline
	ScopeDisputes = "disputes" // evidence, giving in
	ScopeOperator = "operator" // the house's own: what a card network says of the merchant's disputes
)

// Scopes are all of them.
func Scopes() []string {
	return []string{ScopeRead, ScopePayments, ScopeAccounts, ScopeReviews, ScopeDisputes, ScopeOperator}
}

const keyFileMaxBytes = 16 << 20

// Key is one row of the key file: whose it is, and the SHA-256 of the secret, never the secret.
type Key struct {
	KeySHA256 string   `json:"key_sha256"`
	Tenant    string   `json:"tenant"`
	Merchant  string   `json:"merchant"`
	Name      string   `json:"name"`
	Scopes    []string `json:"scopes,omitzero"`
}

// Caller is who sends a request.
type Caller struct {
	Owner
	Name   string
	scopes []string
}

func (c *Caller) may(scope string) bool {
	return len(c.scopes) == 0 && scope != ScopeOperator || slices.Contains(c.scopes, scope)
}

// Keyring finds callers by the digest of their key. The comparison is of digests by map: an attacker who times it
// learns about digests he cannot choose.
type Keyring struct{ callers map[[sha256.Size]byte]*Caller }

// LoadKeys reads a key file: a JSON list of Key.
func LoadKeys(path string) (*Keyring, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	if info.Size() > keyFileMaxBytes {
		return nil, fmt.Errorf("reading keys: %s is larger than %d bytes", path, keyFileMaxBytes)
	}
	b, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	var keys []Key
	if err := json.Unmarshal(b, &keys, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("decoding keys of %s: %w", path, err)
	}
	return NewKeyring(keys)
}

// NewKeyring checks the keys and refuses a digest that stands twice.
func NewKeyring(keys []Key) (*Keyring, error) {
	if len(keys) == 0 {
		return nil, errors.New("checking keys: none, so nobody could call")
	}
	ring := &Keyring{callers: make(map[[sha256.Size]byte]*Caller, len(keys))}
	for i, k := range keys {
		raw, err := hex.DecodeString(k.KeySHA256)
		if err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("checking keys: row %d: key_sha256 is not 64 hexadecimal digits", i)
		}
		if !isName(k.Tenant) || !isName(k.Merchant) || !isName(k.Name) {
			return nil, fmt.Errorf("checking keys: row %d: tenant, merchant and name have to match %s", i, namePattern)
		}
		for _, s := range k.Scopes {
			if !slices.Contains(Scopes(), s) {
				return nil, fmt.Errorf("checking keys: row %d: unknown scope %q", i, s)
			}
		}
		sum := [sha256.Size]byte(raw)
		if ring.callers[sum] != nil {
			return nil, fmt.Errorf("checking keys: row %d: the same key as another row", i)
		}
		ring.callers[sum] = &Caller{Owner: Owner{Tenant: k.Tenant, Merchant: k.Merchant}, Name: k.Name, scopes: slices.Clone(k.Scopes)}
	}
	return ring, nil
}

// Knows says whether a secret is somebody's key.
func (k *Keyring) Knows(secret string) bool { return k.callers[sha256.Sum256([]byte(secret))] != nil }

// caller finds who holds the key of an Authorization header.
func (k *Keyring) caller(authorization []byte) (*Caller, bool) {
	const scheme = "bearer "
	if len(authorization) <= len(scheme) || !equalFold(authorization[:len(scheme)], scheme) {
		return nil, false
	}
	c, ok := k.callers[sha256.Sum256(authorization[len(scheme):])]
	return c, ok
}

func equalFold(b []byte, lower string) bool {
	for i := range len(lower) {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

const (
	namePattern = "[A-Za-z0-9._:@-]{1,64}"
	nameMax     = 64
)

// isName holds for the ids that merchants choose.
func isName(s string) bool {
	if s == "" || len(s) > nameMax {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == ':', c == '@', c == '-':
		default:
			return false
		}
	}
	return true
}

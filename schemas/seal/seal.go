// Package seal keeps personal data off the logs: it seals Personal into Sealed (AES-256-GCM, nonce first) and makes the
// keyed digests by which requests and counterparties are recognised without being readable.
// It refuses a ciphertext that was changed, one under an unknown key, and a key file that others can read.
package seal

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// The purposes of the sub-keys. Each is the info of an HKDF-SHA-256 expansion: changing one makes old data unreadable.
const (
	purposeSeal  = "caudal/v1/seal"
	purposeBody  = "caudal/v1/body-hash"
	purposeParty = "caudal/v1/party-digest"
	purposeCard  = "caudal/v1/card-key"
)

// The errors that callers tell apart.
var (
	ErrUnknownKey = errors.New("sealed under an unknown key")
	ErrTampered   = errors.New("sealed data does not authenticate")
)

// Keyring seals with its newest key and opens with any. Digests are keyed by the oldest key for ever: under another
// key a repeated request would look like a conflict and a blocked party like a stranger. Safe for concurrent use.
type Keyring struct {
	newest string
	id     []byte // newest again: what the newest box authenticates beside the data
	box    *xaes  // of newest
	boxes  map[string]*xaes
	body   *digester
	party  *digester
	card   *digester
}

func newKeyring(f keyFile) (*Keyring, error) {
	entries, secrets, err := f.secrets()
	if err != nil {
		return nil, err
	}
	k := &Keyring{boxes: make(map[string]*xaes, len(entries))}
	for i, e := range entries {
		sub, err := hkdf.Key(sha256.New, secrets[i], nil, purposeSeal, keySize)
		if err != nil {
			return nil, fmt.Errorf("deriving key: %w", err)
		}
		if k.boxes[e.ID], err = newXAES(sub); err != nil {
			return nil, fmt.Errorf("deriving key: %w", err)
		}
		k.newest, k.id, k.box = e.ID, []byte(e.ID), k.boxes[e.ID]
	}
	if k.body, err = newDigester(secrets[0], purposeBody); err != nil {
		return nil, err
	}
	if k.party, err = newDigester(secrets[0], purposeParty); err != nil {
		return nil, err
	}
	if k.card, err = newDigester(secrets[0], purposeCard); err != nil {
		return nil, err
	}
	return k, nil
}

// Seal encrypts p; nothing to hide gives nil.
func (k *Keyring) Seal(p *paymentsv1.Personal) (*paymentsv1.Sealed, error) {
	s := &paymentsv1.Sealed{}
	hidden, err := k.SealInto(s, p)
	if err != nil || !hidden {
		return nil, err // an absent field is how nothing looks on the wire
	}
	return s, nil
}

// SealInto encrypts p into s, in the memory of the ciphertext that s has. It is false where there is nothing to hide; s is
// of no use then.
func (k *Keyring) SealInto(s *paymentsv1.Sealed, p *paymentsv1.Personal) (bool, error) {
	b := append(s.Ciphertext[:0], make([]byte, nonceSize)...)
	b, err := appendPersonal(b, p)
	if err != nil {
		return false, fmt.Errorf("encoding personal data: %w", err)
	}
	if len(b) == nonceSize {
		return false, nil
	}
	if b, err = k.box.seal(b, k.id); err != nil {
		return false, fmt.Errorf("sealing personal data: %w", err)
	}
	s.KeyId, s.Ciphertext = k.newest, b
	return true, nil
}

// appendPersonal writes what proto.Marshal would: all fields are texts.
func appendPersonal(b []byte, p *paymentsv1.Personal) ([]byte, error) {
	for i, text := range [...]string{
		p.GetReference(), p.GetCounterpartyName(), p.GetCounterpartyDocument(), p.GetCounterpartyAccount(), p.GetMetadataJson(), p.GetReason(),
		p.GetNotification(),
	} {
		if text == "" {
			continue
		}
		if !utf8.ValidString(text) {
			return nil, errors.New("a text is not UTF-8")
		}
		b = protowire.AppendString(protowire.AppendTag(b, protowire.Number(i+1), protowire.BytesType), text)
	}
	return b, nil
}

// Open decrypts s; an absent s is an empty Personal.
func (k *Keyring) Open(s *paymentsv1.Sealed) (*paymentsv1.Personal, error) {
	p := &paymentsv1.Personal{}
	if s == nil {
		return p, nil
	}
	box, ok := k.boxes[s.GetKeyId()]
	if !ok {
		return nil, fmt.Errorf("opening personal data: %w %q", ErrUnknownKey, s.GetKeyId())
	}
	plain, err := box.open(s.GetCiphertext(), []byte(s.GetKeyId()))
	if err != nil {
		return nil, fmt.Errorf("opening personal data: %w", ErrTampered)
	}
	if err := proto.Unmarshal(plain, p); err != nil {
		return nil, fmt.Errorf("decoding personal data: %w", err)
	}
	return p, nil
}

// BodyHash is the 32-byte keyed hash of a canonical request body.
func (k *Keyring) BodyHash(canonical []byte) []byte { return k.AppendBodyHash(nil, canonical) }

// AppendBodyHash appends the BodyHash.
func (k *Keyring) AppendBodyHash(b, canonical []byte) []byte { return k.body.append(b, canonical) }

// PartyDigest is the 32-byte keyed digest of a normalised name, document or account.
func (k *Keyring) PartyDigest(normalised string) []byte {
	return k.party.append(nil, []byte(normalised))
}

// CardKey names a card by the keyed digest of its number, under a key of its own: numbers are few enough to be tried one by
// one by whoever has a digest without a key.
func (k *Keyring) CardKey(number string) payment.CardKey {
	var room [sha256.Size]byte
	return payment.CardKeyFrom(k.card.append(room[:0], []byte(number)))
}

// digester is HMAC-SHA-256 under one key; the pool spares the two key blocks of each new HMAC.
type digester struct{ pool sync.Pool }

func newDigester(secret []byte, purpose string) (*digester, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, purpose, keySize)
	if err != nil {
		return nil, fmt.Errorf("deriving key: %w", err)
	}
	return &digester{pool: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}, nil
}

func (d *digester) append(b, text []byte) []byte {
	h := d.pool.Get().(hash.Hash) // the pool holds nothing else
	h.Reset()
	h.Write(text)
	b = h.Sum(b)
	d.pool.Put(h)
	return b
}

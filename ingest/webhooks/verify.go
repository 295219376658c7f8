package webhooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Why a notification is not believed to be its processor's. Only metrics and logs tell them apart.
var (
	errForged  = errors.New("no valid signature")
	errReplay  = errors.New("signed too long ago, or in the future")
	errSecrets = errors.New("configuring the secrets of a webhook")
)

// Header gives all values of a header of the request.
type Header func(name string) []string

// one is the value of a header that stands there once. Two leave open which was checked.
func (h Header) one(name string) string {
	if values := h(name); len(values) == 1 {
		return values[0]
	}
	return ""
}

// Verifier tells whether a request is its processor's. It takes the same time for every wrong secret.
type Verifier interface {
	// verify gives the id of the event, where the scheme signs one.
	verify(h Header, body []byte, now time.Time) (eventID string, err error)
}

// The schemes by which processors prove themselves.
const (
	SchemeStandard = "standard" // Standard Webhooks 1.0.0: signs id, timestamp and body
	SchemeBasic    = "basic"    // HTTP Basic: knows user and password, signs nothing
	SchemeHeader   = "header"   // a header with a fixed value: as little as basic
)

// secretsMax lets one secret follow another: the old one goes when the processor has the new one.
const (
	secretsMax = 2
	secretMin  = 16 // characters of one that is sent along
)

// NewVerifier takes one secret, or two while one follows the other. Header is that of SchemeHeader, tolerance that of
// SchemeStandard: how old or early a timestamp may be. Secrets of SchemeStandard are whsec_ and base64, those of SchemeBasic
// user:password.
func NewVerifier(scheme, header string, tolerance time.Duration, secrets []string) (Verifier, error) {
	if len(secrets) == 0 || len(secrets) > secretsMax {
		return nil, fmt.Errorf("%w: one, or two while one follows the other", errSecrets)
	}
	if (scheme == SchemeHeader) != (header != "") {
		return nil, fmt.Errorf("%w: scheme %s needs a header's name, the others take none", errSecrets, SchemeHeader)
	}
	if scheme == SchemeStandard {
		return newSigned(secrets, tolerance)
	}
	f := &fixed{header: header}
	for _, s := range secrets {
		switch {
		case len(s) < secretMin:
			return nil, fmt.Errorf("%w: at least %d characters", errSecrets, secretMin)
		case scheme == SchemeHeader:
		case scheme == SchemeBasic && strings.Contains(s, ":"):
			f.header, s = "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(s))
		case scheme == SchemeBasic:
			return nil, fmt.Errorf("%w: write user:password", errSecrets)
		default:
			return nil, fmt.Errorf("%w: scheme %q: choose %s, %s or %s", errSecrets, scheme, SchemeStandard, SchemeBasic, SchemeHeader)
		}
		f.digests = append(f.digests, sha256.Sum256([]byte(s)))
	}
	return f, nil
}

// fixed is a header that only the processor knows the value of. It says nothing of the body, nor of when it was sent: what
// makes that bearable is that a notification is only a hint.
type fixed struct {
	header  string
	digests [][sha256.Size]byte
}

func (f *fixed) verify(h Header, _ []byte, _ time.Time) (string, error) {
	got, known := sha256.Sum256([]byte(h.one(f.header))), 0
	for _, want := range f.digests {
		known |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	if known != 1 {
		return "", errForged
	}
	return "", nil
}

// The headers of Standard Webhooks.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

const (
	signaturesMax = 8 // in one header: more than secrets that follow each other
	keyMin        = 24
	eventIDMax    = 256
)

// signed is Standard Webhooks.
type signed struct {
	keys      [][]byte
	tolerance time.Duration
}

func newSigned(secrets []string, tolerance time.Duration) (*signed, error) {
	if tolerance <= 0 {
		return nil, fmt.Errorf("%w: the tolerance must be positive", errSecrets)
	}
	s := &signed{tolerance: tolerance}
	for _, text := range secrets {
		encoded, ok := strings.CutPrefix(text, "whsec_")
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(key) < keyMin {
			return nil, fmt.Errorf("%w: write whsec_ and base64 of at least %d bytes", errSecrets, keyMin)
		}
		s.keys = append(s.keys, key)
	}
	return s, nil
}

func (s *signed) verify(h Header, body []byte, now time.Time) (string, error) {
	id, stamp := h.one(headerID), h.one(headerTimestamp)
	known := 0
	for _, key := range s.keys {
		mac := hmac.New(sha256.New, key)
		_, _ = fmt.Fprintf(mac, "%s.%s.", id, stamp) // a hash takes everything
		_, _ = mac.Write(body)
		want := mac.Sum(nil)
		for i, text := range strings.Fields(h.one(headerSignature)) {
			encoded, is := strings.CutPrefix(text, "v1,")
			got, err := base64.StdEncoding.DecodeString(encoded)
			if is && err == nil && i < signaturesMax {
				known |= subtle.ConstantTimeCompare(got, want)
			}
		}
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if known != 1 || err != nil || id == "" || len(id) > eventIDMax || !utf8.ValidString(id) {
		return "", errForged
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > s.tolerance || age < -s.tolerance {
		return "", errReplay
	}
	return id, nil
}

package hooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// HeaderDelivery tells deliveries of the simulator apart, also where the one it plays names no event.
const HeaderDelivery = "X-Delivery-Id"

// Signer shows a client who sends a webhook.
type Signer func(h http.Header, id string, at time.Time, body []byte)

// Standard signs as Standard Webhooks 1.0.0 says: HMAC-SHA256 over id.timestamp.body.
func Standard(key []byte) Signer {
	return func(h http.Header, id string, at time.Time, body []byte) {
		timestamp := strconv.FormatInt(at.Unix(), 10)
		h.Set(HeaderID, id)
		h.Set(HeaderTimestamp, timestamp)
		h.Set(HeaderSignature, Sign(key, id, timestamp, body))
	}
}

// Fixed sends a header with a fixed value along, and signs nothing.
func Fixed(name, value string) Signer {
	return func(h http.Header, _ string, _ time.Time, _ []byte) { h.Set(name, value) }
}

// Basic sends user:password along as HTTP Basic, and signs nothing.
func Basic(pair string) Signer {
	return Fixed("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
}

// Headers of Standard Webhooks.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// ParseSecret reads a secret as Standard Webhooks writes it: "whsec_" and base64.
func ParseSecret(s string) ([]byte, error) {
	text, ok := strings.CutPrefix(s, "whsec_")
	if !ok {
		return nil, fmt.Errorf("webhook secret: want whsec_ and base64")
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("decoding the webhook secret: %w", err)
	}
	return key, nil
}

// Sign is the signature v1 over id.timestamp.body.
func Sign(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.", id, timestamp) // a hash takes everything
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

package server_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"github.com/caudalpay/caudal/cmd/railsim/hooks"
)

func hmacBase64(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// A vector worked out with openssl: the signature is over id, timestamp and body, with dots between.
func TestSign(t *testing.T) {
	key, err := hooks.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "signature", hooks.Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`)), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	for _, bad := range []string{"", "secret", "whsec_%"} {
		if _, err := hooks.ParseSecret(bad); err == nil {
			t.Errorf("%q is a secret", bad)
		}
	}
}

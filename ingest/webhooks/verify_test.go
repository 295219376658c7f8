package webhooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	secretOld = "whsec_b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZA=="
	secretNew = "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldw=="
	noon      = 1_790_000_000
)

// signature is worked out by other means than the verifier's.
func signature(t testing.TB, secret, id, stamp, body string) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + stamp + "." + body))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func headers(pairs ...string) Header {
	return func(name string) (values []string) {
		for i := 0; i < len(pairs); i += 2 {
			if strings.EqualFold(pairs[i], name) {
				values = append(values, pairs[i+1])
			}
		}
		return values
	}
}

// A vector worked out with openssl by whoever wrote the simulator.
func TestStandardVector(t *testing.T) {
	v, err := NewVerifier(SchemeStandard, "", time.Minute, []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
	if err != nil {
		t.Fatal(err)
	}
	h := headers("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", "1614265330", "webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	if id, err := v.verify(h, []byte(`{"test": 2432232314}`), time.Unix(1614265330, 0)); err != nil || id != "msg_p5jXN8AQM9LWM0D4loKWxJek" {
		t.Errorf("%q %v", id, err)
	}
}

func TestStandard(t *testing.T) {
	const id, body = "msg_1", `{"a":1}`
	v, err := NewVerifier(SchemeStandard, "", 5*time.Minute, []string{secretNew, secretOld})
	if err != nil {
		t.Fatal(err)
	}
	at := func(seconds int64) string { return strconv.FormatInt(seconds, 10) }
	sign := func(secret, id, stamp, body string) string { return signature(t, secret, id, stamp, body) }
	good := sign(secretNew, id, at(noon), body)
	for name, c := range map[string]struct {
		id, stamp, signature, body string
		want                       error
	}{
		"new secret":        {id, at(noon), good, body, nil},
		"old secret":        {id, at(noon), sign(secretOld, id, at(noon), body), body, nil},
		"one of several":    {id, at(noon), "v1,AAAA v1a,BBBB " + good, body, nil},
		"five minutes old":  {id, at(noon - 300), sign(secretNew, id, at(noon-300), body), body, nil},
		"older":             {id, at(noon - 301), sign(secretNew, id, at(noon-301), body), body, errReplay},
		"from the future":   {id, at(noon + 301), sign(secretNew, id, at(noon+301), body), body, errReplay},
		"another body":      {id, at(noon), good, body + " ", errForged},
		"another id":        {"msg_2", at(noon), good, body, errForged},
		"another time":      {id, at(noon + 1), good, body, errForged},
		"another secret":    {id, at(noon), sign("whsec_eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg=", id, at(noon), body), body, errForged},
		"another version":   {id, at(noon), "v2," + strings.TrimPrefix(good, "v1,"), body, errForged},
		"no signature":      {id, at(noon), "", body, errForged},
		"empty signature":   {id, at(noon), "v1,", body, errForged},
		"no id":             {"", at(noon), sign(secretNew, "", at(noon), body), body, errForged},
		"no number":         {id, "now", sign(secretNew, id, "now", body), body, errForged},
		"beyond all years":  {id, "99999999999999999999", sign(secretNew, id, "99999999999999999999", body), body, errForged},
		"far from any time": {id, "9223372036854775807", sign(secretNew, id, "9223372036854775807", body), body, errReplay},
		"long ago":          {id, "-9223372036854775808", sign(secretNew, id, "-9223372036854775808", body), body, errReplay},
		"id that is noise":  {"\xff", at(noon), sign(secretNew, "\xff", at(noon), body), body, errForged},
		"behind too many":   {id, at(noon), strings.Repeat("v1,AAAA ", 8) + good, body, errForged},
	} {
		h := headers("webhook-id", c.id, "webhook-timestamp", c.stamp, "webhook-signature", c.signature)
		if _, err := v.verify(h, []byte(c.body), time.Unix(noon, 0)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	twice := headers("webhook-id", id, "webhook-timestamp", at(noon), "webhook-signature", good, "webhook-signature", good)
	if _, err := v.verify(twice, []byte(body), time.Unix(noon, 0)); !errors.Is(err, errForged) {
		t.Errorf("a header twice: %v", err)
	}
}

func TestFixed(t *testing.T) {
	basic := func(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }
	for name, c := range map[string]struct {
		scheme, header string
		sent           []string
		want           error
	}{
		"header, first":  {SchemeHeader, "X-Cielo-Key", []string{"X-Cielo-Key", "the-first-secret"}, nil},
		"header, second": {SchemeHeader, "X-Cielo-Key", []string{"X-Cielo-Key", "another-secret:x"}, nil},
		"header, wrong":  {SchemeHeader, "X-Cielo-Key", []string{"X-Cielo-Key", "the-first-secreT"}, errForged},
		"header, longer": {SchemeHeader, "X-Cielo-Key", []string{"X-Cielo-Key", "the-first-secret2"}, errForged},
		"header, none":   {SchemeHeader, "X-Cielo-Key", nil, errForged},
		"header, twice":  {SchemeHeader, "X-Cielo-Key", []string{"X-Cielo-Key", "the-first-secret", "X-Cielo-Key", "no"}, errForged},
		"basic":          {SchemeBasic, "", []string{"Authorization", basic("another-secret:x")}, nil},
		"basic, user":    {SchemeBasic, "", []string{"Authorization", basic("another-secre:tx")}, errForged},
		"basic, bare":    {SchemeBasic, "", []string{"Authorization", "another-secret:x"}, errForged},
	} {
		secrets := []string{"the-first-secret", "another-secret:x"}
		if c.scheme == SchemeBasic {
			secrets = secrets[1:]
		}
		v, err := NewVerifier(c.scheme, c.header, 0, secrets)
		if err != nil {
			t.Fatal(name, err)
		}
		if id, err := v.verify(headers(c.sent...), []byte("{}"), time.Now()); !errors.Is(err, c.want) || id != "" {
			t.Errorf("%s: %q %v, want %v", name, id, err, c.want)
		}
	}
}

func TestSecretsThatCannotWork(t *testing.T) {
	for name, c := range map[string]struct {
		scheme, header string
		tolerance      time.Duration
		secrets        []string
	}{
		"none":           {SchemeStandard, "", time.Minute, nil},
		"three":          {SchemeStandard, "", time.Minute, []string{secretOld, secretNew, secretOld}},
		"no whsec":       {SchemeStandard, "", time.Minute, []string{"b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZA=="}},
		"short key":      {SchemeStandard, "", time.Minute, []string{"whsec_b2xk"}},
		"no base64":      {SchemeStandard, "", time.Minute, []string{"whsec_%"}},
		"no tolerance":   {SchemeStandard, "", 0, []string{secretOld}},
		"header named":   {SchemeStandard, "X-A", time.Minute, []string{secretOld}},
		"header unnamed": {SchemeHeader, "", 0, []string{"the-first-secret"}},
		"short":          {SchemeHeader, "X-A", 0, []string{"fifteen-letters"}},
		"empty":          {SchemeHeader, "X-A", 0, []string{""}},
		"no password":    {SchemeBasic, "", 0, []string{"user-and-nothing-else"}},
		"unknown scheme": {"rot13", "", 0, []string{"the-first-secret"}},
	} {
		if _, err := NewVerifier(c.scheme, c.header, c.tolerance, c.secrets); !errors.Is(err, errSecrets) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBucket(t *testing.T) {
	b, now, let := newBucket(10), time.Unix(noon, 0), 0
	for range 100 {
		if b.take(now) {
			let++
		}
	}
	if let != 20 {
		t.Errorf("%d at once, want 20", let)
	}
	if now = now.Add(100 * time.Millisecond); !b.take(now) || b.take(now) {
		t.Error("after a tenth of a second one more, and no second one")
	}
}

// Invariant: what is remembered is bounded, and the last half is always there.
func TestRecent(t *testing.T) {
	r := newRecent(100)
	name := func(i int) recentID { return recentOf("p", strconv.Itoa(i)) }
	for i := range 1000 {
		r.add(name(i))
		if len(r.now)+len(r.old) > 100 {
			t.Fatalf("%d remembered", len(r.now)+len(r.old))
		}
		for back := range min(i, 50) {
			if !r.has(name(i - back)) {
				t.Fatalf("%d forgot the one %d before", i, back)
			}
		}
	}
	if r.has(name(0)) || recentOf("ab", "c") == recentOf("a", "bc") {
		t.Error("the first is remembered, or two are one")
	}
}

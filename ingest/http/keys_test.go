package http

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func keyFor(secret string, scopes ...string) Key {
	sum := sha256.Sum256([]byte(secret))
	return Key{KeySHA256: hex.EncodeToString(sum[:]), Tenant: "sample", Merchant: "shop", Name: "till", Scopes: scopes}
}

func TestKeyFile(t *testing.T) {
	good := `{"key_sha256":"` + keyFor("s").KeySHA256 + `","tenant":"sample","merchant":"shop","name":"till","scopes":["read"]}`
	for text, want := range map[string]string{
		`[` + good + `]`: "",
		`[]`:             "nobody",
		``:               "decoding",
		`{}`:             "decoding",
		`[` + good + `,` + strings.Replace(good, "till", "other", 1) + `]`:  "same key",
		`[` + strings.Replace(good, `"name"`, `"nom"`, 1) + `]`:             "decoding",
		`[` + strings.Replace(good, `"sample"`, `"a b"`, 1) + `]`:           "tenant",
		`[` + strings.Replace(good, `"read"`, `"root"`, 1) + `]`:            "scope",
		`[` + strings.Replace(good, keyFor("s").KeySHA256, "abcd", 1) + `]`: "hexadecimal",
	} {
		path := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ring, err := LoadKeys(path)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", text, err)
		case want == "":
			if c, ok := ring.caller([]byte("Bearer s")); !ok || c.Merchant != "shop" || c.may(ScopePayments) || !c.may(ScopeRead) {
				t.Errorf("caller %+v", c)
			}
			if _, ok := ring.caller([]byte("Bearer S")); ok {
				t.Error("another secret is taken")
			}
		}
	}
	// What decides a merchant's disputes nobody has by having everything.
	all, operator := &Caller{}, &Caller{scopes: []string{ScopeOperator}}
	if all.may(ScopeOperator) || !all.may(ScopeDisputes) || !operator.may(ScopeOperator) || operator.may(ScopeDisputes) {
		t.Error("the operator's scope has to be named")
	}
	if _, err := LoadKeys(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

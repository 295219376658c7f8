package payment_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/payment"
)

var paymentKinds = []payment.Kind{
	payment.KindPayIn, payment.KindPayOut, payment.KindTransfer, payment.KindRefund, payment.KindCapture, payment.KindVoid, payment.KindIncrement,
}

// The derivations are for ever: a vector that changes here makes every stored key and id unreachable.
func TestTables(t *testing.T) {
	datadriven.RunTest(t, "testdata/ids", func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		for line := range strings.Lines(d.Input) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), "|")
			fmt.Fprintf(&out, "%s: %s\n", strings.Join(f, "|"), derive(t, d.Cmd, f))
		}
		return out.String()
	})
}

func derive(t *testing.T, cmd string, f []string) string {
	t.Helper()
	switch cmd {
	case "account": // tenant, merchant, external id
		return string(payment.AccountIDFrom(f[0], f[1], f[2]))
	case "customer": // tenant, merchant, customer
		return string(payment.CustomerKeyFrom(f[0], f[1], f[2]))
	case "payment": // account, merchant, idempotency key
		ids := make([]string, len(paymentKinds))
		for i, k := range paymentKinds {
			ids[i] = string(payment.IDFrom(k, payment.AccountID(f[0]), f[1], f[2]))
		}
		return strings.Join(ids, " ")
	case "command": // key, merchant, idempotency key
		return payment.CommandIDFrom(f[0], f[1], f[2])
	case "parse-account":
		id, err := payment.ParseAccountID(f[0])
		return verdict(string(id), err)
	case "parse":
		id, err := payment.ParseID(f[0])
		if err != nil {
			return verdict(string(id), err)
		}
		return fmt.Sprintf("%s under %s, identity %s", id.Kind(), id.Account(), id.Identity())
	case "customer-key":
		return fmt.Sprint(payment.IsCustomerKey(f[0]))
	default:
		t.Fatalf("unknown command %q", cmd)
		return ""
	}
}

func verdict(id string, err error) string {
	if err != nil {
		return err.Error() + " " + id
	}
	return id
}

// A repeat is found under the same id: whatever the kind, the identity and the account are those of the first request.
func TestARepeatHasTheSameIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tenant, merchant, external := rapid.String().Draw(t, "tenant"), rapid.String().Draw(t, "merchant"), rapid.String().Draw(t, "external")
		key, other := rapid.String().Draw(t, "key"), rapid.String().Draw(t, "other")
		account := payment.AccountIDFrom(tenant, merchant, external)
		if parsed, err := payment.ParseAccountID(string(account)); err != nil || parsed != account {
			t.Fatalf("%s: %v", account, err)
		}
		kind, again := rapid.SampledFrom(paymentKinds).Draw(t, "kind"), rapid.SampledFrom(paymentKinds).Draw(t, "again")
		id, repeat := payment.IDFrom(kind, account, merchant, key), payment.IDFrom(again, account, merchant, key)
		parsed, err := payment.ParseID(string(id))
		if err != nil || parsed.Kind() != kind || parsed.Account() != account || id.Identity() != repeat.Identity() || repeat.Kind() != again {
			t.Fatalf("%s and %s under %s: %v", id, repeat, account, err)
		}
		if key != other && payment.IDFrom(kind, account, merchant, other).Identity() == id.Identity() {
			t.Fatalf("%q and %q have one identity", key, other)
		}
	})
}

// Parts are told apart by their length: moving a character from one to the next is another id.
func TestPartsDoNotRunTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(1, 20, -1).Draw(t, "text")
		cut, other := rapid.IntRange(0, len(text)).Draw(t, "cut"), rapid.IntRange(0, len(text)).Draw(t, "other")
		a := payment.AccountIDFrom("t", text[:cut], text[cut:])
		b := payment.AccountIDFrom("t", text[:other], text[other:])
		if (a == b) != (cut == other) {
			t.Fatalf("%q cut at %d and %d: %s %s", text, cut, other, a, b)
		}
		if c := payment.CustomerKeyFrom("t", text[:cut], text[cut:]); string(c)[4:] == string(a)[4:] || !payment.IsCustomerKey(string(c)) {
			t.Fatalf("customer %s, account %s", c, a)
		}
	})
}

// Every number is either a word of its own or unknown.
func TestWordsAreDistinct(t *testing.T) {
	for name, word := range map[string]func(uint8) string{
		"kind":           func(n uint8) string { return payment.Kind(n).String() },
		"reason":         func(n uint8) string { return payment.Reason(n).String() },
		"outcome":        func(n uint8) string { return payment.Outcome(n).String() },
		"status":         func(n uint8) string { return payment.Status(n).String() },
		"account kind":   func(n uint8) string { return payment.AccountKind(n).String() },
		"expire purpose": func(n uint8) string { return payment.ExpirePurpose(n).String() },
		"rail result":    func(n uint8) string { return payment.RailResult(n).String() },
		"capture method": func(n uint8) string { return payment.CaptureMethod(n).String() },
		"card status":    func(n uint8) string { return payment.CardStatus(n).String() },
	} {
		seen := map[string]uint8{}
		for n := range 256 {
			w := word(uint8(n))
			if first, ok := seen[w]; ok && w != "unknown" {
				t.Errorf("%s %d and %d are both %q", name, first, n, w)
			}
			seen[w] = uint8(n)
		}
		if len(seen) < 3 {
			t.Errorf("%s has the words %v only", name, seen)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("po_abcdefghijklmnopqrstuvwxyz234567abcdefgh")
	f.Add("acc_abcdefghijklmnopqrst")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := payment.ParseID(s); err != nil {
			if !errors.Is(err, payment.ErrID) || id != "" {
				t.Fatalf("%q: %q %v", s, id, err)
			}
		} else if _, err := payment.ParseAccountID(string(id.Account())); err != nil || id.Kind().Prefix()+id.Identity() != s {
			t.Fatalf("%q: account %s, kind %s, identity %s", s, id.Account(), id.Kind(), id.Identity())
		}
		if account, err := payment.ParseAccountID(s); err == nil {
			key := strings.Replace(s, "acc_", "cus_", 1)
			if string(account) != s || !payment.IsCustomerKey(key) || payment.IsCustomerKey(s) {
				t.Fatalf("%q was read as %q", s, account)
			}
		}
	})
}

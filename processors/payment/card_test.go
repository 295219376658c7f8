package payment_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/payment"
)

// No key of a merchant and no other kind takes the identity of an authorization: its record would be overwritten, or refuse it.
func TestCardIDsAreTheAcquirers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		account := payment.AccountIDFrom("t", "m", "a")
		match, other := rapid.String().Draw(t, "match"), rapid.String().Draw(t, "other")
		id, cleared := payment.CardIDFrom(payment.KindAuthorization, account, match), payment.CardIDFrom(payment.KindClearing, account, match)
		for _, x := range []payment.ID{id, cleared} {
			if parsed, err := payment.ParseID(string(x)); err != nil || parsed.Account() != account {
				t.Fatalf("%s: %v", x, err)
			}
		}
		if id.Kind() != payment.KindAuthorization || cleared.Kind() != payment.KindClearing || id.Identity() == cleared.Identity() {
			t.Fatalf("%s and %s", id, cleared)
		}
		if match != other && payment.CardIDFrom(payment.KindAuthorization, account, other) == id {
			t.Fatalf("%q and %q have one id", match, other)
		}
		if merchant := rapid.String().Draw(t, "merchant"); payment.IDFrom(payment.KindPayIn, account, merchant, match).Identity() == id.Identity() {
			t.Fatalf("%q of merchant %q is an authorization", match, merchant)
		}
	})
}

func TestAuthorizationCode(t *testing.T) {
	id := payment.ID("au_abcdefghijklmnopqrstuvwxyz234567abcdef2h7a")
	if code := id.AuthorizationCode(); code != "EF2H7A" {
		t.Errorf("code %q", code)
	}
}

func TestCardKeys(t *testing.T) {
	key := payment.CardKeyFrom([]byte("a keyed digest"))
	if parsed, err := payment.ParseCardKey(string(key)); err != nil || parsed != key || !payment.IsCardKey(string(key)) {
		t.Errorf("%s: %v", key, err)
	}
	if again := payment.CardKeyFrom([]byte("another")); again == key {
		t.Error("two cards with one key")
	}
	for _, s := range []string{"", "4455661234567890", "crd_", "crd_4455661234567890", string(key) + "a", "cus_" + string(key[4:]), "acc_" + string(key[4:])} {
		if _, err := payment.ParseCardKey(s); err == nil || payment.IsCardKey(s) {
			t.Errorf("%q is a card's key", s)
		}
	}
	if payment.IsCustomerKey(string(key)) {
		t.Error("a card is a customer")
	}
}

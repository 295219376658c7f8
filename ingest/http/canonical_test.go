package http

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/processors/payment"
)

const (
	hashedAccount = `"account_id":"acc_aaaaaaaaaaaaaaaaaaaa"`
	hashedFull    = `{` + hashedAccount + `,"amount":1234,"currency":"BRL","target_currency":"USD","method":{"type":"cash"},
		"reference":"order \u00e7 7","instrument":"tok_1","effective_date":"1993-07-05",
		"counterparty":{"name":"Jos\u00e9  da Silva","country":"BR","document":"111.444.777-35","account":"0001/12-3"},"metadata":{"b":[1,2.50],"a":"x"}}`
	hashedPlain = `{` + hashedAccount + `,"amount":9223372036854775807,"currency":"BRL","method":{"type":"book"},"reference":""}`
	hashedCard  = `{` + hashedAccount + `,"amount":1234,"currency":"BRL","method":{"type":"card"},"reference":"r","instrument":"tok_1"}`
	hashedID    = "pi_aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb"
)

// bare keeps hashes without a key, so that they can be written down.
type bare struct{ Sealer }

func (bare) AppendBodyHash(b, canonical []byte) []byte {
	sum := sha256.Sum256(canonical)
	return append(b, sum[:]...)
}

// hashOf is the hash that the command of a body carries.
func hashOf(t *testing.T, kind payment.Kind, body string) string {
	t.Helper()
	var r paymentRequest
	if !decodes(t, []byte(body), func(d *decoder) error { return d.payment(&r, kind) }) {
		t.Fatalf("%s is refused", body)
	}
	return hex.EncodeToString(bare{}.AppendBodyHash(nil, r.canonical(nil)))
}

// Invariant: the canonical form of a request never changes. Its hash is kept with each payment, and a repeat that comes
// after a new version of the house is held against it.
func TestCanonicalFormsStay(t *testing.T) {
	for _, c := range []struct {
		kind       payment.Kind
		body, hash string
	}{
		{payment.KindPayIn, hashedFull, "e504bf049143dc3775c831086ae5e4c84a61c465d122ce5bd0caad175871c8f5"},
		{payment.KindPayOut, hashedFull, "a460a7f3b2165f1e26c518f601091aa165ac3ee9bf5c96cfab385f52075e9c6a"},
		{payment.KindPayIn, hashedPlain, "a6136575b40b7dafebe325a7731e6f984383095cad3085a01a1b0eeabea23c1c"},
		{payment.KindPayOut, hashedPlain, "a009e9e45ad3d1011ea49f470837aad443dd7280e379e105c6e4a7fa145302b0"},
		{payment.KindPayIn, benchBody, "cd9b9e7403ee86f3a919ae7b5f50f154867c68da99e7e66ff1a3e86982a49f0c"},
		{payment.KindPayIn, strings.Replace(benchBody, `"reference"`, `"target_currency":"BRL","reference"`, 1), "cd9b9e7403ee86f3a919ae7b5f50f154867c68da99e7e66ff1a3e86982a49f0c"},
		{payment.KindUnknown, `{"kind":"payin","idempotency_key":"k",` + benchBody[1:], "cd9b9e7403ee86f3a919ae7b5f50f154867c68da99e7e66ff1a3e86982a49f0c"},
		{payment.KindTransfer, `{` + hashedAccount + `,"to_account_id":"acc_bbbbbbbbbbbbbbbbbbbb","amount":5,"currency":"BRL","target_currency":"USD","reference":"r","metadata":{}}`, "64f825728ebcaca7a3d9d8091a51dd405ca6b3d71e1731fd7749a6c37194e5b7"},
		{payment.KindTransfer, `{` + hashedAccount + `,"to_account_id":"acc_bbbbbbbbbbbbbbbbbbbb","amount":5,"currency":"BRL","reference":"r"}`, "05b269f1091b1768e7e201ee87fb19fb4723c146f1d32e76f2126a146d341fd0"},
		{payment.KindRefund, `{"payment_id":"` + hashedID + `"}`, "8ba471caf8257eaa013c163ee61ff44d85f71843e73461725f2932d14fc9a7c4"},
		{payment.KindRefund, `{"payment_id":"` + hashedID + `","amount":12,"reason":"broken"}`, "3db9e6d04aab4336158696cbb221a5a1669afd566fa8815aff40db555817238a"},
		// What rails brought.
		{payment.KindPayIn, hashedCard, "15c4e2b799989c63a3d8d5dc4e57b7d9ec3bf29711034842ab8d695163747303"},
		{payment.KindPayIn, strings.Replace(hashedCard, `"card"`, `"card","installments":1,"capture":"automatic"`, 1), "15c4e2b799989c63a3d8d5dc4e57b7d9ec3bf29711034842ab8d695163747303"},
		{payment.KindPayIn, strings.Replace(hashedCard, `"card"`, `"card","capture":"manual","brand":"visa","installments":12`, 1), "e1937369195f4c9c44f13954225ea884dec866bbe1f16499a40e6a55163d4bf7"},
		{payment.KindPayOut, strings.Replace(hashedFull, "cash", "bank", 1), "6f372fe2fd966b9b2217af402c661b0e7574cec049ba6d7934d6e4fba52883dc"},
		{payment.KindUnknown, `{"kind":"capture","idempotency_key":"k","payment_id":"` + hashedID + `"}`, "2ca4356740c27b790d8663e35cbd8486026607bf559921917789abe650a0af7f"},
		{payment.KindUnknown, `{"kind":"capture","idempotency_key":"k","payment_id":"` + hashedID + `","amount":12,"final":true}`, "af5ce62230e33a6ae960ee20eda57df18f900a5c8f06243b69676559af4d0f38"},
		{payment.KindUnknown, `{"kind":"void","idempotency_key":"k","payment_id":"` + hashedID + `"}`, "b909da5a25a5db046730f0ae3d1d4abad6a851ee11174ec0c38d6df4d9c8bc59"},
		{payment.KindUnknown, `{"kind":"increment","idempotency_key":"k","payment_id":"` + hashedID + `","amount":12}`, "7a1369b8a3922c068cfe2149de721f85ec56b3c7602a7f1dffe42d082b11c1d6"},
	} {
		if got := hashOf(t, c.kind, c.body); got != c.hash {
			t.Errorf("%s %s\nhas the hash %s\nand had      %s", c.kind, c.body, got, c.hash)
		}
	}
}

// Invariant: so do those of the requests that are no payments.
func TestCanonicalFormsOfRequestsStay(t *testing.T) {
	s, _ := benchServer(t)
	s.ports.Sealer = bare{s.ports.Sealer}
	caller := &Caller{Owner: Owner{Tenant: "sample", Merchant: "shop"}, Name: "till"}
	hash := func(p prepared, problem *Problem, err error) string {
		if problem != nil || err != nil {
			t.Fatal(problem, err)
		}
		return hex.EncodeToString(p.item.Command.GetBodyHash())
	}
	level, err := s.level(caller, "c1", "acc_aaaaaaaaaaaaaaaaaaaa", 2, "k")
	for name, got := range map[string][2]string{
		"account": {hash(s.open(caller, &accountRequest{externalID: "e", customerID: "c1", kind: 1, currencies: []string{"BRL", "USD"}, kycLevel: 2, overdraft: 5, policy: "standard"}, "k")), "e4436e273b2d4d709b91b40b5e4a75fb127805c52ae54536da61730bcfe571bb"},
		"level":   {hash(level, nil, err), "0db2810026e9940170d938b14bcae98609748ea1ebd5de992e51b2a9b09a3e18"},
		"approve": {hash(s.verdict(caller, payment.KindApprove, hashedID, "k")), "11637f2297478e8484e543ccc97bff32f839379bdf30531ca7ce56a487848536"},
		"decline": {hash(s.verdict(caller, payment.KindDecline, hashedID, "k")), "dd10995682278899a1a5f5b9aace6743681befad0f9e92fef76e16fffcab41cb"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s has the hash %s, and had %s", name, got[0], got[1])
		}
	}
}

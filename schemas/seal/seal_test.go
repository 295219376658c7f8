package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// The two vectors are those of the C2SP specification of XAES-256-GCM.
func TestXAESVectors(t *testing.T) {
	for _, c := range []struct {
		key              byte
		additional, want string
	}{
		{0x01, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{0x03, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x, err := newXAES(bytes.Repeat([]byte{c.key}, keySize))
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := hex.DecodeString(hex.EncodeToString([]byte("ABCDEFGHIJKLMNOPQRSTUVWX")) + c.want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := x.open(sealed, []byte(c.additional))
		if err != nil || string(got) != "XAES-256-GCM" {
			t.Fatalf("key %#x: got %q, %v", c.key, got, err)
		}
	}
}

func personal() *paymentsv1.Personal {
	return &paymentsv1.Personal{
		Reference: "Aluguel março", CounterpartyName: "João da Silva", CounterpartyDocument: "123.456.789-09",
		CounterpartyAccount: "0001/12345-6", MetadataJson: `{"order":"A-1"}`, Reason: "devolução",
	}
}

func openKeyring(t *testing.T) *Keyring {
	t.Helper()
	k, err := LoadOrCreate(filepath.Join(t.TempDir(), "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealRoundTripHidesEveryField(t *testing.T) {
	k, p := openKeyring(t), personal()
	s, err := k.Seal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{p.GetReference(), p.GetCounterpartyName(), p.GetCounterpartyDocument(), p.GetReason()} {
		if bytes.Contains(s.GetCiphertext(), []byte(secret)) {
			t.Fatalf("ciphertext holds %q", secret)
		}
	}
	got, err := k.Open(s)
	if err != nil || !proto.Equal(got, p) {
		t.Fatalf("got %v, %v", got, err)
	}
	again, err := k.Seal(p)
	if err != nil || bytes.Equal(again.GetCiphertext(), s.GetCiphertext()) {
		t.Fatalf("two seals of one plaintext are alike (%v)", err)
	}
	if none, err := k.Seal(&paymentsv1.Personal{}); none != nil || err != nil {
		t.Fatalf("nothing sealed: %v, %v", none, err)
	}
	if empty, err := k.Open(nil); err != nil || !proto.Equal(empty, &paymentsv1.Personal{}) {
		t.Fatalf("nothing opened: %v, %v", empty, err)
	}
}

// Invariant: what is sealed is what proto writes, whatever fields are empty, and the memory of an earlier seal leaves no
// trace.
func TestSealInto(t *testing.T) {
	k, full := openKeyring(t), personal()
	var s paymentsv1.Sealed
	for without := range 1 << 6 {
		p := proto.CloneOf(full)
		for i, field := range []*string{
			&p.Reference, &p.CounterpartyName, &p.CounterpartyDocument, &p.CounterpartyAccount, &p.MetadataJson, &p.Reason,
		} {
			if without&(1<<i) != 0 {
				*field = ""
			}
		}
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := appendPersonal(nil, p); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v: %x, %v, proto gives %x", p, got, err, want)
		}
		hidden, err := k.SealInto(&s, p)
		if err != nil || hidden != (len(want) > 0) {
			t.Fatalf("%v: %v, %v", p, hidden, err)
		}
		if !hidden {
			continue
		}
		if got, err := k.Open(&s); err != nil || !proto.Equal(got, p) || len(s.GetCiphertext()) != nonceSize+len(want)+16 {
			t.Fatalf("%v opens as %v, %v", p, got, err)
		}
	}
	if _, err := k.Seal(&paymentsv1.Personal{Reason: "\xff"}); err == nil {
		t.Fatal("text that is not UTF-8 was sealed")
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := k.SealInto(&s, full); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Fatalf("%v allocations in memory that is there", n)
	}
}

func TestTamperedIsRefused(t *testing.T) {
	k := openKeyring(t)
	s, err := k.Seal(personal())
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(s.GetCiphertext()) * 8 {
		forged := proto.Clone(s).(*paymentsv1.Sealed)
		forged.Ciphertext[bit/8] ^= 1 << (bit % 8)
		if _, err := k.Open(forged); !errors.Is(err, ErrTampered) {
			t.Fatalf("bit %d flipped: %v", bit, err)
		}
	}
	for n := range len(s.GetCiphertext()) {
		if _, err := k.Open(&paymentsv1.Sealed{KeyId: s.GetKeyId(), Ciphertext: s.GetCiphertext()[:n]}); !errors.Is(err, ErrTampered) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	longer := append(bytes.Clone(s.GetCiphertext()), 0)
	if _, err := k.Open(&paymentsv1.Sealed{KeyId: s.GetKeyId(), Ciphertext: longer}); !errors.Is(err, ErrTampered) {
		t.Fatalf("one byte more: %v", err)
	}
}

func TestUnknownKeyIsRefused(t *testing.T) {
	s, err := openKeyring(t).Seal(personal())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openKeyring(t).Open(s); !errors.Is(err, ErrUnknownKey) {
		t.Fatalf("got %v", err)
	}
}

func writeKeys(t *testing.T, f keyFile, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seal.key")
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func secret(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, keySize))
}

func TestRotationKeepsOldDataAndDigests(t *testing.T) {
	before, err := Load(writeKeys(t, keyFile{[]keyEntry{{"k1", secret(1)}}}, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	after, err := Load(writeKeys(t, keyFile{[]keyEntry{{"k1", secret(1)}, {"k2", secret(2)}}}, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	old, err := before.Seal(personal())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := after.Open(old); err != nil || !proto.Equal(got, personal()) {
		t.Fatalf("old data: %v, %v", got, err)
	}
	fresh, err := after.Seal(personal())
	if err != nil || fresh.GetKeyId() != "k2" {
		t.Fatalf("sealed under %s, %v", fresh.GetKeyId(), err)
	}
	relabelled := &paymentsv1.Sealed{KeyId: "k1", Ciphertext: fresh.GetCiphertext()}
	if _, err := after.Open(relabelled); !errors.Is(err, ErrTampered) {
		t.Fatalf("relabelled: %v", err)
	}
	if !bytes.Equal(before.BodyHash([]byte("x")), after.BodyHash([]byte("x"))) ||
		!bytes.Equal(before.PartyDigest("x"), after.PartyDigest("x")) {
		t.Fatal("rotation changed a digest")
	}
}

func TestDigestsAreKeyedAndApart(t *testing.T) {
	k, other := openKeyring(t), openKeyring(t)
	digests := [][]byte{
		k.BodyHash([]byte("a")), k.BodyHash([]byte("b")), k.PartyDigest("a"), k.PartyDigest("b"),
		other.BodyHash([]byte("a")), other.PartyDigest("a"),
	}
	for i, a := range digests {
		if len(a) != 32 {
			t.Fatalf("digest %d has %d bytes", i, len(a))
		}
		for _, b := range digests[i+1:] {
			if bytes.Equal(a, b) {
				t.Fatal("two digests are alike")
			}
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if !bytes.Equal(k.BodyHash([]byte("a")), digests[0]) {
					t.Error("digest changed under concurrent use")
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	var first [2]*Keyring
	var wg sync.WaitGroup
	for i := range first {
		wg.Go(func() {
			var err error
			if first[i], err = LoadOrCreate(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if first[0].newest != first[1].newest {
		t.Fatal("two processes made two keys")
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*"))
	if err != nil || len(left) != 0 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
	for want, path := range map[string]string{
		"mode 0644":      writeKeys(t, keyFile{[]keyEntry{{"k", secret(1)}}}, 0o644),
		"no key":         writeKeys(t, keyFile{}, 0o600),
		"keys[0].secret": writeKeys(t, keyFile{[]keyEntry{{"k", "c2hvcnQ="}}}, 0o600),
		"keys[0].id":     writeKeys(t, keyFile{[]keyEntry{{"", secret(1)}}}, 0o600),
		"k stands twice": writeKeys(t, keyFile{[]keyEntry{{"k", secret(1)}, {"k", secret(2)}}}, 0o600),
		"no such file":   filepath.Join(t.TempDir(), "absent"),
	} {
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k, err := LoadOrCreate(filepath.Join(f.TempDir(), "seal.key"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := k.Open(&paymentsv1.Sealed{KeyId: k.newest, Ciphertext: b}); !errors.Is(err, ErrTampered) {
			t.Fatalf("opened a forgery: %v", err)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k, err := LoadOrCreate(filepath.Join(b.TempDir(), "seal.key"))
	if err != nil {
		b.Fatal(err)
	}
	p := personal()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Seal(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBodyHash(b *testing.B) {
	k, err := LoadOrCreate(filepath.Join(b.TempDir(), "seal.key"))
	if err != nil {
		b.Fatal(err)
	}
	body := bytes.Repeat([]byte("x"), 300)
	b.ReportAllocs()
	for b.Loop() {
		k.BodyHash(body)
	}
}

package codec_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// sameBytes holds AppendCommand against proto.Marshal, behind bytes that are there already.
func sameBytes(t interface{ Fatalf(string, ...any) }, m *paymentsv1.Command) {
	want, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	got, gotErr := codec.AppendCommand([]byte("before"), m)
	if (err == nil) != (gotErr == nil) {
		t.Fatalf("%v: %v, proto says %v", m, gotErr, err)
	}
	if err == nil && !bytes.Equal(got, append([]byte("before"), want...)) {
		t.Fatalf("%v\n%x\nproto gives\n%x", m, got[len("before"):], want)
	}
}

// Invariant: an appended command is byte for byte what proto writes.
func TestAppendCommand(t *testing.T) {
	for _, c := range sampleCommands() {
		sameBytes(t, codec.CommandToProto(&c, answer))
		sameBytes(t, codec.CommandToProto(&c, codec.Envelope{}))
	}
	sameBytes(t, &paymentsv1.Command{})
	sameBytes(t, &paymentsv1.Command{Body: &paymentsv1.Command_Instruction{}})
	sameBytes(t, &paymentsv1.Command{Body: &paymentsv1.Command_Refund{Refund: &paymentsv1.RefundInstruction{}}})
	sameBytes(t, &paymentsv1.Command{Customer: "\xff", Body: &paymentsv1.Command_Refund{}})
}

func TestAppendCommandDrawn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string { return rapid.StringN(0, 200, 300).Draw(t, name) }
		raw := func(name string) []byte { return rapid.SliceOfN(rapid.Byte(), 0, 20_000).Draw(t, name) }
		maybe := func(name string) bool { return rapid.Bool().Draw(t, name) }
		m := &paymentsv1.Command{
			Version: rapid.Uint32().Draw(t, "version"), Kind: paymentsv1.CommandKind(rapid.Int32().Draw(t, "kind")),
			Tenant: text("tenant"), Merchant: text("merchant"), Customer: text("customer"), Account: text("account"),
			CommandId: text("command"), PaymentId: text("payment"), AcceptedAtUs: rapid.Int64().Draw(t, "at"), BodyHash: raw("hash"),
			ReplyId: rapid.Uint64().Draw(t, "reply"),
		}
		if maybe("waits") {
			m.ReplyPartition = new(rapid.Int32().Draw(t, "partition"))
		}
		if maybe("pinned") {
			m.Pins = &paymentsv1.Pins{Policy: text("policy"), Fees: text("fees"), Rates: text("rates"), Rules: text("rules"), Blocklist: text("blocklist")}
		}
		if maybe("sealed") {
			m.Sealed = &paymentsv1.Sealed{KeyId: text("key"), Ciphertext: raw("ciphertext")}
		}
		if maybe("refund") {
			m.Body = &paymentsv1.Command_Refund{Refund: &paymentsv1.RefundInstruction{AmountMinor: rapid.Int64().Draw(t, "amount")}}
			sameBytes(t, m)
			return
		}
		in := &paymentsv1.Instruction{
			AmountMinor: rapid.Int64().Draw(t, "amount"), Currency: text("currency"), TargetCurrency: text("target"), Method: text("method"),
			ToAccount: text("to"), Instrument: text("instrument"), EffectiveDate: rapid.Int32().Draw(t, "day"),
		}
		if maybe("party") {
			in.Counterparty = &paymentsv1.Counterparty{Country: text("country"), Digest: raw("d"), NameDigest: raw("n"), DocumentDigest: raw("o"), AccountDigest: raw("a")}
		}
		m.Body = &paymentsv1.Command_Instruction{Instruction: in}
		sameBytes(t, m)
	})
}

func BenchmarkAppendCommand(b *testing.B) {
	c := sampleCommands()["payin"]
	m := codec.CommandToProto(&c, answer)
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.AppendCommand(buf, m); err != nil {
			b.Fatal(err)
		}
	}
}

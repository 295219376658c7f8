package codec

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// AppendCommand appends the bytes of a command that this program built: the same as proto.Marshal gives, in a quarter of
// the time, since an ingress writes one for each payment. Unknown fields, which only decoding leaves, are not written.
// Kinds that are no payments go through proto.
func AppendCommand(b []byte, m *paymentsv1.Command) ([]byte, error) {
	w := wire{b: b}
	w.head(m)
	known := true
	switch body := m.GetBody().(type) {
	case *paymentsv1.Command_Instruction:
		at := w.open(22)
		w.instruction(body.Instruction)
		w.close(at)
	case *paymentsv1.Command_Refund:
		at := w.open(23)
		w.number(1, uint64(body.Refund.GetAmountMinor())) //nolint:gosec // two's complement, as the wire has it
		w.close(at)
	default:
		known = false
	}
	if known && !w.invalid {
		return w.b, nil
	}
	b, err := proto.MarshalOptions{}.MarshalAppend(b, m) // also says what is wrong with a text
	if err != nil {
		return nil, fmt.Errorf("marshalling command: %w", err)
	}
	return b, nil
}

// wire appends fields in the order of their numbers; what is empty is absent, as in proto3.
type wire struct {
	b       []byte
	invalid bool // a text is not UTF-8
}

func (w *wire) head(m *paymentsv1.Command) {
	w.number(1, uint64(m.GetVersion()))
	w.number(2, uint64(m.GetKind())) //nolint:gosec // two's complement, as the wire has it
	w.text(3, m.GetTenant())
	w.text(4, m.GetMerchant())
	w.text(5, m.GetCustomer())
	w.text(6, m.GetAccount())
	w.text(7, m.GetCommandId())
	w.text(8, m.GetPaymentId())
	w.number(9, uint64(m.GetAcceptedAtUs())) //nolint:gosec // two's complement, as the wire has it
	w.bytes(10, m.GetBodyHash())
	if m.ReplyPartition != nil { // 0 is a partition
		w.b = protowire.AppendVarint(protowire.AppendTag(w.b, 11, protowire.VarintType), uint64(m.GetReplyPartition())) //nolint:gosec // two's complement, as the wire has it
	}
	w.number(12, m.GetReplyId())
	if p := m.GetPins(); p != nil {
		at := w.open(13)
		w.text(1, p.GetPolicy())
		w.text(2, p.GetFees())
		w.text(3, p.GetRates())
		w.text(4, p.GetRules())
		w.text(5, p.GetBlocklist())
		w.close(at)
	}
	if s := m.GetSealed(); s != nil {
		at := w.open(14)
		w.text(1, s.GetKeyId())
		w.bytes(2, s.GetCiphertext())
		w.close(at)
	}
}

func (w *wire) instruction(in *paymentsv1.Instruction) {
	w.number(1, uint64(in.GetAmountMinor())) //nolint:gosec // two's complement, as the wire has it
	w.text(2, in.GetCurrency())
	w.text(3, in.GetTargetCurrency())
	w.text(4, in.GetMethod())
	w.text(5, in.GetToAccount())
	w.text(6, in.GetInstrument())
	if p := in.GetCounterparty(); p != nil {
		at := w.open(7)
		w.text(1, p.GetCountry())
		w.bytes(2, p.GetDigest())
		w.bytes(3, p.GetNameDigest())
		w.bytes(4, p.GetDocumentDigest())
		w.bytes(5, p.GetAccountDigest())
		w.close(at)
	}
	w.number(8, uint64(in.GetEffectiveDate())) //nolint:gosec // two's complement, as the wire has it
	if c := in.GetCard(); c != nil {
		at := w.open(9)
		w.number(1, uint64(c.GetCapture())) //nolint:gosec // two's complement, as the wire has it
		w.text(2, c.GetBrand())
		w.number(3, uint64(c.GetInstallments()))
		w.close(at)
	}
	w.text(10, in.GetQuote())
}

func (w *wire) number(field protowire.Number, n uint64) {
	if n != 0 {
		w.b = protowire.AppendVarint(protowire.AppendTag(w.b, field, protowire.VarintType), n)
	}
}

func (w *wire) text(field protowire.Number, s string) {
	if s != "" {
		w.invalid = w.invalid || !utf8.ValidString(s)
		w.b = protowire.AppendString(protowire.AppendTag(w.b, field, protowire.BytesType), s)
	}
}

func (w *wire) bytes(field protowire.Number, v []byte) {
	if len(v) > 0 {
		w.b = protowire.AppendBytes(protowire.AppendTag(w.b, field, protowire.BytesType), v)
	}
}

// open begins a message with room for a length of one byte; close writes the length, and makes more room where it takes
// more: most messages are that short.
func (w *wire) open(field protowire.Number) (at int) {
	w.b = append(protowire.AppendTag(w.b, field, protowire.BytesType), 0)
	return len(w.b)
}

func (w *wire) close(at int) {
	n := len(w.b) - at
	if n < 1<<7 {
		w.b[at-1] = byte(n) //nolint:gosec // below 128
		return
	}
	more := protowire.SizeVarint(uint64(n)) - 1
	w.b = append(w.b, make([]byte, more)...)
	copy(w.b[at+more:], w.b[at:at+n])
	protowire.AppendVarint(w.b[:at-1], uint64(n)) // into the room made
}

// Package codec is the only crossing between the wire format and the domain: one named converter per message and way.
//
// It is strict. It refuses an unknown format version, unknown fields, an unknown kind, a body that does not fit the kind,
// malformed ids and hashes of the wrong length, with ErrFormat: what cannot be understood is never half applied.
// It encodes deterministically, so that the same decision is always the same bytes.
//
// Decoded values share bytes and strings with the message they came from; neither may be changed.
package codec

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

// Version is the format version that this package reads and writes.
const Version = 1

const (
	hashLen   = 32
	digestMax = 64
	textMax   = 256
	// installmentsMax is what card networks allow at most.
	installmentsMax = 99
)

// TimeMaxUS is the last time of a command, in Unix microseconds: far in the future (year 2255) and far from overflow when days are
// added.
const TimeMaxUS = int64(1) << 53

// ErrFormat marks bytes that are not a valid message of a known version.
var ErrFormat = errors.New("invalid format")

func refuse(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrFormat)...)
}

// unmarshal refuses what it does not understand in the message itself; converters look into the bodies.
func unmarshal(b []byte, m proto.Message) error {
	if len(b) == 0 {
		return refuse("empty %s", m.ProtoReflect().Descriptor().Name())
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("unmarshalling %s: %w: %w", m.ProtoReflect().Descriptor().Name(), err, ErrFormat)
	}
	return known(m)
}

// known refuses fields of a newer writer: to leave out what they ask would be to decide something else.
func known(m proto.Message) error {
	if r := m.ProtoReflect(); len(r.GetUnknown()) > 0 {
		return refuse("unknown fields in %s", r.Descriptor().Name())
	}
	return nil
}

func checkVersion(what string, version uint32) error {
	if version != Version {
		return refuse("%s of version %d", what, version)
	}
	return nil
}

func marshal(m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("marshalling %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return b, nil
}

// hash reads 32 bytes, or none where none are required.
func hash(what string, b []byte, required bool) (h [hashLen]byte, err error) {
	if len(b) == 0 && !required {
		return h, nil
	}
	if len(b) != hashLen {
		return h, refuse("%s of %d bytes", what, len(b))
	}
	copy(h[:], b)
	return h, nil
}

// hashBytes is empty for no hash.
func hashBytes(h *[hashLen]byte) []byte {
	if *h == ([hashLen]byte{}) {
		return nil
	}
	return h[:]
}

// enum reads a number that the generated names know.
func enum[D ~uint8, N ~int32](n N, names map[int32]string) (D, error) {
	if _, ok := names[int32(n)]; !ok || n > 255 {
		return 0, refuse("%T %d", n, n)
	}
	return D(n), nil
}

func small(what string, n uint32, limit uint8) (uint8, error) {
	if n > uint32(limit) {
		return 0, refuse("%s %d", what, n)
	}
	return uint8(n), nil //nolint:gosec // checked above
}

func accountID(s string, required bool) (payment.AccountID, error) {
	if s == "" && !required {
		return "", nil
	}
	id, err := payment.ParseAccountID(s)
	if err != nil {
		return "", refuse("account %q", s)
	}
	return id, nil
}

func paymentID(s string, required bool) (payment.ID, error) {
	if s == "" && !required {
		return "", nil
	}
	id, err := payment.ParseID(s)
	if err != nil {
		return "", refuse("payment id %q", s)
	}
	return id, nil
}

// reasons reads reasons in their order.
func reasonsFrom(in []paymentsv1.Reason) ([]payment.Reason, error) {
	if len(in) == 0 {
		return nil, nil
	}
	out := make([]payment.Reason, len(in))
	for i, n := range in {
		r, err := enum[payment.Reason](n, paymentsv1.Reason_name)
		if err != nil || r == payment.ReasonNone {
			return nil, refuse("reason %d", n)
		}
		out[i] = r
	}
	return out, nil
}

func reasonsTo(in []payment.Reason) []paymentsv1.Reason {
	if len(in) == 0 {
		return nil
	}
	out := make([]paymentsv1.Reason, len(in))
	for i, r := range in {
		out[i] = paymentsv1.Reason(r)
	}
	return out
}

func pinsFrom(p *paymentsv1.Pins) (payment.Pins, error) {
	if p == nil {
		return payment.Pins{}, nil
	}
	pins := payment.Pins{Policy: p.GetPolicy(), Fees: p.GetFees(), Rates: p.GetRates(), Rules: p.GetRules(), Blocklist: p.GetBlocklist()}
	return pins, known(p)
}

func pinsInto(into *paymentsv1.Pins, p *payment.Pins) *paymentsv1.Pins {
	if *p == (payment.Pins{}) {
		return nil
	}
	into.Policy, into.Fees, into.Rates, into.Rules, into.Blocklist = p.Policy, p.Fees, p.Rates, p.Rules, p.Blocklist
	return into
}

func fxFrom(f *paymentsv1.Fx) (*payment.FX, error) {
	if f == nil {
		return nil, nil //nolint:nilnil // nothing was converted
	}
	if f.GetRateScale() > 18 || f.GetMidScale() > 18 {
		return nil, refuse("rate scale %d, mid scale %d", f.GetRateScale(), f.GetMidScale())
	}
	return &payment.FX{
		RateUnscaled: f.GetRateUnscaled(), RateScale: uint8(f.GetRateScale()), //nolint:gosec // at most 18
		MidUnscaled: f.GetMidUnscaled(), MidScale: uint8(f.GetMidScale()), SpreadBP: f.GetSpreadBp(), //nolint:gosec // at most 18
	}, nil
}

func fxTo(f *payment.FX) *paymentsv1.Fx {
	if f == nil {
		return nil
	}
	return &paymentsv1.Fx{
		RateUnscaled: f.RateUnscaled, RateScale: uint32(f.RateScale),
		MidUnscaled: f.MidUnscaled, MidScale: uint32(f.MidScale), SpreadBp: f.SpreadBP,
	}
}

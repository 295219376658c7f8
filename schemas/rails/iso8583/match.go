package iso8583

import "strings"

// MatchKey tells requests apart: two messages with one key are one request, sent twice. It is comparable. See the package's
// comment for how a reversal finds its original, and for why a key must be forgotten within a year.
type MatchKey struct {
	Class            Class // of the type, so that a reversal with its original's STAN is not taken for its repeat
	TransmissionTime TransmissionTime
	STAN             STAN
	AcquirerID       string // without leading zeros, as field 32 may have them or not and field 90 always fills up with them
	Terminal         string // without spaces behind
}

// MatchKey is the message's own key. That of a response is its request's, since all parts are echoed.
func (m *Message) MatchKey() MatchKey {
	return MatchKey{
		Class: m.MTI.Class(), TransmissionTime: m.TransmissionTime, STAN: m.STAN,
		AcquirerID: WithoutZeros(m.AcquirerID), Terminal: m.Terminal,
	}
}

// OriginalKey is the MatchKey of what field 90 names: of the 0100, 0120 or 0200 that a 0400 or 0420 reverses. The terminal is
// the message's own, since field 90 has none, and so is the acquirer where field 90 has only zeros. It is false without a
// field 90.
func (m *Message) OriginalKey() (MatchKey, bool) {
	o := &m.OriginalData
	if *o == (OriginalData{}) {
		return MatchKey{}, false
	}
	key := MatchKey{
		Class: o.MTI.Class(), TransmissionTime: o.TransmissionTime, STAN: o.STAN, AcquirerID: o.AcquirerID, Terminal: m.Terminal,
	}
	if key.AcquirerID == "" {
		key.AcquirerID = WithoutZeros(m.AcquirerID)
	}
	return key, true
}

// String has the parts in order with dots between. The terminal, the only part that may hold a dot, stands last, so that two
// keys are never one text.
func (k MatchKey) String() string {
	return strings.Join([]string{string(rune(k.Class)), string(k.TransmissionTime), string(k.STAN), k.AcquirerID, k.Terminal}, ".")
}

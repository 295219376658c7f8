package door

import "encoding/binary"

// Canonical builds the bytes whose hash tells one request from another: every field in a fixed order, each with its
// length before it. White space, the order of names and the spelling of escapes in a text that was sent do not matter.
// The order is part of the idempotency contract: append only, and start each kind of body with its own word.
type Canonical []byte

// Text appends a text.
func (c Canonical) Text(s string) Canonical {
	return append(binary.AppendUvarint(c, uint64(len(s))), s...)
}

// Raw appends bytes.
func (c Canonical) Raw(b []byte) Canonical {
	return append(binary.AppendUvarint(c, uint64(len(b))), b...)
}

// Number appends an integer.
func (c Canonical) Number(n int64) Canonical { return binary.AppendVarint(c, n) }

// Flag appends a yes or no.
func (c Canonical) Flag(b bool) Canonical {
	if b {
		return c.Number(1)
	}
	return c.Number(0)
}

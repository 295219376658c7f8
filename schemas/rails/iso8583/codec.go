package iso8583

import (
	"errors"
	"fmt"
	"strconv"

	moov "github.com/moov-io/iso8583"
	mooverrors "github.com/moov-io/iso8583/errors"
)

// bitmapDigits are the hex digits of one bitmap of 64 fields.
const (
	mtiLength    = 4
	bitmapDigits = 16
)

// Codec reads and writes messages. It holds only tables; one serves all connections at once.
type Codec struct {
	spec       *moov.MessageSpec
	elements   []element
	byID       [fieldMax + 1]*element
	currencies currencyTable
}

// NewCodec builds the tables: once per process, not per message.
func NewCodec() *Codec {
	c := &Codec{elements: elements(), currencies: newCurrencyTable()}
	for i := range c.elements {
		c.byID[c.elements[i].id] = &c.elements[i]
	}
	c.spec = specification(c.elements)
	return c
}

// bits are the fields that stand in a message.
type bits [2]uint64

func (b *bits) set(id int)      { b[(id-1)/64] |= 1 << ((id - 1) % 64) }
func (b *bits) has(id int) bool { return b[(id-1)/64]&(1<<((id-1)%64)) != 0 }

// Decode reads one message, without its frame. Every error is a *FormatError, whose Answer is what to send back. Nothing of
// raw is kept. A second bitmap without a field is taken, for there are senders that always write both.
func (c *Codec) Decode(raw []byte) (Message, error) {
	packed := moov.NewMessage(c.spec)
	stop := fieldMax + 1 // the first field that moov could not read
	err := packed.Unpack(raw)
	if err != nil {
		stop = unreadField(err)
	}
	r := reading{codec: c, raw: raw}
	r.read(packed, stop)
	switch {
	case err != nil:
		r.unread(stop)
	case r.at != len(raw):
		r.refuse(1, "bitmap", "no more bytes behind the last field that it names")
	}
	if r.err == nil {
		r.err = c.check(&r.message, &r.present)
	}
	if r.err != nil {
		r.err.codec, r.err.request = c, r.message
		return Message{}, r.err
	}
	return r.message, nil
}

// unreadField is the field at which moov gave up. The rest of its error is dropped: it holds the message.
func unreadField(err error) int {
	var unpack *mooverrors.UnpackError
	if !errors.As(err, &unpack) {
		return 0
	}
	id, err := strconv.Atoi(unpack.FieldID)
	if err != nil {
		return 0
	}
	return id
}

// reading takes what moov has split into the fields of a Message, and goes on behind a bad value: an answer needs the rest.
type reading struct {
	codec   *Codec
	raw     []byte
	at      int // in raw
	message Message
	present bits
	err     *FormatError // the first
}

func (r *reading) refuse(id int, name, expected string) {
	if r.err == nil {
		r.err = &FormatError{Field: id, Name: name, Expected: expected}
	}
}

func (r *reading) read(packed *moov.Message, stop int) {
	if stop < 1 {
		return
	}
	if text, err := packed.GetMTI(); err != nil || MTI(text).column() < 0 {
		r.refuse(0, "MTI", expectedType)
	} else {
		r.message.MTI = MTI(text)
	}
	if stop < 2 {
		return
	}
	bitmap := packed.Bitmap()
	if bitmap.Len() > fieldMax {
		r.refuse(65, "third bitmap", "two bitmaps at most")
		return // where a field was taken for a bitmap, all behind is shifted
	}
	r.at = mtiLength + bitmap.Len()/64*bitmapDigits
	for id := 2; id < min(stop, fieldMax+1); id++ {
		if id != 65 && bitmap.IsSet(id) {
			r.field(packed, r.codec.byID[id])
		}
	}
}

func (r *reading) field(packed *moov.Message, e *element) {
	text, err := packed.GetString(e.id)
	if err != nil {
		r.refuse(e.id, e.name, e.expected())
		return
	}
	prefix := r.raw[r.at : r.at+e.prefix]
	r.at += e.prefix
	if e.prefix == 0 {
		r.at += e.length
	} else {
		r.at += len(text)
	}
	switch {
	case e.padded && text == "":
		return
	case !digits(string(prefix)), // moov takes +7 for 7
		!e.fits(text), !r.codec.set(&r.message, e, text):
		r.refuse(e.id, e.name, e.expected())
	default:
		r.present.set(e.id)
	}
}

// unread refuses the field that moov could not read.
func (r *reading) unread(stop int) {
	switch {
	case stop == 0:
		r.refuse(0, "MTI", expectedType)
	case stop == 1:
		r.refuse(1, "bitmap", "16 hex digits, and 16 more where the first bit is set")
	case stop > fieldMax || r.codec.byID[stop] == nil:
		r.refuse(stop, "unknown", "no such field: it is not of this feed")
	default:
		e := r.codec.byID[stop]
		r.refuse(e.id, e.name, e.expected())
	}
}

// Append appends the bytes of m, without a frame, to dst. What Decode would refuse is a *FormatError here too, and dst is
// then returned as it was.
func (c *Codec) Append(dst []byte, m *Message) ([]byte, error) {
	if m.MTI.column() < 0 {
		return dst, &FormatError{Field: 0, Name: "MTI", Expected: expectedType}
	}
	packed := moov.NewMessage(c.spec)
	packed.MTI(string(m.MTI))
	var present bits
	for i := range c.elements {
		e := &c.elements[i]
		text, ok := c.text(m, e)
		switch {
		case ok && text == "":
			continue
		case !ok || !e.fits(text):
			return dst, &FormatError{Field: e.id, Name: e.name, Expected: e.expected()}
		}
		if err := packed.Field(e.id, text); err != nil {
			return dst, fmt.Errorf("setting field %d: %w", e.id, err)
		}
		present.set(e.id)
	}
	if err := c.check(m, &present); err != nil {
		return dst, err
	}
	b, err := packed.Pack()
	if err != nil { // says lengths, never content
		return dst, fmt.Errorf("packing %s: %w", string(m.MTI), err)
	}
	return append(dst, b...), nil
}

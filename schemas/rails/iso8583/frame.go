package iso8583

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// FrameHeader is how a frame tells its length.
type FrameHeader uint8

// The headers.
const (
	FrameBinary FrameHeader = iota // 2 bytes, big-endian
	FrameASCII                     // 4 digits
)

// The limits of a frame's length.
const (
	FrameBytesMaxDefault = 8192 // the largest message that the feed allows takes about 6 kB
	frameBinaryMost      = 65_535
	frameASCIIMost       = 9_999
)

// ErrFrame marks a stream whose frames are lost: nothing behind can be read, so the connection is to be closed.
var ErrFrame = errors.New("invalid frame")

// Frames cuts a stream into messages. The zero value reads binary headers and takes frames up to FrameBytesMaxDefault.
type Frames struct {
	Header   FrameHeader
	BytesMax int // of one message, without its header; 0 is FrameBytesMaxDefault
}

// Validate says what is wrong with the configuration.
func (f Frames) Validate() error {
	switch {
	case f.Header > FrameASCII:
		return fmt.Errorf("frame header %d: expected %d (2 bytes, big-endian) or %d (4 ASCII digits)", f.Header, FrameBinary, FrameASCII)
	case f.BytesMax < 0 || f.BytesMax > f.most():
		return fmt.Errorf("frames of at most %d bytes: the header can tell %d at most", f.BytesMax, f.most())
	default:
		return nil
	}
}

func (f Frames) most() int {
	if f.Header == FrameASCII {
		return frameASCIIMost
	}
	return frameBinaryMost
}

func (f Frames) limit() int {
	if f.BytesMax == 0 {
		return FrameBytesMaxDefault
	}
	return min(f.BytesMax, f.most())
}

// Read reads the next message into buf, or into new memory where buf is too small. An empty message is a keep-alive: there is
// nothing to decode or answer. io.EOF is the end between two messages; a stream that ends within one is
// io.ErrUnexpectedEOF; a length that cannot be is ErrFrame.
func (f Frames) Read(r *bufio.Reader, buf []byte) ([]byte, error) {
	var header [4]byte
	h := header[:2]
	if f.Header == FrameASCII {
		h = header[:4]
	}
	if _, err := io.ReadFull(r, h); errors.Is(err, io.EOF) { // before the first byte
		return buf[:0], io.EOF
	} else if err != nil {
		return buf[:0], fmt.Errorf("reading frame header: %w", err)
	}
	length, err := f.length(h)
	if err != nil {
		return buf[:0], err
	}
	if cap(buf) < length {
		buf = make([]byte, length)
	}
	buf = buf[:length]
	if _, err := io.ReadFull(r, buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return buf[:0], fmt.Errorf("reading frame of %d bytes: %w", length, err)
	}
	return buf, nil
}

// length reads a header; its errors say which setting would fit.
func (f Frames) length(h []byte) (int, error) {
	if f.Header == FrameASCII {
		if !digits(string(h)) {
			return 0, fmt.Errorf("frame header %x is no 4 ASCII digits; where the peer writes 2 bytes, set the header to binary: %w", h, ErrFrame)
		}
		return f.bounded(int(number(string(h))), "raise the limit")
	}
	length := int(binary.BigEndian.Uint16(h))
	if digits(string(h)) {
		return f.bounded(length, "the header looks like ASCII digits: set the header to 4 ASCII digits, or raise the limit")
	}
	return f.bounded(length, "raise the limit, or set the header that the peer writes")
}

func (f Frames) bounded(length int, advice string) (int, error) {
	if length > f.limit() {
		return 0, fmt.Errorf("frame of %d bytes, the limit is %d; %s: %w", length, f.limit(), advice, ErrFrame)
	}
	return length, nil
}

// Append appends a frame with the message; an empty message makes a keep-alive. A message above the limit is ErrFrame, and dst
// is then returned as it was.
func (f Frames) Append(dst, message []byte) ([]byte, error) {
	length, err := f.bounded(len(message), "raise the limit, which the peer must do too")
	if err != nil {
		return dst, err
	}
	if f.Header == FrameASCII {
		dst = appendNumber(dst, int64(length), 4)
	} else {
		dst = binary.BigEndian.AppendUint16(dst, uint16(length)) //nolint:gosec // bounded by what the header can tell
	}
	return append(dst, message...), nil
}

// String is the word in a configuration.
func (h FrameHeader) String() string {
	switch h {
	case FrameBinary:
		return "binary"
	case FrameASCII:
		return "ascii"
	default:
		return "header " + strconv.Itoa(int(h))
	}
}

// ParseFrameHeader reads the word of a configuration.
func ParseFrameHeader(s string) (FrameHeader, error) {
	for _, h := range [...]FrameHeader{FrameBinary, FrameASCII} {
		if s == h.String() {
			return h, nil
		}
	}
	return 0, fmt.Errorf("frame header %q: expected binary or ascii", s)
}

package iso8583

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func reader(stream string) *bufio.Reader { return bufio.NewReader(strings.NewReader(stream)) }

// Invariant: frames come out as they went in, keep-alives too, and the stream ends between two of them.
func TestFramesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Frames{Header: rapid.SampledFrom([]FrameHeader{FrameBinary, FrameASCII}).Draw(t, "header")}
		messages := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 300)).Draw(t, "messages")
		var stream []byte
		var err error
		for _, m := range messages {
			if stream, err = f.Append(stream, m); err != nil {
				t.Fatal(err)
			}
		}
		r := bufio.NewReader(bytes.NewReader(stream))
		buf := make([]byte, 0, 100)
		for _, m := range messages {
			if buf, err = f.Read(r, buf); err != nil || !bytes.Equal(buf, m) {
				t.Fatalf("%x, %v, want %x", buf, err, m)
			}
		}
		if _, err := f.Read(r, buf); err != io.EOF { //nolint:errorlint // the bare one, as io.Reader has it
			t.Fatal(err)
		}
	})
}

func TestFrames(t *testing.T) {
	for _, k := range []struct {
		name   string
		frames Frames
		stream string
		want   string
		is     error
		says   string
	}{
		{"message", Frames{}, "\x00\x040800", "0800", nil, ""},
		{"message behind a number in digits", Frames{Header: FrameASCII}, "00040800", "0800", nil, ""},
		{"keep-alive", Frames{}, "\x00\x00", "", nil, ""},
		{"keep-alive in digits", Frames{Header: FrameASCII}, "0000", "", nil, ""},
		{"end", Frames{}, "", "", io.EOF, "EOF"},
		{"half a header", Frames{}, "\x00", "", io.ErrUnexpectedEOF, "reading frame header: unexpected EOF"},
		{"no message", Frames{}, "\x00\x04", "", io.ErrUnexpectedEOF, "reading frame of 4 bytes: unexpected EOF"},
		{"half a message", Frames{}, "\x00\x0408", "", io.ErrUnexpectedEOF, "reading frame of 4 bytes: unexpected EOF"},
		{"at the limit", Frames{BytesMax: 4}, "\x00\x040800", "0800", nil, ""},
		{"above the limit", Frames{BytesMax: 3}, "\x00\x040800", "", ErrFrame, "frame of 4 bytes, the limit is 3; raise the limit, or set the header that the peer writes: invalid frame"},
		{"above the default", Frames{}, "\x20\x01", "", ErrFrame, "frame of 8193 bytes, the limit is 8192; raise the limit, or set the header that the peer writes: invalid frame"},
		{"digits where bytes are read", Frames{}, "0100", "", ErrFrame, "frame of 12337 bytes, the limit is 8192; the header looks like ASCII digits: set the header to 4 ASCII digits, or raise the limit: invalid frame"},
		{"bytes where digits are read", Frames{Header: FrameASCII}, "\x00\x0408", "", ErrFrame, "frame header 00043038 is no 4 ASCII digits; where the peer writes 2 bytes, set the header to binary: invalid frame"},
		{"a sign", Frames{Header: FrameASCII}, "+004", "", ErrFrame, "frame header 2b303034 is no 4 ASCII digits; where the peer writes 2 bytes, set the header to binary: invalid frame"},
		{"digits above the limit", Frames{Header: FrameASCII}, "9999", "", ErrFrame, "frame of 9999 bytes, the limit is 8192; raise the limit: invalid frame"},
	} {
		got, err := k.frames.Read(reader(k.stream), nil)
		if string(got) != k.want || !errors.Is(err, k.is) || err != nil && err.Error() != k.says {
			t.Errorf("%s: %q, %v", k.name, got, err)
		}
	}
	for _, f := range []Frames{{BytesMax: 3}, {Header: FrameASCII, BytesMax: 3}} {
		if got, err := f.Append([]byte("before"), []byte("0800")); !errors.Is(err, ErrFrame) || string(got) != "before" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestFramesValidate(t *testing.T) {
	for _, k := range []struct {
		frames Frames
		ok     bool
	}{
		{Frames{}, true},
		{Frames{BytesMax: 65_535}, true},
		{Frames{BytesMax: 65_536}, false},
		{Frames{BytesMax: -1}, false},
		{Frames{Header: FrameASCII, BytesMax: 9_999}, true},
		{Frames{Header: FrameASCII, BytesMax: 10_000}, false},
		{Frames{Header: 2}, false},
	} {
		if err := k.frames.Validate(); (err == nil) != k.ok {
			t.Errorf("%+v: %v", k.frames, err)
		}
	}
	for _, h := range []FrameHeader{FrameBinary, FrameASCII} {
		if back, err := ParseFrameHeader(h.String()); err != nil || back != h {
			t.Errorf("%s: %v, %v", h, back, err)
		}
	}
	if _, err := ParseFrameHeader("header 2"); err == nil {
		t.Error("an unknown header is known")
	}
}

func TestFramesTakeTheirMemory(t *testing.T) {
	stream, err := Frames{}.Append(nil, bytes.Repeat([]byte("x"), 500))
	if err != nil {
		t.Fatal(err)
	}
	source := bytes.NewReader(stream)
	r, buf := bufio.NewReader(source), make([]byte, 0, 500)
	if n := testing.AllocsPerRun(100, func() {
		source.Reset(stream)
		r.Reset(source)
		if got, err := (Frames{}).Read(r, buf); err != nil || len(got) != 500 {
			t.Fatal(err)
		}
	}); n > 1 { // the header, which goes through an interface
		t.Fatalf("%v allocations", n)
	}
}

// The largest message that the table allows fits into a frame of the default limit.
func TestLargestMessageFitsAFrame(t *testing.T) {
	c := NewCodec()
	largest := mtiLength + 2*bitmapDigits
	for _, e := range c.elements {
		largest += e.prefix + e.length
	}
	t.Logf("%d bytes", largest)
	if largest > FrameBytesMaxDefault {
		t.Fatalf("%d bytes, a frame takes %d", largest, FrameBytesMaxDefault)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte("\x00\x040800\x00\x00\x00\x010"), uint8(0), uint16(0))
	f.Add([]byte("0004080000000001a"), uint8(1), uint16(0))
	f.Add([]byte("\x00\x040800"), uint8(0), uint16(3))
	f.Fuzz(func(t *testing.T, stream []byte, header uint8, limit uint16) {
		frames := Frames{Header: FrameHeader(header % 2), BytesMax: int(limit)}
		if frames.Validate() != nil {
			return
		}
		r := bufio.NewReader(bytes.NewReader(stream))
		var buf, again []byte
		for {
			got, err := frames.Read(r, buf)
			if err == nil {
				if len(got) > frames.limit() {
					t.Fatalf("%d bytes, the limit is %d", len(got), frames.limit())
				}
				if again, err = frames.Append(again, got); err != nil {
					t.Fatal(err)
				}
				buf = got
				continue
			}
			if !bytes.HasPrefix(stream, again) || errors.Is(err, io.EOF) && len(again) != len(stream) {
				t.Fatalf("%x of %x: %v", again, stream, err)
			}
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrFrame) {
				t.Fatal(err)
			}
			return
		}
	})
}

package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Parked is an input record that waits, under ParkedKind, because it or an earlier one of its key failed.
type Parked struct {
	Topic     string
	Partition int32
	Offset    int64
	Timestamp time.Time // milliseconds
	Reason    string    // why it failed; empty if it only queues behind one that did
	Headers   []kgo.RecordHeader
	Value     []byte // nil if the record was null
	ValueLeft bool   // the value was too large to be copied: it is still in the input topic
}

// ParkedID is the id of a parked record of Config.Input among those of its key: offsets in order. For one of MoreInputs its
// topic follows.
func ParkedID(offset int64) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(offset))) //nolint:gosec // offsets are not negative
}

// ParkedOffset reads what ParkedID wrote.
func ParkedOffset(id string) (int64, error) {
	if len(id) < 8 {
		return 0, fmt.Errorf("decoding the id of a parked record: %d bytes", len(id))
	}
	return int64(binary.BigEndian.Uint64([]byte(id[:8]))), nil //nolint:gosec // written from an offset
}

const (
	parkedVersion  = 1
	parkedNullFlag = 1
	parkedLeftFlag = 2
)

// EncodeParked gives the value of the side record:
//
//	version 1, 1 byte | flags, 1 byte (1: no value, 2: value left) | partition, offset, timestamp ms: varints |
//	topic, reason: uvarint length and bytes | uvarint count of headers, each: key, value | value to the end
func EncodeParked(p Parked) []byte {
	flags := byte(0)
	if p.Value == nil {
		flags |= parkedNullFlag
	}
	if p.ValueLeft {
		flags |= parkedLeftFlag
	}
	b := []byte{parkedVersion, flags}
	b = binary.AppendVarint(b, int64(p.Partition))
	b = binary.AppendVarint(b, p.Offset)
	b = binary.AppendVarint(b, p.Timestamp.UnixMilli())
	b = appendField(b, p.Topic)
	b = appendField(b, p.Reason)
	b = binary.AppendUvarint(b, uint64(len(p.Headers)))
	for _, h := range p.Headers {
		b = appendField(b, h.Key)
		b = appendField(b, string(h.Value))
	}
	return append(b, p.Value...)
}

// DecodeParked reads what EncodeParked wrote.
func DecodeParked(b []byte) (Parked, error) {
	if len(b) < 2 {
		return Parked{}, errors.New("decoding parked record: too short")
	}
	if b[0] != parkedVersion {
		return Parked{}, fmt.Errorf("decoding parked record: version %d is unknown", b[0])
	}
	r := fieldReader{rest: string(b[2:])}
	p := Parked{
		Partition: int32(r.varint()), //nolint:gosec // written from an int32
		Offset:    r.varint(),
		Timestamp: time.UnixMilli(r.varint()),
		Topic:     r.field(),
		Reason:    r.field(),
		ValueLeft: b[1]&parkedLeftFlag != 0,
	}
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		p.Headers = append(p.Headers, kgo.RecordHeader{Key: r.field(), Value: []byte(r.field())})
	}
	if r.err != nil {
		return Parked{}, fmt.Errorf("decoding parked record: %w", r.err)
	}
	if b[1]&parkedNullFlag == 0 {
		p.Value = []byte(r.rest)
	} else if r.rest != "" {
		return Parked{}, errors.New("decoding parked record: a null value has bytes")
	}
	return p, nil
}

func appendField(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// fieldReader reads fields until the first that does not fit.
type fieldReader struct {
	rest string
	err  error
}

func (r *fieldReader) field() (s string) {
	if r.err == nil {
		s, r.rest, r.err = cutField(r.rest)
	}
	return s
}

func (r *fieldReader) uvarint() uint64 {
	n, size := binary.Uvarint([]byte(r.rest[:min(len(r.rest), binary.MaxVarintLen64)]))
	if size <= 0 {
		r.err = errors.Join(r.err, errors.New("number does not fit"))
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *fieldReader) varint() int64 {
	u := r.uvarint()
	n := int64(u >> 1)
	if u&1 != 0 {
		n = ^n
	}
	return n
}

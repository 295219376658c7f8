package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
)

// What follows is the durable layout of the engine's changelogs, as documented in streams/engine (sidekey.go, parked.go,
// partition.go). It is read here a second time because sinks and streams meet through topics only.
const (
	fenceKey   = "\x00engine.fence" // of the table and the side topic: carries no state
	parkedKind = "engine.parked"    // scope key; id: offset, 8 bytes big endian

	deadTopic     = "dead.topic"
	deadPartition = "dead.partition"
	deadOffset    = "dead.offset"
	deadControl   = "dead.control" // only of a discarded record: the offset of the operator's word

	controlHeader = "engine.control" // of a record on the command log that is for the engine itself
	controlOffset = "engine.offset"  // of the record that a discard is about
	discardVerb   = "discard"
)

var errSideKey = errors.New("malformed side key")

// parkedAt reads the key of a side record; false: it is not a parked record.
//
//	scope, 1 byte (1 partition, 2 key) | scope 2: uvarint length of key, key | uvarint length of kind, kind | id
func parkedAt(b []byte) (key string, offset int64, parked bool, err error) {
	if string(b) == fenceKey {
		return "", 0, false, nil
	}
	if len(b) == 0 || b[0] < 1 || b[0] > 2 {
		return "", 0, false, errSideKey
	}
	if b[0] == 1 {
		return "", 0, false, nil
	}
	k, rest, ok := field(b[1:])
	if !ok {
		return "", 0, false, errSideKey
	}
	kind, id, ok := field(rest)
	switch {
	case !ok:
		return "", 0, false, errSideKey
	case string(kind) != parkedKind:
		return "", 0, false, nil
	case len(id) != 8:
		return "", 0, false, errSideKey
	}
	return string(k), int64(binary.BigEndian.Uint64(id)), true, nil //nolint:gosec // an offset
}

func field(b []byte) (value, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)) || int(n) > len(b)-size { //nolint:gosec // n is at most len(b)
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true //nolint:gosec // n is at most len(b)
}

// readParked gives the offsets of a partition's parked commands, with their keys.
func readParked(ctx context.Context, cfg Config, partition int32, b bounds) (map[int64]string, error) {
	found := map[int64]string{}
	err := each(ctx, cfg, topics.AccountsSide, partition, b, func(r *kgo.Record) error {
		key, offset, parked, err := parkedAt(r.Key)
		switch {
		case err != nil:
			return fmt.Errorf("reading %s partition %d offset %d: %w", r.Topic, r.Partition, r.Offset, err)
		case !parked:
		case r.Value == nil:
			delete(found, offset)
		default:
			found[offset] = key
		}
		return nil
	})
	return found, err
}

// letter is a dead letter about a command.
type letter struct {
	discarded bool  // by an operator, else buried by the engine
	word      int64 // discarded: the offset of the operator's word
}

// readDead gives the letters about a partition's commands, by the offsets of the commands.
func readDead(ctx context.Context, cfg Config, partition int32, b bounds) (map[int64]letter, error) {
	found := map[int64]letter{}
	err := each(ctx, cfg, topics.DeadLetters, partition, b, func(r *kgo.Record) error {
		header := headers(r)
		if header[deadTopic] != topics.Commands || header[deadPartition] != strconv.Itoa(int(partition)) {
			return nil
		}
		offset, err := strconv.ParseInt(header[deadOffset], 10, 64)
		var l letter
		if word, ok := header[deadControl]; err == nil && ok {
			l.discarded = true
			l.word, err = strconv.ParseInt(word, 10, 64)
		}
		if err != nil {
			return fmt.Errorf("reading %s partition %d offset %d: %w", r.Topic, r.Partition, r.Offset, err)
		}
		found[offset] = l
		return nil
	})
	return found, err
}

// headers by name; a dead letter's come before those of the record itself.
func headers(r *kgo.Record) map[string]string {
	found := make(map[string]string, len(r.Headers))
	for _, h := range r.Headers {
		if _, first := found[h.Key]; !first {
			found[h.Key] = string(h.Value)
		}
	}
	return found
}

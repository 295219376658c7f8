package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Scope says what a side record belongs to.
type Scope uint8

// The scopes. The values are durable: they are the first byte of a side record's key.
const (
	ScopePartition Scope = 1 // the partition; the record's key does not name it, its partition in the changelog does
	ScopeKey       Scope = 2 // the key of the input record
)

// EnginePrefix starts the kinds that belong to the engine. Callbacks cannot write them.
const EnginePrefix = "engine."

// The engine's own kinds in the side changelog.
const (
	ParkedKind  = EnginePrefix + "parked"  // ScopeKey; id: offset, 8 bytes big endian; value: see Parked
	AppliedKind = EnginePrefix + "applied" // ScopePartition; id: input topic; value: next offset, 8 bytes big endian
	WaitingKind = EnginePrefix + "waiting" // ScopePartition; id: see ActID; value: an Act that is not done
	HandledKind = EnginePrefix + "handled" // ScopePartition; id: see ActID; value: an Act that is
)

// SideKey is the identity of a side record.
type SideKey struct {
	Scope    Scope
	Key      string // empty in ScopePartition
	Kind, ID string
}

// Encode gives the record key in the side changelog:
//
//	scope, 1 byte | only in ScopeKey: uvarint length of key, key | uvarint length of kind, kind | id
//
// The lengths keep (key, kind, id) apart whatever bytes they hold. The id comes last and bare, so the records of one kind
// sort by id.
func (k SideKey) Encode() []byte {
	return append(appendPrefix(make([]byte, 0, 1+2+len(k.Key)+2+len(k.Kind)+len(k.ID)), k.Scope, k.Key, k.Kind), k.ID...)
}

// appendPrefix appends all of a side key but the id.
func appendPrefix(b []byte, scope Scope, key, kind string) []byte {
	b = append(b, byte(scope))
	if scope == ScopeKey {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
	}
	b = binary.AppendUvarint(b, uint64(len(kind)))
	return append(b, kind...)
}

// ErrFence is what DecodeSideKey returns for a fence record, which carries no state.
var ErrFence = errors.New("fence record")

// DecodeSideKey reads what Encode wrote.
func DecodeSideKey(b []byte) (SideKey, error) {
	if IsFence(b) {
		return SideKey{}, ErrFence
	}
	if len(b) == 0 {
		return SideKey{}, errors.New("decoding side key: empty")
	}
	k := SideKey{Scope: Scope(b[0])}
	rest := string(b[1:])
	var err error
	switch k.Scope {
	case ScopePartition:
	case ScopeKey:
		if k.Key, rest, err = cutField(rest); err != nil {
			return SideKey{}, fmt.Errorf("decoding side key: key: %w", err)
		}
	default:
		return SideKey{}, fmt.Errorf("decoding side key: scope %d is unknown", b[0])
	}
	if k.Kind, k.ID, err = cutField(rest); err != nil {
		return SideKey{}, fmt.Errorf("decoding side key: kind: %w", err)
	}
	return k, nil
}

func cutField(s string) (field, rest string, err error) {
	n, size := binary.Uvarint([]byte(s[:min(len(s), binary.MaxVarintLen64)]))
	if size <= 0 || n > uint64(len(s)-size) { //nolint:gosec // size is at most len(s)
		return "", "", errors.New("length does not fit")
	}
	return s[size : size+int(n)], s[size+int(n):], nil //nolint:gosec // n is at most len(s)
}

// fenceKey is the key of fence records in both changelogs. It is no valid side key, and no callback can own it as a cell.
const fenceKey = "\x00engine.fence"

// IsFence tells whether a record key of the table or the side topic belongs to a fence: such records carry no state and
// readers of the topics skip them.
func IsFence(key []byte) bool { return string(key) == fenceKey }

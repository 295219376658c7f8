package topics

import (
	"encoding/binary"
	"hash"
)

// Partition is where Kafka's default partitioner puts a key: murmur2 with the top bit masked, modulo the count.
func Partition(key []byte, partitions int32) int32 {
	return int32(murmur2(key)&0x7fffffff) % partitions
}

// Hasher is the same hash for Goka's WithHasher. Without the mask half of all keys would land elsewhere.
func Hasher() hash.Hash32 { return &hasher{} }

type hasher struct{ b []byte }

func (h *hasher) Write(p []byte) (int, error) { h.b = append(h.b, p...); return len(p), nil }
func (h *hasher) Sum32() uint32               { return murmur2(h.b) & 0x7fffffff }
func (h *hasher) Reset()                      { h.b = h.b[:0] }
func (h *hasher) Size() int                   { return 4 }
func (h *hasher) BlockSize() int              { return 4 }
func (h *hasher) Sum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, h.Sum32())
}

// murmur2 is the variant of Kafka's Java client (seed 0x9747b28c).
func murmur2(b []byte) uint32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(b)) //nolint:gosec // a record key is far below 4 GB
	for ; len(b) >= 4; b = b[4:] {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}

// Package ownref says in which partition an order stands, from nothing but the id under which a processor knows it. Processors
// take short ids and echo them, so the id of an attempt is a digest; its first two characters are the partition. So a webhook
// finds the process that owns the order without an index.
//
// It refuses to guess: an id that is none of ours has no partition.
package ownref

import "strings"

// alphabet is that of base32 in small letters: every processor takes it.
const alphabet = "abcdefghijklmnopqrstuvwxyz234567"

// marked is the shortest id that has a mark.
const marked = 8

// PartitionsMax is how many partitions a mark can tell.
const PartitionsMax = int32(len(alphabet) * len(alphabet))

// Mark writes the partition over the first two characters of a digest. What is no digest in base32 stays as it is.
func Mark(digest string, partition int32) string {
	if !markable(digest) || partition < 0 || partition >= PartitionsMax {
		return digest
	}
	base := int32(len(alphabet))
	return string([]byte{alphabet[partition/base], alphabet[partition%base]}) + digest[2:]
}

// Partition is where the order of a marked id stands. False: none of ours can be it.
func Partition(text string, partitions int32) (int32, bool) {
	if !markable(text) {
		return 0, false
	}
	base := int32(len(alphabet))
	partition := int32(strings.IndexByte(alphabet, text[0]))*base + int32(strings.IndexByte(alphabet, text[1])) //nolint:gosec // below 32
	return partition, partition < partitions
}

func markable(text string) bool { return len(text) >= marked && strings.Trim(text, alphabet) == "" }

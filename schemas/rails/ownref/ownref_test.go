package ownref_test

import (
	"strings"
	"testing"

	"github.com/caudalpay/caudal/schemas/rails/ownref"
)

// Invariant: every partition that is marked is read again, and nothing else of the digest changes.
func TestMarkIsRead(t *testing.T) {
	const digest = "5h6oxzrswfgseg22wzts3tgbrtkvj2nb"
	for p := range ownref.PartitionsMax {
		text := ownref.Mark(digest, p)
		if len(text) != len(digest) || text[2:] != digest[2:] {
			t.Fatalf("%d: %s", p, text)
		}
		if got, ok := ownref.Partition(text, ownref.PartitionsMax); !ok || got != p {
			t.Fatalf("%d: read as %d %v", p, got, ok)
		}
	}
}

func TestNoneOfOurs(t *testing.T) {
	for _, text := range []string{"", "a", "unknown", "aaaaaaa", "AAAAAAAAAAAAAAAA", "aa aaaaaaaaaa", "acme-order-1", "aa1aaaaaaaaa", strings.Repeat("é", 8)} {
		if p, ok := ownref.Partition(text, 64); ok {
			t.Errorf("%q is in partition %d", text, p)
		}
	}
	if p, ok := ownref.Partition(ownref.Mark("aaaaaaaaaaaaaaaa", 16), 16); ok {
		t.Errorf("partition %d of 16", p)
	}
	if got := ownref.Mark("short", 3); got != "short" {
		t.Errorf("short became %s", got)
	}
}

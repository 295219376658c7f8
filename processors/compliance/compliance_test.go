package compliance_test

import (
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/compliance"
	"github.com/caudalpay/caudal/processors/payment"
)

func set(items []string) map[string]struct{} {
	s := map[string]struct{}{}
	for _, i := range items {
		s[i] = struct{}{}
	}
	return s
}

func TestTables(t *testing.T) {
	var list *compliance.Blocklist
	datadriven.RunTest(t, "testdata/screen", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "list":
			list = &compliance.Blocklist{}
			for _, a := range d.CmdArgs {
				switch a.Key {
				case "countries":
					list.Countries = set(a.Vals)
				case "parties":
					list.Parties = set(a.Vals)
				default:
					t.Fatalf("unknown argument %q", a.Key)
				}
			}
			return ""
		case "no-list":
			list = nil
			return ""
		case "screen":
			var c payment.Counterparty
			for _, a := range d.CmdArgs {
				switch a.Key {
				case "country":
					c.Country = a.Vals[0]
				case "digest":
					c.Digest = []byte(a.Vals[0])
				case "name":
					c.NameDigest = []byte(a.Vals[0])
				case "document":
					c.DocumentDigest = []byte(a.Vals[0])
				case "account":
					c.AccountDigest = []byte(a.Vals[0])
				default:
					t.Fatalf("unknown argument %q", a.Key)
				}
			}
			words := []string{}
			for _, r := range compliance.Screen(list, c) {
				words = append(words, r.String())
			}
			if len(words) == 0 {
				return "clear\n"
			}
			return strings.Join(words, " ") + "\n"
		default:
			t.Fatalf("unknown command %q", d.Cmd)
			return ""
		}
	})
}

// A longer list never clears what a shorter one blocked.
func TestMoreEntriesBlockMore(t *testing.T) {
	word := rapid.StringMatching(`[a-c]{0,2}`)
	rapid.Check(t, func(t *rapid.T) {
		c := payment.Counterparty{
			Country:        word.Draw(t, "country"),
			Digest:         []byte(word.Draw(t, "digest")),
			NameDigest:     []byte(word.Draw(t, "name")),
			DocumentDigest: []byte(word.Draw(t, "document")),
			AccountDigest:  []byte(word.Draw(t, "account")),
		}
		parties, more := rapid.SliceOf(word).Draw(t, "parties"), rapid.SliceOf(word).Draw(t, "more")
		countries := rapid.SliceOf(word).Draw(t, "countries")
		short := compliance.Screen(&compliance.Blocklist{Parties: set(parties), Countries: set(countries)}, c)
		long := compliance.Screen(&compliance.Blocklist{Parties: set(append(parties, more...)), Countries: set(append(countries, more...))}, c)
		for _, r := range short {
			found := false
			for _, l := range long {
				found = found || l == r
			}
			if !found {
				t.Fatalf("%s vanished: %v, then %v", r, short, long)
			}
		}
		for i := 1; i < len(long); i++ {
			if long[i-1] >= long[i] {
				t.Fatalf("not in order: %v", long)
			}
		}
	})
}

// Invariant: what is absent is never blocked, even by a list with an empty entry.
func TestNobodyIsNeverBlocked(t *testing.T) {
	l := &compliance.Blocklist{Countries: set([]string{""}), Parties: set([]string{""})}
	for _, c := range []payment.Counterparty{{}, {Digest: []byte{}, NameDigest: []byte{}, DocumentDigest: []byte{}, AccountDigest: []byte{}}} {
		if reasons := compliance.Screen(l, c); len(reasons) > 0 {
			t.Errorf("nobody is blocked: %v", reasons)
		}
	}
}

func TestAClearPartyAllocatesNothing(t *testing.T) {
	l := &compliance.Blocklist{Countries: set([]string{"KP"}), Parties: set([]string{"x"})}
	c := payment.Counterparty{Country: "BR", Digest: make([]byte, 32), NameDigest: make([]byte, 32)}
	if n := testing.AllocsPerRun(100, func() { compliance.Screen(l, c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

package books_test

import (
	"strings"
	"testing"

	"github.com/caudalpay/caudal/cmd/railsim/books"
	"github.com/caudalpay/caudal/cmd/railsim/journal"
)

// TestStanding: what stands of an order, step by step. Each line of a case is kind, charge, amount; "!" is money captured before.
func TestStanding(t *testing.T) {
	for name, c := range map[string]struct {
		steps              string
		charged, most, net int
	}{
		"authorised":                        {"authorized a 100", 1, 1, 0},
		"declined":                          {"declined a 100", 0, 0, 0},
		"authorised and voided":             {"authorized a 100; voided a 100", 0, 1, 0},
		"captured":                          {"authorized a 100; captured a 100", 1, 1, 100},
		"captured in part, and voided":      {"authorized a 100; captured a 60; voided! a 60", 0, 1, 0},
		"captured, and voided in part":      {"authorized a 100; captured a 100; voided! a 99", 1, 1, 1},
		"captured and refunded":             {"authorized a 100; captured a 100; refunded a 100", 1, 1, 0},
		"voided and again":                  {"authorized a 100; voided a 100; authorized b 100", 1, 1, 0},
		"twice":                             {"authorized a 100; authorized b 100", 2, 2, 0},
		"three times, two voided, a fourth": {"authorized a 1; authorized b 1; authorized c 1; voided a 1; voided b 1; authorized d 1", 2, 3, 0},
		"sent":                              {"accepted a 100; sent a 100; paid a 100", 1, 1, -100},
		"failed":                            {"accepted a 100; failed a 100", 0, 1, 0},
		"returned":                          {"accepted a 100; sent a 100; paid a 100; returned a 100", 0, 1, 0},
	} {
		b := books.New()
		for step := range strings.SplitSeq(c.steps, "; ") {
			f := strings.Fields(step)
			kind, taken := strings.CutSuffix(f[0], "!")
			amount := int64(0)
			for _, d := range f[2] {
				amount = amount*10 + int64(d-'0')
			}
			b.Count(journal.Entry{Kind: journal.Kind(kind), Connector: "cielo", Reference: "o1", Charge: f[1], AmountMinor: amount, Currency: "BRL", Taken: taken}, false)
		}
		o, ok := b.Find("o1")
		if !ok || o.Charged != c.charged || o.ChargedMost != c.most || o.ChargedTwice != (c.charged > 1) || o.Lines[0].NetMinor != int64(c.net) {
			t.Errorf("%s: %+v", name, o)
		}
		s := b.Summary()
		if twice, ever := s.ChargedTwice == 1, s.ChargedTwiceEver == 1; twice != (c.charged > 1) || ever != (c.most > 1) || len(s.Twice) != s.ChargedTwice {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// Faults are counted and are no orders; neither are answers kept for a repeat.
func TestFaultsAreNoOrders(t *testing.T) {
	b := books.New()
	b.Count(journal.Entry{Kind: journal.Fault, Connector: "cielo", Reference: "o1", Name: "garbage"}, false)
	b.Count(journal.Entry{Kind: journal.Answered, Connector: "cielo", Reference: "o1", Name: "key"}, true)
	b.Fault("cielo", "ref", "garbage")
	b.Fault("cielo", "ref", "garbage")
	if s := b.Summary(); s.Orders != 0 || s.Faults["cielo"]["garbage"] != 3 || s.References != 2 || s.Met["garbage"] != 2 {
		t.Errorf("%+v", s)
	}
}

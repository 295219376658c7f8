package ledger_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/processors/ledger"
)

var kinds = []ledger.JournalKind{
	ledger.JournalHold, ledger.JournalPost, ledger.JournalRelease, ledger.JournalCompensation, ledger.JournalRefund,
}

func kind(t *testing.T, d *datadriven.TestData) ledger.JournalKind {
	t.Helper()
	var word string
	d.ScanArgs(t, "kind", &word)
	i := slices.IndexFunc(kinds, func(k ledger.JournalKind) bool { return k.String() == word })
	if i < 0 {
		t.Fatalf("unknown kind %q", word)
	}
	return kinds[i]
}

func integer(t *testing.T, s string) int64 {
	t.Helper()
	switch s {
	case "max":
		return math.MaxInt64
	case "min":
		return math.MinInt64
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A line is account, currency, amount and, where it holds only, "pending".
func journal(t *testing.T, d *datadriven.TestData) ledger.Journal {
	t.Helper()
	j := ledger.Journal{Kind: kind(t, d)}
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		p := ledger.Posting{Account: f[0], Currency: f[1], AmountMinor: integer(t, f[2]), Layer: ledger.LayerPosted}
		switch {
		case len(f) == 4 && f[3] == "pending":
			p.Layer = ledger.LayerPending
		case len(f) == 4:
			p.Layer = 0
		}
		j.Postings = append(j.Postings, p)
	}
	return j
}

func TestTables(t *testing.T) {
	datadriven.Walk(t, "testdata/tables", func(t *testing.T, path string) {
		var bs []ledger.Balance
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "check":
				if err := journal(t, d).Check(); err != nil {
					return err.Error() + "\n"
				}
				return "ok\n"
			case "reverse":
				var out strings.Builder
				j := journal(t, d).Reverse(ledger.JournalRelease)
				for _, p := range j.Postings {
					fmt.Fprintf(&out, "%s %s %s %d %s\n", j.Kind, p.Account, p.Currency, p.AmountMinor, p.Layer)
				}
				return out.String()
			case "balances":
				bs = nil
				for line := range strings.Lines(d.Input) { // currency posted held incoming
					f := strings.Fields(line)
					bs = append(bs, ledger.Balance{Currency: f[0], PostedMinor: integer(t, f[1]), HeldMinor: integer(t, f[2]), IncomingMinor: integer(t, f[3])})
				}
				return show(bs)
			case "apply":
				after, ok := ledger.Apply(bs, "acc", journal(t, d))
				if !ok {
					return "refused\n"
				}
				bs = after
				return show(bs)
			case "covers": // overdraft amount fee, against the first balance
				var out strings.Builder
				for line := range strings.Lines(d.Input) {
					f := strings.Fields(line)
					fmt.Fprintf(&out, "%s: %t\n", strings.Join(f, " "), ledger.Covers(bs[0], integer(t, f[0]), integer(t, f[1]), integer(t, f[2])))
				}
				return out.String()
			default:
				t.Fatalf("unknown command %q", d.Cmd)
				return ""
			}
		})
	})
}

func show(bs []ledger.Balance) string {
	var out strings.Builder
	for _, b := range bs {
		fmt.Fprintf(&out, "%s posted %d held %d incoming %d available %d\n", b.Currency, b.PostedMinor, b.HeldMinor, b.IncomingMinor, ledger.Available(b))
	}
	return out.String()
}

// balanced draws a journal whose lines sum to zero per layer and currency.
func balanced(kind ledger.JournalKind, layer ledger.Layer) *rapid.Generator[ledger.Journal] {
	return rapid.Custom(func(t *rapid.T) ledger.Journal {
		j := ledger.Journal{Kind: kind}
		for range rapid.IntRange(1, 6).Draw(t, "pairs") {
			amount := rapid.OneOf(rapid.Int64Range(1, 1000), rapid.Int64Range(1, math.MaxInt64)).Draw(t, "amount")
			if rapid.Bool().Draw(t, "debit") {
				amount = -amount
			}
			c := rapid.SampledFrom([]string{"BRL", "USD", "JPY"}).Draw(t, "currency")
			j.Postings = append(j.Postings,
				ledger.Posting{Account: "acc", Currency: c, AmountMinor: amount, Layer: layer},
				ledger.Posting{Account: ledger.SysTransit, Currency: c, AmountMinor: -amount, Layer: layer})
		}
		j.Postings = rapid.Permutation(j.Postings).Draw(t, "order")
		return j
	})
}

// Invariant: a journal sums to zero per layer and currency, exactly, whatever the order of its lines.
func TestCheckEqualsBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := ledger.Journal{Kind: ledger.JournalPost}
		j.Postings = append(j.Postings, balanced(ledger.JournalPost, ledger.LayerPosted).Draw(t, "posted").Postings...)
		j.Postings = append(j.Postings, balanced(ledger.JournalPost, ledger.LayerPending).Draw(t, "pending").Postings...)
		j.Postings = rapid.Permutation(j.Postings).Draw(t, "order")
		if rapid.Bool().Draw(t, "disturb") {
			p := &j.Postings[rapid.IntRange(0, len(j.Postings)-1).Draw(t, "line")]
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				p.AmountMinor += rapid.Int64().Draw(t, "by")
			case 1:
				p.Currency = rapid.SampledFrom([]string{"BRL", "USD", "JPY"}).Draw(t, "currency")
			case 2:
				p.Layer = 3 - p.Layer
			}
		}
		type group struct {
			layer    ledger.Layer
			currency string
		}
		sums := map[group]*big.Int{}
		malformed := false
		for _, p := range j.Postings {
			malformed = malformed || p.AmountMinor == 0 || p.AmountMinor == math.MinInt64
			g := group{p.Layer, p.Currency}
			if sums[g] == nil {
				sums[g] = new(big.Int)
			}
			sums[g].Add(sums[g], big.NewInt(p.AmountMinor))
		}
		even := true
		for _, s := range sums {
			even = even && s.Sign() == 0
		}
		err := j.Check()
		if (err == nil) != (even && !malformed) {
			t.Fatalf("even %t, malformed %t, got %v", even, malformed, err)
		}
		if err == nil {
			if r := j.Reverse(ledger.JournalRefund); r.Check() != nil || r.Kind != ledger.JournalRefund {
				t.Fatalf("the reverse fails: %v", r.Check())
			}
			if !slices.Equal(j.Reverse(ledger.JournalRefund).Reverse(j.Kind).Postings, j.Postings) {
				t.Fatal("reversed twice it is another journal")
			}
		}
	})
}

// A hold and its release, a post and its compensation leave what was there, and leave the argument alone.
func TestApplyThenReverseIsIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.Int64Range(0, 1e6)
		var bs []ledger.Balance
		for _, c := range []string{"USD", "BRL", "JPY"} {
			bs = append(bs, ledger.Balance{Currency: c, PostedMinor: rapid.Int64Range(-1e6, 1e6).Draw(t, "posted"), HeldMinor: small.Draw(t, "held"), IncomingMinor: small.Draw(t, "incoming")})
		}
		before := slices.Clone(bs)
		hold := rapid.Bool().Draw(t, "hold")
		forth, back, layer := ledger.JournalPost, ledger.JournalCompensation, ledger.LayerPosted
		if hold {
			forth, back, layer = ledger.JournalHold, ledger.JournalRelease, ledger.LayerPending
		}
		j := balanced(forth, layer).Draw(t, "journal")
		after, ok := ledger.Apply(bs, "acc", j)
		if !slices.Equal(bs, before) {
			t.Fatal("the argument changed")
		}
		if !ok {
			return
		}
		for i, b := range after {
			if b.Currency != bs[i].Currency {
				t.Fatalf("order changed: %+v", after)
			}
			if hold && (b.PostedMinor != bs[i].PostedMinor || b.HeldMinor < bs[i].HeldMinor || b.IncomingMinor < bs[i].IncomingMinor) {
				t.Fatalf("a hold made %+v of %+v", b, bs[i])
			}
		}
		r := j.Reverse(back)
		if !hold {
			slices.Reverse(r.Postings) // back through the same balances, so that none overflows on the way
		}
		if again, ok := ledger.Apply(after, "acc", r); !ok || !slices.Equal(again, bs) {
			t.Fatalf("%+v became %+v, %t", bs, again, ok)
		}
	})
}

// What an account and its counterparts hold together never changes.
func TestApplyConservesMoney(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		books := map[string][]ledger.Balance{}
		for _, a := range []string{"acc", ledger.SysTransit} {
			books[a] = []ledger.Balance{{Currency: "BRL"}, {Currency: "USD"}, {Currency: "JPY"}}
		}
		for range rapid.IntRange(1, 10).Draw(t, "journals") {
			j := balanced(ledger.JournalPost, ledger.LayerPosted).Draw(t, "journal")
			payer, ok := ledger.Apply(books["acc"], "acc", j)
			other, both := ledger.Apply(books[ledger.SysTransit], ledger.SysTransit, j)
			if ok && both {
				books["acc"], books[ledger.SysTransit] = payer, other
			}
			for i, b := range books["acc"] {
				if b.PostedMinor+books[ledger.SysTransit][i].PostedMinor != 0 {
					t.Fatalf("%s: %+v", b.Currency, books)
				}
			}
		}
	})
}

func TestCoversEqualsBig(t *testing.T) {
	near := rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64Range(math.MaxInt64-3, math.MaxInt64), rapid.Int64Range(math.MinInt64, math.MinInt64+3), rapid.Int64())
	rapid.Check(t, func(t *rapid.T) {
		b := ledger.Balance{PostedMinor: near.Draw(t, "posted"), HeldMinor: near.Draw(t, "held")}
		overdraft, amount, fee := near.Draw(t, "overdraft"), near.Draw(t, "amount"), near.Draw(t, "fee")
		sum := func(xs ...int64) *big.Int {
			s := new(big.Int)
			for _, x := range xs {
				s.Add(s, big.NewInt(x))
			}
			return s
		}
		want := sum(amount, fee).Cmp(new(big.Int).Sub(sum(b.PostedMinor, overdraft), big.NewInt(b.HeldMinor))) <= 0
		if got := ledger.Covers(b, overdraft, amount, fee); got != want {
			t.Fatalf("got %t, want %t", got, want)
		}
		available := new(big.Int).Sub(big.NewInt(b.PostedMinor), big.NewInt(b.HeldMinor))
		if got := ledger.Available(b); available.IsInt64() && got != available.Int64() || !available.IsInt64() && got != math.MinInt64 {
			t.Fatalf("available %d, want %s", got, available)
		}
	})
}

func TestCheckAllocatesNothing(t *testing.T) {
	j := ledger.Journal{Kind: ledger.JournalPost, Postings: []ledger.Posting{
		{Account: "acc_a", Currency: "USD", AmountMinor: -1000, Layer: ledger.LayerPosted},
		{Account: "acc_a", Currency: "USD", AmountMinor: -10, Layer: ledger.LayerPosted},
		{Account: ledger.SysFees, Currency: "USD", AmountMinor: 10, Layer: ledger.LayerPosted},
		{Account: ledger.SysFX, Currency: "USD", AmountMinor: 1000, Layer: ledger.LayerPosted},
		{Account: ledger.SysFX, Currency: "BRL", AmountMinor: -5432, Layer: ledger.LayerPosted},
		{Account: ledger.SysTransit, Currency: "BRL", AmountMinor: 5432, Layer: ledger.LayerPosted},
	}}
	b := ledger.Balance{PostedMinor: 5000}
	if n := testing.AllocsPerRun(100, func() {
		if err := j.Check(); err != nil || !ledger.Covers(b, 0, 1000, 10) {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzCheck reads journals of up to nine bytes a line; whatever checks can be reversed and applied to nobody's harm.
func FuzzCheck(f *testing.F) {
	line := func(flags byte, amount int64) []byte {
		return binary.BigEndian.AppendUint64([]byte{flags}, uint64(amount))
	}
	f.Add(slices.Concat(line(0, -5), line(1, 5)))
	f.Add(slices.Concat(line(0, math.MaxInt64), line(0, math.MaxInt64), line(0, 2)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		j := ledger.Journal{Kind: ledger.JournalHold}
		for ; len(raw) >= 9; raw = raw[9:] {
			p := ledger.Posting{Account: "acc", Currency: "BRL", AmountMinor: int64(binary.BigEndian.Uint64(raw[1:])), Layer: ledger.LayerPosted}
			if raw[0]&1 != 0 {
				p.Account = ledger.SysClearing("book")
			}
			if raw[0]&2 != 0 {
				p.Currency = "USD"
			}
			if raw[0]&4 != 0 {
				p.Layer = ledger.LayerPending
			}
			j.Postings = append(j.Postings, p)
		}
		err := j.Check()
		if err != nil {
			if !errors.Is(err, ledger.ErrUnbalanced) && !errors.Is(err, ledger.ErrLine) {
				t.Fatal(err)
			}
			return
		}
		if err := j.Reverse(ledger.JournalRelease).Check(); err != nil {
			t.Fatal(err)
		}
		after, ok := ledger.Apply([]ledger.Balance{{Currency: "BRL"}, {Currency: "USD"}}, "acc", j)
		for _, b := range after {
			if !ok || b.HeldMinor < 0 || b.IncomingMinor < 0 {
				t.Fatalf("%+v %t", after, ok)
			}
		}
	})
}

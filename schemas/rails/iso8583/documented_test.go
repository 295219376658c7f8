package iso8583

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/processors/payment"
)

var rewriteFeed = flag.Bool("rewrite-feed", false, "write the tables of docs/card-feed.md anew")

const feedPage = "../../../docs/card-feed.md"

// Invariant: the page for acquirers has the tables of the code.
func TestDocumented(t *testing.T) {
	body, err := os.ReadFile(feedPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(body)
	for name, table := range map[string]string{"fields": fieldTable(), "codes": codeTable()} {
		begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->"
		before, rest, ok := strings.Cut(page, begin)
		written, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("no place for the %s in %s", name, feedPage)
		}
		if written != table && !*rewriteFeed {
			t.Errorf("the %s of %s are not those of the code: go test ./schemas/rails/iso8583 -run Documented -rewrite-feed", name, feedPage)
		}
		page = before + begin + table + end + after
	}
	if *rewriteFeed {
		if err := os.WriteFile(feedPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func fieldTable() string {
	var b strings.Builder
	b.WriteString("\n| field | | form |")
	all := types()
	for i := 0; i < len(all); i += 2 {
		fmt.Fprintf(&b, " %s / %s |", string(all[i]), string(all[i+1]))
	}
	b.WriteString("\n|---|---|---|" + strings.Repeat("---|", len(all)/2) + "\n")
	for _, e := range elements() {
		fmt.Fprintf(&b, "| %d | %s | %s |", e.id, e.name, e.expected())
		for i := 0; i < len(all); i += 2 {
			fmt.Fprintf(&b, " %c / %c |", e.use(i), e.use(i+1))
		}
		b.WriteString("\n")
	}
	return b.String() + "\n"
}

func codeTable() string {
	reasons := map[ResponseCode][]string{}
	for n := range 256 {
		r := payment.Reason(n)
		if code, ok := responseCode(r); ok && r != payment.ReasonNone {
			reasons[code] = append(reasons[code], "`"+r.String()+"`")
		}
	}
	var b strings.Builder
	b.WriteString("\n| 39 | reasons of the core |\n|---|---|\n")
	fmt.Fprintf(&b, "| %s | none: granted, or taken in |\n", string(ResponseApproved))
	for _, code := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(&b, "| %s | %s |\n", string(code), strings.Join(reasons[code], ", "))
	}
	return b.String() + "\n"
}

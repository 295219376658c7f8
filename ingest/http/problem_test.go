package http

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/processors/payment"
)

// Invariant: docs/errors.md has an entry for each error id, with the words that the API says.
func TestErrorsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, e := range catalogue() {
		entry := fmt.Sprintf("### %s\n\n`%d` %s.\n\n%s\n", e.id, e.status, e.title, e.meaning)
		if !strings.Contains(text, entry) {
			t.Errorf("docs/errors.md lacks or changes this entry:\n%s", entry)
		}
	}
	if n := len(regexp.MustCompile(`(?m)^### `).FindAllString(text, -1)); n != len(catalogue()) {
		t.Errorf("docs/errors.md has %d entries, %d exist", n, len(catalogue()))
	}
}

// Invariant: each reason has one meaning, and perhaps others by the kind of request; docs/errors.md has the words that a decline says, and
// may say more behind them.
func TestReasonsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	ms := newMeanings()
	if len(ms) != len(reasonEntries()) {
		t.Errorf("%d of %d entries are distinct", len(ms), len(reasonEntries()))
	}
	for n := range 256 {
		word := payment.Reason(n).String()
		if word == "unknown" || word == "unspecified" {
			continue
		}
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^\| %d \| .%s. \| .*$`, n, word)).FindString(string(b))
		if usual := ms[said{reason: word}]; usual == "" || !strings.HasPrefix(row, fmt.Sprintf("| %d | `%s` | %s", n, word, usual)) {
			t.Errorf("docs/errors.md says of reason %d %s: %q, a decline %q", n, word, row, usual)
		}
		for _, e := range reasonEntries() {
			if e.reason.String() == word && !strings.Contains(row, e.meaning) {
				t.Errorf("docs/errors.md does not say of reason %d %s: %s", n, word, e.meaning)
			}
		}
	}
}

func TestDeclineSaysWhatEachReasonMeans(t *testing.T) {
	got := newMeanings().detail(payment.KindPayOut, []string{"limit_day", "insufficient_funds"})
	want := "Declined: limit_day, insufficient_funds. Over the day's limit of the customer's KYC level. " +
		"The available balance, with the overdraft, does not cover amount and fee."
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Invariant: every error id that the code uses is in the catalogue, once.
func TestCatalogue(t *testing.T) {
	source, err := os.ReadFile("problem.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`ErrorID\s+= "([a-z_]+)"`).FindAllStringSubmatch(string(source), -1)
	ps := newProblems()
	if len(declared) != len(catalogue()) || len(ps) != len(catalogue()) {
		t.Errorf("%d declared, %d in the catalogue, %d distinct", len(declared), len(catalogue()), len(ps))
	}
	for _, d := range declared {
		if e, ok := ps[ErrorID(d[1])]; !ok || e.status < 400 || e.title == "" || e.meaning == "" {
			t.Errorf("%s: %+v", d[1], e)
		}
	}
	last := 0
	for _, e := range catalogue() {
		if e.status < last {
			t.Errorf("%s stands out of order", e.id)
		}
		last = e.status
	}
}

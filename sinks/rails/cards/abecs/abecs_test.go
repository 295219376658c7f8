package abecs_test

import (
	"testing"

	"github.com/caudalpay/caudal/sinks/rails/cards/abecs"
)

func TestDefault(t *testing.T) {
	table, err := abecs.Default()
	if err != nil {
		t.Fatal(err)
	}
	if table.Source() == "" || table.ValidFrom().Year() != 2024 {
		t.Errorf("%s of %s", table.Source(), table.ValidFrom())
	}
	for _, c := range []struct {
		brand, code string
		want        abecs.Verdict
	}{
		{"visa", "51", abecs.Reversible},
		{"visa", "05", abecs.Reversible},
		{"visa", "5", abecs.Reversible},
		{"Visa", "005", abecs.Reversible},
		{"visa", "14", abecs.Irreversible},
		{"visa", "41", abecs.Irreversible},
		{"visa", "54", abecs.Irreversible},
		{"visa", "91", abecs.Passing},
		{"visa", "n4", abecs.Reversible},
		// The same code means other things at other brands.
		{"visa", "04", abecs.Irreversible},
		{"elo", "04", abecs.Passing},
		{"visa", "06", abecs.Irreversible},
		{"elo", "06", abecs.Passing},
		{"elo", "63", abecs.Irreversible},
		{"mastercard", "63", abecs.Reversible},
		{"amex", "912", abecs.Passing},
		{"amex", "A5", abecs.Reversible},
		// Both at once, and what nobody knows.
		{"elo", "62", abecs.Irreversible},
		{"visa", "62", abecs.Reversible},
		{"mastercard", "57", abecs.Irreversible},
		{"visa", "", abecs.Irreversible},
		{"visa", "999", abecs.Irreversible},
		{"unheard", "51", abecs.Irreversible},
		{"", "51", abecs.Irreversible},
	} {
		if got := table.Verdict(c.brand, c.code); got != c.want {
			t.Errorf("%s %s: %d", c.brand, c.code, got)
		}
	}
}

func TestParse(t *testing.T) {
	const head = "version: 1\nsource: s\nvalid_from: 2024-07-12\ntables:\n"
	if _, err := abecs.Parse([]byte(head + "  - {brands: [visa], reversible: [\"05\", \"91\"], irreversible: [\"14\"], passing: [\"91\"]}\n")); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", head, "version: 2\nsource: s\nvalid_from: 2024-07-12\ntables: [{brands: [visa]}]",
		"version: 1\nsource: s\nvalid_from: soon\ntables: [{brands: [visa]}]",
		head + "  - {brands: [visa], reversible: [\"05\"], irreversible: [\"5\"]}\n",
		head + "  - {brands: [visa], reversible: [\"05\", \"05\"]}\n",
		head + "  - {brands: [visa], reversible: [\"05\"], passing: [\"91\"]}\n",
		head + "  - {brands: [visa], irreversible: [\"05\"], passing: [\"05\"]}\n",
		head + "  - {brands: [\"\"], reversible: [\"05\"]}\n",
		head + "  - {brands: [visa], reversible: [\"\"]}\n",
		head + "  - {brand: [visa]}\n",
		head + "  - {brands: [visa, visa], reversible: [\"05\"]}\n",
	} {
		if _, err := abecs.Parse([]byte(bad)); err == nil {
			t.Errorf("taken: %q", bad)
		}
	}
}

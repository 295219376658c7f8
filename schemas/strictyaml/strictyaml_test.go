package strictyaml_test

import (
	"strings"
	"testing"

	"github.com/caudalpay/caudal/schemas/strictyaml"
)

type form struct {
	Amount strictyaml.Whole   `yaml:"amount"`
	Names  []string           `yaml:"names"`
	Inner  map[string]float64 `yaml:"inner"`
}

func TestUnmarshal(t *testing.T) {
	var got form
	if err := strictyaml.Unmarshal([]byte("amount: -12\nnames: [a]\n"), &got); err != nil || got.Amount != -12 || got.Names[0] != "a" {
		t.Fatalf("%v, %v", got, err)
	}
	for _, bad := range []string{
		"amount: 1.5", "amount: 1e3", "amount: \"1\"", "amount: 0x10", "amount: 9223372036854775808", "amount: [1]",
		"amont: 1", "amount: 1\namount: 2", "names:\n !0 #0", "names: {", strings.Repeat("#", 1<<20+1),
	} {
		if err := strictyaml.Unmarshal([]byte(bad), &form{}); err == nil {
			t.Errorf("accepted %.40q", bad)
		}
	}
	if err := strictyaml.Peek([]byte("amount: 1\nother: 2"), &got); err != nil || got.Amount != 1 {
		t.Fatalf("%v, %v", got, err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte("amount: 1\nnames: [a, b]\ninner: {a: 1}"))
	f.Add([]byte("names:\n !0 #0"))
	f.Fuzz(func(_ *testing.T, raw []byte) { _ = strictyaml.Unmarshal(raw, &form{}) })
}

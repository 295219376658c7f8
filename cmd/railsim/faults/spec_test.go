package faults_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/caudalpay/caudal/cmd/railsim/faults"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]faults.Rate{"0%": 0, "2%": 20_000, "100%": 1_000_000, "0.5%": 5_000, "0.0001%": 1, "12.25%": 122_500, " 3% ": 30_000} {
		if got, err := faults.ParseRate(text); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "2", "%", "-1%", "101%", "100.0001%", "0.00001%", "x%", "+1%", "1e1%", ".5%"} {
		if got, err := faults.ParseRate(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

const text = "timeout_after=2%,error_before=0.5%,cielo.garbage=10%,bank.timeout_after=0%,latency=90%:5..20/1%:1000..3000," +
	"cielo/authorize/o1#2=reset_after,*/*/o2_ms=hook_delay,timeout_ms=100,hook_delay_ms=7,hook_reorder_ms=8"

const file = `
rates: {timeout_after: 2%, error_before: 0.5%}
connectors:
  cielo: {garbage: 10%}
  bank: {timeout_after: 0%}
latency:
  - {rate: 90%, min_ms: 5, max_ms: 20}
  - {rate: 1%, min_ms: 1000, max_ms: 3000}
script:
  - {connector: cielo, operation: authorize, reference: o1, call: 2, fault: reset_after}
  - {connector: "*", operation: "*", reference: o2_ms, fault: hook_delay}
timeout_ms: 100
hook_delay_ms: 7
hook_reorder_ms: 8
`

// A file and a flag say the same.
func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "faults.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	fromFile, err := faults.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	fromText, err := faults.Load(text)
	if err != nil {
		t.Fatal(err)
	}
	want := faults.Spec{
		Rates:      faults.Rates{faults.TimeoutAfter: 20_000, faults.ErrorBefore: 5_000},
		Connectors: map[string]faults.Rates{"cielo": {faults.Garbage: 100_000}, "bank": {faults.TimeoutAfter: 0}},
		Latency:    []faults.Bucket{{Rate: 900_000, Min: 5, Max: 20}, {Rate: 10_000, Min: 1000, Max: 3000}},
		Script: []faults.Script{
			{Connector: "cielo", Operation: "authorize", Reference: "o1", Call: 2, Fault: faults.ResetAfter},
			{Connector: "*", Operation: "*", Reference: "o2_ms", Fault: faults.HookDelay},
		},
		TimeoutMs: 100, HookDelayMs: 7, HookReorderMs: 8,
	}
	for name, got := range map[string]faults.Spec{"file": fromFile, "text": fromText} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
	}
}

func TestLoadDefaults(t *testing.T) {
	got, err := faults.Load("")
	if err != nil || got.TimeoutMs != 30_000 || len(got.Rates)+len(got.Script)+len(got.Latency) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestLoadRefusals(t *testing.T) {
	for _, text := range []string{
		"nofile.yaml", "colour=2%", "timeout_after=2", "timeout_after", "visa.timeout_after=2%", "cielo.colour=2%", "latency=5..20", "latency=60%:1..2/60%:1..2",
		"latency=1%:9..1", "latency=1%:x..1", "timeout_ms=x", "timeout_ms=-1", "other_ms=1", "cielo/authorize=garbage", "cielo/a/o1#x=garbage", "cielo/a/o1=colour", "visa/a/o1=garbage",
	} {
		if got, err := faults.Load(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
	path := filepath.Join(t.TempDir(), "faults.yaml")
	for _, text := range []string{"colours: 1", "rates: {timeout_after: 2}", "rates: {colour: 2%}", "rates: [1]"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := faults.Load(path); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// Each kind has a name of its own, and a wrong amount is always another one.
func TestPlan(t *testing.T) {
	seen := map[faults.Kind]bool{}
	for _, k := range faults.Kinds() {
		if seen[k] {
			t.Errorf("%s twice", k)
		}
		seen[k] = true
	}
	spec, err := faults.Load("wrong_amount=100%")
	if err != nil {
		t.Fatal(err)
	}
	plan := faults.NewPlan(spec, 1, func(faults.Site, faults.Kind) {})
	for _, amount := range []int64{1, 2, 100, 99_999, 1 << 53, 1 << 62} {
		for range 50 {
			if got := plan.Begin("cielo", "o1", "authorize").Amount(amount); got == amount || got <= 0 {
				t.Errorf("%d is told as %d", amount, got)
			}
		}
	}
}

// What falls on a webhook is decided by its reference and number too, in whatever order webhooks are made.
func TestHooksByNumber(t *testing.T) {
	spec, err := faults.Load("hook_duplicate=30%,hook_reorder=30%,hook_delay=30%,hook_lie_unknown=30%,hook_lie_amount=30%,hook_lie_state=30%")
	if err != nil {
		t.Fatal(err)
	}
	type drawn struct {
		duplicate, reorder bool
		delay              time.Duration
		lies               string
	}
	draw := func(seed uint64, numbers []int) map[int]drawn {
		plan := faults.NewPlan(spec, seed, func(faults.Site, faults.Kind) {})
		out := map[int]drawn{}
		for _, n := range numbers {
			h := plan.Hook("rede", fmt.Sprint("o", n/4), n%4+1)
			out[n] = drawn{h.Duplicate, h.Reorder, h.Delay, fmt.Sprint(h.Lies)}
		}
		return out
	}
	numbers := make([]int, 200)
	for i := range numbers {
		numbers[i] = i
	}
	want := draw(1, numbers)
	slices.Reverse(numbers)
	if got := draw(1, numbers); !reflect.DeepEqual(got, want) {
		t.Error("the order changes what falls")
	}
	if got := draw(2, numbers); reflect.DeepEqual(got, want) {
		t.Error("the seed changes nothing")
	}
	different := map[drawn]bool{}
	for _, d := range want {
		d.delay = min(d.delay, 1)
		different[d] = true
	}
	if len(different) < 30 { // of 64 combinations
		t.Errorf("only %d combinations fell", len(different))
	}
}

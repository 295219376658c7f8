package faults

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Rate is a share in parts per million.
type Rate int64

const whole Rate = 1_000_000

// ParseRate reads "2%" or "0.05%".
func ParseRate(s string) (Rate, error) {
	number, ok := strings.CutSuffix(strings.TrimSpace(s), "%")
	if !ok {
		return 0, fmt.Errorf("rate %q: want a percentage, such as 2%%", s)
	}
	units, fraction, _ := strings.Cut(number, ".")
	if len(fraction) > 4 {
		return 0, fmt.Errorf("rate %q: at most four decimals", s)
	}
	n, err := strconv.ParseUint(units+fraction+strings.Repeat("0", 4-len(fraction)), 10, 32)
	if err != nil || units == "" || Rate(n) > whole {
		return 0, fmt.Errorf("rate %q: want a percentage from 0%% to 100%%", s)
	}
	return Rate(n), nil
}

// UnmarshalYAML reads it as in a flag.
func (r *Rate) UnmarshalYAML(b []byte) error {
	var s string
	if err := yaml.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("decoding a rate: %w", err)
	}
	var err error
	*r, err = ParseRate(s)
	return err
}

// Bucket is a part of the distribution of latency: Rate of all calls take from Min to Max, evenly.
type Bucket struct {
	Rate Rate `yaml:"rate"`
	Min  int  `yaml:"min_ms"`
	Max  int  `yaml:"max_ms"`
}

// Script is a fault on purpose. Connector, Operation and Reference may be "*", Call 0: any.
type Script struct {
	Connector string `yaml:"connector"`
	Operation string `yaml:"operation"`
	Reference string `yaml:"reference"`
	Call      int    `yaml:"call"`
	Fault     Kind   `yaml:"fault"`
}

// Rates are shares by kind.
type Rates map[Kind]Rate

// Spec says how often what goes wrong.
type Spec struct {
	Rates      Rates            `yaml:"rates"`
	Connectors map[string]Rates `yaml:"connectors"` // instead of Rates, kind by kind
	Latency    []Bucket         `yaml:"latency"`    // calls in no bucket take no longer
	Script     []Script         `yaml:"script"`

	TimeoutMs     int `yaml:"timeout_ms"`      // a time-out is held open that long, or until the client leaves
	HookDelayMs   int `yaml:"hook_delay_ms"`   // a delayed webhook is late by up to that
	HookReorderMs int `yaml:"hook_reorder_ms"` // one to be overtaken waits for the next that long
}

// Load reads a spec from a flag: the path of a YAML file, or rates as text.
func Load(fileOrSpec string) (Spec, error) {
	if b, err := os.ReadFile(fileOrSpec); err == nil { //nolint:gosec // the operator's file
		var s Spec
		if err := yaml.UnmarshalWithOptions(b, &s, yaml.DisallowUnknownField()); err != nil {
			return Spec{}, fmt.Errorf("decoding %s: %w", fileOrSpec, err)
		}
		return s.complete()
	} else if !errors.Is(err, os.ErrNotExist) {
		return Spec{}, fmt.Errorf("reading faults: %w", err)
	}
	if fileOrSpec != "" && !strings.Contains(fileOrSpec, "=") {
		return Spec{}, fmt.Errorf("--faults %q is neither a file nor a list of kind=rate", fileOrSpec)
	}
	return parse(fileOrSpec)
}

// parse reads kind=rate, connector.kind=rate, latency=rate:min..max/..., connector/operation/reference#call=kind and the
// numbers of milliseconds, with commas between.
func parse(text string) (Spec, error) {
	var s Spec
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return Spec{}, fmt.Errorf("fault %q: want kind=rate", part)
		}
		if err := s.set(key, value); err != nil {
			return Spec{}, fmt.Errorf("fault %q: %w", part, err)
		}
	}
	return s.complete()
}

func (s *Spec) set(key, value string) error {
	switch {
	case key == string(Latency):
		return s.setLatency(value)
	case strings.Contains(key, "/"):
		return s.setScript(key, Kind(value))
	case strings.HasSuffix(key, "_ms"):
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("parsing milliseconds: %w", err)
		}
		return s.setMilliseconds(key, n)
	}
	rate, err := ParseRate(value)
	if err != nil {
		return err
	}
	connector, kind, ok := strings.Cut(key, ".")
	if !ok {
		connector, kind = "", key
	}
	rates := &s.Rates
	if ok {
		if s.Connectors == nil {
			s.Connectors = map[string]Rates{}
		}
		r := s.Connectors[connector]
		rates = &r
		defer func() { s.Connectors[connector] = *rates }()
	}
	if *rates == nil {
		*rates = Rates{}
	}
	(*rates)[Kind(kind)] = rate
	return nil
}

func (s *Spec) setMilliseconds(key string, n int) error {
	switch key {
	case "timeout_ms":
		s.TimeoutMs = n
	case "hook_delay_ms":
		s.HookDelayMs = n
	case "hook_reorder_ms":
		s.HookReorderMs = n
	default:
		return fmt.Errorf("%s is unknown", key)
	}
	return nil
}

func (s *Spec) setLatency(value string) error {
	for part := range strings.SplitSeq(value, "/") {
		rate, span, _ := strings.Cut(part, ":")
		low, high, ok := strings.Cut(span, "..")
		if !ok {
			return fmt.Errorf("latency %q: want rate:min..max in milliseconds", part)
		}
		r, err := ParseRate(rate)
		if err != nil {
			return err
		}
		minMs, err1 := strconv.Atoi(low)
		maxMs, err2 := strconv.Atoi(high)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("parsing milliseconds: %w", err)
		}
		s.Latency = append(s.Latency, Bucket{Rate: r, Min: minMs, Max: maxMs})
	}
	return nil
}

func (s *Spec) setScript(key string, kind Kind) error {
	where, number, _ := strings.Cut(key, "#")
	parts := strings.Split(where, "/")
	if len(parts) != 3 {
		return errors.New("want connector/operation/reference#call=kind")
	}
	call := 0
	if number != "" {
		var err error
		if call, err = strconv.Atoi(number); err != nil {
			return fmt.Errorf("parsing the number of the call: %w", err)
		}
	}
	s.Script = append(s.Script, Script{Connector: parts[0], Operation: parts[1], Reference: parts[2], Call: call, Fault: kind})
	return nil
}

// complete fills in defaults and refuses what cannot be meant.
func (s Spec) complete() (Spec, error) {
	s.TimeoutMs = cmp.Or(s.TimeoutMs, 30_000)
	s.HookDelayMs = cmp.Or(s.HookDelayMs, 5_000)
	s.HookReorderMs = cmp.Or(s.HookReorderMs, 2_000)
	if min(s.TimeoutMs, s.HookDelayMs, s.HookReorderMs) < 0 {
		return s, errors.New("milliseconds are not negative")
	}
	for _, rates := range append([]Rates{s.Rates}, valuesOf(s.Connectors)...) {
		for kind := range rates {
			if !slices.Contains(Kinds(), kind) {
				return s, fmt.Errorf("fault %q is unknown: choose of %v and latency", kind, Kinds())
			}
		}
	}
	for connector := range s.Connectors {
		if !slices.Contains(connectors(), connector) {
			return s, fmt.Errorf("connector %q is unknown: choose of %v", connector, connectors())
		}
	}
	for _, p := range s.Script {
		if !slices.Contains(Kinds(), p.Fault) {
			return s, fmt.Errorf("fault %q is unknown: choose of %v", p.Fault, Kinds())
		}
		if p.Connector != "*" && !slices.Contains(connectors(), p.Connector) {
			return s, fmt.Errorf("connector %q is unknown: choose of %v", p.Connector, connectors())
		}
	}
	var all Rate
	for _, b := range s.Latency {
		all += b.Rate
		if b.Min < 0 || b.Max < b.Min {
			return s, fmt.Errorf("latency %d..%d: want min..max", b.Min, b.Max)
		}
	}
	if all > whole {
		return s, errors.New("latency: the rates add up to more than 100%")
	}
	return s, nil
}

func connectors() []string { return []string{"cielo", "rede", "pagarme", "bank"} }

func valuesOf(m map[string]Rates) []Rates {
	out := make([]Rates, 0, len(m))
	for _, r := range m {
		out = append(out, r)
	}
	return out
}

// rate is how often a kind falls at a connector.
func (s Spec) rate(connector string, kind Kind) Rate {
	if r, ok := s.Connectors[connector][kind]; ok {
		return r
	}
	return s.Rates[kind]
}

func (s Spec) scripted(at Site, kind Kind) bool {
	return slices.ContainsFunc(s.Script, func(p Script) bool {
		return p.Fault == kind && (p.Connector == "*" || p.Connector == at.Connector) && (p.Operation == "*" || p.Operation == at.Operation) &&
			(p.Reference == "*" || p.Reference == at.Reference) && (p.Call == 0 || p.Call == at.Call)
	})
}

// Timeout is how long a time-out is held open.
func (s Spec) Timeout() time.Duration { return time.Duration(s.TimeoutMs) * time.Millisecond }

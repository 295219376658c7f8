package gokagroup_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
	"github.com/caudalpay/caudal/streams/gokagroup"
)

func ignore(goka.Context, any) {}

func TestGraphBecomesConfig(t *testing.T) {
	cfg, callback, err := gokagroup.Configure(graph(), testConfig([]string{"127.0.0.1:1"}))
	if err != nil || callback == nil {
		t.Fatal(err)
	}
	if _, err := engine.New(cfg, callback); err != nil {
		t.Error(err)
	}
	if cfg.Group != "g" || cfg.Input != input || cfg.Table != table || cfg.Side != side || cfg.DeadLetters != dead {
		t.Errorf("config is %+v", cfg)
	}
	if !slices.Equal(cfg.Outputs, []string{input, output}) || !slices.Equal(cfg.Joins, []string{limits}) || !slices.Equal(cfg.Lookups, []string{rates}) {
		t.Errorf("outputs %v, joins %v, lookups %v", cfg.Outputs, cfg.Joins, cfg.Lookups)
	}
	if len(cfg.Visitors) != 1 || cfg.Visitors["interest"] == nil || !cfg.Attributable([]byte("any")) {
		t.Errorf("visitors %v", cfg.Visitors)
	}
}

func TestInputsAndLoopBecomeConfig(t *testing.T) {
	str := new(codec.String)
	g := gokagroup.DefineGroup(group, gokagroup.Input(input, str, ignore), gokagroup.Input("other", str, ignore), gokagroup.Loop(str, ignore))
	cfg, _, err := gokagroup.Configure(g, testConfig([]string{"127.0.0.1:1"}))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Input != input || !slices.Equal(cfg.MoreInputs, []string{"other", "g-loop"}) || !slices.Equal(cfg.Outputs, []string{"g-loop"}) {
		t.Errorf("input %s, more inputs %v, outputs %v", cfg.Input, cfg.MoreInputs, cfg.Outputs)
	}
}

// TestWhatCannotBeKeptIsRefused: each refusal says what to do instead.
func TestWhatCannotBeKeptIsRefused(t *testing.T) {
	str, in := new(codec.String), gokagroup.Input(input, new(codec.String), ignore)
	persist := goka.Persist(str)
	for _, c := range []struct {
		what  string
		edges []gokagroup.Edge
		says  string
	}{
		{"the input twice", []gokagroup.Edge{in, in}, "two inputs read"},
		{"goka's loop", []gokagroup.Edge{in, goka.Loop(str, ignore)}, "use gokagroup.Loop"},
		{"two loops", []gokagroup.Edge{in, gokagroup.Loop(str, ignore), gokagroup.Loop(str, ignore)}, "two inputs read"},
		{"a loop without callback", []gokagroup.Edge{in, gokagroup.Loop(str, nil)}, "a callback"},
		{"goka's input", []gokagroup.Edge{goka.Input(input, str, ignore)}, "use gokagroup.Input"},
		{"goka's inputs", []gokagroup.Edge{goka.Inputs(goka.Streams{"a", "b"}, str, ignore)}, "use gokagroup.Input"},
		{"goka's visitor", []gokagroup.Edge{in, persist, goka.Visitor("v", ignore)}, "use gokagroup.Visitor"},
		{"no input", []gokagroup.Edge{persist}, "no input"},
		{"nil edge", []gokagroup.Edge{in, nil}, "an edge is nil"},
		{"foreign edge", []gokagroup.Edge{in, foreign{in}}, "unknown"},
		{"no topic", []gokagroup.Edge{gokagroup.Input("", str, ignore)}, "needs a topic"},
		{"no callback", []gokagroup.Edge{gokagroup.Input(input, str, nil)}, "a callback"},
		{"no codec", []gokagroup.Edge{gokagroup.Input(input, nil, ignore)}, "no codec"},
		{"two codecs", []gokagroup.Edge{in, goka.Output(input, new(codec.Int64))}, "two codecs"},
		{"two tables", []gokagroup.Edge{in, persist, goka.Persist(str)}, "more than one group table"},
		{"visitor without table", []gokagroup.Edge{in, gokagroup.Visitor("v", ignore)}, "stateless"},
		{"two visitors of a name", []gokagroup.Edge{in, persist, gokagroup.Visitor("v", ignore), gokagroup.Visitor("v", ignore)}, "named v"},
		{"nameless visitor", []gokagroup.Edge{in, persist, gokagroup.Visitor("", ignore)}, "needs a name"},
		{"the table as output", []gokagroup.Edge{in, persist, goka.Output(table, str)}, "group table"},
	} {
		_, err := gokagroup.New(gokagroup.DefineGroup(group, c.edges...), testConfig([]string{"127.0.0.1:1"}))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: New says %v, want %q in it", c.what, err, c.says)
		}
	}
}

type foreign struct{ gokagroup.Edge }

func TestConfigIsTheGraphs(t *testing.T) {
	for what, spoil := range map[string]func(*engine.Config){
		"come from the graph": func(c *engine.Config) { c.Input = "other" },
		"leave them empty":    func(c *engine.Config) { c.Outputs = []string{"other"} },
		"Partitions is 0":     func(c *engine.Config) { c.Partitions = 0 },
		"No Brokers":          func(c *engine.Config) { c.Brokers = nil },
	} {
		cfg := testConfig([]string{"127.0.0.1:1"})
		spoil(&cfg)
		if _, err := gokagroup.New(graph(), cfg); err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(what)) {
			t.Errorf("New says %v, want %q in it", err, what)
		}
	}
}

// TestHasherIsKafkas compares with the hash that is written out in package topics.
func TestHasherIsKafkas(t *testing.T) {
	h := gokagroup.Hasher()
	for i := range 5000 {
		key := []byte(strings.Repeat("k", i%23) + string(rune(i)))
		h.Reset()
		_, _ = h.Write(key[:len(key)/2])
		_, _ = h.Write(key[len(key)/2:])
		want := topics.Hasher()
		_, _ = want.Write(key)
		if h.Sum32() != want.Sum32() {
			t.Fatalf("%q: %d, want %d", key, h.Sum32(), want.Sum32())
		}
	}
	if gokagroup.Hasher().Sum32() != topics.Hasher().Sum32() {
		t.Error("the empty key has another hash")
	}
}

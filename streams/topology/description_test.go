package topology

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
)

// Invariant: the description names what Goka's graph of the group has, each topic as what it is.
func TestDescriptionIsTheGraph(t *testing.T) {
	cfg, _ := Accounts(engine.Config{Partitions: 4})
	g := Graph(cfg.Partitions)
	want := map[Role][]string{RoleTable: {g.GroupTable().Topic()}, RoleSide: {cfg.Side}, RoleDeadLetters: {cfg.DeadLetters}}
	for _, e := range g.InputStreams() {
		want[RoleInput] = append(want[RoleInput], e.Topic())
	}
	for _, e := range g.LookupTables() {
		want[RoleLookup] = append(want[RoleLookup], e.Topic())
	}
	for _, e := range g.OutputStreams() {
		role := RoleOutput
		if e.Topic() == cfg.Input {
			role = RoleLoop
		}
		want[role] = append(want[role], e.Topic())
	}
	got := map[Role][]string{}
	for _, e := range DescribeAccounts(4).Edges {
		got[e.Role] = append(got[e.Role], e.Topic)
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("described %v, the graph has %v", got, want)
	}
}

// message decodes bytes as the message a description names, and refuses what that message does not know.
func message(t *testing.T, schema string, b []byte) {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(schema))
	if err != nil {
		t.Fatalf("%q is no message: %v", schema, err)
	}
	m := kind.New().Interface()
	if err := proto.Unmarshal(b, m); err != nil || len(m.ProtoReflect().GetUnknown()) > 0 {
		t.Fatalf("not a %s: %v", schema, err)
	}
	if again, err := (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil || !bytes.Equal(again, b) {
		t.Fatalf("%s reads other bytes than it writes: %v", schema, err)
	}
}

// Invariant: what the group reads, writes and stores is described, with the message it is; nothing else is described.
func TestDescriptionIsWhatTheGroupDoes(t *testing.T) {
	d, traffic := newDecided(t, 2), newTraffic(t, 1, 6, 2)
	for range 1500 {
		d.run(t, traffic.next()...)
	}
	description := DescribeAccounts(2)
	edges := map[string]Edge{}
	for _, e := range description.Edges {
		edges[e.Topic] = e // the loop, where a topic is the input, too: one topic, one message
	}
	seen := map[string]bool{}
	for _, e := range d.emits {
		if r := edges[e.topic].Role; r != RoleOutput && r != RoleLoop {
			t.Fatalf("%s is written and described as %q", e.topic, r)
		}
		message(t, edges[e.topic].Schema, e.value)
		seen[e.topic] = true
	}
	kinds := map[string]Record{}
	for _, r := range description.Records {
		kinds[r.Kind] = r
	}
	side := func(scope string, records map[string][]byte) {
		for k, v := range records {
			kind, _, _ := strings.Cut(k, "\x00")
			r, ok := kinds[kind]
			if !ok || r.Scope != scope || r.Owner != topics.AccountsGroup {
				t.Fatalf("a side record of kind %q in scope %s is described as %+v", kind, scope, r)
			}
			switch {
			case strings.HasPrefix(r.Value, "caudal."):
				message(t, r.Value, v)
			case r.Value == marker && len(v) != 1:
				t.Errorf("%s is %d bytes, not a marker", kind, len(v))
			}
			seen[kind] = true
		}
	}
	for _, m := range d.memory {
		side(scopePartition, m.shared)
		for _, own := range m.own {
			side(scopeKey, own)
		}
		for _, cell := range m.cells {
			message(t, accountsCellSchema(description), cell)
		}
	}
	for key, document := range reference(t) {
		topic, _, _ := strings.Cut(key, "/")
		if edges[topic].Role != RoleLookup {
			t.Fatalf("%s is looked up and described as %q", topic, edges[topic].Role)
		}
		message(t, edges[topic].Schema, document)
		seen[topic] = true
	}
	for _, e := range description.Edges {
		if (e.Role == RoleOutput || e.Role == RoleLookup) && !seen[e.Topic] {
			t.Errorf("%s is described and nothing goes there", e.Topic)
		}
	}
	for kind, r := range kinds {
		if r.Owner == topics.AccountsGroup && !seen[kind] {
			t.Errorf("%s is described and never stored", kind)
		}
	}
}

func accountsCellSchema(d Description) string {
	return d.Edges[slices.IndexFunc(d.Edges, func(e Edge) bool { return e.Role == RoleTable })].Schema
}

// Invariant: every kind of record that the engine's source declares is described.
func TestEveryKindOfTheEngineIsDescribed(t *testing.T) {
	files, err := filepath.Glob("../engine/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !strings.HasSuffix(spec.Names[0].Name, "Kind") {
				return true
			}
			sum, ok := spec.Values[0].(*ast.BinaryExpr)
			if !ok {
				return true
			}
			if prefix, ok := sum.X.(*ast.Ident); !ok || prefix.Name != "EnginePrefix" {
				return true
			}
			name, err := strconv.Unquote(sum.Y.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared = append(declared, engine.EnginePrefix+name)
			return true
		})
	}
	var described []string
	for _, r := range engineRecords() {
		described = append(described, r.Kind)
	}
	slices.Sort(declared)
	slices.Sort(described)
	if len(declared) == 0 || !slices.Equal(declared, described) {
		t.Errorf("the engine declares %v, described are %v", declared, described)
	}
}

package topology

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/schemas/topics"
)

var rewrite = flag.Bool("rewrite", false, "rewrite docs/topology.md")

// TestTopologyIsDocumented draws docs/topology.md from the description and compares.
func TestTopologyIsDocumented(t *testing.T) {
	const path = "../../docs/topology.md"
	want := draw(DescribeAccounts(topics.PartitionsDefault))
	if *rewrite {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/topology.md differs from the description; run go test ./streams/topology -run Documented -rewrite\n%s", want)
	}
}

// draw writes a group as Markdown with a Mermaid diagram.
func draw(d Description) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Topology")
	line("")
	line("Drawn from the group's own description by `go test ./streams/topology -run Documented -rewrite`; a test compares, and others hold the")
	line("description to what the group reads, writes and stores. `caudal topology` prints it, `-o json`, `-o dot` and `-o svg` too.")
	line("")
	line("## %s", d.Group)
	line("")
	line("```mermaid")
	line("flowchart LR")
	line("  group([%s])", d.Group)
	for _, e := range d.Edges {
		line("  %s", arrow(e))
	}
	line("```")
	line("")
	line("%d partitions where this shows more than one (the embedded default; an installation chooses once); keys are spread by %s.", d.Partitions, d.Hash)
	line("Values are protobuf unless said otherwise; a decision's value is chained to the one before it in its partition.")
	line("")
	line("| topic | is its | key | value | partitions | keeps |")
	line("|---|---|---|---|---|---|")
	for _, e := range d.Edges {
		line("| `%s` | %s | %s | %s | %d | %s |", e.Topic, e.Role, e.Key, code(e.Schema), e.Partitions, e.Keeps)
	}
	line("")
	line("## Side records of %s", d.Group)
	line("")
	line("| kind | whose | scope | id | value |")
	line("|---|---|---|---|---|")
	for _, r := range d.Records {
		line("| `%s` | %s | %s | %s | %s |", r.Kind, r.Owner, r.Scope, r.ID, code(r.Value))
	}
	line("")
	line("Beside these, both changelogs hold fence records, under one key that no cell and no side record can have: they carry no state, a restore ends")
	line("at its own, and readers of the topics skip them.")
	return b.String()
}

// arrow is one edge of the diagram.
func arrow(e Edge) string {
	id := strings.NewReplacer(".", "_", "-", "_").Replace(e.Topic)
	stream, table := fmt.Sprintf("%s[/%s/]", id, e.Topic), fmt.Sprintf("%s[(%s)]", id, e.Topic)
	switch e.Role {
	case RoleInput:
		return stream + " --> group"
	case RoleLookup:
		return table + " -. lookup .-> group"
	case RoleTable, RoleSide:
		return "group <--> " + table
	case RoleDeadLetters:
		return "group -- what nobody owns --> " + stream
	case RoleLoop, RoleOutput:
		return "group --> " + stream
	}
	return "%% " + e.Topic
}

// code marks the names of messages.
func code(value string) string {
	if strings.HasPrefix(value, "caudal.") {
		return "`" + value + "`"
	}
	return value
}

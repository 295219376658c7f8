package topology

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
)

var rewrite = flag.Bool("rewrite", false, "rewrite docs/topology.md")

// TestTopologyIsDocumented draws docs/topology.md from the graph and compares.
func TestTopologyIsDocumented(t *testing.T) {
	const path = "../../docs/topology.md"
	cfg, _ := Accounts(engine.Config{Partitions: topics.PartitionsDefault})
	want := draw(cfg)
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
		t.Errorf("docs/topology.md differs from the graph; run go test ./streams/topology -run Documented -rewrite\n%s", want)
	}
}

// draw writes a group as Markdown with a Mermaid diagram.
func draw(cfg engine.Config) string {
	g := Graph(cfg.Partitions)
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Topology")
	line("")
	line("Drawn from the Goka graphs by `go test ./streams/topology -run Documented -rewrite`; a test compares.")
	line("")
	line("## %s", g.Group())
	line("")
	line("```mermaid")
	line("flowchart LR")
	line("  group([%s])", g.Group())
	for _, e := range g.InputStreams() {
		line("  %s[/%s/] --> group", id(e.Topic()), e.Topic())
	}
	for _, e := range g.LookupTables() {
		line("  %s[(%s)] -. lookup .-> group", id(e.Topic()), e.Topic())
	}
	for _, e := range g.OutputStreams() {
		line("  group --> %s[/%s/]", id(e.Topic()), e.Topic())
	}
	line("  group <--> %s[(%s)]", id(g.GroupTable().Topic()), g.GroupTable().Topic())
	line("  group <--> %s[(%s)]", id(cfg.Side), cfg.Side)
	line("  group -- what nobody owns --> %s[/%s/]", id(cfg.DeadLetters), cfg.DeadLetters)
	line("```")
	line("")
	line("| side record | scope | id | value |")
	line("|---|---|---|---|")
	for _, r := range [][4]string{
		{PaymentKind, "key", "identity part of the payment id", "PaymentRecord"},
		{CommandKind, "key", "command id", "CommandRecord"},
		{LegKind, "key", "identity part of the transfer id", "format version, 1 byte"},
		{PartyKind, "key", "digest of a counterparty", "format version, 1 byte"},
		{DueKind, "partition", "due_at_us (8 bytes big endian), account, payment id, purpose (1 byte)", "format version, 1 byte"},
		{TickKind, "partition", "empty", "the last minute, 8 bytes big endian"},
		{ChainKind, "partition", "empty", "SHA-256 of the last decision"},
		{engine.ParkedKind, "key", "offset, 8 bytes big endian", "the engine's: a record that waits"},
		{engine.AppliedKind, "partition", "input topic", "the engine's: next offset, 8 bytes big endian"},
		{engine.WaitingKind, "partition", "offset of the control record, 8 bytes big endian", "the engine's: what an operator asked for and is not done, JSON"},
		{engine.HandledKind, "partition", "offset of the control record, 8 bytes big endian", "the engine's: the same, done"},
	} {
		line("| `%s` | %s | %s | %s |", r[0], r[1], r[2], r[3])
	}
	return b.String()
}

func id(topic string) string { return strings.NewReplacer(".", "_", "-", "_").Replace(topic) }

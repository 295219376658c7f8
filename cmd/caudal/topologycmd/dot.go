package topologycmd

import (
	"fmt"
	"io"
	"strings"

	"github.com/caudalpay/caudal/streams/topology"
)

// writeDot writes the graph for Graphviz.
func writeDot(w io.Writer, d topology.Description) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("digraph %q {", d.Group)
	line("  rankdir=LR; node [shape=box, fontname=\"monospace\"]; edge [fontname=\"monospace\"];")
	line("  %q [shape=ellipse, label=\"%s\\n%d partitions\"];", "group "+d.Group, d.Group, d.Partitions)
	for _, e := range d.Edges {
		if e.Role != topology.RoleLoop { // its topic is there as the input
			shape := "box"
			if e.Role == topology.RoleTable || e.Role == topology.RoleSide || e.Role == topology.RoleLookup {
				shape = "cylinder"
			}
			line("  %q [shape=%s, label=\"%s\\n%s\\nkey: %s\"];", e.Topic, shape, e.Topic, e.Schema, e.Key)
		}
		group := "group " + d.Group
		switch e.Role {
		case topology.RoleInput:
			line("  %q -> %q;", e.Topic, group)
		case topology.RoleLookup:
			line("  %q -> %q [style=dashed, label=\"lookup\"];", e.Topic, group)
		case topology.RoleTable, topology.RoleSide:
			line("  %q -> %q [dir=both];", group, e.Topic)
		case topology.RoleLoop:
			line("  %q -> %q [constraint=false, label=\"loop\"];", group, e.Topic)
		case topology.RoleOutput, topology.RoleDeadLetters:
			line("  %q -> %q;", group, e.Topic)
		}
	}
	line("}")
	_, err := io.WriteString(w, b.String())
	return err
}

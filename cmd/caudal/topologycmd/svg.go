package topologycmd

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/caudalpay/caudal/streams/topology"
)

// The drawing has three layers: what the group reads, the group with its state under it, what it writes. Sizes are pixels.
const (
	margin     = 24.0
	layerGap   = 120.0 // for the arrows
	nodeGap    = 14.0
	stateGap   = 44.0 // between the group and its state
	padding    = 12.0
	titleSize  = 14.0
	textSize   = 12.0
	lineHeight = 17.0
	// charWidth of a monospaced font, of its size: the widest of the usual ones has 0.62.
	charWidth = 0.62
	loopRise  = 46.0 // how far the loop goes above the group and its input
)

// node is a box with its first line in bold.
type node struct {
	lines      []string
	class      string
	x, y, w, h float64
}

func newNode(class string, lines ...string) *node {
	n := &node{lines: lines, class: class, h: 2*padding + lineHeight*float64(len(lines)) - 4}
	for i, l := range lines {
		size := textSize
		if i == 0 {
			size = titleSize
		}
		n.w = max(n.w, 2*padding+size*charWidth*float64(len([]rune(l))))
	}
	return n
}

func (n *node) right() float64  { return n.x + n.w }
func (n *node) bottom() float64 { return n.y + n.h }

// link is an arrow between two boxes.
type link struct {
	from, to *node
	role     topology.Role
}

// drawing is the graph, placed.
type drawing struct {
	group         *node
	input         *node
	layers        [3][]*node
	links         []link
	width, height float64
}

func newDrawing(d topology.Description) *drawing {
	g := &drawing{group: newNode("group", "group "+d.Group, fmt.Sprintf("%d partitions", d.Partitions), "one transaction for all it writes")}
	g.layers[1] = []*node{g.group}
	for _, e := range d.Edges {
		if e.Role == topology.RoleLoop {
			g.links = append(g.links, link{g.group, g.input, e.Role})
			continue
		}
		n := newNode(class(e.Role), e.Topic, e.Schema, "key: "+e.Key, fmt.Sprintf("%s; keeps %s", count(e.Partitions), e.Keeps))
		switch e.Role {
		case topology.RoleInput, topology.RoleLookup:
			if e.Role == topology.RoleInput {
				g.input = n
			}
			g.layers[0] = append(g.layers[0], n)
			g.links = append(g.links, link{n, g.group, e.Role})
		case topology.RoleTable, topology.RoleSide:
			g.layers[1] = append(g.layers[1], n)
		case topology.RoleOutput, topology.RoleDeadLetters, topology.RoleLoop:
			g.layers[2] = append(g.layers[2], n)
			g.links = append(g.links, link{g.group, n, e.Role})
		}
	}
	records := []string{"side records"}
	for _, r := range d.Records {
		records = append(records, fmt.Sprintf("%s (%s)", r.Kind, r.Scope))
	}
	g.layers[1] = append(g.layers[1], newNode("records", records...))
	g.place()
	return g
}

func count(partitions int32) string {
	if partitions == 1 {
		return "1 partition"
	}
	return fmt.Sprintf("%d partitions", partitions)
}

func class(r topology.Role) string {
	switch r {
	case topology.RoleLookup, topology.RoleTable, topology.RoleSide:
		return "table"
	case topology.RoleDeadLetters:
		return "dead"
	case topology.RoleInput, topology.RoleLoop, topology.RoleOutput:
		return "stream"
	}
	return "stream"
}

// place stacks each layer's boxes, all of a layer as wide as its widest.
func (g *drawing) place() {
	x := margin
	for _, layer := range g.layers {
		w, y := 0.0, margin+loopRise
		for _, n := range layer {
			w = max(w, n.w)
		}
		for _, n := range layer {
			n.x, n.y, n.w = x, y, w
			g.height = max(g.height, n.bottom()+margin)
			y = n.bottom() + nodeGap
			if n == g.group {
				y = n.bottom() + stateGap
			}
		}
		x += w + layerGap
	}
	g.width = x - layerGap + margin
}

// writeSVG writes the drawing as one file that needs nothing else.
func writeSVG(w io.Writer, d topology.Description) error {
	g := newDrawing(d)
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="The graph of group %s">`,
		g.width, g.height, g.width, g.height, escaped(d.Group))
	line(`<style>
text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: %.0fpx; fill: #1c2530; }
.title { font-size: %.0fpx; font-weight: bold; }
rect { stroke: #44546a; stroke-width: 1.2; fill: #ffffff; }
.group { fill: #fff3d6; } .stream { fill: #e4f0fb; } .table { fill: #e6f5e9; } .records { fill: #f6faf7; } .dead { fill: #fbe6e4; }
path { fill: none; stroke: #44546a; stroke-width: 1.4; }
.lookup { stroke-dasharray: 5 4; }
</style>`, textSize, titleSize)
	line(`<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto-start-reverse"><path d="M0 0 L8 4 L0 8 z" style="fill:#44546a;stroke:none"/></marker></defs>`)
	line(`<rect x="0" y="0" width="%.0f" height="%.0f" style="stroke:none"/>`, g.width, g.height)
	g.arrows(line)
	for _, layer := range g.layers {
		for _, n := range layer {
			n.write(line)
		}
	}
	line(`</svg>`)
	_, err := io.WriteString(w, b.String())
	return err
}

// arrows spreads the ends of the links along the group's two sides, in the order of the boxes, so that none cross.
func (g *drawing) arrows(line func(string, ...any)) {
	ends := func(n, of int) float64 { return g.group.y + g.group.h*float64(n+1)/float64(of+1) }
	in, out := 0, 0
	for _, l := range g.links {
		switch l.role {
		case topology.RoleLoop:
			x1, x2, top := g.group.x+g.group.w/2, g.input.x+g.input.w/2, g.group.y
			line(`<path marker-end="url(#tip)" d="M%.1f %.1f C%.1f %.1f %.1f %.1f %.1f %.1f"/>`, x1, top, x1, top-loopRise-12, x2, top-loopRise-12, x2, top)
			line(`<text x="%.1f" y="%.1f" text-anchor="middle">loop: written by the group to its own input</text>`, (x1+x2)/2, margin-6)
		case topology.RoleInput, topology.RoleLookup:
			g.curve(line, l, l.from.y+l.from.h/2, ends(in, len(g.layers[0])))
			in++
		case topology.RoleOutput, topology.RoleDeadLetters, topology.RoleTable, topology.RoleSide:
			g.curve(line, l, ends(out, len(g.layers[2])), l.to.y+l.to.h/2)
			out++
		}
	}
	x := g.group.x + g.group.w/2
	line(`<path marker-start="url(#tip)" marker-end="url(#tip)" d="M%.1f %.1f L%.1f %.1f"/>`, x, g.group.bottom(), x, g.group.bottom()+stateGap)
	line(`<text x="%.1f" y="%.1f">its state</text>`, x+padding, g.group.bottom()+stateGap/2+4)
}

func (g *drawing) curve(line func(string, ...any), l link, y1, y2 float64) {
	style := "solid"
	if l.role == topology.RoleLookup {
		style = "lookup"
	}
	middle := (l.from.right() + l.to.x) / 2
	line(`<path class="%s" marker-end="url(#tip)" d="M%.1f %.1f C%.1f %.1f %.1f %.1f %.1f %.1f"/>`, style, l.from.right(), y1, middle, y1, middle, y2, l.to.x, y2)
}

func (n *node) write(line func(string, ...any)) {
	line(`<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="6"/>`, n.class, n.x, n.y, n.w, n.h)
	for i, l := range n.lines {
		title := ""
		if i == 0 {
			title = ` class="title"`
		}
		line(`<text%s x="%.1f" y="%.1f">%s</text>`, title, n.x+padding, n.y+padding+lineHeight*float64(i)+11, escaped(l))
	}
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a builder takes everything
	return b.String()
}

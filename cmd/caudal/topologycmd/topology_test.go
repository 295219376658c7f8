package topologycmd_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/cmd/caudal/topologycmd"
	"github.com/caudalpay/caudal/streams/topology"
)

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := topologycmd.New()
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(io.Discard)
	c.SilenceUsage = true
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

// Invariant: every topic and every kind of side record is in every form of the output.
func TestEveryFormShowsAll(t *testing.T) {
	d := topology.DescribeAccounts(32)
	for _, form := range []string{"table", "json", "dot", "svg"} {
		out, err := run(t, "-o", form, "--partitions", "32")
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		for _, e := range d.Edges {
			if !strings.Contains(out, e.Topic) || !strings.Contains(out, e.Schema) {
				t.Errorf("%s does not show %s with %s", form, e.Topic, e.Schema)
			}
		}
		for _, r := range d.Records {
			if !strings.Contains(out, r.Kind) && form != "dot" { // which is a graph of topics
				t.Errorf("%s does not show side records of kind %s", form, r.Kind)
			}
		}
		if !strings.Contains(out, "32") {
			t.Errorf("%s does not show the partitions", form)
		}
	}
	out, _ := run(t, "-o", "json", "--partitions", "32")
	var back topology.Description
	if err := json.Unmarshal([]byte(out), &back); err != nil || !reflect.DeepEqual(back, d) {
		t.Errorf("JSON does not come back as the description: %v\n%s", err, out)
	}
	for _, bad := range [][]string{{"-o", "png"}, {"--partitions", "0"}, {"extra"}} {
		if _, err := run(t, bad...); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

type box struct{ x, y, w, h float64 }

func (b box) holds(x, y float64) bool { return x >= b.x && x <= b.x+b.w && y >= b.y && y <= b.y+b.h }

// Invariant: the drawing is well-formed, its boxes lie apart and inside it, and each text in one box or in none, at full
// length: the least width a character is taken to have is that of the widest usual font.
func TestDrawingIsReadable(t *testing.T) {
	out, err := run(t, "-o", "svg")
	if err != nil {
		t.Fatal(err)
	}
	var boxes []box
	type text struct {
		x, y, size float64
		anchor, s  string
	}
	var texts []text
	decoder := xml.NewDecoder(strings.NewReader(out))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			at := map[string]string{}
			for _, a := range e.Attr {
				at[a.Name.Local] = a.Value
			}
			number := func(name string) float64 { n, _ := strconv.ParseFloat(at[name], 64); return n }
			switch e.Name.Local {
			case "rect":
				boxes = append(boxes, box{number("x"), number("y"), number("width"), number("height")})
			case "text":
				size := 12.0
				if at["class"] == "title" {
					size = 14
				}
				texts = append(texts, text{x: number("x"), y: number("y"), size: size, anchor: at["text-anchor"]})
			}
		case xml.CharData:
			if len(texts) > 0 && texts[len(texts)-1].s == "" {
				texts[len(texts)-1].s = strings.TrimSpace(string(e))
			}
		}
	}
	d := topology.DescribeAccounts(16)
	page, nodes := boxes[0], boxes[1:]
	if want := len(d.Edges) - 1 + 2; len(nodes) != want { // the loop has no box; the group and the kinds have
		t.Errorf("%d boxes, want %d", len(nodes), want)
	}
	for i, a := range nodes {
		if !page.holds(a.x, a.y) || !page.holds(a.x+a.w, a.y+a.h) {
			t.Errorf("box %d lies outside: %+v", i, a)
		}
		for j, b := range nodes[:i] {
			if a.x < b.x+b.w && b.x < a.x+a.w && a.y < b.y+b.h && b.y < a.y+a.h {
				t.Errorf("boxes %d and %d overlap", i, j)
			}
		}
	}
	inside := 0
	for _, l := range texts {
		width := 0.62 * l.size * float64(len([]rune(l.s)))
		left := l.x
		if l.anchor == "middle" {
			left -= width / 2
		}
		if !page.holds(left, l.y) || !page.holds(left+width, l.y) {
			t.Errorf("%q runs out of the drawing", l.s)
		}
		for _, b := range nodes {
			if b.holds(left, l.y) {
				inside++
				if !b.holds(left+width, l.y) || !b.holds(left, l.y-l.size) {
					t.Errorf("%q runs out of its box", l.s)
				}
			}
		}
	}
	if inside < 4*len(d.Edges) {
		t.Errorf("only %d lines stand in boxes", inside)
	}
}

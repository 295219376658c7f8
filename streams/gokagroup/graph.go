package gokagroup

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/lovoo/goka"
)

// Edge is Goka's: what Persist, Output, Join and Lookup return can be used as it is.
type Edge = goka.Edge

// inputEdge and visitorEdge keep what Goka's own edges hide.
type inputEdge struct {
	goka.Edge
	callback goka.ProcessCallback
	loop     bool
}

type visitorEdge struct {
	goka.Edge
	callback goka.ProcessCallback
}

// Input is a stream a group reads. Unlike Goka's it starts at the oldest record. With several, operators' words and visits go
// through the first.
func Input(topic goka.Stream, codec goka.Codec, callback goka.ProcessCallback) Edge {
	return &inputEdge{Edge: goka.Input(topic, codec, callback), callback: callback}
}

// Loop is the stream that a group writes to itself with Context.Loopback: the topic named after the group and "-loop".
func Loop(codec goka.Codec, callback goka.ProcessCallback) Edge {
	return &inputEdge{Edge: goka.Loop(codec, callback), callback: callback, loop: true}
}

// Visitor is called by Engine.Visit for every key of the group table. Its message is the meta of the visit: a []byte, or nil.
func Visitor(name string, callback goka.ProcessCallback) Edge {
	return &visitorEdge{goka.Visitor(name, callback), callback}
}

// Graph is a group's graph with its callbacks. The GroupGraph in it is the same graph for stock Goka and its tester.
type Graph struct {
	*goka.GroupGraph
	inputs   []*inputEdge
	visitors map[string]goka.ProcessCallback
	codecs   map[string]goka.Codec
	problems []error
}

// DefineGroup takes the place of goka.DefineGroup. What cannot be kept exactly once is told by Validate, and by New.
func DefineGroup(group goka.Group, edges ...Edge) *Graph {
	g := &Graph{visitors: map[string]goka.ProcessCallback{}, codecs: map[string]goka.Codec{}}
	var accepted []goka.Edge
	for _, e := range edges {
		stock, err := g.accept(group, e)
		if err != nil {
			g.problems = append(g.problems, err)
			continue
		}
		accepted = append(accepted, stock)
	}
	g.GroupGraph = goka.DefineGroup(group, accepted...)
	return g
}

// Validate says what is missing or cannot be kept exactly once, and what to do instead.
func (g *Graph) Validate() error {
	if err := errors.Join(append(g.problems, g.GroupGraph.Validate())...); err != nil {
		return fmt.Errorf("validating the graph of group %s: %w", g.Group(), err)
	}
	return nil
}

// accept returns the edge as stock Goka has it.
func (g *Graph) accept(group goka.Group, e Edge) (goka.Edge, error) {
	switch e := e.(type) {
	case nil:
		return nil, errors.New("an edge is nil")
	case *inputEdge:
		return e.Edge, g.acceptInput(group, e)
	case *visitorEdge:
		return e.Edge, g.acceptVisitor(e)
	}
	switch alone := goka.DefineGroup(group, e); {
	case alone.LoopStream() != nil:
		return nil, errors.New("goka.Loop hides its callback: use gokagroup.Loop")
	case len(alone.InputStreams()) > 0:
		return nil, fmt.Errorf("%s: goka.Input and goka.Inputs hide their callback: use gokagroup.Input", e)
	case len(alone.OutputStreams())+len(alone.JointTables())+len(alone.LookupTables()) > 0, alone.GroupTable() != nil:
		return e, g.acceptCodec(e)
	case len(alone.AllEdges()) > 0:
		return nil, fmt.Errorf("%s: goka.Visitor hides its callback: use gokagroup.Visitor", e)
	default:
		return nil, fmt.Errorf("%s: an edge of type %T is unknown", e, e)
	}
}

func (g *Graph) acceptInput(group goka.Group, e *inputEdge) error {
	if e.loop {
		goka.DefineGroup(group, e.Edge) // names its topic
	}
	if e.callback == nil || e.Topic() == "" {
		return errors.New("an input needs a topic and a callback")
	}
	if slices.ContainsFunc(g.inputs, func(other *inputEdge) bool { return other.Topic() == e.Topic() }) {
		return fmt.Errorf("two inputs read %s: let one callback do the work of both", e.Topic())
	}
	g.inputs = append(g.inputs, e)
	return g.acceptCodec(e)
}

func (g *Graph) acceptVisitor(e *visitorEdge) error {
	name := e.Topic()
	if name == "" || e.callback == nil {
		return errors.New("a visitor needs a name and a callback")
	}
	if g.visitors[name] != nil {
		return fmt.Errorf("two visitors are named %s", name)
	}
	g.visitors[name] = e.callback
	return nil
}

// acceptCodec: Goka has one codec per topic, and where edges differ the last one wins in silence.
func (g *Graph) acceptCodec(e Edge) error {
	topic, codec := e.Topic(), e.Codec()
	if codec == nil {
		return fmt.Errorf("%s has no codec", topic)
	}
	if other := g.codecs[topic]; other != nil && reflect.TypeOf(other) != reflect.TypeOf(codec) {
		return fmt.Errorf("%s has two codecs, %T and %T: use the same at all its edges", topic, other, codec)
	}
	g.codecs[topic] = codec
	return nil
}

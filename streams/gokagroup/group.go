package gokagroup

import (
	"fmt"
	"slices"

	"github.com/lovoo/goka"

	"github.com/caudalpay/caudal/streams/engine"
)

// Option changes how the callbacks of a group are called; each is named after Goka's processor option.
type Option func(*group)

// WithNilHandling says what happens to input records without a value. Like Goka, a group drops them unless told.
func WithNilHandling(handling goka.NilHandling) Option {
	return func(g *group) { g.nils = handling }
}

// WithProducerDefaultHeaders adds headers to all that is emitted; a header of the same name given to Emit wins.
func WithProducerDefaultHeaders(headers goka.Headers) Option {
	return func(g *group) { g.headers = headers }
}

// WithContextWrapper shows callbacks what the wrapper makes of their context. For Side, Engine and Reject the result must have
// methods Engine and Reject that forward to those of the wrapped context.
func WithContextWrapper(wrapper goka.ContextWrapper) Option {
	return func(g *group) { g.wrapper = wrapper }
}

// New makes the engine that runs the graph. See Configure for what the configuration must have.
func New(g *Graph, cfg engine.Config, options ...Option) (*engine.Engine, error) {
	cfg, callback, err := Configure(g, cfg, options...)
	if err != nil {
		return nil, err
	}
	return engine.New(cfg, callback)
}

// Configure completes an engine's configuration with what the graph says: Group, Input, MoreInputs, Outputs, Table, Joins, Lookups and
// Visitors, which the caller leaves empty. Where the caller names none, Side is the group's name and "-side", DeadLetters the
// input's and ".dead", Hasher is Kafka's, and Attributable takes every key, so that what fails is parked and not skipped.
// All topics must be there; the table's too, where the graph has no Persist.
func Configure(g *Graph, cfg engine.Config, options ...Option) (engine.Config, engine.Callback, error) {
	if err := g.Validate(); err != nil {
		return cfg, nil, err
	}
	if cfg.Group+cfg.Input+cfg.Table != "" || len(cfg.MoreInputs)+len(cfg.Outputs)+len(cfg.Joins)+len(cfg.Lookups)+len(cfg.Visitors) > 0 {
		return cfg, nil, fmt.Errorf("configuring group %s: Group, Input, MoreInputs, Table, Outputs, Joins, Lookups and Visitors come from the graph: leave them empty", g.Group())
	}
	cfg.Group, cfg.Table = string(g.Group()), string(goka.GroupTable(g.Group()))
	cfg.Input, cfg.MoreInputs = g.inputTopics()
	cfg.Outputs, cfg.Joins, cfg.Lookups = distinct(slices.Concat(g.OutputStreams(), g.loop())), distinct(g.JointTables()), distinct(g.LookupTables())
	if cfg.Side == "" {
		cfg.Side = cfg.Group + "-side"
	}
	if cfg.DeadLetters == "" {
		cfg.DeadLetters = cfg.Input + ".dead"
	}
	if cfg.Hasher == nil {
		cfg.Hasher = Hasher
	}
	if cfg.Attributable == nil {
		cfg.Attributable = func([]byte) bool { return true }
	}
	run := newGroup(g, cfg.Partitions, options)
	cfg.Visitors = make(map[string]engine.Callback, len(g.visitors))
	for name, visitor := range g.visitors {
		cfg.Visitors[name] = func(in *engine.Context, meta []byte) error {
			return run.contexts[in.Partition()].visit(in, name, visitor, meta)
		}
	}
	return cfg, func(in *engine.Context, value []byte) error { return run.contexts[in.Partition()].handle(in, value) }, nil
}

// inputTopics names the first input and the others.
func (g *Graph) inputTopics() (first string, more []string) {
	for _, e := range g.inputs[1:] {
		more = append(more, e.Topic())
	}
	return g.inputs[0].Topic(), more
}

// loop is the loop's edge, as an output too.
func (g *Graph) loop() goka.Edges {
	if loop := g.LoopStream(); loop != nil {
		return goka.Edges{loop}
	}
	return nil
}

func distinct(edges goka.Edges) []string {
	topics := edges.Topics()
	slices.Sort(topics)
	return slices.Compact(topics)
}

// group is what the contexts of a group share.
type group struct {
	name      goka.Group
	tableName goka.Table
	inputs    map[string]*inputEdge
	loop      *inputEdge // nil without
	table     goka.Codec // nil without Persist
	outputs   map[string]goka.Codec
	joins     map[string]goka.Codec
	lookups   map[string]goka.Codec
	nils      goka.NilHandling
	headers   goka.Headers
	wrapper   goka.ContextWrapper
	contexts  []*groupContext // by partition: each is used by one goroutine
}

func newGroup(g *Graph, partitions int32, options []Option) *group {
	run := &group{
		name: g.Group(), tableName: goka.GroupTable(g.Group()), inputs: map[string]*inputEdge{},
		outputs: codecs(slices.Concat(g.OutputStreams(), g.loop())), joins: codecs(g.JointTables()), lookups: codecs(g.LookupTables()),
	}
	for _, e := range g.inputs {
		run.inputs[e.Topic()] = e
		if e.loop {
			run.loop = e
		}
	}
	if table := g.GroupTable(); table != nil {
		run.table = table.Codec()
	}
	for _, o := range options {
		o(run)
	}
	for range partitions {
		run.contexts = append(run.contexts, newContext(run))
	}
	return run
}

func codecs(edges goka.Edges) map[string]goka.Codec {
	m := make(map[string]goka.Codec, len(edges))
	for _, e := range edges {
		m[e.Topic()] = e.Codec()
	}
	return m
}

// handle calls back for a record of an input.
func (c *groupContext) handle(in record, value []byte) error {
	input := c.group.inputs[in.Topic()]
	if input == nil { // parked when the graph was another
		return fmt.Errorf("no input of the graph reads %s", in.Topic())
	}
	var message any
	if value != nil || c.group.nils == goka.NilDecode {
		var err error
		if message, err = input.Codec().Decode(value); err != nil {
			return fmt.Errorf("decoding record of %s: %w", in.Topic(), err)
		}
	} else if c.group.nils == goka.NilIgnore {
		return nil
	}
	return c.call(in, goka.Stream(in.Topic()), input.callback, message)
}

// visit calls back for a key of a visit.
func (c *groupContext) visit(in record, name string, visitor goka.ProcessCallback, meta []byte) error {
	var message any
	if meta != nil {
		message = meta
	}
	return c.call(in, goka.Stream(name), visitor, message)
}

package gokagroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/streams/engine"
)

// record is what a context sees of the engine's; the tests bring their own.
type record interface {
	Key() string
	Topic() string
	Partition() int32
	Offset() int64
	Timestamp() time.Time
	Headers() []kgo.RecordHeader
	Context() context.Context
	Value() []byte
	SetValue(value []byte)
	DeleteValue()
	Join(table string) []byte
	Lookup(table, key string) ([]byte, bool)
	Emit(topic, key string, value []byte, headers ...kgo.RecordHeader)
}

// groupContext is the goka.Context of one partition, used for one callback after the other.
type groupContext struct {
	group   *group
	shown   goka.Context // this one
	in      record       // nil between callbacks
	topic   goka.Stream
	headers goka.Headers // nil until asked for
	failed  error        // what the callback ends with
}

func newContext(g *group) *groupContext {
	c := &groupContext{group: g}
	c.shown = c
	return c
}

// call runs a callback. The panic that ended it early is taken back here; any other is the callback's own and goes on to the
// engine, which parks the record.
func (c *groupContext) call(in record, topic goka.Stream, callback goka.ProcessCallback, message any) (err error) {
	c.in, c.topic, c.headers, c.failed = in, topic, nil, nil
	defer c.end(&err)
	shown := c.shown
	if c.group.wrapper != nil {
		shown = c.group.wrapper(shown)
	}
	callback(shown, message)
	return nil
}

// end also finds a failure whose panic the callback has swallowed.
func (c *groupContext) end(err *error) {
	if c.failed != nil {
		_ = recover()
		*err = c.failed
	}
	c.in = nil
}

// stopped is the panic that ends a callback early.
type stopped struct{}

func (stopped) Error() string { return "the callback has failed; its context said why" }

// Reject ends the callback with what an engine's callback would return. The first failure counts.
func (c *groupContext) Reject(err error) {
	if c.failed == nil {
		c.failed = err
	}
	panic(stopped{})
}

// Engine is the engine's own context of the record.
func (c *groupContext) Engine() *engine.Context { return c.in.(*engine.Context) }

func (c *groupContext) Topic() goka.Stream       { return c.topic }
func (c *groupContext) Key() string              { return c.in.Key() }
func (c *groupContext) Partition() int32         { return c.in.Partition() }
func (c *groupContext) Offset() int64            { return c.in.Offset() }
func (c *groupContext) Group() goka.Group        { return c.group.name }
func (c *groupContext) Timestamp() time.Time     { return c.in.Timestamp() }
func (c *groupContext) Context() context.Context { return c.in.Context() }

func (c *groupContext) Headers() goka.Headers {
	if c.headers == nil {
		all := c.in.Headers()
		c.headers = make(goka.Headers, len(all))
		for i := range all {
			c.headers[all[i].Key] = all[i].Value
		}
	}
	return c.headers
}

func (c *groupContext) Value() any {
	if c.group.table == nil {
		c.Reject(errNoTable)
	}
	return c.decode(c.group.table, c.in.Value(), c.group.tableName, c.in.Key())
}

var errNoTable = errors.New("the group has no table: add goka.Persist to its graph")

func (c *groupContext) SetValue(value any, options ...goka.ContextOption) {
	c.checkTableWrite(options)
	if value == nil {
		c.Reject(errors.New("cannot set nil as value: Delete deletes"))
	}
	c.in.SetValue(c.encode(c.group.table, value, string(c.group.tableName)))
}

func (c *groupContext) Delete(options ...goka.ContextOption) {
	c.checkTableWrite(options)
	c.in.DeleteValue()
}

// checkTableWrite: of all writes to a key in a transaction one record is left, so that there is no place for headers.
func (c *groupContext) checkTableWrite(options []goka.ContextOption) {
	if c.group.table == nil {
		c.Reject(errNoTable)
	}
	if len(options) > 0 {
		c.Reject(errors.New("a row of the group table has no headers: call SetValue and Delete without options"))
	}
}

func (c *groupContext) Join(table goka.Table) any {
	codec := c.group.joins[string(table)]
	if codec == nil {
		c.Reject(fmt.Errorf("table %s is not joined: add goka.Join to the graph", table))
	}
	return c.decode(codec, c.in.Join(string(table)), table, c.in.Key())
}

func (c *groupContext) Lookup(table goka.Table, key string) any {
	codec := c.group.lookups[string(table)]
	if codec == nil {
		c.Reject(fmt.Errorf("table %s is not looked up: add goka.Lookup to the graph", table))
	}
	row, _ := c.in.Lookup(string(table), key)
	return c.decode(codec, row, table, key)
}

func (c *groupContext) Emit(topic goka.Stream, key string, value any, options ...goka.ContextOption) {
	codec := c.group.outputs[string(topic)]
	if codec == nil {
		c.Reject(fmt.Errorf("topic %s is not among the outputs: add goka.Output to the graph, or SetValue if it is the group table", topic))
	}
	var data []byte
	if value != nil {
		data = c.encode(codec, value, string(topic))
	}
	if len(options) == 0 && len(c.group.headers) == 0 {
		c.in.Emit(string(topic), key, data)
		return
	}
	c.in.Emit(string(topic), key, data, recordHeaders(c.group.headers.Merged(emitHeaders(options)))...)
}

func (c *groupContext) Loopback(key string, value any, options ...goka.ContextOption) {
	if c.group.loop == nil {
		c.Reject(errors.New("the group has no loop: add gokagroup.Loop to the graph"))
	}
	c.Emit(goka.Stream(c.group.loop.Topic()), key, value, options...)
}

// Fail stops the engine, as it stops Goka's processor.
func (c *groupContext) Fail(err error) { c.Reject(engine.Retry(err)) }

func (c *groupContext) DeferCommit() func(error) {
	c.Reject(errors.New("DeferCommit would commit the input apart from what was made of it: finish the work in the callback, " +
		"or put it into a side table and let a later record go on with it"))
	return nil
}

func (c *groupContext) encode(codec goka.Codec, value any, topic string) []byte {
	data, err := codec.Encode(value)
	if err != nil {
		c.Reject(fmt.Errorf("encoding value for %s: %w", topic, err))
	}
	return data
}

func (c *groupContext) decode(codec goka.Codec, data []byte, table goka.Table, key string) any {
	if data == nil {
		return nil
	}
	value, err := codec.Decode(data)
	if err != nil {
		c.Reject(fmt.Errorf("decoding row %q of %s: %w", key, table, err))
	}
	return owned(value)
}

// owned copies what a codec of bytes returned: it is the state itself, and a callback that changed it would have changed the
// state outside of any transaction.
func owned(value any) any {
	if b, ok := value.([]byte); ok {
		return bytes.Clone(b)
	}
	return value
}

// engineContext is our context, or a wrapper that forwards to it.
type engineContext interface {
	goka.Context
	Engine() *engine.Context
}

// Engine gives the engine's own context of the record in work, for what Goka has no word for: partitions chosen by hand,
// lookups that wait, the logger. It panics where the context is another's, as in goka/tester.
func Engine(ctx goka.Context) *engine.Context {
	own, ok := ctx.(engineContext)
	if !ok {
		panic(fmt.Sprintf("gokagroup: a %T is no context of the engine: only groups made by gokagroup.New have one, "+
			"not stock Goka and its tester; a wrapped context must have the method Engine of the one it wraps", ctx))
	}
	return own.Engine()
}

// Reject ends the callback: nothing it did takes effect, and the record is parked, or a dead letter where the key cannot be
// parked. An error made by engine.Retry stops the engine instead, like Fail. On a context of stock Goka it is Fail.
func Reject(ctx goka.Context, err error) {
	if own, ok := ctx.(interface{ Reject(err error) }); ok {
		own.Reject(err)
	}
	ctx.Fail(err)
}

package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"runtime/debug"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Headers of a dead letter, before the record's own ones.
const (
	DeadReason    = "dead.reason"
	DeadTopic     = "dead.topic"
	DeadPartition = "dead.partition"
	DeadOffset    = "dead.offset"
	// DeadValueLeft is there when the value was too large to be copied: it is still in the input topic.
	DeadValueLeft = "dead.value_left"
	// A parked record that an operator discarded also has these; DeadControl is the offset of the operator's control record.
	DeadBy      = "dead.by"
	DeadWhy     = "dead.why"
	DeadControl = "dead.control"
)

// recordBytesMax bounds what a callback may write in one record. Above it the broker would refuse the whole transaction at
// every attempt, so one record would stop the partition for ever.
const recordBytesMax = 900 << 10

// partition is the state of one partition and the work on its records. It belongs to the engine and outlives generations.
// While records are handed out only the partition's goroutine touches it, while it is restored only the restorer;
// otherwise only the loop.
type partition struct {
	id, count    int32
	inputs       []string // by number
	outputs      []string
	deadLetters  string
	attributable func([]byte) bool
	callback     Callback
	visitors     map[string]Callback
	hasher       hash.Hash32
	lookups      *lookups
	joined       map[string]*followed // this partition of the joined tables
	log          *slog.Logger
	// clientOptions are for reading back a value that was left in the input.
	clientOptions func() []kgo.Opt
	stepMax       int

	cells, side *store
	appliedKeys []string       // by input
	applied     offsets        // by the committed state
	next        offsets        // the same with the open transaction
	parked      map[string]int // parked records by key; no key has 0
	parkedUndo  []parkedCount  // what the open transaction changed there
	tally       tally          // of the open transaction

	graphKey        string
	graph, graphNow string // what wrote the committed state, empty if unknown; what writes now

	// How far into its changelogs the state goes; folder and disk are nil where it is in memory.
	folder    *folder
	disk      *disk
	logs      [changelogs]string      // topics
	last      [changelogs]*kgo.Record // the last ones acknowledged, or read by a restore, since the last save
	positions [changelogs]position    // as of the last save
	marked    time.Time               // the mark's time, where it was read from disk
	local     bool                    // restored from disk or standby, as far as that went
	expected  [changelogs]position    // what the first record read should be
	doubt     error                   // why what was on disk cannot be right

	context Context
	produce func(*kgo.Record)
	slab    []kgo.Record // records are cut from it, so that an emission costs no allocation of its own
	scratch []byte

	ends   offsets   // of the inputs as the last poll saw them
	newest time.Time // timestamp of the last record that was polled

	// What is being worked on: see work; minus the number of the key in a visit, 0 if nothing. The watchdog looks at it.
	handling atomic.Int64
}

// parkedCount says how many records of a key are parked.
type parkedCount struct {
	key string
	n   int
}

// tally counts what happened to single records.
type tally struct{ dead, redriven, discarded int }

func newPartition(id int32, cfg *Config, cb Callback, lk *lookups) *partition {
	p := &partition{
		id: id, count: cfg.Partitions, inputs: cfg.inputs(), outputs: cfg.Outputs, deadLetters: cfg.DeadLetters,
		attributable: cfg.Attributable, callback: cb, visitors: cfg.Visitors, hasher: cfg.Hasher(), lookups: lk,
		joined: map[string]*followed{}, clientOptions: cfg.clientOptions,
		stepMax:  stepRecordsMax,
		log:      cfg.Logger.With("group", cfg.Group, "topic", cfg.Input, "partition", id),
		graphKey: string(SideKey{Scope: ScopePartition, Kind: GraphKind}.Encode()),
		graphNow: cfg.graph(),
		logs:     [changelogs]string{tableLog: cfg.Table, sideLog: cfg.Side},
	}
	for _, input := range p.inputs {
		p.appliedKeys = append(p.appliedKeys, string(SideKey{Scope: ScopePartition, Kind: AppliedKind, ID: input}.Encode()))
	}
	p.ends = newOffsets(len(p.inputs), none)
	p.reset()
	return p
}

// inputOf is the number of an input, -1 if it is none.
func (p *partition) inputOf(topic string) int { return slices.Index(p.inputs, topic) }

// reset forgets all state, before a restore. What is on disk stays there.
func (p *partition) reset() {
	if p.disk != nil {
		if err := p.disk.close(); err != nil {
			p.log.Warn("closing state on disk", "error", err)
		}
	}
	p.disk, p.last, p.positions = nil, [changelogs]*kgo.Record{}, [changelogs]position{}
	p.local, p.expected, p.doubt = false, [changelogs]position{}, nil
	side := newMemory(sideGroup)
	// Indexed from the start: sorting a large store in an open transaction, for an operator's first word, could outlast it.
	side.order(SideKey{Scope: ScopeKey, Kind: ParkedKind}.Encode())
	side.order(SideKey{Scope: ScopePartition, Kind: WaitingKind}.Encode())
	p.cells, p.side = newStore(p.cellMemory(), oneGroup), newStore(side, sideGroup)
	p.parked = map[string]int{}
	p.applied, p.next, p.graph = newOffsets(len(p.inputs), none), newOffsets(len(p.inputs), none), ""
	p.parkedUndo, p.tally = p.parkedUndo[:0], tally{}
}

// cellMemory is an empty base for cells. Only visits go through them in order.
func (p *partition) cellMemory() *memory {
	m := newMemory(oneGroup)
	if len(p.visitors) > 0 {
		m.order(nil)
	}
	return m
}

// oneGroup is that of all cells.
func oneGroup(string) string { return "" }

// bind readies the partition for a session's transactions.
func (p *partition) bind(run context.Context, produce func(*kgo.Record)) {
	p.context = Context{run: run, part: p, log: p.log}
	p.produce = produce
	p.handling.Store(0)
}

// work notes the record in work: its offset + 1, times the number of inputs, plus its input's number.
func (p *partition) work(r *kgo.Record) {
	p.handling.Store((r.Offset+1)*int64(len(p.inputs)) + int64(max(0, p.inputOf(r.Topic))))
}

// inWork says what work noted.
func (p *partition) inWork(noted int64) string {
	n := int64(len(p.inputs))
	return fmt.Sprintf("offset %d of %s", noted/n-1, p.inputs[noted%n])
}

// home is the partition a key hashes to.
func (p *partition) home(key []byte) int32 {
	p.hasher.Reset()
	_, _ = p.hasher.Write(key)                                    // a hash never fails
	return int32(p.hasher.Sum32() & 0x7fffffff % uint32(p.count)) //nolint:gosec // masked, and count is positive
}

// handle works on one record; an error stops the engine.
func (p *partition) handle(r *kgo.Record, key string) error {
	input := p.inputOf(r.Topic)
	if input < 0 {
		return fmt.Errorf("a record of %s, which is no input", r.Topic)
	}
	if r.Offset < p.next[input] {
		return fmt.Errorf("record %d of partition %d of %s was already applied, the next is %d", r.Offset, p.id, r.Topic, p.next[input])
	}
	p.next[input] = r.Offset + 1
	if r.Key == nil {
		p.bury(r, "the record has no key")
		return nil
	}
	control := len(r.Headers) > 0 && IsControl(r)
	if control && input != 0 {
		p.bury(r, "control records belong into "+p.inputs[0])
		return nil
	}
	if control {
		switch Verb(controlHeader(r, ControlHeader)) {
		case visitStep:
			return p.visit(r)
		case visitEnd:
			return nil
		default:
		}
	}
	canPark := p.attributable(r.Key)
	if canPark {
		if home := p.home(r.Key); home != p.id {
			p.bury(r, fmt.Sprintf("the key belongs to partition %d", home))
			return nil
		}
	}
	if control {
		if !canPark {
			p.bury(r, "a control record of a key that cannot be parked")
			return nil
		}
		return p.control(r, key)
	}
	if len(p.parked) > 0 && p.parked[key] > 0 {
		p.park(r, key, "")
		return nil
	}
	err := p.call(p.callback, r, key)
	if err == nil {
		p.keep()
		return nil
	}
	if p.undo(err) {
		return fmt.Errorf("handling record %d of partition %d: %w", r.Offset, p.id, err)
	}
	if canPark {
		p.log.Warn("key parked", "account", key, "offset", r.Offset, "error", err)
		p.park(r, key, err.Error())
	} else {
		p.bury(r, err.Error())
	}
	return nil
}

// call runs a callback. Only here a panic is caught: anywhere else it is the engine's own and must end the process.
func (p *partition) call(cb Callback, r *kgo.Record, key string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p.log.Error("callback panicked", "offset", r.Offset, "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	p.context.record, p.context.key = r, key
	p.context.emits = p.context.emits[:0]
	return cb(&p.context, r.Value)
}

// undo takes back what a callback did that failed, and tells whether it is to be tried again.
func (p *partition) undo(failed error) (again bool) {
	p.cells.revert()
	p.side.revert()
	_, again = errors.AsType[*RetryError](failed)
	return again
}

// keep makes the callback's work part of the transaction.
func (p *partition) keep() {
	p.cells.keep()
	p.side.keep()
	for i := range p.context.emits {
		e := &p.context.emits[i]
		out := p.record()
		out.Topic, out.Partition, out.Key, out.Value = e.topic, e.partition, []byte(e.key), e.value
		out.Headers = e.headers
		p.produce(out)
		*e = emission{}
	}
}

// park stores the record beside the key's state. reason is empty when it only queues.
func (p *partition) park(r *kgo.Record, key, reason string) {
	parked := Parked{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp,
		Reason: reason, Headers: r.Headers, Value: r.Value,
	}
	if len(r.Value) > recordBytesMax {
		parked.Value, parked.ValueLeft = nil, true
	}
	k := SideKey{Scope: ScopeKey, Key: key, Kind: ParkedKind, ID: p.parkedID(r.Topic, r.Offset)}
	p.side.put(string(k.Encode()), EncodeParked(parked))
	p.side.keep()
	p.countParked(key, 1)
}

// parkedID tells the records of the inputs apart. The order of one input's stays, as it must; there is none between inputs.
func (p *partition) parkedID(topic string, offset int64) string {
	if topic == p.inputs[0] {
		return ParkedID(offset)
	}
	return ParkedID(offset) + topic
}

// countParked follows the parked records of a key. Invariant: it is 0 exactly when none is in the side store.
func (p *partition) countParked(key string, by int) {
	before := p.parked[key]
	p.parkedUndo = append(p.parkedUndo, parkedCount{key, before})
	p.setParked(parkedCount{key, before + by})
}

func (p *partition) setParked(c parkedCount) {
	if c.n == 0 {
		delete(p.parked, c.key)
	} else {
		p.parked[c.key] = c.n
	}
}

// bury sends the record to the dead letters.
func (p *partition) bury(r *kgo.Record, reason string) {
	p.log.Warn("dead letter", "offset", r.Offset, "error", reason)
	p.letter(r, reason)
	p.tally.dead++
}

// letter writes a dead letter; extra headers come before the record's own ones.
func (p *partition) letter(r *kgo.Record, reason string, extra ...kgo.RecordHeader) {
	out := p.record()
	out.Topic, out.Partition, out.Key, out.Value, out.Timestamp = p.deadLetters, p.id, r.Key, r.Value, r.Timestamp
	out.Headers = append(append([]kgo.RecordHeader{
		{Key: DeadReason, Value: []byte(reason)},
		{Key: DeadTopic, Value: []byte(r.Topic)},
		{Key: DeadPartition, Value: strconv.AppendInt(nil, int64(r.Partition), 10)},
		{Key: DeadOffset, Value: strconv.AppendInt(nil, r.Offset, 10)},
	}, extra...), r.Headers...)
	if len(r.Value) > recordBytesMax {
		out.Value = nil
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: DeadValueLeft})
	}
	p.produce(out)
}

func (p *partition) record() *kgo.Record {
	if len(p.slab) == 0 {
		p.slab = make([]kgo.Record, 64)
	}
	r := &p.slab[0]
	p.slab = p.slab[1:]
	return r
}

// dirty tells whether the open transaction handled records of this partition.
func (p *partition) dirty() bool { return !slices.Equal(p.next, p.applied) }

// changelog produces what the transaction changed, each key once, to this partition whatever the key hashes to. It refuses
// where something could not be read: what was decided on that must not be committed.
func (p *partition) changelog() error {
	if p.disk != nil && p.disk.err() != nil {
		return p.disk.err()
	}
	p.last = [changelogs]*kgo.Record{}
	for i, next := range p.next {
		if next != p.applied[i] {
			p.side.put(p.appliedKeys[i], binary.BigEndian.AppendUint64(nil, uint64(next))) //nolint:gosec // not negative
		}
	}
	if p.graph != p.graphNow {
		p.side.put(p.graphKey, []byte(p.graphNow))
	}
	p.side.keep()
	for log, s := range [changelogs]*store{tableLog: p.cells, sideLog: p.side} {
		for k, v := range s.overlay {
			r := p.record()
			r.Topic, r.Partition, r.Key, r.Value = p.logs[log], p.id, []byte(k), v
			p.produce(r)
		}
	}
	return nil
}

// commit makes the transaction's work the committed state; at is when its commit began.
func (p *partition) commit(at time.Time) error {
	p.cells.commit()
	p.side.commit()
	copy(p.applied, p.next)
	p.graph = p.graphNow
	for _, c := range p.parkedUndo {
		p.keepParked(c.key)
	}
	p.parkedUndo, p.tally = p.parkedUndo[:0], tally{}
	return p.save(at)
}

func (p *partition) rollback() {
	p.cells.rollback()
	p.side.rollback()
	for _, c := range slices.Backward(p.parkedUndo) {
		p.setParked(c)
	}
	copy(p.next, p.applied)
	p.parkedUndo, p.tally = p.parkedUndo[:0], tally{}
}

// tidy bounds what gathers while changelogs are read.
func (p *partition) tidy() {
	p.cells.base.tidy()
	p.side.base.tidy()
	if p.disk != nil {
		p.disk.relieve()
	}
}

// logOf is the changelog of a topic.
func (p *partition) logOf(topic string) int {
	if topic == p.logs[sideLog] {
		return sideLog
	}
	return tableLog
}

// readFrom is where in each changelog what is not in the state yet begins.
func (p *partition) readFrom() (from [changelogs]kgo.Offset) {
	for log := range from {
		from[log] = kgo.NewOffset().AtStart()
		if p.local {
			from[log] = kgo.NewOffset().At(p.positions[log].offset)
		}
	}
	return from
}

// restoreRecord applies one record of a changelog; a fence changes nothing.
func (p *partition) restoreRecord(log int, r *kgo.Record) error {
	p.last[log] = r
	switch {
	case IsFence(r.Key):
		return nil
	case log == tableLog:
		restoreInto(p.cells, r)
		return nil
	default:
		return p.restoreSide(r)
	}
}

// restoreSide applies one record of the side changelog.
func (p *partition) restoreSide(r *kgo.Record) error {
	k, err := DecodeSideKey(r.Key)
	if err != nil {
		return fmt.Errorf("restoring partition %d, offset %d of %s: %w", p.id, r.Offset, r.Topic, err)
	}
	if k.Scope == ScopeKey && k.Kind == ParkedKind {
		p.restoreParked(k.Key, r)
	}
	restoreInto(p.side, r)
	if k.Scope == ScopePartition && k.Kind == AppliedKind {
		if err := p.readApplied(k.ID, r.Value); err != nil {
			return fmt.Errorf("restoring partition %d, offset %d of %s: %w", p.id, r.Offset, r.Topic, err)
		}
	}
	if k.Scope == ScopePartition && k.Kind == GraphKind {
		p.graph = string(r.Value)
	}
	return nil
}

// readApplied takes what the state says of one input. What it says of one that is no more is left as it is.
func (p *partition) readApplied(topic string, value []byte) error {
	input := p.inputOf(topic)
	if input < 0 {
		return nil
	}
	if len(value) != 8 {
		return fmt.Errorf("applied offset has %d bytes", len(value))
	}
	p.applied[input] = int64(binary.BigEndian.Uint64(value)) //nolint:gosec // written from an int64
	p.next[input] = p.applied[input]
	return nil
}

// restoreParked counts a parked record, or one that no longer is, before it is restored.
func (p *partition) restoreParked(key string, r *kgo.Record) {
	switch had := p.side.base.has(string(r.Key)); {
	case r.Value != nil && !had:
		p.setParked(parkedCount{key, p.parked[key] + 1})
	case r.Value == nil && had:
		p.setParked(parkedCount{key, p.parked[key] - 1})
	}
	p.keepParked(key)
}

// restoreInto applies a record of a changelog.
func restoreInto(s *store, r *kgo.Record) {
	if r.Value == nil {
		s.base.delete(string(r.Key))
		return
	}
	s.base.set(string(r.Key), r.Value)
}

package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A visit calls back for every key that has a cell. It goes through the input like an operator's word: a control record in
// each partition, which hands over keys in their order, a bounded number, and calls for the rest by the record it writes to
// the same partition in the same transaction. So a visit is as exact as anything else, sees no transaction half done, and
// lets other records pass between its pieces.

// The verbs of visits; they are the engine's own.
const (
	visitStep Verb = "visit"
	visitEnd  Verb = "visited"
)

// Headers of a visit's records; their value is what the visitor is given.
const (
	visitNameHeader    = EnginePrefix + "visitor"
	visitIDHeader      = EnginePrefix + "visit"
	visitCursorHeader  = EnginePrefix + "cursor" // the last key before the piece; not there in the first
	visitVisitedHeader = EnginePrefix + "visited"
	visitSkippedHeader = EnginePrefix + "skipped"
	visitFailedHeader  = EnginePrefix + "failed"

	visitKey = EnginePrefix + "visit" // of its records, which go where they are sent
)

// Visited counts keys.
type Visited struct {
	Visited int64
	Skipped int64 // parked ones
	Failed  int64 // the visitor returned an error or panicked: a dead letter says why
}

// visitRecord is a piece of a visit, or its end.
func (p *partition) visitRecord(verb Verb, of *kgo.Record, v Visited) *kgo.Record {
	out := p.record()
	out.Topic, out.Partition, out.Key, out.Value = p.inputs[0], p.id, []byte(visitKey), of.Value
	out.Headers = []kgo.RecordHeader{
		{Key: ControlHeader, Value: []byte(verb)},
		{Key: visitNameHeader, Value: controlHeader(of, visitNameHeader)},
		{Key: visitIDHeader, Value: controlHeader(of, visitIDHeader)},
		numberHeader(visitVisitedHeader, v.Visited), numberHeader(visitSkippedHeader, v.Skipped), numberHeader(visitFailedHeader, v.Failed),
	}
	return out
}

// visited reads the counts of a visit's record; the first has none.
func visited(r *kgo.Record) (v Visited, err error) {
	for name, n := range map[string]*int64{visitVisitedHeader: &v.Visited, visitSkippedHeader: &v.Skipped, visitFailedHeader: &v.Failed} {
		text := controlHeader(r, name)
		if text == nil {
			continue
		}
		if *n, err = strconv.ParseInt(string(text), 10, 64); err != nil {
			return Visited{}, fmt.Errorf("reading visit: %s is %.40q, not a count", name, text)
		}
	}
	return v, nil
}

// visit does one piece.
func (p *partition) visit(r *kgo.Record) error {
	v, err := visited(r)
	visitor := p.visitors[string(controlHeader(r, visitNameHeader))]
	if err == nil && visitor == nil {
		err = fmt.Errorf("visitor %.40q is unknown", controlHeader(r, visitNameHeader))
	}
	if err != nil {
		p.bury(r, err.Error())
		return nil
	}
	after := ""
	if cursor := controlHeader(r, visitCursorHeader); cursor != nil {
		after = string(cursor) + "\x00"
	}
	keys := p.cells.scan(scanRange{fromID: after, limit: p.stepMax})
	for _, k := range keys {
		if p.parked[k.ID] > 0 {
			v.Skipped++
			continue
		}
		p.handling.Store(-1 - v.Visited - v.Failed) // the watchdog gives each callback its own time
		failed, err := p.visitOne(r, k.ID, visitor)
		if err != nil {
			return err
		}
		if failed {
			v.Failed++
		} else {
			v.Visited++
		}
	}
	if len(keys) < p.stepMax {
		p.produce(p.visitRecord(visitEnd, r, v))
		return nil
	}
	next := p.visitRecord(visitStep, r, v)
	next.Headers = append(next.Headers, kgo.RecordHeader{Key: visitCursorHeader, Value: []byte(keys[len(keys)-1].ID)})
	p.produce(next)
	return nil
}

// visitOne shows the visitor one key, as if the visit's record had it.
func (p *partition) visitOne(r *kgo.Record, key string, visitor Callback) (failed bool, err error) {
	shown := *r
	shown.Key, shown.Headers = []byte(key), nil
	err = p.call(visitor, &shown, key)
	if err == nil {
		p.keep()
		return false, nil
	}
	if p.undo(err) {
		return true, fmt.Errorf("visiting %q in partition %d: %w", key, p.id, err)
	}
	p.bury(&shown, err.Error())
	return true, nil
}

// Visit has the visitor of that name called for every key of the group, once each, on whichever member its partition is, and
// returns when all are done. What the visitor writes takes effect exactly once. A key that gets its first cell meanwhile may
// be left out; parked keys are. If ctx ends first, the visit still goes to its end.
func (e *Engine) Visit(ctx context.Context, name string, meta []byte) (total Visited, err error) {
	if e.cfg.Visitors[name] == nil {
		return Visited{}, fmt.Errorf("visiting group %s: visitor %q is not in its config", e.cfg.Group, name)
	}
	id := rand.Text()
	at, err := e.beginVisit(ctx, name, id, meta)
	if err != nil {
		return Visited{}, fmt.Errorf("beginning visit of group %s: %w", e.cfg.Group, err)
	}
	client, err := kgo.NewClient(append(e.cfg.clientOptions(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{e.cfg.Input: at}))...)
	if err != nil {
		return Visited{}, fmt.Errorf("opening client: %w", err)
	}
	defer client.Close()
	for len(at) > 0 {
		fetches := client.PollFetches(ctx)
		err := errors.Join(ctx.Err(), fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			if string(controlHeader(r, ControlHeader)) != string(visitEnd) || string(controlHeader(r, visitIDHeader)) != id {
				return
			}
			v, countErr := visited(r)
			err = errors.Join(err, countErr)
			total.Visited, total.Skipped, total.Failed = total.Visited+v.Visited, total.Skipped+v.Skipped, total.Failed+v.Failed
			delete(at, r.Partition)
		})
		if err != nil {
			return total, fmt.Errorf("waiting for the visit of %d partitions of group %s: %w", len(at), e.cfg.Group, err)
		}
	}
	return total, nil
}

// beginVisit writes the first record to each partition and tells where they stand.
func (e *Engine) beginVisit(ctx context.Context, name, id string, meta []byte) (map[int32]kgo.Offset, error) {
	client, err := kgo.NewClient(append(e.cfg.clientOptions(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return nil, fmt.Errorf("opening client: %w", err)
	}
	defer client.Close()
	records := make([]*kgo.Record, e.cfg.Partitions)
	for i := range records {
		records[i] = &kgo.Record{Topic: e.cfg.Input, Partition: int32(i), Key: []byte(visitKey), Value: meta, Headers: []kgo.RecordHeader{
			{Key: ControlHeader, Value: []byte(visitStep)}, {Key: visitNameHeader, Value: []byte(name)}, {Key: visitIDHeader, Value: []byte(id)},
		}}
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return nil, fmt.Errorf("producing to %s: %w", e.cfg.Input, err)
	}
	at := map[int32]kgo.Offset{}
	for _, r := range records {
		at[r.Partition] = kgo.NewOffset().At(r.Offset)
	}
	return at, nil
}

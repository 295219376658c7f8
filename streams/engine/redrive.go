package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// stepRecordsMax bounds the parked records that one step hands to the callback. A partition has at most one step under way,
// and the next one is only readable once this one is committed; so this also bounds what a transaction does beside its
// input, whatever operators ask for, and what a step does depends on the input alone and not on where transactions end.
const stepRecordsMax = 500

// leftValueTimeout bounds reading a value that was left in the input; it lies below the callback's usual deadline.
const leftValueTimeout = 3 * time.Second

// control obeys a control record. What an operator asks for waits in line, in the order of the input, and is done by the
// steps that the engine writes to its own input.
//
// Invariant: a partition where an act waits has exactly one step under way that fits it. A step that does not fit (a
// repeated one) does nothing.
func (p *partition) control(r *kgo.Record, key string) error {
	c, err := parseControl(r)
	if err != nil {
		p.bury(r, err.Error())
		return nil
	}
	first, err := p.firstAct()
	if err != nil {
		return err
	}
	if c.Verb == step {
		if first == nil || first.At != c.act || first.Steps != c.steps || string(first.Key) != key {
			return nil
		}
		return p.step(first, key)
	}
	act := &Act{
		Version: actVersion, At: r.Offset, AtMS: r.Timestamp.UnixMilli(), Key: r.Key,
		Verb: c.Verb, Offset: c.Offset, Topic: c.Topic, By: c.By, Reason: c.Reason, Left: int64(p.parked[key]),
	}
	if act.Left == 0 {
		act.Problem = "nothing is parked under this key"
		p.finish(act)
		return nil
	}
	p.putAct(WaitingKind, act)
	if first == nil {
		p.produceStep(act)
	}
	return nil
}

// step does the next piece of an act, and calls for the step after it.
func (p *partition) step(act *Act, key string) error {
	act.Steps++
	done, err := p.proceed(act, key)
	if err != nil {
		return err
	}
	act.Left = int64(p.parked[key])
	if done {
		p.finish(act)
	} else {
		p.putAct(WaitingKind, act)
	}
	next, err := p.firstAct()
	if err != nil || next == nil {
		return err
	}
	p.produceStep(next)
	return nil
}

// proceed tells whether nothing is left to do.
func (p *partition) proceed(act *Act, key string) (done bool, err error) {
	if act.Verb == Discard && act.Steps == 1 {
		if act.Problem = p.discard(act, key); act.Problem != "" {
			act.ProblemAt = act.Offset
			return true, nil
		}
		act.Discarded++
	}
	prefix := SideKey{Scope: ScopeKey, Key: key, Kind: ParkedKind}.Encode()
	for _, e := range p.side.scan(scanRange{prefix: string(prefix), limit: p.stepMax}) {
		at, failed, err := p.redrive(key, e)
		if err != nil {
			return false, err
		}
		if failed != nil {
			p.log.Warn("redrive stopped", "account", key, "offset", at, "by", act.By, "error", failed)
			act.Problem, act.ProblemAt = failed.Error(), at
			return true, nil
		}
		act.Redriven++
	}
	return p.parked[key] == 0, nil
}

// redrive hands one parked record to the callback, as if it were read now. failed says why it stays parked; err stops the
// engine.
func (p *partition) redrive(key string, e Entry) (at int64, failed, err error) {
	if at, err = ParkedOffset(e.ID); err != nil {
		return 0, nil, err
	}
	parked, failed := DecodeParked(e.Value)
	if failed != nil {
		return at, failed, nil
	}
	r := parked.record(key)
	p.work(r) // the watchdog gives each callback its own time
	if parked.ValueLeft {
		r.Value, failed = p.leftValue(r)
	}
	if failed == nil {
		failed = p.call(p.callback, r, key)
	}
	id := SideKey{Scope: ScopeKey, Key: key, Kind: ParkedKind, ID: e.ID}.Encode()
	if failed == nil {
		p.keep()
		p.side.put(string(id), nil)
		p.side.keep()
		p.countParked(key, -1)
		p.tally.redriven++
		return at, nil, nil
	}
	if p.undo(failed) {
		return at, nil, fmt.Errorf("redriving record %d of partition %d: %w", r.Offset, p.id, failed)
	}
	parked.Reason = failed.Error()
	p.side.put(string(id), EncodeParked(parked))
	p.side.keep()
	return at, failed, nil
}

// discard drops one parked record; it says why it could not.
func (p *partition) discard(act *Act, key string) (problem string) {
	topic := act.Topic
	if topic == "" {
		topic = p.inputs[0]
	}
	id := SideKey{Scope: ScopeKey, Key: key, Kind: ParkedKind, ID: p.parkedID(topic, act.Offset)}.Encode()
	stored := p.side.get(string(id))
	if stored == nil {
		return fmt.Sprintf("no record of offset %d of %s is parked under this key", act.Offset, topic)
	}
	headers := []kgo.RecordHeader{
		{Key: DeadBy, Value: []byte(act.By)}, {Key: DeadWhy, Value: []byte(act.Reason)}, numberHeader(DeadControl, act.At),
	}
	parked, err := DecodeParked(stored)
	if err != nil { // then the letter holds what is stored
		parked = Parked{Topic: topic, Partition: p.id, Offset: act.Offset, Timestamp: time.UnixMilli(act.AtMS), Reason: err.Error(), Value: stored}
	}
	if parked.ValueLeft {
		headers = append(headers, kgo.RecordHeader{Key: DeadValueLeft})
	}
	if parked.Reason == "" {
		parked.Reason = "it queued behind a record that failed"
	}
	p.log.Warn("parked record discarded", "account", key, "offset", act.Offset, "by", act.By, "reason", act.Reason)
	p.letter(parked.record(key), parked.Reason, headers...)
	p.side.put(string(id), nil)
	p.side.keep()
	p.countParked(key, -1)
	p.tally.discarded++
	return ""
}

// record is the input record as it was.
func (d *Parked) record(key string) *kgo.Record {
	return &kgo.Record{
		Topic: d.Topic, Partition: d.Partition, Offset: d.Offset, Timestamp: d.Timestamp, Headers: d.Headers, Key: []byte(key), Value: d.Value,
	}
}

// leftValue reads a value that was too large to be copied. It is where it was, unless somebody deleted it.
func (p *partition) leftValue(r *kgo.Record) ([]byte, error) {
	ctx, cancel := context.WithTimeout(p.context.run, leftValueTimeout)
	defer cancel()
	client, err := kgo.NewClient(append(p.clientOptions(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.Topic: {r.Partition: kgo.NewOffset().At(r.Offset)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return nil, Retry(fmt.Errorf("opening client: %w", err))
	}
	defer client.Close()
	fetches := client.PollRecords(ctx, 1)
	if err := fetches.Err(); errors.Is(err, kerr.OffsetOutOfRange) {
		return nil, fmt.Errorf("reading the value that was left in the input: %w", err)
	} else if err != nil {
		return nil, Retry(fmt.Errorf("reading offset %d of %s: %w", r.Offset, r.Topic, err))
	}
	if found := fetches.Records(); len(found) == 1 && found[0].Offset == r.Offset {
		return found[0].Value, nil
	}
	return nil, errors.New("the value that was left in the input is not there any more")
}

// firstAct is the act that waits longest, nil if none does.
func (p *partition) firstAct() (*Act, error) {
	prefix := SideKey{Scope: ScopePartition, Kind: WaitingKind}.Encode()
	waiting := p.side.scan(scanRange{prefix: string(prefix), limit: 1})
	if len(waiting) == 0 {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	act, err := DecodeAct(waiting[0].Value)
	if err != nil {
		return nil, fmt.Errorf("partition %d: %w", p.id, err)
	}
	return &act, nil
}

func (p *partition) putAct(kind string, act *Act) {
	p.side.put(string(SideKey{Scope: ScopePartition, Kind: kind, ID: ActID(act.At)}.Encode()), encodeAct(act))
	p.side.keep()
}

// finish moves an act to those that are done.
func (p *partition) finish(act *Act) {
	p.log.Info("control record handled", "account", string(act.Key), "offset", act.At, "verb", act.Verb, "by", act.By,
		"redriven", act.Redriven, "discarded", act.Discarded, "left", act.Left, "problem", act.Problem)
	p.putAct(HandledKind, act)
	p.side.put(string(SideKey{Scope: ScopePartition, Kind: WaitingKind, ID: ActID(act.At)}.Encode()), nil)
	p.side.keep()
}

// produceStep writes the step that fits the act as it stands.
func (p *partition) produceStep(act *Act) {
	out := p.record()
	out.Topic, out.Partition, out.Key = p.inputs[0], p.id, act.Key
	out.Headers = []kgo.RecordHeader{
		{Key: ControlHeader, Value: []byte(step)}, numberHeader(controlActHeader, act.At), numberHeader(controlStepHeader, act.Steps),
	}
	p.produce(out)
}

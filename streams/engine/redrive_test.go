package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/caudalpay/caudal/schemas/topics"
)

// played is one partition with its topics in memory: transactions commit, abort or die as the test says. It has no broker,
// so that thousands of histories cost little.
type played struct {
	t       *rapid.T
	part    *partition
	log     []*kgo.Record           // the input, by offset
	at      int                     // next offset
	tables  map[string][]kgo.Record // the changelogs, as committed
	outputs map[string][]string     // by key, committed
	dead    []*kgo.Record
	open    []*kgo.Record // produced in the open transaction
	fixed   bool          // what could not be decoded now can
	retryAt int           // the call that meets trouble that passes, 0: none
	calls   int
	most    int   // calls of one control record
	steps   int64 // written by the engine
	local   int   // restores that began with what was on disk
	late    bool  // compaction took the deletions too
	older   *vfs.MemFS
}

func play(t *rapid.T) *played { return playOn(t, nil) }

func playOn(t *rapid.T, f *folder) *played {
	p := &played{t: t, tables: map[string][]kgo.Record{}, outputs: map[string][]string{}}
	cfg := Config{
		Group: "g", Input: "in", Outputs: []string{"out"}, Table: "g-table", Side: "side", DeadLetters: "dead", Partitions: 1,
		Hasher: topics.Hasher, Logger: slog.New(slog.DiscardHandler),
		Attributable: func(key []byte) bool { return strings.HasPrefix(string(key), "acc") },
	}
	p.part = newPartition(0, &cfg, p.callback, nil)
	p.part.stepMax = 2
	p.part.folder = f
	if err := p.part.fetch(p.extents()); err != nil {
		t.Fatal(err)
	}
	p.part.bind(context.Background(), func(r *kgo.Record) { p.open = append(p.open, r) })
	return p
}

// callback appends to the cell, and sees to it that a redriven record is told from one that is read now by nothing.
func (p *played) callback(ctx *Context, value []byte) error {
	p.calls++
	if p.calls == p.retryAt {
		return Retry(errors.New("passes"))
	}
	at := p.log[ctx.Offset()]
	if string(at.Key) != ctx.Key() || string(at.Value) != string(value) || (at.Value == nil) != (value == nil) || !at.Timestamp.Equal(ctx.Timestamp()) ||
		ctx.Topic() != "in" || ctx.Partition() != 0 || string(ctx.Header("n")) != string(at.Headers[0].Value) {
		p.t.Fatalf("offset %d is %q of %s, handed over as %q of %s", ctx.Offset(), at.Value, at.Key, value, ctx.Key())
	}
	ctx.SetValue(append(slices.Clone(ctx.Value()), string(value)+","...))
	ctx.Side(ScopeKey).Put("seen", string(ctx.Header("n")), value)
	ctx.Side(ScopeKey).Delete("seen", "gone")
	ctx.Emit("out", ctx.Key(), value)
	switch {
	case strings.HasPrefix(string(value), "poison"), strings.HasPrefix(string(value), "bad") && !p.fixed:
		return errors.New("cannot decode " + string(value))
	case strings.HasPrefix(string(value), "panic") && !p.fixed:
		panic(string(value))
	}
	return nil
}

func (p *played) append(key string, value []byte, headers ...kgo.RecordHeader) {
	n := len(p.log)
	p.log = append(p.log, &kgo.Record{
		Topic: "in", Offset: int64(n), Key: []byte(key), Value: value, Timestamp: time.UnixMilli(int64(1000 + n)),
		Headers: append(headers, kgo.RecordHeader{Key: "n", Value: strconv.AppendInt(nil, int64(n), 10)}),
	})
	if len(headers) == 0 {
		p.log[n].Headers[0].Value = value // what names a record must not depend on its offset
	}
}

func (p *played) say(key string, c Control) {
	c.By, c.Reason = "ops", "a test"
	r, err := c.Record("in", 0, []byte(key))
	if err != nil {
		p.t.Fatal(err)
	}
	p.append(key, nil, r.Headers...)
}

// transaction handles up to n records and ends as told.
func (p *played) transaction(n int, end string) {
	p.calls = 0
	for i := 0; i < n && p.at+i < len(p.log); i++ {
		r := p.log[p.at+i]
		before, written, fits := p.calls, len(p.open), p.fits(r)
		if err := p.part.handle(r, string(r.Key)); err != nil {
			if _, retry := errors.AsType[*RetryError](err); !retry {
				p.t.Fatalf("offset %d: %v", r.Offset, err)
			}
			end = "die"
			break
		}
		if IsControl(r) {
			p.most = max(p.most, p.calls-before)
			if isStep(r) && !fits && (p.calls > before || len(p.open) > written) {
				p.t.Fatalf("the step at %d was done already, and is done again", r.Offset)
			}
		}
	}
	p.retryAt = 0
	switch end {
	case "commit":
		p.commit()
	case "abort":
		p.part.rollback()
	case "die":
		p.restart()
	}
	p.open = nil
	p.check()
}

func (p *played) commit() {
	if !p.part.dirty() {
		return
	}
	if err := p.part.changelog(); err != nil {
		p.t.Fatal(err)
	}
	for _, r := range p.open {
		switch r.Topic {
		case "in":
			p.steps++
			p.append(string(r.Key), r.Value, r.Headers...)
		case "out":
			p.outputs[string(r.Key)] = append(p.outputs[string(r.Key)], string(r.Value))
		case "dead":
			p.dead = append(p.dead, r)
		default:
			r.Offset = int64(len(p.tables[r.Topic]))
			p.tables[r.Topic] = append(p.tables[r.Topic], *r)
			p.part.acked(slices.Index(p.part.logs[:], r.Topic), r)
		}
	}
	if err := p.part.commit(p.now()); err != nil {
		p.t.Fatal(err)
	}
	p.at = int(p.part.applied[0])
	p.backUp()
}

// restart restores from what is on disk, if anything is, and from the changelogs, of which compaction has taken some.
func (p *played) restart() {
	p.crash()
	if err := p.part.fetch(p.extents()); err != nil {
		p.t.Fatal(err)
	}
	if p.part.local {
		p.local++
	}
	for log, topic := range p.part.logs {
		records := p.tables[topic]
		last := map[string]int{}
		for i := range records {
			last[string(records[i].Key)] = i
		}
		compacted := rapid.Bool().Draw(p.t, "compacted")
		for i := int(p.part.positions[log].offset); i < len(records); i++ {
			r := &records[i]
			if compacted && last[string(r.Key)] != i || p.late && r.Value == nil {
				continue
			}
			p.part.compare(log, r)
			if err := p.part.restoreRecord(log, r); err != nil {
				p.t.Fatal(err)
			}
			if p.part.disk != nil && rapid.IntRange(0, 40).Draw(p.t, "dies in the restore") == 0 {
				p.part.disk.apply()
				p.restart()
				return
			}
		}
	}
	if err := p.part.doubts(); err != nil || max(0, p.part.applied[0]) != int64(p.at) {
		p.t.Fatalf("restored up to %v, committed is %d: %v", p.part.applied, p.at, err)
	}
	if err := p.part.save(p.now()); err != nil {
		p.t.Fatal(err)
	}
}

func (p *played) extents() (all [changelogs]extent) {
	for log, topic := range p.part.logs {
		all[log].end = int64(len(p.tables[topic])) + 1
	}
	return all
}

// check holds the invariants of parked.go, partition.go and redrive.go against a recount.
func (p *played) check() {
	counts, waiting, done := map[string]int{}, 0, int64(0)
	for k, v := range everything(p.part.side.base) {
		key, err := DecodeSideKey([]byte(k))
		if err != nil {
			p.t.Fatal(err)
		}
		switch key.Kind {
		case ParkedKind:
			counts[key.Key]++
		case WaitingKind, HandledKind:
			act, err := DecodeAct(v)
			if err != nil || ActID(act.At) != key.ID {
				p.t.Fatalf("act %+v under %q: %v", act, key.ID, err)
			}
			done += act.Steps
			if key.Kind == WaitingKind {
				waiting++
			}
		}
	}
	if !maps.Equal(counts, p.part.parked) {
		p.t.Fatalf("parked are %v, counted as %v", counts, p.part.parked)
	}
	if waiting > 0 && !slices.ContainsFunc(p.log[p.at:], p.fits) {
		p.t.Fatalf("%d acts wait and no step is under way", waiting)
	}
	if under := p.steps - done; under != int64(min(waiting, 1)) {
		p.t.Fatalf("%d acts wait and %d steps are under way", waiting, under)
	}
	if p.most > p.part.stepMax {
		p.t.Fatalf("one control record led to %d calls", p.most)
	}
}

func isStep(r *kgo.Record) bool {
	c, err := parseControl(r)
	return err == nil && c.Verb == step
}

// fits tells whether a record is the step that is due.
func (p *played) fits(r *kgo.Record) bool {
	c, err := parseControl(r)
	first, actErr := p.part.firstAct()
	if actErr != nil {
		p.t.Fatal(actErr)
	}
	return err == nil && c.Verb == step && first != nil && c.act == first.At && c.steps == first.Steps && string(r.Key) == string(first.Key)
}

// heal redrives, or discards what never will be decoded, until nothing is parked.
func (p *played) heal() {
	p.fixed = true
	for round := 0; ; round++ {
		for p.at < len(p.log) {
			p.transaction(3, "commit")
			if len(p.log) > 20_000 {
				p.t.Fatal("steps without end")
			}
		}
		if len(p.part.parked) == 0 {
			return
		}
		if round > 200 {
			p.t.Fatalf("still parked: %v", p.part.parked)
		}
		for _, key := range slices.Sorted(maps.Keys(p.part.parked)) {
			prefix := string(SideKey{Scope: ScopeKey, Key: key, Kind: ParkedKind}.Encode())
			parked, err := DecodeParked(p.part.side.scan(scanRange{prefix: prefix, limit: 1})[0].Value)
			if err != nil {
				p.t.Fatal(err)
			}
			if strings.HasPrefix(string(parked.Value), "poison") {
				p.say(key, Control{Verb: Discard, Offset: parked.Offset})
			} else {
				p.say(key, Control{Verb: Redrive})
			}
		}
	}
}

// discarded gives the offsets of the letters that name an operator, and counts the others.
func (p *played) discarded() (offsets map[string]bool, others int) {
	offsets = map[string]bool{}
	for _, r := range p.dead {
		if controlHeader(r, DeadControl) == nil {
			others++
			continue
		}
		at := string(controlHeader(r, DeadOffset))
		if offsets[at] || string(controlHeader(r, DeadBy)) != "ops" || string(controlHeader(r, DeadWhy)) != "a test" {
			p.t.Fatalf("letter of %s: %v", at, r.Headers)
		}
		offsets[at] = true
	}
	return offsets, others
}

// state is what callbacks have written.
func (p *played) state() map[string]string {
	all := map[string]string{}
	for k, v := range everything(p.part.cells.base) {
		all["cell "+k] = string(v)
	}
	for k, v := range everything(p.part.side.base) {
		if key, err := DecodeSideKey([]byte(k)); err == nil && key.Kind == "seen" {
			all[fmt.Sprint("seen ", key.Key, " ", key.ID)] = string(v)
		}
	}
	return all
}

// Invariant: after everything parked was redriven or discarded, the state and each key's outputs in their order equal those
// of a run that never had the poison; whatever transactions came to, whoever repeats a step, in any order of words.
func TestRedriveEqualsARunWithoutPoison(t *testing.T) {
	t.Run("memory", rapid.MakeCheck(func(t *rapid.T) { redriveEqualsARunWithoutPoison(t, play(t)) }))
	local := 0
	t.Run("disk", rapid.MakeCheck(func(t *rapid.T) {
		p := playOn(t, memFolder(t))
		defer p.part.reset()
		redriveEqualsARunWithoutPoison(t, p)
		local += p.local
	}))
	if local == 0 {
		t.Error("nothing was ever restored from disk")
	}
}

func redriveEqualsARunWithoutPoison(t *rapid.T, p *played) {
	keys := []string{"acc-1", "acc-2", "acc-3"}
	malformed := 0
	key := func() string { return rapid.SampledFrom(keys).Draw(t, "key") }
	t.Repeat(map[string]func(*rapid.T){
		"record": func(t *rapid.T) {
			kind := rapid.SampledFrom([]string{"v", "v", "v", "v", "bad", "poison", "panic"}).Draw(t, "kind")
			p.append(key(), fmt.Appendf(nil, "%s%d", kind, len(p.log)))
		},
		"records": func(*rapid.T) {
			k := key()
			for range 4 {
				p.append(k, fmt.Appendf(nil, "v%d", len(p.log)))
			}
		},
		"redrive": func(*rapid.T) { p.say(key(), Control{Verb: Redrive}) },
		"discard": func(t *rapid.T) {
			k, offset := key(), rapid.Int64Range(0, int64(len(p.log))).Draw(t, "offset")
			if int(offset) < len(p.log) && rapid.Bool().Draw(t, "own") {
				k = string(p.log[offset].Key)
			}
			p.say(k, Control{Verb: Discard, Offset: offset})
		},
		"malformed": func(*rapid.T) {
			p.append(key(), nil, kgo.RecordHeader{Key: ControlHeader, Value: []byte("forget")})
			malformed++
		},
		"repeat": func(t *rapid.T) { // as a redelivery of the log would
			for _, r := range slices.Backward(p.log) {
				if isStep(r) && rapid.Bool().Draw(t, "this") {
					p.append(string(r.Key), nil, r.Headers[:3]...)
					return
				}
			}
		},
		"fix": func(*rapid.T) { p.fixed = true },
		"transaction": func(t *rapid.T) {
			p.retryAt = rapid.SampledFrom([]int{0, 0, 0, 1, 2, 4}).Draw(t, "trouble")
			p.transaction(rapid.IntRange(1, 6).Draw(t, "n"), rapid.SampledFrom([]string{"commit", "commit", "commit", "abort", "die"}).Draw(t, "end"))
		},
	})
	p.heal()
	gone, others := p.discarded()
	if others != malformed {
		t.Fatalf("%d letters of malformed words, want %d", others, malformed)
	}
	clean := play(t)
	clean.fixed = true
	for _, r := range p.log {
		if !IsControl(r) && !gone[fmt.Sprint(r.Offset)] {
			clean.append(string(r.Key), r.Value)
		}
	}
	for clean.at < len(clean.log) {
		clean.transaction(5, "commit")
	}
	if len(clean.part.parked) > 0 {
		t.Fatalf("poison was neither parked nor discarded: %v", clean.part.parked)
	}
	if got, want := p.state(), clean.state(); !maps.Equal(got, want) {
		t.Fatalf("state %v, want %v", got, want)
	}
	if !maps.EqualFunc(p.outputs, clean.outputs, slices.Equal) {
		t.Fatalf("outputs %v, want %v", p.outputs, clean.outputs)
	}
}

package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit"
	"github.com/caudalpay/caudal/sinks/audit/audittest"
	"github.com/caudalpay/caudal/sinks/audit/model"
)

// redriven is a house where noise parked an account, an operator discarded the noise, and all behind it was redriven.
type redriven struct {
	*audittest.House
	p            int32
	key          string
	noise, word  int64
	held         int
	letter       *kgo.Record
	second       *kgo.Record // by spoiling only
	firstDecided int         // the first redriven decision
}

func header(name string, value any) kgo.RecordHeader {
	return kgo.RecordHeader{Key: name, Value: fmt.Append(nil, value)}
}

func playRedrive(t *testing.T, seed uint64) *redriven {
	t.Helper()
	h := &redriven{House: audittest.New(t, seed)}
	h.Open(8)
	h.Play(200)
	h.key = h.Accounts[3]
	h.p = topics.Partition([]byte(h.key), audittest.Partitions)
	h.noise = h.put(&kgo.Record{Value: []byte("\xff\xffnoise")})
	var held []model.Record
	for range 60 {
		h.Request()
		for p := range h.Queue {
			for len(h.Queue[p]) > 0 {
				if h.Queue[p][0].Key == h.key {
					held = append(held, h.Queue[p][0])
					h.Queue[p] = h.Queue[p][1:]
					continue
				}
				h.Step(int32(p))
			}
		}
	}
	h.held = len(held)
	h.word = h.put(&kgo.Record{Headers: []kgo.RecordHeader{
		header("engine.control", "discard"), header("engine.by", "ops"), header("engine.reason", "noise"), header("engine.offset", h.noise),
	}})
	h.put(&kgo.Record{Headers: []kgo.RecordHeader{header("engine.control", "step"), header("engine.act", h.word), header("engine.step", 0)}})
	h.firstDecided = len(h.Decisions[h.p])
	h.Queue[h.p] = held
	h.Drain()
	h.Play(100)
	h.letter = &kgo.Record{Topic: topics.DeadLetters, Partition: h.p, Key: []byte(h.key), Value: []byte("\xff\xffnoise"), Headers: []kgo.RecordHeader{
		header("dead.reason", "cannot be decoded"), header("dead.topic", topics.Commands), header("dead.partition", h.p), header("dead.offset", h.noise),
		header("dead.by", "ops"), header("dead.why", "noise"), header("dead.control", h.word),
	}}
	return h
}

// put writes a record that is no command under the account's key.
func (h *redriven) put(r *kgo.Record) int64 {
	r.Topic, r.Partition, r.Key = topics.Commands, h.p, []byte(h.key)
	h.Commands[h.p] = append(h.Commands[h.p], r)
	return int64(len(h.Commands[h.p]) - 1)
}

func (h *redriven) verify(t *testing.T) audit.Report {
	t.Helper()
	brokers := h.Publish()
	audittest.Produce(t, brokers, h.letter)
	if h.second != nil {
		audittest.Produce(t, brokers, h.second)
	}
	return verify(t, audit.Config{Brokers: brokers})
}

func TestRedrivenAndDiscardedAreAccountedFor(t *testing.T) {
	h := playRedrive(t, 11)
	if h.held < 5 {
		t.Fatalf("only %d commands were held", h.held)
	}
	r := h.verify(t)
	if r.Err() != nil || r.Discarded != 1 || r.Dead != 0 || r.Parked != 0 || r.Controls != 2 || r.Redriven == 0 || r.Commands != r.Decisions+1 {
		t.Fatalf("%v\n%s", r.Err(), table(t, r))
	}
}

// TestRedrivesNobodyAskedForAreFound: each of these must be found and named.
func TestRedrivesNobodyAskedForAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(h *redriven)
		detail string
	}{
		"out of turn without a word": {func(h *redriven) {
			for _, r := range h.Commands[h.p][h.word:][:2] {
				r.Key = []byte(h.Accounts[4])
			}
			h.letter.Headers = slices.Delete(h.letter.Headers, 6, 7) // buried, then
		}, "nobody's word led to it"},
		"the word came later": {func(h *redriven) {
			for _, r := range h.Commands[h.p][h.word:][:2] {
				late := *r
				h.word = h.put(&late)
				r.Key = []byte(h.Accounts[4])
			}
			h.letter.Headers[6] = header("dead.control", h.word-1)
		}, "nobody's word led to it"},
		"discarded without a word": {func(h *redriven) { h.letter.Headers[6] = header("dead.control", h.word+1) }, "discarded, and nobody's word led to it"},
		"discarded at another's word": {func(h *redriven) {
			h.Commands[h.p][h.word].Headers[3] = header("engine.offset", h.noise+1)
		}, "discarded, and nobody's word led to it"},
		"discarded and decided": {func(h *redriven) {
			second := *h.letter
			second.Headers = slices.Clone(second.Headers)
			second.Headers[3] = header("dead.offset", h.Decision(h.p, h.firstDecided).GetCommandOffset())
			h.second = &second
		}, "decided, and a dead letter as well"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := playRedrive(t, 12)
			c.spoil(h)
			r := h.verify(t)
			if r.Checks[0].Verdict != audit.VerdictDifferent || !names(r, c.detail) {
				t.Fatalf("not found: %v\n%s", r.Checks[0].First, table(t, r))
			}
		})
	}
}

func names(r audit.Report, detail string) bool {
	return slices.ContainsFunc(r.Checks, func(c audit.Check) bool { return c.First != nil && strings.Contains(c.First.Detail, detail) })
}

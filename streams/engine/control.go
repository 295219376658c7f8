package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Verb is what a control record asks for.
type Verb string

// The verbs of an operator.
const (
	// Redrive hands the parked records of a key to the callback, in their order, up to the first that still fails.
	Redrive Verb = "redrive"
	// Discard sends one parked record to the dead letters for good, and then redrives what is left.
	Discard Verb = "discard"

	// step is the engine's own: it does the next piece of the act that waits longest.
	step Verb = "step"
)

// Headers of a control record. A record of the input that carries ControlHeader is never handed to the callback. No
// callback can write these headers; whoever else may write to the input is trusted with them.
const (
	ControlHeader       = EnginePrefix + "control" // a Verb
	ControlByHeader     = EnginePrefix + "by"
	ControlReasonHeader = EnginePrefix + "reason"
	ControlOffsetHeader = EnginePrefix + "offset" // of the record to discard
	ControlTopicHeader  = EnginePrefix + "topic"  // of the record to discard; without it: Config.Input

	controlActHeader  = EnginePrefix + "act"  // step: the offset of the operator's record
	controlStepHeader = EnginePrefix + "step" // step: how many came before
)

// controlTextMax bounds who and why, in bytes: both are copied into state and dead letters.
const controlTextMax = 1 << 10

// Control is an operator's word about a key that is parked.
type Control struct {
	Verb   Verb
	Offset int64  // Discard: of the parked record
	Topic  string // Discard: of the parked record; empty: Config.Input
	By     string
	Reason string
}

// Record puts the word into a record for Config.Input, at its place in the order of the key's partition.
func (c Control) Record(input string, partition int32, key []byte) (*kgo.Record, error) {
	r := &kgo.Record{Topic: input, Partition: partition, Key: key, Headers: []kgo.RecordHeader{
		{Key: ControlHeader, Value: []byte(c.Verb)}, {Key: ControlByHeader, Value: []byte(c.By)}, {Key: ControlReasonHeader, Value: []byte(c.Reason)},
	}}
	if c.Verb == Discard {
		r.Headers = append(r.Headers, numberHeader(ControlOffsetHeader, c.Offset))
		if c.Topic != "" {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: ControlTopicHeader, Value: []byte(c.Topic)})
		}
	}
	if parsed, err := parseControl(r); err != nil {
		return nil, err
	} else if parsed.Verb == step {
		return nil, errors.New("reading control record: steps are the engine's own")
	}
	return r, nil
}

// IsControl tells whether a record of the input is for the engine itself.
func IsControl(r *kgo.Record) bool { return controlHeader(r, ControlHeader) != nil }

func numberHeader(name string, n int64) kgo.RecordHeader {
	return kgo.RecordHeader{Key: name, Value: strconv.AppendInt(nil, n, 10)}
}

// controlHeader is the first of that name, nil if there is none.
func controlHeader(r *kgo.Record, name string) []byte {
	for i := range r.Headers {
		if r.Headers[i].Key == name {
			if r.Headers[i].Value == nil {
				return []byte{}
			}
			return r.Headers[i].Value
		}
	}
	return nil
}

// parsedControl is a control record as it was read.
type parsedControl struct {
	Control
	act, steps int64 // of a step
}

func parseControl(r *kgo.Record) (c parsedControl, err error) {
	number := func(name string) int64 {
		n, parseErr := strconv.ParseInt(string(controlHeader(r, name)), 10, 64)
		if parseErr != nil || n < 0 {
			err = fmt.Errorf("reading control record: %s is %.40q, not a count", name, controlHeader(r, name))
		}
		return n
	}
	text := func(name string) string {
		b := controlHeader(r, name)
		if len(b) == 0 || len(b) > controlTextMax || !utf8.Valid(b) {
			err = fmt.Errorf("reading control record: %s must be 1 to %d bytes of text, not %d bytes", name, controlTextMax, len(b))
		}
		return string(b)
	}
	c.Verb = Verb(controlHeader(r, ControlHeader))
	switch c.Verb {
	case step:
		c.act, c.steps = number(controlActHeader), number(controlStepHeader)
		return c, err
	case Discard:
		c.Offset = number(ControlOffsetHeader)
		if controlHeader(r, ControlTopicHeader) != nil {
			c.Topic = text(ControlTopicHeader)
		}
	case Redrive:
	default:
		return c, fmt.Errorf("reading control record: verb %.40q is neither %s nor %s", c.Verb, Redrive, Discard)
	}
	c.By, c.Reason = text(ControlByHeader), text(ControlReasonHeader)
	return c, err
}

// Act is an operator's word with what has come of it. It stands under WaitingKind until it is done, then under HandledKind:
// there whoever asked finds the answer, and whoever comes later finds who did it.
type Act struct {
	Version   int    `json:"version"`
	At        int64  `json:"at"` // offset of the control record, which is the id
	AtMS      int64  `json:"at_ms"`
	Key       []byte `json:"key"`
	Verb      Verb   `json:"verb"`
	Offset    int64  `json:"offset,omitempty"` // Discard: of the parked record
	Topic     string `json:"topic,omitempty"`  // likewise; empty: Config.Input
	By        string `json:"by"`
	Reason    string `json:"reason"`
	Steps     int64  `json:"steps"` // pieces done
	Redriven  int64  `json:"redriven"`
	Discarded int64  `json:"discarded"`
	Left      int64  `json:"left"`                 // parked records of the key that remain
	Problem   string `json:"problem,omitempty"`    // why it went no further
	ProblemAt int64  `json:"problem_at,omitempty"` // offset of the parked record the problem is about
}

const actVersion = 1

// ActID is the id of an act among those of its partition: the offset of its control record, in order.
func ActID(at int64) string { return ParkedID(at) }

// DecodeAct reads the value of a side record of WaitingKind or HandledKind: an Act in JSON.
func DecodeAct(b []byte) (Act, error) {
	var a Act
	if err := json.Unmarshal(b, &a); err != nil {
		return Act{}, fmt.Errorf("decoding act: %w", err)
	}
	if a.Version != actVersion {
		return Act{}, fmt.Errorf("decoding act: version %d is unknown", a.Version)
	}
	return a, nil
}

func encodeAct(a *Act) []byte {
	b, err := json.Marshal(a)
	if err != nil {
		panic(fmt.Sprintf("engine: encoding act: %v", err)) // a struct of numbers and texts always encodes
	}
	return b
}

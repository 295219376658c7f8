package audit

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/sinks/audit/model"
)

// control is what a partition's log says to the engine about parked keys: operators' words, and the engine's own steps.
type control struct {
	byKey    map[string][]int64 // offsets, ascending
	discards map[int64]discard  // by the offset of the word
	offsets  []int64
	// place is how far the engine had certainly come when it made the last decision: the offset of a command decided in its
	// turn, or of the control record that led to it.
	place    int64
	placeKey string // of the control record at place, empty if a command stands there
}

type discard struct {
	key    string
	offset int64
}

func newControl() control {
	return control{byKey: map[string][]int64{}, discards: map[int64]discard{}, place: -1}
}

// take keeps a control record; false: it is a command.
func (c *control) take(r *kgo.Record) bool {
	if len(r.Headers) == 0 {
		return false
	}
	h := headers(r)
	verb, ok := h[controlHeader]
	if !ok {
		return false
	}
	key := string(r.Key)
	c.offsets = append(c.offsets, r.Offset)
	c.byKey[key] = append(c.byKey[key], r.Offset)
	if offset, err := strconv.ParseInt(h[controlOffset], 10, 64); err == nil && verb == discardVerb {
		c.discards[r.Offset] = discard{key, offset}
	}
	return true
}

// after is the first control record of a key behind place.
func (c *control) after(key string) (int64, bool) {
	offsets := c.byKey[key]
	i, _ := slices.BinarySearch(offsets, c.place+1)
	if i == len(offsets) {
		return 0, false
	}
	return offsets[i], true
}

// inTurn: a command is decided at its place on the log, or it was parked: then at the place of a control record of its key.
func (p *partition) inTurn(ctx context.Context, r *kgo.Record, cmd model.Record) error {
	c := &p.control
	if cmd.Offset > c.place {
		c.place, c.placeKey = cmd.Offset, ""
		return nil
	}
	p.redriven++
	if c.placeKey == cmd.Key {
		return nil // the same step, or one of the same key soon after
	}
	for {
		if at, ok := c.after(cmd.Key); ok {
			c.place, c.placeKey = at, cmd.Key
			return nil
		}
		if more, err := p.readCommand(ctx); err != nil {
			return err
		} else if !more {
			break
		}
	}
	if !p.moving {
		p.differ(CheckDecided, r, cmd.Key, fmt.Sprintf("command offset %d is decided after %d, and nobody's word led to it", cmd.Offset, c.place))
	}
	return nil
}

// discarded tells whether an operator's word stands behind a letter.
func (p *partition) discarded(cmd model.Record, l letter) bool {
	return p.control.discards[l.word] == discard{cmd.Key, cmd.Offset}
}

// controls accounts for control records: a malformed one is dead.
func (p *partition) controls(dead map[int64]letter) (words, malformed int64) {
	for _, offset := range p.control.offsets {
		if _, ok := dead[offset]; ok {
			malformed++
		} else {
			words++
		}
	}
	return words, malformed
}

// twice finds commands that came to more than one end.
func (p *partition) twice(parked map[int64]string, dead map[int64]letter) {
	place := Difference{Check: CheckDecided, Topic: topics.Commands, Partition: p.id}
	for offset, key := range parked {
		place.Account, place.Offset = key, offset
		if p.decided[offset] {
			place.Detail = "decided, and parked as well"
			p.findings.differ(place)
		}
		if _, ok := dead[offset]; ok {
			place.Detail = "a dead letter, and parked as well"
			p.findings.differ(place)
		}
	}
	for offset := range dead {
		if p.decided[offset] {
			place.Account, place.Offset, place.Detail = "", offset, "decided, and a dead letter as well"
			p.findings.differ(place)
		}
	}
}

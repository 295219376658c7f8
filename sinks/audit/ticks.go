package audit

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/caudalpay/caudal/schemas/topics"
)

// tick is a TICK on the log. One that a decision has emitted says nothing else than the ticker's of the same minute, of which there
// may be any number; but only the engine writes in transactions.
type tick struct {
	key            string
	minute, at     int64
	offset         int64
	inTransactions bool
}

// same orders ticks by what they say.
func (t tick) same(o tick) int {
	return cmp.Or(cmp.Compare(t.minute, o.minute), cmp.Compare(t.at, o.at), cmp.Compare(t.key, o.key))
}

// checkTicks: each tick that took out all it may is followed on its partition by one that says the same, another one for each; and
// the engine wrote no others.
func (p *partition) checkTicks() {
	slices.SortStableFunc(p.ticks, tick.same)
	for len(p.ticks) > 0 {
		n := 1
		for n < len(p.ticks) && p.ticks[n].same(p.ticks[0]) == 0 {
			n++
		}
		p.checkSameTicks(p.ticks[:n])
		p.ticks = p.ticks[n:]
	}
}

// checkSameTicks looks at ticks that say the same, in the order of the log. That each one due has a tick behind it, and each one
// written by the engine a decision before it, can be seen apart: where both are so, they can be told off one against another.
func (p *partition) checkSameTicks(ticks []tick) {
	what := fmt.Sprintf("tick %s of minute %d at %d", ticks[0].key, ticks[0].minute, ticks[0].at)
	behind := 0
	for _, t := range slices.Backward(ticks) {
		if d, due := p.follows[t.offset]; due {
			if behind--; behind < 0 {
				behind = 0
				d.Detail = "the command this decision had to emit is not on the log: " + what
				p.differEmission(d)
			}
		}
		behind++
	}
	due := 0
	for _, t := range ticks {
		if t.inTransactions {
			p.findings.count(CheckEmissions, 1)
			if due--; due < 0 {
				due = 0
				p.differEmission(Difference{
					Account: t.key, Topic: topics.Commands, Partition: p.id, Offset: t.offset, Detail: "no decision emitted this command: " + what,
				})
			}
		}
		if _, ok := p.follows[t.offset]; ok {
			due++
		}
	}
}

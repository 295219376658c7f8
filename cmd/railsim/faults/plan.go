package faults

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

// Site is where a fault may fall.
type Site struct {
	Connector, Reference, Operation string
	Call                            int // from 1
}

// Fallen is told of each fault that really fell.
type Fallen func(at Site, kind Kind)

// Plan decides.
type Plan struct {
	spec   Spec
	seed   uint64
	fallen Fallen

	mu    sync.Mutex
	calls map[Site]int // by site without a call: how many there were
}

// NewPlan makes a plan; fallen is called once for each fault.
func NewPlan(spec Spec, seed uint64, fallen Fallen) *Plan {
	return &Plan{spec: spec, seed: seed, fallen: fallen, calls: map[Site]int{}}
}

// Seen tells of a call before a restart, so that its number is not given again.
func (p *Plan) Seen(at Site) {
	p.mu.Lock()
	defer p.mu.Unlock()
	call := at.Call
	at.Call = 0
	p.calls[at] = max(p.calls[at], call)
}

func (p *Plan) next(connector, reference, operation string) Site {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := Site{Connector: connector, Reference: reference, Operation: operation}
	p.calls[at]++
	at.Call = p.calls[at]
	return at
}

// Draw is a number that only its arguments decide. What names the question.
func Draw(seed uint64, at Site, what string) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s\x00%s\x00%d\x00%s", seed, at.Connector, at.Reference, at.Operation, at.Call, what))
	return binary.BigEndian.Uint64(sum[:])
}

func (p *Plan) draw(at Site, what string, below int) int {
	return int(Draw(p.seed, at, what) % uint64(below)) //nolint:gosec // below a small positive number
}

func (p *Plan) hits(at Site, kind Kind) bool {
	return p.spec.scripted(at, kind) || Rate(p.draw(at, string(kind), int(whole))) < p.spec.rate(at.Connector, kind)
}

// latency is how much longer a call takes.
func (p *Plan) latency(at Site) time.Duration {
	drawn := Rate(p.draw(at, string(Latency), int(whole)))
	for _, b := range p.spec.Latency {
		if drawn < b.Rate {
			return time.Duration(b.Min+p.draw(at, "latency within", b.Max-b.Min+1)) * time.Millisecond
		}
		drawn -= b.Rate
	}
	return 0
}

// Hook is what goes wrong with a webhook.
type Hook struct {
	Duplicate, Reorder bool
	Delay, Hold        time.Duration // Hold: how long one to be overtaken waits
	Lies               []Kind
	fell               func(Kind)
	wrong              func(int64) int64
}

// Fell counts a fault of this webhook; its sender knows when it really fell.
func (h Hook) Fell(kind Kind) { h.fell(kind) }

// Wrong is another amount.
func (h Hook) Wrong(amountMinor int64) int64 { return h.wrong(amountMinor) }

// Hook decides on the event-th webhook of a reference.
func (p *Plan) Hook(connector, reference string, event int) Hook {
	at := Site{Connector: connector, Reference: reference, Operation: "hook", Call: event}
	h := Hook{
		Duplicate: p.hits(at, HookDuplicate), Reorder: p.hits(at, HookReorder),
		Hold:  time.Duration(p.spec.HookReorderMs) * time.Millisecond,
		fell:  func(k Kind) { p.fallen(at, k) },
		wrong: func(amount int64) int64 { return p.wrong(at, amount) },
	}
	if p.hits(at, HookDelay) {
		h.Delay = time.Duration(1+p.draw(at, "delay", max(p.spec.HookDelayMs, 1))) * time.Millisecond
	}
	for _, kind := range []Kind{HookLieUnknown, HookLieAmount, HookLieState} {
		if p.hits(at, kind) {
			h.Lies = append(h.Lies, kind)
		}
	}
	return h
}

// wrong is an amount other than the one told, above 0: a centavo off, or off by the factor of a hundred that units invite.
func (p *Plan) wrong(at Site, amountMinor int64) int64 {
	const most = 1 << 53 // what any JSON reader takes exactly
	switch choice := p.draw(at, "wrong amount", 3); {
	case choice == 0 && amountMinor > 1:
		return amountMinor - 1
	case choice == 1 && amountMinor > 0 && amountMinor < most/100:
		return amountMinor * 100
	default:
		return amountMinor + 1
	}
}
